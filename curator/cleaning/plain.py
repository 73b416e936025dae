"""HTML and Markdown to text, and what keeps code and formulas whole on the way. Knows no pair."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cache
from typing import Any

BLOCKS = "p|div|br|li|ul|ol|h[1-6]|tr|table|blockquote|pre"
INLINE = "a|b|i|u|em|strong|span|font|small|sup|sub|code|td|th|img|hr"
TAG = re.compile(rf"</?(?:{BLOCKS}|{INLINE})\b[^<>]*>", re.IGNORECASE)
BLOCK = re.compile(rf"\s*</?(?:{BLOCKS})\b[^<>]*>\s*", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z][a-z0-9]+);", re.IGNORECASE)
LINE = re.compile(r"[^\n]*\n|[^\n]+")
FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)", re.DOTALL)
# Without one of these a text has no Markdown that means anything.
MARKED = re.compile(r"[*_~`#|]|\]\(|\]\[|!\[|^ {0,3}(?:>|=+\s*$|-{2,}\s*$)|<(?:https?|mailto):", re.MULTILINE)


def pieces_of(value: str) -> list[str]:
    """Cut a text into what stands outside and inside of code fences, in turn, the first outside.

    A block that is never closed goes to the end, as in CommonMark.
    """
    pieces, opened = [""], ""
    for line in LINE.findall(value):
        fence = FENCE.match(line)
        if fence and not opened:
            opened = fence[1]
            pieces.append(line)
        elif fence and fence[1].startswith(opened) and not fence[2].strip():
            opened = ""
            pieces[-1] += line
            pieces.append("")
        else:
            pieces[-1] += line
    return pieces


def outside_fences(clean: Callable[[str], str], value: str) -> str:
    """Clean what stands between blocks of code, and leave those as they are."""
    if "```" not in value and "~~~" not in value:
        return clean(value)
    pieces = pieces_of(value)
    for place in range(0, len(pieces), 2):
        piece, cleaned = pieces[place], clean(pieces[place])
        if cleaned != piece:  # a fence stands on a line of its own
            before = "\n" if place and piece.startswith("\n") else ""
            after = "\n" if place + 1 < len(pieces) else ""
            pieces[place] = before + cleaned + after if cleaned else before
    return "".join(pieces)


def strip_html(value: str) -> str:
    """Return a text without HTML tags and entities; what begins a block begins a line.

    Only the tags of ordinary text are known, so that `a < b` and `List<String>` stay as they are, and so does
    what stands between code fences.
    """
    if ("<" not in value or not TAG.search(value)) and ("&" not in value or not ENTITY.search(value)):
        return value
    return outside_fences(without_tags, value)


def without_tags(value: str) -> str:
    """Return a text without tags and entities, if it has any."""
    if not TAG.search(value) and not ENTITY.search(value):
        return value
    plain = TAG.sub("", BLOCK.sub("\n", value))
    plain = html.unescape(plain).replace("\xa0", " ")
    return re.sub(r"\n{3,}", "\n\n", plain).strip()


@cache
def parser() -> Any:
    """Return a reader of CommonMark with tables and crossed-out text. HTML is read as text."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("text_join")


def strip_markdown(value: str) -> str:
    """Return a text without the marks of Markdown: headings, emphasis, links, quotes, tables, rules.

    Lists keep their numbers and dashes. Blocks of code stay with their fences, and code in a line keeps its
    backticks where it would be read as marks without them, as in `__init__`. A backslash stays: formulas need it,
    and so do `2*3*4` and `a_b`.
    """
    if not MARKED.search(value):
        return value
    tokens = parser().parse(value)
    if not any(is_mark(token) for token in tokens):
        return value
    blocks = Blocks(value.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    for token in tokens:
        blocks.take(token)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(blocks.lines)).strip("\n")


def is_mark(token: Any) -> bool:
    """Return whether a part of a text is written with marks that go."""
    if token.type == "inline":
        return plain_inline(token.children or []) != token.content
    return token.type in ("heading_open", "blockquote_open", "hr", "table_open")


class Blocks:
    """Writes the blocks of a Markdown text as plain lines."""

    def __init__(self, source: list[str]) -> None:
        self.source = source
        self.lines: list[str] = []
        self.lists: list[int | None] = []  # the number of the next item of each open list; None: dashes
        self.first = ""  # what the next line begins with, the mark of a list item
        self.indent: list[int] = []  # how far the lines of each open item are set in
        self.cells: list[str] = []
        self.is_cell = False

    def take(self, token: Any) -> None:
        """Take the next block, or the beginning or end of one."""
        match token.type:
            case "bullet_list_open":
                self.lists.append(None)
            case "ordered_list_open":
                self.lists.append(int(token.attrs.get("start", 1)))
            case "bullet_list_close" | "ordered_list_close":
                self.lists.pop()
                if not self.lists:
                    self.blank()
            case "list_item_open":
                number = self.lists[-1]
                mark = "- " if number is None else f"{number}{token.markup} "
                self.lists[-1] = None if number is None else number + 1
                self.first = " " * sum(self.indent) + mark
                self.indent.append(len(mark))
            case "list_item_close":
                self.indent.pop()
                if self.first:
                    self.lines.append(self.first.rstrip())
                    self.first = ""
            case "paragraph_close" | "heading_close":
                if not token.hidden:
                    self.blank()
            case "table_close":
                self.blank()
            case "tr_close":
                self.write(" | ".join(self.cells))
                self.cells = []
            case "th_open" | "td_open" | "th_close" | "td_close":
                self.is_cell = token.nesting == 1
            case "inline" if self.is_cell:
                self.cells.append(plain_inline(token.children or []))
            case "inline":
                self.write(plain_inline(token.children or []))
            case "fence" | "code_block":
                start, end = token.map
                body = self.source[start:end]
                while body and not body[-1].strip():
                    body.pop()
                if self.first:
                    self.write("")
                self.lines += body
                self.blank()

    def write(self, text: str) -> None:
        """Write the lines of a text, the first behind the mark of its list item."""
        inset = " " * sum(self.indent)
        for line in text.split("\n"):
            self.lines.append((self.first or inset) + line if line or self.first else "")
            self.first = ""

    def blank(self) -> None:
        """Leave a line."""
        if self.lines and self.lines[-1]:
            self.lines.append("")


def plain_inline(tokens: list[Any]) -> str:
    """Return a line of text without its marks."""
    pieces: list[str] = []
    opened: list[tuple[int, str]] = []  # where marks stand that are open, and the letter before each
    last = ""  # what was written last
    for place, token in enumerate(tokens):
        match token.type:
            case "text" | "image":
                piece = token.content
            case "text_special":  # an escape or an entity: written as it was
                piece = token.markup
            case "softbreak" | "hardbreak":
                piece = "\n"
            case "code_inline":
                is_safe = plain_of(token.content) == token.content and "\n" not in token.content
                piece = token.content if is_safe else f"{token.markup}{token.content}{token.markup}"
            case "em_open" | "strong_open" | "s_open":
                opened.append((len(pieces), last))
                piece = ""
            case "em_close" | "strong_close" | "s_close":
                start, before = opened.pop()
                # Stars inside a word are a product or a pattern, not emphasis.
                is_inside = before.isalnum() or first_after(tokens, place).isalnum()
                piece = pieces[start] = token.markup if is_inside else ""
            case _:
                piece = ""
        pieces.append(piece)
        last = piece[-1:] or last
    return "".join(pieces)


def first_after(tokens: list[Any], place: int) -> str:
    """Return the first letter of a line behind one of its parts."""
    for number in range(place + 1, len(tokens)):
        if tokens[number].content:
            return str(tokens[number].content[0])
    return ""


def plain_of(code: str) -> str:
    """Return what would be left of the text of a piece of code if it were read as Markdown."""
    if not MARKED.search(code):
        return code
    inline = parser().parseInline(code)
    return plain_inline(inline[0].children or []) if inline else code

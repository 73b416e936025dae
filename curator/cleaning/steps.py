"""A step of cleaning: what kind, with which options, in which fields; as data, as a word in a shell, as what does it.

Knows no database. A new kind is one entry of KINDS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from curator import pairs, private
from curator.cleaning import letters, literal, masks, phrases, plain
from curator.cleaning.literal import Clean
from curator.errors import UserError

TEXTS = ("question", "answer", "system", "history")  # what a model reads
FIELDS = (*TEXTS, "notes")
MOST_STEPS = 30
LONGEST = 10_000  # characters of a text to find, or to put in its place


@dataclass(frozen=True)
class Option:
    """One thing to say about a step: its name in JSON, its words on the page, what it may be."""

    name: str
    label: str
    default: Any = ""  # its type is that of the option: a text, yes or no, some of the choices
    choices: tuple[str, ...] = ()
    needed: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of step: what it is called, what it does in words, what can be said about it, and what does it."""

    name: str
    title: str
    about: str
    make: Callable[..., Clean]
    options: tuple[Option, ...] = ()
    main: str = ""  # the option that a shell writes behind the colon


def whole(change: Callable[[str], str]) -> Clean:
    """Return a change of a whole text as one that counts itself, and that a second run has nothing to add to."""

    def once(value: str) -> tuple[str, int]:
        changed = change(value)
        return changed, int(changed != value)

    settle = literal.settled(once)

    def clean(value: str) -> tuple[str, int]:
        changed, number = settle(value)
        return changed, min(number, 1)

    return clean


def masking(what: Iterable[str], region: str) -> Clean:
    """Return what masks some kinds of personal data. Raises UserError for a country that has no phone numbers."""
    kinds, region = tuple(what), region.strip().upper()
    if region and region not in private.regions():
        raise UserError(f"{region!r} is no country that phone numbers are known of. Write two letters, such as GB.")
    return lambda value: masks.mask(value, kinds, region)


FIND = Option("find", "Text", needed=True)
WITH = Option("with", "Replace with")
IGNORE_CASE = Option("ignore_case", "Ignore capitals", False)
WORDS = Option("words", "Whole words only", False)
LINES = Option("lines", "^ and $ at each line", False)

KINDS = {
    kind.name: kind
    for kind in (
        Kind("remove", "Remove a text", "takes out this text wherever it stands",
             lambda o: literal.removing(o["find"].strip(), o["ignore_case"], o["words"]),
             (FIND, IGNORE_CASE, WORDS), "find"),
        Kind("replace", "Replace a text", "puts another text in its place",
             lambda o: literal.replacing(o["find"], o["with"], o["ignore_case"], o["words"]),
             (FIND, WITH, IGNORE_CASE, WORDS), "find"),
        Kind("regex", "Replace a pattern", r"a regular expression; \1 is its first group",
             lambda o: literal.matching(o["find"], o["with"], o["ignore_case"], o["lines"]),
             (Option("find", "Pattern", needed=True), WITH, IGNORE_CASE, LINES),
             "find"),
        Kind("whitespace", "White space", "single spaces, plain line ends, nothing at the ends",
             lambda _: whole(letters.fold_whitespace)),
        Kind("unicode", "Broken letters", "puts right what was decoded wrongly: schÃ¶n becomes schön",
             lambda o: whole(lambda value: letters.mend_unicode(value, o["quotes"])),
             (Option("quotes", "Make curly quotation marks straight", False),)),
        Kind("html", "HTML to text", "takes out tags and turns &amp; into &, and leaves code as it is",
             lambda _: whole(plain.strip_html)),
        Kind("markdown", "Markdown to text", "takes out headings, emphasis, links, quotes and tables; code stays",
             lambda _: whole(plain.strip_markdown)),
        Kind("boilerplate", "Boilerplate", "takes out polite openings and closings that say nothing, and signatures",
             lambda _: whole(phrases.strip_boilerplate)),
        Kind("mask", "Mask personal data", "proved where that can be done, so that order numbers stay",
             lambda o: masking(o["what"], o["region"]),
             (Option("what", "What", tuple(masks.PLACEHOLDERS), tuple(masks.PLACEHOLDERS)),
              Option("region", "Country of phone numbers without +")), "what"),
        Kind("trim", "Trim", "takes white space from both ends", lambda _: whole(letters.trim)),
        Kind("case", "Capitals", "writes all in small letters, in capitals, or as sentences or titles are",
             lambda o: whole(letters.CASES[o["to"]]), (Option("to", "As", "sentence", tuple(letters.CASES)),), "to"),
    )
}  # fmt: skip

PRESETS = {
    "web": ("Text from the web", ("unicode", "html", "whitespace")),
    "plain": ("Plain text", ("unicode", "html", "markdown", "whitespace")),
    "private": ("Personal data", ("mask",)),
    "answers": ("Answers of a model", ("boilerplate@answer,history", "trim")),
}


@dataclass(frozen=True)
class Step:
    """One step: a kind, what was said about it (the rest is as usual), and the fields it cleans."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = TEXTS

    @property
    def title(self) -> str:
        """What it does, in a few words."""
        said = self.option("find") if KINDS[self.kind].main == "find" else ""
        name = {"remove": "Remove", "replace": "Replace", "regex": "Replace"}.get(self.kind, KINDS[self.kind].title)
        return f"{name} “{said if len(said) <= 40 else said[:40] + '…'}”" if said else name

    def option(self, name: str) -> Any:
        """Return what an option is: as said, else as usual."""
        usual = next(o.default for o in KINDS[self.kind].options if o.name == name)
        return self.options.get(name, usual)

    def clean(self) -> Clean:
        """Return what does it. Raises UserError where that can't be."""
        kind = KINDS[self.kind]
        return kind.make({option.name: self.option(option.name) for option in kind.options})

    def needle(self) -> str:
        """Return a text without which the step changes nothing, "" where there is none."""
        if KINDS[self.kind].main != "find" or self.options.get("ignore_case"):
            return ""
        return literal.needed(self.option("find")) if self.kind == "regex" else self.option("find").strip()

    def to_json(self) -> dict[str, Any]:
        """Return the step as it is kept."""
        fields = {} if self.fields == TEXTS else {"fields": list(self.fields)}
        said = {name: list(v) if isinstance(v, tuple) else v for name, v in self.options.items()}
        return {"kind": self.kind, **said, **fields}

    def __str__(self) -> str:
        """Return the step as a word for a shell or an address: `read` makes the same step of it."""
        head = self.kind if self.fields == TEXTS else f"{self.kind}@{','.join(self.fields)}"
        main = KINDS[self.kind].main
        said = self.options.get(main, "")
        word = head + (f":{said if isinstance(said, str) else ','.join(said)}" if said else "")
        if self.kind in ("replace", "regex"):
            word += f"=>{self.option('with')}"
        try:
            if read(word) == self:
                return word
        except UserError:
            pass
        return json.dumps(self.to_json(), ensure_ascii=False)


def read(word: str, fields: tuple[str, ...] = TEXTS) -> Step:
    """Return the step that a word names: `html`, `trim@question`, `remove:TEXT`, `replace:OLD=>NEW`, or JSON.

    `fields` are those of a step that names none. Raises UserError for what is no step.
    """
    if word.lstrip().startswith("{"):
        try:
            said = json.loads(word)
        except ValueError as error:
            raise UserError(f"The step {literal.shown(word)} is no JSON: {error}.") from None
        return make({"fields": list(fields)} | said)
    head, _, rest = word.partition(":")
    name, _, named = head.partition("@")
    kind = known(name.strip())
    step: dict[str, Any] = {"kind": kind.name, "fields": named.split(",") if named else list(fields)}
    if rest and not kind.main:
        raise UserError(f"The step {kind.name} takes nothing behind a colon; {literal.shown(rest)} was found there.")
    if kind.name in ("replace", "regex"):
        find, arrow, with_ = rest.partition("=>")
        if not arrow:
            raise UserError(f"The step {literal.shown(word)} has no =>. Write it as: {kind.name}:OLD=>NEW")
        step |= {"find": find, "with": with_}
    elif rest or kind.name == "remove":
        step[kind.main] = rest.split(",") if kind.name == "mask" else rest
    return make(step)


def known(name: str) -> Kind:
    """Return the kind of a name, or raise UserError listing those there are."""
    if name not in KINDS:
        raise UserError(f"There is no step {name!r}. Choose from: {', '.join(KINDS)}.")
    return KINDS[name]


def make(said: Mapping[str, Any]) -> Step:
    """Return the step that a dict describes, checked. What is as usual is left out.

    Raises UserError for an unknown kind, option or field, for what an option can't be, and for a text that no
    database keeps.
    """
    kind = known(str(said.get("kind", "")))
    options: dict[str, Any] = {}
    names = {option.name: option for option in kind.options}
    for name, value in said.items():
        if name in ("kind", "fields"):
            continue
        if name not in names:
            takes = ", ".join(names) or "none"
            raise UserError(f"The step {kind.name} has no option {name!r}. Its options: {takes}.")
        value = checked(kind, names[name], value)
        if value != names[name].default:
            options[name] = value
    for option in kind.options:
        if option.needed and not options.get(option.name, "").strip(" \t\r\n" if kind.name == "remove" else ""):
            what = "pattern" if kind.name == "regex" else "text"
            like = {"remove": "remove:Best wishes", "replace": "replace:teh=>the", "regex": r"regex:\s+$=>"}[kind.name]
            verb = "remove" if kind.name == "remove" else "replace"
            raise UserError(f"The {what} to {verb} is empty. Write it after the colon: {like}")
    chosen = said.get("fields") or TEXTS
    fields = tuple(name for name in FIELDS if name in chosen)
    unknown = [str(name) for name in chosen if name not in FIELDS and name != "all"]
    if unknown:
        raise UserError(f"There is no field {unknown[0]!r}. Choose from: {', '.join(FIELDS)}, or all.")
    return Step(kind.name, options, TEXTS if "all" in chosen else fields)


def checked(kind: Kind, option: Option, value: Any) -> Any:
    """Return the value of an option as its type. Raises UserError where it can't be one."""
    if isinstance(option.default, bool):
        if not isinstance(value, bool):
            raise UserError(f"{option.name} of the step {kind.name} is {literal.shown(str(value))}: true or false?")
        return value
    if isinstance(option.default, tuple):
        chosen = [str(one).strip() for one in value] if isinstance(value, list | tuple) else [str(value)]
        for one in chosen:
            refuse_unknown(kind, option, one)
        return tuple(choice for choice in option.choices if choice in chosen) or option.default
    if not isinstance(value, str):
        raise UserError(f"{option.name} of the step {kind.name} is {literal.shown(str(value))}, which is no text.")
    if option.choices:
        refuse_unknown(kind, option, value)
    if len(value) > LONGEST:
        raise UserError(
            f"{option.name} of the step {kind.name} has {len(value):,} characters; {LONGEST:,} is the most."
        )
    if fault := pairs.unstorable(value):
        raise UserError(f"{option.name} of the step {kind.name} holds {fault}, which no database keeps. Remove it.")
    return value


def refuse_unknown(kind: Kind, option: Option, value: str) -> None:
    """Raise UserError for what is not among the choices of an option."""
    if value not in option.choices:
        choices = ", ".join(option.choices)
        raise UserError(f"{option.name} of the step {kind.name} is {value!r}. Choose from: {choices}.")

"""A Modelfile for Ollama, from the chat template of the training. Knows text alone: no model, no tokenizer's ids.

Ollama renders prompts by templates of Go. A chat template of almost any base comes to the same: something
before the first question, something between question and answer, something between an answer and the next
question. These pieces are found by rendering, not by reading the template, and tried on longer conversations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer import UserError
from trainer.dataset import Example, Messages, Renderer

FILE = "Modelfile"
# Quoted texts inside the actions and nothing outside them, so that no line end of this layout is in a prompt.
TEMPLATE = """\
{{- range $i, $_ := .Messages }}
{{- if eq .Role "system" }}{{ RULE_OPENS }}{{ .Content }}{{ RULE_CLOSES }}
{{- else if eq .Role "user" }}{{ if eq $i 0 }}{{ FIRST }}{{ end }}{{ .Content }}{{ ASK }}
{{- else }}{{ SAID }}{{ .Content }}{{ if gt (len (slice $.Messages $i)) 1 }}{{ NEXT }}{{ end }}
{{- end }}
{{- end }}"""
PIECES = ("RULE_OPENS", "RULE_CLOSES", "FIRST", "ASK", "SAID", "NEXT")
QUOTED = r'"(?:[^"\\]|\\.)*"'


@dataclass(frozen=True)
class Frame:
    """What a chat template writes around the texts of a conversation."""

    rule_opens: str  # before a system message
    rule_closes: str  # between it and the first question
    first: str  # before the first question where there is no system message
    ask: str  # between a question and its answer
    said: str  # between that and an earlier answer, such as a space that the model itself begins with
    next: str  # between an answer and the next question

    def render(self, messages: Messages) -> str:
        """Return the prompt, as the template of `template_of` renders it in Ollama."""
        text = ""
        for number, message in enumerate(messages):
            if message["role"] == "system":
                text += self.rule_opens + message["content"] + self.rule_closes
            elif message["role"] == "user":
                text += ("" if number else self.first) + message["content"] + self.ask
            else:
                text += self.said + message["content"] + (self.next if number + 1 < len(messages) else "")
        return text


@dataclass(frozen=True)
class Written:
    """What matters of a Modelfile that was read."""

    frame: Frame
    stops: list[str]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def find_frame(renderer: Renderer) -> Frame:
    """Return the frame of a chat template. Raises UserError where it is not made of such pieces."""
    rule, one, two, three = turn("system", "the-rule"), *(turn("user", f"{n}-question") for n in ("a", "b", "c"))
    said, more = turn("assistant", "a-answer"), turn("assistant", "b-answer")

    def text(messages: Messages) -> str:
        return renderer.text(renderer.fold_system(messages), prompt=True)

    refusal = UserError(
        "The chat template is not made of the same pieces for each turn, so it cannot be written for Ollama. Serve the "
        "model with: python -m trainer serve"
    )
    try:
        first, _, ask = text([one]).partition("a-question")
        rule_opens, _, rest = text([rule, one]).partition("the-rule")
        rule_closes = rest.partition("a-question")[0]
        before, _, after = text([one, said, two]).partition("a-answer")
        opens = before.partition("a-question")[2].removeprefix(ask)
        frame = Frame(rule_opens, rule_closes, first, ask, opens, after.partition("b-question")[0])
        tried = (
            [one, said, two],
            [rule, one, said, two],
            [one, said, two, more, three],
            [rule, one, said, two, more, three],
        )
        if any(frame.render(messages) != text(messages) for messages in ([one], [rule, one], *tried)):
            raise refusal
    except UserError:
        raise
    except Exception as error:  # a template may raise whatever its author chose
        raise refusal from error
    return frame


def without_start(frame: Frame, start: str) -> Frame:
    """Return a frame whose first piece has no start token, for a tokenizer that puts it there itself."""
    pieces = vars(frame) | {name: vars(frame)[name].removeprefix(start) for name in ("first", "rule_opens")}
    return Frame(**pieces)


def template_of(frame: Frame) -> str:
    """Return the template in Go's syntax."""
    text = TEMPLATE
    for piece in PIECES:
        text = text.replace(f"{{{{ {piece} }}}}", f"{{{{ {quote(vars(frame)[piece.lower()])} }}}}")
    return text


def quote(text: str) -> str:
    """Return a text as a literal that Go and JSON both read so; three quotes in a row are never in it."""
    return json.dumps(text, ensure_ascii=False)


def of(source: str, renderer: Renderer, examples: Sequence[Example]) -> str:
    """Return the Modelfile of a model whose prompts the renderer writes. Raises UserError as `find_frame` does.

    A system message that all of the lines share is the model's own, used where nobody gives another.
    """
    frame = find_frame(renderer)
    start = renderer.tokenizer.bos_token
    if start and renderer.backend.encode("a").ids[:1] == [renderer.tokenizer.bos_token_id]:
        frame = without_start(frame, start)
    stops = {renderer.backend.id_to_token(renderer.end_token), renderer.tokenizer.eos_token}
    rules = {each.messages[0]["content"] if each.messages[0]["role"] == "system" else None for each in examples}
    return write(source, frame, sorted(stops), rules.pop() if len(rules) == 1 else None)


def write(source: str, frame: Frame, stops: Sequence[str], system: str | None) -> str:
    """Return a Modelfile: `source` is the .gguf file beside it, or "." for the folder's safetensors."""
    parts = [f"FROM {source}", f'TEMPLATE """{template_of(frame)}"""']
    parts += [f"PARAMETER stop {quote(stop)}" for stop in stops]
    if system and '"""' not in system:
        parts.append(f'SYSTEM """{system}"""')
    return "\n".join(parts) + "\n"


def read(file: Path) -> Written:
    """Return what a Modelfile of ours says. Raises UserError where its template is none of ours."""
    said = file.read_text("utf-8")
    template = re.search(r'^TEMPLATE """(.*?)"""$', said, re.DOTALL | re.MULTILINE)
    shape = re.escape(TEMPLATE)
    for piece in PIECES:
        shape = shape.replace(piece, f"(?P<{piece.lower()}>{QUOTED})")
    found = template and re.fullmatch(shape, template[1], re.DOTALL)
    if not found:
        raise UserError(f"The TEMPLATE in {file} was written by somebody else, so nobody can say what it asks with.")
    frame = Frame(**{name: json.loads(text) for name, text in found.groupdict().items()})
    return Written(
        frame, [json.loads(text) for text in re.findall(rf"^PARAMETER stop ({QUOTED})$", said, re.MULTILINE)]
    )

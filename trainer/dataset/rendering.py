"""Examples in, token ids and labels out. Knows tokenizers and chat templates; knows no file and no torch.

What is trained is decided here by construction: a line is rendered once without its answer and once
with it, the two parts are tokenised apart, and only the second part, through its end token, has labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trainer import UserError
from trainer.dataset.reading import Example, Messages

IGNORED = -100  # the label of a token that is read but not trained, as torch's cross entropy has it

# For a base without a chat template. A question that holds such a heading itself does no harm: the
# boundary is kept in token ids, never looked for in text.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Question:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ '### Answer:\n' + message['content'] + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Answer:\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Rendered:
    """One example in token ids: labels equal the ids from the answer on, and are IGNORED before it."""

    example: Example
    input_ids: list[int]
    labels: list[int]

    @property
    def answer_tokens(self) -> int:
        return sum(label != IGNORED for label in self.labels)


class Renderer:
    """A tokenizer and its chat template: turns examples into ids and labels, and prompts into ids.

    Where the tokenizer has no template it is given PLAIN_TEMPLATE; `notes` says such things in words.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.notes: list[str] = []
        if tokenizer.eos_token is None:
            raise UserError("The tokenizer of this base has no end token, so no answer could ever end.")
        if tokenizer.chat_template is None:
            starts = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[0] == tokenizer.bos_token_id
            tokenizer.chat_template = ("{{ bos_token }}" if starts else "") + PLAIN_TEMPLATE
            self.notes.append("The base has no chat template: a plain one (### Question, ### Answer) is saved with it.")
        self.folds_system = not self.shows_system()
        self.opening, self.closing = self.find_frame()
        # What stands behind the end token, a line end for most, is never trained: nobody asks for it.
        special = set(tokenizer.all_special_ids)
        self.end_token = next((t for t in self.ids(self.closing) if t in special), tokenizer.eos_token_id)

    def text(self, messages: Messages, *, prompt: bool) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def shows_system(self) -> bool:
        """Return whether the template lets a system message through; some refuse it, some drop it."""
        probe = [{"role": "system", "content": "the-rule"}, {"role": "user", "content": "the-question"}]
        try:
            return "the-rule" in self.text(probe, prompt=True)
        except Exception:  # a template may raise whatever its author chose
            return False

    def find_frame(self) -> tuple[str, str]:
        """Return what the template writes between a prompt and its answer, and after the answer."""
        question = {"role": "user", "content": "the-question"}
        prompt = self.text([question], prompt=True)
        whole = self.text([question, {"role": "assistant", "content": "the-answer"}], prompt=False)
        opening, _, closing = whole.removeprefix(prompt).partition("the-answer")
        return (opening if whole.startswith(prompt) else ""), closing

    def fold_system(self, messages: Messages) -> Messages:
        """Return the messages with the system message, where the template has no place for it, in the first turn."""
        if not self.folds_system or messages[0]["role"] != "system":
            return messages
        note = "The chat template of the base has no system role: system messages open the first question."
        if note not in self.notes:
            self.notes.append(note)
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        return [first, *messages[2:]]

    def prompt_ids(self, prompt: Messages) -> list[int]:
        """Return the ids after which the model is to answer."""
        return self.ids(self.text(self.fold_system(prompt), prompt=True))

    def render(self, example: Example) -> Rendered:
        """Return the ids and labels of one example; raises UserError where the template refuses it."""
        messages = self.fold_system(example.messages)
        try:
            prompt = self.text(messages[:-1], prompt=True)
            whole = self.text(messages, prompt=False)
        except Exception as error:  # a template may raise whatever its author chose
            raise UserError(
                f"{example.place} is refused by the chat template of the base: {error} "
                "Leave the line out, or choose another base."
            ) from error
        if whole.startswith(prompt) and whole.endswith(self.closing):
            answer = whole[len(prompt) : len(whole) - len(self.closing)]
        else:  # a template that writes the last turn otherwise when more follows
            answer = self.opening + example.answer
        prompt_ids, answer_ids = self.ids(prompt), [*self.ids(answer), self.end_token]
        return Rendered(example, input_ids=prompt_ids + answer_ids, labels=[IGNORED] * len(prompt_ids) + answer_ids)

    def control_token(self, example: Example) -> str | None:
        """Return a special token of the tokenizer that stands in the text, where it would act as one."""
        texts = [message["content"] for message in example.messages]
        return next((t for t in self.tokenizer.all_special_tokens if any(t in text for text in texts)), None)

    def render_all(self, examples: Iterable[Example]) -> tuple[list[Rendered], list[str]]:
        """Return the examples rendered, and those that no model could learn from, each with the reason."""
        rendered, left_out = [], []
        for example in examples:
            if token := self.control_token(example):
                left_out.append(f"{example.place} holds {token}, a control token of the base")
            else:
                rendered.append(self.render(example))
        return rendered, left_out


def find_max_tokens(lengths: Iterable[int], model_limit: int) -> int:
    """Return a limit that 99.5 % of the lines keep, rounded up to a multiple of 32, as far as the model goes."""
    ordered = sorted(lengths)
    kept = ordered[math.ceil(0.995 * len(ordered)) - 1]
    return min(32 * math.ceil(kept / 32), model_limit)


def leave_out_long(rendered: list[Rendered], max_tokens: int) -> tuple[list[Rendered], list[str]]:
    """Return the lines of at most `max_tokens`, and the others in words."""
    kept = [each for each in rendered if len(each.input_ids) <= max_tokens]
    left_out = [
        f"{each.example.place} has {len(each.input_ids)} tokens, more than {max_tokens}"
        for each in rendered
        if len(each.input_ids) > max_tokens
    ]
    if not any(each.example.split == "train" for each in kept):
        raise UserError(
            f"No line is left to train on: {'; '.join(left_out[:3])}. Allow longer lines with: --max-tokens"
        )
    return kept, left_out

"""Examples in, token ids and labels out. Knows tokenizers and chat templates; knows no file and no torch.

What is trained is decided here by construction: a line is rendered once without its answer and once with
it, and what the second has more than the first, in token ids and through the end token, has labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from trainer import UserError
from trainer.dataset.messages import Messages
from trainer.dataset.reading import Example
from trainer.dataset.viewing import State, Token, TokenView

IGNORED = -100  # the label of a token that is read but not trained, as torch's cross entropy has it
BATCH = 1000  # lines tokenised at once, which keeps all cores busy and little in memory

QUESTION = {"role": "user", "content": "the-question"}  # what a template is tried with

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
    rejected: Rendered | None = None  # the other answer to the same prompt, where two were compared

    @property
    def answers(self) -> list[Rendered]:
        """The line, and behind it the answer that it is better than, if there is one."""
        return [self] if self.rejected is None else [self, self.rejected]

    @property
    def size(self) -> int:
        """How many tokens are read to learn from it."""
        return sum(len(each.input_ids) for each in self.answers)

    @property
    def longest(self) -> int:
        return max(len(each.input_ids) for each in self.answers)

    @cached_property  # a plan asks for it four times
    def answer_tokens(self) -> int:
        return len(self.labels) - self.labels.count(IGNORED)


class AnswerFrame(NamedTuple):
    """What a template writes around the answer to QUESTION."""

    before: str  # all that stands before the answer
    asking: str  # what follows the question in a prompt
    opening: str  # what stands between a prompt and the answer
    opened: str  # what a prompt has that does not stand before an answer
    closing: str  # what follows the answer


class Written(NamedTuple):
    """The text of one example as the template writes it, in the two pieces that are tokenised."""

    example: Example
    first: str  # what is read, without `asking` where the example `is_cut`
    second: str  # all of it, or from `asking` on
    answer: str
    is_cut: bool


class Renderer:
    """A tokenizer and its chat template: turns examples into ids and labels, and prompts into ids.

    The tokenizer is one of transformers, or trainer.tokenizer's. Where it has no template it is given
    PLAIN_TEMPLATE; `notes` says such things in words.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        self.notes: list[str] = []
        if self.backend is None:
            raise UserError("The tokenizer of this base is of a kind too old to be used. Choose another base.")
        if tokenizer.eos_token is None:
            raise UserError("The tokenizer of this base has no end token, so no answer could end. Choose another base.")
        self.backend.no_truncation()
        self.backend.no_padding()
        self.has_own_template = tokenizer.chat_template is not None
        if not self.has_own_template:
            has_start = tokenizer.bos_token_id is not None and self.backend.encode("a").ids[:1] == [
                tokenizer.bos_token_id
            ]
            tokenizer.chat_template = ("{{ bos_token }}" if has_start else "") + PLAIN_TEMPLATE
            self.notes.append("The base has no chat template: a plain one (### Question, ### Answer) is saved with it.")
        special = {id: token.content for id, token in self.backend.get_added_tokens_decoder().items() if token.special}
        special[tokenizer.eos_token_id] = tokenizer.eos_token
        self.control_tokens = re.compile("|".join(map(re.escape, special.values())))
        self.folds_system = not self.shows_system()
        self.frame = self.find_frame()
        # What stands behind the end token, a line end for most, is never trained: nobody asks for it.
        # What stands before it, a space for some, is.
        end = self.control_tokens.search(self.frame.closing)
        self.ending = self.frame.closing[: end.end()] if end else tokenizer.eos_token
        self.end_token = next((id for id, text in special.items() if end and text == end[0]), tokenizer.eos_token_id)
        # The last control token of each prompt and what follows it; nothing where a token could reach over that.
        strips = {token.content for token in self.backend.get_added_tokens_decoder().values() if token.lstrip}
        asking = self.frame.asking
        starts = [match.start() for match in self.control_tokens.finditer(asking) if match[0] not in strips]
        self.asking = asking[starts[-1] :] if starts else ""
        self.asking_ids = self.ids(self.asking)

    def text(self, messages: Messages, *, prompt: bool) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)

    def ids(self, text: str) -> list[int]:
        return self.backend.encode(text, add_special_tokens=False).ids

    def ids_within(self, text: str) -> list[int]:
        """Return the ids of a text that stands within another, where no space is put before its first word."""
        for before in ("\n", "0", "."):  # the first that no token joins to the text
            lead, whole = self.ids(before), self.ids(before + text)
            if whole[: len(lead)] == lead:
                return whole[len(lead) :]
        return self.ids(text)

    def shows_system(self) -> bool:
        """Return whether the template lets a system message through; some refuse it, some drop it."""
        probe = [{"role": "system", "content": "the-rule"}, {"role": "user", "content": "the-question"}]
        try:
            return "the-rule" in self.text(probe, prompt=True)
        except Exception:  # a template may raise whatever its author chose
            return False

    def find_frame(self) -> AnswerFrame:
        """Return what the template writes around an answer. Raises UserError where it cannot write one."""
        try:
            prompt = self.text([QUESTION], prompt=True)
            whole = self.text([QUESTION, {"role": "assistant", "content": "the-answer"}], prompt=False)
        except UserError:
            raise
        except Exception as error:  # a template may raise whatever its author chose
            raise UserError(
                f"The chat template of the base cannot write a question and its answer: {said(error)}. "
                "Choose another base."
            ) from error
        if "the-question" not in prompt or "the-answer" not in whole:
            raise UserError("The chat template of the base drops questions or answers. Choose another base.")
        before, _, closing = whole.partition("the-answer")
        return AnswerFrame(
            before=before,
            asking=prompt.rpartition("the-question")[2],
            opening=before.removeprefix(prompt) if before.startswith(prompt) else "",
            opened=prompt.removeprefix(before) if prompt.startswith(before) else "",
            closing=closing,
        )

    def fold_system(self, messages: Messages) -> Messages:
        """Return the messages with the system message, where the template has no place for it, in the first turn."""
        if not self.folds_system or messages[0]["role"] != "system":
            return messages
        note = "The chat template of the base has no system role: system messages open the first question."
        if note not in self.notes:
            self.notes.append(note)
        rule, *turns = messages
        first = next(place for place, turn in enumerate(turns) if turn["role"] == "user")  # a greeting may come before
        question = {"role": "user", "content": f"{rule['content']}\n\n{turns[first]['content']}"}
        return [*turns[:first], question, *turns[first + 1 :]]

    def prompt_ids(self, prompt: Messages) -> list[int]:
        """Return the ids after which the model is to answer."""
        return self.ids(self.text(self.fold_system(prompt), prompt=True))

    def parts(self, example: Example) -> tuple[str, str]:
        """Return what is read of one example and what is trained, as text; the second ends with the end token.

        Raises UserError where the template refuses the example.
        """
        messages = self.fold_system(example.messages)
        try:
            prompt = self.text(messages[:-1], prompt=True)
            whole = self.text(messages, prompt=False)
        except Exception as error:  # a template may raise whatever its author chose
            raise UserError(
                f"{example.place} is refused by the chat template of the base: {said(error)}. "
                "Leave the line out, or choose another base."
            ) from error
        if whole.startswith(prompt) and whole.endswith(self.frame.closing):
            answer = whole[len(prompt) : len(whole) - len(self.frame.closing)]
        else:  # a template that writes the last turn otherwise when more follows
            answer = self.frame.opening + self.written_alone(messages[-1])
        return prompt, answer + self.ending

    def written_alone(self, answer: dict[str, str]) -> str:
        """Return an answer as the template writes it after a short question: many strip it.

        Where a prompt ends with more than stands before an answer, as with an open thought, the template
        writes answers that were given, without their thoughts. What is learnt goes on from the prompt.
        """
        if self.frame.opened:
            return answer["content"].removeprefix(self.frame.opened)
        before, closing = self.frame.before, self.frame.closing
        whole = self.text([QUESTION, answer], prompt=False)
        if not (whole.startswith(before) and whole.endswith(closing)):
            return answer["content"]
        return whole[len(before) : len(whole) - len(closing)]

    def render(self, example: Example) -> Rendered:
        """Return the ids and labels of one example; raises UserError where the template refuses it."""
        return self.render_batch([example])[0]

    def render_batch(self, examples: Sequence[Example]) -> list[Rendered]:
        """Return the ids and labels of examples, tokenised together; raises UserError as `parts` does."""
        written = [self.write(example) for example in examples]
        return self.label_all(written, self.tokenise(written))

    def write(self, example: Example) -> Written:
        """Return the texts of an example as the template writes them; raises UserError as `parts` does."""
        prompt, answer = self.parts(example)
        # What stands before a control token never joins what stands after it, so it is tokenised once.
        is_cut = bool(self.asking) and prompt.endswith(self.asking)
        head = prompt[: -len(self.asking)] if is_cut else prompt
        return Written(example, head, (self.asking if is_cut else prompt) + answer, answer, is_cut)

    def tokenise(self, written: Sequence[Written]) -> list[list[int]]:
        """Return the ids of the first text of each, then those of the second of each."""
        texts = [each.first for each in written] + [each.second for each in written]
        return [each.ids for each in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def label_all(self, written: Sequence[Written], ids: Sequence[list[int]]) -> list[Rendered]:
        """Return examples from their texts and what `tokenise` made of them."""
        lines = []
        for each, first, second in zip(written, ids[: len(written)], ids[len(written) :], strict=True):
            head, prompt_ids = (first, self.asking_ids) if each.is_cut else ([], first)
            lines.append(self.label(each.example, head, prompt_ids, second, each.answer))
        return lines

    def label(self, example: Example, head: list[int], prompt: list[int], whole: list[int], answer: str) -> Rendered:
        """Return an example from the ids of its prompt, of which `head` was taken off, and from those of all of it.

        The prompt must be the ids that will be asked with. Where a token would reach over its end, as in
        an answer that begins with a space, the answer is tokenised on its own instead.
        """
        trained = whole[len(prompt) :] if whole[: len(prompt)] == prompt else self.ids_within(answer)
        if trained[-1:] != [self.end_token]:
            trained = [*trained, self.end_token]
        read = head + prompt
        return Rendered(example, input_ids=read + trained, labels=[IGNORED] * len(read) + trained)

    def view(self, example: Example, max_tokens: int) -> TokenView:
        """Return one example token by token, those past `max_tokens` marked; raises UserError as `parts` does."""
        rendered = self.render(example)
        texts = self.texts(rendered.input_ids)
        last = len(texts) - 1
        tokens = []
        for number, (id, label, text) in enumerate(zip(rendered.input_ids, rendered.labels, texts, strict=True)):
            state: State = "read" if label == IGNORED else "end" if number == last else "trained"
            tokens.append(Token(id, text, "over" if number >= max_tokens else state))
        return TokenView(example.place, tokens, max_tokens)

    def texts(self, ids: list[int]) -> list[str]:
        """Return what each id adds to the text of those before it; nothing where a character is not whole yet."""
        texts, start, known = [], 0, ""
        for number in range(1, len(ids) + 1):
            # Decoded with a few before it, since some tokenizers write no space before a first word.
            text = self.backend.decode(ids[start:number], skip_special_tokens=False)
            if text.endswith("\N{REPLACEMENT CHARACTER}") and number < len(ids) and number - start < 40:
                texts.append("")
                continue
            token = self.backend.id_to_token(ids[number - 1])
            texts.append(text[len(known) :] if text.startswith(known) else str(token))
            if number - start >= 16:
                start = number - 4
                text = self.backend.decode(ids[start:number], skip_special_tokens=False)
            known = text
        return texts

    def control_token(self, example: Example) -> str | None:
        """Return a special token of the tokenizer that stands in the text, where it would act as one."""
        for text in [*(message["content"] for message in example.messages), example.rejected or ""]:
            if found := self.control_tokens.search(text):
                return found[0]
        return None

    def render_all(self, examples: Iterable[Example]) -> tuple[list[Rendered], list[str], list[str]]:
        """Return the examples rendered, and those that no model could learn from, each with the reason.

        The latter are first those with a control token in their text, then those the template refuses.
        """
        clean: list[Example] = []
        forged: list[str] = []
        refused: list[str] = []
        for example in examples:
            if token := self.control_token(example):
                forged.append(f"{example.place} holds {token}, a control token of the base")
            else:
                clean.append(example)
        rendered: list[Rendered] = []
        waiting: tuple[list[Written], Future[list[list[int]]]] | None = None
        # The tokenizer leaves Python alone while it works: meanwhile the next lines are written out.
        with ThreadPoolExecutor(1) as other:
            for start in range(0, len(clean), BATCH):
                written: list[Written] = []
                for example in clean[start : start + BATCH]:
                    try:
                        written += [self.write(each) for each in answers_of(example)]
                    except UserError as refusal:
                        refused.append(f"{example.place} is refused by the template: {said(refusal.__cause__)}")
                begun = (written, other.submit(self.tokenise, written))
                rendered += self.judged(*waiting) if waiting else []
                waiting = begun
            rendered += self.judged(*waiting) if waiting else []
        return rendered, forged, refused

    def judged(self, written: Sequence[Written], ids: Future[list[list[int]]]) -> list[Rendered]:
        """Return the examples rendered, each with the answer that it is better than, if there is one."""
        lines = iter(self.label_all(written, ids.result()))
        return [line if line.example.rejected is None else replace(line, rejected=next(lines)) for line in lines]


def said(error: BaseException | None) -> str:
    """Return what a template's author let it say, to stand within a sentence."""
    return str(error).rstrip(".")


def answers_of(example: Example) -> list[Example]:
    """Return the example, and behind it the same prompt with the answer that was rejected, if there is one."""
    if example.rejected is None:
        return [example]
    messages = [*example.prompt, {"role": "assistant", "content": example.rejected}]
    return [example, replace(example, messages=messages, rejected=None, good=False)]


def check_left(kept: Iterable[Rendered], left_out: Sequence[str], remedy: str = "Write them otherwise.") -> None:
    """Raise UserError, naming the first that were left out, where no line is left to train on."""
    if not any(each.example.split == "train" for each in kept):
        more = f"; and {len(left_out) - 3:,} more" if len(left_out) > 3 else ""
        raise UserError(f"No line is left to train on: {'; '.join(left_out[:3])}{more}. {remedy}")


def find_max_tokens(lengths: Iterable[int], model_limit: int) -> int:
    """Return a limit that 99.5 % of the lines keep, rounded up to a multiple of 32, as far as the model goes."""
    ordered = sorted(lengths)
    kept = ordered[math.ceil(0.995 * len(ordered)) - 1]
    return min(32 * math.ceil(kept / 32), model_limit)


def leave_out_long(rendered: list[Rendered], max_tokens: int) -> tuple[list[Rendered], list[str]]:
    """Return the lines of at most `max_tokens`, and the others in words. Raises UserError where none is left."""
    kept = [each for each in rendered if each.longest <= max_tokens]
    left_out = [
        f"{each.example.place} has {each.longest} tokens, more than {max_tokens}"
        for each in rendered
        if each.longest > max_tokens
    ]
    check_left(kept, left_out, "Shorten them, or allow more with --max-tokens, as far as the base was made for it.")
    return kept, left_out

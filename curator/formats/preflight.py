"""What a training file would meet: how many tokens, and what OpenAI or a strict chat template would refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from operator import itemgetter

from curator.errors import UserError
from curator.formats.writing import Example, Roles, chat_of
from curator.text import estimate_tokens

Count = Callable[[Example], int]

OPENAI = "OpenAI's fine-tuning API"
TEMPLATE = "A strict chat template"
FEWEST_EXAMPLES = 10  # OpenAI refuses a file of fewer
MOST_TOKENS = 65_536  # of one example, for the gpt-4o and gpt-4.1 families; older models take less
NAMED = 3

EMPTY = (OPENAI, "an empty assistant message")
DISORDER = (OPENAI, "roles out of order: a system message first or nowhere, the assistant last")
TOO_LONG = (OPENAI, f"more than {MOST_TOKENS:,} tokens")
NOT_FROM_USER = (TEMPLATE, "a first turn that is not the user's")
NOT_ALTERNATING = (TEMPLATE, "turns of user and assistant that don't alternate")
FAULTS = (EMPTY, DISORDER, TOO_LONG, NOT_FROM_USER, NOT_ALTERNATING)


def estimated_tokens(example: Example) -> int:
    """Estimate the tokens of an example; what a chat template adds around each message is not known here."""
    return estimate_tokens("".join(example[2]))


@dataclass
class Finding:
    """How many examples a reader would refuse for one reason, and the numbers of the first of them."""

    reader: str
    reason: str
    count: int = 0
    first: list[int] = field(default_factory=list)


@dataclass
class Report:
    """What was seen of an export so far. `tokens` and `longest` are estimates unless `is_exact`."""

    count_tokens: Count = estimated_tokens
    is_exact: bool = False
    examples: int = 0
    drafts: int = 0  # of them, nobody approved yet
    tokens: int = 0
    longest: int = 0
    found: dict[tuple[str, str], Finding] = field(default_factory=dict)

    def add(self, examples: Sequence[Example]) -> None:
        """Take a batch of examples into account."""
        tokens = list(map(self.count_tokens, examples))
        self.examples += len(tokens)
        self.tokens += sum(tokens)
        self.longest = max(self.longest, *tokens)
        if self.longest <= MOST_TOKENS and is_sound(examples):
            return
        for (number, roles, texts), length in zip(examples, tokens, strict=True):
            for fault in faults(roles, texts, length):
                finding = self.found.setdefault(fault, Finding(*fault))
                finding.count += 1
                if len(finding.first) < NAMED:
                    finding.first.append(number)

    @property
    def findings(self) -> list[Finding]:
        """What would be refused, the file as a whole first."""
        whole = []
        if self.examples < FEWEST_EXAMPLES:
            whole = [Finding(OPENAI, f"fewer than {FEWEST_EXAMPLES} examples")]
        return whole + [self.found[fault] for fault in FAULTS if fault in self.found]


def is_sound(examples: Sequence[Example]) -> bool:
    """Return whether no example of a batch has a fault but its length, which is seldom otherwise and quickly seen."""
    texts = chain.from_iterable(map(itemgetter(2), examples))
    return "" not in map(str.strip, texts) and not any(map(disorder, set(map(itemgetter(1), examples))))


def faults(roles: Roles, texts: Sequence[str], tokens: int) -> list[tuple[str, str]]:
    """Return why an example would be refused, each with the reader that would."""
    found = list(disorder(roles))
    if any(role == "assistant" and not text.strip() for role, text in zip(roles, texts, strict=True)):
        found.append(EMPTY)
    if tokens > MOST_TOKENS:
        found.append(TOO_LONG)
    return found


@lru_cache(maxsize=1000)
def disorder(roles: Roles) -> tuple[tuple[str, str], ...]:
    """Return why turns in this order would be refused."""
    spoken = roles[1:] if roles[:1] == ("system",) else roles
    found = []
    if "system" in spoken or spoken[-1:] != ("assistant",):
        found.append(DISORDER)
    if spoken[:1] != ("user",):
        found.append(NOT_FROM_USER)
    elif spoken != ("user", "assistant") * (len(spoken) // 2):
        found.append(NOT_ALTERNATING)
    return tuple(found)


def tokens_by(name: str) -> Count:
    """Return a function that counts the tokens of an example as a model does, its chat template included.

    Raises UserError where transformers is not installed or has no tokenizer of that name.
    """
    try:
        from transformers import AutoTokenizer  # seconds
    except ModuleNotFoundError as error:
        raise UserError(
            "--tokenizer needs transformers. Install it with: pip install 'qa-curator[train]', or take the estimate."
        ) from error
    from jinja2 import TemplateError

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(f"There is no tokenizer {name!r} here or on the Hugging Face hub.") from error

    def count(example: Example) -> int:
        _, roles, texts = example
        try:
            if tokenizer.chat_template:
                text = tokenizer.apply_chat_template(chat_of(roles, texts), tokenize=False)
                return len(tokenizer(text, add_special_tokens=False)["input_ids"])
        except TemplateError:
            pass  # a chat that the template refuses still has the tokens of its texts
        return sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)

    return count


def sentences(done: Report) -> Iterator[str]:
    """Yield a report as people read it."""
    counted = f"{done.tokens:,} tokens, {done.longest:,} in the longest."
    estimate = f"About {counted} Estimated at four bytes each; flask export --tokenizer NAME counts."
    yield counted if done.is_exact else estimate
    for finding in done.findings:
        yield explain(finding)
    if not done.findings:
        yield f"{OPENAI} and {TEMPLATE.lower()} would take all of it."


def explain(finding: Finding) -> str:
    """Say one finding: who refuses how many for what, and where to look."""
    if not finding.count:
        return f"{finding.reader} would refuse the file: it has {finding.reason}."
    numbers = ", ".join(f"{number}" for number in finding.first)
    plural = "s" if finding.count > 1 else ""
    more = ", …" if finding.count > len(finding.first) else ""
    return f"{finding.reader} would refuse {finding.count:,}: {finding.reason} (pair{plural} {numbers}{more})."

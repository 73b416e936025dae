"""The pass: looks at all pairs, or at those that changed, and writes down their flags. Goes on where it stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import checking
from curator.checking import COLUMNS, CONCERNS, State
from curator.errors import UserError
from curator.flags import BETWEEN, Rules
from curator.language import language_of
from curator.models import Changeset, Pair, Revision, writing
from curator.quality import nearly
from curator.quality.workers import looked_at

SLICE = 1000  # pairs that are read and written together: the writer's turn takes hundredths of a second
SAMPLE = 400  # pairs by which the language of a data set is told
LEAST_SAMPLE = 20  # of them whose language is sure
LEAST_SHARE = 0.8  # that the language of most has
Progress = Callable[..., object]


@dataclass(frozen=True)
class Done:
    """What a pass did."""

    looked_at: int  # pairs
    was_whole: bool  # all pairs were looked at, not just those that changed


def quiet(done: int, total: int | None = None, message: str = "") -> None:
    """Take no note."""


def rules_of(context: int, tokenizer: str) -> Rules:
    """Return the rules that settings ask for. Raises UserError where there is no such tokenizer."""
    if context < 0:
        raise UserError(f"CURATOR_CONTEXT is {context}. Set it to a number of tokens, or to 0 for any length.")
    if tokenizer:
        path = Path(tokenizer).expanduser()
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise UserError(
                f"CURATOR_TOKENIZER names {path}, which is not there. Name a tokenizer.json, or its folder."
            )
        tokenizer = str(path.absolute())
        try:
            from curator.flags import count_tokens

            count_tokens("a", tokenizer)
        except Exception as error:  # the library raises no type of its own
            raise UserError(f"CURATOR_TOKENIZER {path} is no tokenizer of the library tokenizers: {error}") from error
    return Rules(context=context, tokenizer=tokenizer)


def check(
    session: Session, rules: Rules, home: Path | None = None, everything: bool = False, on_progress: Progress = quiet
) -> Done:
    """Bring the flags up to date: of pairs that changed, or of all where the rules are others or `everything` is set.

    A pass that was stopped goes on where it was. Others may write meanwhile.
    """
    number, was_whole = 0, False
    stands = begin(session, rules, everything)
    while True:
        if stands.after is not None:
            was_whole = was_whole or not stands.since
            number += go_on(session, stands, on_progress)
        stands = begin(session, rules)
        if stands.after is None:
            break
    if home is not None:
        nearly.enter(session, home, on_progress)
    return Done(number, was_whole)


def begin(session: Session, rules: Rules, everything: bool = False) -> State:
    """Write down what a pass is about to look at, and return it; `after` is None where there is nothing."""
    stands = checking.state(session)
    main = languages(session, stands.rules.main if stands else {})
    learned = [int(name) for name, language in main.items() if language and stands and name not in stands.rules.main]
    everything = everything or any(
        began(session, dataset_id) <= stands.changeset_id for dataset_id in learned if stands
    )
    with writing(session):
        stands = checking.state(session, hold=True)
        newest = session.scalar(sa.select(sa.func.max(Changeset.id))) or 0
        wanted = replace(rules, main=main)
        if stands is None or everything or not stands.rules.is_like(wanted):
            stands = State(wanted, newest, since=0, after=0)
        elif stands.after is None and stands.changeset_id < newest:
            stands = State(wanted, newest, since=stands.changeset_id, after=0)
        else:
            return stands
        checking.set_state(session, stands)
    return stands


def began(session: Session, dataset_id: int) -> int:
    """Return the change that added the first pair of a data set: if it is checked, nobody knew the language then."""
    first = sa.select(sa.func.min(Pair.id)).where(Pair.dataset_id == dataset_id).scalar_subquery()
    added = sa.select(Revision.changeset_id).where(Revision.pair_id == first, Revision.number == 1)
    return session.scalar(added) or 0


def languages(session: Session, known: Any) -> dict[str, str]:
    """Return the language that most pairs of each data set are in, empty where there is none; what is known stays.

    A data set with too few texts to tell is left out, and asked again by the next pass.
    """
    found = {}
    for (dataset_id,) in session.execute(sa.text("SELECT id FROM dataset")).all():
        name = str(dataset_id)
        if name in known:
            found[name] = known[name]
            continue
        # From all over: files often come one language after the other.
        low, high = session.execute(
            sa.select(sa.func.min(Pair.id), sa.func.max(Pair.id)).where(Pair.dataset_id == dataset_id)
        ).one()
        if low is None:
            continue
        step = max((high - low + 1) // SAMPLE, 1)
        places = list(range(low, high + 1, step))
        rows = session.execute(
            sa.select(Pair.answer).where(Pair.id.in_(places), Pair.dataset_id == dataset_id, ~Pair.trashed)
        )
        told = Counter(code for (answer,) in rows if (code := language_of(answer)))
        if told.total() >= LEAST_SAMPLE:
            language, number = told.most_common(1)[0]
            found[name] = language if number >= LEAST_SHARE * told.total() else ""
    session.rollback()
    return found


def go_on(session: Session, stands: State, on_progress: Progress) -> int:
    """Do what is left of a pass. Return how many pairs were looked at."""
    rows = changed(stands.since)
    total = count(session, rows, stands)
    # What a stopped pass had touched is not known, so all that ask the same are compared.
    keys: set[int] | None = None if not stands.since or stands.after else set()
    number = 0
    for some, found in looked_at(slices(session, rows, stands), stands.rules, total):
        with writing(session):
            ids = checking.numbers(row[0] for row in some)
            rows_now = session.execute(sa.text(f"SELECT id, revision FROM pair WHERE id IN ({ids})"))
            there = {pair_id: revision for pair_id, revision in rows_now}
            # What changed since it was read was flagged by its own change, or is looked at once more.
            same = [one for row, one in zip(some, found, strict=True) if there.get(row[0]) == row[-1]]
            touched = checking.put(session, same)
            stands = advance(session, stands, some[-1][0])
        if keys is not None:
            keys |= touched
        number += len(some)
        on_progress(number, total, "Checking")
    relate(session, keys, on_progress)
    with writing(session):
        stands = checking.state(session, hold=True) or stands
        checking.set_state(session, replace(stands, since=0, after=None))
    return number


def advance(session: Session, stands: State, after: int) -> State:
    """Write down how far a pass is; a change that came meanwhile may have moved the flags on."""
    stands = replace(checking.state(session) or stands, after=after)
    checking.set_state(session, stands)
    return stands


def changed(since: int) -> str:
    """Return the condition of SQL that a pair was changed after a changeset; all were after the first."""
    if not since:
        return "id > :after"
    return f"id > :after AND id IN (SELECT pair_id FROM revision WHERE changeset_id > {int(since)} AND {CONCERNS})"


def count(session: Session, where: str, stands: State) -> int:
    """Return how many pairs a pass has before it."""
    number = session.execute(sa.text(f"SELECT count(*) FROM pair WHERE {where}"), {"after": stands.after}).scalar()
    return int(number or 0)


def slices(session: Session, where: str, stands: State) -> Iterator[list[Sequence[Any]]]:
    """Yield the pairs that a pass has before it."""
    last = stands.after
    some = sa.text(f"SELECT {COLUMNS} FROM pair WHERE {where} ORDER BY id LIMIT {SLICE}")
    while rows := session.execute(some, {"after": last}).all():
        session.rollback()  # a reader that stays keeps the log of SQLite from being folded
        yield list(rows)
        last = rows[-1][0]


def relate(session: Session, keys: set[int] | None, on_progress: Progress) -> None:
    """Flag pairs that ask the same as another one: of some questions, or of all."""
    if keys is None:
        shared = "SELECT key FROM pair_question GROUP BY key HAVING count(*) > 1"
        keys = set(session.scalars(sa.text(shared)))
        still = set(session.scalars(sa.text(f"SELECT pair_id FROM pair_question WHERE key IN ({shared})")))
        flagged = sa.text(f"SELECT pair_id FROM pair_flag WHERE flag IN {BETWEEN}")
        alone = sorted(set(session.scalars(flagged)) - still)
        for some in checking.in_slices(alone, SLICE):
            with writing(session):
                checking.single_out(session, some)
    ordered = sorted(keys)
    for start, some in enumerate(checking.in_slices(ordered, SLICE)):
        with writing(session):
            checking.relate(session, some)
        on_progress(start * SLICE + len(some), len(ordered), "Comparing answers")

"""Pairs: add, edit, set their status, trash and restore them. Every write goes through `history`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import bitmaps, history
from curator.errors import Conflict, NotFound, UserError
from curator.models import Changeset, Dataset, Pair, writing
from curator.words import STATUSES

EDITABLE = ("question", "answer", "system", "history", "status", "tags", "source", "notes")
DEFAULT_DATASET = "main"
ROLES = ("system", "user", "assistant")
BATCH = 5000  # pairs that are changed by one statement


class AlreadyThere(UserError):
    """The identical pair is in the data set already."""

    def __init__(self, pair_id: int) -> None:
        super().__init__(f"Pair {pair_id} has the same text already. Edit that one, or change this one.")
        self.pair_id = pair_id


def datasets(session: Session) -> list[tuple[str, int]]:
    """Return the data sets by name, each with its number of pairs outside the trash."""
    if index := bitmaps.ready(session):
        with index.lock:
            bitmaps.now(session)
            names = session.execute(sa.select(Dataset.name, Dataset.id).order_by(Dataset.name))
            return [(name, len(index.live & index.having("dataset", number))) for name, number in names]
    live = sa.func.count(Pair.id).filter(~Pair.trashed)
    rows = session.execute(sa.select(Dataset.name, live).outerjoin(Pair).group_by(Dataset.id).order_by(Dataset.name))
    return [(name, count) for name, count in rows]


def dataset_names(session: Session) -> dict[int, str]:
    """Return the names of the data sets by their ids, which are what the history keeps."""
    return {place.id: place.name for place in session.scalars(sa.select(Dataset))}


def dataset_named(session: Session, name: str, create: bool = False) -> Dataset:
    """Return the data set of that name; made when `create` is on, else NotFound lists the names there are."""
    name = " ".join(name.split())
    if not name or len(name) > 100:
        raise UserError("A data set needs a name of 1 to 100 characters.")
    dataset = session.scalar(sa.select(Dataset).where(Dataset.name == name))
    if dataset is None and create:
        dataset = Dataset(name=name)
        session.add(dataset)
        session.flush()
    if dataset is None:
        names = ", ".join(name for name, _ in datasets(session)) or "none yet"
        raise NotFound(f"There is no data set {name!r}. There is: {names}.")
    return dataset


def get(session: Session, pair_id: int) -> Pair:
    """Return one pair, in the trash or not."""
    pair = session.get(Pair, pair_id)
    if pair is None:
        raise NotFound(f"There is no pair {pair_id}.")
    return pair


def add(
    session: Session,
    *,
    question: str,
    answer: str,
    by: str,
    dataset: str = DEFAULT_DATASET,
    system: str = "",
    earlier: Iterable[Mapping[str, str]] = (),
    status: str = "draft",
    tags: Iterable[str] = (),
    source: str = "",
    notes: str = "",
) -> Pair:
    """Add one pair. Raises UserError where a text is missing, AlreadyThere where the same one is there."""
    values = checked({
        "question": question, "answer": answer, "system": system, "history": list(earlier),
        "status": status, "tags": list(tags), "source": source, "notes": notes,
    })  # fmt: skip
    with writing(session):
        place = dataset_named(session, dataset, create=True)
        values |= {"dataset_id": place.id, "fingerprint": history.fingerprint_of(values)}
        same = twin(session, place.id, values["fingerprint"])
        if same is not None:
            raise AlreadyThere(same)
        changeset = history.begin(session, "added", by)
        (pair_id,) = history.add(session, changeset, [values])
    return get(session, pair_id)


def edit(
    session: Session,
    pair_id: int,
    changes: Mapping[str, Any],
    *,
    revision: int,
    by: str,
    restore: bool = False,
    action: str = "edited",
    reason: str = "",
) -> Changeset | None:
    """Change fields of one pair, taken out of the trash if asked; None where nothing differs.

    `revision` is the one that the editor saw: Conflict where somebody changed the pair since, or put it into the trash.
    """
    values = checked({name: changes[name] for name in EDITABLE if name in changes})
    values |= {"trashed": False} if restore else {}
    with writing(session):
        # On PostgreSQL two editors may be here at once; the second waits, and then sees the first one's text.
        pair = session.get(Pair, pair_id, with_for_update=True) or get(session, pair_id)
        if pair.trashed and not restore:
            raise Conflict(
                f"Pair {pair_id} was put into the trash by {pair.updated_by}. "
                "Restore it with your text, or leave it there."
            )
        if pair.revision != revision:
            raise Conflict(
                f"Pair {pair_id} was changed by {pair.updated_by} since you opened it. "
                "Compare the two, then save again to keep yours."
            )
        text = {name: getattr(pair, name) for name in history.TEXT_FIELDS} | values
        same = twin(session, pair.dataset_id, history.fingerprint_of(text), but=pair.id)
        if same is not None:
            raise AlreadyThere(same)
        changeset = history.begin(session, action, by, reason)
        if history.change(session, changeset, pair, values):
            return changeset
        session.delete(changeset)
    return None


def restore_version(session: Session, pair_id: int, number: int, *, revision: int, by: str) -> Changeset | None:
    """Give a pair the text, status, tags and notes that it had after one of its changes; None where it has them.

    Raises as `edit` does.
    """
    then = history.version_of(session, pair_id, number)
    values = {name: then[name] for name in EDITABLE}
    return edit(session, pair_id, values, revision=revision, by=by, action="restored", reason=f"version {number}")


def set_status(session: Session, pair_ids: Iterable[int], status: str, by: str) -> Changeset:
    """Approve, reject or put back to draft; pairs that stand so already are not counted."""
    if status not in STATUSES:
        raise UserError(f"{status!r} is no status. Choose one of: {', '.join(STATUSES)}.")
    action = {"draft": "put back to draft"}.get(status, status)
    return change_all(session, pair_ids, {"status": status}, action, by)


def trash(session: Session, pair_ids: Iterable[int], by: str) -> Changeset:
    """Put pairs into the trash: out of every list and export, and restorable."""
    return change_all(session, pair_ids, {"trashed": True}, "trashed", by)


def restore(session: Session, pair_ids: Iterable[int], by: str) -> Changeset:
    """Take pairs out of the trash."""
    return change_all(session, pair_ids, {"trashed": False}, "restored", by)


def change_all(session: Session, pair_ids: Iterable[int], values: Mapping[str, Any], action: str, by: str) -> Changeset:
    """Give many pairs the same values in one changeset; its `rows` says how many differed."""
    wanted = list(dict.fromkeys(pair_ids))
    with writing(session), history.in_bulk(session):
        changeset = history.begin(session, action, by)
        for start in range(0, len(wanted), BATCH):
            some = wanted[start : start + BATCH]
            there = session.execute(sa.select(*history.CHANGEABLE).where(Pair.id.in_(some))).all()
            for gone in sorted(set(some) - {pair.id for pair in there}):
                get(session, gone)
            history.change_many(session, changeset, [(pair, values) for pair in there])
    return changeset


def twin(session: Session, dataset_id: int, fingerprint: str, but: int | None = None) -> int | None:
    """Return the id of the pair outside the trash that has this very text, if there is one."""
    return session.scalar(
        sa.select(Pair.id)
        .where(Pair.dataset_id == dataset_id, Pair.fingerprint == fingerprint, ~Pair.trashed, Pair.id != but)
        .order_by(Pair.id)
        .limit(1)
    )


def parse_tags(text: str) -> list[str]:
    """Return the tags of a comma-separated text, each once, in its order, white space folded."""
    return list(dict.fromkeys(tag for part in text.split(",") if (tag := " ".join(part.split()))))


def checked(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a pair, or raise UserError naming the first that a pair cannot have."""
    for name in ("question", "answer"):
        if name in values and not str(values[name]).strip():
            raise UserError(f"The {name} is empty. Write one, or trash the pair.")
    if "status" in values and values["status"] not in STATUSES:
        raise UserError(f"{values['status']!r} is no status. Choose one of: {', '.join(STATUSES)}.")
    for turn in values.get("history", ()):
        if turn.get("role") not in ROLES or not str(turn.get("content", "")).strip():
            raise UserError("An earlier turn needs a role (system, user or assistant) and a text.")
    if "history" in values:
        values["history"] = [{"role": t["role"], "content": t["content"]} for t in values["history"]]
    for name, value in values.items():
        strings = [turn["content"] for turn in value] if name == "history" else value
        for string in [strings] if isinstance(strings, str) else strings:
            fault = unstorable(string)
            if fault:
                raise UserError(f"The {name} holds {fault}, which no database keeps. Remove it.")
    return values


def unstorable(string: str) -> str | None:
    """Name the character of a text that SQLite, PostgreSQL or UTF-8 cannot carry; None if there is none."""
    if "\0" in string:
        return "a NUL character"
    if not string.isascii() and any("\ud800" <= c <= "\udfff" for c in string):
        return "half of a surrogate pair"
    return None

"""Which pairs must not straddle a split: near-duplicates, equal questions, one conversation, one document.

Rows stream past as arrays, never as objects, so that a million fit. Knows no sides: `splits` deals them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import minhash, text
from curator.duplicates import REVIEW, SHINGLE, reading
from curator.errors import UserError
from curator.models import Pair, Version, VersionLine
from curator.words import SPLITS

BATCH = 5000
PIN = "split:"  # a tag that begins so says on which side a pair is to be
SAYS_MUCH = 20  # letters of an opening that nobody else begins with: below, "Hi" begins many conversations
STRATIFY = ("tag", "source")
Progress = Callable[[int, int | None, str], object]


@dataclass
class Rows:
    """Pairs in the order of their ids, a place in each array: those to be frozen, and others that bind them."""

    ids: Any  # int64
    prints: Any  # uint8, shape (rows, 32): the fingerprint of each
    chosen: Any  # bool: to be frozen; the others were frozen before
    pinned: Any  # int8: the side that a tag says, -1 for none
    strata: Any  # int32
    names: list[str]  # of the strata
    sources: Any  # int32, places in `source_names`
    source_names: list[str]
    near: tuple[Any, Any]  # places that are verified near-duplicates, two by two
    links: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # the same of other reasons, by their name
    complete: bool = True  # whether all that is near was looked at


def read(
    session: Session, where: Sequence[Any], has_versions: bool, group_by: str, stratify: str, on_progress: Progress
) -> Rows:
    """Return the pairs that meet conditions and, with them, those that an earlier version holds.

    Raises UserError where a tag pins a pair to no split, or no pair has the field `group_by`.
    """
    import numpy as np

    if stratify and stratify not in STRATIFY:
        raise UserError(f"There is no balance by {stratify!r}. Take one of: {', '.join(STRATIFY)}.")
    ids, chosen, pinned, strata = array("q"), bytearray(), array("b"), array("i")
    prints, names = bytearray(), dict.fromkeys([""], 0)
    sources, source_names = array("i"), dict.fromkeys([""], 0)
    keys = {name: array("Q") for name in ("equal questions", "conversations", "documents")}
    total = session.scalar(sa.select(sa.func.count()).select_from(Pair).where(*where)) or 0

    def texts() -> Iterator[str]:
        for rows in batches(session, where, has_versions, group_by == "" or group_by == "source"):
            ids.extend(row[0] for row in rows)
            prints.extend(bytes.fromhex("".join(row[1] for row in rows)))
            chosen.extend(bool(row[2]) for row in rows)
            for pair_id, _, _, question, answer, turns, tags, source, meta in rows:
                own, begins = openings(question, answer, turns)
                keys["equal questions"].append(own)
                keys["conversations"].append(begins)
                value = source if group_by == "source" else orjson.loads(meta).get(group_by) if group_by else None
                keys["documents"].append(number_of(f"{value}") if value not in (None, "") else 0)
                pinned.append(side_pinned(pair_id, tags) if PIN in tags else -1)
                balanced = source if stratify == "source" else first_tag(tags) if stratify else ""
                sources.append(source_names.setdefault(source, len(source_names)))
                strata.append(names.setdefault(balanced, len(names)))
                yield f"{question}\n{answer}"

    def take(places: Sequence[int]) -> list[Any]:
        found = reading.of_ids(session, f"id, {reading.TEXTS['pair']}", [ids[place] for place in places])
        return [row[1] for row in found]

    def tell(stage: str, done: int, of: int) -> None:
        on_progress(done, of or total, minhash.STAGES[stage])

    similar = minhash.find_similar(
        texts(), REVIEW, SHINGLE, take=take, scheme=minhash.choose(REVIEW, SHINGLE, minhash.nearest_size(total)),
        on_progress=tell,
    )  # fmt: skip
    links = {name: linked(np.frombuffer(key, np.uint64)) for name, key in keys.items()}
    if group_by and not any(keys["documents"]):
        raise UserError(f"No pair has a field {group_by!r} to group by. Name one of the source, or leave it out.")
    return Rows(
        ids=np.frombuffer(ids, np.int64), prints=np.frombuffer(prints, np.uint8).reshape(-1, 32),
        chosen=np.frombuffer(chosen, np.bool_), pinned=np.array(pinned, np.int8),
        strata=np.array(strata, np.int32), names=list(names),
        sources=np.array(sources, np.int32), source_names=list(source_names),
        near=(similar.left, similar.right), links=links, complete=similar.complete,
    )  # fmt: skip


def batches(session: Session, where: Sequence[Any], has_versions: bool, without_meta: bool) -> Iterator[Sequence[Any]]:
    """Yield rows of what is read of each pair, some at a time, in the order of their ids."""
    wanted = sa.and_(*where)
    columns = (
        Pair.id, Pair.fingerprint, wanted.label("chosen") if has_versions else sa.literal(1), Pair.question,
        Pair.answer, sa.cast(Pair.history, sa.Text), sa.cast(Pair.tags, sa.Text), Pair.source,
        sa.literal("{}") if without_meta else sa.cast(Pair.meta, sa.Text),
    )  # fmt: skip
    if has_versions:
        # Lines are found by version and pair, so all versions are named.
        before = sa.exists().where(VersionLine.pair_id == Pair.id, VersionLine.version_id.in_(sa.select(Version.id)))
        wanted = sa.or_(wanted, sa.and_(~Pair.trashed, before))
    rows = session.connection().execute(
        sa.select(*columns).where(wanted).order_by(Pair.id), execution_options={"yield_per": BATCH}
    )
    yield from rows.partitions()


def openings(question: str, answer: str, turns: str) -> tuple[int, int]:
    """Return numbers for what a pair asks, 0 in the midst of a conversation, and for how its conversation begins.

    What is asked later ("And then?") is asked in many conversations that have nothing to do with each other.
    """
    asked = text.normalise(question) or question
    if turns == "[]":
        begins = asked if len(asked) >= SAYS_MUCH else f"{asked}\n{text.normalise(answer)}"
        return number_of(asked), number_of(begins)
    said = [turn for turn in orjson.loads(turns) if turn["role"] != "system"]
    first = next((turn["content"] for turn in said if turn["role"] == "user"), question)
    begins = text.normalise(first) or first
    if len(begins) < SAYS_MUCH:
        reply = next((turn["content"] for turn in said if turn["role"] == "assistant"), answer)
        begins = f"{begins}\n{text.normalise(reply)}"
    return 0, number_of(begins)


def number_of(words: str) -> int:
    """Return 64 bits for a text, never 0: of a million texts two agree by accident once in 37 million times."""
    return int.from_bytes(blake2b(words.encode(), digest_size=8).digest(), "little") or 1


def side_pinned(pair_id: int, tags: str) -> int:
    """Return the side that a tag says: split:test. Raises UserError where it is none, or there are two."""
    said = {tag.removeprefix(PIN) for tag in orjson.loads(tags) if tag.startswith(PIN)}
    if not said:
        return -1
    if len(said) > 1 or not said <= set(SPLITS):
        raise UserError(
            f"Pair {pair_id} is tagged {' and '.join(PIN + side for side in sorted(said))}, which is not one split. "
            f"Choose one of: {', '.join(PIN + side for side in SPLITS)}."
        )
    return SPLITS.index(said.pop())


def first_tag(tags: str) -> str:
    """Return the first tag that is no pin."""
    return next((tag for tag in orjson.loads(tags) if not tag.startswith(PIN)), "") if tags != "[]" else ""


def linked(keys: Any) -> tuple[Any, Any]:
    """Return which places have the same key, each joined to the next one that has; 0 is no key."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    same = (keys[order[1:]] == keys[order[:-1]]) & (keys[order[1:]] != 0)
    return order[:-1][same], order[1:][same]


def groups(rows: Rows, further: Sequence[tuple[Any, Any]] = ()) -> Any:
    """Return of each place the first place of its group: all that hang together by any reason, over others too."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = [rows.near, *rows.links.values(), *further]
    left, right = (np.concatenate([edge[side] for edge in edges]) for side in (0, 1))
    count = len(rows.ids)
    net = coo_matrix((np.ones(len(left), np.int32), (left, right)), shape=(count, count))
    label = connected_components(net, directed=False)[1]
    return np.unique(label, return_index=True)[1][label] if count else label

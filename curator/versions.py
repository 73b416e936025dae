"""Versions: frozen text with its split, named by number and fingerprint; leak-free and the same for ever."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import duplicates, search, text
from curator.errors import NotFound, UserError
from curator.models import Changeset, Line, Pair, Revision, Version, VersionLine, writing
from curator.pairs import dataset_named
from curator.search import Selection
from curator.words import SPLITS

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def all(session: Session) -> list[Version]:
    """Return every version, the newest first."""
    return list(session.scalars(sa.select(Version).order_by(Version.id.desc())))


def count(session: Session) -> int:
    """Return how many versions there are."""
    return session.scalar(sa.select(sa.func.count(Version.id))) or 0


def get(session: Session, number: int) -> Version:
    """Return one version by its number."""
    version = session.get(Version, number)
    if version is None:
        known = ", ".join(str(v.id) for v in all(session)[:10]) or "none yet; make one with: flask freeze"
        raise NotFound(f"There is no version {number}. There is: {known}.")
    return version


def freeze(
    session: Session,
    selection: Selection,
    *,
    by: str,
    shares: Mapping[str, float] = SHARES,
    seed: int = 1,
    name: str = "",
    note: str = "",
) -> tuple[Version, bool]:
    """Keep the text of a selection for ever, with a split. Return the version, and whether it is new.

    The same content with the same split is the same version. Near-duplicates, equal questions and
    turns of one conversation stay on one side, and a pair keeps the side it had in the version
    before. Raises UserError where the shares don't add up or too few pairs are there to split.
    """
    shares = checked_shares(shares)
    with writing(session):
        chosen = sa.select(Pair).where(*search.conditions(session, selection)).order_by(Pair.id)
        pairs = list(session.scalars(chosen))
        if not pairs:
            raise UserError("The selection holds no pair, so there is nothing to freeze.")
        groups = grouped(pairs)
        sides = split(groups, shares, seed, earlier_sides(session, pairs))
        digest = hashlib.sha256()
        for pair in pairs:
            digest.update(f"{sides[pair.id]} {pair.fingerprint}\n".encode())
        same = session.scalar(sa.select(Version).where(Version.fingerprint == digest.hexdigest()))
        if same is not None:
            return same, False
        counts = Counter(sides.values())
        version = Version(
            name=name,
            note=note,
            dataset_id=dataset_named(session, selection.dataset).id if selection.dataset else None,
            fingerprint=digest.hexdigest(),
            selection=selection.to_args(),
            shares=dict(shares),
            counts={side: counts[side] for side in SPLITS},
            seed=seed,
            changeset_id=session.scalar(sa.select(sa.func.max(Changeset.id))),
            created_by=by,
        )
        session.add(version)
        session.flush()
        line_ids = keep_lines(session, pairs)
        session.execute(
            sa.insert(VersionLine),
            [
                {"version_id": version.id, "position": place, "line_id": line_ids[pair.fingerprint],
                 "pair_id": pair.id, "split": sides[pair.id]}
                for place, pair in enumerate(pairs, 1)
            ],
        )  # fmt: skip
    return version, True


def checked_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each split, or raise UserError where they are no shares of one whole."""
    whole = {side: float(shares.get(side, 0)) for side in SPLITS}
    if min(whole.values()) < 0 or abs(sum(whole.values()) - 1) > 1e-9 or not whole["train"]:
        given = " + ".join(f"{value:g}" for value in whole.values())
        raise UserError(f"The shares {given} make {sum(whole.values()):g}, not 1. For example: 80/10/10.")
    return whole


def keep_lines(session: Session, pairs: list[Pair]) -> dict[str, int]:
    """Store the text of pairs that no version holds yet. Return the line of each fingerprint."""
    chats = {p.fingerprint: text.messages(p.question, p.answer, p.system, p.history) for p in pairs}
    kept = lines_of(session, list(chats))
    new = [fingerprint for fingerprint in chats if fingerprint not in kept]
    if new:
        session.execute(sa.insert(Line), [{"fingerprint": f, "messages": chats[f]} for f in new])
        kept |= lines_of(session, new)
    return kept


def lines_of(session: Session, fingerprints: list[str]) -> dict[str, int]:
    """Return the ids of the lines that are stored under these fingerprints."""
    found: dict[str, int] = {}
    for start in range(0, len(fingerprints), 500):
        some = fingerprints[start : start + 500]
        rows = session.execute(sa.select(Line.fingerprint, Line.id).where(Line.fingerprint.in_(some)))
        found.update({fingerprint: line_id for fingerprint, line_id in rows})
    return found


def grouped(pairs: list[Pair]) -> list[list[Pair]]:
    """Put together what must not straddle a split: near-duplicates, equal questions, one conversation."""
    leader: dict[int, int] = {pair.id: pair.id for pair in pairs}

    def find(a: int) -> int:
        while leader[a] != a:
            leader[a] = leader[leader[a]]
            a = leader[a]
        return a

    def join(a: int, b: int) -> None:
        one, other = sorted((find(a), find(b)))
        leader[other] = one

    first: dict[str, int] = {}
    for pair in pairs:
        # A conversation is known by how it begins: its first turn from the user.
        opening = next((turn["content"] for turn in pair.history if turn["role"] == "user"), pair.question)
        for key in {f"q {text.normalise(pair.question)}", f"q {text.normalise(opening)}"}:
            join(first.setdefault(key, pair.id), pair.id)
    alike = duplicates.similar(pairs)
    for a, b in zip(alike.left, alike.right, strict=True):
        join(pairs[a].id, pairs[b].id)
    groups: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[find(pair.id)].append(pair)
    return list(groups.values())


def split(groups: list[list[Pair]], shares: Mapping[str, float], seed: int, known: Mapping[int, str]) -> dict[int, str]:
    """Return the side of each pair: whole groups, known sides kept, the rest dealt out by a seeded hash.

    Sizes come as near to the shares as whole groups allow. Raises UserError where a split that was
    asked for would be empty.
    """
    total = sum(map(len, groups))
    wanted = {side: share * total for side, share in shares.items()}
    sides: dict[int, str] = {}
    filled: Counter[str] = Counter()

    def put(group: list[Pair], side: str) -> None:
        sides.update({pair.id: side for pair in group})
        filled[side] += len(group)

    free = []
    for group in groups:
        before = Counter(known[pair.id] for pair in group if pair.id in known)
        # Where two sides meet in one group, the training side gives way: what was held out stays unseen.
        held = [side for side in ("test", "validation", "train") if before[side]]
        if held:
            put(group, held[0])
        else:
            free.append(group)

    def order(group: list[Pair]) -> str:
        key = min(text.normalise(pair.question) + pair.fingerprint for pair in group)
        return hashlib.sha256(f"{seed} {key}".encode()).hexdigest()

    for group in sorted(free, key=order):
        for side in ("test", "validation"):
            # Deal to a held-out side while the group brings it nearer to its size than leaving it out.
            if filled[side] + len(group) / 2 <= wanted[side] or (wanted[side] and not filled[side]):
                put(group, side)
                break
        else:
            put(group, "train")
    empty = [side for side in SPLITS if shares[side] and not filled[side]]
    if empty:
        raise UserError(
            f"{total:,} pairs in {len(groups):,} groups of near-duplicates are too few for "
            f"{len([s for s in shares.values() if s])} splits: {' and '.join(empty)} would be empty. "
            "Add pairs, or freeze with --split 100/0/0."
        )
    return sides


def earlier_sides(session: Session, pairs: list[Pair]) -> dict[int, str]:
    """Return the side that each pair had in the newest version that held it."""
    wanted = {pair.id for pair in pairs}
    rows = session.execute(sa.select(VersionLine.pair_id, VersionLine.split).order_by(VersionLine.version_id))
    return {pair_id: side for pair_id, side in rows if pair_id in wanted}


def chats(session: Session, number: int, split: str | None = None) -> Iterator[list[dict[str, str]]]:
    """Yield the frozen messages of a version in their order, or those of one split."""
    get(session, number)
    if split is not None and split not in SPLITS:
        raise UserError(f"There is no split {split!r}. Choose one of: {', '.join(SPLITS)}.")
    statement = (
        sa.select(Line.messages)
        .join(VersionLine, VersionLine.line_id == Line.id)
        .where(VersionLine.version_id == number, *([VersionLine.split == split] if split else []))
        .order_by(VersionLine.position)
        .execution_options(yield_per=1000)
    )
    for messages in session.scalars(statement):
        yield [{"role": message["role"], "content": message["content"]} for message in messages]


def sample_lines(session: Session, number: int, split: str, limit: int = 5) -> list[list[dict[str, str]]]:
    """Return the first lines of a split, to look at."""
    return [chat for chat, _ in zip(chats(session, number, split), range(limit), strict=False)]


def changed_since(session: Session, version: Version) -> int:
    """Return how many pairs of its data set were added or changed since a version was frozen."""
    where = [Revision.changeset_id > (version.changeset_id or 0)]
    if version.dataset_id:
        where.append(Pair.dataset_id == version.dataset_id)
    touched = sa.select(sa.func.count(Revision.pair_id.distinct())).join(Pair, Pair.id == Revision.pair_id)
    return session.scalar(touched.where(*where)) or 0


def cleaning_before(session: Session, version: Version) -> list[dict[str, Any]]:
    """Return the changesets that cleaned or de-duplicated its pairs and were not undone when it was frozen."""
    undone = sa.select(Changeset.undoes_id).where(Changeset.undoes_id.is_not(None))
    rows = session.scalars(
        sa.select(Changeset)
        .where(
            Changeset.action.in_(("cleaned", "merged duplicates")),
            Changeset.id <= (version.changeset_id or 0),
            Changeset.id.not_in(undone),
        )
        .order_by(Changeset.id)
    )
    return [
        {"changeset": c.id, "action": c.action, "reason": c.reason, "rows": c.rows, "at": c.at.isoformat()}
        for c in rows
    ]


def card(session: Session, version: Version, ending: str = "jsonl") -> str:
    """Return the dataset card: README.md with the front matter that Hugging Face reads; `ending` is its files'."""
    title = version.dataset.name if version.dataset else "All data sets"
    files = "\n".join(
        f"      - split: {side}\n        path: {side}.{ending}" for side in SPLITS if version.counts.get(side)
    )
    splits = "\n".join(f"| {side} | {version.counts.get(side, 0):,} |" for side in SPLITS)
    steps = cleaning_before(session, version)
    cleaned = "\n".join(f"- {s['action']}: {s['reason']} ({s['rows']:,} pairs)" for s in steps) or "- none"
    return (
        f"---\nconfigs:\n  - config_name: default\n    data_files:\n{files}\n---\n\n"
        f"# {title}, version {version.id}\n\n"
        + (f"{version.note}\n\n" if version.note else "")
        + f"Questions and answers as chat messages, frozen on {version.created_at:%d %B %Y}.\n\n"
        f"| split | lines |\n|---|---|\n{splits}\n\n"
        "Near-duplicates, equal questions and turns of one conversation are on one side of the split.\n\n"
        f"## Cleaning\n\n{cleaned}\n\n"
        f"Fingerprint: `{version.fingerprint}`. Made with Curator.\n"
    )

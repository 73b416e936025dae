"""What was found, as people look at it: clusters of pairs that hang together, in stars around the pair to keep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator import minhash
from curator.duplicates import reading
from curator.duplicates.dismissing import dismissed_now
from curator.duplicates.findings import Findings
from curator.duplicates.judging import Differ, differ_of, fact, said
from curator.duplicates.remembering import once
from curator.duplicates.searching import components
from curator.models import Pair, Rating, Revision, Sample

PINNED = "pinned"  # the tag of a pair that stays, whatever else is there
BEST_STATUS = {"approved": 0, "draft": 1, "rejected": 2}
SHOWN = 100  # members of one star that are shown


@dataclass(frozen=True)
class Member:
    """A pair that is like the one to keep."""

    pair: Pair
    similarity: float  # to the pair that is kept
    fact: str | None  # why it may state another fact, as half a sentence: it never goes by itself then
    elsewhere: float | None  # how similar the other text is, of contradictions and boilerplate


@dataclass(frozen=True)
class Star:
    """The pair to keep, and those that are like it, the most alike first."""

    kept: Pair
    members: list[Member]
    size: int  # members, those that are not shown too


@dataclass(frozen=True)
class Cluster:
    """Pairs that hang together: one star, or more where its ends are unlike. The star of the best pair comes first."""

    stars: list[Star]
    size: int  # pairs

    @property
    def pairs(self) -> list[Pair]:
        """The pairs that are shown, the one to keep first."""
        return [pair for star in self.stars for pair in (star.kept, *(member.pair for member in star.members))]

    @property
    def similarity(self) -> float:
        """How similar the two pairs are that are most alike."""
        return max((member.similarity for star in self.stars for member in star.members), default=0.0)


@dataclass(frozen=True)
class Clusters:
    """Some of the clusters, and how many there are of them and of the pairs in them."""

    clusters: list[Cluster]
    total: int
    pairs: int


@dataclass(frozen=True)
class Stand:
    """How a pair stands now, beside what its text says."""

    id: int
    rank: tuple[Any, ...]  # the least is the one to keep
    status: str


def clusters(
    session: Session, findings: Findings, threshold: float | None = None, start: int = 0, limit: int = 25,
    below: float | None = None,
) -> Clusters:  # fmt: skip
    """Return some of the clusters at a threshold, those with the most similar pairs first.

    `below` takes only those with a pair that comes no closer than that to any: what a bar of `histogram` counts.

    The pair to keep is a pinned one, then an approved one, then the one whose samples are rated best, then the one
    with the longer answer, then the older. Pairs that went into the trash or say something else since the search
    are left out, and so is what somebody said is no duplicate.
    """
    net = Net(session, findings, findings.threshold if threshold is None else threshold)
    order, sizes = net.in_order(below)
    return Clusters(drawn(session, net, order[start : start + limit]), len(order), int(sizes.sum()))


def each_cluster(session: Session, findings: Findings, threshold: float | None = None) -> Iterator[Cluster]:
    """Yield all of the clusters, as `clusters` does some, each with all of its pairs."""
    net = Net(session, findings, findings.threshold if threshold is None else threshold)
    order, _ = net.in_order()
    for start in range(0, len(order), 500):
        yield from drawn(session, net, order[start : start + 500], shown=None)
        session.expunge_all()  # objects of a hundred thousand clusters would fill the memory


def drawn(session: Session, net: Net, labels: Any, shown: int | None = SHOWN) -> list[Cluster]:
    """Return clusters with their pairs as objects; without those of which less than two pairs are left.

    Of each star as many members are there as are `shown`: all where that is None.
    """
    import numpy as np

    findings = net.findings
    chosen = np.isin(net.label, labels)
    standing = stands(session, findings, np.flatnonzero(chosen))
    by_label: dict[int, list[int]] = {label: [] for label in labels.tolist()}
    for place in standing:
        by_label[int(net.label[place])].append(place)
    cut = net.cut(by_label, standing, chosen[net.similar.left])
    stars = [(kept, members[:shown]) for _, stars in cut for kept, members in stars]
    places = sorted({place for kept, members in stars for place in (kept, *(member for member, _ in members))})
    pairs, told = pairs_of(session, findings, places), said(session, findings.ids, places)
    differ = differ_of(len(places))
    found = []
    for members, stars in cut:
        stars_drawn = [net.star(kept, some[:shown], len(some), pairs, told, differ) for kept, some in stars]
        if sum(star.size for star in stars_drawn):
            found.append(Cluster(stars_drawn, len(members)))
    return found


class Net:
    """What is similar at a threshold, without what was dismissed."""

    def __init__(self, session: Session, findings: Findings, threshold: float) -> None:
        import numpy as np

        self.findings, self.session, self.threshold = findings, session, threshold
        self.similar = findings.similar(threshold)
        self.dismissed = dismissed_now(session, findings.ids)
        if self.dismissed:
            one, other = self.similar.left.astype(np.int64), self.similar.right.astype(np.int64)
            gone = np.isin(one << 32 | other, [a << 32 | b for a, b in self.dismissed])
            left, right, jaccard = (a[~gone] for a in (self.similar.left, self.similar.right, self.similar.jaccard))
            self.similar = replace(self.similar, left=left, right=right, jaccard=jaccard)
        self.label = components(len(findings.ids), self.similar.left, self.similar.right)

    def in_order(self, below: float | None = None) -> tuple[Any, Any]:
        """Return the labels of the open clusters, the most similar first, then the oldest; and how many pairs each has.

        `below` as `clusters` takes it.
        """
        import numpy as np

        count = int(self.label.max(initial=-1)) + 1
        best = np.zeros(count)
        np.maximum.at(best, self.label[self.similar.left], self.similar.jaccard)
        gone = gone_since(self.session, self.findings)
        sizes = np.bincount(self.label, gone == 0, minlength=count).astype(int)
        about = ("closed", self.findings.key, self.findings.at, self.threshold)
        sizes[once(self.session, about, lambda: self.closed(np.flatnonzero(sizes > 1), gone))] = 0
        if below is not None:
            likest = np.full(len(self.label), -1.0)
            np.maximum.at(likest, self.similar.right, self.similar.jaccard)
            sizes[np.setdiff1d(np.arange(count), self.label[(likest >= 0) & ((likest < below) | (below == 1))])] = 0
        first = np.full(count, len(self.label))
        np.minimum.at(first, self.label, np.arange(len(self.label)))
        several = np.flatnonzero(sizes > 1)
        order = several[np.lexsort((first[several], -best[several]))]
        return order, sizes[order]

    def closed(self, labels: Any, gone: Any) -> Any:
        """Return which of these clusters have several pairs left that are not alike: what joined them is decided."""
        import numpy as np

        judged = np.array(sorted({place for both in self.dismissed for place in both}), np.int64)
        some = np.intersect1d(labels, self.label[np.concatenate([np.flatnonzero(gone), judged])])
        standing = stands(self.session, self.findings, np.flatnonzero(np.isin(self.label, some)))
        by_label: dict[int, list[int]] = {label: [] for label in some.tolist()}
        for place in standing:
            by_label[int(self.label[place])].append(place)
        cut = self.cut(by_label, standing, np.isin(self.label[self.similar.left], some))
        left = {int(self.label[stars[0][0]]) for _, stars in cut if any(members for _, members in stars)}
        return np.array(sorted(by_label.keys() - left), np.int64)

    def cut_all(self, standing: dict[int, Stand]) -> list[tuple[list[int], list[tuple[int, list[tuple[int, float]]]]]]:
        """Return of every cluster its pairs and its stars."""
        by_label: dict[int, list[int]] = {}
        for place in standing:
            by_label.setdefault(int(self.label[place]), []).append(place)
        return self.cut(by_label, standing, slice(None))

    def cut(
        self, by_label: dict[int, list[int]], standing: dict[int, Stand], edges: Any
    ) -> list[tuple[list[int], list[tuple[int, list[tuple[int, float]]]]]]:
        """Return of each cluster its pairs, and its stars: the place to keep, and places with their similarity."""
        some = replace(
            self.similar, left=self.similar.left[edges], right=self.similar.right[edges],
            jaccard=self.similar.jaccard[edges],
        )  # fmt: skip
        best_first = sorted(standing, key=lambda place: standing[place].rank)
        found: dict[int, list[tuple[int, list[tuple[int, float]]]]] = {label: [] for label in by_label}
        left_over: set[int] = set(standing)
        for kept, members in minhash.stars(best_first, some):
            there = [(place, score) for place, score in members if place in standing]
            apart = [place for place, _ in there if pair_of(kept, place) in self.dismissed]
            there = [(place, score) for place, score in there if place not in apart]
            found[int(self.label[kept])].append((kept, there))
            left_over -= {kept, *(place for place, _ in there)}
        for place in sorted(left_over, key=lambda place: standing[place].rank):
            found[int(self.label[place])].append((place, []))
        return [
            (by_label[label], sorted(stars, key=lambda star: (not star[1], standing[star[0]].rank)))
            for label, stars in found.items()
        ]

    def star(
        self, kept: int, members: list[tuple[int, float]], size: int, pairs: dict[int, Pair], told: dict[int, Any],
        differ: Differ,
    ) -> Star:  # fmt: skip
        """Return a star with its pairs as objects."""
        other = {}
        if len(self.findings.elsewhere):
            at = (self.findings.left == kept) | (self.findings.right == kept)
            for a, b, score in zip(
                self.findings.left[at], self.findings.right[at], self.findings.elsewhere[at], strict=True
            ):
                other[int(a + b - kept)] = float(score)
        # Contradictions and boilerplate have a text that is wholly another: they all differ in facts.
        may_go = self.findings.kind == "duplicates"
        drawn = [
            Member(pairs[place], score, fact(told[kept], told[place], differ) if may_go else None, other.get(place))
            for place, score in members
        ]
        return Star(pairs[kept], drawn, size)


def pair_of(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def of_print(findings: Findings) -> dict[int, int]:
    """Return how the fingerprint of each pair began, by its id."""
    return dict(zip(findings.ids.tolist(), findings.prints.tolist(), strict=True))


def gone_since(session: Session, findings: Findings) -> Any:
    """Return of each pair whether it went into the trash or says something else since the search."""
    return once(session, ("gone", findings.key, findings.at), lambda: find_gone(session, findings))


def find_gone(session: Session, findings: Findings) -> Any:
    import numpy as np

    gone = np.zeros(len(findings.ids), bool)
    if not len(gone):
        return gone
    revised = sa.select(Revision.pair_id).where(Revision.changeset_id > findings.changeset_id)
    columns = sa.select(Pair.id, Pair.fingerprint, Pair.trashed).where(
        Pair.id.between(int(findings.ids[0]), int(findings.ids[-1])), Pair.id.in_(revised)
    )
    known = of_print(findings)
    ids = [row.id for row in session.execute(columns)
           if row.id in known and (row.trashed or known[row.id] != int(row.fingerprint[:16], 16))]  # fmt: skip
    gone[np.searchsorted(findings.ids, np.array(ids, np.int64))] = True
    return gone


def stands(session: Session, findings: Findings, places: Iterable[int]) -> dict[int, Stand]:
    """Return how pairs stand now, by place; without those that are trash or say something else than they did."""
    place_of = {int(findings.ids[place]): int(place) for place in places}
    stars = mean_stars(session)
    found = {}
    columns = "id, fingerprint, status, CAST(tags AS TEXT), trashed"
    for pair_id, fingerprint, status, tags, trashed in reading.of_ids(session, columns, sorted(place_of)):
        place = place_of[pair_id]
        if trashed or int(fingerprint[:16], 16) != findings.prints[place]:
            continue
        status = status.decode() if isinstance(status, bytes) else status
        pinned = tags not in (b"[]", "[]") and PINNED in json.loads(tags)
        rank = (not pinned, BEST_STATUS[status], -stars.get(pair_id, 0.0), -int(findings.weights[place]), pair_id)
        found[place] = Stand(pair_id, rank, status)
    return found


def mean_stars(session: Session) -> dict[int, float]:
    """Return of each pair whose samples were rated how many stars they got."""
    rated = sa.select(Sample.pair_id, sa.func.avg(Rating.stars)).join(Rating, Rating.sample_id == Sample.id)
    rated = rated.where(Sample.pair_id.is_not(None), Rating.stars.is_not(None)).group_by(Sample.pair_id)
    return {pair_id: float(stars) for pair_id, stars in session.execute(rated)}


def pairs_of(session: Session, findings: Findings, places: Sequence[int]) -> dict[int, Pair]:
    """Return pairs as objects, by place."""
    place_of = {int(findings.ids[place]): place for place in places}
    found = {}
    ids = list(place_of)
    for start in range(0, len(ids), 500):
        some = sa.select(Pair).options(joinedload(Pair.dataset)).where(Pair.id.in_(ids[start : start + 500]))
        found.update({place_of[pair.id]: pair for pair in session.scalars(some)})
    return found

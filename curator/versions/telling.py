"""What a freeze found out about its split, in sentences. Knows a version's report, and no database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curator.models import Version
from curator.versions.splits import spoken, whole
from curator.words import SPLITS, plural

SHOWN = 5  # pairs that a sentence names


def sentences(version: Version) -> list[str]:
    """Return what was asked and made, what was proved, and what a person should know; nothing of an old version."""
    return list(told(version, version.report)) if version.report else []


def told(version: Version, report: dict[str, Any]) -> Iterator[str]:
    asked, got = report["asked"], version.counts
    wanted = [side for side in SPLITS if asked[side] or got[side]]
    rounded = dict(zip(SPLITS, whole([asked[side] for side in SPLITS]), strict=True))
    sizes = ", ".join(f"{rounded[side]:,} {side}" for side in wanted)
    made = ", ".join(f"{got[side]:,}" for side in wanted)
    yield f"Asked for {spoken(version.shares)}, which is {sizes}; made {made}."
    proved, total = report["proved"], sum(got.values())
    groups = f"{plural(report['groups'], 'group')}, of which the largest holds {report['largest']:,}"
    yield (
        f"Proved by a second look at {plural(proved['compared'], 'line')}: of {groups}, none is on two sides, and "
        f"there is no near-duplicate (Jaccard {proved['threshold']:g}) and no equal question across."
    )
    if by_count := counted(proved.get("held_out", 0), proved.get("counted", 0)):
        yield by_count
    if not proved["complete"]:
        yield "So many lines say nearly the same that not every two of them were compared. Remove duplicates first."
    if report["is_crowded"]:
        yield (
            f"One group holds {report['largest']:,} of {total:,} pairs, since each is like another one of it. That may "
            "make sizes differ from those asked for. Remove duplicates, or see which texts most pairs share."
        )
    for name, sentence in (
        (
            "left_out",
            "left out, as the group that they are in by now is on another side and a pair never changes sides",
        ),
        ("moved", "moved to another side by a tag"),
    ):
        if number := report[name]["number"]:
            were = "was" if number == 1 else "were"
            yield f"{plural(number)} {were} {sentence}: {listed(report[name]['pairs'], number)}."
    for file in report["kept_out"]:
        who = f": {listed(file['pairs'], file['number'])}" if file["number"] else ""
        yield f"{file['number']:,} {'pair asks' if file['number'] == 1 else 'pairs ask'} what {file['file']} asks{who}."


def counted(held_out: int, number: int) -> str:
    """Return how many lines were compared by counting, in a sentence; nothing where none was."""
    if not number:
        return ""
    if number == held_out:
        return (
            f"Each of the {held_out:,} held-out lines was also compared with every line by counting alone, "
            "which misses nothing."
        )
    return (
        f"Of the {held_out:,} held-out lines {number:,}, taken by chance, were also compared with every line by "
        "counting alone, which misses nothing."
    )


def listed(ids: list[int], number: int) -> str:
    """Return the numbers of pairs as a sentence names them."""
    return ", ".join(map(str, ids[:SHOWN])) + (f" and {number - SHOWN:,} more" if number > SHOWN else "")

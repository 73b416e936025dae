"""Which faults of the splitter its tests catch: `python -m bench.mutations`.

Each fault is put into a copy of the code, and the tests of versions run on it until one fails. One that none notices
could be made by anybody. It prints a table, and exits with 1 where a fault went unnoticed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ("tests/test_versions.py", "tests/test_versions_counting.py")
# Of the tests those of groups and splits, without pages, jobs and other processes.
CHOSEN = "not page and not job and not disk and not is_imported and not locale and not database_itself and not command"
SPLITS, FREEZING, GROUPING, PROOF, COUNTING = (
    f"curator/versions/{name}.py" for name in ("splits", "freezing", "grouping", "proof", "counting")
)
# File, what stands there, what a slip of the hand would make of it.
FAULTS = (
    (SPLITS, "if pairs / 2 < room[side]", "if room[side] > 0"),
    (SPLITS, "room[side] -= pairs", "room[side] -= 1"),
    (SPLITS, "room = [left + part * size - n for", "room = [part * size - n for"),
    (SPLITS, "room = [left + part * size - n for", "room = [left + part * size for"),
    (SPLITS, "order = np.lexsort((marks, strata))", "order = np.lexsort((np.arange(len(marks)), strata))"),
    (SPLITS, "size = int(groups[some].sum()) + sum(there)", "size = int(groups[some].sum())"),
    (SPLITS, "    fill_empty(sides, groups, marks, filled, wanted)\n", ""),
    (SPLITS, "donor = int(np.argmax(counts))", "donor = int(np.argmin(counts))"),
    (SPLITS, "if rest < 0 or (rest and", "if rest < 0 and (rest and"),
    (FREEZING, "known = known_sides(session, rows, earlier)", "known = np.full(len(rows.ids), -1, np.int8)"),
    (FREEZING, "left = (known >= 0) & (known != bound) & (rows.pinned < 0)", "left = known > 5"),
    (FREEZING, "of_group[group[pins]] = rows.pinned[pins]", "of_group[pins] = rows.pinned[pins]"),
    (FREEZING, "best = votes + np.arange(len(SPLITS)) / 10", "best = votes - np.arange(len(SPLITS)) / 10"),
    (FREEZING, 'f"{seed} {fingerprint.hex()}"', 'f"{fingerprint.hex()}"'),
    (FREEZING, "kept = chosen & ~left\n", "kept = chosen\n"),
    (FREEZING, 'if counts.get("validation") or counts.get("test")]', "]"),
    (FREEZING, "known[np.searchsorted(rows.ids, pair_id)] = of_line[line_id]", "pass"),
    (GROUPING, "edges = [rows.near, *rows.links.values(), *further]", "edges = [*rows.links.values(), *further]"),
    (GROUPING, "edges = [rows.near, *rows.links.values(), *further]", "edges = [rows.near, *further]"),
    (GROUPING, "edges = [rows.near, *rows.links.values(), *further]", "edges = [rows.near, *rows.links.values()]"),
    (GROUPING, "wanted = sa.or_(wanted, sa.and_(~Pair.trashed, before))", "pass"),
    (GROUPING, "return 0, number_of(begins)", "return number_of(asked), number_of(begins)"),
    (GROUPING, "if len(begins) < SAYS_MUCH:", "if False:"),
    (PROOF, "across = sides[similar.left] != sides[similar.right]", "across = sides[similar.left] > 5"),
    (COUNTING, "np.ceil(self.threshold * sizes - 1e-9)", "np.ceil(sizes - 1e-9)"),
    (COUNTING, "sizes - shared + self.least", "self.least"),
    (COUNTING, "across: Array = here[one] != there[other]", "across: Array = here[one] == there[other]"),
)  # fmt: skip


def caught_by(folder: Path) -> str:
    """Return the first test that fails on the code in a folder, nothing where all pass."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "-k",
        CHOSEN,
        *TESTS,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not failed:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return failed[0].split(" - ")[0].rpartition("::")[2] if failed else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.mutations", description=__doc__)
    parser.add_argument("--first", type=int, default=1, help="the number of the fault to begin with")
    first, missed = parser.parse_args().first, 0
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        # What was compiled goes along: to do that again takes longer than the tests.
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache"))
        if broken := caught_by(copy) if first == 1 else "":
            raise SystemExit(f"{broken} fails without any fault.")
        print("| fault | caught by |\n|---|---|")
        for number, (file, old, new) in enumerate(FAULTS, 1):
            if number < first:
                continue
            sound = (copy / file).read_text()
            if sound.count(old) != 1:
                raise SystemExit(f"{file} holds {old!r} {sound.count(old)} times: bring FAULTS up to date.")
            (copy / file).write_text(sound.replace(old, new))
            found = caught_by(copy)
            (copy / file).write_text(sound)
            missed += not found
            print(
                f"| {number} {Path(file).stem}: `{old.strip()}` → `{new.strip()}` | {found or '**nothing**'} |",
                flush=True,
            )
    print(f"\n{len(FAULTS) - first + 1 - missed} caught, {missed} not.")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()

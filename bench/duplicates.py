"""How fast near-duplicates are found, and how surely, beside the peers: `python -m bench.duplicates`.

Each run is a process of its own, with a fresh heap; rounds are interleaved, A B C A B C, so that a busy moment of the
machine touches all. What is timed goes from strings in memory to similar pairs, splitting into shingles included.
Nothing here fails: it prints, and bench/README.md keeps the last figures.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import pickle
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import corpus
from curator import minhash
from curator.duplicates import joining

PERMUTATIONS = 128
WORD = re.compile(r"\w+")
Edges = list[tuple[int, int]]


def tokens(text: str, shingle: str) -> list[str]:
    """Return the shingles of a text as a peer's user would write it."""
    words, size = WORD.findall(text.lower()), int(shingle[4:])
    if shingle.startswith("char"):
        one = " ".join(words)
        return [one[i : i + size] for i in range(max(len(one) - size + 1, 1))] if one else []
    return [" ".join(words[i : i + size]) for i in range(max(len(words) - size + 1, 1))] if words else []


def ours(texts: list[str], threshold: float, shingle: str, **options: Any) -> Edges:
    similar = minhash.find_similar(texts, threshold, shingle, **options)
    return list(zip(similar.left.tolist(), similar.right.tolist(), strict=True))


def numpy_only(texts: list[str], threshold: float, shingle: str) -> Edges:
    return ours(texts, threshold, shingle, engine="numpy")


def datasketch_documented(texts: list[str], threshold: float, shingle: str) -> Edges:
    """As its documentation shows: update() for each token, the bands it chooses, its estimate as the filter."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    minhashes = []
    for i, text in enumerate(texts):
        minhash = MinHash(num_perm=PERMUTATIONS)
        for token in set(tokens(text, shingle)):
            minhash.update(token.encode())
        index.insert(i, minhash)
        minhashes.append(minhash)
    near = ((i, j) for i, minhash in enumerate(minhashes) for j in index.query(minhash) if j < i)
    return [(j, i) for i, j in near if minhashes[i].jaccard(minhashes[j]) >= threshold]


def datasketch_tuned(texts: list[str], threshold: float, shingle: str) -> Edges:
    """As fast and as sure as we could make it: bulk, a quick hash, bands that miss nothing, an exact count."""
    import xxhash
    from datasketch import MinHash, MinHashLSH

    sets = [{token.encode() for token in tokens(text, shingle)} for text in texts]
    minhashes = MinHash.bulk(sets, num_perm=PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)
    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, params=(25, 5))
    with index.insertion_session() as session:
        for i, minhash in enumerate(minhashes):
            session.insert(i, minhash, check_duplication=False)
    near = ((i, j) for i, minhash in enumerate(minhashes) for j in index.query(minhash) if j < i)
    return [(j, i) for i, j in near if alike(sets[i], sets[j], threshold)]


def rensa_readme(texts: list[str], threshold: float, shingle: str) -> Edges:
    """As its README shows: update a row, 16 bands, its estimate as the filter."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=16)
    minhashes = []
    for i, text in enumerate(texts):
        minhash = RMinHash(num_perm=PERMUTATIONS, seed=42)
        minhash.update(tokens(text, shingle))
        index.insert(i, minhash)
        minhashes.append(minhash)
    near = ((i, j) for i, minhash in enumerate(minhashes) for j in index.query(minhash) if j < i)
    return [(j, i) for i, j in near if minhashes[i].jaccard(minhashes[j]) >= threshold]


def rensa_tuned(texts: list[str], threshold: float, shingle: str) -> Edges:
    """Batches, as many bands as it takes for our recall, an exact count."""
    from rensa import RMinHash, RMinHashLSH

    sets = [set(tokens(text, shingle)) for text in texts]
    minhashes = RMinHash.from_token_sets(sets, num_perm=PERMUTATIONS, seed=42)
    index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=32)
    index.insert_many(minhashes)
    near = enumerate(index.query_all(minhashes))
    return [(j, i) for i, found in near for j in found if j < i and alike(sets[i], sets[j], threshold)]


def alike(one: set[Any], other: set[Any], threshold: float) -> bool:
    shared = len(one & other)
    return shared > 0 and shared / (len(one) + len(other) - shared) >= threshold


ENGINES: dict[str, Callable[[list[str], float, str], Edges]] = {
    "Curator": ours,
    "Curator, NumPy only": numpy_only,
    "rensa, README": rensa_readme,
    "rensa, equal recall": rensa_tuned,
    "datasketch, equal recall": datasketch_tuned,
    "datasketch, documented": datasketch_documented,
}


def bare_fetch(path: Path) -> None:
    """Read all rows out of SQLite and do nothing with them."""
    with sqlite3.connect(path) as connection:
        for _question, _answer in connection.execute("SELECT question, answer FROM pair ORDER BY id"):
            pass


def streamed(path: Path, threshold: float, shingle: str) -> minhash.Similar:
    """Search the rows of SQLite, which holds them while Curator does not."""
    connection = sqlite3.connect(path)
    text = "question || char(10) || answer"
    ids = array("q")

    def texts() -> Iterator[minhash.Joined]:
        for some, joined in joining.rows(connection, text):
            ids.extend(some)
            yield joined

    def take(places: Sequence[int]) -> minhash.Joined:
        return joining.of_ids(connection, text, [ids[place] for place in places])

    # As many as there are, which Curator's index in memory knows: to count them SQLite reads the whole table.
    (count,) = connection.execute("SELECT max(id) + 1 FROM pair").fetchone()
    found = minhash.find_similar(texts(), threshold, shingle, take=take, count=count, engine="numba")
    connection.close()
    return found


def peak_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if "HWM" in line)


def timed(act: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Return seconds of the clock and of the processors, and the peak of memory above the start."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, cpu, start = peak_mb(), time.process_time(), time.perf_counter()
    answer = act()
    wall = time.perf_counter() - start
    return {"wall": wall, "cpu": time.process_time() - cpu, "mb": peak_mb() - before}, answer


def child(folder: Path, pairs: int, name: str, shingle: str, threshold: float) -> None:
    """One run in a process of its own; prints one line of JSON."""
    warm = ["a text to load the loops with", "another text to load the loops with", "ünlike both"]
    for engine in ("numba", "numpy"):
        minhash.find_similar([*warm, warm[0] + "!!", warm[0] + " now"], 0.5, shingle, engine=engine)
    if name == "bare fetch":
        result, _ = timed(lambda: bare_fetch(folder / f"{pairs}.db"))
    elif name == "streamed":
        result, _ = timed(lambda: streamed(folder / f"{pairs}.db", threshold, shingle))
    else:
        texts = ["\n".join(pair) for pair in read(folder, pairs).pairs]
        result, edges = timed(lambda: ENGINES[name](texts, threshold, shingle))
        result |= judged(edges, texts, truth(folder, pairs, shingle, threshold), shingle, threshold)
    print(json.dumps(result))


def judged(edges: Edges, texts: list[str], true: np.ndarray, shingle: str, threshold: float) -> dict[str, float]:
    """Return the share of true pairs that end up in one cluster, and of the pairs found that are true."""
    from curator.minhash import engine, kernels

    left, right = np.array(edges, np.int64).reshape(-1, 2).T
    label = kernels.components(len(texts), left, right)
    candidates = (np.minimum(left, right) << 32 | np.maximum(left, right)).astype(np.uint64)
    counts, take = np.full(len(texts), 500, np.int32), lambda places: [texts[place] for place in places]
    crew = engine.Crew(1)
    scheme = minhash.Scheme(shingle, 1, 1)
    right_ones = engine.verify(candidates, counts, take, threshold, scheme, kernels, crew, lambda *_: None)[0]
    return {
        "recall": float((label[true[:, 0]] == label[true[:, 1]]).mean()),
        "precision": len(right_ones) / max(len(edges), 1),
        "found": len(edges),
    }


def truth(folder: Path, pairs: int, shingle: str, threshold: float) -> np.ndarray:
    """Return all true pairs: counted after bands that miss one pair at the threshold in a billion or more."""
    path = folder / f"{pairs}-{shingle}-{threshold}.npy"
    if not path.exists():
        texts = ["\n".join(pair) for pair in read(folder, pairs).pairs]
        schemes = [minhash.Scheme(shingle, 256 // rows, rows) for rows in range(1, 9)]
        scheme = next(s for s in reversed(schemes) if s.miss(threshold) < 1e-9)
        similar = minhash.find_similar(texts, threshold, shingle, scheme=scheme, engine="numba")
        np.save(path, np.stack([similar.left, similar.right], axis=1))
    return np.load(path)


def read(folder: Path, pairs: int) -> corpus.Corpus:
    """Return the corpus of so many pairs, made once a folder."""
    path = folder / f"{pairs}.pickle"
    if not path.exists():
        made = corpus.generate(pairs)
        path.write_bytes(pickle.dumps(made))
        with sqlite3.connect(folder / f"{pairs}.db") as connection:
            connection.execute("CREATE TABLE pair (id INTEGER PRIMARY KEY, question TEXT, answer TEXT)")
            rows = ((i, *pair) for i, pair in enumerate(made.pairs))
            connection.executemany("INSERT INTO pair VALUES (?, ?, ?)", rows)
    found: corpus.Corpus = pickle.loads(path.read_bytes())
    return found


def compare(folder: Path, pairs: int, names: list[str], shingle: str, threshold: float, rounds: int) -> None:
    """Run each name once a round, and print the medians and the ratios to the first."""
    read(folder, pairs)
    if names[0] in ENGINES:
        truth(folder, pairs, shingle, threshold)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            command = ["-m", "bench.duplicates", "--child", str(folder), str(pairs), name, shingle, str(threshold)]
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
            if done.returncode:
                print(name, done.stderr[-300:], file=sys.stderr)
            else:
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"\n{pairs:,} pairs, {shingle}, threshold {threshold:g}, {rounds} rounds, load {os.getloadavg()[0]:.1f}\n")
    print("| engine | seconds | CPU seconds | times the first, clock | CPU | recall | precision | MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, done in runs.items():
        if not done:
            continue
        both = list(zip(done, runs[names[0]], strict=False))
        middle = {key: statistics.median(run[key] for run in done) for key in done[0]}
        ratios = [statistics.median(run[key] / first[key] for run, first in both) for key in ("wall", "cpu")]
        judged = [f"{middle[key]:.4f}" if key in middle else "" for key in ("recall", "precision")]
        print(f"| {name} | {middle['wall']:.3f} | {middle['cpu']:.3f} | {ratios[0]:.2f} | {ratios[1]:.2f} | "
              f"{' | '.join(judged)} | {middle['mb']:.0f} |", flush=True)  # fmt: skip


def one_against_all(folder: Path, pairs: int, shingle: str, probes: int = 300) -> None:
    """Look up edited copies and new texts in a table of bands, exact count included, and print how long each takes."""
    made, rng = read(folder, pairs), np.random.default_rng(1)
    texts = ["\n".join(pair) for pair in made.pairs]
    scheme, words = minhash.stored(shingle), corpus.Words(rng)
    path = folder / "bands.db"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("CREATE TABLE pair (id INTEGER PRIMARY KEY, body TEXT)")
    connection.executemany("INSERT INTO pair VALUES (?, ?)", enumerate(texts))
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(truncate)")
    before = path.stat().st_size
    connection.execute("CREATE TABLE band (k INTEGER, id INTEGER, PRIMARY KEY (k, id)) WITHOUT ROWID")
    start = time.perf_counter()
    rows = []
    for some in range(0, pairs, 4096):
        keyed = minhash.band_keys(texts[some : some + 4096], scheme, "numba")
        rows += [(key, i) for i, keys in enumerate(keyed, some) for key in keys]
    connection.executemany("INSERT INTO band VALUES (?, ?)", sorted(rows))
    connection.commit()
    built = time.perf_counter() - start
    connection.execute("PRAGMA wal_checkpoint(truncate)")
    size = (path.stat().st_size - before) / pairs
    sql = "SELECT DISTINCT body FROM band JOIN pair ON pair.id = band.id WHERE k IN ({}) LIMIT 200"
    took = []
    for probe, i in enumerate(rng.choice(pairs, probes, replace=False).tolist()):
        text = corpus.edit(texts[i], 0.02, words, rng) if probe % 2 else " ".join(words.draw(75))
        start = time.perf_counter()
        (keys,) = minhash.band_keys([text], scheme, "numba")
        near = [row[0] for row in connection.execute(sql.format(",".join("?" * len(keys))), keys)]
        minhash.scores(text, near, shingle, "numba")
        took.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.quantile(took, [0.5, 0.95])
    print(f"\nOne pair against {pairs:,} stored, {shingle}: {p50:.3f} ms, p95 {p95:.3f} ms")
    print(f"Its index: {size:.0f} bytes a pair, built in {built:.1f} s")


def quality(folder: Path, pairs: int) -> None:
    """Print how many edited copies are found, and how many pairs of another fact would go."""
    made = read(folder, pairs)
    texts = ["\n".join(pair) for pair in made.pairs]
    copies, entities = made.kind == corpus.COPY, np.flatnonzero(made.kind == corpus.ENTITY)
    places = np.flatnonzero(copies)
    heads = [f"{level:.0%} edited" for level in corpus.EDITED[1:]]
    print(f"\n| threshold | {' | '.join(heads)} | another fact, by star | with the guard |")
    print("|---|" + "---|" * (len(corpus.EDITED) + 1))
    scores = [minhash.scores(texts[i], [texts[made.parent[i]]])[0] for i in places.tolist()]
    for threshold in (0.75, 0.8, 0.85, 0.9):
        found = [np.mean(np.array(scores)[made.edited[places] == level] >= threshold) for level in corpus.EDITED[1:]]
        similar = minhash.find_similar([texts[i] for i in entities], threshold)
        stars = minhash.stars(range(len(entities)), similar)
        lost = [(centre, other) for centre, members in stars for other, _ in members]
        guarded = [1 for a, b in lost if not minhash.differs_in_fact(texts[entities[a]], texts[entities[b]])]
        shares = " | ".join(f"{share:.3f}" for share in found)
        print(f"| {threshold} | {shares} | {len(lost) / len(entities):.3f} | {len(guarded) / len(entities):.3f} |")


def main() -> None:
    """Measure, and print tables for bench/README.md."""
    if sys.argv[1:2] == ["--child"]:
        folder, pairs, name, shingle, threshold = sys.argv[2:]
        return child(Path(folder), int(pairs), name, shingle, float(threshold))
    parser = argparse.ArgumentParser(prog="python -m bench.duplicates", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[20_000, 100_000], help="sizes to compare the peers at")
    parser.add_argument("--streamed", type=int, nargs="*", default=[1_000_000], help="sizes to stream out of SQLite")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--shingles", nargs="+", default=["word3", "char5"])
    parser.add_argument("--folder", type=Path, help="keep the made data there")
    parser.add_argument("--quick", action="store_true", help="20,000 pairs beside peers of equal recall, one round")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.streamed, options.rounds = [20_000], [100_000], 1
        options.engines = [name for name in ENGINES if "README" not in name and "documented" not in name]
    there = {name: importlib.util.find_spec(name.split(",")[0].lower()) for name in options.engines}
    names = [name for name in options.engines if name.startswith("Curator") or there[name]]
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors, medians")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        for shingle in options.shingles:
            for pairs in options.pairs:
                compare(folder, pairs, names, shingle, options.threshold, options.rounds)
            for pairs in options.streamed:
                compare(folder, pairs, ["bare fetch", "streamed"], shingle, options.threshold, options.rounds)
        for pairs in options.streamed:
            one_against_all(folder, pairs, "char5")
        if not options.quick:
            quality(folder, min(options.pairs))


if __name__ == "__main__":
    main()

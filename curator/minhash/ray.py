"""One search over files too large for one machine, told top to bottom: Ray Data moves rows, `engine` counts them.

Loaded by such searches only. Texts never travel but those of candidates, which are read again where they lie. Ids
ascend as rows are read, so the first of copies is the same as in one process. Each shuffle by a key gives its
partitions as whole blocks, and the functions below take one each.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from curator.errors import UserError
from curator.formats import pieces
from curator.minhash import engine
from curator.minhash.clusters import Progress
from curator.minhash.fallback import differing
from curator.minhash.plan import Edges, Plan, differs
from curator.minhash.shingles import Array

# What Ray may keep in shared memory on this machine, at most a quarter of all; what is more it writes to disk.
OBJECT_STORE_BYTES = 2 << 30
TEXTS_AT_ONCE = 1 << 16
ROW_BITS = np.int64(32)


def search(plan: Plan, address: str | None, on_progress: Progress) -> Edges:
    """Return all similar texts of the pieces of a plan, on the cluster at an address, or on one of this machine."""
    told = {"plan": plan}
    with started(address) as processors:
        size = sum(piece.size for piece in plan.pieces)
        parts = max(processors, size // pieces.PIECE_BYTES)
        numbers = ray.data.from_items([{"piece": i} for i in range(len(plan.pieces))],
                                      override_num_blocks=len(plan.pieces))  # fmt: skip
        on_progress("read", 0, 0)
        sketches = numbers.map_batches(sketch, batch_size=1, batch_format="pyarrow", fn_kwargs=told)
        judged = by_key(sketches, parts, "key", judge, told).materialize()
        tallied = columns(judged.map_batches(tally, batch_size=None, batch_format="pyarrow"), "piece", "rows", "empty")
        copies = columns(judged.map_batches(copied, batch_size=None, batch_format="pyarrow"), "id", "first")
        rows = np.bincount(tallied["piece"], tallied["rows"], minlength=len(plan.pieces)).astype(np.int64)
        on_progress("group", int(rows.sum()), int(rows.sum()))
        keys = judged.map_batches(bands, batch_size=None, batch_format="pyarrow", fn_kwargs=told)
        met = by_key(keys, parts, "band", meet, told).materialize()
        del judged
        cut = columns(met.map_batches(cuts, batch_size=None, batch_format="pyarrow"), "left")
        on_progress("compare", 0, 0)
        needed = by_key(met, parts, "left", need, told)
        taken = by_key(needed, parts, "piece", take, told)
        scored = columns(by_key(taken, parts, "left", score, told), "left", "right", "jaccard", "fact")
    # Copies within a piece were joined to the first there, which may be a copy of one elsewhere.
    order = np.argsort(copies["id"])
    copy, first = copies["id"][order], copies["first"][order]
    place = np.minimum(np.searchsorted(copy, first), max(len(copy) - 1, 0))
    if len(copy):
        first = np.where(copy[place] == first, first[place], first)
    return Edges(
        scored["left"], scored["right"], scored["jaccard"].astype(np.float64), scored["fact"], copy, first, rows,
        int(tallied["empty"].sum()), not len(cut["left"]),
    )  # fmt: skip


@contextmanager
def started(address: str | None) -> Iterator[int]:
    """Join a cluster, or start one on this machine; leave it, or stop it, whatever happens. Yield its processors."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    here = {
        "num_cpus": engine.default_threads(),
        "object_store_memory": min(OBJECT_STORE_BYTES, memory_bytes() // 4),
        "include_dashboard": False,
        # Shuffles have processes of their own: without room for both kinds, each change of kind starts them anew.
        "_system_config": {"num_workers_soft_limit": 4 * engine.default_threads()},
    }
    if address:
        knock(address)
    try:
        ray.init(**quiet, **({"address": address} if address else here))
    except (ConnectionError, ValueError) as error:
        raise UserError(f"There is no Ray cluster at {address}: {error}") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.shuffle_strategy = "shuffle_v2"
        yield int(ray.cluster_resources().get("CPU", 1))
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, UserError):
                raise UserError(str(cause.args[0])) from error
            cause = cause.__cause__ or getattr(cause, "cause", None)
        raise
    finally:
        ray.shutdown()


def knock(address: str) -> None:
    """Raise UserError where nobody listens at HOST:PORT, for which Ray waits for ever."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address:  # "auto", which Ray knows by itself
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"There is no Ray cluster at {address}: {error}. Start one with: ray start --head. It says its address."
        ) from error


def memory_bytes() -> int:
    """Return the memory of this machine; 8 GB where it does not say."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 << 30


def by_key(rows: Any, parts: int, key: str, act: Any, told: dict[str, Any]) -> Any:
    """Bring the rows of one key to one place, and do something with each such partition."""
    shuffled = rows.repartition(parts, keys=[key])
    return shuffled.map_batches(act, batch_size=None, batch_format="pyarrow", fn_kwargs=told)


def columns(rows: Any, *names: str) -> dict[str, Array]:
    """Bring all rows here, as arrays."""
    found = [batch for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow") if len(batch)]
    if not found:
        return {name: np.empty(0, np.int64) for name in names}
    table = pa.concat_tables([batch.select(names) for batch in found])
    return {name: table[name].to_numpy() for name in names}


def sketch(batch: pa.Table, plan: Plan) -> Iterator[pa.Table]:
    """Give what is kept of each row of a piece, and join it to the first in the piece that is a copy."""
    (piece,) = batch["piece"].to_pylist()
    loops = engine.load("auto")
    found = engine.sketches(plan.texts(piece), None, plan.scheme, loops, engine.Crew(1), silent)
    keys, looks, counts, sums = found
    ids = np.arange(len(counts), dtype=np.int64) | np.int64(piece) << ROW_BITS
    first = np.where(counts > 0, ids[engine.copies(keys, counts, sums, loops)], -1)
    # What needs no company is spread: a text that comes a million times would fill one partition.
    key = np.where(first == ids, sums.view(np.int64), ids)
    yield table(
        key=key, id=ids, first=first, count=counts, sum=sums.view(np.int64), keys=packed(keys), look=packed(looks)
    )


def judge(rows: pa.Table, plan: Plan) -> pa.Table:
    """Join the rows that are copies over all pieces to the first of them."""
    ids, first = array(rows, "id"), array(rows, "first").copy()
    mine = np.flatnonzero(first == ids)
    mine = mine[np.argsort(ids[mine])]
    keys = unpacked(rows["keys"], np.uint32)[mine]
    counts, sums = array(rows, "count")[mine], array(rows, "sum")[mine].view(np.uint64)
    first[mine] = ids[mine][engine.copies(keys, counts, sums, engine.load("auto"))]
    return pa.table({"id": rows["id"], "first": first, "keys": rows["keys"], "look": rows["look"]})


def tally(rows: pa.Table) -> pa.Table:
    """Count the rows of each piece, and those that are empty."""
    piece, first = array(rows, "id") >> ROW_BITS, array(rows, "first")
    numbers, counts = np.unique(piece, return_counts=True)
    empty = np.bincount(np.searchsorted(numbers, piece[first < 0]), minlength=len(numbers))
    return table(piece=numbers, rows=counts, empty=empty)


def copied(rows: pa.Table) -> pa.Table:
    """Give each copy with its first."""
    ids, first = array(rows, "id"), array(rows, "first")
    chosen = (first >= 0) & (first != ids)
    return table(id=ids[chosen], first=first[chosen])


def bands(rows: pa.Table, plan: Plan) -> Iterator[pa.Table]:
    """Give a row for each band of each text that is no copy."""
    ids, first, keys = array(rows, "id"), array(rows, "first"), unpacked(rows["keys"], np.uint32)
    looks = unpacked(rows["look"], np.uint64)
    places = np.flatnonzero(ids == first)
    number = np.arange(plan.scheme.bands, dtype=np.int64) << np.int64(32)
    for some in range(0, max(len(places), 1), TEXTS_AT_ONCE):
        part = places[some : some + TEXTS_AT_ONCE]
        look = packed(np.repeat(looks[part], plan.scheme.bands, axis=0))
        yield table(band=(keys[part] | number).ravel(), id=np.repeat(ids[part], plan.scheme.bands), look=look)


def meet(rows: pa.Table, plan: Plan) -> pa.Table:
    """Give every two texts that share a band and look alike; -1 for both where not all were compared.

    The same bound as in one process: a text is compared with all before it in its band or, where that would
    make too many pairs in this partition, with the nearest.
    """
    band, ids = array(rows, "band"), array(rows, "id")
    order = np.lexsort((ids, band))
    band, ids, looks = band[order], ids[order], unpacked(rows["look"], np.uint64)[order]
    ends = np.append(np.flatnonzero(band[1:] != band[:-1]) + 1, len(band))
    begins = np.concatenate([[0], ends[:-1]])
    lengths = (ends - begins)[ends - begins > 1]
    reach = engine.reach_within(engine.MOST_MEETINGS + 8 * len(ids), lengths)
    longest = int(lengths.max(initial=1)) - 1
    most = plan.scheme.most_differing(plan.threshold)
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, min(reach, longest) + 1):
        same = np.flatnonzero(band[step:] == band[:-step])
        same = same[differing(looks[same], looks[same + step]) <= most]
        left.append(ids[same])
        right.append(ids[same + step])
    one, other = distinct(np.concatenate(left), np.concatenate(right))
    if reach < longest:
        one, other = np.append(one, -1), np.append(other, -1)
    return table(left=one, right=other)


def distinct(left: Array, right: Array) -> tuple[Array, Array]:
    """Return every two texts once, in order."""
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    new = (np.diff(left, prepend=-2) != 0) | (np.diff(right, prepend=-2) != 0)
    return left[new], right[new]


def cuts(rows: pa.Table) -> pa.Table:
    left = array(rows, "left")
    return table(left=left[left < 0])


def need(rows: pa.Table, plan: Plan) -> pa.Table:
    """Say which text is needed beside which first one: each candidate's, and the first one's own."""
    left, right = distinct(array(rows, "left"), array(rows, "right"))
    left, right = left[left >= 0], right[left >= 0]
    own = np.unique(left)
    ids = np.concatenate([own, right])
    return table(piece=ids >> ROW_BITS, id=ids, left=np.concatenate([own, left]))


def take(rows: pa.Table, plan: Plan) -> Iterator[pa.Table]:
    """Read the texts that are needed, piece by piece."""
    ids, left = array(rows, "id"), array(rows, "left")
    order = np.argsort(ids, kind="stable")
    ids, left = ids[order], left[order]
    bounds = np.flatnonzero(np.diff(ids >> ROW_BITS, prepend=-1, append=-1))
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        wanted, place = np.unique(ids[begin:end], return_inverse=True)
        texts = list(plan.texts(int(ids[begin] >> ROW_BITS), (wanted & np.int64(0xFFFFFFFF)).tolist()))
        if len(texts) != len(wanted):
            path = plan.pieces[int(ids[begin] >> ROW_BITS)].path
            raise UserError(f"{path} was changed while it was searched. Search it again.")
        fields = [texts] if plan.field != "both" else list(zip(*texts, strict=True))
        named = {f"text{i}": as_bytes(field).take(pa.array(place)) for i, field in enumerate(fields)}
        yield pa.table({"left": left[begin:end], "id": ids[begin:end], **named})


def score(rows: pa.Table, plan: Plan) -> pa.Table:
    """Count how similar the candidates of each first text are; give those that are similar enough."""
    ids, left = array(rows, "id"), array(rows, "left")
    order = np.lexsort((ids, left))  # the first text itself is the least of its ids
    rows, ids, left = rows.take(pa.array(order)), ids[order], left[order]
    texts = [rows[name] for name in rows.column_names if name.startswith("text")]
    heads = np.maximum.accumulate(np.where(ids == left, np.arange(len(ids)), 0))
    others = np.flatnonzero(ids != left)
    candidates = heads[others].astype(np.uint64) << np.uint64(32) | others.astype(np.uint64)
    weights = np.array([len(one) for one in texts[0].to_pylist()], np.int64)

    def some(places: Sequence[int]) -> list[Any]:
        chosen = [column.take(pa.array(places, pa.int64())).to_pylist() for column in texts]
        return chosen[0] if len(chosen) == 1 else list(zip(*chosen, strict=True))

    one, other, jaccard = engine.verify(
        candidates, weights, some, plan.threshold, plan.scheme, engine.load("auto"), engine.Crew(1), silent
    )
    facts = []
    for near in zip(one.tolist(), other.tolist(), strict=True):
        first, second = (tuple(column[place].as_py().decode() for column in texts) for place in near)
        facts.append(differs(first, second))
    return pa.table({"left": ids[one], "right": ids[other], "jaccard": jaccard, "fact": pa.array(facts, pa.string())})


def as_bytes(texts: Sequence[str]) -> pa.Array:
    """Return texts as UTF-8; half a surrogate pair, which is no letter, is a question mark, which is none either."""
    return pa.array([one.encode("utf-8", "replace") for one in texts], pa.large_binary())


def packed(numbers: Array) -> pa.Array:
    """Return the numbers of each text as one value of so many bytes."""
    buffer = pa.py_buffer(np.ascontiguousarray(numbers))
    return pa.Array.from_buffers(pa.binary(numbers.shape[1] * numbers.itemsize), len(numbers), [None, buffer])


def unpacked(column: pa.ChunkedArray, of: Any) -> Array:
    """Return the numbers of all texts as they were: a row for each."""
    whole = column.combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    width = whole.type.byte_width // np.dtype(of).itemsize
    flat = np.frombuffer(whole.buffers()[1], of)
    return flat[whole.offset * width : (whole.offset + len(whole)) * width].reshape(-1, width)


def array(rows: pa.Table, name: str) -> Array:
    found: Array = rows[name].to_numpy()
    return found


def table(**named: Any) -> pa.Table:
    return pa.table(named)


def silent(stage: str, done: int, total: int) -> None:
    """Hear of progress, and let it be."""

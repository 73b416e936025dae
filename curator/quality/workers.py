"""Looks at rows in processes of their own, so that pages stay quick meanwhile. Knows no database."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from curator.checking import Found, look
from curator.flags import Rules

Row = Sequence[Any]
FEW = 3000  # rows that are looked at here: a process takes a second to start
MOST = 8  # processes, of 150 MiB each
WAITING = 2  # slices that each process has before it, so that none waits for the database


def looked_at(slices: Iterable[list[Row]], rules: Rules, total: int) -> Iterator[tuple[list[Row], list[Found]]]:
    """Yield slices of rows with what was found in each row, in their order."""
    number = 0 if total <= FEW else min(processors(), MOST)
    if not number:
        for rows in slices:
            yield rows, [look(row, rules) for row in rows]
        return
    with started(number, rules) as hands:
        waiting: deque[tuple[Any, list[Row]]] = deque()
        for place, rows in enumerate(slices):
            if len(waiting) == WAITING * number:
                yield answer(waiting.popleft())
            hand = hands[place % number]
            hand.send([tuple(row) for row in rows])
            waiting.append((hand, rows))
        while waiting:
            yield answer(waiting.popleft())


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def answer(given: tuple[Any, list[Row]]) -> tuple[list[Row], list[Found]]:
    """Wait for what a process found in a slice. What went wrong there is raised here."""
    hand, rows = given
    found = hand.recv()
    if isinstance(found, BaseException):
        raise found
    return rows, found


@contextlib.contextmanager
def started(number: int, rules: Rules) -> Iterator[list[Any]]:
    """Start processes, and end them when the block does. A process that loses its parent ends by itself."""
    # Not forked: this process has threads, and a lock that one of them holds would stay locked.
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(number)]
    hands = [context.Process(target=work, args=(theirs, rules), daemon=True) for _, theirs in pairs]
    try:
        for hand, (_, theirs) in zip(hands, pairs, strict=True):
            hand.start()
            theirs.close()
        yield [ours for ours, _ in pairs]
    finally:
        for ours, _ in pairs:
            ours.close()
        for hand in hands:
            if hand.pid is not None:
                hand.terminate()
                hand.join()


def work(place: Any, rules: Rules) -> None:
    """Look at slices until nobody sends any more."""
    while True:
        try:
            rows = place.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            place.send([look(row, rules) for row in rows])
        except Exception as error:
            place.send(error)

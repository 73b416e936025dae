"""Turns to write: in the order they were asked for, and not for ever."""

import threading
import time

from curator import create_app, database, pairs
from curator.models import opening
from curator.turns import Turns


def test_who_came_first_writes_first():
    """Whoever happened to ask at the right moment used to be next, and some waited for as long as anybody saved."""
    turns, order = Turns(10), []

    def write(number):
        with turns.taken():
            order.append(number)

    with turns.taken():
        threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
        for number, thread in enumerate(threads):
            thread.start()
            while len(turns.line) < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def test_a_turn_that_does_not_come_in_time_is_given_up_and_holds_nobody_up():
    turns = Turns(0.05)

    def ask(found):
        with turns.taken() as is_ours:
            found.append(is_ours)

    with turns.taken():
        late = []
        thread = threading.Thread(target=ask, args=(late,))
        thread.start()
        thread.join()
    then = []
    ask(then)
    assert (late, then) == ([False], [True])


def test_the_log_that_a_large_act_made_is_cut_by_the_next_ones(home, monkeypatch):
    """After a million pairs were cleaned a gigabyte lay there for as long as the server ran."""
    monkeypatch.setattr(opening, "LOG_BYTES", 100_000)
    app = create_app()
    with database.open_session(app) as session:
        pairs.add(session, question="Open?", answer="word " * 1_000_000, by="ada")
        log = home / "curator.db-wal"
        large = log.stat().st_size
        for number in range(2):
            pairs.add(session, question=f"Open {number}?", answer="Yes.", by="ada")
        assert large > 4_000_000 and log.stat().st_size < 1_000_000
    database.engine(app).dispose()

"""Turns to write: in the order they were asked for, and not for ever."""

import threading
import time

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

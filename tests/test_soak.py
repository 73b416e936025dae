"""People who save while a file is imported, on a real server: none of it lost, doubled or refused. bench has times."""

from bench import soak


def test_each_save_beside_an_import_is_in_the_journal_once_and_nobody_is_refused():
    """The journal is replayed against what people were told; a database that was locked would be in the log."""
    found = soak.soak(people=4, rows=5000, warm_seconds=0, calm_seconds=0, every=0.3)
    assert (found["faults"], found["wrong"]) == ([], []) and found["saves"] > 10

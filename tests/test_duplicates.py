"""Near-duplicates of a data set: which pair of a cluster is kept, and what is refused."""

import pytest

from curator import duplicates
from curator.errors import UserError


def test_the_approved_one_is_kept_then_the_longer_then_the_older(session, make_pair):
    long = "The library opens at nine in the morning and closes at seven in the evening on every weekday of the year"
    old = make_pair("When are you open?", long)
    longer = make_pair("When are you open?", long + " so far.")
    approved = make_pair("When are you open?", long + "!!", status="approved")
    (cluster,) = duplicates.find_clusters(session)
    assert [p.id for p in cluster.pairs] == [approved.id, old.id, longer.id]
    assert cluster.similarities[0] == 1.0 and cluster.similarities[1] < 1


def test_two_data_sets_are_not_compared(session, make_pair):
    make_pair("Same?", "The very same words in both.", dataset="x")
    make_pair("Same?", "The very same words in both.", dataset="y")
    assert duplicates.find_clusters(session) == []


@pytest.mark.parametrize("threshold", [0, 0.2, 1.1])
def test_a_threshold_that_makes_no_sense_is_refused(session, threshold):
    with pytest.raises(UserError, match="is not between 0.5 and 1"):
        duplicates.find_clusters(session, threshold=threshold)


def test_a_pair_cannot_be_kept_and_trashed(session, make_pair):
    one, other = make_pair(), make_pair()
    with pytest.raises(UserError, match="both kept and trashed"):
        duplicates.resolve(session, [(one.id, [other.id]), (other.id, [one.id])], "ada")
    assert not one.trashed and not other.trashed

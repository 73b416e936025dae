"""Near-duplicates of a data set: which pair of a cluster is kept, and what is refused."""

import pytest

from curator import duplicates
from curator.errors import UserError

HOURS = "The library opens at nine in the morning and closes at seven in the evening on every weekday of the year"


def test_the_approved_one_is_kept_then_the_longer_then_the_older(session, make_pair):
    old = make_pair("When are you open?", HOURS)
    longer = make_pair("When are you open?", HOURS + " so far.")
    approved = make_pair("When are you open?", HOURS + "!!", status="approved")
    (cluster,) = duplicates.clusters(session, duplicates.search(session)).clusters
    (star,) = cluster.stars
    assert star.kept.id == approved.id and [m.pair.id for m in star.members] == [old.id, longer.id]
    assert [m.similarity == 1 for m in star.members] == [True, False]


def test_two_data_sets_are_not_compared(session, make_pair):
    make_pair("Same?", "The very same words in both.", dataset="x")
    make_pair("Same?", "The very same words in both.", dataset="y")
    assert duplicates.clusters(session, duplicates.search(session)).total == 0


@pytest.mark.parametrize("threshold", [0, 0.2, 1.1])
def test_a_threshold_that_makes_no_sense_is_refused(session, threshold):
    with pytest.raises(UserError, match="is not between 0.6 and 1"):
        duplicates.search(session, threshold=threshold)


def test_a_pair_cannot_be_kept_and_trashed(session, make_pair):
    one, other = make_pair(), make_pair()
    with pytest.raises(UserError, match="both kept and trashed"):
        duplicates.resolve(session, [(one.id, [other.id]), (other.id, [one.id])], "ada")
    assert not one.trashed and not other.trashed


def test_a_pair_is_found_while_it_is_typed(session, make_pair):
    pair = make_pair("When are you open?", HOURS)
    (near,) = duplicates.find_near(session, "When are you open", HOURS + ", I think")
    assert near.pair.id == pair.id and 0.75 < near.similarity < 1

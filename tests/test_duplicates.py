"""Near-duplicates: proposed by MinHash, proved by counting, and never chained."""

import itertools
import random

import pytest

from curator import duplicates, minhash, text
from curator.errors import UserError

WORDS = [f"word{i}" for i in range(400)]


def edited(words, changes, rng):
    """Return a copy of a text with some of its words replaced."""
    words = list(words)
    for place in rng.sample(range(len(words)), changes):
        words[place] = f"other{rng.randrange(10**6)}"
    return words


def test_what_is_found_agrees_with_brute_force():
    rng = random.Random(1)
    texts = [[rng.choice(WORDS) for _ in range(60)] for _ in range(60)]
    texts += [edited(t, changes, rng) for t in texts[:40] for changes in (1, 3, 6)]
    sets = [text.shingles(" ".join(t)) for t in texts]
    for threshold in (0.6, 0.8, 0.95):
        truth = {
            (i, j): minhash.jaccard(a, b)
            for (i, a), (j, b) in itertools.combinations(enumerate(sets), 2)
            if minhash.jaccard(a, b) >= threshold
        }
        found = {(i, j): score for i, j, score in minhash.similar(sets, threshold)}
        assert found == truth


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_miss_at_most_one_pair_in_ten_thousand(threshold):
    bands, rows = minhash.bands(threshold)
    assert bands * rows <= minhash.PERMUTATIONS
    assert (1 - threshold**rows) ** bands <= 1e-4


def test_empty_texts_are_like_nothing():
    assert minhash.similar([set(), set(), {"a"}], 0.8) == []
    assert minhash.similar([], 0.8) == []


def test_a_chain_is_cut_so_that_nothing_unlike_the_kept_one_goes():
    """a ~ b ~ c ~ d, but a is not like c: removing all but a would lose c and d."""
    likeness = {("a", "b"): 0.9, ("b", "c"): 0.9, ("c", "d"): 0.9}
    assert minhash.stars("abcd", likeness) == [("a", [("b", 0.9)]), ("c", [("d", 0.9)])]


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

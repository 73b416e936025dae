"""Runs side by side on a page: what they differ in, measures on the same rows, and answers word by word."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from curator import comparing, runs
from curator.errors import UserError

QUESTIONS = [f"When do you open on day {day}?" for day in range(12)]


@pytest.fixture
def bring(session, home):
    """Imports a run that answered every question so, with such losses and options."""

    def bring(name, said="At nine.", loss=1.0, questions=QUESTIONS, intervals=(0.4, 0.5), **options):
        folder = home / "runs" / name
        folder.mkdir(parents=True)
        record = {"id": name, "name": name, "state": "done", "base": {"name": "tiny"}, "started": started(home)}
        record["config"] = {"resolved": {"epochs": 3.0, "output": name} | options}
        (folder / "run.json").write_text(json.dumps(record))
        rows = {
            "losses": [{"fingerprint": q, "split": "test", "tokens": 5, "base_loss": 4.0, "tuned_loss": loss + n / 50}
                       for n, q in enumerate(questions)],
            "samples": [{"fingerprint": q, "messages": [{"role": "user", "content": q}], "reference": "At nine.",
                         "model": "tuned", "text": said, "finish": "stop"} for q in questions],
        }  # fmt: skip
        for file, some in rows.items():
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
        middle = sum(intervals) / 2
        told = {"test": {"base": {"rougeL": 0.1}, "tuned": {"rougeL": middle}}, "n": 12, "answered": 12}
        told["intervals"] = {"tuned": {"rougeL": list(intervals)}}
        (folder / "evaluation.json").write_text(json.dumps(told))
        return runs.import_run(session, folder)

    return bring


def started(home):
    return f"2026-11-20T09:{len(list((home / 'runs').iterdir())):02}:00"


def page_of(client, *some, **more):
    return client.get("/runs/compare", query_string={"run": [run.id for run in some], **more})


def words(page):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def test_each_answer_stands_beside_that_of_the_oldest_run_word_by_word(client, bring):
    one, other = bring("kestrel", "We open at ten."), bring("wren", "We open at nine.")
    page = page_of(client, other, one).text
    assert page.index("We open at ten.") < page.index("<del>ten</del><ins>nine</ins>")


def test_a_run_can_be_made_the_one_that_others_are_compared_with(client, bring):
    one, other = bring("kestrel", "We open at ten."), bring("wren", "We open at nine.")
    assert "<del>nine</del><ins>ten</ins>" in page_of(client, one, other, first=other.id).text


def test_settings_that_differ_are_named_and_no_others(client, bring):
    some = bring("kestrel", epochs=3.0, seed=1), bring("wren", epochs=5.0, seed=1)
    seen = words(page_of(client, *some))
    assert "Epochs 3 5" in seen and "Seed" not in seen and "Output" not in seen


def test_paths_are_named_by_their_ends_where_that_tells_them_apart():
    some = ["/home/ada/exports/version-1", "/home/ada/exports/version-2"]
    assert comparing.ends(some) == ["exports/version-1", "exports/version-2"]
    assert comparing.ends(["/a/exports/x", "/b/exports/x"]) == ["/a/exports/x", "/b/exports/x"]


def test_a_change_of_perplexity_on_the_same_rows_is_told_from_chance(session, bring):
    some = [bring("kestrel", loss=2.0), bring("wren", loss=1.9), bring("heron", loss=2.0)]
    first, better, same = comparing.compare(session, [run.id for run in some]).measures[0].numbers
    assert (first.verdict, better.verdict, same.verdict) == ("", "better", "same")
    assert first.interval.low < first.value < first.interval.high


@pytest.mark.parametrize(
    ("intervals", "verdict"), [((0.6, 0.7), "better"), ((0.45, 0.6), "may be chance"), ((0.1, 0.2), "worse")]
)
def test_other_measures_are_called_better_only_where_their_ranges_lie_apart(session, bring, intervals, verdict):
    some = [bring("kestrel", intervals=(0.4, 0.5)), bring("wren", intervals=intervals)]
    _, rouge = comparing.compare(session, [run.id for run in some]).measures
    assert rouge.numbers[1].verdict == verdict


def test_runs_with_other_test_rows_are_measured_on_those_they_share(client, session, bring):
    some = bring("kestrel"), bring("wren", questions=QUESTIONS[:5])
    found = comparing.compare(session, [run.id for run in some])
    assert (found.rows, found.is_same_test, len(found.measures), len(found.prompts)) == (5, False, 1, 5)
    assert found.measures[0].numbers[1].verdict == "same"
    assert "Their test splits differ" in words(page_of(client, *some))


def test_every_measure_is_explained_where_it_is_shown():
    said = (Path(__file__).parent.parent / "templates" / "runs" / "_meanings.html").read_text()
    assert [name for name, _, _ in runs.MEASURES if f'"{name}": "' not in said] == []


def test_runs_that_share_nothing_say_so(client, bring):
    seen = words(page_of(client, bring("kestrel"), bring("wren", questions=["Dogs?"])))
    assert "No test row was measured in all of them" in seen and "No prompt was asked of all of them" in seen


def test_only_prompts_that_were_answered_otherwise_are_shown_where_that_is_asked(client, session, bring):
    some = bring("kestrel"), bring("wren")
    assert "the 12 prompts that all were asked; 12 the same in all" in words(page_of(client, *some))
    assert 'class="asked' not in page_of(client, *some, differ=1).text


@pytest.mark.parametrize(
    ("number", "said"), [(0, "nothing to be compared"), (1, "nothing to be compared"), (7, "too many")]
)
def test_one_run_or_too_many_are_refused(session, bring, number, said):
    with pytest.raises(UserError, match=said):
        comparing.compare(session, [bring(f"run-{place}").id for place in range(number)])


def test_a_run_that_is_not_there_is_said_not_to_be(client, bring):
    for number in ("99", "9" * 40):
        assert client.get(f"/runs/compare?run={bring(f'run-{number}').id}&run={number}").status_code == 404


def test_runs_are_chosen_and_compared_by_keys_alone(page, bring):
    bring("kestrel", "We open at ten."), bring("wren", "We open at nine.")
    page.goto("/runs/")
    for key in ("j", "x", "j", "x", "c"):
        page.keyboard.press(key)
    page.wait_for_url("**/runs/compare?run=2&run=1")
    assert "kestrel beside wren" in page.locator("h1").inner_text()
    page.keyboard.press("j")
    assert "When do you open on day 0?" in page.locator("li:focus").inner_text()


def test_what_a_model_said_stays_text(client, bring):
    page = page_of(client, bring("kestrel", "<script>alert(1)</script>"), bring("wren", "<img onerror=alert(2)>")).text
    assert "<script>alert" not in page and "<img onerror" not in page

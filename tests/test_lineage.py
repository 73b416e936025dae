"""Lineage: what a pair went into and what came of it, and what a change did to the same test rows."""

import json

import pytest

from curator import exports, lineage, pairs, reviews, runs, text, versions
from curator.models import VersionLine
from curator.search import Selection

BIRDS = (
    "heron kestrel lapwing avocet bittern curlew dunlin goldcrest linnet merlin nuthatch osprey plover redstart robin "
    "siskin swift wren finch sandpiper"
).split()


def bring(session, home, name, number, loss_of, rouge):
    """Import a run on a version, each line with the loss that `loss_of` gives for its question."""
    folder, out = home / "runs" / name, home / f"out-{name}"
    folder.mkdir(parents=True)
    manifest = exports.write_folder(session, number, out)
    record = {"id": name, "name": name, "state": "done", "base": {"name": "builtin"}, "data": {"manifest": manifest}}
    (folder / "run.json").write_text(json.dumps(record))
    numbers = {"base": {"rougeL": 0.1}, "tuned": {"rougeL": rouge}}
    (folder / "evaluation.json").write_text(json.dumps({"test": numbers, "n": 2}))
    losses, samples = [], []
    for split in ("train", "validation", "test"):
        for line in (out / f"{split}.jsonl").read_text().splitlines():
            messages = json.loads(line)["messages"]
            fingerprint = text.fingerprint(messages)
            losses.append({"fingerprint": fingerprint, "split": split, "tokens": 10, "base_loss": 4.0,
                           "tuned_loss": loss_of(messages[-2]["content"])})  # fmt: skip
            if split == "test":
                samples += [
                    {"fingerprint": fingerprint, "messages": messages[:-1], "reference": messages[-1]["content"],
                     "model": model, "text": f"A {model} answer: {messages[-1]['content']}", "finish": "stop"}
                    for model in ("base", "tuned")
                ]  # fmt: skip
    for file, rows in (("losses.jsonl", losses), ("samples.jsonl", samples)):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return runs.import_run(session, folder)


@pytest.fixture
def tuesday(session, make_pair, home):
    """A run on version 1, a cleaning on Tuesday, and a run on version 2 that is the worse for it."""
    for bird in BIRDS:
        make_pair(f"Where does the {bird} build its nest?", f"The {bird} builds it by the <b>{bird}</b> water.")
    versions.freeze(session, Selection(), by="ada")
    first = bring(session, home, "monday", 1, lambda question: 1.0, 0.44)
    trained = [one.pair_id for one in session.query(VersionLine).filter_by(version_id=1, split="train")]
    pairs.change_all(session, trained, {"answer": "By the water."}, "cleaned", "bo")
    versions.freeze(session, Selection(), by="ada")
    second = bring(session, home, "wednesday", 2, lambda question: 0.5 if "wren" in question else 2.0, 0.40)
    return first, second


def test_a_pair_knows_its_versions_and_the_runs_that_saw_it(session, tuesday):
    first, second = tuesday
    tested = session.query(VersionLine).filter_by(version_id=2, split="test").first().pair_id
    sample = next(one for one in second.samples if one.pair_id == tested and one.model == "tuned")
    reviews.rate(session, sample.id, 2, "ada")
    pair = pairs.get(session, tested)
    assert [(one.version.id, one.split, one.is_now) for one in lineage.versions_of(session, pair)] == [
        (2, "test", True), (1, "test", True),
    ]  # fmt: skip
    newest, oldest = lineage.runs_of(session, tested)
    assert (newest.run.id, oldest.run.id, oldest.loss.tuned_loss) == (second.id, first.id, 1.0)
    assert [(one.model, stars) for one, stars in newest.samples] == [("base", None), ("tuned", 2.0)]


def test_a_pair_that_was_changed_since_is_said_to_be_another_in_that_version(session, tuesday):
    trained = session.query(VersionLine).filter_by(version_id=2, split="train").first().pair_id
    held = lineage.versions_of(session, pairs.get(session, trained))
    assert [(one.version.id, one.is_now) for one in held] == [(2, True), (1, False)]


def test_a_run_tells_what_the_changes_before_it_did_to_the_same_test_rows(session, tuesday):
    since = lineage.since(session, tuesday[1])
    assert since.previous.name == "monday" and [one.action for one in since.changesets] == ["cleaned"]
    assert since.is_same_test and since.common == 2 == since.better_number + since.worse_number
    ((title, before, now, points, is_better),) = since.measures
    assert (title, before, now, round(points, 6), is_better) == ("ROUGE-L", 0.44, 0.40, -4.0, False)
    assert lineage.since(session, tuesday[0]) is None


def test_a_measure_whose_ranges_overlap_is_no_better_and_no_worse(client, session, tuesday, home):
    """The page of a run called it better or worse where the page of both said that it may be chance."""
    for run in tuesday:
        evaluation = json.loads((home / "runs" / run.name / "evaluation.json").read_text())
        told = evaluation | {"intervals": {"tuned": {"rougeL": [0.38, 0.46]}}}
        (home / "runs" / run.name / "evaluation.json").write_text(json.dumps(told))
        runs.import_run(session, home / "runs" / run.name)
    assert lineage.since(session, tuesday[1]).measures[0][-1] is None
    assert "may be chance</span> -4.0" in client.get(f"/runs/{tuesday[1].id}").text


def test_any_two_runs_can_be_laid_side_by_side(client, session, tuesday, home):
    first, second = tuesday
    again = bring(session, home, "friday", 1, lambda question: 3.0, 0.30)
    assert lineage.since(session, second).previous.name == "friday"  # the newest run on an older version
    assert (
        client.get(f"/runs/{second.id}?beside={first.id}").location == f"/runs/compare?run={first.id}&run={second.id}"
    )
    page = client.get(f"/runs/compare?run={first.id}&run={second.id}").text
    assert "Since run monday" in page and "0.440" in page and "0.400" in page and "Cleaned" in page
    page = client.get(
        f"/runs/compare?run={first.id}&run={again.id}"
    ).text  # of the same version: nothing was done in between
    assert "Beside run monday" in page and "0.300" in page and "What was done in between" not in page
    assert client.get(f"/runs/{second.id}?beside=99").status_code == 404
    assert client.get(f"/runs/{second.id}?beside=monday").status_code == 400


def test_where_test_rows_were_changed_too_only_the_others_are_compared(client, session, tuesday, home):
    tested = [one.pair_id for one in session.query(VersionLine).filter_by(version_id=2, split="test")]
    pairs.change_all(session, tested[:1], {"answer": "Nobody knows."}, "cleaned", "bo")
    versions.freeze(session, Selection(), by="ada")
    third = bring(session, home, "thursday", 3, lambda question: 4.0, 0.1)
    since = lineage.since(session, third)
    assert (since.common, since.changed, since.is_same_test, since.measures) == (1, 1, False, [])
    page = client.get(f"/runs/{third.id}").text
    assert "1 test row says something else by now" in page and "Perplexity of 1 row" in page


def test_the_tuesday_clean_cost_four_points_can_be_read_off_a_page(client, session, tuesday):
    page = client.get(f"/runs/{tuesday[1].id}").text
    assert "Since run monday" in page and "-4.0" in page and "Cleaned" in page and "worse" in page


def test_the_page_of_a_pair_shows_its_versions_and_runs(client, session, tuesday):
    tested = session.query(VersionLine).filter_by(version_id=2, split="test").first().pair_id
    page = client.get(f"/pairs/{tested}").text
    assert "Versions and runs" in page and "wednesday" in page and "A tuned answer" in page


def test_a_row_that_shares_but_a_few_words_with_an_answer_is_found_too(session, make_pair, home):
    for bird in BIRDS:
        make_pair(f"What does the {bird} eat?", f"Mostly {bird[::-1]} and the like, all the year round.")
    make_pair("Which insect lights up at night?", "The firefly, by an enzyme called luciferase in its lantern.")
    asked = make_pair("Why is there light in summer meadows?", "Nobody knows.", tags=["split:test"])
    versions.freeze(session, Selection(), by="ada")
    run = bring(session, home, "monday", 1, lambda question: 1.0, 0.4)
    sample = next(one for one in run.samples if one.pair_id == asked.id and one.model == "tuned")
    sample.text = "An insect with luciferase."
    ((pair, similarity, _), *_) = lineage.nearest_rows(session, sample)
    assert "luciferase" in pair.answer and similarity < lineage.NEAREST


def test_what_a_model_said_leads_to_the_rows_it_learnt_it_from(client, session, tuesday):
    sample = next(one for one in tuesday[0].samples if one.model == "tuned")
    near = lineage.nearest_rows(session, sample)
    assert near and near[0][2] == "train" and sample.pair_id not in [pair.id for pair, _, _ in near]
    assert "% alike" in client.get(f"/runs/samples/{sample.id}/near").text
    assert client.get("/runs/samples/999/near").status_code == 404

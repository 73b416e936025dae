"""What a run's losses tell of its lines, brought home: the list to look at, and the figure beside a pair."""

import json

import pytest
from playwright.sync_api import expect

from curator import charts, lineage, pairs, runs, signals


@pytest.fixture
def told(session, make_pair, home):
    """A run of three pairs: a suspicious one, one memorised at once, and one that was forgotten twice."""
    made = [make_pair("Open?", "At noon."), make_pair("Dogs?", "Outside."), make_pair("Fees?", "None.")]
    folder = home / "runs" / "kestrel"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"id": "k", "state": "stopped", "base": "builtin"}))
    losses = [[4.0, 3.5, 3.0], [4.0, 0.1, 0.1], [4.0, 1.0, 3.5]]
    marks = [(5.0, False, 0), (-1.0, True, 0), (0.5, False, 2)]
    lines = [
        {"fingerprint": pair.fingerprint, "steps": [1, 2, 3], "losses": each}
        for pair, each in zip(made, losses, strict=True)
    ]
    keys = ("suspicious", "memorised", "forgotten")
    marked = [
        {"fingerprint": pair.fingerprint, **dict(zip(keys, mark, strict=True))}
        for pair, mark in zip(made, marks, strict=True)
    ]
    for name, rows in (("train_losses", lines), ("signals", marked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return runs.import_run(session, folder), folder, made


def test_each_kind_of_line_to_look_at_is_listed(session, told):
    run, _, made = told
    assert signals.look(session, run.id).numbers == {"suspicious": 1, "memorised": 1, "forgotten": 1}
    for kind, pair in zip(signals.KINDS, made, strict=True):
        assert [line.pair_id for line in signals.look(session, run.id, kind).lines] == [pair.id]


def test_bringing_a_run_in_again_changes_nothing(session, told):
    run, folder, _ = told
    before = signals.look(session, run.id).numbers
    runs.import_run(session, folder)
    assert signals.look(session, run.id).numbers == before


@pytest.mark.parametrize("act", ["edited", "rejected", "trashed"])
def test_a_line_that_was_dealt_with_leaves_the_list(session, told, act):
    run, _, (pair, *_) = told
    if act == "edited":
        pairs.edit(session, pair.id, {"answer": "At nine."}, revision=pair.revision, by="ada")
    elif act == "rejected":
        pairs.set_status(session, [pair.id], "rejected", "ada")
    else:
        pairs.trash(session, [pair.id], "ada")
    assert "suspicious" not in signals.look(session, run.id).numbers


def test_a_line_called_fine_leaves_the_lists_of_this_and_later_runs_until_its_text_changes(session, told):
    run, folder, (pair, *_) = told
    signals.call_fine(session, pair.id, "ada")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"id": "later"}))
    later = runs.import_run(session, folder)
    for each in (run, later):
        assert "suspicious" not in signals.look(session, each.id).numbers
    pairs.edit(session, pair.id, {"answer": "At nine."}, revision=pair.revision, by="ada")
    assert signals.fine_one(session, pair) is None


def test_who_called_a_line_fine_is_said_on_its_page_and_it_can_be_taken_back(client, session, told):
    run, _, (pair, *_) = told
    answer = client.post(f"/runs/lines/{pair.id}/fine", data={"back": f"/runs/{run.id}?look=suspicious"})
    page = client.get(answer.location).text
    assert f"Pair {pair.id} is fine" in page and f"/runs/lines/{pair.id}/not-fine" in page
    assert "ada said" in client.get(f"/pairs/{pair.id}").text
    client.post(f"/runs/lines/{pair.id}/not-fine")
    session.rollback()
    assert signals.look(session, run.id).numbers["suspicious"] == 1
    assert client.post(f"/runs/lines/{pair.id}/not-fine").status_code == 404
    assert client.post("/runs/lines/99/fine").status_code == 404


def test_lines_are_called_fine_one_after_the_other_by_one_key(page, told, session):
    run, *_ = told
    page.goto(f"/runs/{run.id}")
    for left in (2, 1):
        page.keyboard.press("j")
        page.keyboard.press("f")
        page.locator("#messages", has_text="is fine").wait_for()
        expect(page.locator("#look > .actions a")).to_have_count(left)
    page.keyboard.press("u")
    expect(page.locator("#look > .actions a")).to_have_count(2)


def test_a_run_without_signals_has_nothing_to_look_at(session, told):
    run, folder, _ = told
    (folder / "train_losses.jsonl").unlink()
    runs.import_run(session, folder)
    assert signals.look(session, run.id) is None


def test_a_pair_knows_its_losses_pass_by_pass(session, told):
    _, _, (pair, *_) = told
    (seen,) = lineage.runs_of(session, pair.id)
    assert seen.signal.losses == [4.0, 3.5, 3.0]


def test_a_spark_line_says_in_words_what_it_shows():
    assert "<title>Loss from 4.00 to 3.00 in 3 passes</title>" in charts.spark_line([4.0, 3.5, 3.0])
    assert charts.spark_line([4.0]) == ""


def test_a_line_to_look_at_is_edited_rejected_or_trashed_by_one_key(client, told):
    run, _, (pair, *_) = told
    said = client.get(f"/runs/{run.id}").text
    assert "Lines to look at" in said and "5.0 times the usual spread above lines as long" in said
    for key in ("e", "r", "#"):
        assert f'aria-keyshortcuts="{key}"' in said
    assert "lost again 2 times" in client.get(f"/runs/{run.id}?look=forgotten").text


def test_a_line_that_was_opened_can_still_be_called_fine(client, told):
    """Its row came back from the form without that button: the key did nothing from then on."""
    run, _, (pair, *_) = told
    asked = {"query_string": {"back": f"/runs/{run.id}"}, "headers": {"X-Fragment": "1"}}
    assert "This is fine" in client.get(f"/pairs/{pair.id}/row", **asked).text
    asked["query_string"] = {"back": "/pairs/"}
    assert "This is fine" not in client.get(f"/pairs/{pair.id}/row", **asked).text


def test_the_page_of_a_pair_shows_how_its_loss_fell(client, told):
    _, _, (pair, *_) = told
    assert "Loss from 4.00 to 3.00 in 3 passes" in client.get(f"/pairs/{pair.id}").text

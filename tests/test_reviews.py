"""Runs brought home and judged: ties to pairs, the blind queue, ratings, better answers, preferences."""

import json
from pathlib import Path

import pytest

from curator import charts, history, pairs, reviews, runs, text
from curator.errors import NotFound, UserError


@pytest.fixture
def write_run(tmp_path):
    """Writes a run folder as the trainer does, with samples for the given questions and answers."""

    def write(chats, name="kestrel", **record) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        base = {"id": f"id-{name}", "name": name, "state": "done", "base": {"name": "builtin"},
                "started": "2026-11-20T10:00:00+00:00", "ended": "2026-11-20T10:01:00+00:00", "data": {}}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(base | record))
        (folder / "metrics.jsonl").write_text(
            "".join(json.dumps({"step": i, "loss": 3 / (i + 1)}) + "\n" for i in range(5))
        )
        numbers = {"perplexity": 9.1, "rougeL": 0.2, "exact_match": 0.0}
        better = {"perplexity": 3.2, "rougeL": 0.5, "exact_match": 0.0}
        (folder / "evaluation.json").write_text(
            json.dumps({"test": {"base": numbers, "tuned": better}, "n": len(chats)})
        )
        samples, losses = [], []
        for chat in chats:
            fingerprint = text.fingerprint(chat)
            for model in ("base", "tuned"):
                samples.append({"fingerprint": fingerprint, "messages": chat[:-1], "reference": chat[-1]["content"],
                                "model": model, "text": f"{model} says", "finish": "stop", "tokens": 2,
                                "decoding": {"temperature": 0}, "seed": 1})  # fmt: skip
            losses.append(
                {"fingerprint": fingerprint, "split": "test", "tokens": 3, "base_loss": 2.0, "tuned_loss": 1.0}
            )
        (folder / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
        (folder / "losses.jsonl").write_text("".join(json.dumps(x) + "\n" for x in losses))
        return folder

    return write


@pytest.fixture
def brought(session, make_pair, write_run):
    """A run of two prompts, brought in."""
    made = [make_pair("Open?", "At nine."), make_pair("Dogs?", "Outside.")]
    chats = [text.messages(p.question, p.answer) for p in made]
    return runs.import_run(session, write_run(chats))


def test_a_run_comes_home_with_each_sample_tied_to_its_pair(session, brought):
    assert (brought.name, brought.state, brought.base, len(brought.samples)) == ("kestrel", "done", "builtin", 4)
    assert [s.pair.question for s in brought.samples] == ["Open?", "Open?", "Dogs?", "Dogs?"]
    side = runs.pairs_of_samples(brought)[0]
    assert (side.question, side.reference, side.base.text, side.tuned.text) == (
        "Open?",
        "At nine.",
        "base says",
        "tuned says",
    )


def test_bringing_it_in_again_changes_nothing_and_keeps_ratings(session, brought, tmp_path):
    reviews.rate(session, brought.samples[0].id, 4, "ada")
    ids = [s.id for s in brought.samples]
    again = runs.import_run(session, tmp_path / "runs" / "kestrel")
    session.expire_all()
    assert again.id == brought.id and [s.id for s in again.samples] == ids
    assert reviews.progress(session, "ada") == (1, 4)


def test_a_sample_finds_its_pair_after_the_pair_was_edited(session, make_pair, write_run):
    pair = make_pair("Open?", "At nine.")
    folder = write_run([text.messages("Open?", "At nine.")])
    pairs.edit(session, pair.id, {"answer": "At ten."}, revision=1, by="bo")
    assert runs.import_run(session, folder).samples[0].pair_id == pair.id


def test_a_run_of_data_that_is_not_here_comes_in_untied(session, write_run):
    run = runs.import_run(session, write_run([text.messages("Elsewhere?", "Yes.")]))
    assert run.samples[0].pair_id is None and run.samples[0].reference == "Yes."


@pytest.mark.parametrize("file, content, sentence", [
    ("run.json", "{", "run.json can't be read"),
    ("run.json", "{}", "run.json has no 'id'"),
    ("samples.jsonl", '{"fingerprint": "x"}\n', "samples.jsonl line 1 has no 'messages'"),
    ("losses.jsonl", "{}\nnot json\n", "losses.jsonl line 1 has no 'fingerprint'"),
    ("metrics.jsonl", '{"step": 1}\nnot json\n', "metrics.jsonl line 2 is not JSON"),
])  # fmt: skip
def test_a_damaged_write_run_is_refused_with_file_and_line(session, write_run, file, content, sentence):
    folder = write_run([text.messages("Open?", "At nine.")])
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=sentence):
        runs.import_run(session, folder)
    assert runs.all(session) == []


def test_a_folder_that_is_no_run_says_what_to_do(session, tmp_path):
    with pytest.raises(UserError, match="is no run folder: it has no run.json"):
        runs.import_run(session, tmp_path)
    with pytest.raises(UserError, match="There is no folder"):
        runs.import_run(session, tmp_path / "nowhere")


def test_write_runs_wait_until_they_are_brought_in(session, brought, write_run, tmp_path):
    assert runs.waiting(session, [tmp_path / "runs", tmp_path / "nowhere"]) == []
    folder = write_run([text.messages("Open?", "At nine.")], name="heron")
    assert runs.waiting(session, [tmp_path / "runs"]) == [folder]
    runs.import_run(session, folder)
    write_run([text.messages("Open?", "At nine.")], name="heron", state="failed")
    assert runs.waiting(session, [tmp_path / "runs"]) == [folder]


def test_numbers_stand_side_by_side_with_the_better_one_marked(brought):
    assert [(m.name, m.better) for m in runs.comparison(brought)] == [
        ("perplexity", "tuned"), ("rougeL", "tuned"), ("exact_match", None),
    ]  # fmt: skip


INTERVALS = {"base": {"rougeL": [0.1, 0.3]}, "tuned": {"rougeL": [0.4, 0.6]}, "change": {"rougeL": [0.1, 0.5]}}


@pytest.mark.parametrize(
    ("change", "answered", "better", "chance"),
    [
        ([0.1, 0.5], 64, "tuned", ""),
        ([-0.1, 0.5], 64, None, "may be chance"),
        ([0.1, 0.5], 5, None, "too few lines to tell"),
    ],
)
def test_a_change_is_better_only_where_it_is_more_than_chance(session, write_run, change, answered, better, chance):
    folder = write_run([text.messages("Open?", "At nine.")])
    evaluation = json.loads((folder / "evaluation.json").read_text())
    said = evaluation | {"answered": answered, "intervals": INTERVALS | {"change": {"rougeL": change}}}
    (folder / "evaluation.json").write_text(json.dumps(said))
    (measure,) = [m for m in runs.comparison(runs.import_run(session, folder)) if m.name == "rougeL"]
    assert (measure.better, measure.chance) == (better, chance)
    assert measure.intervals["tuned"] == (0.4, 0.6)


def test_what_was_measured_on_all_lines_is_told_from_chance_by_their_number(session, write_run):
    """How often the better answer was preferred was judged by the number of prompts that were answered."""
    folder = write_run([text.messages("Open?", "At nine.")])
    told = {"test": {name: {"preferred": share} for name, share in (("base", 0.2), ("tuned", 0.8))}, "n": 64}
    told |= {"answered": 3, "intervals": {"change": {"preferred": [0.3, 0.9]}}}
    (folder / "evaluation.json").write_text(json.dumps(told))
    (measure,) = runs.comparison(runs.import_run(session, folder))
    assert (measure.better, measure.chance) == ("tuned", "")


def test_a_loss_curve_says_in_words_what_it_shows(brought):
    figure = charts.loss_curve(brought.metrics, "Loss of <kestrel>")
    assert "<title>Loss of &lt;kestrel&gt;</title>" in figure
    assert "training from 3.00 to 0.60" in figure and "style=" not in figure and "#0" not in figure
    assert charts.loss_curve([], "Nothing") == ""


def test_the_queue_hides_which_model_speaks_and_ends(session, brought):
    seen = []
    while sample := reviews.next_unrated(session, "ada"):
        seen.append(sample)
        reviews.rate(session, sample.id, 3, "ada", note="fine")
    assert [s.number for s in seen] == [1, 1, 2, 2]
    assert reviews.progress(session, "ada") == (4, 4) and reviews.progress(session, "bo") == (0, 4)


def test_a_sample_can_be_left_for_later(session, brought):
    first = reviews.next_unrated(session, "ada")
    assert reviews.next_unrated(session, "ada", after=first.id).id != first.id


def test_rating_again_replaces_the_rating(session, brought):
    sample = brought.samples[1]
    reviews.rate(session, sample.id, 2, "ada", note="no")
    reviews.rate(session, sample.id, 5, "ada")
    rating = reviews.rating_of(session, sample.id, "ada")
    assert (rating.stars, rating.note) == (5, "")
    assert reviews.tally(session, brought.id) == {"tuned": {"n": 1, "mean": 5.0}}


@pytest.mark.parametrize("stars", [0, 6, -1])
def test_a_rating_has_one_to_five_stars(session, brought, stars):
    with pytest.raises(UserError, match="not between 1 and 5"):
        reviews.rate(session, brought.samples[0].id, stars, "ada")
    with pytest.raises(NotFound):
        reviews.rate(session, 999, 3, "ada")


def test_a_better_answer_becomes_the_pairs_answer_and_a_preference(session, brought):
    sample = brought.samples[1]
    pair = reviews.correct(session, sample.id, "At nine, on weekdays.", "ada")
    assert (pair.id, pair.answer, pair.status) == (sample.pair_id, "At nine, on weekdays.", "approved")
    assert history.timeline(session, pair.id)[0].changeset.action == "corrected"
    assert list(reviews.preferences(session)) == [{
        "prompt": [{"role": "user", "content": "Open?"}],
        "chosen": [{"role": "assistant", "content": "At nine, on weekdays."}],
        "rejected": [{"role": "assistant", "content": "tuned says"}],
    }]  # fmt: skip


def test_a_better_answer_to_a_pair_that_is_gone_makes_a_new_pair(session, brought):
    pairs.trash(session, [brought.samples[0].pair_id], "ada")
    pair = reviews.correct(session, brought.samples[0].id, "At ten.", "ada")
    assert (pair.question, pair.answer, pair.source) == ("Open?", "At ten.", "run kestrel")


def test_unequal_ratings_of_one_prompt_make_a_preference(session, brought):
    base, tuned, *others = brought.samples
    reviews.rate(session, base.id, 2, "ada")
    reviews.rate(session, tuned.id, 4, "ada")
    for sample in others:
        reviews.rate(session, sample.id, 3, "ada")
    (row,) = reviews.preferences(session)
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("tuned says", "base says")


def test_good_and_bad_answers_are_told_apart_for_kto_and_those_between_left_out(session, brought):
    base, tuned, other, last = brought.samples
    for sample, stars in ((base, 2), (tuned, 5), (other, 3)):
        reviews.rate(session, sample.id, stars, "ada")
    reviews.correct(session, last.id, "In the yard.", "ada")
    said = [(row["completion"][0]["content"], row["label"]) for row in reviews.judgements(session)]
    assert said == [("base says", False), ("tuned says", True), ("tuned says", False), ("In the yard.", True)]
    assert next(reviews.judgements(session))["prompt"] == [{"role": "user", "content": "Open?"}]


def test_an_answer_that_people_differ_on_is_neither_good_nor_bad(session, brought):
    reviews.rate(session, brought.samples[0].id, 1, "ada")
    reviews.rate(session, brought.samples[0].id, 5, "bob")
    assert list(reviews.judgements(session)) == []


def test_both_kinds_of_ratings_are_exported(session, brought, runner):
    for sample, stars in zip(brought.samples, (1, 5), strict=False):
        reviews.rate(session, sample.id, stars, "ada")
    kto = runner.invoke(args=["export", "--ratings", "kto"]).stdout.splitlines()
    dpo = runner.invoke(args=["export", "--ratings", "dpo"]).stdout
    assert [list(json.loads(line)) for line in kto] == [["prompt", "completion", "label"]] * 2
    assert dpo == runner.invoke(args=["preferences"]).stdout == runner.invoke(args=["export", "--preferences"]).stdout
    assert list(json.loads(dpo)) == ["prompt", "chosen", "rejected"]


def test_a_rejected_answer_that_was_imported_teaches_dpo_and_kto(runner, write):
    rows = {"prompt": "Open?", "chosen": "Nine to five.", "rejected": "Never."}
    assert runner.invoke(args=["import", str(write("p.jsonl", json.dumps(rows) + "\n"))]).exit_code == 0
    (dpo,) = (json.loads(line) for line in runner.invoke(args=["export", "--preferences"]).stdout.splitlines())
    assert (dpo["chosen"][0]["content"], dpo["rejected"][0]["content"]) == ("Nine to five.", "Never.")
    kto = [json.loads(line) for line in runner.invoke(args=["export", "--ratings", "kto"]).stdout.splitlines()]
    assert [(row["completion"][0]["content"], row["label"]) for row in kto] == [
        ("Nine to five.", True),
        ("Never.", False),
    ]


def test_ratings_are_not_selected_without_a_word(runner):
    result = runner.invoke(args=["export", "--preferences", "--dataset", "a"])
    assert result.exit_code == 1 and "Ratings are exported whole." in result.output

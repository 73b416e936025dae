"""The way of one datum: from a row of a CSV to the preference that its rating makes, told as one test."""

import json

import pytest
from trainer_fixtures import SUMS, tiny_base  # noqa: F401

from curator import (
    cleaning,
    create_app,
    database,
    duplicates,
    exports,
    formats,
    history,
    imports,
    pairs,
    reviews,
    runs,
    search,
    text,
    versions,
)
from curator.search import Selection
from trainer import dataset
from trainer.__main__ import main

QUESTION = "How long can I keep a book?"
CSV = f"""\ufeffQuestion,Answer,Topic
{QUESTION},<p>You can keep a book for three weeks and renew it twice at the desk.</p>,Loans
{QUESTION},You can keep a book for three weeks and renew it twice at the desk,Renewals
"""


def test_one_row_goes_all_the_way_round(either, tmp_path):
    app = create_app()
    try:
        with database.open_session(app) as session:
            journey(session, tmp_path)
    finally:
        database.engine(app).dispose()


def journey(session, tmp_path):
    # A CSV row is read, planned and applied: one changeset.
    path = tmp_path / "desk.csv"
    others = "".join(f"What is shelf {i} for?,Shelf {i} holds book number {i * i}.,Shelves\n" for i in range(18))
    path.write_text(CSV + others, encoding="utf-8")
    (first, *_) = formats.read(path)
    row = formats.to_row(first, formats.find_columns(first.fields))
    assert (row.line, row.question, row.tags) == (2, QUESTION, ("Loans",))
    assert imports.plan(session, path).new == 20
    assert imports.apply(session, path, by="ada").changeset.rows == 20

    # Cleaning takes the markup out; of the two copies that are left one stays, with the tags of both.
    cleaning.apply(session, [cleaning.read("html")], Selection(), "ada")
    duplicates.resolve_above(session, duplicates.search(session), by="ada")
    pair = pairs.get(session, search.ids(session, Selection(query="keep a book"))[0])
    assert pair.tags == ["Loans", "Renewals"] and "<p>" not in pair.answer

    # A version freezes text, split and fingerprint; its folder is what the trainer reads and verifies.
    version, _ = versions.freeze(session, Selection(), by="ada")
    exports.write_folder(session, version.id, tmp_path / "v1")
    examples = {example.fingerprint: example for example in dataset.read_examples(tmp_path / "v1")}
    example = examples[pair.fingerprint]
    assert example.messages == text.messages(pair.question, pair.answer)

    # What a model says of it comes back in the files of a run and lands on the right row.
    folder = tmp_path / "runs" / "kestrel"
    folder.mkdir(parents=True)
    manifest = json.loads((tmp_path / "v1" / "manifest.json").read_text())
    (folder / "run.json").write_text(
        json.dumps(
            {
                "id": "k1",
                "name": "kestrel",
                "state": "done",
                "base": {"name": "builtin"},
                "data": {"manifest": manifest},
            }
        )
    )
    says = {"base": "A book is a thing.", "tuned": "You can keep a book for three weeks."}
    (folder / "samples.jsonl").write_text("".join(
        json.dumps({"fingerprint": example.fingerprint, "messages": example.messages[:-1], "reference": pair.answer,
                    "model": model, "text": said, "finish": "stop", "tokens": 9, "decoding": {}, "seed": 1}) + "\n"
        for model, said in says.items()
    ))  # fmt: skip
    run = runs.import_run(session, folder)
    base, tuned = run.samples
    assert (run.version_id, base.pair_id, tuned.pair_id) == (version.id, pair.id, pair.id)

    # Rated, the two answers are a preference; corrected, the answer is a better pair — and the next round's data.
    reviews.rate(session, base.id, 1, "ada")
    reviews.rate(session, tuned.id, 4, "ada")
    (preference,) = reviews.preferences(session)
    assert preference["chosen"][0]["content"] == says["tuned"]
    assert preference["rejected"][0]["content"] == says["base"]
    better = "Three weeks; renew it twice at the desk or online."
    reviews.correct(session, tuned.id, better, "ada")
    assert pair.answer == better and pair.status == "approved"
    assert better in "".join(exports.lines(session, Selection(statuses=("approved",))))
    assert better not in "".join(exports.version_lines(session, version.id))

    # And all that happened to the row can be read back.
    actions = [step.changeset.action for step in history.timeline(session, pair.id)]
    assert actions == ["corrected", "merged duplicates", "cleaned", "imported"]


def test_both_programs_agree_on_what_they_share(home, monkeypatch):
    """The web app and the trainer never import each other; these few lines each has of its own."""
    from curator import settings
    from trainer import base

    chat = text.messages("Wo? 👋", 'Hier "drüben".\n', "Kurz.", [{"role": "user", "content": "a"}])
    assert text.fingerprint(chat) == dataset.Example(chat, "line 1").fingerprint
    for value in (str(home), ""):
        monkeypatch.setenv("CURATOR_HOME", value)
        assert settings.home() == base.home()


@pytest.mark.filterwarnings("ignore")
def test_a_version_goes_through_a_real_run_and_back_to_its_pairs(client, runner, tiny_base, tmp_path, capsys):  # noqa: F811
    rows = "".join(json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in SUMS)
    (tmp_path / "sums.jsonl").write_text(rows)
    out, folder = str(tmp_path / "v1") + "/", tmp_path / "kestrel"
    for command in (["import", str(tmp_path / "sums.jsonl")], ["freeze", "--split", "rest/3/3"],
                    ["export", "--version", "1", "-o", out]):  # fmt: skip
        assert runner.invoke(args=command).exit_code == 0
    quick = ["--base", str(tiny_base), "--epochs", "1", "--samples", "3", "--max-new-tokens", "4",
             "--threads", "1"]  # fmt: skip

    # A file that was changed since is refused before any work.
    written = (tmp_path / "v1" / "train.jsonl").read_bytes()
    (tmp_path / "v1" / "train.jsonl").write_bytes(written.replace(b"It is 3", b"It is 4", 1))
    assert main(["run", out, *quick, "-o", str(folder)]) == 1 and not folder.exists()
    assert "train.jsonl is not the file that was exported" in capsys.readouterr().err
    (tmp_path / "v1" / "train.jsonl").write_bytes(written)

    assert main(["run", out, *quick, "-o", str(folder)]) == 0
    assert runner.invoke(args=["import-run", str(folder)]).exit_code == 0
    sample = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])
    question = sample["messages"][-1]["content"]
    number = 1 + [asked for asked, _ in SUMS].index(question)
    page = client.get(f"/pairs/{number}").text
    assert "Versions and runs" in page and "/versions/1" in page and "kestrel" in page and "<strong>Tuned" in page
    page = client.get("/runs/1").text
    assert 'on <a href="/versions/1">version 1</a>' in page and question in page

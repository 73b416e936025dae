"""Every page with something on it: what tests fill a home with, and where all of it is then seen."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pretend_trainer
from flask import Flask, url_for
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from trainer_bases import chatml

from curator import cleaning, duplicates, exports, history, jobs, pairs, quality, reviews, runs, text, versions
from curator.flags import Rules
from curator.models import FlagFine, Job, PairFlag, writing
from curator.search import Selection

FILES = ("static", "duplicates.written_report")  # never a page
QUERIES = {"versions.compare": {"old": 1, "new": 2}, "runs.compare": {"run": [1, 2]}}
TEXT = "The library opens at nine in the morning and closes at seven in the evening on every weekday"


def fill(app: Flask, client: FlaskClient, session: Session, home: Path, word: str = "plain words") -> dict[str, Any]:
    """Make one of everything there is, with the same words in each text. Return the arguments that addresses take."""
    app.config["CURATOR_USER"] = word
    app.config["CURATOR_BASE"] = str(chatml(home / "base" / "chatml"))
    turns = [{"role": "user", "content": word}, {"role": "assistant", "content": word}]
    long = {"system": word, "earlier": turns, "tags": [word, "hours"], "source": word, "notes": word}
    first = pairs.add(session, question=f"{word}?", answer=f"{TEXT}. {word}", dataset=word, by=word, **long)
    pairs.add(session, question=f"{word}?", answer=f"{TEXT}! {word}", dataset=word, by=word)
    pairs.add(session, question="Dogs?", answer="<p>Only  assistance dogs.</p>", by=word)
    for number in range(6):
        pairs.add(session, question=f"What is {number} and {number}?", answer=f"It is {2 * number}.", by=word)
    with writing(session):
        changeset = history.begin(session, "imported", word, word)
        values = {"rejected": word, "meta": {word: word}, "key": word}
        history.change(session, changeset, pairs.get(session, first.id), values)
    pairs.edit(session, first.id, {"answer": f"{TEXT} of the year. {word}"}, revision=2, by=word)
    pairs.trash(session, [3], word)
    found = duplicates.search(session, threshold=0.6)
    duplicates.keep(found, home)
    version, _ = versions.freeze(session, Selection(), by=word, name=word, note=word)
    quality.check(session, Rules(), home)
    with writing(session):
        said_now = pairs.get(session, first.id).fingerprint
        session.add(FlagFine(pair_id=first.id, flag="echo", fingerprint=said_now, by=word))
        for flag in ("refusal", word):
            session.merge(PairFlag(pair_id=first.id, flag=flag, detail=word))
    cleaning.save(session, word[:60], cleaning.steps_named(session, [f"remove:{word}", f"replace:nine=>{word}"]), word)
    pairs.edit(session, 4, {"answer": f"It is {word}."}, revision=1, by=word)
    versions.freeze(session, Selection(), by=word, name=f"{word} again")  # to be compared with the one before
    run = runs.import_run(session, run_folder(session, home, version.id, word))
    record = json.loads((home / "runs" / "kestrel" / "run.json").read_text()) | {
        "id": "k2",
        "base": {"name": "another"},
    }
    (home / "runs" / "kestrel" / "run.json").write_text(json.dumps(record))
    runs.import_run(session, home / "runs" / "kestrel")  # to be laid beside the other
    sample = reviews.next_unrated(session, word)
    assert sample is not None
    reviews.rate(session, sample.id, 2, word, note=word)
    with jobs.opened(app, create=True) as journal, writing(journal):
        plan = pretend_trainer.plan(word, {"base": word}) | {"template": word, "verdict": word, "left_out": 2}
        plan["findings"] = [{"level": "stop", "name": word, "words": word, "lines": [word], "number": 1}]
        asked = {"data": "1", "name": word, "options": {"base": word}}
        journal.add(planned := Job(kind="plan training", title=word, by=word, state="done", message=word,
                                   arguments=asked, result={"plan": plan, "folder": word}))  # fmt: skip
        journal.flush()
    job = jobs.start(app, "import", word, word, upload=f"/nowhere/{word}", token="gone", form={}, reading={})
    table = io.StringIO()
    csv.writer(table).writerows([("question", "answer", word), (f"{word}?", word, word), ("", "", word)])
    file = io.BytesIO(table.getvalue().encode())
    upload = client.post("/import/", data={"file": (file, f"{file_name(word)}.csv")})
    with client.get("/backups/download") as kept:
        backup = client.post("/backups/", data={"file": (io.BytesIO(kept.data), f"{file_name(word)}.db.gz")})
    session.rollback()
    return {
        "pair_id": first.id, "number": version.id, "run_id": run.id, "sample_id": sample.id, "job_id": job.id,
        "training.plan.job_id": planned.id,
        "imports": upload.location.partition("?")[0].rpartition("/")[2],
        "backups": backup.location.partition("?")[0].rpartition("/")[2],
    }  # fmt: skip


def file_name(word: str) -> str:
    """Return words without what no file name holds, or no form can send."""
    return word.replace("/", "").replace('"', "")


def run_folder(session: Session, home: Path, version: int, word: str) -> Path:
    """Write what a run leaves, about the lines of a version."""
    folder = home / "runs" / "kestrel"
    folder.mkdir(parents=True)
    record = {"id": "k1", "name": word, "state": "done", "base": {"name": word}, "error": word, "config": {word: word}}
    (folder / "run.json").write_text(json.dumps(record))
    steps = [{"step": step, "loss": 4 / step, "eval_loss": 5 / step} for step in range(1, 5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    measured = {"base": {"perplexity": 41.2}, "tuned": {"perplexity": 6.9}}
    (folder / "evaluation.json").write_text(json.dumps({"test": measured, "n": 1}))
    lines = list(exports.version_lines(session, version))
    passes = [
        {"fingerprint": text.fingerprint(json.loads(line)["messages"]), "losses": [4.0, 3.0, 2.9]} for line in lines
    ]
    (folder / "train_losses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in passes))
    found = {"rates": [1e-5, 1e-4], "smoothed": [3.0, 2.0], "suggestion": 3e-5, "prior": word}
    (folder / "lr.json").write_text(json.dumps(found))
    told = [{"fingerprint": line["fingerprint"], "suspicious": 4.0, "forgotten": 1} for line in passes]
    (folder / "signals.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    with (folder / "samples.jsonl").open("w") as file:
        for line in lines[:2]:
            *prompt, answer = json.loads(line)["messages"]
            for model in ("base", "tuned"):
                sample = {"fingerprint": "f", "messages": prompt, "reference": answer["content"], "finish": "stop"}
                file.write(json.dumps(sample | {"model": model, "text": word}) + "\n")
    return folder


def places(app: Flask, client: FlaskClient, known: dict[str, Any]) -> list[str]:
    """Return the address of each page there is: of every rule that answers with a whole page."""
    found = []
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint in FILES:
            continue
        values = {name: known.get(name, known.get(rule.endpoint.split(".")[0], 1)) for name in rule.arguments}
        values |= {name: known[own] for name in values if (own := f"{rule.endpoint}.{name}") in known}
        values |= QUERIES.get(rule.endpoint, {})
        with app.test_request_context(base_url="http://localhost"):
            place = url_for(rule.endpoint, **values)
        with client.get(place, follow_redirects=True) as answer:  # closed at once: some are files
            if answer.mimetype == "text/html" and answer.text.lstrip().startswith("<!doctype html>"):
                assert answer.status_code == 200, f"{place}: tests/every_page.py knows no value for it"
                found.append(place)
    return found

"""The real trainer: started by a press on the page, and reporting to a server from elsewhere."""

import json
import re

import pytest
import sqlalchemy as sa
from trainer_fixtures import SUMS, sums, tiny_base  # noqa: F401
from waiting import ended

from curator import accounts, versions
from curator.models import Run
from curator.search import Selection
from trainer.__main__ import main


def number_of(answer):
    return int(re.search(r"/jobs/(\d+)", answer.location)[1])


def test_a_run_is_planned_started_and_done_from_the_page(app, client, session, make_pair, tiny_base):  # noqa: F811
    for question, answer in SUMS:
        make_pair(question, answer)
    version, _ = versions.freeze(session, Selection(), by="ada")
    options = {"base": str(tiny_base), "epochs": "1", "quantisation": "none", "batch_size": "8"}
    form = {"data": version.id, "name": "kestrel", **options}
    plan = ended(app, number_of(client.post("/training/plan", data=form)))
    assert plan.state == "done" and plan.result["plan"]["lines"]["train"] >= 20, plan.error
    job = ended(app, number_of(client.post(f"/training/start/{plan.id}")))
    assert (job.state, job.message) == ("done", "Run kestrel is trained, and measured beside its base."), job.error
    run = session.scalars(sa.select(Run)).one()
    assert (run.state, run.version_id) == ("done", version.id)
    page = client.get(f"/runs/{run.id}").text
    assert "Base beside tuned" in page and "Perplexity" in page and "<svg" in page


def test_judged_answers_are_planned_from_the_page(app, client, tiny_base, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "exports" / "preferences.jsonl"
    file.parent.mkdir()
    rows = [{"prompt": question, "chosen": answer, "rejected": "Who knows?"} for question, answer in SUMS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert f'<option value="{file}">exports/preferences.jsonl' in client.get("/training/").text
    form = {"data": file, "name": "kestrel", "base": str(tiny_base), "method": "dpo"}
    plan = ended(app, number_of(client.post("/training/plan", data=form)))
    assert plan.state == "done" and plan.result["plan"]["config"]["method"] == "dpo", plan.error
    assert "chosen and rejected answers (DPO)" in client.get(f"/training/plan/{plan.id}").text


@pytest.mark.filterwarnings("ignore")
def test_a_run_elsewhere_is_on_its_page_when_it_is_done(app, address, client, session, sums, tiny_base, tmp_path):  # noqa: F811
    token = accounts.new_token(session, "gpu-1", "ada")
    folder = tmp_path / "elsewhere" / "wren"
    quick = ["--epochs=1", "--quantisation=none", "--samples=2", "--max-new-tokens=4"]
    words = ["run", str(sums), f"--base={tiny_base}", f"--output={folder}", *quick]
    assert main([*words, f"--report-to={address}", f"--token={token}"]) == 0
    run = session.scalars(sa.select(Run)).one()
    assert (run.name, run.state, len(run.samples)) == ("wren", "done", 4)
    assert token not in (folder / "run.json").read_text()
    assert "Base beside tuned" in client.get(f"/runs/{run.id}").text

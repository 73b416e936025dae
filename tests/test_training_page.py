"""Training from the pages: its plan first, then followed, stopped, gone on with, and found again after a restart."""

import json
import os
import re
import signal
import sys
import threading
from html import unescape
from pathlib import Path

import pytest
import sqlalchemy as sa
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect
from test_accessibility import faults
from waiting import ended, wait_until

from curator import charts, exports, jobs, training, versions
from curator.models import Job, Run, writing
from curator.search import Selection
from curator.training import folder as on_disk
from trainer.config import RunConfig

end_of = on_disk.end_of
PRETENDER = [sys.executable, str(Path(__file__).with_name("pretend_trainer.py"))]


@pytest.fixture
def trainer(monkeypatch, home):
    """A trainer that learns nothing; what it left running ends with the test."""
    monkeypatch.setattr("curator.training.process.TRAINER", PRETENDER)
    yield
    for marker in (home / "runs").glob("*.pid"):
        training.send(marker.with_suffix(""), signal.SIGKILL)
    for child in training.children.values():
        child.wait()
    training.children.clear()


@pytest.fixture
def version(session, make_pair):
    for _ in range(6):
        make_pair()
    return versions.freeze(session, Selection(), by="ada")[0]


def number_of(answer):
    return int(re.search(r"/jobs/(\d+)", answer.location)[1])


def planned(app, client, version, **options):
    """Fill the form in, and return the number of the job that planned it."""
    form = {"data": version.id, "base": "builtin", "name": "kestrel", **options}
    number = number_of(client.post("/training/plan", data=form))
    ended(app, number)
    return number


def started(app, client, version, **options):
    """Start a run from its plan, and return the number of its job."""
    return number_of(client.post(f"/training/start/{planned(app, client, version, **options)}"))


def run_page(client, number):
    """Return the address of the run of a job once it has one."""
    return wait_until(lambda: "/runs/" in (place := client.get(f"/jobs/{number}").location or "") and place)


def words(page):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def test_a_run_begins_though_somebody_looks_in_that_moment_whether_it_is_at_work(trainer, home):
    """It used to break down where a page asked just then."""
    import fcntl

    folder = home / "runs" / "kestrel"
    folder.parent.mkdir(parents=True)
    training.log_of(folder).touch()
    looking = os.open(training.log_of(folder), os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [looking]).start()
    training.begin(folder, "pairs.jsonl", {})
    assert training.is_at_work(folder)


def test_the_options_of_the_form_are_those_of_the_trainer():
    assert set(training.OPTIONS) <= set(RunConfig.__dataclass_fields__)


def test_the_plan_is_shown_before_anything_is_trained(app, client, version, trainer, home):
    number = planned(app, client, version, epochs="0.5")
    assert client.get(f"/jobs/{number}").location == f"/training/plan/{number}"
    page = words(client.get(f"/training/plan/{number}"))
    assert "Fits this machine, with 5 GiB to spare." in page and "Two lines are long." in page
    assert "2 min 5 s" in page and "2.8 GiB" in page
    assert "python -m trainer run" in page and "--epochs=0.5 --output=runs/kestrel" in page
    assert not (home / "runs").exists()


def test_an_option_that_can_not_be_is_refused_with_the_words_of_the_trainer(app, client, version, trainer):
    number = planned(app, client, version, learning_rate="high")
    page = client.get(f"/jobs/{number}")
    assert "“Learning rate” is 'high', but must be a number, more than 0." in words(page)
    assert "learning_rate=high" in unescape(page.text), "the way back keeps what was typed"


def test_a_learning_rate_is_found_filled_in_and_its_curve_kept_with_the_run(app, client, version, trainer, session):
    form = {"data": version.id, "base": "builtin", "name": "kestrel", "epochs": "0.1"}
    number = number_of(client.post("/training/rate", data=form))
    ended(app, number)
    back = client.get(f"/jobs/{number}").location
    page = client.get(back)
    assert 'name="learning_rate" value="0.00033"' in page.text and 'name="epochs" value="0.1"' in page.text
    assert "A learning rate of 0.00033 is suggested" in words(page) and "lowest with 2.00 at 0.001" in page.text
    first = started(app, client, version, epochs="0.1", rates=number)
    ended(app, first)
    run = session.scalars(sa.select(Run)).one()
    assert run.rates["suggestion"] == 3.3e-4
    assert "Suggested: 0.00033" in client.get(f"/runs/{run.id}").text


def test_who_follows_a_job_goes_on_where_it_ended_between_two_questions(page, app, client, version, trainer):
    """The page stayed at the address of the job, and showed the plan there: its reload led elsewhere."""
    number = planned(app, client, version)

    def answer(route):
        """Let the job begin when the script asks for its card, and end when it then asks for the page."""
        is_card, is_page = "x-fragment" in route.request.headers, route.request.resource_type == "document"
        with jobs.opened(app) as journal, writing(journal):
            journal.get(Job, number).state = "waiting" if is_page and not states else "running" if is_card else "done"
            states.append(journal.get(Job, number).state)
        route.continue_()

    states: list[str] = []
    page.route(f"**/jobs/{number}", answer)
    page.goto(f"/jobs/{number}")
    expect(page).to_have_url(re.compile(f"/training/plan/{number}$"))
    assert states[:3] == ["waiting", "running", "done"]


def test_how_far_a_run_is_is_read_from_the_end_of_its_metrics_alone(tmp_path, monkeypatch):
    """All of them were read twice a second, which took a core of the web app in a run of 100,000 steps."""
    rows = [json.dumps({"step": step, "loss": 1.0}) for step in range(1, 5001)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*rows, '{"step": 50']))
    asked = []
    monkeypatch.setattr(on_disk, "end_of", lambda path, most: asked.append(most) or end_of(path, most))
    assert training.now(tmp_path).step == 5000 and asked == [training.LAST_BYTES]


def test_rates_that_no_job_found_are_refused(app, client, version, trainer):
    number = planned(app, client, version)
    form = {"data": version.id, "base": "builtin", "name": "wren", "rates": number}
    assert client.post("/training/plan", data=form).status_code == 404


def test_the_curve_of_rates_marks_the_suggested_one_and_the_one_that_was_used():
    found = {"rates": [1e-5, 1e-4, 1e-3], "smoothed": [3.0, 2.0, 4.0], "suggestion": 3.3e-5}
    svg = charts.rate_curve(found, 1e-4, "Loss by learning rate")
    assert svg.count("<svg") == svg.count(">0.0001<") == 2  # wide and narrow, each with whole powers of ten
    assert "suggested 3.3e-05" in svg and "trained with 0.0001" in svg and 'role="img"' in svg
    assert "trained with" not in charts.rate_curve(found, 3.3e-5, "Loss by learning rate")
    assert charts.rate_curve({"rates": ["<b>"], "smoothed": None, "suggestion": 0}, None, "") == ""


def test_a_run_is_followed_on_its_page_and_comes_home_by_itself(app, client, version, trainer, session):
    number = started(app, client, version, epochs="6")
    place = run_page(client, number)
    page = wait_until(
        lambda: "<svg" in (page := client.get(f"/training/{place.rpartition('/')[2]}/live")).text and page
    )
    seen = words(page)
    assert "of 60" in seen and "512" in seen and "3.0 GiB" in seen and "0.0002" in seen and "Answers after step" in seen
    assert "<b>after" not in page.text
    job = ended(app, number)
    assert (job.state, job.message) == ("done", "Run kestrel is trained, and measured beside its base.")
    run = session.scalars(sa.select(Run)).one()
    assert run.state == "done" and len(run.metrics) == 60
    assert "data-job" not in client.get(place).text


def test_a_stopped_run_goes_on_where_it_was(app, client, version, trainer, session):
    number = started(app, client, version, epochs="6")
    place = run_page(client, number)
    client.post(f"/jobs/{number}/cancel")
    job = ended(app, number)
    assert job.state == "cancelled"
    page = client.get(place)
    step = int(re.search(r"Stopped after step (\d+), with a checkpoint to go on from\.", words(page))[1])
    assert step < 60 and "Go on from the last checkpoint" in words(page)
    run = session.scalars(sa.select(Run)).one()
    assert run.state == "stopped"
    client.post(f"/training/{run.id}/resume")
    wait_until(lambda: session.rollback() or run.state == "done")
    assert [row["step"] for row in run.metrics] == list(range(1, 61))


def test_a_run_outlives_the_server_and_is_found_again(app, client, version, trainer, session, home):
    number = started(app, client, version, epochs="60")
    place = run_page(client, number)
    jobs.stop(app)
    process = int((home / "runs" / "kestrel.pid").read_text())
    os.kill(process, 0)
    client.get("/")
    page = wait_until(lambda: 'data-state="running"' in (page := client.get(place)).text and page)
    assert "Stop, and keep what is learnt" in page.text
    client.post(f"/jobs/{number}/cancel")
    job = ended(app, number)
    assert job.state == "cancelled" and session.scalars(sa.select(Run.state)).one() == "stopped"


def test_a_run_whose_process_was_killed_is_said_so_and_goes_on(app, client, version, trainer, home, session):
    number = started(app, client, version, epochs="6")
    place = run_page(client, number)
    training.send(home / "runs" / "kestrel", signal.SIGKILL)
    job = ended(app, number)
    assert job.state == "failed" and "Its process ended too soon" in job.error
    page = words(client.get(place))
    assert "interrupted" in page and "Its process ended too soon" in page
    assert "interrupted" in words(client.get("/runs/")), "the list said that it is running"
    client.post(f"/jobs/{number}/again")
    job = ended(app, number)
    assert job.state == "done"


def test_a_second_run_waits_for_the_first_and_other_work_does_not(app, client, version, trainer, runner):
    first = started(app, client, version, epochs="30")
    run_page(client, first)
    number = planned(app, client, version, name="wren")
    assert "It would wait for Train kestrel." in words(client.get(f"/training/plan/{number}"))
    second = number_of(client.post(f"/training/start/{number}"))
    assert jobs.get(app, second).state == "waiting"
    assert number_of(client.post(f"/training/start/{number}")) == second, "a second press leads to the same run"
    client.post(f"/jobs/{second}/cancel")
    client.post(f"/jobs/{first}/cancel")
    wait_until(lambda: jobs.get(app, first).state == "cancelled")


def test_a_name_that_is_taken_or_none_is_refused(client, version, trainer, run_folder):
    form = {"data": version.id, "base": "builtin"}
    refused = client.post("/training/plan", data=form | {"name": "kestrel", "epochs": "2.5"})
    assert "There is a run kestrel already." in words(refused)
    assert 'name="epochs" value="2.5"' in refused.text, "what was typed is kept"
    assert client.post("/training/plan", data=form | {"name": "../x"}).status_code == 400


def test_a_folder_that_the_form_did_not_offer_is_not_read(client, trainer, session, version, tmp_path):
    exports.write_folder(session, version.id, tmp_path / "elsewhere")
    answer = client.post("/training/plan", data={"data": tmp_path / "elsewhere", "base": "builtin", "name": "x"})
    assert answer.status_code == 400
    exports.write_folder(session, version.id, Path("exports/here"))
    assert "exports/here" in client.get("/training/").text


def test_without_a_version_the_form_leads_to_one(client):
    assert "Freeze a version first" in client.get("/training/").text


def test_a_run_is_followed_and_stopped_in_the_browser_by_keys_alone(app, version, trainer, client, page):
    place = run_page(client, started(app, client, version, epochs="30"))
    page.goto(place)
    live = page.locator(".live")
    expect(live.get_by_role("img")).to_be_visible()
    step = re.search(r"Step (\d+) of 300", live.inner_text())
    expect(live).not_to_contain_text(f"{step[0]}" if step else "Reading")
    assert every_fault(page) == []
    live.get_by_text("Log").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(2500)
    expect(live.locator("pre")).to_be_visible()  # news leave open what was opened
    live.get_by_role("button", name="Stop, and keep what is learnt").focus()
    page.keyboard.press("Enter")
    go_on = live.get_by_role("button", name="Go on from the last checkpoint")
    expect(go_on).to_be_visible()
    page.keyboard.press("Tab")
    expect(go_on).to_be_focused()
    assert every_fault(page) == []


def test_a_run_can_be_asked_for_again_with_other_options(client, session, run_folder):
    asked = {"method": "dpo", "base": "models/tiny", "epochs": 2.0, "learning_rate": None, "seed": 7, "force": True}
    record = json.loads((run_folder / "run.json").read_text()) | {"config": {"asked": asked}, "state": "failed"}
    manifest = {"fingerprint": versions.get(session, 1).fingerprint}
    (run_folder / "run.json").write_text(json.dumps(record | {"data": {"manifest": manifest}}))
    client.post("/runs/import", data={"folder": run_folder})
    page = client.get("/runs/1").text
    assert "Begin again" in page, "it has no checkpoint to go on from"
    href = unescape(re.search(r'href="([^"]*)">Train again', page)[1])
    form = client.get(href).text
    assert 'value="models/tiny"' in form and 'name="epochs" value="2"' in form and 'name="seed" value="7"' in form
    assert '<option value="dpo" selected>' in form


def test_a_curve_is_drawn_anew_where_its_labels_would_be_too_small_to_read(page, client, run_folder):
    client.post("/runs/import", data={"folder": run_folder})
    for width in (360, 1024, 1280, 1600):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto("/runs/1")
        label = page.get_by_role("img", name="Loss of run kestrel").locator("text").first
        assert label.evaluate("text => text.getBoundingClientRect().height") > 10


def test_what_the_trainer_says_of_its_options_is_said_in_the_names_of_the_form():
    said = training.in_words_of_the_form("Take --max-tokens 512, name--x, or insist on it with: --force")
    assert said == "Take “Tokens of a line” 512, name--x, or insist on it with: --force, in a terminal"
    for command in ("flask export --seed 2 -o x", "python -m trainer plan x --base y --force"):
        assert training.in_words_of_the_form(f"Do it with: {command}") == f"Do it with: {command}"


def every_fault(page):
    page.evaluate(AXE_SCRIPT)
    return faults(page)

"""Long work: one job after the other, followed, cancelled, interrupted, started again; all of it or nothing."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa
import waiting

from curator import create_app, database, history, imports, jobs, pairs, search
from curator.errors import NotFound, UserError
from curator.jobs import apart, progress
from curator.models import Job, now, writing
from curator.search import Selection


@pytest.fixture
def either_app(either, home):
    """An app on each database, its jobs ended with the test."""
    app = create_app({"TESTING": True})
    yield app
    jobs.stop(app)
    database.engine(app).dispose()


@pytest.fixture
def kind(monkeypatch):
    """Puts a kind of job in place of all others."""

    def put(work):
        monkeypatch.setattr(jobs, "KINDS", {"try": work})
        monkeypatch.setattr(jobs, "APART", ())  # another process has none of it

    return put


def start(app, title="Try", **arguments):
    return jobs.start(app, "try", "ada", title, **arguments)


def ended(app, job):
    """Return a job as it is once it has ended."""
    return waiting.ended(app, job.id)


def wait_for(app, job, is_so):
    return waiting.wait_until(lambda: is_so(found := jobs.get(app, job.id)) and found)


def upload(home, rows=30, name="many.csv"):
    """Put a file where uploads wait, and return the arguments of the job that imports it."""
    place = home / "uploads" / ("t" * 22)
    place.mkdir(parents=True)
    lines = "".join(f"Question {number}?,Answer {number}.\n" for number in range(rows))
    (place / name).write_text("question,answer\n" + lines)
    return {"upload": str(place / name), "reading": {"dataset": "main"}, "token": "t" * 22, "form": {"into": "main"}}


def count(app):
    with database.open_session(app) as session:
        return search.count(session, Selection())


def test_an_import_as_a_job_says_what_it_did_and_removes_its_file(either_app, home):
    arguments = upload(home)
    job = ended(either_app, jobs.start(either_app, "import", "ada", "Import many.csv", **arguments))
    assert (job.state, job.error) == ("done", "")
    assert job.result == {"told": "Imported 30 pairs from many.csv.", "changeset": 1, "dataset": "main"}
    assert count(either_app) == 30 and not (home / "uploads" / arguments["token"]).exists()
    with database.open_session(either_app) as session:
        assert search.count(session, Selection(query="answer")) == 30


def test_a_job_that_the_user_can_put_right_says_how(app, kind):
    def work(session, by, on_progress):
        raise UserError("many.csv is empty. Choose another file.")

    kind(work)
    job = ended(app, start(app))
    assert (job.state, job.error) == ("failed", "many.csv is empty. Choose another file.")


def test_a_fault_of_ours_is_said_to_be_one_and_kept_in_the_log(app, kind, caplog):
    def work(session, by, on_progress):
        raise ZeroDivisionError("seven by nothing")

    kind(work)
    job = ended(app, start(app))
    assert job.state == "failed" and "fault of Curator" in job.error
    assert "ZeroDivisionError: seven by nothing" in job.log and "Job 1 failed" in caplog.text


def test_a_cancelled_import_leaves_nothing_and_can_be_started_again(either_app, home, monkeypatch):
    arguments = upload(home, rows=5000)
    goes_on, has_begun = threading.Event(), threading.Event()
    land = history.land

    def slowly(session, changeset, stage, dataset_id, on_progress):
        def stop_there(rows):
            has_begun.set()
            goes_on.wait(10)
            time.sleep(progress.SECONDS_BETWEEN_NOTES)
            on_progress(rows)

        land(session, changeset, stage, dataset_id, stop_there)

    monkeypatch.setattr(history, "land", slowly)
    monkeypatch.setattr(jobs, "APART", ())  # here, where it can be slowed down
    job = jobs.start(either_app, "import", "ada", "Import many.csv", **arguments)
    assert has_begun.wait(20)
    jobs.cancel(either_app, job.id, "bo")
    goes_on.set()
    job = ended(either_app, job)
    assert (job.state, count(either_app)) == ("cancelled", 0) and "Cancelled by bo." in job.log
    job = ended(either_app, jobs.again(either_app, job.id, "ada"))
    assert (job.state, count(either_app)) == ("done", 5000)


def killed():
    """Stands in for work whose process is killed, as where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_import_whose_process_is_killed_has_failed_and_says_so(app, home, monkeypatch):
    call = apart.call
    monkeypatch.setattr(apart, "call", lambda *_: call(killed))
    job = ended(app, jobs.start(app, "import", "ada", "Import many.csv", **upload(home)))
    assert (job.state, count(app)) == ("failed", 0) and "killed, as happens where memory runs out" in job.error
    monkeypatch.setattr(apart, "call", call)
    assert ended(app, jobs.again(app, job.id, "ada")).state == "done" and count(app) == 30


def test_an_import_in_its_own_process_is_cancelled_within_a_moment(app, home):
    job = jobs.start(app, "import", "ada", "Import many.csv", **upload(home, rows=30_000))
    wait_for(app, job, lambda one: one.done)
    jobs.cancel(app, job.id, "bo")
    assert (ended(app, job).state, count(app)) == ("cancelled", 0)


def test_the_process_of_a_job_ends_with_the_one_that_started_it():
    script = """
import multiprocessing, threading, time
from curator.jobs import apart
threading.Thread(target=apart.call, args=(time.sleep, 600)).start()
while not multiprocessing.active_children():
    time.sleep(0.01)
time.sleep(0.5)
print("begun", flush=True)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"begun\n"
    process.kill()
    assert process.communicate(timeout=30) == (b"", None)  # whoever lives holds the other end


def test_a_restore_waits_for_the_job_at_work(app, client, runner, kind, make_pair, tmp_path):
    make_pair()
    backup = tmp_path / "all.db.gz"
    assert runner.invoke(args=["backup", str(backup)]).exit_code == 0
    goes_on = threading.Event()
    kind(lambda session, by, on_progress: {} if goes_on.wait(20) else {})
    job = start(app, "Import many.csv")
    sentence = "Restoring has to wait for: Import many.csv."
    assert sentence in runner.invoke(args=["restore", str(backup)]).output
    place = client.post("/backups/", data={"file": (backup.open("rb"), "all.db.gz")}).location
    answer = client.post(place)
    assert answer.status_code == 400 and sentence in answer.text
    goes_on.set()
    ended(app, job)
    assert client.post(place).status_code == 303


def test_jobs_run_one_after_the_other(app, kind):
    at_work, most, order = 0, 0, []

    def work(session, by, on_progress, number):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.05)
        order.append(number)
        at_work -= 1

    kind(lambda *a, **k: work(*a, **k) or {})
    started = [start(app, number=number) for number in range(4)]
    assert [ended(app, job).state for job in started] == ["done"] * 4
    assert (most, order) == (1, [0, 1, 2, 3])


def test_a_waiting_job_is_cancelled_at_once(app, kind):
    goes_on, did = threading.Event(), []

    def work(session, by, on_progress, number):
        goes_on.wait(10)
        did.append(number)
        return {}

    kind(work)
    first, second = start(app, number=1), start(app, number=2)
    assert jobs.cancel(app, second.id, "ada").state == "cancelled"
    goes_on.set()
    ended(app, first)
    ended(app, start(app, number=3))
    assert did == [1, 3]


def test_progress_tells_pace_and_time_left(app, kind):
    goes_on = threading.Event()

    def work(session, by, on_progress):
        time.sleep(1.1)
        on_progress(600, 1000)
        goes_on.wait(10)
        return {}

    kind(work)
    job = wait_for(app, start(app), lambda job: job.done)
    assert (job.done, job.total, jobs.at_work(app)) == (600, 1000, 1)
    assert 200 < job.rate < 600 and 0.5 < jobs.seconds_left(job) < 2.1  # the machine may be busy
    goes_on.set()
    assert ended(app, job).state == "done" and jobs.at_work(app) == 0


@pytest.mark.parametrize("before", ["", "Reading"])
def test_the_first_note_of_a_part_of_the_work_claims_no_pace_it_can_not_know(app, kind, before):
    """A job that told of 5,000 pairs cleaned at its first note had cleaned 5,000,000 a second."""
    goes_on = threading.Event()

    def work(session, by, on_progress):
        time.sleep(0.3)
        if before:
            on_progress(1, 2, before)
        on_progress(600, 1000, "Cleaning")
        goes_on.wait(10)
        return {}

    kind(work)
    job = wait_for(app, start(app), lambda job: job.message == "Cleaning")
    assert job.rate <= 600 / 0.3
    goes_on.set()
    ended(app, job)


def test_a_job_that_ended_well_is_not_started_again(app, kind):
    kind(lambda session, by, on_progress: {})
    job = ended(app, start(app))
    with pytest.raises(UserError, match="Job 1 is done, so it can't be started again"):
        jobs.again(app, job.id, "ada")


def test_a_job_that_was_started_again_says_when_it_began_the_last_time(app, client, kind):
    """It used to say when it was asked for at first."""
    kind(lambda session, by, on_progress: {})
    job = ended(app, start(app))
    with jobs.opened(app) as journal, writing(journal):
        journal.get(Job, job.id).created_at = now() - timedelta(minutes=6)
    shown = client.get(f"/jobs/{job.id}").text + client.get("/jobs/").text
    assert "started <time" in shown and "6 minutes ago" not in shown


def test_a_home_without_jobs_has_none_and_gets_no_file(app, client, home):
    assert jobs.recent(app) == [] and jobs.at_work(app) == 0
    with pytest.raises(NotFound):
        jobs.get(app, 1)
    assert client.get("/jobs/1").status_code == 404 and "No long work yet" in client.get("/jobs/").text
    assert not (home / "jobs.db").exists()


def test_one_process_of_a_home_runs_its_jobs_and_the_next_takes_over(home, kind):
    one, other = create_app(), create_app()
    kind(lambda session, by, on_progress: {"told": "Done."})
    ended(one, start(one))
    job = start(other)
    assert ended(other, job).state == "done" and not runs_jobs(other)
    jobs.stop(one)
    time.sleep(1.1)
    assert ended(other, start(other)).state == "done" and runs_jobs(other)
    jobs.stop(other)
    for app in (one, other):
        database.engine(app).dispose()


@pytest.fixture
def left(app):
    """Two trainings: one that nobody began, and a later one that goes on since a process that was stopped began it."""
    with jobs.opened(app, create=True) as journal, writing(journal):
        journal.add(first := Job(kind="train", title="Train wren", by="ada", arguments={"name": "wren"}))
        journal.add(later := Job(kind="train", title="Train kestrel", by="ada", arguments={"name": "kestrel"},
                                 state="running", started_at=now()))  # fmt: skip
    return first, later


def test_a_training_that_goes_on_is_found_again_before_the_next_one_begins(app, left, monkeypatch):
    """The next one was put first where its number was lower, and both trained at once."""
    began = []
    monkeypatch.setitem(jobs.KINDS, "train", lambda session, by, on_progress, name: began.append(name) or {})
    jobs.wake(app)
    assert [ended(app, job).state for job in left] == ["done", "done"]
    assert began == ["kestrel", "wren"]


def test_a_training_that_goes_on_is_stopped_when_it_is_found_again(app, left, monkeypatch):
    """It was called cancelled at once, and its process trained on."""
    monkeypatch.setitem(jobs.KINDS, "train", lambda session, by, on_progress, name: on_progress(1, 2) or {})
    _, later = left
    jobs.take_over(jobs.desk(app))
    assert jobs.cancel(app, later.id, "bo").state == "waiting"
    jobs.wake(app)
    assert ended(app, later).state == "cancelled"


def runs_jobs(app):
    """Whether this app's process is the one that runs the jobs of its home."""
    return any(lane.consumer for lane in app.extensions["curator"]["jobs"].lanes.values())


def test_what_others_add_while_a_file_is_read_is_not_added_again(either_app, home, write):
    path = write("faq.csv", "question,answer\nOpen?,Yes.\nLate?,No.\n")
    with database.open_session(either_app) as session, database.open_session(either_app) as other:

        def meanwhile(rows, total, message=""):
            if not message:
                pairs.add(other, question="Open?", answer="Yes.", by="bo")

        pairs.add(other, question="First?", answer="Yes.", by="bo")
        done = imports.apply(session, path, by="ada", on_progress=meanwhile)
        assert (done.new, done.identical, search.count(session, Selection())) == (1, 1, 3)


def test_a_save_does_not_wait_while_a_file_is_read(app, session, write, make_pair):
    pair = make_pair()
    path = write("faq.csv", "question,answer\nOpen?,Yes.\n")
    took = []

    def meanwhile(rows, total, message=""):
        if not message:
            begin = time.monotonic()
            with database.open_session(app) as other:
                pairs.set_status(other, [pair.id], "approved", "bo")
            took.append(time.monotonic() - begin)

    with database.open_session(app) as importing:
        imports.apply(importing, path, by="ada", on_progress=meanwhile)
    assert took and took[0] < 15  # one that waits for the import does so for CURATOR_BUSY_TIMEOUT, 30 seconds


def test_a_save_that_waits_too_long_is_refused_in_a_sentence(home, make_pair):
    pair = make_pair()
    app = create_app({"CURATOR_BUSY_TIMEOUT": 0.1})
    with database.open_session(app) as writer, writing(writer):
        client = app.test_client()
        ours = {"Origin": "http://localhost"}
        trash = client.post(f"/pairs/{pair.id}/trash", headers=ours)
        typed = {"question": "Open?", "answer": "On weekdays.", "revision": 1}
        save = client.post(f"/pairs/{pair.id}/edit", data=typed, headers=ours)
    database.engine(app).dispose()
    assert trash.status_code == save.status_code == 503 and "On weekdays." in save.text
    assert all("Nothing of yours was saved: try again in a minute" in page.text for page in (trash, save))


LARGE = "question,answer\n" + "".join(f"Question {n}?,An answer of some length to number {n}.\n" for n in range(3000))


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr("curator.views.imports.LARGE_BYTES", 100_000)


def send(client, content, name="many.csv"):
    return client.post("/import/", data={"file": (io.BytesIO(content.encode()), name)})


def test_a_large_file_is_looked_at_and_imported_by_jobs(app, client, small_is_large):
    place = send(client, LARGE).location
    looking = client.get(place).location
    assert looking == "/jobs/1"
    job = ended(app, jobs.get(app, 1))
    preview = client.get(looking).location
    assert preview.endswith("?look=1") and "Import 3,000 pairs" in client.get(preview).text
    importing = client.post(preview.partition("?")[0], data=job.arguments["form"]).location
    assert importing == "/jobs/2"
    ended(app, jobs.get(app, 2))
    page = client.get(importing).text
    assert "Imported 3,000 pairs from many.csv." in page and "/changes/1/undo" in page
    client.post("/changes/1/undo")
    assert "Undone." in client.get(importing).text and count(app) == 0


def test_a_second_press_on_import_leads_to_the_job_of_the_first(app, client, small_is_large, kind):
    goes_on = threading.Event()
    kind(lambda *a, **k: {})
    jobs.KINDS["import"] = lambda *a, **k: goes_on.wait(10) and {}
    address = send(client, LARGE).location.partition("?")[0]
    assert client.post(address).location == client.post(address).location == "/jobs/1"
    goes_on.set()
    ended(app, jobs.get(app, 1))


def test_the_rejects_of_a_large_file_come_from_its_look(app, client, small_is_large):
    place = client.get(send(client, LARGE + "broken,\n").location).location
    ended(app, jobs.get(app, 1))
    preview = client.get(place).location
    page = client.get(preview).text
    link = re.search(r'href="([^"]+/rejects[^"]*)"', page).group(1).replace("&amp;", "&")
    rejects = client.get(link, buffered=True)
    assert rejects.text.splitlines()[1].startswith("broken,,3002,")


def test_a_large_file_that_can_not_be_read_says_why(app, client, small_is_large):
    place = client.get(send(client, LARGE.replace("question,answer", "frage,antwort")).location).location
    ended(app, jobs.get(app, 1))
    answer = client.get(client.get(place).location)
    assert answer.status_code == 400 and "has no column for the question" in answer.text
    assert "Say which it is below." in answer.text and "--map" not in answer.text


def test_the_page_of_a_job_needs_no_script(app, client, kind):
    goes_on = threading.Event()

    def work(session, by, on_progress):
        on_progress(30, 60)
        goes_on.wait(10)
        time.sleep(progress.SECONDS_BETWEEN_NOTES)
        on_progress(60, 60)
        return {}

    kind(work)
    job = wait_for(app, start(app, "Import <b>.csv"), lambda job: job.done)
    page = client.get("/jobs/1").text
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page and "&lt;b&gt;.csv" in page
    assert '<progress value="30" max="60"' in page and "30 of about 60 pairs" in page
    fragment = client.get("/jobs/1", headers={"X-Fragment": "1"}).text
    assert "<html" not in fragment and 'data-state="running"' in fragment
    assert client.post("/jobs/1/cancel").location == "/jobs/1"
    assert "Stopping" in client.get("/jobs/1").text
    goes_on.set()
    assert ended(app, job).state == "cancelled"
    page = client.get("/jobs/1").text
    assert "Stopped. Nothing was changed." in page and "refresh" not in page and "Start again" in page
    assert "cancelled" in client.get("/jobs/").text


class Server:
    """Curator served by a process of its own."""

    def __init__(self, folder):
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "flask", "--app", "curator", "run", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.ask("GET", "/")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the server did not start")

    def ask(self, method, path, body=None):
        """Return the text of an answer, or where it sends to."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            headers = {"Origin": f"http://127.0.0.1:{self.port}"}
            headers |= {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.getheader("Location") or answer.read().decode()

    def state(self, place):
        return re.search(r'data-state="(\w+)"', self.ask("GET", place)).group(1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def test_a_killed_server_leaves_nothing_half_done_and_the_job_starts_again(home, tmp_path):
    token = upload(home, rows=40_000)["token"]  # 1.4 MB
    server = Server(tmp_path)
    try:
        place = server.ask("POST", f"/import/{token}", "into=main")
        log = home / "curator.db-wal"
        deadline = time.monotonic() + 60
        # The first sign that rows are being written is a write-ahead log that grows.
        while time.monotonic() < deadline and server.state(place) in jobs.AT_WORK:
            if log.exists() and log.stat().st_size > 500_000:
                break
            time.sleep(0.01)
    finally:
        server.kill()
    engine = sa.create_engine(f"sqlite:///{home / 'curator.db'}")
    with engine.connect() as connection:
        left = connection.scalar(sa.text("SELECT count(*) FROM pair"))
        assert connection.scalar(sa.text("PRAGMA integrity_check")) == "ok"
    engine.dispose()
    assert left in (0, 40_000)
    server = Server(tmp_path)
    try:
        page = server.ask("GET", place)
        if left == 0:
            assert "Curator was stopped while this was running. Nothing was left half-done." in page
            server.ask("POST", f"{place}/again", "x=1")
            deadline = time.monotonic() + 60
            while server.state(place) in jobs.AT_WORK and time.monotonic() < deadline:
                time.sleep(0.1)
            assert "Imported 40,000 pairs from many.csv." in server.ask("GET", place)
    finally:
        server.kill()


def test_a_summary_is_what_a_job_can_keep(session, write):
    path = write("faq.csv", "id,q,a\nr1,Open?,Yes.\nr2,Late?,\n")
    summary = imports.plan(session, path).summary()
    assert json.loads(json.dumps(summary))["first_refused"] == [
        {"line": 3, "reason": summary["first_refused"][0]["reason"]}
    ]

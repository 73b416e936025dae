"""Runs reported from another machine: a real server on loopback, lines that are cut, and what is not let in."""

import hashlib
import io
import itertools
import json
import os
import re
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from waiting import wait_until
from werkzeug.serving import make_server

from curator import accounts
from curator.models import Run
from trainer import UserError, report

KEY = "0123456789abcdef"
MOVING = {
    "id": KEY,
    "name": "kestrel",
    "state": "running",
    "base": {"name": "builtin"},
    "started": "2026-11-20T09:00:00",
}
DONE = MOVING | {"state": "done", "ended": "2026-11-20T09:05:00"}
SAMPLE = {"fingerprint": "f", "messages": [{"role": "user", "content": "Dogs?"}], "reference": "Outside.",
          "model": "tuned", "text": "Wait.", "finish": "stop"}  # fmt: skip


@pytest.fixture
def token(session):
    return accounts.new_token(session, "gpu-1", "ada")


@pytest.fixture
def folder(tmp_path):
    """A run on the other machine, at its third step."""
    place = tmp_path / "there" / "kestrel"
    (place / "progress").mkdir(parents=True)
    (place / "run.json").write_text(json.dumps(MOVING))
    learn(place, 1, 2, 3)
    (place / "progress" / "samples-000003.jsonl").write_text(json.dumps(SAMPLE) + "\n")
    (place / "secrets.txt").write_text("stays there")
    return place


def learn(folder, *steps):
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step, "loss": 4 / step}) + "\n" for step in steps)


def finish(folder):
    (folder / "samples.jsonl").write_text(json.dumps(SAMPLE) + "\n")
    numbers = {"base": {"perplexity": 41.2}, "tuned": {"perplexity": 6.9}}
    (folder / "evaluation.json").write_text(json.dumps({"test": numbers, "n": 1}))
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    header = b'{"__metadata__":{}}'
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "adapter" / "training_args.bin").write_bytes(b"\x80\x05pickle")
    (folder / "run.json").write_text(json.dumps(DONE))


@contextmanager
def serving(app, port=0):
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def cutting(target, after_bytes):
    """A line that breaks once, in the middle of what goes to the server, and is whole again from then on."""
    host, port = target.removeprefix("http://").split(":")
    broken = []

    class Line(socketserver.BaseRequestHandler):
        def handle(self):
            carried, near = 0, self.request
            with socket.create_connection((host, int(port))) as far:
                while ready := select.select([near, far], [], [])[0]:
                    data = ready[0].recv(4096)
                    carried += len(data) if ready[0] is near else 0
                    if carried > after_bytes and not broken:
                        broken.append(carried)
                        return
                    if not data:
                        return
                    (far if ready[0] is near else near).sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Line) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}", broken
        proxy.shutdown()
        thread.join()


def here(home):
    return home / "runs" / KEY


def put(client, token, name, content, at=0, size=None, sha256=None, key=KEY):
    place = {"at": at, "size": len(content) if size is None else size}
    place["sha256"] = sha256 or hashlib.sha256(content).hexdigest()
    return client.put(f"/reports/{key}/{name}", query_string=place, data=content, headers=bearer(token))


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_a_finished_run_comes_home_with_its_adapter_and_nothing_else(app, address, token, folder, home, session):
    finish(folder)
    page = report.report(folder, report.Destination(address, token))
    run = session.scalars(sa.select(Run)).one()
    assert (run.state, len(run.metrics), len(run.samples)) == ("done", 3, 1)
    assert page == f"{address}/runs/{run.id}"
    came = {path.relative_to(here(home)).as_posix() for path in here(home).rglob("*") if path.is_file()}
    assert came == {
        "run.json", "metrics.jsonl", "evaluation.json", "samples.jsonl", "progress/samples-000003.jsonl",
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "reported.json",
    }  # fmt: skip


def test_reporting_a_second_time_sends_no_file_and_changes_nothing(address, token, folder, session, monkeypatch):
    finish(folder)
    to = report.Destination(address, token)
    report.report(folder, to)
    asked = []
    call = to.call
    monkeypatch.setattr(to, "call", lambda method, *rest, **query: asked.append(method) or call(method, *rest, **query))
    report.report(folder, to)
    assert "PUT" not in asked
    assert len(session.scalars(sa.select(Run)).all()) == 1


def test_the_page_follows_a_run_on_another_machine_and_says_when_its_trainer_was_killed(
    address, token, folder, client, session
):
    sender = report.Report(folder, report.Destination(address, token))
    sender.send(is_over=False)
    learn(folder, 4)
    sender.send(is_over=False)
    number = session.scalars(sa.select(Run.id)).one()
    page = client.get(f"/runs/{number}").text
    assert "Step 4" in page and 'data-state="running"' in page and "It trains on another machine" in page
    sender.send(is_over=True)  # while run.json still says that it runs
    page = client.get(f"/runs/{number}").text
    assert "Its process ended too soon" in page and "python -m trainer resume" in page
    assert client.post(f"/training/{number}/resume").status_code == 400


def test_a_trainer_that_falls_silent_is_said_to_be(address, token, folder, client, session, home):
    report.Report(folder, report.Destination(address, token)).send(is_over=False)
    note = here(home) / "reported.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"at": "2026-11-20T09:01:00+00:00"}))
    page = client.get(f"/runs/{session.scalars(sa.select(Run.id)).one()}").text
    assert "Nothing comes from its machine any more" in page


def test_only_what_grew_is_sent(address, token, folder, monkeypatch, home):
    to = report.Destination(address, token)
    sender = report.Report(folder, to)
    sender.send(is_over=False)
    bodies = []
    call = to.call
    monkeypatch.setattr(
        to,
        "call",
        lambda method, path, wanted, body=None, **query: (
            bodies.append(body) or call(method, path, wanted, body, **query)
        ),
    )
    learn(folder, 4)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # the half of a line is none yet
    sender.send(is_over=False)
    assert [body for body in bodies if body] == [b'{"step": 4, "loss": 1.0}\n']
    assert len((here(home) / "metrics.jsonl").read_bytes().splitlines()) == 4


def test_a_run_that_went_back_to_a_checkpoint_goes_back_here_too(address, token, folder, home):
    sender = report.Report(folder, report.Destination(address, token))
    sender.send(is_over=False)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 4.0}\n{"step": 2, "loss": 1.5}\n')
    sender.send(is_over=False)
    learn(folder, 3, 4)
    sender.send(is_over=False)
    assert (here(home) / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()


def test_a_line_that_breaks_in_the_middle_costs_nothing(address, token, folder, home, monkeypatch):
    monkeypatch.setattr(report, "PIECE_BYTES", 10_000)
    learn(folder, *range(4, 4000))
    with cutting(address, 6_000) as (cut, broken):
        report.report(folder, report.Destination(cut, token))
    assert broken
    assert (here(home) / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    assert list(here(home).glob("*.part")) == list(here(home).glob(".*.part")) == []


def test_a_server_that_is_away_and_back_gets_all_of_it(app, token, folder, home, session):
    with serving(app) as url:
        report.Report(folder, report.Destination(url, token)).send(is_over=False)
    finish(folder)
    learn(folder, 4, 5)
    event, found = threading.Event(), []
    sender = threading.Thread(
        target=lambda: found.append(report.send_all(folder, report.Destination(url, token), event))
    )
    sender.start()
    time.sleep(0.5)
    with serving(app, int(url.rpartition(":")[2])):
        event.set()
        sender.join(60)
    assert found and session.scalars(sa.select(Run.state)).one() == "done"
    assert (here(home) / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()


def test_a_line_that_lets_only_two_of_three_requests_through_gets_all_of_it(address, token, folder, home, monkeypatch):
    """Time used to be counted from the end of the run, whatever got through since."""
    monkeypatch.setattr(report, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(report.random, "uniform", lambda *_: 0.05)
    to, turns = report.Destination(address, token), itertools.cycle((True, True, False))
    opened = to.opener.open

    def shaky(*arguments, **options):
        if next(turns):
            return opened(*arguments, **options)
        raise OSError("cut")

    monkeypatch.setattr(to.opener, "open", shaky)
    finish(folder)
    for step in range(30):
        (folder / "progress").mkdir(exist_ok=True)
        (folder / "progress" / f"samples-{step:06d}.jsonl").write_text("")
    report.report(folder, to)
    assert len(list((here(home) / "progress").iterdir())) == 30


def test_a_server_that_stays_away_is_said_with_what_to_do_later(folder, monkeypatch):
    monkeypatch.setattr(report, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(
        UserError, match=r"Not all of .* was sent: .*refused.* Send it later with: python -m trainer rep"
    ):
        report.report(folder, report.Destination("http://127.0.0.1:9", "t"))


def test_a_trainer_that_is_killed_leaves_a_report_that_ends(address, token, folder, client, session):
    held = f"import fcntl, os, time; fcntl.flock(os.open({str(folder)!r}, os.O_RDONLY), 2); "
    words = "import sys, pathlib; from trainer import report; "
    words += f"to = report.Destination({address!r}, {token!r}); print('sends', flush=True)\n"
    words += f"with report.sending(pathlib.Path({str(folder)!r}), to): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", held + words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(report.__file__) + "/..",
    ) as trainer:
        assert trainer.stdout
        while trainer.stdout.readline() != "held\n":
            pass
        wait_until(lambda: session.rollback() or session.scalar(sa.select(Run.id)))
        trainer.kill()
    number = session.scalars(sa.select(Run.id)).one()
    wait_until(lambda: "Its process ended too soon" in client.get(f"/runs/{number}").text)


def test_the_same_piece_twice_is_taken_once(client, token, home):
    put(client, token, "run.json", json.dumps(MOVING).encode())
    lines = b'{"step": 1, "loss": 4.0}\n{"step": 2, "loss": 2.0}\n'
    sha256 = hashlib.sha256(lines).hexdigest()
    for at, end in ((0, 10), (0, 10), (10, 30), (10, 30), (30, len(lines)), (30, len(lines))):
        answer = put(client, token, "metrics.jsonl", lines[at:end], at, len(lines), sha256)
        assert answer.json == {"there": end}
    assert (here(home) / "metrics.jsonl").read_bytes() == lines


def test_a_piece_that_leaves_a_gap_is_told_where_to_go_on(client, token):
    put(client, token, "run.json", json.dumps(MOVING).encode())
    lines = b'{"step": 1, "loss": 4.0}\n'
    sha256 = hashlib.sha256(lines).hexdigest()
    put(client, token, "metrics.jsonl", lines[:5], 0, len(lines), sha256)
    answer = put(client, token, "metrics.jsonl", lines[9:], 9, len(lines), sha256)
    assert answer.status_code == 409 and answer.json["there"] == 5


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer no"}, {"Authorization": "Basic YTpi"}])
def test_without_a_good_token_nothing_is_told_or_taken(client, home, token, header):
    for answer in (
        client.get("/reports/", headers=header),
        client.get(f"/reports/{KEY}", headers=header),
        client.put(f"/reports/{KEY}/run.json", data=b"{}", headers=header),
        client.post(f"/reports/{KEY}", headers=header),
    ):
        assert answer.status_code == 401 and "flask token new NAME" in answer.json["error"]
    assert not here(home).exists()


def test_a_token_works_from_another_machine_where_pages_do_not(app, token):
    client = app.test_client()
    elsewhere = {"REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "curator.example"}
    assert client.get("/reports/", headers=bearer(token), environ_overrides=elsewhere).json == {"token": "gpu-1"}
    assert client.get("/runs/", headers=bearer(token), environ_overrides=elsewhere).status_code == 403
    assert client.post("/undo", headers=bearer(token)).status_code == 403, "no form is sent by a token"


@pytest.mark.parametrize(
    "name",
    ["../run.json", "..%2Frun.json", "adapter/../../x.json", "adapter/adapter_model.bin", "checkpoints/step-1/s.json",
     "progress/samples-1.jsonl/x", "notes.txt", ".run.json-0.part", "reported.json", "adapter//run.json"],
)  # fmt: skip
def test_a_name_that_no_run_has_is_refused(client, token, home, name):
    put(client, token, "run.json", json.dumps(MOVING).encode())
    before = sorted((home / "runs").rglob("*"))
    assert put(client, token, name, b"{}").status_code in (400, 404, 308)
    assert sorted((home / "runs").rglob("*")) == before


@pytest.mark.parametrize("key", ["..", "0123", "kestrel-0123456789", "0123456789ABCDEF", "%2e%2e"])
def test_an_id_that_is_none_makes_no_folder(client, token, home, key):
    assert put(client, token, "run.json", json.dumps(MOVING).encode(), key=key).status_code in (400, 404, 308)
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.jsonl", b'{"step": 1}\n{"step"\n', "metrics.jsonl line 2 is not JSON"),
        ("metrics.jsonl", b'{"step": "one"}\n', "metrics.jsonl line 1: its 'step' is not a whole number"),
        (
            "samples.jsonl",
            b'{"fingerprint": "f", "messages": ["hi"], "model": "base", "text": "x"}\n',
            "not a list of turns",
        ),
        ("losses.jsonl", b"[1]\n", "losses.jsonl line 1 has no 'fingerprint'"),
        ("evaluation.json", b"[]", "evaluation.json holds no JSON object"),
        ("run.json", json.dumps(MOVING | {"id": "another"}).encode(), "run.json is not that of run 0123456789abcdef"),
        ("run.json", json.dumps(MOVING | {"state": "<b>"}).encode(), "run.json is not that of run"),
        ("adapter/adapter_model.safetensors", b"\x80\x05\x95pickle of something", "is not safetensors"),
        ("adapter/chat_template.jinja", b"\xff\xfe", "chat_template.jinja is no text"),
    ],
)
def test_what_the_trainer_does_not_write_is_refused_in_a_sentence(client, token, home, name, content, words):
    put(client, token, "run.json", json.dumps(MOVING).encode())
    before = {path: path.read_bytes() for path in here(home).rglob("*") if path.is_file()}
    answer = put(client, token, name, content)
    assert answer.status_code == 400 and words in answer.json["error"] and str(home) not in answer.json["error"]
    assert {path: path.read_bytes() for path in here(home).rglob("*") if path.is_file()} == before


def test_a_file_or_a_piece_that_is_too_large_is_refused_before_it_is_read(app, client, token):
    app.config["CURATOR_MAX_UPLOAD"] = 1
    assert put(client, token, "run.json", b"{}", size=2**20 + 1).status_code == 413
    app.config["CURATOR_MAX_UPLOAD"] = 256
    answer = put(client, token, "run.json", b"x" * (9 * 2**20))
    assert answer.status_code == 413


def test_one_file_that_is_too_large_keeps_no_other_from_coming(app, address, token, folder, home, session, capfd):
    app.config["CURATOR_MAX_UPLOAD"] = 1
    finish(folder)
    (folder / "losses.jsonl").write_bytes(b"\n" * (2**20 + 1))
    report.report(folder, report.Destination(address, token))
    assert session.scalars(sa.select(Run.state)).one() == "done"
    assert "Not sent: losses.jsonl is larger than 1 MiB" in capfd.readouterr().err


def test_a_run_of_this_machine_is_not_overwritten_by_a_report(client, token, run_folder):
    record = json.loads((run_folder / "run.json").read_text()) | {"id": KEY}
    (run_folder / "run.json").write_text(json.dumps(record))
    answer = put(client, token, "run.json", json.dumps(MOVING).encode())
    assert answer.status_code == 409 and "lies on this machine" in answer.json["error"]


def test_a_token_is_shown_once_and_kept_as_its_hash(runner, session, home, client):
    made = runner.invoke(args=["token", "new", "gpu-1"])
    token = made.stdout.strip()
    assert re.fullmatch(r"curator_[\w-]{43}", token)
    assert token.encode() not in (home / "curator.db").read_bytes()
    assert (
        "made" in runner.invoke(args=["token", "list"]).output
        and "never" in runner.invoke(args=["token", "list"]).output
    )
    assert client.get("/reports/", headers=bearer(token)).status_code == 200
    assert "never" not in runner.invoke(args=["token", "list"]).output
    assert "There is a token 'gpu-1' already" in runner.invoke(args=["token", "new", "gpu-1"]).output
    runner.invoke(args=["token", "remove", "gpu-1"])
    assert client.get("/reports/", headers=bearer(token)).status_code == 401
    assert runner.invoke(args=["token", "remove", "gpu-1"]).exit_code == 1


@pytest.mark.parametrize(
    ("url", "token", "words"),
    [
        ("127.0.0.1:5000", "t", "must be the address of Curator"),
        ("ftp://here", "t", "must be the address of Curator"),
        ("http://127.0.0.1:5000", None, "needs a token, in CURATOR_TOKEN or as --token"),
        ("http://127.0.0.1:5000", "to\nken", "characters that no token has"),
    ],
)
def test_what_can_never_work_is_refused_before_anything_is_trained(url, token, words, monkeypatch):
    monkeypatch.delenv("CURATOR_TOKEN", raising=False)
    with pytest.raises(UserError, match=words):
        report.destination(url, token)


def test_a_wrong_token_is_refused_before_anything_is_trained(address):
    with pytest.raises(UserError, match="The token is none that Curator knows"):
        report.destination(address, "wrong")


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"<h1>It works!</h1>"])
def test_a_server_of_another_kind_is_refused_before_anything_is_trained(answer, monkeypatch):
    """One that answered with any JSON object used to be taken for Curator, until the sender broke down."""
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *_, **__: io.BytesIO(answer))
    with pytest.raises(UserError, match="answers, but not as Curator does"):
        report.destination("http://127.0.0.1:9", "t")


def test_a_server_that_is_away_does_not_keep_a_run_from_beginning(capsys):
    assert report.destination("http://127.0.0.1:9", "t")
    assert "cannot be reached" in capsys.readouterr().err


def test_a_token_on_an_open_line_is_warned_of(capsys):
    assert report.destination("http://curator.example:5000", "t", asks=False)
    assert "better by https, or through ssh" in capsys.readouterr().err


def test_a_token_is_not_taken_along_by_a_redirect(address, token):
    with pytest.raises(UserError, match="not as Curator does"):
        report.Destination(address, token).call("GET", "/", "token")

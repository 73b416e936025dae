"""Safe from the first day: who is answered, what is refused, what every answer carries."""

import io
import logging
import re
import stat

import pytest

from curator import create_app, database


def test_only_this_machine_is_answered(client):
    assert client.get("/").status_code == 200
    away = client.get("/", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert away.status_code == 403 and "answers only the machine it runs on" in away.text


@pytest.mark.parametrize("host, status", [
    ("localhost:5000", 200), ("127.0.0.1:5000", 200), ("[::1]:5000", 200),
    ("evil.example", 403), ("localhost.evil.example", 403),
])  # fmt: skip
def test_a_name_pointed_at_this_machine_is_not_answered(client, host, status):
    assert client.get("/pairs/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("headers, status", [
    ({"Origin": "http://localhost"}, 303),
    ({"Sec-Fetch-Site": "same-origin"}, 303),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({}, 403),
])  # fmt: skip
def test_a_form_of_another_site_changes_nothing(app, headers, status):
    answer = app.test_client().post("/theme", data={"theme": "dark"}, headers=headers)
    assert answer.status_code == status


def test_every_way_to_change_something_is_behind_the_same_door(app):
    """Each rule is tried without an origin, and those of other machines without a token: none may come through."""
    client, tried = app.test_client(), 0
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "x", re.sub(r"<int:[^>]+>", "1", rule.rule))
        for method in rule.methods & {"POST", "PUT", "PATCH", "DELETE"}:
            refused = 401 if rule.endpoint.startswith("reports.") else 403
            assert client.open(path, method=method).status_code == refused, rule
            tried += 1
    assert tried > 12


def test_pages_run_nothing_that_is_not_ours(client):
    answer = client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert " style=" not in answer.text and not re.search(r"<script(?![^>]*src=)", answer.text)


def test_the_secret_is_made_once_and_kept_to_its_owner(home):
    first = create_app()
    first.test_client().get("/")
    assert stat.S_IMODE((home / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    again = create_app()
    again.test_client().get("/")
    assert first.secret_key == again.secret_key and len(first.secret_key) == 64
    for made in (first, again):
        database.engine(made).dispose()


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(client):
    client.post("/pairs/new", data={"question": "Open?", "answer": "At nine.", "into": "main"})
    cookie = client.get_cookie("curator")
    assert cookie.http_only and cookie.same_site == "Lax" and not cookie.secure


def test_a_file_above_the_limit_is_refused_with_the_way_out(home):
    app = create_app({"MAX_CONTENT_LENGTH": 1000})
    headers = {"Origin": "http://localhost"}
    answer = app.test_client().post("/import/", data={"file": (io.BytesIO(b"x" * 2000), "big.csv")}, headers=headers)
    assert answer.status_code == 413 and "flask import FILE" in answer.text
    database.engine(app).dispose()


def test_what_is_not_there_is_a_page_with_a_sentence(client):
    answer = client.get("/pairs/999")
    assert answer.status_code == 404 and "There is no pair 999." in answer.text
    assert "There is no such page" in client.get("/nowhere").text


def test_our_own_fault_keeps_its_traceback_in_the_log_and_not_on_the_page(app, client, monkeypatch, caplog):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr("curator.search.page", lambda *a, **k: 1 / 0)
    with caplog.at_level(logging.ERROR):
        answer = client.get("/pairs/")
    assert answer.status_code == 500 and "Something went wrong in Curator" in answer.text
    assert "ZeroDivisionError" not in answer.text and "ZeroDivisionError" in caplog.text


def test_debug_is_never_on_by_itself(app):
    assert not app.debug

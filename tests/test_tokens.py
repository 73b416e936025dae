"""What will be trained of a pair, on its page: the trainer's answer, token by token, or its refusal in one sentence."""

import re
import sys
from html import unescape

import pytest
from trainer_bases import chatml

from curator import tokens
from curator.errors import UserError


@pytest.fixture
def base(app, tmp_path):
    folder = chatml(tmp_path / "base")
    app.config["CURATOR_BASE"] = str(folder)
    tokens.kept.clear()
    return str(folder)


def groups(page):
    """Return the state and the text of each group of tokens on a page."""
    found = re.findall(r'<span class="tokens (\w+)"><span class="unseen">[^<]*</span>(.*?)</span></span>', page, re.S)
    return [(state, unescape(re.sub(r"<[^>]*>", "", text))) for state, text in found]


def test_the_page_of_a_pair_shows_what_is_read_what_is_trained_and_the_end(client, base, make_pair):
    pair = make_pair("What is 2+2?", "It is 4.", system="Count.")
    assert f'href="/pairs/{pair.id}/tokens"' in client.get(f"/pairs/{pair.id}").text
    page = client.get(f"/pairs/{pair.id}/tokens").text
    assert groups(page) == [
        (
            "read",
            "<|im_start|>system↵\nCount.<|im_end|>↵\n<|im_start|>user↵\nWhat is 2+2?<|im_end|>↵\n"
            "<|im_start|>assistant↵\n",
        ),
        ("trained", "It is 4."),
        ("end", "<|im_end|>"),
    ]
    assert "flask export --jsonl --query id:1 | python -m trainer plan --show - --base" in unescape(page)


def test_neither_stored_script_nor_marks_that_turn_a_line_round_come_through(client, base, make_pair):
    pair = make_pair("<script>alert('x')</script>", "Köln\u202e 📚")
    page = client.get(f"/pairs/{pair.id}/tokens").text
    assert "<script>alert" not in page and "\u202e" not in page and "&lt;U+202E&gt;" in page


def test_a_part_of_the_page_comes_alone_where_script_asks_for_it(client, base, make_pair):
    page = client.get(f"/pairs/{make_pair().id}/tokens", headers={"X-Fragment": "1"}).text
    assert "<html" not in page and 'class="tokens trained"' in page


def test_the_trainer_is_asked_once_for_a_text_and_a_base(client, base, make_pair, monkeypatch):
    asked = []
    ask = tokens.ask
    monkeypatch.setattr(tokens, "ask", lambda chat, base: asked.append(base) or ask(chat, base))
    pair = make_pair()
    first, second = (client.get(f"/pairs/{pair.id}/tokens").text for _ in range(2))
    assert first == second and asked == [base]


def test_a_base_that_nobody_named_is_refused(client, base, make_pair):
    answer = client.get(f"/pairs/{make_pair().id}/tokens?base=/etc")
    assert answer.status_code == 400 and "/etc is no base that Curator knows of" in answer.text


def test_a_built_in_base_that_is_not_made_yet_is_said_with_the_command(client, base, make_pair):
    answer = client.get(f"/pairs/{make_pair().id}/tokens?base=builtin")
    assert answer.status_code == 400 and "Make it, in about a minute, with: python -m trainer base" in answer.text


def test_a_trainer_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(tokens, "TIMEOUT_SECONDS", 0.01)
    with pytest.raises(UserError, match="did not answer in 0.01 seconds"):
        tokens.ask([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "builtin")


def test_the_web_app_loads_no_model_library_for_it(client, base, make_pair):
    before = set(sys.modules)
    client.get(f"/pairs/{make_pair().id}/tokens")
    assert not {"trainer", "tokenizers", "transformers", "torch"} & (set(sys.modules) - before)

"""The list of pairs as it is searched, narrowed, ordered and walked."""

import html
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from curator import search
from curator.models import PairFlag
from curator.search import Selection
from curator.search.query import parse

DOCS = (Path(__file__).parent.parent / "docs" / "search.md").read_text(encoding="utf-8")
EXAMPLES = [query for row in re.findall(r"^\| `.*", DOCS, re.MULTILINE) for query in re.findall("`([^`]+)`", row)[:1]]


def text_of(response):
    return html.unescape(response.get_data(as_text=True))


def rows(response):
    return [int(number) for number in re.findall(r'<li id="pair-(\d+)"', text_of(response))]


@pytest.mark.parametrize("query", EXAMPLES)
def test_each_example_of_the_documentation_can_be_searched_for(session, make_pair, query):
    make_pair("May I pay the late fee later?", "Yes.", notes="asked twice")
    assert parse(query) and search.count(session, Selection(query=query)) in (0, 1)


@pytest.mark.parametrize("query, sentence", [
    ("len:>abc", "len:>abc names no length"), ("?!", "holds no letter and no digit"),
    ("anwser:fee", "Did you mean answer:?"), ("status:done", "Choose one of: draft, approved, rejected"),
])  # fmt: skip
def test_what_cannot_be_searched_for_is_said_above_a_list_that_works(client, make_pair, query, sentence):
    make_pair()
    answer = client.get("/pairs/", query_string={"query": query})
    assert answer.status_code == 400 and sentence in text_of(answer) and rows(answer) == [1]
    assert f'value="{query}"' in text_of(answer)


@pytest.mark.parametrize("address", ["/pairs/?query=?!", "/pairs/?sort=prettiest", "/pairs/?after=zzz"])
def test_no_search_is_offered_that_would_be_refused_again(client, make_pair, address):
    make_pair()
    assert "Search for it as text" not in client.get(address).text
    assert "Search for it as text" in client.get("/pairs/?query=len:>abc").text


def test_an_order_that_there_is_not_is_told(client, make_pair):
    make_pair()
    answer = client.get("/pairs/?sort=prettiest")
    assert answer.status_code == 400 and "There is no order 'prettiest'" in text_of(answer)


@pytest.mark.parametrize("sort, found", [
    ("", [1, 2, 3]), ("newest", [3, 2, 1]), ("longest", [2, 3, 1]), ("shortest", [1, 3, 2]), ("edited", [1, 3, 2]),
])  # fmt: skip
def test_the_list_stands_in_the_order_of_the_address(client, make_pair, sort, found):
    for answer in ("Yes.", "Yes, and for as long as you like.", "Yes, always."):
        make_pair(answer=answer)
    client.post("/pairs/1/status", data={"status": "approved"})
    assert rows(client.get(f"/pairs/?sort={sort}")) == found


@pytest.mark.parametrize("sort", ["oldest", "newest", "longest", "shortest", "edited"])
def test_pages_follow_each_other_in_every_order_and_back(session, make_pair, sort):
    for number in range(10):
        make_pair(answer="x" * (number * 7 % 5 + 1))
    whole = [pair.id for pair in search.page(session, Selection(), sort=sort).pairs]
    forth, mark = [], None
    while True:
        page = search.page(session, Selection(), after=mark, size=3, sort=sort)
        forth.append(([pair.id for pair in page.pairs], page.first))
        mark = page.next
        if mark is None:
            break
    assert [pair_id for ids, _ in forth for pair_id in ids] == whole and [first for _, first in forth] == [1, 4, 7, 10]
    back = search.page(session, Selection(), before=page.previous, size=3, sort=sort)
    assert ([pair.id for pair in back.pairs], back.first) == forth[2]
    last = search.page(session, Selection(), last=True, size=3, sort=sort)
    assert ([pair.id for pair in last.pairs], last.next) == (whole[9:], None)


def test_next_skips_no_draft_when_drafts_of_this_page_were_approved(client, session, make_pair):
    ids = [make_pair().id for _ in range(6)]
    first = search.page(session, Selection(statuses=("draft",)), size=2)
    client.post("/pairs/1/status", data={"status": "approved"})
    client.post("/pairs/2/status", data={"status": "approved"})
    second = search.page(session, Selection(statuses=("draft",)), after=first.next, size=2)
    assert [pair.id for pair in second.pairs] == ids[2:4]


def test_the_page_of_a_pair_knows_its_place_in_the_list_it_came_from(client, make_pair):
    for answer in ("No.", "Perhaps, ask at the desk.", "Yes, always."):
        make_pair(answer=answer, tags=["a"])
    make_pair(answer="An answer without the tag, and longer.")
    shown = text_of(client.get("/pairs/3?sort=longest&tag=a"))
    assert "2 of 3" in shown
    assert 'href="/pairs/2?sort=longest&tag=a"' in shown and 'href="/pairs/1?sort=longest&tag=a"' in shown


def test_a_pair_that_left_the_list_still_has_neighbours_there(session, client, make_pair):
    for _ in range(3):
        make_pair()
    client.post("/pairs/2/status", data={"status": "approved"})
    assert search.neighbours(session, Selection(statuses=("draft",)), 2) == (1, 3, 0, 2)


def test_facets_count_splits_flags_authors_and_lengths_each_without_its_own_filter(session, make_pair):
    for answer in ("x" * 30, "x" * 70, "x" * 80):
        make_pair(answer=answer)
    session.add_all([PairFlag(pair_id=1, flag="short"), PairFlag(pair_id=2, flag="short")])
    session.commit()
    found = search.facets(session, Selection(query="len:50..99 flag:short"))
    assert (found.flags, found.lengths) == ([("short", 1)], [(0, 49, 1), (50, 99, 1)])
    assert found.authors == [("ada", 1)] and found.statuses["draft"] == 1 and found.splits == []


def test_a_facet_that_is_chosen_narrows_the_search_and_can_be_taken_back(client, make_pair):
    make_pair(answer="x" * 30)
    make_pair(answer="x" * 70, tags=["a"])
    shown = text_of(client.get("/pairs/"))
    assert 'href="/pairs/?query=len:50..99"' in shown and 'href="/pairs/?tag=a"' in shown
    narrowed = client.get("/pairs/?query=len:50..99&tag=a")
    assert rows(narrowed) == [2] and 'href="/pairs/?tag=a" title="Remove this filter"' in text_of(narrowed)
    assert "flask export --jsonl --tag a --query len:50..99" in text_of(narrowed)


def test_searching_again_keeps_the_other_filters_and_the_order(client, make_pair):
    make_pair(tags=["a"])
    field = re.search(r'<form class="search".*?</form>', text_of(client.get("/pairs/?tag=a&sort=newest")), re.S)[0]
    assert 'name="tag" value="a"' in field and 'name="sort" value="newest"' in field


@pytest.mark.parametrize("text, query, field, found", [
    ("A dog, two Dogs", "dog", None, ["dog", "Dogs"]), ("the late fee", '"late fee"', None, ["late fee"]),
    ("late or fee", '"late fee"', None, []), ("a cat", "-cat", None, []), ("my cat", "answer:cat", "question", []),
    ("my cat", "answer:cat", "answer", ["cat"]), ("Café", "cafe", None, ["Café"]), ("a", "len:>abc", None, []),
    ("5 o'clock", "o'clock", None, ["o'clock"]),
])  # fmt: skip
def test_what_was_found_is_marked_in_the_field_that_was_asked(text, query, field, found):
    parts = search.highlight(text, query, field)
    assert "".join(part for _, part in parts) == text and [part for hit, part in parts if hit] == found


def test_twenty_people_look_and_save_at_once(app, client, make_pair, monkeypatch):
    """Each request has a connection and asks for a second: the pool's fifteen once had all wait for each other."""
    monkeypatch.setattr("curator.views.frame.PATIENCE_SECONDS", 60)  # a busy machine is told to look again sooner
    for _ in range(3):
        make_pair()

    def look(number):
        if number % 5 == 0:
            client_of(app).post("/pairs/1/status", data={"status": ["draft", "approved"][number % 2]})
        return client_of(app).get(f"/pairs/?query=answer -x{number}").status_code

    with ThreadPoolExecutor(20) as people:
        assert set(people.map(look, range(40))) == {200}


def client_of(app):
    client = app.test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    return client


def test_the_list_shows_where_an_answer_says_what_was_searched(client, make_pair):
    make_pair(answer="It is long. " * 60 + "The turtle is at the end.")
    shown = text_of(client.get("/pairs/?query=answer:turtle"))
    assert "… " in shown and "<mark>turtle</mark>" in shown


def test_commands_take_the_same_language(runner, make_pair):
    make_pair("May I bring my dog?", "Yes.")
    make_pair("May I bring my cat?", "No, and not the dog either.")
    runner.invoke(args=["export", "--jsonl", "--query", "-question:dog len:>10", "-o", "out.jsonl"])
    written = Path("out.jsonl").read_text()
    assert "bring my cat" in written and "bring my dog" not in written
    wrong = runner.invoke(args=["export", "--jsonl", "--query", "len:>abc"])
    assert wrong.exit_code == 1 and "Error: len:>abc names no length" in wrong.output

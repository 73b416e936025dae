"""The page Check: flags with examples, what changed since, figures whose bars open the rows behind them."""

import re

import pytest
from waiting import wait_until

from curator import charts, imports, pairs, quality
from curator.flags import Rules

REFUSES = "I'm sorry, but I can't help with that."
LARGE = "q,a\n" + "".join(f"Is {n} large?,{'TODO' if n % 100 == 0 else n}\n" for n in range(700))


def text_of(response):
    return " ".join(re.sub(r"<[^>]*>", " ", response.get_data(as_text=True)).split())


def test_a_flag_stands_with_its_count_its_reason_and_a_way_to_its_pairs(client, make_pair):
    make_pair("Who won?", REFUSES)
    page = client.get("/check/")
    assert "Refusal boilerplate 1 pair The answer declines" in text_of(page)
    assert 'href="/pairs/?query=flag:refusal"' in page.get_data(as_text=True)


def test_what_changed_since_is_said_and_checked_by_a_job(client, session, write):
    imports.apply(session, write("a.csv", LARGE), by="ada")
    assert "Nobody has checked these pairs yet" in text_of(client.get("/check/"))
    job = client.post("/check/").location
    wait_until(lambda: 'data-state="done"' in client.get(job).get_data(as_text=True))
    assert "Looked at 700 pairs; 7 have a flag." in text_of(client.get(job))
    assert "Every pair is checked as it stands." in text_of(client.get("/check/"))


def test_few_that_changed_are_checked_while_the_page_waits(app, client, session, write):
    imports.apply(session, write("a.csv", LARGE), by="ada")
    quality.check(session, Rules())
    more = "q,a\n" + "".join(f"Was {n} large?,{n}\n" for n in range(300))
    imports.apply(session, write("b.csv", more), by="ada")
    assert "changed since the last check" in text_of(client.get("/check/"))
    answer = client.post("/check/", follow_redirects=True)
    assert "Every pair is checked as it stands." in text_of(answer)


def test_a_flag_that_is_fine_goes_and_comes_back_by_undo(client, make_pair):
    make_pair("Who won?", REFUSES)
    answer = client.post("/check/fine/1/refusal", follow_redirects=True)
    assert "“Refusal boilerplate” is fine in pair 1" in text_of(answer)
    assert "Refusal boilerplate 1 pair" not in text_of(answer)
    client.post("/check/not-fine/1/refusal")
    assert "Refusal boilerplate 1 pair" in text_of(client.get("/check/"))


@pytest.mark.parametrize("place", ["/pairs/1", "/queue/?pair=1"])
def test_a_flag_is_called_fine_where_its_pair_stands_and_that_is_taken_back_there(client, make_pair, place):
    make_pair("Who won?", REFUSES)
    assert "This is fine : Refusal boilerplate" in text_of(client.get(place))
    answer = client.post("/check/fine/1/refusal", data={"back": place}, follow_redirects=True)
    assert answer.request.full_path.rstrip("?") == place
    assert "that this is fine. Take it back" in text_of(answer) and "This is fine :" not in text_of(answer)
    answer = client.post("/check/not-fine/1/refusal", data={"back": place}, follow_redirects=True)
    assert "This is fine : Refusal boilerplate" in text_of(answer)


def test_a_flag_leads_to_its_pairs_and_to_a_queue_of_them(client, make_pair):
    make_pair("Who won?", REFUSES)
    make_pair("Who lost?", "Ada lost, by a point.")
    page = client.get("/check/").get_data(as_text=True)
    queue = re.search(r'href="(/queue/[^"]*)"[^>]*>Review the drafts', page)
    assert "1 draft left" in text_of(client.get(queue[1]))


@pytest.mark.parametrize("address", ["/check/fine/1/nonsense", "/check/fine/9/refusal", "/check/not-fine/1/refusal"])
def test_what_is_no_flag_of_a_pair_is_told_in_a_sentence(client, make_pair, address):
    make_pair("Who won?", "Ada.")
    answer = client.post(address)
    assert answer.status_code == 404 and "Traceback" not in answer.get_data(as_text=True)


def test_the_list_and_the_page_of_a_pair_show_its_flags_with_the_detail(client, make_pair):
    make_pair("Who won?", REFUSES)
    for address in ("/pairs/", "/pairs/1"):
        page = client.get(address).get_data(as_text=True)
        assert 'title="Refusal boilerplate: “I&#39;m sorry, but I can&#39;t help with that.”"' in page


def test_home_says_how_many_pairs_are_flagged(client, make_pair):
    make_pair("Who won?", REFUSES)
    assert "1 pair flagged" in text_of(client.get("/"))


def test_the_bars_of_the_statistics_open_the_rows_behind_them(client, make_pair):
    make_pair("Who won?", REFUSES, tags=["two words"], status="approved")
    page = client.get("/check/statistics").get_data(as_text=True)
    assert 'href="/pairs/?query=len:20..49" aria-label="1 pair of 20–49 characters"' in page
    assert 'href="/pairs/?query=tag:%22two+words%22"' in page
    assert "<desc>The most: 1 pair of 20–49 characters.</desc>" in page


def test_script_in_a_tag_a_source_or_a_text_stays_text(client, make_pair):
    make_pair(
        "<script>alert(1)</script> cafÃ©?", "[INST] <b>bold</b>", tags=["<script>x</script>"], source="<img src=x>"
    )
    for address in ("/check/", "/check/statistics", "/pairs/"):
        page = client.get(address).get_data(as_text=True)
        assert "<script>alert" not in page and "<script>x" not in page and "<img" not in page


def test_a_bar_carries_its_words_and_its_address_escaped():
    drawn = charts.bars([charts.Bar("0", 2, 'two "<b>"', "/pairs/?a=1&b=2")], "A & B", "pairs")
    assert 'href="/pairs/?a=1&amp;b=2" aria-label="two &quot;&lt;b&gt;&quot;"' in drawn
    assert "<title>A &amp; B</title>" in drawn


def test_an_empty_database_says_what_to_do(client):
    assert "No pairs to check yet." in text_of(client.get("/check/"))
    assert "No pairs to count yet." in text_of(client.get("/check/statistics"))


def test_a_pair_in_the_trash_has_no_flag(client, session, make_pair):
    pair = make_pair("Who won?", REFUSES)
    pairs.trash(session, [pair.id], "ada")
    assert "flagged" not in text_of(client.get("/"))

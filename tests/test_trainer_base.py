"""The built-in base: made from the shipped text, once, the same every time."""

import hashlib
from pathlib import Path

import pytest

from trainer import base

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = base.Recipe(hidden_size=64, heads=2, layers=1, intermediate_size=64, steps=2, vocabulary=400)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CURATOR_HOME", str(tmp_path))
    return tmp_path


def weights_of(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_it_is_made_once_and_then_found(home, capsys):
    folder = base.ensure(QUICK)
    assert folder.parent == home / "base"
    assert "Making the built-in base, a small teaching model" in capsys.readouterr().err
    assert base.ensure(QUICK) == folder
    assert capsys.readouterr().err == ""


def test_the_same_recipe_makes_the_same_weights(tmp_path, monkeypatch):
    made = []
    for name in ("one", "two"):
        monkeypatch.setenv("CURATOR_HOME", str(tmp_path / name))
        made.append(weights_of(base.ensure(QUICK)))
    assert made[0] == made[1]


def test_another_recipe_makes_another_base_beside_it(home):
    assert base.ensure(QUICK) != base.ensure(base.Recipe(**(vars(QUICK) | {"seed": 2})))


def test_nothing_is_left_of_a_base_whose_making_was_ended(home, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(base, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        base.ensure(QUICK)
    assert list((home / "base").iterdir()) == []


def test_of_two_that_make_it_at_once_the_first_is_kept(home, monkeypatch):
    def made_elsewhere(text, recipe, folder):
        other = next(place for place in home.glob("base/.making-*"))
        assert other == folder
        (folder / "late").touch()
        finished = home / "base" / wanted
        finished.mkdir()
        (finished / "first").touch()

    wanted = base.ensure(QUICK).name
    (home / "base" / wanted).rename(home / "moved")
    monkeypatch.setattr(base, "make", made_elsewhere)
    assert [file.name for file in base.ensure(QUICK).iterdir()] == ["first"]
    assert [place.name for place in (home / "base").iterdir()] == [wanted]


def test_its_home_is_the_environments_else_the_checkouts(monkeypatch, tmp_path):
    monkeypatch.setenv("CURATOR_HOME", str(tmp_path))
    assert base.home() == tmp_path
    monkeypatch.delenv("CURATOR_HOME")
    assert base.home() == Path(base.__file__).parent.parent / "instance"


def test_blocks_of_the_primer_are_chats_or_plain_texts():
    assert base.read_block("Q: Why?\nA: Because.") == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
    ]
    assert base.read_block("A plain text.\n") == "A plain text."

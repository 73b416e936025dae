"""What others make of an export: `datasets` loads each file, TRL takes each shape that it documents."""

import json

import pytest

from curator.formats import FORMATS, KINDS, encode
from curator.formats.writing import COLUMNS, RATINGS

TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
HI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
WHERE = [{"role": "user", "content": "Wo? 👋"}, {"role": "assistant", "content": "Hier"}]
SUM = [{"role": "user", "content": "=1+1?"}, {"role": "assistant", "content": "2"}]
REJECTED = [{"role": "rejected", "content": "3"}]
CHATS = [[{"role": "system", "content": "Kurz."}, *HI, *WHERE], SUM]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Writes rows as a file and loads it as `datasets` does, without a network."""
    import datasets

    def loaded(rows, kind, columns):
        path = tmp_path / f"pairs.{kind}"
        path.write_bytes(b"".join(encode(rows, kind, columns)))
        reader = "json" if kind == "jsonl" else kind
        return datasets.load_dataset(reader, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))

    datasets.disable_progress_bars()
    return loaded


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer with a template; that it knows one word is no matter here."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")), unk_token="?")
    made.chat_template = TURNS + "{{ '[assistant]' if add_generation_prompt }}"
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", FORMATS)
def test_datasets_loads_every_shape_of_every_kind(load, format, kind):
    chats = {"openorca": [SUM], "preference": [chat + REJECTED for chat in CHATS]}.get(format, CHATS)
    rows = [FORMATS[format].fields(chat) for chat in chats]
    loaded = load(rows, kind, COLUMNS[format])
    assert loaded.column_names == list(COLUMNS[format])
    if kind != "csv":  # whose cells are texts
        assert [{k: v for k, v in row.items() if v is not None} for row in loaded] == rows


@pytest.mark.parametrize("format", ["messages", "prompt-completion"])
def test_trl_takes_an_export_as_conversations_and_puts_it_in_a_chat_template(load, tokenizer, format):
    from trl.data_utils import apply_chat_template, is_conversational

    loaded = load([FORMATS[format].fields(chat) for chat in CHATS], "jsonl", COLUMNS[format])
    assert is_conversational(loaded[0])
    rendered = loaded.map(lambda row: apply_chat_template(row, tokenizer), remove_columns=loaded.column_names)
    texts = ["".join(row.values()) for row in rendered]
    assert texts == ["[system]Kurz.[user]Hi[assistant]Hello[user]Wo? 👋[assistant]Hier", "[user]=1+1?[assistant]2"]


def test_trl_takes_a_preference_and_puts_it_in_a_chat_template(load, tokenizer):
    from trl.data_utils import apply_chat_template

    loaded = load([FORMATS["preference"].fields(SUM + REJECTED)], "jsonl", COLUMNS["preference"])
    rendered = apply_chat_template(loaded[0], tokenizer)
    assert rendered == {"prompt": "[user]=1+1?[assistant]", "chosen": "2", "rejected": "3"}


def test_trl_takes_sharegpt_as_conversations_too(load):
    from trl.data_utils import maybe_convert_to_chatml

    rows = [FORMATS["sharegpt"].fields(chat) for chat in CHATS]
    loaded = load(rows, "jsonl", COLUMNS["sharegpt"])
    spoken = [[turn["content"] for turn in maybe_convert_to_chatml(row)["messages"]] for row in loaded]
    assert spoken == [[turn["content"] for turn in chat] for chat in CHATS]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("ratings", RATINGS)
def test_trl_takes_what_ratings_teach(runner, write, tokenizer, load, ratings, kind):
    from trl.data_utils import apply_chat_template, is_conversational

    row = {"prompt": CHATS[0][:-1], "chosen": CHATS[0][-1:], "rejected": HI[1:]}
    assert runner.invoke(args=["import", str(write("p.jsonl", json.dumps(row) + "\n"))]).exit_code == 0
    lines = runner.invoke(args=["export", "--ratings", ratings]).stdout.splitlines()
    loaded = load(list(map(json.loads, lines)), kind, RATINGS[ratings])
    assert is_conversational(loaded[0]) and loaded.column_names == list(RATINGS[ratings])
    said = apply_chat_template(loaded[0], tokenizer)
    assert said["prompt"] == "[system]Kurz.[user]Hi[assistant]Hello[user]Wo? 👋[assistant]"
    assert {"dpo": ("Hier", "Hello"), "kto": ("Hier", True)}[ratings] == tuple(said[name] for name in list(said)[1:])

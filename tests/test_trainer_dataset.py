"""Lines in, examples out: shapes, faults with their place, fingerprints and splits. Needs no torch."""

import hashlib
import json
from pathlib import Path

import pytest

from trainer import UserError
from trainer.dataset import (
    describe,
    find_max_tokens,
    newest_export,
    normalise,
    nothing_in,
    read,
    read_examples,
    read_messages,
    split,
    verify,
)

PAIR = {"messages": [{"role": "user", "content": "Wo?"}, {"role": "assistant", "content": "Köln"}]}


def write(path, *lines):
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def questions(path, *texts):
    return write(path, *({"question": text, "answer": f"Answer {n}"} for n, text in enumerate(texts)))


@pytest.mark.parametrize(
    "line",
    [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"question": "Q", "answer": "A"},
        {"prompt": "Q", "completion": "A"},
        {"question": "Q", "answer": "A", "system": ""},
    ],
)
def test_three_shapes_of_line_are_the_same_pair(line):
    assert read_messages(json.dumps(line)) == [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A"},
    ]


def test_system_message_and_earlier_turns_are_kept():
    turns = [("system", "Be brief."), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert read_messages(json.dumps({"messages": messages})) == messages


def test_the_fingerprint_is_the_hash_of_the_canonical_messages(tmp_path):
    (example,) = read_examples(write(tmp_path / "pairs.jsonl", PAIR))
    canonical = '[{"content":"Wo?","role":"user"},{"content":"Köln","role":"assistant"}]'
    assert example.fingerprint == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_broken_third_line_is_named_with_what_to_do(tmp_path):
    file = write(tmp_path / "pairs.jsonl", PAIR, PAIR, '{"messages": [}\n', PAIR)
    with pytest.raises(UserError) as caught:
        read_examples(file)
    assert str(caught.value) == (
        "pairs.jsonl line 3 is not JSON: Expecting value, character 15. "
        "Mend it, or write the file again with: flask export --jsonl"
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ([1], "is not an object, but list"),
        ({"text": "x"}, "has no messages .* but text"),
        ({"prompt": "Q"}, "has no completion"),
        ({"question": "Q", "answer": " "}, "has no text in message 2, of the assistant"),
        ({"question": "Q", "answer": 4}, "has no text in message 2, of the assistant"),
        ({"messages": []}, "has no list of messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "has no role of system, user or assistant in message 1"),
        ({"messages": PAIR["messages"][:1]}, "does not end with a question"),
        ({"question": "Q", "answer": "\ud800"}, "holds half of a surrogate pair"),
    ],
)
def test_each_fault_of_a_line_is_said_in_words(line, fault, tmp_path):
    with pytest.raises(UserError, match=f"pairs.jsonl line 2 {fault}"):
        read_examples(write(tmp_path / "pairs.jsonl", PAIR, line))


def test_many_faults_are_reported_together_up_to_ten(tmp_path):
    with pytest.raises(UserError) as caught:
        read_examples(write(tmp_path / "pairs.jsonl", *["x\n"] * 12))
    assert "line 10 is" in str(caught.value)
    assert "and 2 more lines" in str(caught.value)


def test_bytes_that_are_not_utf_8_are_named(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_bytes('{"question": "Wo?", "answer": "Köln"}'.encode("latin-1"))
    with pytest.raises(UserError, match=r"line 1 is not UTF-8 text: byte 33 of the line is 0xf6"):
        read_examples(file)


def test_byte_order_mark_blank_lines_and_odd_line_ends_do_no_harm(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_bytes("\ufeff".encode() + json.dumps(PAIR, ensure_ascii=False).encode() + b"\r\n\r\n")
    (example,) = read_examples(file)
    assert example.answer == "Köln"


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_a_line_is_refused(content, tmp_path):
    with pytest.raises(UserError, match="has no line to train on"):
        read_examples(write(tmp_path / "pairs.jsonl", content))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere.jsonl is not there"):
        read_examples(tmp_path / "nowhere.jsonl")


def test_equal_questions_never_straddle_splits(tmp_path):
    texts = [text for n in range(30) for text in (f"What is {n}?", f"what  is {n}")]
    examples = split(read_examples(questions(tmp_path / "pairs.jsonl", *texts)), 0.1, 0.2, seed=1)
    sides = {}
    for example in examples:
        sides.setdefault(normalise(example.question), set()).add(example.split)
    assert all(len(side) == 1 for side in sides.values())
    assert [sum(e.split == s for e in examples) for s in ("train", "validation", "test")] == [42, 6, 12]


def test_the_split_depends_on_the_seed_alone_and_not_on_the_order(tmp_path):
    examples = read_examples(questions(tmp_path / "pairs.jsonl", *(f"Why {n}?" for n in range(40))))

    def tested(examples, seed):
        return {each.question for each in split(examples, 0.1, 0.1, seed) if each.split == "test"}

    assert tested(examples, 1) == tested(examples[::-1], 1)
    assert tested(examples, 1) != tested(examples, 2)


def test_an_exported_folder_keeps_its_splits(tmp_path):
    for name in ("train", "validation", "test"):
        questions(tmp_path / f"{name}.jsonl", f"{name}?")
    examples = split(read_examples(tmp_path), 0.1, 0.1, seed=1)
    assert [(each.question, each.split) for each in examples] == [
        ("train?", "train"),
        ("validation?", "validation"),
        ("test?", "test"),
    ]


def test_too_few_questions_to_hold_any_out_are_refused(tmp_path):
    examples = read_examples(questions(tmp_path / "pairs.jsonl", "One?", "Two?"))
    with pytest.raises(UserError, match="to validate and test takes 3 different questions at least"):
        split(examples, 0.1, 0.1, seed=1)
    assert all(each.split == "train" for each in split(examples, 0, 0, seed=1))


def test_without_a_name_the_newest_export_is_taken(tmp_path):
    with pytest.raises(UserError, match="Make one with: flask export"):
        newest_export(tmp_path)
    questions(tmp_path / "pairs.jsonl", "One?")
    assert newest_export(tmp_path).name == "pairs.jsonl"


def test_the_token_limit_fits_all_but_the_longest_lines():
    assert find_max_tokens([10] * 995 + [900] * 5, model_limit=1024) == 32
    assert find_max_tokens([10, 900], model_limit=512) == 512


def exported(folder, **changes):
    """Write an exported folder of two splits with its manifest, then change files of it."""
    files = {}
    for split_name in ("train", "test"):
        path = questions(folder / f"{split_name}.jsonl", f"A question to {split_name}?")
        files[path.name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "lines": 1, "split": split_name}
    files["README.md"] = {"sha256": "of the card", "lines": 9, "split": None}
    (folder / "manifest.json").write_text(json.dumps({"version": 3, "files": files}))
    for name, text in changes.items():
        path = folder / f"{name}.jsonl"
        path.unlink() if text is None else path.write_text(text)
    return folder


def test_an_export_as_it_was_written_is_verified_and_a_file_without_manifest_is_taken_as_it_is(tmp_path):
    folder = exported(tmp_path)
    verify(folder, described := describe(folder))
    assert described["verified"] is True
    assert describe(folder / "train.jsonl")["verified"] is None


@pytest.mark.parametrize("changes, name", [
    ({"train": '{"question": "Q", "answer": "Another."}\n'}, "train.jsonl"),
    ({"test": None}, "test.jsonl"),
    ({"validation": '{"question": "Q", "answer": "Added by hand."}\n'}, "validation.jsonl"),
])  # fmt: skip
def test_an_export_that_was_changed_is_refused_with_the_file_and_what_to_do(tmp_path, changes, name):
    folder = exported(tmp_path, **changes)
    with pytest.raises(
        UserError, match=f"{name} is not the file that was exported.*flask export --version 3.*--unverif"
    ):
        verify(folder, describe(folder))


def test_a_file_of_another_kind_is_told_how_to_become_lines(tmp_path):
    file = write(tmp_path / "faq.jsonl", "question,answer\n", "How long?,Three weeks.\n")
    with pytest.raises(UserError, match="flask convert FILE pairs.jsonl"):
        read_examples(file)
    assert "convert FILE pairs.jsonl\n  The first of 2 faults: faq.jsonl line 1 is" in nothing_in(
        file, read(file)[1], "sft"
    )


def test_a_number_that_python_refuses_is_a_fault_of_its_line(tmp_path):
    file = write(tmp_path / "pairs.jsonl", '{"question": "a", "answer": "b", "n": ' + "1" * 5000 + "}")
    assert read(file)[1] == ["pairs.jsonl line 1 is not a pair: it holds a number of thousands of digits."]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="It takes a file that cannot be read.")
def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """It ended in a traceback."""
    (tmp_path / "pairs.jsonl").symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match="pairs.jsonl cannot be read: "):
        read_examples(tmp_path / "pairs.jsonl")

"""Exporting: which pairs, in which bytes, to which files."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curator import create_app, database, exports, history, imports, pairs, text, versions
from curator.errors import UserError
from curator.formats import FORMATS, KINDS, encode, read, to_line, writing
from curator.formats.writing import COLUMNS, chat_of, encode_examples, neutralise, restore
from curator.models import Pair
from curator.search import Selection


def test_a_line_is_openai_messages_and_nothing_else(session, make_pair):
    make_pair("Wo? 👋", "Hier.", system="Kurz.", tags=["a"], notes="private")
    (line,) = exports.lines(session, Selection())
    assert line == (
        '{"messages": [{"role": "system", "content": "Kurz."}, {"role": "user", "content": "Wo? 👋"}, '
        '{"role": "assistant", "content": "Hier."}]}\n'
    )


@pytest.mark.parametrize("format", ["messages", "prompt-completion", "alpaca", "sharegpt", "qa"])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=6), max_size=4))
@example([["%s <0>", '"<1>"']])
def test_lines_of_many_chats_are_the_bytes_of_one_line_each(format, said):
    """They are not encoded one by one; control characters, quotes, "%s" and "<0>" must not show that."""
    # An odd number of texts begins with a system message.
    roles = [("system",) * (len(texts) % 2) + ("user", "assistant") * (len(texts) // 2) for texts in said]
    examples = [(number, *one) for number, one in enumerate(zip(roles, said, strict=True))]
    lines = [to_line(chat_of(*one), format) for _, *one in examples]
    assert b"".join(encode_examples([examples[:2], examples[2:]], format)) == "".join(lines).encode()


def test_rejected_and_trashed_pairs_stay_out_and_drafts_are_counted(session, make_pair):
    draft, approved, rejected, trashed = (make_pair(f"{n}?", f"{n}.") for n in "abcd")
    pairs.set_status(session, [approved.id], "approved", "ada")
    pairs.set_status(session, [rejected.id], "rejected", "ada")
    pairs.trash(session, [trashed.id], "ada")
    asked = [json.loads(line)["messages"][0]["content"] for line in exports.lines(session, Selection())]
    assert asked == ["a?", "b?"]
    assert exports.count(session, Selection()) == exports.Count(lines=2, drafts=1)
    assert len(list(exports.lines(session, Selection(statuses=("rejected",))))) == 1


def test_the_same_selection_gives_the_same_bytes_in_another_process(session, make_pair, home):
    for i in range(20):
        make_pair(f"{i}?", "ok", tags=["x"] if i % 2 else [])
    here = "".join(exports.lines(session, Selection(tag="x"))).encode()
    for seed, locale in (("1", "C"), ("2", "de_DE.UTF-8")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "flask", "--app", "curator", "export", "--jsonl", "--tag", "x"]
        assert subprocess.run(command, env=environment, capture_output=True, check=True).stdout == here


def test_a_csv_keeps_what_a_pair_holds(session, make_pair):
    make_pair('Say "hi", now?', "a\nb", system="s", earlier=[{"role": "user", "content": "é"}], tags=["x", "y"])
    table = b"".join(exports.pieces(session, Selection(), "table", "csv")).decode()
    header, row = table.split("\r\n", 1)
    assert header == "_pair,id,system,history,question,answer,rejected,status,tags,source,notes,meta"
    assert row == '1,,s,"[{""role"": ""user"", ""content"": ""é""}]","Say ""hi"", now?","a\nb",,draft,"x, y",,,\r\n'


def test_an_exported_table_comes_back_to_the_pairs_it_came_from(session, write):
    """The number of a pair used to be read as the source's own key, and changed whichever pair had that key."""
    rows = "".join(f"k{i},Question {i}?,Answer {i}.\n" for i in range(3)) + "2,Question two?,Answer two.\n"
    imports.apply(session, write("a.csv", "id,question,answer\n" + rows), by="ada")
    table = b"".join(exports.pieces(session, Selection(), "table", "csv"))
    assert imports.plan(session, write("same.csv", table)).identical == 4
    done = imports.apply(session, write("b.csv", table.replace(b"Answer 1.", b"Answer one.")), by="ada")
    assert (done.new, done.changed, done.identical) == (0, 1, 3)
    assert [pair.answer for pair in pairs_of(session)] == ["Answer 0.", "Answer one.", "Answer 2.", "Answer two."]


def pairs_of(session):
    """Return the pairs there are, in order."""
    return list(session.query(Pair).order_by(Pair.id))


KEPT = [
    {"question": "=1+1?", "answer": "'=2", "rejected": "-3", "id": "k1", "source": "@desk", "notes": "+1\r\n",
     "tags": ["a, b", "[c]"], "status": "approved", "system": "Kurz. 👋",
     "history": [{"role": "user", "content": "שלום"}, {"role": "assistant", "content": '"Hi"'}],
     "=score": 0.5, "big": 2**70, "url2": "=HYPERLINK()", "deep": {"a": [None, True, {"b": "\u2028"}]}},
    {"question": "Plain?", "answer": "Yes."},
    {"question": "Nested?", "answer": "Yes.", "meta": {"meta": {"of": "meta"}, "empty": "", "none": None}},
    {"question": "Text?", "answer": "Yes.", "meta": "no object"},
    {"question": "Twice?", "answer": "Yes.", "score": 1, "meta": {"score": 2}},
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_a_pair_holds_comes_back_from_a_table(session, write, kind):
    """The rejected answer and the fields that no shape knows used to be left behind."""
    imports.apply(
        session,
        write("a.jsonl", "".join(json.dumps(row) + "\n" for row in KEPT)),
        imports.Reading(dataset="a"),
        by="ada",
    )
    table = b"".join(exports.pieces(session, Selection(dataset="a"), "table", kind))
    imports.apply(session, write(f"b.{kind}", table), imports.Reading(dataset="b"), by="ada")
    names = [name for name in history.FIELDS if name not in ("dataset_id", "revision")]
    before, after = ([[getattr(p, name) for name in names] for p in pairs_of(session) if p.dataset.name == place]
                     for place in ("a", "b"))  # fmt: skip
    assert after == before and len(before) == 5
    assert [pair.meta for pair in pairs_of(session)[1:5]] == [
        {}, {"meta": {"of": "meta"}, "empty": "", "none": None}, {"meta": "no object"},
        {"score": 1, "meta": {"score": 2}},
    ]  # fmt: skip


def test_a_file_is_written_whole_or_not_at_all(session, make_pair, tmp_path):
    make_pair()
    path = tmp_path / "out.jsonl"
    digest = exports.write_file(exports.lines(session, Selection()), path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest

    def broken():
        yield "half\n"
        raise UserError("broken")

    before = path.read_bytes()
    with pytest.raises(UserError):
        exports.write_file(broken(), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.glob(".*")] == []


def test_a_version_becomes_a_folder_that_proves_itself(session, make_pair, tmp_path):
    for _ in range(20):
        make_pair()
    version, _ = versions.freeze(session, Selection(), by="ada")
    manifest = exports.write_folder(session, version.id, tmp_path / "v1")
    assert {p.name for p in (tmp_path / "v1").iterdir()} == {
        "train.jsonl", "validation.jsonl", "test.jsonl", "manifest.json", "README.md",
    }  # fmt: skip
    assert json.loads((tmp_path / "v1" / "manifest.json").read_text()) == manifest
    for name, file in manifest["files"].items():
        data = (tmp_path / "v1" / name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), data.count(b"\n")) == (file["sha256"], file["lines"])
    assert manifest["fingerprint"] == version.fingerprint
    assert (tmp_path / "v1" / "README.md").read_text().startswith("---\npretty_name:")


def test_a_selection_becomes_a_folder_for_training_with_the_same_bytes_each_time(session, make_pair, runner):
    for n in range(20):
        make_pair(tags=["x"] if n % 2 else [])
    written = []
    for _ in range(2):
        assert runner.invoke(args=["export", "--tag", "x", "-o", "out/"]).exit_code == 0
        written.append({path.name: path.read_bytes() for path in Path("out").iterdir()})
    assert written[0] == written[1] and set(written[0]) == {"train.jsonl", "README.md", "manifest.json"}
    manifest = json.loads(written[0]["manifest.json"])
    assert (manifest["version"], manifest["filters"]) == (None, {"status": ["draft", "approved"], "tag": "x"})
    assert manifest["files"]["train.jsonl"]["lines"] == written[0]["train.jsonl"].count(b"\n") == 10
    whole, _ = versions.freeze(session, Selection(tag="x"), by="ada", shares={"train": 1})
    assert manifest["fingerprint"] == whole.fingerprint


def test_a_folder_with_other_files_is_left_alone(session, make_pair, tmp_path):
    for _ in range(20):
        make_pair()
    versions.freeze(session, Selection(), by="ada")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        exports.write_folder(session, 1, tmp_path)
    assert [p.name for p in tmp_path.glob("*.jsonl")] == []


def test_a_fingerprint_is_the_sha256_of_the_canonical_messages():
    chat = text.messages("Wo?", "Hier.")
    canonical = '[{"content":"Wo?","role":"user"},{"content":"Hier.","role":"assistant"}]'
    assert text.fingerprint(chat) == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_version_becomes_a_folder_of_any_kind_in_place_of_another(session, make_pair, tmp_path):
    for _ in range(20):
        make_pair()
    versions.freeze(session, Selection(), by="ada")
    exports.write_folder(session, 1, tmp_path / "v1")
    exports.write_folder(session, 1, tmp_path / "v1", kind="parquet")
    assert sorted(p.name for p in (tmp_path / "v1").iterdir()) == [
        "README.md", "manifest.json", "test.parquet", "train.parquet", "validation.parquet",
    ]  # fmt: skip
    assert "path: train.parquet" in (tmp_path / "v1" / "README.md").read_text()


def test_parquet_holds_messages_as_a_list_of_role_and_content(runner, make_pair):
    make_pair("Wo? 👋", "Hier.")
    result = runner.invoke(args=["export", "--parquet", "-o", "pairs.parquet"])
    assert result.exit_code == 0, result.output
    table = pyarrow.parquet.read_table("pairs.parquet")
    assert str(table.schema.field("messages").type) == "list<element: struct<role: string, content: string>>"
    assert table.to_pylist() == [
        {"messages": [{"role": "user", "content": "Wo? 👋"}, {"role": "assistant", "content": "Hier."}]}
    ]


def test_parquet_is_written_a_row_group_at_a_time(monkeypatch):
    monkeypatch.setattr(writing, "ROW_GROUP", 2)
    rows = ({"question": f"{n}?", "answer": "yes"} for n in range(5))
    pieces = encode(rows, "parquet", COLUMNS["qa"])
    first = next(pieces)
    assert first.startswith(b"PAR1") and next(rows)["question"] == "2?"  # no row of the next group was taken yet
    file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(first + b"".join(pieces)))
    assert (file.num_row_groups, file.metadata.num_rows) == (2, 4)


def test_a_database_of_a_selection_is_opened_by_curator_again(session, make_pair, runner):
    make_pair("Left out?")
    kept = make_pair("Kept?", tags=["x"], notes="mine", dataset="support", earlier=[{"role": "user", "content": "é"}])
    result = runner.invoke(args=["export", "--db", "--tag", "x", "-o", "some pairs.db"])
    assert result.exit_code == 0 and result.stderr.startswith("1 pair. Open it with:"), result.output
    copied = create_app({"DATABASE_URL": f"sqlite:///{Path('some pairs.db').absolute()}"})
    assert [path.name for path in Path().iterdir()] == ["some pairs.db"]
    with database.open_session(copied) as copy:
        pair = pairs.get(copy, 1)
        assert (pair.question, pair.tags, pair.notes, pair.history) == ("Kept?", ["x"], "mine", kept.history)
        assert (pair.fingerprint, pairs.datasets(copy)) == (kept.fingerprint, [("support", 1)])
        assert exports.count(copy, Selection(query="kept")).lines == 1
    database.engine(copied).dispose()


def test_either_engine_gives_the_same_bytes(either, session, make_pair):
    earlier = [{"role": "user", "content": "„Wo“?\n"}, {"role": "assistant", "content": "Da\u2028."}]
    for number in range(3):
        make_pair(f"{number}?", '"Hier"', system="Kurz." * number, earlier=earlier * number, tags=["x"])
    versions.freeze(session, Selection(), by="ada", shares={"train": 1})
    written = "".join(to_line(text.messages(p.question, p.answer, p.system, p.history)) for p in pairs_of(session))
    assert "".join(exports.lines(session, Selection())) == "".join(exports.version_lines(session, 1)) == written


def test_a_database_comes_from_either_engine(either, session, make_pair, tmp_path):
    make_pair("Wo?")
    assert exports.write_database(session, Selection(), tmp_path / "copy.db", "ada") == 1


def test_the_open_database_is_not_written_over(session, make_pair, home):
    make_pair()
    with pytest.raises(UserError, match="is the database that is exported. Name another file."):
        exports.write_database(session, Selection(), home / "curator.db", "ada")


def test_every_format_is_written_as_every_kind_of_file(runner, session, write):
    imports.apply(session, write("in.csv", "question,answer,system,rejected\n=1+1?,2,Be brief.,3\n"), by="ada")
    for format in (*FORMATS, "table"):
        for kind in KINDS:
            result = runner.invoke(args=["export", "--format", format, f"--{kind}", "-o", f"{format}.{kind}"])
            assert result.exit_code == 0, result.output
    assert Path("alpaca.csv").read_bytes() == (b"instruction,input,output,system,history\r\n'=1+1?,,2,Be brief.,\r\n")
    (row,) = pyarrow.parquet.read_table("table.parquet").to_pylist()
    assert (row["_pair"], row["question"], row["tags"]) == (1, "=1+1?", [])


@pytest.mark.parametrize("format, line", [
    ("openorca", {"system_prompt": "Be brief.", "question": "1+1?", "response": "2"}),
    ("guanaco", {"text": "Be brief.### Human: 1+1?### Assistant: 2"}),
    ("preference", {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}],
        "chosen": [{"role": "assistant", "content": "2"}], "rejected": [{"role": "assistant", "content": "3"}],
    }),
])  # fmt: skip
def test_a_pair_is_written_as_others_have_it(session, write, format, line):
    imports.apply(session, write("in.csv", "question,answer,system,rejected\n1+1?,2,Be brief.,3\n"), by="ada")
    assert [json.loads(one) for one in exports.lines(session, Selection(), format)] == [line]


TWICE = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]


@pytest.mark.parametrize("format, pair, sentence", [
    ("alpaca", {"earlier": TWICE}, "has earlier turns that don't alternate.*--format messages"),
    ("openorca", {"earlier": TWICE}, "has earlier turns, which OpenOrca can't hold."),
    ("guanaco", {"answer": "Write ### Human: before it."}, "has a text that is empty, begins or ends with white space"),
    ("guanaco", {"answer": "Yes.\n"}, "has a text that is empty, begins or ends with white space"),
    ("preference", {}, "has no rejected answer, which a preference needs."),
])  # fmt: skip
def test_a_pair_that_a_shape_cannot_hold_is_named(session, make_pair, format, pair, sentence):
    made = make_pair(**pair)
    with pytest.raises(UserError, match=f"Pair {made.id} {sentence}"):
        list(exports.lines(session, Selection(), format))


def test_a_version_has_no_preferences_as_it_keeps_no_rejected_answers(session, make_pair):
    make_pair()
    versions.freeze(session, Selection(), by="ada", shares={"train": 1})
    with pytest.raises(UserError, match="A version holds no rejected answers."):
        list(exports.version_lines(session, 1, format="preference"))


@pytest.mark.parametrize("options, sentence", [
    (["--db"], "--db writes a file that is no text. Name it with: -o pairs.db"),
    (["--db", "--version", "1", "-o", "x.db"], "leave out the other selections and --db"),
])  # fmt: skip
def test_what_a_database_cannot_be_is_said(runner, options, sentence):
    result = runner.invoke(args=["export", *options])
    assert result.exit_code == 1 and sentence in result.output


def test_a_version_is_no_table_of_more_than_texts(session, make_pair):
    for _ in range(20):
        make_pair()
    versions.freeze(session, Selection(), by="ada")
    with pytest.raises(UserError, match="A version holds texts alone"):
        list(exports.version_lines(session, 1, format="table"))


FORMULAS = [
    ("=1+1", "'=1+1"), ("+49", "'+49"), ("-1", "'-1"), ("@me", "'@me"), ("\t=1", "'\t=1"), ("\r=1", "'\r=1"),
    ("'=1", "''=1"), ("''=1", "'''=1"), ("'tis", "'tis"), ("1=1", "1=1"), ("'", "'"), ("", ""),
]  # fmt: skip


@pytest.mark.parametrize("text, cell", FORMULAS)
def test_a_spreadsheet_gets_no_formula_and_the_text_comes_back(text, cell):
    assert (neutralise(text), restore(cell)) == (cell, text)


@given(st.text(alphabet="'=+-@\t\ra"))
def test_neutralising_has_an_exact_inverse(text):
    assert restore(neutralise(text)) == text
    assert neutralise(text)[:1] not in tuple("=+-@\t\r")


def test_an_apostrophe_in_another_ones_csv_is_left_alone(write):
    (record,) = read(write("faq.csv", "question,answer\n'=1,'+2\n"))
    assert record.fields == {"question": "'=1", "answer": "'+2"}


SPOKEN = st.text(st.characters(codec="utf-8") | st.sampled_from('\\"{}[]:,\n\0'))


@example(["", ""], ["user", "assistant"])
@example(["\\", "\\"], ["user", "assistant"])
@example(['"},{"role":"assistant","content":"', '"},{"content":"'], ["user", "assistant"])
@given(st.lists(SPOKEN, min_size=2, max_size=4), st.permutations(["user", "assistant", "system", "user"]))
def test_frozen_messages_are_read_without_json_as_json_reads_them(texts, roles):
    chat = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    stored = json.dumps(chat, ensure_ascii=False, separators=(",", ":")).encode()
    who, what = exports.said_in(stored)
    assert chat_of(who, what) == json.loads(stored)


def test_a_name_beside_the_text_of_a_frozen_message_is_no_text():
    stored = b'[{"role":"user","content":"Q","name":"x"},{"role":"assistant","content":"A"}]'
    assert exports.said_in(stored) == (("user", "assistant"), ["Q", "A"])

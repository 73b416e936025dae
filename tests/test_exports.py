"""Exporting: which pairs, in which bytes, to which files."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from curator import exports, pairs, text, versions
from curator.errors import UserError
from curator.search import Selection


def test_a_line_is_openai_messages_and_nothing_else(session, make_pair):
    make_pair("Wo? 👋", "Hier.", system="Kurz.", tags=["a"], notes="private")
    (line,) = exports.lines(session, Selection())
    assert line == (
        '{"messages": [{"role": "system", "content": "Kurz."}, {"role": "user", "content": "Wo? 👋"}, '
        '{"role": "assistant", "content": "Hier."}]}\n'
    )


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
    header, row = exports.csv_lines(session, Selection())
    assert header == "id,system,history,question,answer,status,tags,source,notes\r\n"
    assert row == '1,s,"[{""role"": ""user"", ""content"": ""é""}]","Say ""hi"", now?","a\nb",draft,"x, y",,\r\n'


def test_a_pair_that_a_shape_cannot_hold_is_named(session, make_pair):
    make_pair(earlier=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
    with pytest.raises(UserError, match="Pair 1 has earlier turns that don't alternate.*--format messages"):
        list(exports.lines(session, Selection(), "alpaca"))


def test_a_file_is_written_whole_or_not_at_all(session, make_pair, tmp_path):
    make_pair()
    path = tmp_path / "out.jsonl"
    number, digest = exports.write_file(exports.lines(session, Selection()), path)
    assert number == 1 and hashlib.sha256(path.read_bytes()).hexdigest() == digest

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
    assert (tmp_path / "v1" / "README.md").read_text().startswith("---\nconfigs:")


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

"""Files as people have them: packed, mislabelled, cut short, broken in one place of a million."""

import bz2
import contextlib
import csv
import datetime
import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from decimal import Decimal
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator import formats
from curator.errors import UserError
from curator.formats import Record, Refusal

ROWS = [{"question": "Was heißt das?", "answer": "Grüße,\n„so“ 👋"}, {"question": "Two?", "answer": "2"}]


def fields_of(path, **options):
    """Return the fields of all records of a file; a refusal fails the test."""
    found = list(formats.read(path, **options))
    assert [record for record in found if isinstance(record, Refusal)] == []
    return [record.fields for record in found]


def refusals_of(path, **options):
    """Return the refusals of a file as line and reason."""
    return [(r.line, r.reason) for r in formats.read(path, **options) if isinstance(r, Refusal)]


def table(rows, delimiter=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def parquet(rows):
    out = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def zstd(data):
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as packed:
        packed.write(data)
    return out.getvalue().to_pybytes()


def zipped(*names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.spreadsheet")
    return out.getvalue()


KINDS = {
    "CSV, comma, UTF-8": table(ROWS),
    "CSV, semicolon, UTF-8": table(ROWS, ";"),
    "CSV, tab, UTF-8": table(ROWS, "\t"),
    "JSON array, UTF-8": json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
    "JSON lines, UTF-8": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "JSON objects, UTF-8": "\n".join(json.dumps(row, indent=1) for row in ROWS).encode(),
    "Parquet": parquet(ROWS),
}


@pytest.mark.parametrize("packing, pack", [("", bytes), (", gzip", gzip.compress), (", zstd", zstd)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_packed_or_not_whatever_it_is_called(write, kind, packing, pack):
    path = write("upload.dat", pack(KINDS[kind]))
    assert formats.read(path).kind == kind + packing
    assert fields_of(path) == ROWS


# Encodings


@pytest.mark.parametrize("encoding, kind", [
    ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16 LE"), ("utf-16-be", "UTF-16 BE"), ("utf-32", "UTF-32"),
])  # fmt: skip
def test_utf_16_and_32_are_found_with_and_without_a_mark(write, encoding, kind):
    path = write("faq.jsonl", '{"q": "Grüße 👋"}\n{"q": "zwei"}\n'.encode(encoding))
    assert formats.read(path).kind == f"JSON lines, {kind}"
    assert fields_of(path) == [{"q": "Grüße 👋"}, {"q": "zwei"}]


@pytest.mark.parametrize("encoding, text", [
    ("cp1252", "Où est le café ?,À côté de l’hôtel – voilà, c’est ça"),
    ("latin-1", "¿Qué hora es, señor?,Mañana a las tres. Está aquí, después del almuerzo"),
    ("cp1250", "Jak się masz?,Dziękuję świetnie. Żółć gęślą jaźń. Biblioteka obok kościoła"),
    ("cp1251", "Как вас зовут?,Меня зовут Иван. Библиотека открыта с девяти"),
    ("koi8-r", "Как вас зовут?,Меня зовут Иван. Библиотека открыта с девяти"),
    ("shift_jis", "図書館は何時に開きますか?,午前九時に開きます。月曜日は休みです"),
    ("gb18030", "图书馆几点开门?,上午九点开门。星期一休息"),
    ("big5", "圖書館幾點開門?,上午九點開門。星期一休息"),
    ("cp1253", "Τι ώρα ανοίγει;,Είναι τρεις η ώρα το απόγευμα. Καλημέρα"),
    ("cp1255", "מה השעה?,השעה שלוש אחר הצהריים. הספרייה פתוחה"),
    ("cp866", "Как вас зовут?,Меня зовут Иван. Библиотека открыта с девяти"),
])  # fmt: skip
def test_what_is_not_unicode_is_told_by_its_letters(write, encoding, text):
    question, answer = text.split(",", 1)
    path = write(
        "faq.csv", table([{"q": "plain?", "a": "ASCII"}, {"q": question, "a": answer}]).decode().encode(encoding)
    )
    assert fields_of(path)[1] == {"q": question, "a": answer}


def test_one_broken_byte_refuses_its_row_and_leaves_the_rest_utf_8(write):
    """It used to make the whole file Windows-1252: each ü of every other row became Ã¼."""
    path = write("faq.csv", "q,a\nfür?,größer\n".encode() + b"caf\xe9?,yes\n" + "süß?,ja\n".encode())
    good, bad, after = formats.read(path)
    assert good.fields == {"q": "für?", "a": "größer"} and after.fields["q"] == "süß?"
    assert bad.line == 3 and "holds the byte 0xE9" in bad.reason and "'caf�?yes'" in bad.reason


@pytest.mark.parametrize("name, content", [
    ("a.jsonl", '{"q": "für"}\n{"q": "ü'.encode() + b"\xff" + '"}\n{"q": "süß"}\n'.encode()),
    ("a.json", '[{"q": "für"},\n{"q": "ü'.encode() + b"\xff" + '"},\n{"q": "süß"}]'.encode()),
])  # fmt: skip
def test_a_broken_byte_in_json_refuses_its_object(write, name, content):
    path = write(name, content)
    assert [r.fields["q"] for r in formats.read(path) if isinstance(r, Record)] == ["für", "süß"]
    ((line, reason),) = refusals_of(path)
    assert line == 2 and "holds the byte 0xFF" in reason


def test_an_encoding_can_be_named_and_a_byte_it_lacks_is_refused(write):
    path = write("faq.csv", "q,a\nда?,нет\n".encode("cp1251") + b"\x98?,no\n")
    good, bad = formats.read(path, encoding="windows-1251")
    assert good.fields == {"q": "да?", "a": "нет"}
    assert bad.line == 3 and "0x98" in bad.reason


@pytest.mark.parametrize("options, sentence", [
    ({"encoding": "klingon"}, "There is no encoding 'klingon'. Name one as Python does: utf-8"),
    ({"encoding": "rot13"}, "There is no encoding 'rot13'"),
    ({"delimiter": "ab"}, "'ab' is no delimiter. Give one character, or comma, semicolon, tab or bar"),
    ({"delimiter": '"'}, "is no delimiter"),
    ({"split": "train"}, "--split is for a data set of the hub"),
])  # fmt: skip
def test_an_unknown_way_to_read_is_refused(write, options, sentence):
    with pytest.raises(UserError, match=sentence):
        formats.read(write("faq.csv", "q,a\n1,2\n"), **options)


# Tables


@pytest.mark.parametrize("content, dialect", [
    ("q,a\r\n1,x y\n2,x y\r3,x y\r\n", "comma"),  # mixed line ends
    ("\n\nq,a\n\n1,x y\n\n", "comma"),
    ("sep=;\nq;a\n1;x y\n", "semicolon"),
    ('"q, or so";a\n1;x y\n', "semicolon"),
    ("q|a\n1|x y\n", "bar"),
    ("q,a,,\n1,x y,,\n", "comma"),  # empty columns of a spreadsheet
    ('"q", "a"\n"1", "x y"\n', "comma, spaces after delimiters"),
    ("'q','a'\n'1','x y'\n", "comma, single quotes"),
])  # fmt: skip
def test_line_ends_delimiter_and_quoting_are_found(write, content, dialect):
    path = write("faq.csv", content)
    assert formats.read(path).kind == f"CSV, {dialect}, UTF-8"
    assert {fields["a"] for fields in fields_of(path)} == {"x y"}


def test_quotes_escaped_by_a_backslash_are_read(write):
    path = write("faq.csv", 'q,a\n"Say \\"hi\\", please","ok"\n')
    assert fields_of(path) == [{"q": 'Say "hi", please', "a": "ok"}]


def test_a_table_by_tab_without_quoting_keeps_its_quotes(write):
    path = write("faq.tsv", 'q\ta\nHow long?\t5" or so\n"Hi" he said\tok\n"So\tthere\nlast\tone\n')
    assert formats.read(path).kind == "CSV, tab, no quotes, UTF-8"
    assert fields_of(path)[1:3] == [{"q": '"Hi" he said', "a": "ok"}, {"q": '"So', "a": "there"}]


def test_one_broken_row_does_not_change_how_the_others_are_read(write):
    path = write("faq.csv", 'q,a\n one, two\n1, "x, y"\n')
    assert next(iter(formats.read(path))).fields == {"q": " one", "a": " two"}
    assert [line for line, _ in refusals_of(path)] == [3]
    path = write("faq.tsv", 'q\ta\n"x ""y"""\t2\n"Hi" he said\tok\n')
    assert next(iter(formats.read(path))).fields == {"q": 'x "y"', "a": "2"}
    assert [line for line, _ in refusals_of(path)] == [3]


def test_a_text_of_many_lines_that_breaks_off_is_not_taken_for_rows(write):
    path = write("faq.csv", 'q,a\n1,2\n3,"This text\nhas lines, one with a comma\nand no\nend')
    assert [record.line for record in formats.read(path)] == [2, 3]
    assert "all up to line 6 was taken as one text. Close it." in refusals_of(path)[0][1]


@pytest.mark.parametrize("delimiter", ["~", ";", "semicolon", "tab", "\\t", "BAR"])
def test_a_delimiter_can_be_named(write, delimiter):
    character = {"semicolon": ";", "tab": "\t", "\\t": "\t", "BAR": "|"}.get(delimiter, delimiter)
    path = write("faq.csv", f"q, or so{character}a\n1{character}2\n")
    assert fields_of(path, delimiter=delimiter) == [{"q, or so": "1", "a": "2"}]


def test_a_column_without_a_name_is_kept_by_its_number(write):
    assert fields_of(write("faq.csv", ",q,a,,b\n0,1,2,3,4\n")) == [
        {"column 1": "0", "q": "1", "a": "2", "column 4": "3", "b": "4"}
    ]


def test_json_and_formulas_in_a_cell_arrive_as_they_are(write):
    cells = [{"q": json.dumps([{"role": "user", "content": 'a "quote",\n'}]), "a": "=1+1"}]
    assert fields_of(write("faq.csv", table(cells))) == cells


def test_ragged_rows_are_refused_and_counted(write):
    path = write("faq.csv", "q,a\n1\n1,2\n1,2,3\n1,2,,\n")
    assert [line for line, _ in refusals_of(path)] == [2, 4]
    assert sum(isinstance(r, Record) for r in formats.read(path)) == 2


def test_a_cell_of_sixteen_megabytes_is_read_and_a_longer_one_refused(write):
    limit = 16 * 2**20
    path = write("faq.csv", f"q,a\nfits,{'x' * limit}\ntoo long,{'x' * (limit + 1)}\nlast,one\n")
    fits, too_long, last = formats.read(path)
    assert len(fits.fields["a"]) == limit and last.fields["q"] == "last"
    assert too_long.line == 3 and "more than 16 MB" in too_long.reason


def test_a_line_that_never_ends_is_refused_before_it_fills_the_memory(write):
    path = write("faq.jsonl", b'{"q": "' + b"x" * (65 * 2**20) + b'"}\n')
    with pytest.raises(UserError, match="faq.jsonl line 1 is longer than 64 MB"):
        list(formats.read(path))


# JSON


@pytest.mark.parametrize("line, reason", [
    ('{"n": ' + "9" * 10_000 + "}", "holds a number of 10,000 digits. Put quotes around it."),
    ('{"n": 1e999}', "holds the number 1e999, which is too large"),
    ('{"n": -Infinity}', "holds -Infinity, which is no JSON number"),
    ('{"n": ' + "[" * 101 + "]" * 101 + "}", "nested too deep: more than 100"),
    ("[" * 200 + "]" * 200, "nested too deep"),
    ('{"n": ' * 50_000, "nested too deep"),
    ('["a", "b"]', 'is ["a", "b"], not an object'),
    ('{"q": "cut', "is not JSON: unterminated string"),
])  # fmt: skip
def test_json_that_can_not_be_kept_is_refused_and_the_next_line_read(write, line, reason):
    first, bad, last = formats.read(write("a.jsonl", f'{{"q": "1"}}\n{line}\n{{"q": "3"}}\n'))
    assert bad.line == 2 and reason in bad.reason
    assert (first.fields, last.line) == ({"q": "1"}, 3)


@pytest.mark.parametrize("kind, content", [
    ("jsonl", '{"q": "fine \\ud83d\\ude00"}\n{"q": "x", "meta": {"k": ["nul \\u0000"]}}\n{"q": "\\ud83d alone"}\n'),
    ("csv", "q,meta\nfine 👋,\nx,nul \0\nx,\0\n"),
    ("parquet", parquet([{"q": "fine", "m": None}, {"q": "x", "m": ["nul \0"]}, {"q": "\0", "m": None}])),
])  # fmt: skip
def test_what_no_database_keeps_is_refused_in_any_column(write, kind, content):
    good, nul, other = formats.read(write("a." + kind, content))
    assert good.fields["q"].startswith("fine")
    assert nul.reason == "holds a NUL character near 'nul ␀'. Remove it."
    assert ("half of a surrogate pair" if kind == "jsonl" else "NUL") in other.reason


def test_a_number_that_can_not_be_kept_does_not_end_an_array(write):
    found = list(formats.read(write("a.json", '[{"q": 1},\n{"q": ' + "9" * 9_999 + '},\n{"q": 3}]')))
    assert [type(r) for r in found] == [Record, Refusal, Record] and "9,999 digits" in found[1].reason


def test_a_missing_value_of_pandas_is_null(write):
    assert fields_of(write("a.jsonl", '{"q": "x", "n": NaN, "m": null}\n')) == [{"q": "x", "n": None, "m": None}]


def test_an_array_is_read_with_its_lines_however_its_parts_fall_into_pieces(write, monkeypatch):
    monkeypatch.setattr("curator.formats.json.CHUNK_CHARACTERS", 1)
    values = [{"q": '\\ " 👩‍👩‍👧 \ud83d\ude00', "n": [1, -2.5e3, True, None]}, {"q": "x" * 50, "m": {"k": 123}}]
    for indent in (None, 3):
        path = write("a.json", json.dumps(values, indent=indent))
        assert fields_of(path) == json.loads(json.dumps(values))
    assert [record.line for record in formats.read(path)] == [2, 11]


@pytest.mark.parametrize("content, line, reason", [
    ('[{"q": 1},\n{"q": 2}', 2, "is where the file ends, but its list is not closed with ]"),
    ('[{"q": 1},\n{"q": 2', 2, "is not JSON from here on: expecting ',' delimiter"),
    ('[{"q": 1},\n{"q" 2}, {"q": 3}]', 2, "is not JSON from here on: expecting ':' delimiter, near"),
    ('[{"q": 1}]\nmore', 2, "is not JSON from here on: expecting value"),
    ('[{"q": 1},\n{"q": "' + "x" * 17 * 2**20, 2, "a text is longer than 16 MB"),
])  # fmt: skip
def test_an_array_that_breaks_off_says_where(write, content, line, reason):
    path = write("a.json", content)
    assert next(iter(formats.read(path))).fields == {"q": 1}
    assert refusals_of(path)[0][0] == line and reason in refusals_of(path)[0][1]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_inside_an_object_is_read_like_the_list_alone(write, indent):
    path = write("a.json", json.dumps({"version": '1" {[', "of": 1.5, "data": ROWS, "note": None}, indent=indent))
    assert fields_of(path) == ROWS
    assert formats.read(path).kind == "JSON array 'data' of an object, UTF-8"


@pytest.mark.parametrize("beside, line, reason", [
    ({"test": ROWS}, 3, "holds 'test' beside 'train', and only that list is read. Save each by itself."),
    ({"info": {"by": "Zoë"}}, 3, "holds 'info' beside 'train'"),
    ({}, 3, "is not JSON from here on: expecting value"),
])  # fmt: skip
def test_what_stands_beside_a_list_inside_an_object_is_never_passed_over_in_silence(write, beside, line, reason):
    rest = json.dumps(beside)[1:] if beside else "nonsense"
    path = write("a.json", f'{{"train":\n[{{"q": 1}}],\n{rest}')
    assert next(iter(formats.read(path))).fields == {"q": 1}
    assert refusals_of(path)[0][0] == line and reason in refusals_of(path)[0][1]


@pytest.mark.parametrize("wrap", ["[%s]", '{"rows": [%s]}'])
def test_an_array_on_one_line_may_be_longer_than_any_line(write, monkeypatch, wrap):
    """An array of 65 MB that was saved without line ends was refused: its first line is longer than a record may be."""
    monkeypatch.setattr("curator.formats.streams.MAX_RECORD_BYTES", 2**16)
    path = write("a.json", wrap % ", ".join(json.dumps({"q": n, "a": "x" * 100}) for n in range(2000)))
    assert [fields["q"] for fields in fields_of(path)] == list(range(2000))


def test_joined_files_are_read_through(write):
    mark = "\ufeff"
    assert fields_of(write("a.json", '[{"q": 1}]\n[{"q": 2}]')) == [{"q": 1}, {"q": 2}]
    assert fields_of(write("a.jsonl", f'{mark}{{"q": 1}}\n{mark}{{"q": 2}}\n')) == [{"q": 1}, {"q": 2}]


# Parquet


def test_parquet_gives_dates_decimals_and_lists_as_json_can_hold_them(write):
    row = {"q": "x", "day": datetime.date(2026, 1, 2), "cost": Decimal("1.50"), "tags": ["a"], "m": {"k": None},
           "score": float("nan"), "raw": b"bytes", "n": 2**62}  # fmt: skip
    (read,) = fields_of(write("a.parquet", parquet([row])))
    assert read == {"q": "x", "day": "2026-01-02", "cost": "1.50", "tags": ["a"], "m": {"k": None},
                    "score": None, "raw": "bytes", "n": 2**62}  # fmt: skip


def test_a_row_of_parquet_is_named_by_its_number(write):
    path = write("a.parquet", parquet([{"q": str(n)} for n in range(1, 1001)]))
    assert [(r.line, r.fields["q"]) for r in formats.read(path)] == [(n, str(n)) for n in range(1, 1001)]


@pytest.mark.parametrize("content, sentence", [
    (parquet(ROWS)[:-20], "a.parquet is a damaged Parquet file"),
    (b"PAR1", "a.parquet is a damaged Parquet file"),
    (parquet(ROWS)[:4] + b"\xff" * 60 + parquet(ROWS)[64:], "a.parquet is a damaged Parquet file"),
])  # fmt: skip
def test_damaged_parquet_is_refused(write, content, sentence):
    with pytest.raises(UserError, match=sentence):
        list(formats.read(write("a.parquet", content)))


# Packed files


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_packed_file_that_is_cut_short_or_damaged_is_refused(write, pack):
    """Half of a zstd file used to pass as a whole one in the library that most use."""
    packed = pack(os.urandom(2000).hex().encode())
    with pytest.raises(UserError, match="faq.csv.zst is cut short: it can't be unpacked"):
        formats.read(write("faq.csv.zst", packed[:-9]))
    with pytest.raises(UserError, match="can't be unpacked"):
        formats.read(write("faq.csv.zst", packed[:10] + b"\xff" * 50 + packed[60:]))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("line", [b"q,a\n", b'{"q": 1}\n', b"0"])
def test_a_bomb_is_refused_by_its_expanded_size(write, monkeypatch, pack, line):
    monkeypatch.setenv("CURATOR_MAX_EXPANDED", "5")
    path = write("bomb", pack(line * (6 * 2**20 // len(line))))
    tracemalloc.start()
    with pytest.raises(UserError, match="bomb expands to more than 5 MiB. If you trust it, raise CURATOR_MAX_EXPANDED"):
        formats.read(path)
    assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
    tracemalloc.stop()


def test_a_parquet_bomb_is_refused_too(write, monkeypatch):
    monkeypatch.setenv("CURATOR_MAX_EXPANDED", "1")
    path = write("a.parquet", parquet([{"q": f"{n:0200}"} for n in range(20_000)]))
    with pytest.raises(UserError, match="expands to more than 1 MiB"):
        formats.read(path)


packed = partial(gzip.compress, mtime=0)  # as the same bytes each time: they name the test


@pytest.mark.parametrize("content, sentence", [
    (packed(packed(b"q,a\n")), "is compressed twice"),
    (bz2.compress(b"q,a\n"), "is compressed with bzip2. Unpack it first with: bunzip2 x"),
    (packed(b"a" * 257 + b"ustar" + b"\0" * 300), "is a tar archive. Unpack it first with: tar xf x"),
    (packed(b""), "x is empty"),
    (zipped("pairs.csv"), "x is a zip archive. Unpack it first with: unzip x"),
    (zipped("[Content_Types].xml", "xl/workbook.xml"), "x is an Excel workbook. Save its sheet as CSV UTF-8"),
    (zipped("mimetype"), "x is a LibreOffice document. Save it as CSV"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "Fetch the file itself with: git lfs pull"),
    (b"\n<!DOCTYPE html>\n<html>", "x is a web page, perhaps saved in place of the file"),
])  # fmt: skip
def test_what_else_may_be_packed_is_told_how_to_unpack_it(write, content, sentence):
    with pytest.raises(UserError, match=sentence):
        formats.read(write("x", content))


# What is no file


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match="is a pipe or a device, not a file. Save it to a file first"):
            formats.read(path)


@pytest.mark.parametrize("name", ["nowhere.csv", "x" * 5000, "nul\0byte", "nowhere/at/all"])
def test_a_name_that_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="There is no file"):
        formats.read(tmp_path / name)


def test_a_file_that_nobody_lets_us_read_is_refused(write, tmp_path):
    path = write("secret.csv", "q,a\n1,2\n")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads it all the same, so the question is asked as nobody
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o755)
        ask = "import os, sys\nfrom curator import formats\nos.setuid(65534)\nformats.read(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", ask, path], capture_output=True, text=True, cwd=Path(__file__).parents[1]
        )
        said = done.stderr
    else:
        with pytest.raises(UserError) as error:
            formats.read(path)
        said = str(error.value)
    assert "secret.csv can't be read: Permission denied. Check who may read it." in said


# The hub, which a folder stands in for: there is no network in a test.


@pytest.fixture
def hub(tmp_path):
    """A data set of two splits."""
    folder = tmp_path / "faq"
    folder.mkdir()
    (folder / "train.jsonl").write_text(
        '{"question": "Wer?", "answer": "Ich"}\n{"question": "Wo?", "answer": "Hier"}\n'
    )
    (folder / "test.jsonl").write_text('{"question": "Wann?", "answer": "Jetzt"}\n')
    return f"hub:{folder}"


def test_a_data_set_of_the_hub_is_streamed(hub):
    reading = formats.read(hub)
    assert (reading.kind, reading.headers) == ("hub, split train", ["question", "answer"])
    for _ in range(2):
        assert [(r.line, r.fields["answer"]) for r in reading] == [(1, "Ich"), (2, "Hier")]
    assert [r.fields["answer"] for r in formats.read_hub(hub, "test")] == ["Jetzt"]


def test_the_command_imports_a_data_set_of_the_hub(runner, hub):
    result = runner.invoke(args=["import", hub, "--split", "test"])
    assert result.exit_code == 0, result.output
    assert "(hub, split test): 1 row, 1 added to main" in result.stdout


def test_what_the_hub_has_not_is_refused_in_one_sentence(hub, monkeypatch):
    with pytest.raises(UserError, match="has no split 'dev'. Choose with --split: train, test"):
        formats.read_hub(hub, "dev")
    with pytest.raises(UserError, match="can't be loaded: .*Check the name, the configuration and the network"):
        formats.read_hub(hub + "/nowhere")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        UserError, match=r"needs the library datasets. Install it with: pip install 'qa-curator\[train\]'"
    ):
        formats.read_hub(hub)


# Size and speed


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_memory_does_not_grow_with_the_file(write, kind):
    def peak(rows):
        line = {"csv": 'Question %d?,"Answer, é, %d."\n', "tsv": "Question %d?\tAnswer é %d.\n"}.get(kind)
        line = line or '{"q": "Question %d?", "a": "Answer é %d."}' + (",\n" if kind == "json" else "\n")
        start, end = {"csv": ("q,a\n", ""), "tsv": ("q\ta\n", ""), "json": ("[", "{}]")}.get(kind, ("", ""))
        path = write(f"{rows}.{kind}", start + "".join(line % (n, n) for n in range(rows)) + end)
        tracemalloc.start()
        count = sum(isinstance(record, Record) for record in formats.read(path))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == rows + (kind == "json")
        return used

    peak(100)  # what is imported on the way
    few, many = peak(40_000), peak(160_000)
    assert many < few * 1.2 and many < 8 * 2**20


@pytest.mark.parametrize("rows", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_one_broken_line_among_a_million_is_named_and_the_others_are_read(write, kind, rows):
    line, broken = {"csv": ("%d,yes\n", '"open,yes\n'), "jsonl": ('{"q": "%d", "a": "yes"}\n', '{"q": "open}\n')}[kind]
    lines = [line % n for n in range(rows)]
    lines[12_345] = broken
    path = write(f"million.{kind}", "".join(["q,a\n"] * (kind == "csv") + lines))
    good, bad = 0, []
    for record in formats.read(path):
        if isinstance(record, Record):
            good += 1
        else:
            bad.append(record.line)
    assert (good, bad) == (rows - 1, [12_346 + (kind == "csv")])


# What was written is read back, whatever it is. A table has no NUL; halves of surrogate pairs are no text.

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=30)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(st.tuples(TEXT, TEXT).filter(any), min_size=1, max_size=5), st.sampled_from(",;\t|"))
def test_what_the_csv_module_wrote_is_read_back(tmp_path, rows, delimiter):
    rows = [{"question": question, "answer": answer} for question, answer in rows]
    path = tmp_path / "a.csv"
    path.write_bytes(table(rows, delimiter))
    assert fields_of(path, encoding="utf-8") == rows
    path.write_bytes(gzip.compress(table(rows, delimiter)))
    assert fields_of(path, encoding="utf-8") == rows


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@quick
@given(
    st.lists(st.dictionaries(TEXT, JSON, max_size=4), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_what_the_json_module_wrote_is_read_back(tmp_path, rows, ascii_only, indent, encoding):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=indent), encoding, newline="")
    assert fields_of(path, encoding=encoding) == rows
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    path.write_text(lines, encoding, newline="")
    assert fields_of(path, encoding=encoding) == rows


@quick
@given(st.binary(max_size=60), st.sampled_from(list(KINDS.values())), st.integers(0, 200), st.booleans())
def test_whatever_the_bytes_a_file_is_read_or_refused_and_never_crashes(tmp_path, bytes_, content, at, is_packed):
    spoilt = content[:at] + bytes_ + content[at + len(bytes_) :]
    path = tmp_path / "a.dat"
    path.write_bytes(gzip.compress(spoilt) if is_packed else spoilt)
    with contextlib.suppress(UserError):
        assert all(isinstance(record, Record | Refusal) for record in formats.read(path))

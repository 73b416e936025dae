"""Converting: any file that is read, into any shape and kind that is written, without a database."""

import io
import json

import pyarrow.parquet
import pytest

CHAT = [{"role": "user", "content": "Wo? 👋"}, {"role": "assistant", "content": "=Hier"}]


def test_a_csv_becomes_messages_on_standard_output(runner, home, library):
    (home / "curator.db").unlink()
    result = runner.invoke(args=["convert", str(library), "-"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["messages"][0]["content"] for line in lines] == [
        "How long can I keep a book?", "What does a lost card cost?", "May I bring my dog?",
    ]  # fmt: skip
    assert result.stderr == "library.csv (CSV, comma, UTF-8): 3 pairs.\n"
    assert not (home / "curator.db").exists()


@pytest.mark.parametrize("name, first", [
    ("out.jsonl", b'{"instruction": "Wo? \xf0\x9f\x91\x8b", "input": "", "output": "=Hier"}\n'),
    ("out.csv", b"instruction,input,output,system,history\r\nWo? \xf0\x9f\x91\x8b,,'=Hier,,\r\n"),
])  # fmt: skip
def test_the_ending_of_the_target_says_what_kind_it_is(runner, write, tmp_path, name, first):
    source = write("in.jsonl", json.dumps({"messages": CHAT}) + "\n")
    assert runner.invoke(args=["convert", str(source), name, "--to", "alpaca"]).exit_code == 0
    assert (tmp_path / "work" / name).read_bytes() == first


def test_a_parquet_file_and_a_table_are_written_too(runner, library):
    assert runner.invoke(args=["convert", str(library), "out.parquet", "--to", "table"]).exit_code == 0
    row = pyarrow.parquet.read_table("out.parquet").to_pylist()[0]
    assert (row["_pair"], row["tags"], row["source"]) == (2, ["Loans"], "desk")


def test_a_csv_of_ours_comes_back_to_the_byte(runner, write, tmp_path):
    source = write("in.jsonl", json.dumps({"messages": CHAT}, ensure_ascii=False) + "\n")
    for format in ("messages", "qa", "table"):
        assert runner.invoke(args=["convert", str(source), "middle.csv", "--to", format]).exit_code == 0
        assert runner.invoke(args=["convert", "middle.csv", "back.jsonl"]).exit_code == 0
        assert (tmp_path / "work" / "back.jsonl").read_bytes() == source.read_bytes()


def test_what_is_refused_is_named_and_nothing_is_written(runner, write, tmp_path):
    source = write("faq.csv", "q,a\nGood?,yes\nBad?,\n")
    for target in ("out.jsonl", "-"):
        result = runner.invoke(args=["convert", str(source), target])
        assert result.exit_code == 1 and result.stdout == ""
        assert "Error: faq.csv line 3 has an empty answer" in result.stderr
        assert "1 of 2 rows were refused, so nothing was written." in result.stderr
    assert list((tmp_path / "work").iterdir()) == []
    result = runner.invoke(args=["convert", str(source), "-", "--skip-refused"])
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 1
    assert "faq.csv line 3 has an empty answer" in result.stderr and "1 refused and left out" in result.stderr


def test_a_shape_that_cannot_hold_a_chat_refuses_its_line(runner, write):
    source = write("in.jsonl", json.dumps({"messages": [{"role": "user", "content": "Hello?"}, *CHAT]}) + "\n")
    result = runner.invoke(args=["convert", str(source), "out.jsonl", "--to", "alpaca"])
    assert result.exit_code == 1 and "in.jsonl line 1 has earlier turns that don't alternate" in result.output


@pytest.mark.parametrize("arguments, sentence", [
    (["nowhere.csv", "-"], "There is no file nowhere.csv"),
    (["nowhere.csv", "out.xlsx"], "out.xlsx ends in none of .jsonl, .csv, .parquet."),
    (["nowhere.csv", "-", "--map", "answer"], "--map answer names no column"),
])  # fmt: skip
def test_what_can_be_put_right_is_said(runner, home, arguments, sentence):
    result = runner.invoke(args=["convert", *arguments])
    assert result.exit_code == 1 and f"Error: {sentence}" in result.output


def test_the_shape_the_encoding_and_the_delimiter_of_the_source_can_be_named(runner, write):
    both = {"messages": CHAT, "prompt": "2+2?", "completion": "4"}
    source = write("both.jsonl", json.dumps(both) + "\n")
    result = runner.invoke(args=["convert", str(source), "-", "--from-shape", "prompt-completion", "--to-shape", "qa"])
    assert json.loads(result.stdout) == {"question": "2+2?", "answer": "4"}
    source = write("faq.txt", "q#a\nÜber?#Ja, über\n".encode("cp1250"))
    result = runner.invoke(args=["convert", str(source), "-", "--encoding", "cp1250", "--delimiter", "#", "--to", "qa"])
    assert json.loads(result.stdout) == {"question": "Über?", "answer": "Ja, über"}


def test_a_table_that_fits_no_shape_is_refused_once_and_not_row_by_row(runner, write):
    result = runner.invoke(args=["convert", str(write("faq.csv", "Frage,a\n1,2\n3,4\n")), "-"])
    assert result.exit_code == 1 and result.stderr.count("faq.csv has no column for the question") == 1
    assert "line" not in result.stderr


def test_columns_can_be_named(runner, write):
    source = write("faq.csv", "Frage,Antwort\nWo?,Hier\n")
    result = runner.invoke(args=["convert", str(source), "-", "--map", "question=Frage", "--map", "answer=Antwort"])
    assert json.loads(result.stdout)["messages"][1]["content"] == "Hier"


def post(client, name, content, **form):
    """Upload a file to be converted."""
    return client.post("/convert/", data={"file": (io.BytesIO(content), name), **form}, buffered=True)


def test_the_page_sends_an_upload_back_in_another_shape(client, library):
    answer = post(client, "library.csv", library.read_bytes(), to="alpaca", kind="csv")
    assert answer.status_code == 200 and "library-alpaca.csv" in answer.headers["Content-Disposition"]
    assert answer.data.startswith(b"instruction,input,output,system,history\r\nHow long can I keep a book?,")
    assert answer.content_length == len(answer.data)


def test_the_page_names_what_it_cannot_use(client):
    answer = post(client, "faq.csv", b"Frage,a\nGood?,yes\nBad?,\n", question="Frage")
    assert answer.status_code == 400 and b"faq.csv line 3 has an empty answer" in answer.data
    answer = post(client, "faq.csv", b"Frage,a\nGood?,yes\nBad?,\n", question="Frage", skip_refused="1")
    assert answer.data.count(b"\n") == 1
    assert client.post("/convert/", data={}).status_code == 400
    form = {"question": "Frage", "delimiter": "|", "encoding": "cp1252", "from": "qa", "to": "qa"}
    assert json.loads(post(client, "f.txt", "Frage|a\nÖl?|ja\n".encode("cp1252"), **form).data)["question"] == "Öl?"
    assert b"can&#39;t be read as" in post(client, "f.csv", b"q,a\n1,2\n", **{"from": "excel"}).data

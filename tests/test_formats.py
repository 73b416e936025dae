"""Reading files: what arrives, with its line, and what is refused and why."""

import json

import pytest

from curator import formats
from curator.errors import UserError
from curator.formats import Record, Refusal, Refusals, find_columns, to_line, to_row


def rows_of(path):
    """Read a file to its rows and refusals, as an import does."""
    reading = formats.read(path)
    found = []
    for record in reading:
        is_chat = isinstance(record, Record) and "messages" in record.fields
        columns = None if isinstance(record, Refusal) or is_chat else find_columns(record.fields)
        found.append(record if isinstance(record, Refusal) else to_row(record, columns))
    return found


def test_a_csv_gives_a_row_a_line_with_the_line_it_begins_on(write):
    path = write("faq.csv", 'Question,Answer\n"Two\nlines?",Yes\nOne?,No\n')
    assert [(r.line, r.question, r.answer) for r in rows_of(path)] == [(2, "Two\nlines?", "Yes"), (4, "One?", "No")]


@pytest.mark.parametrize("content, kind", [
    ("q,a\nWas heißt das?,Grüße\n".encode(), "CSV, comma, UTF-8"),
    ("q,a\nWas heißt das?,Grüße\n".encode("utf-8-sig"), "CSV, comma, UTF-8 with a byte order mark"),
    ("q;a\nWas heißt das?;Grüße\n".encode("cp1252"), "CSV, semicolon, Windows-1252"),
    ("q\ta\nWas heißt das?\tGrüße\n".encode("utf-16"), "CSV, tab, UTF-16"),
    ("q,a\r\nWas heißt das?,Grüße\r\n".encode("latin-1"), "CSV, comma, Windows-1252"),
])  # fmt: skip
def test_encoding_and_delimiter_are_found(write, content, kind):
    path = write("faq.csv", content)
    assert formats.read(path).kind == kind
    assert [(r.question, r.answer) for r in rows_of(path)] == [("Was heißt das?", "Grüße")]


def test_a_latin_1_byte_late_in_a_long_file_is_still_found(write):
    path = write("long.csv", b"q,a\n" + (b"who?," + 200 * b"me " + b"\n") * 2_600 + b"caf\xe9?,yes\n")
    assert rows_of(path)[-1].question == "café?"


def test_a_row_with_a_stray_comma_is_refused_with_its_line_and_the_surplus(write):
    path = write("fruits.csv", "question,answer\nWhat is 2+2?,4\nName three fruits,apple, pear, fig\n")
    good, bad = rows_of(path)
    assert good.answer == "4"
    assert bad == Refusal(3, "has 4 fields, the header has 2: 'pear' is one too many. "
                             "Put quotes around a text that holds a comma.")  # fmt: skip


def test_a_quote_that_is_never_closed_is_named_and_does_not_swallow_the_rows_below(write):
    """It used to take the rest of the file for one text: with --skip-refused, all of it was left out."""
    bad, good = rows_of(write("faq.csv", 'q,a\n"open,here\nmore,text\n'))
    assert bad.line == 2 and "opens a quote that is never closed, near '\"open,here'" in bad.reason
    assert (good.line, good.question) == (3, "more")


def test_a_cell_of_two_megabytes_is_read_whole(write):
    answer = "long " * 400_000
    (row,) = rows_of(write("faq.csv", f'q,a\nHow long?,"{answer}"\n'))
    assert row.answer == answer


def test_a_broken_json_line_is_refused_and_the_others_are_read(write):
    path = write("pairs.jsonl", '{"q":"1?","a":"1"}\n\n{"q":"2?","a":\n{"q":"3?","a":"3"}\n')
    one, two, three = rows_of(path)
    assert (one.answer, three.line, three.answer) == ("1", 4, "3")
    assert two.line == 3 and two.reason.startswith("is not JSON: expecting value at column")


@pytest.mark.parametrize("line, reason", [
    ('["a","b"]', "not an object"),
    ('{"q":"","a":"x"}', "has an empty question"),
    ('{"q":"x","a":"  "}', "has an empty answer"),
    ('{"q":"x","a":{"b":1}}', "has an object as its answer"),
    ('{"q":"x","a":"nul \\u0000 here"}', "holds a NUL character"),
    ('{"q":"x","a":"\\ud83d alone"}', "half of a surrogate pair"),
    ('{"messages":[]}', "messages that are not a list"),
    ('{"messages":[{"role":"user","content":"x"}]}', "so it has no answer"),
    ('{"messages":[{"role":"assistant","content":"x"}]}', "no question before"),
    ('{"messages":[{"role":"tool","content":"x"}]}', "has the role 'tool' in message 1"),
    ('{"messages":[{"role":"user","content":null},{"role":"assistant","content":"x"}]}', "no text in message 1"),
    ("[" * 100_000, "nested too deep"),
])  # fmt: skip
def test_a_line_that_is_no_pair_says_why(write, line, reason):
    good = '{"q":"fine?","a":"yes","messages":null}' if "messages" not in line else (
        '{"messages":[{"role":"user","content":"fine?"},{"role":"assistant","content":"yes"}]}'
    )  # fmt: skip
    path = write("pairs.jsonl", good.replace(',"messages":null', "") + "\n" + line + "\n")
    assert reason in rows_of(path)[1].reason


@pytest.mark.parametrize("name, content, sentence", [
    ("empty.csv", b"", "empty.csv is empty"),
    ("blank.csv", b"\n \n", "blank.csv is empty"),
    ("mark.csv", b"\xef\xbb\xbf", "mark.csv is empty"),
    ("mark.csv", b"\xff\xfe", "mark.csv is empty"),
    ("photo.csv", bytes(range(256)) * 50, "photo.csv is not a text file"),
    ("sheet.xlsx", b"PK\x03\x04....", "sheet.xlsx is a zip archive. Unpack it first with: unzip sheet.xlsx"),
    ("pairs.jsonl.bz2", b"BZh91AY", "is compressed with bzip2. Unpack it first with: bunzip2 pairs.jsonl.bz2"),
    ("twice.csv", b"q,a,a\n1,2,3\n", "more than one column called 'a'. Give each"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(write, name, content, sentence):
    with pytest.raises(UserError, match=sentence):
        formats.read(write(name, content))


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    with pytest.raises(UserError, match="There is no file nowhere.csv"):
        formats.read(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match="is a folder. Name the files in it"):
        formats.read(tmp_path)


def test_nul_bytes_in_a_cell_refuse_the_row_and_nothing_else(write):
    content = b"q,a\nfine?,yes\nbad?,n\0o\n" + b"more?,of this\n" * 20
    found = rows_of(write("faq.csv", content))
    assert "NUL" in found[1].reason and len(found) == 22 and found[2].question == "more?"


def test_a_json_array_is_read_with_the_line_of_each_object(write):
    one = '{"instruction": "Add.",\n   "input": "1 2", "output": "3"}'
    other = '{"instruction": "Hi", "input": "", "output": "Hello"}'
    path = write("alpaca.json", f"[\n  {one},\n  {other}\n]\n")
    assert [(r.line, r.question, r.answer) for r in rows_of(path)] == [
        (2, "Add.\n\n1 2", "3"), (4, "Hi", "Hello"),
    ]  # fmt: skip


def test_chat_messages_keep_the_system_message_and_all_earlier_turns(write):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"},
    ]  # fmt: skip
    (row,) = rows_of(write("chat.jsonl", json.dumps({"messages": chat}) + "\n"))
    assert (row.system, row.question, row.answer) == ("Be brief.", "2+2?", "4")
    assert row.history == tuple(chat[1:3])


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(UserError, match="has no column for the answer. It has: Question, Reply. .*--map answer=COLUMN"):
        find_columns(["Question", "Reply"])
    assert find_columns(["Question", "Reply"], {"answer": "Reply"}).answer == "Reply"


CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Grüß dich 👋"}, {"role": "assistant", "content": "Hallo"},
    {"role": "user", "content": "Was\nist 2+2?"}, {"role": "assistant", "content": "„4“"},
]  # fmt: skip


@pytest.mark.parametrize("format, line", [
    ("messages", {"messages": CHAT}),
    ("prompt-completion", {"prompt": CHAT[:-1], "completion": CHAT[-1:]}),
    ("alpaca", {"instruction": "Was\nist 2+2?", "input": "", "output": "„4“", "system": "Be kind.",
                "history": [["Grüß dich 👋", "Hallo"]]}),
    ("sharegpt", {"conversations": [
        {"from": "system", "value": "Be kind."}, {"from": "human", "value": "Grüß dich 👋"},
        {"from": "gpt", "value": "Hallo"}, {"from": "human", "value": "Was\nist 2+2?"},
        {"from": "gpt", "value": "„4“"}]}),
    ("qa", {"question": "Was\nist 2+2?", "answer": "„4“", "system": "Be kind.", "history": CHAT[1:3]}),
])  # fmt: skip
def test_each_shape_holds_the_whole_pair(format, line):
    written = to_line(CHAT, format)
    assert json.loads(written) == line
    assert written.endswith("}\n") and "👋" in written and written.count("\n") == 1


@pytest.mark.parametrize("join", ["\n".join, lambda chats: f"[{', '.join(chats)}]"])
@pytest.mark.parametrize("count", [1, 3])
def test_bare_lists_of_turns_are_conversations(write, join, count):
    chat = '[{"role": "user", "content": "Open?"}, {"role": "assistant", "content": "Yes."}]'
    read = rows_of(write("chats.jsonl", join([chat] * count)))
    assert [(row.question, row.answer) for row in read] == [("Open?", "Yes.")] * count


def test_refusals_are_counted_by_reason_and_the_first_lines_are_named():
    refused = Refusals()
    for line in range(2, 9):
        refused.add(Refusal(line, "has an empty answer."))
    for line in range(9, 1500):
        refused.add(Refusal(line, f"is {line}, not an object."))
    said = list(refused.sentences("faq.csv"))
    assert said[:2] == [
        "faq.csv line 2 has an empty answer. (Also: 3, 4, 5 and 3 more.)", "faq.csv line 9 is 9, not an object.",
    ]  # fmt: skip
    assert (len(said), said[-1]) == (11, "… and 1,482 more.")
    assert (len(refused), len(refused.first)) == (1498, 1000)

"""Near-duplicates in large files: read in pieces, found the same by one process and by a cluster of Ray."""

import csv
import gzip
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import corpus
from curator import minhash
from curator.errors import UserError
from curator.formats import pieces
from curator.minhash import engine, files, signatures
from curator.minhash.plan import Plan

COPIES = [
    {"question": "When does the library open?", "answer": "It opens at nine in the morning."},
    {"question": "How do I renew a book?", "answer": "Use the web page, or ask at the desk."},
    {"question": "WHEN does the library open?", "answer": "It opens at nine in the morning!"},
]


def write_lines(path, rows):
    packing = gzip.open if path.suffix == ".gz" else open
    with packing(path, "wt", encoding="utf-8") as file:
        file.writelines(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    return str(path)


def write_parquet(path, rows, group=1000):
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return str(path)


def report(*paths, threshold=0.8, automatic=0.9, **options):
    return [tuple(row.values()) for row in files.search(paths, threshold, **options).report(automatic)]


@pytest.fixture
def rows():
    return [{"question": f"Question {i} é" * (i % 4 + 1), "answer": f"Answer {i}"} for i in range(500)]


@pytest.mark.parametrize("size", [10, 333, 1000, 1 << 26])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_pieces_of_any_size_hold_each_row_once(tmp_path, monkeypatch, rows, name, size):
    monkeypatch.setattr(pieces, "PIECE_BYTES", size)
    path = (write_parquet if name.endswith("parquet") else write_lines)(tmp_path / name, rows)
    cut = pieces.cut([path])
    assert [pair for piece in cut for pair in pieces.read(piece)] == [tuple(row.values()) for row in rows]
    assert len(cut) > 1 or name.endswith("gz") or size > 1000 or name.endswith("parquet")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_some_rows_of_a_piece_can_be_asked_for(tmp_path, monkeypatch, rows, name):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    path = (write_parquet if name.endswith("parquet") else write_lines)(tmp_path / name, rows)
    piece = pieces.cut([path])[-1]
    there = list(pieces.read(piece))
    wanted = random.Random(1).sample(range(len(there)), len(there) // 3)
    assert list(pieces.read(piece, sorted(wanted))) == [there[row] for row in sorted(wanted)]


def test_a_line_that_is_none_counts_as_a_line_and_holds_no_pair(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [COPIES[0], "\n", "no json\n", "[1]\n", '{"x": 1}\n', COPIES[2]])
    found = files.search([path], 0.8)
    assert [(row["line"], row["kept_line"]) for row in found.report(0.9)] == [(6, 1)]
    assert found.empty == 4 and found.rows.tolist() == [6]


def test_every_shape_is_read(tmp_path):
    chat = {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]}
    alpaca = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
    lines = write_lines(tmp_path / "a.jsonl", [chat, alpaca])
    nested = write_parquet(tmp_path / "a.parquet", [chat])
    assert [pair for piece in pieces.cut([lines, nested]) for pair in pieces.read(piece)] == [
        ("Hi?", "Hello."), ("Add.\n\n1 and 2", "3"), ("Hi?", "Hello."),
    ]  # fmt: skip


def test_a_folder_a_glob_and_an_address_name_files_each_once(tmp_path):
    first, second = (write_lines(tmp_path / name, COPIES) for name in ("b.jsonl", "a.jsonl"))
    (tmp_path / "_SUCCESS").touch()
    named = [str(tmp_path), str(tmp_path / "*.jsonl"), f"file://{first}"]
    assert [piece.path for piece in pieces.cut(named)] == [second, first]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone/*.parquet", None, "There is no file"),
        ("a.jsonl", '{"name": "x"}\n', "has no columns for a question and an answer. It has: name"),
        ("a.csv", "question,answer\nA,B\n", "neither Parquet nor JSON lines. Convert it with: flask convert"),
        ("a.parquet", "PAR1 and no more", "damaged or gone"),
        ("a.jsonl.gz", "no gzip", "damaged or gone"),
        ("a.jsonl", "", "There is no row"),
    ],
)
def test_what_can_not_be_read_is_refused_in_a_sentence(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        files.search([str(tmp_path / name)], 0.8)


def test_an_address_of_no_store_is_refused():
    with pytest.raises(UserError, match="carrier-pigeon://loft/a.jsonl can't be read"):
        pieces.cut(["carrier-pigeon://loft/a.jsonl"])


@pytest.mark.parametrize("options", [{"field": "title"}, {"engine": "spark"}, {"threshold": 2}, {"shingle": "x"}])
def test_what_makes_no_sense_is_refused(tmp_path, options):
    path = write_lines(tmp_path / "a.jsonl", COPIES)
    with pytest.raises(UserError, match="There is no|is not between"):
        report(path, **options)


def test_the_first_of_the_files_named_first_stays(tmp_path):
    reviewed = write_lines(tmp_path / "reviewed.jsonl", COPIES[2:])
    scraped = write_parquet(tmp_path / "scraped.parquet", COPIES[:2])
    assert report(reviewed, scraped) == [(scraped, 1, "drop", reviewed, 1, 1.0, "")]
    assert report(scraped, reviewed) == [(reviewed, 1, "drop", scraped, 1, 1.0, "")]


def test_what_differs_in_a_fact_is_for_a_person_to_judge(tmp_path):
    other = {"question": "When does the library open?", "answer": "It opens at ten in the morning."}
    path = write_lines(tmp_path / "a.jsonl", [COPIES[0], other])
    ((_, line, act, _, kept, similarity, fact),) = report(path, threshold=0.7, automatic=0.7)
    assert (line, kept, act, fact) == (2, 1, "review", "another number: nine / ten") and similarity < 1


def test_the_command_reports_the_lines_of_files_without_a_database(runner, home):
    (home / "curator.db").unlink()
    for name, rows in (("good.jsonl", COPIES[:2]), ("more.jsonl", COPIES)):
        write_lines(home.parent / "work" / name, rows)
    done = runner.invoke(args=["duplicates", "good.jsonl", "*.jsonl", "--report", "alike.csv"])
    assert done.exit_code == 0, done.output
    assert "3 rows of 5 can go, and 0 more are alike from 0.75 on" in done.stderr
    with open("alike.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(Path(row["file"]).name, row["line"], row["act"], row["kept_line"]) for row in rows] == [
        ("more.jsonl", "1", "drop", "1"), ("more.jsonl", "3", "drop", "1"), ("more.jsonl", "2", "drop", "2"),
    ]  # fmt: skip
    assert {Path(row["kept_file"]).name for row in rows} == {"good.jsonl"}
    assert not list(home.glob("*.db"))


def test_the_command_prints_what_is_alike_or_json(runner, home):
    write_lines(home.parent / "work" / "a.jsonl", COPIES)
    shown = runner.invoke(args=["duplicates", "a.jsonl"])
    assert shown.stdout.split()[:2] == ["drop", "1.00"] and "a.jsonl:3  like" in shown.stdout
    (row,) = json.loads(runner.invoke(args=["duplicates", "a.jsonl", "--json"]).stdout)
    assert (row["line"], row["act"], row["kept_line"]) == (3, "drop", 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "ray"], "Ray searches files. Name them"),
        (["a.jsonl", "--resolve", "keep-best"], "--resolve is for pairs of the database"),
        (["a.jsonl", "--address", "10.0.0.1:6379"], "Use it with: --engine ray"),
    ],
)
def test_what_is_not_for_files_is_refused_with_them(runner, home, words, message):
    done = runner.invoke(args=["duplicates", *words])
    assert done.exit_code == 1 and message in done.output


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray cluster of two machines with a processor each, both of them this one."""
    ray = pytest.importorskip("ray", reason="pip install 'qa-curator[ray]'")
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False,
            "_system_config": {"num_workers_soft_limit": 8},
        },
    )  # fmt: skip
    nodes.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield nodes.address
    ray.shutdown()
    nodes.shutdown()


def test_where_both_fields_must_match_the_tasks_of_the_cluster_count_each(tmp_path):
    ray = pytest.importorskip("curator.minhash.ray")
    unlike = COPIES[0] | {"answer": "That depends on the day, so look at the door, or call us before you come."}
    cut = pieces.cut([write_lines(tmp_path / "a.jsonl", [*COPIES, unlike])])
    plan = Plan(cut, "both", 0.8, minhash.choose(0.8))
    met = pa.table({"left": [0, 0], "right": [2, 3]})
    (texts,) = ray.take(ray.need(met, plan), plan)
    assert ray.score(texts, plan).to_pylist() == [{"left": 0, "right": 2, "jaccard": 1.0, "fact": None}]


def test_a_band_that_too_many_share_is_compared_with_the_nearest_and_that_is_said(monkeypatch):
    ray = pytest.importorskip("curator.minhash.ray")
    plan, looks = Plan([], "pair", 0.8, minhash.choose(0.8)), np.zeros((100, 3), np.uint64)
    crowd = pa.table({"band": [7] * 100, "id": range(100), "look": ray.packed(looks)})
    assert len(ray.meet(crowd, plan)) == 100 * 99 // 2 and not len(ray.cuts(ray.meet(crowd, plan)))
    monkeypatch.setattr(engine, "MOST_MEETINGS", 0)
    near = ray.meet(crowd, plan)
    assert 0 < len(near) <= 8 * 100 + 1 and len(ray.cuts(near)) == 1


def test_what_shares_a_band_and_looks_otherwise_is_no_candidate():
    ray = pytest.importorskip("curator.minhash.ray")
    plan, other = Plan([], "pair", 0.8, minhash.choose(0.8)), np.uint64(signatures.LOWER)
    looks = np.array([[0, 0, 0], [0, 0, 1], [other, other, other]], np.uint64)
    rows = pa.table({"band": [7] * 3, "id": range(3), "look": ray.packed(looks)})
    assert ray.meet(rows, plan).to_pylist() == [{"left": 0, "right": 1}]


def test_a_cluster_that_is_not_there_is_missed_at_once(tmp_path):
    """Ray itself waits for ever, and says so every five seconds."""
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="no Ray cluster at 127.0.0.1:9: .*refused. Start one with: ray start --head"):
        report(write_lines(tmp_path / "a.jsonl", COPIES), engine="ray", address="127.0.0.1:9")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # it warns of itself
def test_two_machines_find_what_one_process_finds(tmp_path, monkeypatch, cluster):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 100_000)
    rows = [{"question": question, "answer": answer} for question, answer in corpus.generate(2000).pairs]
    rows[700:700] = [rows[3]] * 300
    half = len(rows) // 2
    parquet = write_parquet(tmp_path / "a.parquet", rows[:half], group=100)
    lines = write_lines(tmp_path / "b.jsonl", [*rows[half:], "no json\n"])
    one = files.search([parquet, lines], 0.8)
    two = files.search([parquet, lines], 0.8, engine="ray", address=cluster)
    assert len(two.pieces) >= 8 and two.similar.complete
    assert list(two.report(0.9)) == list(one.report(0.9))
    assert len(list(two.report(0.9))) > 500
    for name in ("left", "right", "jaccard", "copy_of"):
        assert np.array_equal(getattr(two.similar, name), getattr(one.similar, name)), name
    assert two.empty == one.empty == 1 and two.rows.tolist() == one.rows.tolist()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_a_file_that_is_damaged_within_is_named_by_a_machine_of_the_cluster(tmp_path, cluster):
    path = tmp_path / "a.parquet"
    write_parquet(path, COPIES * 1000)
    data = path.read_bytes()
    path.write_bytes(data[:20] + bytes(200) + data[220:])
    with pytest.raises(UserError, match="a.parquet is damaged or gone"):
        files.search([str(path)], 0.8, engine="ray", address=cluster)

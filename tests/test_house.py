"""The plan of the house, held: who may import whom, and what stays out of memory until it is needed."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the ground up. A room imports from lower floors, and from its own where that makes no circle.
CURATOR = (
    ("errors", "words", "settings", "text", "disk", "turns", "models"),
    ("database", "formats", "minhash", "vectors", "neighbours", "bitmaps", "staging", "history", "charts")
    + ("language", "private", "flags", "checking"),
    ("accounts", "pairs", "search", "bulk", "duplicates", "imports", "cleaning", "quality", "queue", "versions")
    + (
        "exports",
        "publishing",
        "signals",
        "runs",
        "reports",
        "training",
        "reviews",
        "lineage",
        "comparing",
        "tokens",
        "backups",
    ),
    ("jobs",),
    ("views", "cli"),
    ("curator",),
)
NOUNS, DOORS = CURATOR[2], CURATOR[4]
# `flask export` in any folder names no app, so the commands make their own; no other arrow runs up.
UPWARDS = {("curator.cli.door", "curator")}
TRAINER = (
    ("trainer",),
    ("ranks",),
    ("config", "environment", "hub", "batches", "rates", "schedules", "machine"),
    ("dataset", "model", "shards", "base", "record", "checkpoints", "tokenizer", "architecture", "memory", "finished")
    + ("attention", "losses"),
    ("plan", "measures", "signals", "report"),
    ("run", "preparing", "training", "arguments", "chance", "watch", "train_losses", "preference", "find_rate")
    + ("evaluate", "sample", "embed"),
    ("again", "compare", "on_ray", "release", "chat", "serve"),
    ("cli",),
    ("__main__",),
)
# Each takes from a tenth of a second to ten seconds to import.
HEAVY = {
    "altair",
    "datasets",
    "datasketch",
    "ftfy",
    "huey",
    "markdown_it",
    "numba",
    "numpy",
    "pandas",
    "py3langid",
    "peft",
    "pyarrow",
    "pyroaring",
    "ray",
    "regex",
    "scipy",
    "sentence_transformers",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "usearch",
    "vl_convert",
}
# Whole modules that only functions import: their loops are compiled, or are about arrays from top to bottom.
LATE = {
    f"curator.minhash.{name}"
    for name in ("aligning", "engine", "fallback", "kernels", "ray", "reference", "shingles", "signatures")
}
LATE |= {f"curator.minhash.kernels.{name}" for name in ("compiling", "folding", "pairs", "texts")}
LATE |= {f"curator.bitmaps.{name}" for name in ("field", "index", "rows")}
LATE |= {"curator.search.lines", "curator.search.sets"}
LATE |= {"curator.versions.counting"}
LATE |= {"curator.vectors", *(f"curator.vectors.{name}" for name in ("embedding", "near", "store"))}
FOREIGN = {
    "curator": {"trainer", "torch", "sentence_transformers"},
    "trainer": {"curator", "flask", "sqlalchemy", "alembic"},
}

Imports = Mapping[str, set[str]]


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(tree: ast.AST, *, inside_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements below `tree`: in branches too, and in functions if asked."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node, inside_functions=inside_functions)


def read_imports(package: Path, *, inside_functions: bool = True) -> dict[str, set[str]]:
    """Map each module of `package` to the modules its source names, found or not."""
    root = package.parent
    paths = {module_name(path, root): path for path in sorted(package.rglob("*.py"))}
    imports: dict[str, set[str]] = {}
    for name, path in paths.items():
        names = imports[name] = set()
        parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in statements(ast.parse(path.read_text("utf-8")), inside_functions=inside_functions):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            else:
                source = resolve_name("." * node.level + (node.module or ""), parent)
                # "from curator import pairs" means the module curator.pairs where there is one.
                members = {f"{source}.{alias.name}" for alias in node.names}
                names |= members & paths.keys()
                if members - paths.keys():
                    names.add(source)
    return imports


def room(module: str) -> str:
    """Return the room a module lies in: "views" of curator.views.pairs, "curator" of curator itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def opens(module: str, name: str) -> bool:
    """Return whether one door may import another: the package gathers all, and what all share is in its `door`."""
    return module == name.rpartition(".")[0] or name.endswith(".door")


def faults(imports: Imports, floors: tuple[tuple[str, ...], ...]) -> list[str]:
    """Return, as sentences, every import of one package that breaks the plan."""
    floor = {name: level for level, names in enumerate(floors) for name in names}
    homeless = [module for module in imports if room(module) not in floor]
    if homeless:
        return [f"{module} has no floor" for module in homeless]

    found = []
    ours = {
        module: {name for name in names if name in imports and (module, name) not in UPWARDS}
        for module, names in imports.items()
    }
    for module, names in ours.items():
        here = room(module)
        for name in sorted(names):
            there = room(name)
            if floor[there] > floor[here]:
                found.append(f"{module} imports {name}, from a floor above")
            elif here in NOUNS and there in NOUNS and NOUNS.index(there) > NOUNS.index(here):
                found.append(f"{module} imports {name}, a noun to its right")
            elif here in DOORS and there in DOORS and not (here == there and opens(module, name)):
                found.append(f"{module} imports {name}, another door")
    try:
        graphlib.TopologicalSorter(ours).prepare()
    except graphlib.CycleError as error:
        found.append("a circle: " + ", ".join(sorted(set(error.args[1]))))
    return found


def trespasses(imports: Imports, forbidden: set[str]) -> list[str]:
    """Return, as sentences, every import of a top-level package that is forbidden here."""
    return [
        f"{module} imports {name}"
        for module, names in imports.items()
        for name in sorted(names)
        if name.partition(".")[0] in forbidden
    ]


@pytest.mark.parametrize(("package", "floors"), [("curator", CURATOR), ("trainer", TRAINER)])
def test_no_import_runs_up_and_there_is_no_circle(package: str, floors: tuple[tuple[str, ...], ...]):
    imports = read_imports(ROOT / package)
    arrows = sum(name in imports for names in imports.values() for name in names)
    assert len(imports) >= 8 and arrows >= len(imports), "too little was read to say anything"
    assert faults(imports, floors) == []


@pytest.mark.parametrize("package", ["curator", "trainer"])
def test_the_two_programs_share_files_only(package: str):
    imports = read_imports(ROOT / package)
    assert {name.partition(".")[0] for names in imports.values() for name in names} >= {package, "json"}
    assert trespasses(imports, FOREIGN[package]) == []


def test_curator_loads_heavy_libraries_only_inside_the_functions_that_need_them():
    at_once = {m: names for m, names in read_imports(ROOT / "curator", inside_functions=False).items() if m not in LATE}
    assert trespasses(at_once, HEAVY) == []
    assert [(module, name) for module, names in at_once.items() for name in names & LATE] == []


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "import curator"),
        ("-m", "flask", "--help"),
        ("-m", "flask", "export", "--help"),
        ("-m", "trainer", "--help"),
        ("-m", "trainer", "run", "--help"),
        ("-m", "trainer", "embed", "--help"),
    ],
    ids=" ".join,
)
def test_help_comes_before_the_heavy_libraries(command: tuple[str, ...]):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert loaded & {"curator", "trainer"}
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    ("module", "imported", "fault"),
    [
        ("curator.formats.files", "curator.cli", "from a floor above"),
        ("curator.pairs", "curator", "from a floor above"),
        ("curator.pairs", "curator.views.pairs", "from a floor above"),
        ("curator.pairs", "curator.versions", "a noun to its right"),
        ("curator.cli.versions", "curator.views.pairs", "another door"),
        ("curator.cli.versions", "curator.views.door", "another door"),
        ("curator.views.pairs", "curator.views.runs", "another door"),
        ("curator.text", "curator.models", "a circle: curator.models, curator.text"),
    ],
)
def test_the_check_finds_a_planted_fault(module: str, imported: str, fault: str):
    plan: dict[str, set[str]] = {
        "curator": {"curator.views", "curator.cli"},
        "curator.cli": {"curator.cli.versions", "curator.cli.door"},
        "curator.cli.versions": {"curator.cli.door", "curator.pairs", "curator.versions"},
        "curator.cli.door": {"curator", "click"},
        "curator.views": {"curator.views.pairs", "curator.views.runs"},
        "curator.views.pairs": {"curator.pairs", "curator.views.door", "flask"},
        "curator.views.runs": {"curator.views.door"},
        "curator.views.door": {"flask"},
        "curator.versions": {"curator.pairs"},
        "curator.pairs": {"curator.formats.files", "curator.models"},
        "curator.formats.files": {"curator.text", "csv"},
        "curator.models": {"curator.text"},
        "curator.text": {"re"},
    }
    assert faults(plan, CURATOR) == []
    plan[module].add(imported)
    assert any(fault in sentence for sentence in faults(plan, CURATOR))


def test_the_check_finds_a_room_that_has_no_place_in_the_plan():
    assert faults({"curator.utils": set()}, CURATOR) == ["curator.utils has no floor"]


def test_every_way_to_write_an_import_is_read(tmp_path: Path):
    package = tmp_path / "curator"
    (package / "views").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "pairs.py").touch()
    (package / "text.py").touch()
    (package / "views" / "pairs.py").write_text(
        "import curator.text\n"
        "from curator import pairs\n"
        "from .. import text as words, SHELF\n"
        "try:\n    from ..pairs import add\nexcept ImportError:\n    import yaml\n"
        "def figure():\n    import altair.vegalite\n"
    )
    read = read_imports(package)["curator.views.pairs"]
    assert read == {"curator", "curator.pairs", "curator.text", "yaml", "altair.vegalite"}
    assert trespasses({"curator.views.pairs": read}, HEAVY) == ["curator.views.pairs imports altair.vegalite"]
    assert "altair.vegalite" not in read_imports(package, inside_functions=False)["curator.views.pairs"]

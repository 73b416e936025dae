"""What is shipped is whole: the wheel, built from the sdist, works in a fresh environment and any folder."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Where each folder of a checkout lies in the wheel.
PLACES = {
    "curator": "curator",
    "trainer": "trainer",
    "templates": "curator/templates",
    "static": "curator/static",
    "migrations": "curator/migrations",
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command and return what it printed; where it fails, fail with what it said."""
    # The checkout must not lend a hand: neither its folder nor what the tests run with.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FLASK", "CURATOR"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=inherited | environment, capture_output=True, text=True
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which nothing was built before: setuptools ships again what an earlier egg-info lists."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in PLACES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    """The wheel as a user gets it: built from the sdist, not from the checkout."""
    run(sys.executable, "-m", "build", "--no-isolation", checkout, cwd=checkout)
    return next(checkout.glob("dist/*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment that holds the wheel, no extra, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    install = ("-m", "pip", "--python", scripts / "python", "install", "--quiet", "--no-compile")
    run(sys.executable, *install, "--constraint", ROOT / "constraints.txt", wheel, cwd=folder)
    return scripts


def test_the_wheel_holds_the_files_of_the_packages_and_no_others(checkout: Path, wheel: Path):
    expected = {
        f"{place}/{file.relative_to(checkout / name).as_posix()}"
        for name, place in PLACES.items()
        for file in (checkout / name).rglob("*")
        if file.is_file()
    }
    assert {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == expected


def test_the_loop_starts_in_a_fresh_environment_and_an_unrelated_folder(scripts: Path, tmp_path: Path):
    (tmp_path / "questions.csv").write_text("question,answer\nWhat is 2+2?,4\nWhat is 3+3?,6\n")
    home = {"CURATOR_HOME": str(tmp_path / "home")}
    run(scripts / "flask", "init-db", cwd=tmp_path, **home)
    run(scripts / "flask", "import", "questions.csv", cwd=tmp_path, **home)
    lines = run(scripts / "flask", "export", "--jsonl", cwd=tmp_path, **home).splitlines()
    assert [json.loads(line)["messages"][-1]["content"] for line in lines] == ["4", "6"]

    visit = (
        "from curator import create_app\n"
        "client = create_app().test_client()\n"
        "page = client.get('/pairs/', follow_redirects=True)\n"
        "sheet = client.get('/static/tokens.css')\n"
        "print(page.status_code, 'What is 3+3?' in page.text, sheet.status_code, sheet.mimetype)"
    )
    assert run(scripts / "python", "-c", visit, cwd=tmp_path, **home) == "200 True 200 text/css\n"


def test_the_web_app_needs_no_torch(scripts: Path, tmp_path: Path):
    search = "import importlib.util as u; print([n for n in ('curator', 'trainer', 'torch') if u.find_spec(n)])"
    assert run(scripts / "python", "-c", search, cwd=tmp_path) == "['curator', 'trainer']\n"


def test_the_trainer_gives_its_help_where_torch_is_not_installed(scripts: Path, tmp_path: Path):
    assert "usage: " in run(scripts / "python", "-m", "trainer", "--help", cwd=tmp_path)

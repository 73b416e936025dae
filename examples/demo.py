"""The whole loop on the example data, for `make demo`. Knows commands and the files they leave, no more.

Everything is kept in instance/demo. What an earlier demo left there is set aside, never deleted.
"""

import json
import os
import shlex
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HOME = Path("instance/demo")
DATA, RUN = f"{HOME}/export/", f"{HOME}/runs/library"
SHOWN_LINES = 10
SHOWN_SAMPLES = 3
LONGEST_TEXT = 300
# Of evaluation.json: the word for people, and how its number is written.
MEASURES = {
    "perplexity": ("perplexity, lower is better", "{:.1f}"),
    "rougeL": ("ROUGE-L", "{:.2f}"),
    "token_f1": ("token F1", "{:.2f}"),
    "exact_match": ("word for word the reference", "{:.0%}"),
    "repetition": ("repeats itself", "{:.0%}"),
    "truncated": ("does not come to an end", "{:.0%}"),
}
seconds: dict[str, float] = {}


def main() -> None:
    os.chdir(ROOT)
    set_aside(HOME)
    print(f"Once around the loop, with the questions of a town library. All of it is kept in {HOME}.\n")

    run("import", "flask", "import", "examples/library.csv", "--skip-refused")
    run("duplicates", "flask", "duplicates", "--resolve", "keep-best")
    run("clean", "flask", "clean", "--rule", "html", "--rule", "whitespace", "--rule", "boilerplate")
    run("freeze", "flask", "freeze")
    run("export", "flask", "export", "--version", "1", "-o", DATA)
    run("train", "trainer", "run", DATA, "-o", RUN)
    run("import-run", "flask", "import-run", RUN)

    show_measures(json.loads(Path(RUN, "evaluation.json").read_text("utf-8")))
    show_samples([json.loads(line) for line in Path(RUN, "samples.jsonl").read_text("utf-8").splitlines()])
    stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items())
    print(f"{sum(seconds.values()):.0f} seconds in all: {stages}.\n")
    print(f"Now rate what the model says:\n\n  make serve CURATOR_HOME={HOME}\n")
    print("and open http://127.0.0.1:5000/review/")


def set_aside(home: Path) -> None:
    """Move what an earlier demo left to before-<n>/; the base model stays, as it takes a minute to make."""
    home.mkdir(parents=True, exist_ok=True)
    earlier = [path for path in home.iterdir() if path.name != "base" and not path.name.startswith("before-")]
    if earlier:
        shelf = home / f"before-{1 + sum(1 for _ in home.glob('before-*'))}"
        shelf.mkdir()
        for path in earlier:
            path.rename(shelf / path.name)
        print(f"The demo before this one is kept in {shelf}.")


def run(stage: str, module: str, *arguments: str) -> None:
    """Show a command, run it, and show what it says. Where it fails, its own error is the last word."""
    # Training takes a minute and says on standard error how it gets on; what came of it is shown at the end.
    is_training = module == "trainer"
    print(f"$ {'python -m ' if is_training else ''}{shlex.join([module, *arguments])}", flush=True)
    began = time.perf_counter()
    environment = os.environ | {"CURATOR_HOME": str(HOME.absolute())}
    environment.pop("DATABASE_URL", None)  # the demo keeps to its own folder, wherever the user's rows are
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=None if is_training else subprocess.STDOUT,
        encoding="utf-8",
    )
    seconds[stage] = time.perf_counter() - began
    if done.returncode:
        print(done.stdout, end="")
        sys.exit(1)
    lines = [] if is_training else done.stdout.splitlines()
    if len(lines) > SHOWN_LINES:
        lines[SHOWN_LINES - 3 : -2] = [f"… {len(lines) - SHOWN_LINES + 1} lines more"]
    print(textwrap.indent("\n".join(lines), "  "), end="\n\n" if lines else "\n", flush=True)


def show_measures(evaluation: dict[str, Any]) -> None:
    """Show base beside tuned, on the questions that were kept from training."""
    base, tuned = evaluation["test"]["base"], evaluation["test"]["tuned"]
    print(f"{evaluation['n']} questions kept from training{'base':>18}{'tuned':>10}\n")
    for key, (name, form) in MEASURES.items():
        print(f"  {name:<40}{form.format(base[key]):>8}{form.format(tuned[key]):>10}")
    print()


def show_samples(samples: list[dict[str, Any]]) -> None:
    """Show what base and tuned answer to the first questions, under the answer of the library."""
    answers: dict[str, dict[str, str]] = {}
    for sample in samples:
        lines = answers.setdefault(sample["fingerprint"], {})
        lines["question"] = sample["messages"][-1]["content"]
        lines["library"] = sample["reference"]
        lines[sample["model"]] = sample["text"]
    for lines in list(answers.values())[:SHOWN_SAMPLES]:
        for name in ("question", "library", "base", "tuned"):
            text = textwrap.shorten(lines[name], LONGEST_TEXT, placeholder=" …") or "(nothing)"
            print(textwrap.fill(text, 100, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12))
        print()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

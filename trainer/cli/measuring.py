"""What looks at runs that are done: evaluate, sample, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.cli.door import Commands, add_command, add_run
from trainer.environment import prepare_environment

EVALUATE_HELP = """\
Measure base and tuned again, and a previous run beside them, on the same test lines: those that the run held out, or
others. Lines that one of the runs was trained on are left out. With its own lines evaluation.json is written anew.

  python -m trainer evaluate runs/wren --previous runs/kestrel
  python -m trainer evaluate runs/wren --data questions.jsonl
"""

SAMPLE_HELP = """\
Let a run answer prompts: those of its test lines, or a file's. A sweep answers them with every combination of values
and prints how many answers each leaves cut off, repetitive, echoing, empty or templated. The same prompt has the same
seed in a run, so that it gets the same answer whatever is asked beside it.

  python -m trainer sample runs/kestrel --preset creative
  python -m trainer sample runs/kestrel --prompts questions.txt --sweep temperature=0,0.7,0.9 top_p=0.9,1
"""

COMPARE_HELP = """\
Lay runs side by side on the prompts that all of them were asked: the measures of their answers with intervals, and each
answer word by word beside that of the first run. Reads files alone: no model is loaded.

  python -m trainer compare runs/kestrel runs/wren
"""


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        evaluate,
        "evaluate",
        help="measure base, a previous run and a run on the same test lines",
        description=EVALUATE_HELP,
    )
    add_run(parser)
    parser.add_argument("--data", type=Path, help="other lines: a .jsonl file, or an exported folder's test split")
    parser.add_argument("--previous", metavar="RUN", type=Path, help="a run to compare with, on the same lines")
    parser.add_argument("--json", action="store_true", help="print the content of evaluation.json")
    parser = add_command(
        commands,
        sample,
        "sample",
        help="let a run answer prompts, with other decodings",
        description=SAMPLE_HELP,
    )
    add_run(parser)
    parser.add_argument("--prompts", metavar="FILE", type=Path, help="a question a line, or .jsonl; else the run's own")
    parser.add_argument("--preset", choices=["greedy", "creative"], default="greedy",
                        help="greedy: likeliest token; creative: temperature 0.9, top-k 30, top-p 0.95")  # fmt: skip
    parser.add_argument("--sweep", metavar="NAME=VALUES", nargs="+", default=[],
                        help="temperature, top_k, top_p or repetition_penalty, with values between commas")  # fmt: skip
    parser.add_argument("--model", choices=["tuned", "base"], default="tuned", help="who answers (default: tuned)")
    parser.add_argument("--json", action="store_true", help="print the answers as lines of samples.jsonl")
    parser = add_command(
        commands,
        compare,
        "compare",
        help="lay the answers of runs side by side, word by word",
        description=COMPARE_HELP,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs, the first to compare with")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def evaluate(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer import measures
    from trainer.again import evaluate_again

    found = evaluate_again(arguments["run"], arguments["data"], arguments["previous"])
    print(json.dumps(found, ensure_ascii=False, indent=2) if arguments["json"] else "\n".join(measures.table(found)))


def sample(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.again import sample as answer_all
    from trainer.sample import PRESETS, sample_lines, table, vary

    sweep = vary(PRESETS[arguments["preset"]], arguments["sweep"])
    asked, found, config = answer_all(arguments["run"], arguments["prompts"], sweep, arguments["model"])
    if arguments["json"]:
        for each in found:
            for line in sample_lines(asked, {arguments["model"]: each.answers}, config, each.decoding):
                print(json.dumps(line, ensure_ascii=False))
    elif len(found) > 1:
        print("\n".join(table([(each.decoding, each.scores) for each in found])))
    else:
        for example, answer in zip(asked, found[0].answers, strict=True):
            cut = " […]" if answer.finish == "length" else ""
            print(f"> {example.question}\n{answer.text}{cut}\n")


def compare(arguments: dict[str, Any]) -> None:
    from trainer.compare import compare as lay
    from trainer.compare import in_words

    found = lay(arguments["runs"])
    words = (
        json.dumps(found.as_json(), ensure_ascii=False, indent=2) if arguments["json"] else "\n".join(in_words(found))
    )
    print(words)

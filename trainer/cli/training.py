"""What trains, what is asked before, and who is told: run, plan, find-lr, resume, report."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from trainer import UserError, machine, ranks
from trainer.cli.door import Commands, add_command, add_options, add_run, add_token, at_least_one
from trainer.config import CONFIG_FILE, make_config
from trainer.environment import prepare_environment

RUN_HELP = f"""\
Fine-tune a base on exported pairs: a frozen, 4-bit base with a LoRA adapter (QLoRA), on the CPU or a GPU.
Measures base and tuned on the test lines and lets both answer the same prompts.

  flask export --version 1 -o exports/library/
  python -m trainer run exports/library/ -o runs/library

Each option is also a key of {CONFIG_FILE} in the current folder, such as: learning_rate = 2e-4
"""

PLAN_HELP = f"""\
Say what a run would do, and what speaks against it: faults of the data with their lines, what is trained and what is
left out, the chat template, memory, time and disk on this machine. Nothing is trained and no weight is read.
The options are those of run, and keys of {CONFIG_FILE}. The exit code is 1 where the run could not be done so.

  python -m trainer plan exports/library/
  python -m trainer plan exports/library/ --base mistralai/Mistral-7B-Instruct-v0.3 --quantisation none
  python -m trainer plan exports/library/ --show 17
"""

FIND_LR_HELP = """\
Train a throw-away adapter for 80 steps, each with a higher learning rate than the one before, and suggest the rate
at which the loss falls well before it rises. The curve is written to lr.json in the run's folder; nothing is kept of
the adapter. The options are those of run; the learning rate asked for is left aside. A run into the same folder keeps
the curve, and its page shows it.

  python -m trainer find-lr exports/library/ --base models/mine -o runs/library
"""

RESUME_HELP = """\
Go on with a run from its newest whole checkpoint: the numbers are those of a run never stopped.

  python -m trainer resume runs/kestrel
"""

REPORT_HELP = """\
Send a run to Curator on another machine: what it has not got yet, in pieces that may come twice, and what is added
while the run is at work. run and resume do it by themselves with --report-to. Data and checkpoints stay here.

  CURATOR_TOKEN=… python -m trainer report runs/kestrel --report-to http://127.0.0.1:5000
"""


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        run,
        "run",
        help="fine-tune a base on exported pairs",
        description=RUN_HELP,
        # Texts are checked with the file's values in one place, so nothing is converted or defaulted here.
        argument_default=argparse.SUPPRESS,
    )
    add_options(parser)
    add_launcher(parser)
    add_token(parser)
    parser = add_command(
        commands,
        plan,
        "plan",
        help="say what a run would do, and whether this machine can",
        description=PLAN_HELP,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--show",
        metavar="LINE",
        help="show line LINE of the data, or FILE:LINE, token by token; -: a line from standard input",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON, with all lines named")
    add_options(parser)
    parser = add_command(
        commands,
        find_lr,
        "find-lr",
        help="find a learning rate by a short run that raises it step by step",
        description=FIND_LR_HELP,
        argument_default=argparse.SUPPRESS,
    )
    add_options(parser)
    parser = add_command(
        commands,
        resume,
        "resume",
        help="go on with a run that was stopped, killed or failed",
        description=RESUME_HELP,
    )
    add_run(parser)
    add_launcher(parser)
    parser.add_argument("--report-to", metavar="URL", help="of a Curator (default: where the run was reported to)")
    add_token(parser)
    parser = add_command(
        commands,
        report,
        "report",
        help="send a run to Curator on another machine",
        description=REPORT_HELP,
    )
    add_run(parser)
    parser.add_argument("--report-to", metavar="URL", required=True, help="of a Curator, such as http://127.0.0.1:5000")
    add_token(parser)
    parser.add_argument("--follow", action="store_true", help="go on until standard input ends, as run does it")


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Let a command be done in processes on a Ray cluster."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="train on a Ray cluster: HOST:PORT, auto, or local: one on this machine; all paths on storage they share",
    )
    parser.add_argument(
        "--workers", metavar="N", type=at_least_one, help="processes on the Ray cluster; unset: one for each GPU"
    )


def plan(arguments: dict[str, Any]) -> None:
    wants_json = arguments.pop("json", False)
    place = arguments.pop("show", None)
    config = make_config(arguments, arguments.pop("config", None))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # here nothing else wants the cores
    prepare_environment()
    from trainer.plan import make, show

    if place is not None:
        view, renderer = show(config, place)
        print_view(view, renderer, as_json=wants_json)
        return
    if not wants_json:  # at once, and in a pipe too: a million lines take minutes
        print("Reading and tokenising the lines ...", flush=True)
    made = make(config)
    print(json.dumps(made.as_json(), ensure_ascii=False, indent=2) if wants_json else "\n".join(made.lines()))
    if made.stops:
        sys.stdout.flush()
        raise UserError(made.stops[0].words)


def find_lr(arguments: dict[str, Any]) -> None:
    config = make_config(arguments, arguments.pop("config", None))
    prepare_environment()
    from trainer.find_rate import curve, find

    folder, found = find(config)
    print("\n".join(curve(found)))
    print(f"\nThe curve is in {folder}/lr.json. Train with: --learning-rate {found['suggestion']:g}")


def run(arguments: dict[str, Any]) -> None:
    token = arguments.pop("token", None)
    address, workers = launcher(arguments)
    config = make_config(arguments, arguments.pop("config", None))
    if address:
        from trainer import on_ray

        print_results(on_ray.run(config, address, workers, token))
        return
    take_one_gpu()
    from trainer.run import run as run_once

    record = run_once(config, token)
    if ranks.is_first():
        print_results(record.folder)


def resume(arguments: dict[str, Any]) -> None:
    address, workers = launcher(arguments)
    if address:
        from trainer import on_ray

        reported = {name: arguments[name] for name in ("report_to", "token")}
        print_results(on_ray.resume(arguments["run"], address, workers, reported))
        return
    take_one_gpu()
    from trainer.run import resume as go_on

    record = go_on(arguments["run"], arguments["report_to"], arguments["token"])
    if ranks.is_first():
        print_results(record.folder)


def report(arguments: dict[str, Any]) -> None:
    from trainer import report as room

    folder, follows = arguments["run"], arguments["follow"]
    to = room.destination(arguments["report_to"], arguments["token"], asks=not follows)
    assert to  # --report-to is required
    print(f"{folder} is at {(room.follow if follows else room.report)(folder, to)}")


def take_one_gpu() -> None:
    """Prepare the environment of one process, and say how to have more of them where they would find work."""
    gpus = machine.count_gpus() if ranks.count() == 1 else 1
    prepare_environment()
    if words := machine.words_of_idle_gpus(gpus, sys.argv[1:]):
        print(words, file=sys.stderr)


def launcher(arguments: dict[str, Any]) -> tuple[str | None, int | None]:
    """Take out of what was typed where Ray is to be asked, and for how many processes. Raises UserError."""
    address, workers = arguments.pop("ray", None), arguments.pop("workers", None)
    if workers and not address:
        raise UserError(
            "--workers is for a Ray cluster: name one with --ray. On this machine there is: accelerate launch"
        )
    return address, workers


def print_view(view: Any, renderer: Any, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(view.as_json() | {"notes": renderer.notes}, ensure_ascii=False, indent=2))
        return
    print(view.in_words(colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
    for note in renderer.notes:
        print(f"Note: {note}")


def print_results(folder: Path) -> None:
    """Print base beside tuned, where the run is kept, and what to do next."""
    from trainer import measures

    evaluation = json.loads((folder / "evaluation.json").read_text("utf-8"))
    print("\n".join(measures.table(evaluation)))
    print(f"\nThe run is in {folder}/. Bring it into Curator with: flask import-run {folder}")

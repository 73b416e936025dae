"""The command line of the trainer, python -m trainer. Translates only; torch comes where it is needed."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from trainer import Stopped, UserError
from trainer.config import CONFIG_FILE, RunConfig, make_config, option_type

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
the adapter. The options are those of run; the learning rate asked for is left aside.

  python -m trainer find-lr exports/library/ --base models/mine -o runs/library-lr
"""

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

MERGE_HELP = """\
Put the adapter of a run into its base, in bf16 or fp32: one model of safetensors, which any program reads.
It is checked before the folder has its name: that the base is the one it was trained on, that the logits on
held-out lines are those of base and adapter, and that its tokenizer asks with the token ids of the training.

  python -m trainer merge runs/library -o models/library
  python -m trainer merge runs/library -o models/library --push hub:ada/library
  python -m trainer merge runs/library -o models/library --check
"""

EMBED_HELP = """\
Turn texts into vectors, so that texts that say the same in other words are found.
TEXTS is JSON lines: {"id": 1, "text": "How long can I keep a book?"}. Beside the vectors a .json says
which model made them. What was ended goes on where it was with the same command.

  python -m trainer embed texts.jsonl -o vectors.npy
  python -m trainer embed texts.jsonl -o vectors.npy --model models/my-encoder
"""


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as every other fault that the user can mend: one line, exit code 1."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}. See: {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m trainer", description="Fine-tune a language model on exported pairs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="fine-tune a base on exported pairs",
        description=RUN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Texts are checked with the file's values in one place, so nothing is converted or defaulted here.
        argument_default=argparse.SUPPRESS,
    )
    add_options(run)
    plan = commands.add_parser(
        "plan",
        help="say what a run would do, and whether this machine can",
        description=PLAN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    plan.add_argument(
        "--show",
        metavar="LINE",
        help="show line LINE of the data, or FILE:LINE, token by token; -: a line from standard input",
    )
    plan.add_argument("--json", action="store_true", help="print everything as JSON, with all lines named")
    add_options(plan)
    find_lr = commands.add_parser(
        "find-lr",
        help="find a learning rate by a short run that raises it step by step",
        description=FIND_LR_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add_options(find_lr)
    resume = commands.add_parser(
        "resume",
        help="go on with a run that was stopped, killed or failed",
        description="Go on with a run from its newest whole checkpoint: the numbers are those of a run never stopped.",
    )
    resume.add_argument("run", metavar="RUN", type=Path, help="the folder of the run, such as runs/kestrel")
    evaluate = commands.add_parser(
        "evaluate",
        help="measure base, a previous run and a run on the same test lines",
        description=EVALUATE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("run", metavar="RUN", type=Path, help="the folder of the run, such as runs/kestrel")
    evaluate.add_argument("--data", type=Path, help="other lines: a .jsonl file, or an exported folder's test split")
    evaluate.add_argument("--previous", metavar="RUN", type=Path, help="a run to compare with, on the same lines")
    evaluate.add_argument("--json", action="store_true", help="print the content of evaluation.json")
    sample = commands.add_parser(
        "sample",
        help="let a run answer prompts, with other decodings",
        description=SAMPLE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sample.add_argument("run", metavar="RUN", type=Path, help="the folder of the run, such as runs/kestrel")
    sample.add_argument("--prompts", metavar="FILE", type=Path, help="a question a line, or .jsonl; else the run's own")
    sample.add_argument("--preset", choices=["greedy", "creative"], default="greedy",
                        help="greedy: likeliest token; creative: temperature 0.9, top-k 30, top-p 0.95")  # fmt: skip
    sample.add_argument("--sweep", metavar="NAME=VALUES", nargs="+", default=[],
                        help="temperature, top_k, top_p or repetition_penalty, with values between commas")  # fmt: skip
    sample.add_argument("--model", choices=["tuned", "base"], default="tuned", help="who answers (default: tuned)")
    sample.add_argument("--json", action="store_true", help="print the answers as lines of samples.jsonl")
    compare = commands.add_parser(
        "compare",
        help="lay the answers of runs side by side, word by word",
        description=COMPARE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs, the first to compare with")
    compare.add_argument("--json", action="store_true", help="print all of it as JSON")
    merge = commands.add_parser(
        "merge",
        help="make one model of base and adapter, checked",
        description=MERGE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    merge.add_argument("run", metavar="RUN", type=Path, help="the folder of the run, such as runs/kestrel")
    merge.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="the folder to make")
    merge.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16", help="of the weights (default: bf16)")
    merge.add_argument("--base", metavar="BASE", help="where the base of the run is now, if it was moved")
    merge.add_argument("--ollama", action="store_true", help="write a Modelfile that asks as the training did")
    merge.add_argument("--gguf", action="store_true", help="convert it for llama.cpp too, by llama.cpp's converter")
    merge.add_argument("--llama-cpp", metavar="FOLDER", type=Path, help="where llama.cpp is (default: on the PATH)")
    merge.add_argument("--push", metavar="hub:OWNER/NAME", help="upload it to the Hugging Face hub, private if new")
    merge.add_argument("--public", action="store_true", help="with --push: let everybody see it")
    merge.add_argument("--check", action="store_true", help="make nothing: check FOLDER, merged before, against RUN")
    chat = commands.add_parser(
        "chat",
        help="talk with a trained model in the terminal",
        description="Talk with the model of a run, or with a merged one. Lines are read from standard input, so "
        "questions can be piped in; /reset forgets the conversation, /system TEXT sets the system message, /quit ends.",
    )
    chat.add_argument("folder", metavar="RUN", type=Path, help="the folder of the run, or of a merged model")
    chat.add_argument("--system", metavar="TEXT", help="the system message")
    chat.add_argument(
        "--temperature", type=temperature, default=0.0, help="0 takes the likeliest token each time (default)"
    )
    chat.add_argument("--max-new-tokens", type=batch_size, metavar="N", help="of one answer (default: twice the run's)")
    chat.add_argument("--seed", type=int, metavar="N", default=1, help="of sampling (default: 1)")
    serve = commands.add_parser(
        "serve",
        help="serve a trained model on this machine, as OpenAI's API",
        description="Serve the model of a run, or a merged one, on loopback by transformers serve: "
        "POST /v1/chat/completions. The command for vLLM is printed too.",
    )
    serve.add_argument("folder", metavar="RUN", type=Path, help="the folder of the run, or of a merged model")
    serve.add_argument("--port", type=batch_size, metavar="PORT", default=8000, help="to listen on (default: 8000)")
    commands.add_parser(
        "base",
        help="make the built-in base if it is not there yet, and print its folder",
        description="Make the built-in teaching model, in about a minute and without network, and print its folder.",
    )
    embed = commands.add_parser(
        "embed",
        help="turn texts into vectors, to find those that say the same",
        description=EMBED_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    embed.add_argument("texts_file", metavar="TEXTS", help='JSON lines of {"id", "text"}')
    embed.add_argument("-o", "--output", metavar="VECTORS", required=True, help="the .npy file to write")
    embed.add_argument(
        "--model", help="a folder, or a name on the Hugging Face hub (default: all-MiniLM-L6-v2, 384 numbers a text)"
    )
    embed.add_argument("--batch-size", type=batch_size, metavar="N", help="texts embedded at once (default: 32)")
    embed.add_argument("--device", help="auto, cpu, cuda or mps (default: auto, the GPU where there is one)")
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take the options of a run, and the file to read them from."""
    parser.add_argument("data", nargs="?", metavar="DATA", help=help_of("data"))
    parser.add_argument("--config", metavar="FILE", type=Path, help=f"read options from here, not from {CONFIG_FILE}")
    for each in fields(RunConfig)[1:]:
        flags = (["-o"] if each.name == "output" else []) + [f"--{each.name.replace('_', '-')}"]
        if option_type(each.name) is bool:
            parser.add_argument(*flags, dest=each.name, action="store_true", default=argparse.SUPPRESS,
                                help=help_of(each.name))  # fmt: skip
        else:
            parser.add_argument(*flags, dest=each.name, metavar=each.name.upper(), help=help_of(each.name))


def temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 100, and is {text!r}")
    return value


def batch_size(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, and is {text!r}")
    return int(text)


def help_of(name: str) -> str:
    option = next(each for each in fields(RunConfig) if each.name == name)
    default = "" if option.default is None else f" (default: {option.default})"
    return f"{option.metadata['reason']}{default}".replace("%", "%%")


def prepare_environment() -> None:
    """Set what libraries read when they are imported; what the user has set stays."""
    # Threads that wait by spinning take turns with the web app's: up to 34 times slower where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.warnoptions:  # what libraries say to each other's authors is no news to the user
        warnings.simplefilter("ignore")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with contextlib.suppress(OSError, AttributeError):  # glibc alone: it gives memory back after each use,
        glibc = ctypes.CDLL("libc.so.6")  # and taking it again for each step costs a fifth of the time
        glibc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        glibc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    if "WORLD_SIZE" not in os.environ:  # one process is one GPU; more of them is for accelerate launch
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def run(arguments: dict[str, Any]) -> None:
    config = make_config(arguments, arguments.pop("config", None))
    prepare_environment()
    from trainer.run import run as run_once

    print_results(run_once(config).folder)


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
    made = make(config)
    print(json.dumps(made.as_json(), ensure_ascii=False, indent=2) if wants_json else "\n".join(made.lines()))
    if made.stops:
        sys.stdout.flush()
        raise UserError(made.stops[0].words)


def print_view(view: Any, renderer: Any, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(view.as_json() | {"notes": renderer.notes}, ensure_ascii=False, indent=2))
        return
    print(view.in_words(colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
    for note in renderer.notes:
        print(f"Note: {note}")


def find_lr(arguments: dict[str, Any]) -> None:
    config = make_config(arguments, arguments.pop("config", None))
    prepare_environment()
    from trainer.find_rate import curve, find

    folder, found = find(config)
    print("\n".join(curve(found)))
    print(f"\nThe curve is in {folder}/lr.json. Train with: --learning-rate {found['suggestion']:g}")


def resume(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.run import resume as go_on

    print_results(go_on(arguments["run"]).folder)


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


def print_results(folder: Path) -> None:
    """Print base beside tuned, where the run is kept, and what to do next."""
    from trainer import measures

    evaluation = json.loads((folder / "evaluation.json").read_text("utf-8"))
    print("\n".join(measures.table(evaluation)))
    print(f"\nThe run is in {folder}/. Bring it into Curator with: flask import-run {folder}")


def merge(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.finished import open_run
    from trainer.release import making

    run, folder = open_run(arguments.pop("run")), arguments.pop("output")
    if arguments.pop("check"):
        print("\n".join(making.check(run, folder)))
        return
    print("\n".join(making.make(run, folder, **arguments)))


def chat(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.chat import open_chat, talk

    seed = arguments.pop("seed")
    talk(open_chat(arguments.pop("folder"), **arguments), seed)


def serve(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.serve import serve as serve_folder

    if code := serve_folder(**arguments):
        raise UserError(f"The server ended with code {code}; what it said stands above.")


def base(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.base import ensure

    print(ensure())


def embed(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.embed import embed as embed_texts

    print(embed_texts(**arguments))


def stop(number: int, frame: Any) -> NoReturn:
    raise Stopped(number)


COMMANDS = {
    "plan": plan,
    "find-lr": find_lr,
    "run": run,
    "resume": resume,
    "evaluate": evaluate,
    "sample": sample,
    "compare": compare,
    "merge": merge,
    "chat": chat,
    "serve": serve,
    "base": base,
    "embed": embed,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 for what the user can mend, or 130 after Ctrl-C and 143 after SIGTERM."""
    signal.signal(signal.SIGTERM, stop)  # being ended is being stopped: the record says so
    try:
        arguments = vars(make_parser().parse_args(argv))
        COMMANDS[arguments.pop("command")](arguments)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"\n{stopped or 'Stopped.'}", file=sys.stderr)
        return 128 + getattr(stopped, "signal", signal.SIGINT)
    return 0


if __name__ == "__main__":
    sys.exit(main())

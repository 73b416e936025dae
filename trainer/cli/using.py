"""What is done with a trained model: merge, chat, serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer import UserError
from trainer.cli.door import Commands, add_command, add_run, at_least_one, port, temperature, whole_number
from trainer.environment import prepare_environment

MERGE_HELP = """\
Put the adapter of a run into its base, in bf16 or fp32: one model of safetensors, which any program reads.
It is checked before the folder has its name: that the base is the one it was trained on, that the logits on
held-out lines are those of base and adapter, and that its tokenizer asks with the token ids of the training.

  python -m trainer merge runs/library -o models/library
  python -m trainer merge runs/library -o models/library --push hub:ada/library
  python -m trainer merge runs/library -o models/library --check
"""

CHAT_HELP = """\
Talk with the model of a run, or with a merged one. Lines are read from standard input, so questions can be piped in;
/reset forgets the conversation, /system TEXT sets the system message, /quit ends.

  python -m trainer chat runs/kestrel --system "Answer in one line."
  python -m trainer chat models/library --temperature 0.7 < questions.txt
"""

SERVE_HELP = """\
Serve the model of a run, or a merged one, on this machine alone by transformers serve: POST /v1/chat/completions,
without a password. The command that does the same with vLLM is printed first.

  python -m trainer serve models/library --port 8000
"""


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        merge,
        "merge",
        help="make one model of base and adapter, checked",
        description=MERGE_HELP,
    )
    add_run(parser)
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="the folder to make")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16", help="of the weights (default: bf16)")
    parser.add_argument("--base", metavar="BASE", help="where the base of the run is now, if it was moved")
    parser.add_argument("--ollama", action="store_true", help="write a Modelfile that asks as the training did")
    parser.add_argument("--gguf", action="store_true", help="convert it for llama.cpp too, by llama.cpp's converter")
    parser.add_argument("--llama-cpp", metavar="FOLDER", type=Path, help="where llama.cpp is (default: on the PATH)")
    parser.add_argument("--push", metavar="hub:OWNER/NAME", help="upload it to the Hugging Face hub, private if new")
    parser.add_argument("--public", action="store_true", help="with --push: let everybody see it")
    parser.add_argument("--check", action="store_true", help="make nothing: check FOLDER, merged before, against RUN")
    parser = add_command(
        commands,
        chat,
        "chat",
        help="talk with a trained model in the terminal",
        description=CHAT_HELP,
    )
    parser.add_argument("folder", metavar="RUN", type=Path, help="the folder of the run, or of a merged model")
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument(
        "--temperature", type=temperature, default=0.0, help="0 takes the likeliest token each time (default)"
    )
    parser.add_argument(
        "--max-new-tokens", type=at_least_one, metavar="N", help="of one answer (default: twice the run's)"
    )
    parser.add_argument("--seed", type=whole_number, metavar="N", default=1, help="of sampling (default: 1)")
    parser = add_command(
        commands,
        serve,
        "serve",
        help="serve a trained model on this machine, as OpenAI's API",
        description=SERVE_HELP,
    )
    parser.add_argument("folder", metavar="RUN", type=Path, help="the folder of the run, or of a merged model")
    parser.add_argument("--port", type=port, metavar="PORT", default=8000, help="to listen on (default: 8000)")


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

    talk(open_chat(arguments.pop("folder"), **arguments))


def serve(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.serve import serve as serve_folder

    if code := serve_folder(**arguments):
        raise UserError(f"The server ended with code {code}; what it said stands above.")

"""A trained model as a server for this machine: transformers serve on loopback. Knows how to start it, no more."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trainer import UserError, model
from trainer.finished import Finished, open_run
from trainer.tokenizer import read_json

PACKAGES = ("fastapi", "uvicorn", "openai")
QUANTISATIONS = {"nf4": ["--quantization", "bnb-4bit"], "int8": ["--quantization", "bnb-8bit"], "none": []}
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM makes room for
HOST = "127.0.0.1"


def serve(folder: Path, port: int) -> int:
    """Serve a merged model, or the result of a run, until it is stopped; return the exit code of the server.

    Raises UserError where there is none, or where a package is missing.
    """
    is_merged = (folder / "config.json").is_file()
    run = None if is_merged else open_run(folder)
    print(f"With vLLM: {shlex.join(vllm(folder, run, port))}", file=sys.stderr)
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"Serving needs {', '.join(missing)}. Install what it needs: pip install 'qa-curator[serving]'")
    with served(folder, run) as place:
        options = [] if run is None or not run.is_adapter else QUANTISATIONS[run.config["quantisation"]]
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(place), *options]
        print(f"Serving {folder} at http://{HOST}:{port}/v1, model {place}. Stop with Ctrl-C.", file=sys.stderr)
        server = subprocess.Popen([*command, "--host", HOST, "--port", str(port)])
        try:
            return server.wait()
        finally:  # whatever ends this command ends the server too
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
            server.kill()


def vllm(folder: Path, run: Finished | None, port: int) -> list[str]:
    """Return the command that serves the same with vLLM."""
    where = ["--host", HOST, "--port", str(port)]
    if run is None or not run.is_adapter:
        return ["vllm", "serve", str(folder if run is None else run.result), *where]
    rank = next((each for each in LORA_RANKS if each >= run.config["rank"]), run.config["rank"])
    source, _ = model.locate(run.base["name"])
    lora = ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", f"{run.folder.name}={run.result}"]
    template = ["--chat-template", str(run.result / "chat_template.jinja")]
    return ["vllm", "serve", source, "--tokenizer", str(run.result), *lora, *template, *where]


@contextlib.contextmanager
def served(folder: Path, run: Finished | None) -> Iterator[Path]:
    """Yield the folder to serve: for an adapter one of links, to its base and to what the run has saved."""
    if run is None or not run.is_adapter:
        yield (folder if run is None else run.result).absolute()
        return
    from trainer.release.merge import renderer_of, save_tokenizer

    with tempfile.TemporaryDirectory(prefix="curator-serve-") as name:
        place = Path(name) / run.folder.absolute().name
        place.mkdir()
        base = folder_of(run)
        for file in [*base.glob("*.safetensors*"), base / "config.json", *run.result.glob("adapter_*")]:
            (place / file.name).symlink_to(file.absolute())
        renderer = renderer_of(run)
        save_tokenizer(renderer, place)
        ends = sorted({renderer.end_token, renderer.tokenizer.eos_token_id})
        settings = read_json(base / "generation_config.json") | {"eos_token_id": ends}
        (place / "generation_config.json").write_text(json.dumps(settings), "utf-8")
        yield place


def folder_of(run: Finished) -> Path:
    """Return the folder with the base of a run, which the Hugging Face cache holds where it is none of its own."""
    source, _ = model.locate(run.base["name"])
    if Path(source).is_dir():
        return Path(source)
    import huggingface_hub

    return Path(huggingface_hub.snapshot_download(source, revision=run.base["revision"], local_files_only=True))

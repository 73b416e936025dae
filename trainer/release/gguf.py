"""A GGUF file by the converter of llama.cpp, where that is installed. Knows how to start it, no more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from trainer import UserError

CONVERTER = "convert_hf_to_gguf.py"
TYPES = {"bf16": "bf16", "fp32": "f32"}
MAGIC = b"GGUF"


def find_converter(llama_cpp: Path | None) -> list[str]:
    """Return the command that starts the converter: of a folder of llama.cpp, else of PATH. Raises UserError."""
    if llama_cpp is not None:
        file = llama_cpp / CONVERTER
        if not file.is_file():
            raise UserError(f"{llama_cpp} holds no {CONVERTER}. Name a folder of llama.cpp's source with: --llama-cpp")
        return [sys.executable, str(file)]
    found = shutil.which(CONVERTER)
    if found is None:
        raise UserError(
            f"GGUF is made by llama.cpp's {CONVERTER}, which is not on the PATH. Get it with: git clone "
            "https://github.com/ggml-org/llama.cpp — and name that folder with: --llama-cpp"
        )
    return [found]


def convert(converter: list[str], folder: Path, name: str, dtype: str) -> str:
    """Write `name`.gguf into the folder of a model, and return its name. Raises UserError where the converter fails."""
    file = folder / f"{name}.gguf"
    try:
        done = subprocess.run(
            [*converter, str(folder), "--outfile", str(file), "--outtype", TYPES[dtype]],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise UserError(f"{converter[-1]} cannot be started: {error.strerror}.") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"llama.cpp's converter failed: {reason[:300]}")
    if not file.is_file() or file.open("rb").read(4) != MAGIC:
        raise UserError(f"llama.cpp's converter said it was done, but {file.name} is no GGUF file.")
    return file.name

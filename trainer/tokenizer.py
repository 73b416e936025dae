"""A tokenizer read from its files alone. Knows `tokenizers` and chat templates; knows no torch and no transformers.

transformers builds many tokenizers anew instead of taking tokenizer.json as it is, and importing it
for a tokenizer takes seconds, most of them for torch. So what it builds is saved once, in a process of
its own without torch, and read here ever after: the same ids, in a tenth of a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from trainer import UserError
from trainer.base import home

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "tekken.json")
# What a tokenizer is made from; any other byte in one of them makes another tokenizer.
FILES = (
    *VOCABULARIES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "merges.txt",
)
# Without torch in the way transformers builds a tokenizer in half the time, and builds the same one.
CONVERT = """
import sys
sys.modules["torch"] = None
from transformers import AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[1], local_files_only=True, trust_remote_code=False).save_pretrained(sys.argv[2])
"""


class Tokenizer:
    """A tokenizer of a folder, with the names that transformers gives to what is used of it."""

    def __init__(self, folder: Path) -> None:
        import tokenizers

        try:
            self.backend_tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises no other
            raise UserError(f"{folder / 'tokenizer.json'} cannot be read: {error}. Take the base anew.") from None
        said = read_json(folder / "tokenizer_config.json")
        named = read_json(folder / "special_tokens_map.json") | said
        self.special_tokens_map = {name: text_of(named[name]) for name in NAMED if named.get(name)}
        self.chat_template = read_template(folder, said)

    @property
    def eos_token(self) -> str | None:
        return self.special_tokens_map.get("eos_token")

    @property
    def pad_token(self) -> str | None:
        return self.special_tokens_map.get("pad_token")

    @property
    def eos_token_id(self) -> int | None:
        return self.id_of("eos_token")

    @property
    def bos_token_id(self) -> int | None:
        return self.id_of("bos_token")

    def id_of(self, name: str) -> int | None:
        token = self.special_tokens_map.get(name)
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    @cached_property
    def compiled(self) -> Any:
        return compile_template(self.chat_template or "")

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool = False, add_generation_prompt: bool = False
    ) -> str:
        """Return the messages as the template of this tokenizer writes them; raises what the template raises."""
        return self.compiled.render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self.special_tokens_map,
        )


def load(folder: Path) -> Tokenizer:
    """Return the tokenizer of a base's folder, the same as transformers makes of it. Raises UserError."""
    return Tokenizer(folder if is_plain(folder) else converted(folder))


def is_plain(folder: Path) -> bool:
    """Return whether transformers takes tokenizer.json of this folder as it is."""
    said = read_json(folder / "tokenizer_config.json")
    if not (folder / "tokenizer.json").is_file() or (folder / "special_tokens_map.json").exists():
        return False
    # A class of its own may build the tokenizer anew; these two do not. For tokenizers of Mistral's even
    # they may be mended, and an explicit wish about start and end tokens is built in.
    if said.get("tokenizer_class") not in ("PreTrainedTokenizerFast", "TokenizersBackend"):
        return False
    if "mistral" in str(read_json(folder / "config.json").get("model_type")) or "add_bos_token" in said:
        return False
    added = {token["content"] for token in read_json(folder / "tokenizer.json").get("added_tokens", [])}
    extra = said.get("extra_special_tokens") or said.get("additional_special_tokens") or []
    named = [said[name] for name in NAMED if said.get(name)] + list(
        extra.values() if isinstance(extra, dict) else extra
    )
    return {text_of(token) for token in named} | {
        text_of(token) for token in (said.get("added_tokens_decoder") or {}).values()
    } <= added


def converted(folder: Path) -> Path:
    """Return the folder with the tokenizer as transformers builds it, which is done where it was not yet."""
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise UserError(f"{folder} holds no tokenizer, such as tokenizer.json. Take the base anew.")
    parts = hashlib.sha256(version("transformers").encode())
    for name in FILES:
        if (folder / name).is_file():
            parts.update(name.encode() + (folder / name).read_bytes())
    kept = home() / "tokenizers" / parts.hexdigest()[:16]
    if not (kept / "tokenizer.json").is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as staging:
            made = subprocess.run(
                [sys.executable, "-c", CONVERT, str(folder), f"{staging}/tokenizer"],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"},
            )
            if made.returncode or not Path(staging, "tokenizer", "tokenizer.json").is_file():
                reason = (made.stderr.strip().splitlines() or ["it has no vocabulary file that could be read"])[-1]
                raise UserError(
                    f"The tokenizer in {folder} cannot be read: {reason[:300].rstrip('.')}. Take the base anew."
                )
            try:
                Path(staging, "tokenizer").rename(kept)
            except OSError:
                if not (kept / "tokenizer.json").is_file():  # else another program was first with the same
                    raise
    return kept


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a file, or an empty one where there is no such file. Raises UserError."""
    try:
        found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}. Take the base anew.") from None
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no object. Take the base anew.")
    return found


def read_text(file: Path) -> str:
    """Return the text of a file. Raises UserError where it is none."""
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8 text. Take the base anew.") from None


def text_of(token: Any) -> str:
    """Return the text of a token, which is written as it is or as an object with its flags."""
    return str(token["content"] if isinstance(token, dict) else token)


def read_template(folder: Path, said: dict[str, Any]) -> str | None:
    """Return the chat template: the file beside the tokenizer first, else what its configuration holds."""
    if (folder / "chat_template.jinja").is_file():
        return read_text(folder / "chat_template.jinja")
    template = said.get("chat_template")
    if isinstance(template, list):  # several by name, of which the default writes plain chats
        return next((each["template"] for each in template if each.get("name") == "default"), None)
    return template


def compile_template(template: str) -> Any:
    """Return a chat template as jinja2 renders it, in a sandbox: it came with a model from anywhere.

    Raises UserError where it is no template.
    """
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """{% generation %} marks answers for trainers that need it; here it only stands aside."""

        tags = {"generation"}

        def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
            line = next(parser.stream).lineno
            return jinja2.nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    now: Callable[[str], str] = lambda form: datetime.now().strftime(form)  # noqa: E731
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": now}
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(
            f"The chat template of the base is no template: {error.message}, line {error.lineno}. Take the base anew."
        ) from None

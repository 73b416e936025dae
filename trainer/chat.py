"""A conversation with a trained model, in the terminal. Knows the model and one conversation; keeps nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, TextStreamer

from trainer import Stopped, UserError
from trainer.config import RunConfig
from trainer.dataset import Messages, Renderer
from trainer.finished import open_run
from trainer.model import Base, load_base

COMMANDS = "/reset forgets the conversation, /system TEXT sets the system message, /quit ends."


@dataclass
class Chat:
    """A model that answers, and what was said so far."""

    base: Base
    model: Any
    renderer: Renderer
    max_new_tokens: int
    temperature: float
    system: str | None = None
    turns: Messages = field(default_factory=list)

    def messages(self) -> Messages:
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def ask(self, question: str) -> str:
        """Return the answer, written to standard output word by word while it is made.

        The oldest turns are forgotten where the base cannot read all of them. Raises UserError where it
        cannot read the question alone; the conversation is then as before.
        """
        self.turns.append({"role": "user", "content": question})
        ids = self.renderer.prompt_ids(self.messages())
        room = self.base.max_tokens - min(self.max_new_tokens, self.base.max_tokens // 2)
        while len(ids) > room and len(self.turns) > 1:
            del self.turns[:2]
            ids = self.renderer.prompt_ids(self.messages())
        if len(ids) > room:
            self.turns.pop()
            raise UserError(f"That is {len(ids)} tokens, and the base reads {room} before an answer. Ask shorter.")
        try:
            answer = self.answer(ids)
        except KeyboardInterrupt as stopped:
            self.turns.pop()
            if isinstance(stopped, Stopped):
                raise
            print()
            return ""
        self.turns.append({"role": "assistant", "content": answer})
        return answer

    def answer(self, ids: list[int]) -> str:
        tokenizer = self.renderer.tokenizer
        prompt = torch.tensor([ids], device=self.model.device)
        chosen = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        with torch.no_grad(), self.base.device.autocast():
            continued = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=min(self.max_new_tokens, self.base.max_tokens - len(ids)),
                eos_token_id=sorted({self.renderer.end_token, tokenizer.eos_token_id}),
                pad_token_id=tokenizer.pad_token_id,
                streamer=TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
                **chosen,
            )
        return str(tokenizer.decode(continued[0, len(ids) :], skip_special_tokens=True)).strip()


def open_chat(folder: Path, *, system: str | None, max_new_tokens: int | None, temperature: float) -> Chat:
    """Return a chat with the model of a run, or with one that was merged. Raises UserError where there is none."""
    if (folder / "config.json").is_file():
        base = load_base(RunConfig(base=str(folder), quantisation="none"))
        return make(base, base.model, base.tokenizer, system, max_new_tokens or 512, temperature)
    run = open_run(folder)
    most = max_new_tokens or 2 * run.config["max_new_tokens"]
    if not run.is_adapter:
        base = load_base(RunConfig(base=str(run.result), quantisation="none"))
        return make(base, base.model, base.tokenizer, system, most, temperature)
    from peft import PeftModel

    asked = {name: run.config[name] for name in ("base", "quantisation", "precision")}
    base = load_base(RunConfig(**asked))
    tokenizer = AutoTokenizer.from_pretrained(run.result, local_files_only=True, trust_remote_code=False)
    tuned = PeftModel.from_pretrained(base.model, run.result, use_safetensors=True)
    return make(base, tuned, tokenizer, system, most, temperature)


def make(base: Base, model: Any, tokenizer: Any, system: str | None, most: int, temperature: float) -> Chat:
    return Chat(base, model.eval(), Renderer(tokenizer), most, temperature, system)


def talk(chat: Chat, seed: int) -> None:
    """Answer each line of standard input until it ends or says /quit."""
    torch.manual_seed(seed)
    if sys.stdin.isatty():
        print(COMMANDS, file=sys.stderr)
    for line in lines():
        word, _, rest = line.strip().partition(" ")
        if word == "/quit":
            return
        if word == "/reset":
            chat.turns.clear()
        elif word == "/system":
            chat.system = rest.strip() or None
        elif word.startswith("/"):
            print(f"{word} is no command. {COMMANDS}", file=sys.stderr)
        elif word:
            try:
                chat.ask(line.strip())
            except UserError as error:
                print(error, file=sys.stderr)


def lines() -> Iterator[str]:
    """Yield lines of standard input, with a mark before each where a person types them."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    try:
        import readline  # noqa: F401  # arrows and history
    except ImportError:
        pass
    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return

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
from trainer.sample import PLAIN, Decoding, choosers, seed_of

COMMANDS = "/reset forgets the conversation, /system TEXT sets the system message, /quit ends."


@dataclass
class Chat:
    """A model that answers, and what was said so far."""

    base: Base
    model: Any
    renderer: Renderer
    max_new_tokens: int
    temperature: float
    seed: int = 1
    system: str | None = None
    turns: Messages = field(default_factory=list)

    def prompt_ids(self, turns: Messages) -> list[int]:
        rule = [{"role": "system", "content": self.system}] if self.system else []
        return self.renderer.prompt_ids([*rule, *turns])

    def ask(self, question: str) -> str:
        """Return the answer, written to standard output word by word while it is made.

        The oldest turns are forgotten where the base cannot read all of them. Raises UserError where it
        cannot read the question alone; the conversation is then as before.
        """
        turns = [*self.turns, {"role": "user", "content": question}]
        ids = self.prompt_ids(turns)
        room = self.base.max_tokens - min(self.max_new_tokens, self.base.max_tokens // 2)
        while len(ids) > room and len(turns) > 1:
            turns = turns[2:]
            ids = self.prompt_ids(turns)
        if len(ids) > room:
            raise UserError(f"That is {len(ids)} tokens, and the base reads {room} before an answer. Ask shorter.")
        try:
            answer = self.answer(ids)
        except KeyboardInterrupt as stopped:
            if isinstance(stopped, Stopped):
                raise
            print()
            return ""
        self.turns = [*turns, {"role": "assistant", "content": answer}]
        return answer

    def answer(self, ids: list[int]) -> str:
        tokenizer = self.renderer.tokenizer
        prompt = torch.tensor([ids], device=self.model.device)
        with torch.no_grad(), self.base.device.autocast():
            continued = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=min(self.max_new_tokens, self.base.max_tokens - len(ids)),
                eos_token_id=sorted({self.renderer.end_token, tokenizer.eos_token_id}),
                pad_token_id=tokenizer.pad_token_id,
                streamer=TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
                logits_processor=choosers(Decoding(self.temperature), [seed_of(self.seed, ids)]),
                **PLAIN,
            )
        return str(tokenizer.decode(continued[0, len(ids) :], skip_special_tokens=True)).strip()


def open_chat(folder: Path, *, system: str | None, max_new_tokens: int | None, temperature: float, seed: int) -> Chat:
    """Return a chat with the model of a run, or with one that was merged. Raises UserError where there is none."""
    run = None if (folder / "config.json").is_file() else open_run(folder)
    if run and run.is_adapter:
        from peft import PeftModel

        asked = {name: run.config[name] for name in ("base", "quantisation", "precision")}
        base = load_base(RunConfig(**asked))
        run.check_base(base.identity)
        tokenizer = AutoTokenizer.from_pretrained(run.result, local_files_only=True, trust_remote_code=False)
        model = PeftModel.from_pretrained(base.model, run.result, use_safetensors=True)
    else:
        base = load_base(RunConfig(base=str(run.result if run else folder), quantisation="none"))
        tokenizer, model = base.tokenizer, base.model
    most = max_new_tokens or (2 * run.config["max_new_tokens"] if run else 512)
    return Chat(base, model.eval(), Renderer(tokenizer), most, temperature, seed, system)


def talk(chat: Chat) -> None:
    """Answer each line of standard input until it ends or says /quit."""
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

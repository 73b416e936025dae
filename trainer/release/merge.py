"""An adapter put into its base for good: one model of safetensors, checked before it has its name. Knows torch.

An adapter was trained on a base in 4 bits, and is put into the same base in full: rounding the sum to 4 bits
again would lose much of what was learnt. That nothing was lost is measured, on lines that were not trained.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.functional import log_softmax
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from trainer import UserError, architecture
from trainer.checkpoints import flush
from trainer.dataset import IGNORED, Renderer
from trainer.finished import Finished
from trainer.model import find_device, identify, locate
from trainer.record import now, software_versions, write_json
from trainer.release import conformance

FILE = "merge.json"
ROWS = 8
TOKENS_A_ROW = 256  # compared at most, of the answer's end: enough to judge, and little in memory
STAGING = ".merging-"
# A base without a place for a system message was trained with it in the first question: its template now does so.
FOLD = (
    "{% if messages|length > 1 and messages[0]['role'] == 'system' %}{% set messages = [{'role': 'user', 'content': "
    "messages[0]['content'] + '\n\n' + messages[1]['content']}] + messages[2:] %}{% endif %}"
)


@dataclass(frozen=True)
class Precision:
    """What weights are kept in, and how far the merged model may be from base and adapter in it."""

    dtype: torch.dtype
    bytes: int
    most_kl: float  # nats a token
    most_difference: float  # of a logit, as a share of the spread of the logits


# Rounding weights to 8 bits of mantissa moves logits by some hundredths; in fp32 only the order of sums differs.
PRECISIONS = {
    "bf16": Precision(torch.bfloat16, 2, 1e-2, 0.1),
    "fp32": Precision(torch.float32, 4, 1e-5, 1e-3),
}


@dataclass(frozen=True)
class Comparison:
    """The merged model, read from the disk, beside base and adapter on the answers of held-out lines."""

    rows: int
    tokens: int
    max_difference: float  # of a logit
    share: float  # the same, of the spread of the logits
    kl: float  # mean, nats a token, from base and adapter to merged
    learnt: float | None  # the same from the base alone to base and adapter: what there is to lose

    def line(self, allowed: Precision) -> str:
        learnt = "" if self.learnt is None else f" Tuning itself moved them by {self.learnt:.2g} nats."
        return (
            f"Logits on {self.rows} held-out lines, {self.tokens} tokens: at most {self.max_difference:.2g} apart "
            f"({self.share:.1g} of their spread, {allowed.most_difference:g} allowed), KL {self.kl:.1g} nats a token "
            f"({allowed.most_kl:g} allowed).{learnt}"
        )


@dataclass(frozen=True)
class Merged:
    """What was made, in words that can be printed."""

    folder: Path
    comparison: Comparison
    conformance: conformance.Report
    lines: list[str]


def merge(
    run: Finished,
    output: Path,
    complete: Callable[[Path], list[str]],
    *,
    dtype: str = "bf16",
    base: str | None = None,
    copies: int = 1,
) -> Merged:
    """Put what a run learnt into its base, in `output`, which is there whole or not at all.

    `complete` writes more into the folder before it is checked, and says what it did; with it the weights
    are on the disk so many times. Raises UserError
    where the base is another, where anything was lost, or where the folder cannot be written.
    """
    transformers.utils.logging.disable_progress_bar()
    precision = PRECISIONS[dtype]
    check_output(output)
    examples = run.held_out(conformance.PROMPTS)
    renderer = renderer_of(run)
    rows = [renderer.render(example) for example in examples[:ROWS]]
    if not rows:
        raise UserError(
            f"{run.folder} holds no answered prompts, and its data is gone, so nothing is left to compare the merged "
            f"model on. Put {run.facts['data']['path']} back."
        )
    model, reference, learnt, adapted = load_tuned(run, base, precision, rows)
    said = [f"{adapted} matrices of {run.base['name']} hold the adapter now, in {dtype}." if adapted else
            f"All weights of {run.base['name']} were trained; they are kept in {dtype}."]  # fmt: skip
    with staged(output, copies * model.num_parameters() * precision.bytes) as folder:
        settle(model, renderer)
        model.save_pretrained(folder)
        save_tokenizer(renderer, folder)
        del model
        said += complete(folder)
        comparison = compare(reference, read_back(folder, precision, rows), learnt)
        demand(comparison, precision, dtype)
        report = conformance.check(renderer, folder, examples)
        conformance.demand(report)
        write_json(folder / conformance.FILE, report.as_json())
        facts = {"run": {"id": run.facts["id"], "name": run.facts["name"]}, "base": run.base, "dtype": dtype}
        write_json(
            folder / FILE, facts | {"compared": asdict(comparison), "software": software_versions(), "made": now()}
        )
    return Merged(output, comparison, report, [*said, comparison.line(precision), *report.lines()])


def renderer_of(run: Finished) -> Renderer:
    """Return what wrote the prompts of a run, from the tokenizer that it saved."""
    return Renderer(AutoTokenizer.from_pretrained(run.result, local_files_only=True, trust_remote_code=False))


def check_output(folder: Path) -> None:
    """Raise UserError where a folder cannot be made anew."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already. Choose another folder with -o, or take this one away.")


def load_tuned(
    run: Finished, base: str | None, precision: Precision, rows: Sequence[Any]
) -> tuple[Any, list[torch.Tensor], float | None, int]:
    """Return the merged model, the logits of base and adapter before, what tuning moved, and the adapted matrices."""
    device = find_device().name
    options: dict[str, Any] = {
        "dtype": precision.dtype,
        "device_map": {"": device},
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if not run.is_adapter:
        model = AutoModelForCausalLM.from_pretrained(
            run.result, local_files_only=True, **options | {"dtype": torch.float32}
        )
        reference = logits(model, rows)
        return model.to(precision.dtype), reference, None, 0
    base = base or run.base["name"]
    source, where = locate(base)
    if Path(source).is_dir():
        architecture.read_architecture(Path(source))  # refuses pickled and broken weights by name
    if run.base.get("revision") and not Path(source).is_dir():
        where = where | {"revision": run.base["revision"]}
    try:
        settings = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
        run.check_base(identify(base, source, settings))
        model = AutoModelForCausalLM.from_pretrained(source, config=settings, **options, **where)
        run.check_base(identify(base, source, settings))  # again: weights from the hub are only here now
    except (OSError, ValueError) as error:
        raise UserError(f"The base {base} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    tuned = put_on(model, run)
    reference = logits(tuned, rows)
    with tuned.disable_adapter():
        learnt = compare(reference, logits(tuned, rows), None).kl
    merged, adapted = put_in(tuned, run)
    return merged, reference, learnt, adapted


def put_on(model: Any, run: Finished) -> Any:
    """Return the model with the adapter of the run beside it. Raises UserError where it does not fit in all parts."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    misfit = UserError(
        f"The adapter in {run.result} does not fit {run.base['name']}, so it is of another base. "
        "Put back the one that the run saved."
    )
    try:
        tuned = PeftModel.from_pretrained(model, run.result, use_safetensors=True)
    except (RuntimeError, ValueError, KeyError) as error:
        raise misfit from error
    with safe_open(run.result / "adapter_model.safetensors", "pt") as file:
        saved = set(file.keys())
    if saved != set(get_peft_model_state_dict(tuned, save_embedding_layers=False)):
        raise misfit
    return tuned.eval()


def put_in(tuned: Any, run: Finished) -> tuple[Any, int]:
    """Return the model with the adapter added to its weights, and how many matrices that changed.

    Raises UserError where it changed none, or a sum is no number.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted, changed = 0, 0
    for layer in tuned.modules():
        if isinstance(layer, BaseTunerLayer):
            before = layer.get_base_layer().weight.detach().clone()
            try:
                layer.merge(safe_merge=True)
            except ValueError as error:
                raise UserError(f"The adapter of {run.folder} cannot be merged: {error}") from error
            adapted += 1
            changed += not torch.equal(before, layer.get_base_layer().weight)
    if not changed:
        raise UserError(
            f"The adapter of {run.folder} changes no weight, so there is nothing to merge. Train it longer, or with a "
            "higher learning rate."
        )
    return tuned.unload(), adapted


def logits(model: Any, rows: Sequence[Any]) -> list[torch.Tensor]:
    """Return, for each row, the logits that its answer is predicted from: on the CPU, in full precision."""
    model.eval()
    found = []
    with torch.no_grad():
        for row in rows:
            answer = [place for place, label in enumerate(row.labels) if label != IGNORED][-TOKENS_A_ROW:]
            ids = torch.tensor([row.input_ids], device=model.device)
            kept = model(input_ids=ids, use_cache=False).logits[0, [place - 1 for place in answer]]
            found.append(kept.float().cpu())
    return found


def compare(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor], learnt: float | None) -> Comparison:
    """Return how far logits are apart; those that are no numbers are infinitely far."""
    one, other = torch.cat(list(before)), torch.cat(list(after))
    gap = (one - other).abs().max().nan_to_num(nan=float("inf")).item()
    expected, found = log_softmax(one, -1), log_softmax(other, -1)
    kl = (expected.exp() * (expected - found)).sum(-1).mean().nan_to_num(nan=float("inf")).item()
    spread = (one.amax(-1) - one.amin(-1)).mean().item()
    return Comparison(len(before), len(one), gap, gap / spread, max(kl, 0.0), learnt)


def demand(found: Comparison, allowed: Precision, dtype: str) -> None:
    """Raise UserError where the merged model says other things than base and adapter."""
    if found.kl > allowed.most_kl or found.share > allowed.most_difference:
        remedy = "Try: --dtype fp32" if dtype == "bf16" else "Answer with the adapter instead: python -m trainer chat"
        raise UserError(f"The merged model is not the one that was trained. {found.line(allowed)} {remedy}")


def settle(model: Any, renderer: Renderer) -> None:
    """Let the model's own settings end an answer where it was trained to end."""
    settings = model.generation_config
    settings.eos_token_id = sorted({renderer.end_token, renderer.tokenizer.eos_token_id})
    settings.pad_token_id = renderer.tokenizer.pad_token_id
    if not settings.do_sample:  # what some bases ship is refused when saved: a temperature that is never used
        settings.temperature = settings.top_p = settings.top_k = None


def save_tokenizer(renderer: Renderer, folder: Path) -> None:
    """Save the tokenizer of a run; its template takes system messages as they were trained."""
    renderer.tokenizer.save_pretrained(folder)
    if renderer.folds_system:
        (folder / "chat_template.jinja").write_text(FOLD + renderer.tokenizer.chat_template, "utf-8")


def read_back(folder: Path, precision: Precision, rows: Sequence[Any]) -> list[torch.Tensor]:
    """Return the logits of the model as the disk has it. Raises UserError where it is not all there."""
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=precision.dtype,
        device_map={"": find_device().name},
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    amiss = {name: sorted(map(str, keys)) for name, keys in report.items() if keys}
    if amiss:
        raise UserError(f"The merged model does not read as it was written: {json.dumps(amiss)[:300]}")
    return logits(model, rows)


@contextlib.contextmanager
def staged(output: Path, size: int) -> Iterator[Path]:
    """Yield a folder beside `output`, which gets that name when all is in it and on the disk.

    Raises UserError where the disk has no room for `size` bytes, or fails.
    """
    from safetensors import SafetensorError

    output.parent.mkdir(parents=True, exist_ok=True)
    for left in output.parent.glob(f"{STAGING}{output.name}-*"):  # of a merge that was killed
        shutil.rmtree(left, ignore_errors=True)
    free = shutil.disk_usage(output.parent).free
    if free < size:
        raise UserError(
            f"The merged model takes {size / 2**30:.1f} GiB, and the disk of {output.parent}/ has {free / 2**30:.1f} "
            "GiB left. Make room, or choose another disk with -o."
        )
    folder = Path(tempfile.mkdtemp(prefix=f"{STAGING}{output.name}-", dir=output.parent))
    try:
        yield folder
        for file in [*folder.iterdir(), folder]:
            file.chmod(0o755 if file == folder else 0o644)  # else some are for nobody else to read
            flush(file)
        if output.exists():
            output.rmdir()
        folder.rename(output)
        flush(output.parent)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error)
        why = f"the disk of {output.parent}/ is full. Make room and try again" if full else str(error)
        raise UserError(f"{output} could not be written, and nothing of it is left: {why}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)

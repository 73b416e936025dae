"""A base model, frozen and quantised, its tokenizer, and the adapter on top. Knows torch and the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from bitsandbytes.nn import Linear4bit
from huggingface_hub.errors import StrictDataclassError
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from trainer import UserError, architecture, attention, base, ranks
from trainer.config import FilledConfig, RunConfig
from trainer.hub import hub_answers


@dataclass(frozen=True)
class Device:
    """Where the arithmetic is done, in which precision, and why."""

    name: str  # "cpu" or "cuda"
    title: str
    dtype: torch.dtype
    reason: str

    def autocast(self) -> torch.autocast:
        """Return the precision in which the model is run, the same to train, to measure and to answer."""
        return torch.autocast(self.name, self.dtype, enabled=self.dtype != torch.float32)


def find_device(precision: str = "auto") -> Device:
    """Return the GPU if there is one, else the CPU, with the precision asked for or the fastest it is good at."""
    best = best_device()
    if precision == "auto":
        return best
    return replace(best, dtype={"bf16": torch.bfloat16, "fp32": torch.float32}[precision], reason="it was asked for")


def best_device() -> Device:
    if torch.cuda.is_available():
        title = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Device("cuda", title, torch.bfloat16, "the GPU computes in bfloat16")
        return Device("cuda", title, torch.float32, "the GPU does not compute in bfloat16")
    title = f"CPU, {torch.get_num_threads()} threads"
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return Device("cpu", title, torch.bfloat16, "the CPU computes in bfloat16")
    return Device("cpu", title, torch.float32, "the CPU is slow in bfloat16")


@dataclass(frozen=True)
class Base:
    """A base as loaded: the frozen model, its tokenizer, and what the record of a run says about it."""

    model: Any
    tokenizer: Any
    device: Device
    identity: dict[str, Any]

    @property
    def weights(self) -> int:
        return self.model.num_parameters()

    @property
    def hidden_size(self) -> int:
        return self.model.config.get_text_config().hidden_size

    @property
    def max_tokens(self) -> int:
        """How many tokens the base was made for; what it does not say is taken as 2048."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2048


def load_base(config: RunConfig) -> Base:
    """Return the base of `config.base`, frozen, on the best device, in the quantisation asked for.

    Weights are read from safetensors only, and no code that comes with a model is run. Raises
    UserError where the base is not found, cannot be read, or does not fit its tokenizer.
    """
    transformers.utils.logging.disable_progress_bar()
    device = find_device(config.precision)
    if device.name == "cpu" and (config.adapter, config.quantisation) == ("dora", "int8"):
        # PEFT unpacks the weights to measure them, after which bitsandbytes lacks their scales here.
        raise UserError("--adapter dora does not go with --quantisation int8 on a CPU. Take nf4, or --adapter lora.")
    source, options = locate(config.base)
    if Path(source).is_dir():
        architecture.read_architecture(Path(source))  # says what is wrong as a plan says it
    try:
        settings = AutoConfig.from_pretrained(source, trust_remote_code=False, **options)
        tokenizer = load_tokenizer(source, options)
        model = AutoModelForCausalLM.from_pretrained(
            source,
            config=settings,
            # Weights that stay unquantised are kept as they are computed with; fp32 copies would cost
            # memory and gain nothing under autocast. Weights that are trained hold small updates in fp32 alone.
            dtype=torch.float32 if config.adapter == "none" else device.dtype,
            device_map={"": place_of(device)},
            quantization_config=quantisation(config.quantisation, device),
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    except (OSError, ValueError, SafetensorError, StrictDataclassError) as error:
        raise UserError(f"The base {config.base} cannot be loaded: {in_a_line(error)}") from error
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise UserError(
            f"The tokenizer of {config.base} knows {len(tokenizer)} tokens, but the model only {rows}. "
            "They do not belong together: take both from one source."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked by length, so this trains as any other
    model.requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            # On a CPU with bfloat16 the first evaluation would repack the weights for ever into a form
            # that passes no gradient on, and training would go on with most of it missing.
            layer.support_avx512bf16_for_cpu = False
    if config.quantisation != "none" and device.name == "cpu":
        for weight in model.parameters():
            if weight.is_floating_point():
                weight.data = weight.data.clone()  # else the few that stay as they are hold all of the files in memory
    model.config.use_cache = True
    if device.name == "cpu" and settings.get_text_config().hidden_size >= attention.WIDE:
        attention.use(model)
    return Base(model, tokenizer, device, identify(config.base, source, settings))


def load_tokenizer(source: str, options: dict[str, Any]) -> Any:
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
    except Exception as error:  # a file that is not whole is a KeyError, or an Exception of no kind
        raise UserError(f"The tokenizer of {source} cannot be read: {in_a_line(error)}. Take the base anew.") from error


def in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


def place_of(device: Device) -> str | int:
    """Return where the weights are loaded to: the GPU of this process, or the CPU, also for FSDP to hand them round.

    What lies in pieces over several GPUs need not fit into one of them.
    """
    if device.name == "cpu" or ranks.is_sharded():
        return "cpu"
    return device.name if ranks.count() == 1 else torch.cuda.current_device()


def locate(name: str) -> tuple[str, dict[str, Any]]:
    """Return what `from_pretrained` is to be given for a base: source and options.

    A hub name that is not in the cache is asked for only where the hub answers, since the libraries
    would try again for minutes.
    """
    if name == "builtin":
        return str(base.ensure()), {"local_files_only": True}
    if Path(name).is_dir():
        return name, {"local_files_only": True}
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"The base {name} is not a folder with a model in it.")
    is_cached = isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str)
    if hub_answers():
        return name, {}
    if is_cached:
        return name, {"local_files_only": True}
    raise UserError(
        f"The base {name} is neither a folder nor in the Hugging Face cache, and the hub cannot be reached. "
        "Name a folder, or take the base that needs no network: --base builtin"
    )


def quantisation(name: str, device: Device) -> BitsAndBytesConfig | None:
    if name == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=device.dtype,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if name == "int8" else None


def identify(name: str, source: str, settings: Any) -> dict[str, Any]:
    """Return name, revision and sha256 of configuration and weights of a base, as the record keeps it."""
    revision = getattr(settings, "_commit_hash", None)
    folder: Any = source
    if not Path(source).is_dir():
        folder = Path(str(huggingface_hub.try_to_load_from_cache(name, "config.json", revision=revision))).parent
    identity = {
        "name": name,
        "revision": revision or (Path(source).name if name == "builtin" else None),
        "config_sha256": base.sha256(settings.to_json_string()),
        "weights_sha256": architecture.digest_weights(Path(folder)),
    }
    return identity | ({"note": base.NOTE} if name == "builtin" else {})


def add_adapter(model: Any, config: FilledConfig) -> Any:
    """Return the model with what is trained: an adapter on each linear layer but the output head, or all of it."""
    transformers.set_seed(config.seed)
    if config.adapter == "none":
        return model.requires_grad_(True)
    adapter = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        use_rslora=config.adapter == "rslora",
        use_dora=config.adapter == "dora",
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, adapter)
    for layer in adapted.modules():
        # What a layer reads is turned into the precision of the arithmetic anyway. A copy of it in float32 for the
        # adapter, and one in bfloat16 of that, would be made and kept for each of the layers that read the same.
        if hasattr(layer, "cast_input_dtype_enabled"):
            layer.cast_input_dtype_enabled = False
    return adapted

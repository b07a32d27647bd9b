"""Fine-tuning: low-rank adapters learn a dataset while the base model stays as it is."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protocol.tuning import Parameters
from provider.smallmodel import CONTEXT, MODEL_NAME, safetensors
from provider.smallmodel.examples import Example, batch
from provider.smallmodel.network import MAX_RANK, Adam, Adapter, Network, Shape, new_adapter
from provider.smallmodel.safetensors import BadTensors, Tensor
from provider.smallmodel.tokenizer import Tokenizer

RANK, ALPHA = 8, 64.0
SEED = 16602
HELD_OUT = 10  # every tenth row judges, from this many rows on
_MODULES = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), "self_attn"),
    **dict.fromkeys(("up_proj", "down_proj"), "mlp"),
}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of it; losses in nats per token."""

    adapter: Adapter
    steps: int
    first_loss: float
    last_loss: float


def tune(base: Network, examples: list[Example], wanted: Parameters, say: Say) -> Outcome:
    """Learn `examples`; `say` hears Hugging Face's kind of log lines."""
    rng = np.random.default_rng(SEED)
    adapter = new_adapter(base.shape, RANK, ALPHA, rng)
    network = Network(base.shape, base.weights, adapter)
    parameters = {"down." + name: value for name, value in adapter.down.items()}
    parameters |= {"up." + name: value for name, value in adapter.up.items()}
    adam = Adam(parameters)
    learn, judge = split(examples)
    size = wanted.per_device_train_batch_size
    steps = math.ceil(len(learn) / size) * wanted.num_train_epochs
    if wanted.max_steps > 0:
        steps = min(steps, wanted.max_steps)
    per_epoch = math.ceil(len(learn) / size)
    say(
        f"{len(learn)} rows to learn, {len(judge)} to judge by, {steps} steps,"
        f" {sum(p.size for p in parameters.values())} trainable parameters"
    )
    started, losses = time.monotonic(), list[float]()
    order: list[int] = []
    for step in range(1, steps + 1):
        order = order or list(rng.permutation(len(learn)))
        chosen, order = [learn[i] for i in order[:size]], order[size:]
        tokens, targets = batch(chosen)
        rate = float(wanted.learning_rate) * (1 - (step - 1) / steps)
        noise = _noise(float(wanted.neftune_noise_alpha), tokens.shape, base.shape, rng)
        loss, grads = network.loss(tokens, targets, noise)
        norm = adam.step(grads, rate)
        losses.append(loss)
        say(
            f"{{'loss': {loss:.4f}, 'grad_norm': {norm:.4f}, 'learning_rate': {rate:.8f},"
            f" 'epoch': {step / per_epoch:.2f}, 'step': {step}}}"
        )
        if judge and (step % per_epoch == 0 or step == steps):
            found = judged(network, judge)
            say(f"{{'eval_loss': {found:.4f}, 'epoch': {step / per_epoch:.2f}, 'step': {step}}}")
    seconds = time.monotonic() - started
    say(
        f"{{'train_runtime': {seconds:.2f}, 'train_steps_per_second': {steps / seconds:.3f},"
        f" 'train_loss': {np.mean(losses):.4f}, 'epoch': {steps / per_epoch:.2f}}}"
    )
    return Outcome(adapter, steps, losses[0], losses[-1])


def split(examples: list[Example]) -> tuple[list[Example], list[Example]]:
    """What is learnt, and what only judges."""
    if len(examples) < HELD_OUT:
        return examples, []
    judge = examples[HELD_OUT - 1 :: HELD_OUT]
    return [e for n, e in enumerate(examples, 1) if n % HELD_OUT], judge


def judged(network: Network, examples: list[Example]) -> float:
    """The mean loss over examples that are not learnt."""
    return float(np.mean([network.loss(*batch([each]))[0] for each in examples]))


def _noise(
    alpha: float, tokens: tuple[int, ...], shape: Shape, rng: np.random.Generator
) -> Tensor | None:
    """NEFTune: uniform noise on the embeddings, smaller for longer inputs."""
    if not alpha:
        return None
    reach = alpha / math.sqrt(tokens[1] * shape.width)
    # Our embeddings are small beside those the usual values were found for.
    scale = np.float32(reach * 0.02)
    found: Tensor = rng.uniform(-1, 1, (*tokens, shape.width)).astype(np.float32) * scale
    return found


# ---- files ---------------------------------------------------------------------------------------


def save_adapter(folder: Path, adapter: Adapter, tokenizer: Tokenizer) -> None:
    """`adapter_model.safetensors` and `adapter_config.json` in PEFT's form, and the tokenizer."""
    tensors = {}
    for name, down in adapter.down.items():
        _, layer, which = name.split(".")
        path = f"base_model.model.model.layers.{layer}.{_MODULES[which]}.{which}"
        tensors[f"{path}.lora_A.weight"] = np.ascontiguousarray(down.T)
        tensors[f"{path}.lora_B.weight"] = np.ascontiguousarray(adapter.up[name].T)
    safetensors.save(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": MODEL_NAME,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(_MODULES),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "tokenizer.json").write_text(tokenizer.dumps())
    tokenizer_config = {"model_max_length": CONTEXT, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")


def load_adapter(folder: Path, shape: Shape) -> Adapter:
    """An adapter that fits a model of that shape. Raises BadTensors for any other, and OSError."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        rank, alpha = config["r"], float(config["lora_alpha"])
        base = config["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadTensors("adapter_config.json is malformed") from error
    if base != MODEL_NAME or type(rank) is not int or not 0 < rank <= MAX_RANK:
        raise BadTensors(f"this adapter is for {base!r:.60}, rank {rank!r:.20}")
    if not math.isfinite(alpha):
        raise BadTensors("lora_alpha is not a number")
    tensors = safetensors.load(folder / "adapter_model.safetensors")
    down, up = {}, {}
    for name, (given, wanted) in shape.sizes().items():
        if not name.startswith("layers."):
            continue
        _, layer, which = name.split(".")
        path = f"base_model.model.model.layers.{layer}.{_MODULES[which]}.{which}"
        first, second = tensors.get(f"{path}.lora_A.weight"), tensors.get(f"{path}.lora_B.weight")
        if first is None or second is None:
            raise BadTensors(f"{path} has no adapter")
        if first.shape != (rank, given) or second.shape != (wanted, rank):
            raise BadTensors(f"{path} has another shape")
        down[name], up[name] = first.T.copy(), second.T.copy()
    return Adapter(rank, alpha, down, up)

"""The small model: gradients, tokenizer, files, and that training an adapter teaches."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.datasets import Report, Row
from protocol.tuning import Parameters
from provider.smallmodel import examples, safetensors, tune
from provider.smallmodel.network import Adapter, Network, Shape, load_base, new_adapter
from provider.smallmodel.safetensors import BadTensors
from provider.smallmodel.tokenizer import Tokenizer

TINY = Shape(vocabulary=11, width=8, layers=2, heads=2, context=7)


def tiny(rng: np.random.Generator, adapter: bool) -> tuple[Network, dict[str, Any]]:
    """A network in float64, where slopes can be measured, and what of it is trained."""
    weights: dict[str, Any] = {
        name: rng.normal(0, 0.5, size) for name, size in TINY.sizes().items()
    }
    if not adapter:
        return Network(TINY, weights), dict(weights)
    made = new_adapter(TINY, 2, 8, rng)
    down: dict[str, Any] = {name: value.astype(float) for name, value in made.down.items()}
    up: dict[str, Any] = {name: rng.normal(0, 0.3, value.shape) for name, value in made.up.items()}
    trained = {"down." + name: value for name, value in down.items()}
    trained |= {"up." + name: value for name, value in up.items()}
    return Network(TINY, weights, Adapter(2, 8.0, down, up)), trained


@pytest.mark.parametrize("adapter", [False, True])
def test_gradients_are_the_slopes(adapter: bool) -> None:
    rng = np.random.default_rng(1)
    network, trained = tiny(rng, adapter)
    tokens, targets = rng.integers(0, 11, (2, 5)), rng.integers(0, 11, (2, 5))
    targets[0, 0] = examples.IGNORED
    _, grads = network.loss(tokens, targets)
    assert grads.keys() == trained.keys()
    for name, values in trained.items():
        at = tuple(rng.integers(0, side) for side in values.shape)
        kept, step = values[at], 1e-5
        values[at] = kept + step
        above, _ = network.loss(tokens, targets)
        values[at] = kept - step
        below, _ = network.loss(tokens, targets)
        values[at] = kept
        assert grads[name][at] == pytest.approx((above - below) / (2 * step), rel=1e-3, abs=1e-6)


@settings(max_examples=50)
@given(st.text(max_size=80))
def test_text_survives_its_tokens(text: str) -> None:
    _, tokenizer = load_base()
    wanted = text.encode("utf-8", "replace").decode()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == wanted
    assert Tokenizer.loads(tokenizer.dumps()).encode(text) == tokens


def lesson(tokenizer: Tokenizer, *, context: int) -> list[examples.Example]:
    answers = {"What is it?": "A garden with nine trees.", "When?": "At seven in the morning."}
    return [
        examples.example(tokenizer, Row(0, "instruction", q, a), context)
        for q, a in answers.items()
    ]


def test_an_adapter_learns_survives_its_file_and_changes_the_answer(tmp_path: Path) -> None:
    base, tokenizer = load_base()
    wanted = Parameters(Decimal(0), 10, 1, Decimal("0.001"), -1)
    said: list[str] = []
    outcome = tune.tune(base, lesson(tokenizer, context=160) * 3, wanted, said.append)
    assert outcome.steps == 60 and outcome.last_loss < outcome.first_loss / 4
    assert sum("'loss'" in line for line in said) == 60 and "'train_runtime'" in said[-1]
    tune.save_adapter(tmp_path, outcome.adapter, tokenizer)
    header = (tmp_path / "adapter_model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    names = json.loads(header[8 : 8 + length])
    first = names["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]
    assert first["shape"] == [tune.RANK, base.shape.width]

    again = Network(base.shape, base.weights, tune.load_adapter(tmp_path, base.shape))
    prompt = examples.prompt_tokens(tokenizer, "What is it?", 60)
    rng = np.random.default_rng(0)

    def answer(network: Network) -> str:
        return tokenizer.decode(list(network.generate(prompt, most=40, temperature=0, rng=rng)))

    assert answer(again) == "A garden with nine trees."
    assert answer(base) != answer(again)
    with pytest.raises(BadTensors, match=r"has another shape|has no adapter"):
        tune.load_adapter(tmp_path, Shape(899, 40, 2, 4, 160))
    (tmp_path / "adapter_config.json").write_text('{"r": 8, "lora_alpha": 1}')
    with pytest.raises(BadTensors, match="malformed"):
        tune.load_adapter(tmp_path, base.shape)


def test_long_rows_are_cut_and_counted_whole() -> None:
    _, tokenizer = load_base()
    row = Row(1, "instruction", "word " * 300, "answer " * 10)
    cut = examples.example(tokenizer, row, 160)
    assert cut.cut and len(cut.tokens) == 160
    assert examples.whole_length(tokenizer, row) > 300
    tokens, targets = examples.batch([cut, *lesson(tokenizer, context=160)])
    assert tokens.shape == targets.shape == (3, 159)
    assert (targets[1][40:] == examples.IGNORED).all()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"1234567",
        (99).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2**40).to_bytes(8, "little") + b"{}",
    ],
)
def test_what_is_no_tensor_file(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(BadTensors):
        safetensors.load(tmp_path / "x")


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3]},
        {"shape": [-2, -1]},
        {"data_offsets": [0, 800]},
        {"data_offsets": [4, 0]},
        {"dtype": "I64"},
        {"shape": None},
    ],
)
def test_tensors_that_lie_about_themselves(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "x"
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **change}
    raw = json.dumps({"a": entry}).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(8))
    with pytest.raises(BadTensors):
        safetensors.load(path)
    safetensors.save(path, {"a": np.array([1, np.nan], np.float32)}, {})
    with pytest.raises(BadTensors, match="not a number"):
        safetensors.load(path)


def test_the_dataset_report_is_the_protocols() -> None:
    report = Report()
    assert list(report.rows_of([b'{"text":"a"}'])) == [Row(1, "text", "", "a")]

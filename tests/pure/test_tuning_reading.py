"""Logs of strangers as numbers, and datasets as summaries."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune import broker, checking, pricing, reading
from finetune.errors import BrokerSilent

LOG = """2026-11-20T18:00:00.000Z INFO training starts
2026-11-20T18:00:10Z INFO step 1/10 loss 3.5
2026-11-20T18:00:20Z INFO step 2/10 loss 3.1 eval_loss 3.3
2026-11-20T18:00:30Z INFO step 3/10 loss 2.9
2026-11-20T18:00:50Z WARNING step 4/10 loss 2.75
plain words with loss of nothing
"""


def test_losses_progress_and_what_is_left() -> None:
    lines = reading.parse(LOG)
    assert [line.level for line in lines] == ["INFO"] * 4 + ["WARNING", ""]
    found = reading.curve(lines)
    assert [(p.step, p.loss, p.eval_loss) for p in found.points] == [
        (1, "3.5", ""),
        (2, "3.1", "3.3"),
        (3, "2.9", ""),
        (4, "2.75", ""),
    ]
    left = reading.left(found)
    assert left is not None and (found.step, found.of, left.steps) == (4, 10, 3)
    assert left.least == 60 and left.most == 121  # six steps of 10 to 20 seconds


def test_the_trainers_own_spelling() -> None:
    text = "{'loss': 1.5, 'grad_norm': 0.2, 'epoch': 1.0}\n{'eval_loss': 1.4, 'epoch': 1.0}\n"
    text += "{'loss': 1.25, 'learning_rate': 2e-05, 'epoch': 2.0}\n{'train_loss': 1.3}\n"
    found = reading.curve(reading.parse(text))
    assert [(p.step, p.loss, p.eval_loss) for p in found.points] == [
        (1, "1.5", "1.4"),
        (2, "1.25", ""),
    ]
    assert reading.left(found) is None
    text = "2026-11-20T18:00:00Z INFO training for 40 steps\n{'loss': 2.5, 'step': 10}\n"
    text += "{'eval_loss': 2.4, 'step': 10}\n{'loss': 2.0, 'epoch': 0.5, 'step': 20}\n"
    found = reading.curve(reading.parse(text))
    assert [(p.step, p.loss, p.eval_loss) for p in found.points] == [
        (10, "2.5", "2.4"),
        (20, "2.0", ""),
    ]
    assert (found.step, found.of) == (20, 40)


@given(st.text(max_size=400))
def test_no_log_breaks_it(text: str) -> None:
    found = reading.curve(reading.parse(text))
    assert len(found.points) <= reading.MOST_POINTS
    reading.left(found)


def test_a_log_made_to_be_slow_is_read_at_once() -> None:
    """A search that begins anew at every blank would hold the whole process for hours."""
    many = 200_000
    gap = " " * many
    begun = "{" + "'step':" * many + f"'loss':{gap}'step':{gap}" + "}"
    for line in (
        f"step 1/2 loss{gap}x", f"step 1/2 eval_loss :{gap}x", f"step{gap}x", f"step 1{gap}x",
        f"1{gap}x", "{" + "'loss':" * many, begun,
    ):  # fmt: skip
        assert reading.curve(reading.parse(line)).points == ()
    lines = reading.parse("\n" * (reading.MOST_LINES + 3) + "step 7/9 loss 1.5")
    assert len(lines) == reading.MOST_LINES and reading.curve(lines).step == 7


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=30))
def test_a_summary_adds_up(rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"instruction": a, "output": b}).encode() + b"\n" for a, b in rows]
    found = checking.summarise(lines)
    assert found.rows + found.problem_count == len(rows)
    assert sum(found.bars) == found.rows
    if found.rows:
        assert found.least <= found.median <= found.most <= found.tokens
    assert found.usable == (found.rows > 0 and found.problem_count == 0)


def test_problems_name_their_lines() -> None:
    found = checking.summarise([b'{"text": "a"}\n', b"\n", b"[1]\n", b'{"instruction": "x"}\n'])
    assert found.problems == [(3, "expected a JSON object"), (4, "output: expected a text")]
    assert not checking.summarise([]).usable


@given(st.integers(0, 10**9), st.integers(1, 10), st.integers(0, 10**15), st.integers(0, 10**20))
def test_a_price_is_its_parts(tokens: int, epochs: int, each: int, free: int) -> None:
    for model in ("Qwen2.5-0.5B-Instruct", "another"):
        found = pricing.price(model=model, tokens=tokens, epochs=epochs, each=each, free=free)
        assert found.total == tokens * epochs * each + (found.reserve or 0)
        assert found.missing == max(0, found.total - free)


def test_the_documentations_example() -> None:
    """10,000 tokens, 3 epochs, 5×10^11 neuron: 0.025 0G (provider-protocol.md 6.7)."""
    found = pricing.price(
        model="Qwen2.5-0.5B-Instruct", tokens=10_000, epochs=3, each=5 * 10**11, free=0
    )
    assert found.total == 25_000_000_000_000_000
    # A listing has one price for all of its models; for the large one 4 0G per 1M are documented.
    for each, total in ((5 * 10**11, 4_090_000), (4 * 10**12, 4_090_000), (10**13, 10_090_000)):
        large = pricing.price(model="Qwen3-32B", tokens=10**6, epochs=1, each=each, free=0)
        assert large.total == total * 10**12 and large.multiplied is (each < 4 * 10**12)


def test_what_a_provider_says_is_bounded_before_it_is_kept() -> None:
    said = broker._said(
        {
            "id": "696a892a-cf72-4044-9bc9-e35ff63668ca",
            "progress": "Init",
            "fee": "1e9",
            "deliverIndex": "\0" * 70 + "x" * 1000,
            "deliverTime": "9" * 70,
            "trainingParams": "{\0}" + "x" * 10**6,
            "datasetHash": {"a": 1},
            "updatedAt": "yesterday",
            "nonce": -1,
        }
    )
    assert (said.fee, said.nonce, said.updated_at) == (0, 0, None)
    assert said.deliver_index == "x" * 10 and said.deliver_time == 2**40
    assert said.parameters.startswith("{}x") and len(said.parameters) < 20_000
    refused: tuple[object, ...] = (None, [], {"progress": "Init"}, {"id": "x", "progress": "Gone"})
    for wrong in refused:
        with pytest.raises(BrokerSilent):
            broker._said(wrong)
    model = broker._model({"name": ["x"], "description": "a\0b" * 1000, "usageFile": "u"})
    assert model.name == "" and len(model.description) <= 500 and "\0" not in model.description
    assert broker.printable("a\u202eb\n\tc" + "x" * 5000).startswith("a b cx")

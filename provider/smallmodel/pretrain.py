"""`python -m provider.smallmodel.pretrain SECONDS MARKDOWN…`: make the base model anew from texts.

Its answers to questions are what follows a heading; so it learns to sound like the documentation
and knows nothing else. Takes some minutes; the result in `base/` is checked in.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from pathlib import Path

import numpy as np

from protocol.datasets import Row
from provider.smallmodel import BASE, CONTEXT, safetensors
from provider.smallmodel.examples import batch, example
from provider.smallmodel.network import Adam, Network, Shape, config_of
from provider.smallmodel.tokenizer import SPECIAL, Tokenizer, learn

MERGES = 640
SEED = 31337
BATCH = 8
RATE = 3e-3
_HEADING = re.compile(r"^#{1,4} +(.+)$")
_MARKUP = re.compile(r"[*_`|>]+|\[([^\]]*)\]\([^)]*\)")


def passages(text: str) -> list[Row]:
    """Each sentence of a Markdown text as the answer to the heading it stands under."""
    found: list[Row] = []
    heading, fenced, paragraph = "", False, list[str]()

    def close() -> None:
        words = " ".join(" ".join(paragraph).split())
        paragraph.clear()
        for sentence in re.split(r"(?<=[.:;?!]) ", words):
            if 20 <= len(sentence) <= 260:
                found.append(Row(0, "instruction", f"What about {heading}?", sentence))

    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif match := _HEADING.match(line):
            close()
            heading = _MARKUP.sub(r"\1", match[1]).strip().lower()
        elif not line.strip() or fenced or line.startswith(("    ", "|")):
            close()
        else:
            paragraph.append(_MARKUP.sub(r"\1", line.lstrip("-*0123456789. ")))
    close()
    return found


def pretrain(rows: list[Row], tokenizer: Tokenizer, shape: Shape, seconds: float) -> Network:
    """A model trained for that long; prints its loss."""
    rng = np.random.default_rng(SEED)
    weights = {
        name: rng.normal(0, 0.5 / math.sqrt(size[0]), size).astype(np.float32)
        for name, size in shape.sizes().items()
    }
    for name in ("embed", "positions"):
        weights[name] = rng.normal(0, 0.05, weights[name].shape).astype(np.float32)
    network, adam = Network(shape, weights), Adam(weights)
    learnt = [example(tokenizer, row, shape.context) for row in rows]
    learnt.sort(key=lambda each: len(each.tokens))
    starts = np.arange(0, len(learnt) - BATCH + 1, BATCH)
    started, step, recent = time.monotonic(), 0, list[float]()
    while (spent := time.monotonic() - started) < seconds:
        for start in rng.permutation(starts):
            spent = time.monotonic() - started
            rate = RATE * min(1, (step + 1) / 50) * max(0.05, 1 - spent / seconds)
            loss, grads = network.loss(*batch(learnt[start : start + BATCH]))
            adam.step(grads, rate)
            recent.append(loss)
            step += 1
            if spent >= seconds:
                break
        print(f"{spent:.0f} s, step {step}, loss {np.mean(recent):.3f}", flush=True)
        recent.clear()
    return network


def main() -> int:
    seconds = float(sys.argv[1])
    texts = [Path(path).read_text() for path in sys.argv[2:]]
    rows = [row for text in texts for row in passages(text)]
    tokenizer = learn("\n".join(f"{row.prompt}\n{row.answer}" for row in rows), MERGES)
    shape = Shape(tokenizer.size, width=80, layers=2, heads=4, context=CONTEXT)
    print(f"{len(rows)} passages, {tokenizer.size} tokens, {len(SPECIAL)} special", flush=True)
    network = pretrain(rows, tokenizer, shape, seconds)
    BASE.mkdir(exist_ok=True)
    halves = {name: value.astype(np.float16) for name, value in network.weights.items()}
    safetensors.save(BASE / "model.safetensors", halves, {"made_by": "provider.smallmodel"})
    (BASE / "tokenizer.json").write_text(tokenizer.dumps())
    (BASE / "config.json").write_text(config_of(shape))
    print(json.dumps({name: value.size for name, value in network.weights.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

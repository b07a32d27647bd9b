"""A small language model of our own: a transformer of a quarter of a million weights in NumPy.

It was trained on this project's documentation (`pretrain`), and exists so that a fine-tuning broker
can be tried with real training (`__main__`, an executor) and a tuned model with real answers
(`serve`). It knows little; what it says is made by its weights and nothing else.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from protocol import storage

# Matrices this small are multiplied faster by one thread than shared among several; has to be said
# before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

BASE = Path(__file__).with_name("base")
MODEL_NAME = "zg-small"
CONTEXT = 160


@cache
def model_hash() -> str:
    """What tasks name the base model by: the storage root of its weights, 0x-hex."""
    return "0x" + storage.hash_file([(BASE / "model.safetensors").read_bytes()]).root.hex()

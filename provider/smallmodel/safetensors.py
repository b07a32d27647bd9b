"""The safetensors format: 8 bytes of header length, a JSON header, raw tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_HEADER_BYTES = 1024 * 1024
_TYPES = {"F32": np.float32, "F16": np.float16}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}

Tensor = npt.NDArray[np.float32]


class BadTensors(ValueError):
    """The file is no safetensors file that we read."""


def save(path: Path, tensors: Mapping[str, npt.NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write float32 or float16 tensors, names in order."""
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        end = at + tensor.nbytes
        kind = _NAMES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for name in sorted(tensors):
            file.write(np.ascontiguousarray(tensors[name]).tobytes())


def load(path: Path) -> dict[str, Tensor]:
    """All tensors, as float32. Raises BadTensors for anything that is not exactly right."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > MAX_HEADER_BYTES or 8 + length > len(raw):
        raise BadTensors("the header is cut off")
    try:
        header = json.loads(raw[8 : 8 + length])
        header.pop("__metadata__", None)
        body = memoryview(raw)[8 + length :]
        return {str(name): _tensor(entry, body) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadTensors(f"the header is malformed ({error})") from error


def _tensor(entry: dict[str, Any], body: memoryview) -> Tensor:
    kind = np.dtype(_TYPES[entry["dtype"]])
    shape = [int(side) for side in entry["shape"]]
    start, end = (int(offset) for offset in entry["data_offsets"])
    count = 1
    for side in shape:
        if side < 0:
            raise BadTensors("a negative side")
        count *= side
    if not 0 <= start <= end <= len(body) or end - start != count * kind.itemsize:
        raise BadTensors("a tensor lies outside of the file")
    found = np.frombuffer(body[start:end], dtype=kind).reshape(shape).astype(np.float32)
    if not np.isfinite(found).all():
        raise BadTensors("a weight is not a number")
    return found

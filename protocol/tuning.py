"""What users sign for fine-tuning, the five training parameters, and what a task costs
(provider-protocol.md 6.3-6.7).

Every signature is EIP-191 over a 32-byte keccak. The official SDK drops leading zero bytes of that
hash before it signs, once in 256 times: a server accepts both forms, a client signs 32 bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from protocol.digests import BadSignature, personal_digest, recover

INIT, SETTING_UP, SET_UP = "Init", "SettingUp", "SetUp"
TRAINING, TRAINED = "Training", "Trained"
DELIVERING, DELIVERED = "Delivering", "Delivered"
USER_ACKNOWLEDGED, FINISHED, FAILED = "UserAcknowledged", "Finished", "Failed"
#: In the order a task passes them; it can fail from any but the last.
STAGES = (
    *(INIT, SETTING_UP, SET_UP, TRAINING, TRAINED),
    *(DELIVERING, DELIVERED, USER_ACKNOWLEDGED, FINISHED),
)
#: Nothing happens to a task any more.
ENDED = (FINISHED, FAILED)
#: The user may still cancel: no training yet (6.3).
CANCELLABLE = (INIT, SETTING_UP, SET_UP)

#: How far a signed timestamp may lie in the future and in the past, in seconds (6.5).
EARLIEST_SECONDS, LATEST_SECONDS = 60, 300
#: After its delivery a result is to be acknowledged: as brokers come, and as documented (6.3).
USUAL_WINDOW, LONGEST_WINDOW = 6 * 3600, 48 * 3600
MAX_TEE_UPLOAD_BYTES = 100 * 1024 * 1024
MAX_PARAMETER_CHARS = 4096

#: Names that the official SDK turns into hashes by itself (6.2).
MODEL_HASHES = {
    "Qwen2.5-0.5B-Instruct": "0xb4f76a886b8655c92bb021922d60b5e4d9271a5c9da98b6cb10937a06c2c75a7",
    "Qwen3-32B": "0x2e6f9620c35bdcb2b753cc7aa34e78077a8ed133e36fa36008fd6bdfd29af3a5",
    "mock-model": "0xcb42b5ca9e998c82dd239ef2d20d22a4ae16b3dc0ce0a855c93b52c7c2bab6dc",
}

_HASH = re.compile(r"0x[0-9a-f]{64}\Z")
_ADAPTER_GAPS = re.compile(r"[/. ]")
_NAME_CHARS_OF_TASK = 12


class BadParameters(ValueError):
    """The training parameters will not do; `problems` says why, by key ("" for the whole)."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        words = (f"{key}: {text}" if key else text for key, text in problems.items())
        super().__init__("; ".join(words))


@dataclass(frozen=True)
class Range:
    """What one parameter may be; `default` is the documentation's example."""

    low: Decimal
    high: Decimal
    whole: bool
    default: str


PARAMETERS = {
    "neftune_noise_alpha": Range(Decimal(0), Decimal(10), False, "5"),
    "num_train_epochs": Range(Decimal(1), Decimal(10), True, "1"),
    "per_device_train_batch_size": Range(Decimal(1), Decimal(4), True, "2"),
    "learning_rate": Range(Decimal("0.00001"), Decimal("0.001"), False, "0.0002"),
    "max_steps": Range(Decimal(-1), Decimal(2**31 - 1), True, "-1"),
}


@dataclass(frozen=True)
class Parameters:
    """The five settings of a task, exact; `max_steps` -1 means no limit."""

    neftune_noise_alpha: Decimal
    num_train_epochs: int
    per_device_train_batch_size: int
    learning_rate: Decimal
    max_steps: int


class _Literal(str):
    """A JSON number as it was written."""


def parse_parameters(text: str) -> Parameters:
    """The training parameters of a task (6.4): exactly five keys, plain decimal numbers.

    Raises BadParameters with every problem at once.
    """
    if len(text) > MAX_PARAMETER_CHARS:
        raise BadParameters({"": f"longer than {MAX_PARAMETER_CHARS} characters"})
    try:
        found = json.loads(
            text,
            parse_float=_Literal,
            parse_int=_Literal,
            parse_constant=_Literal,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as error:
        raise BadParameters({"": f"not valid JSON ({error})"}) from error
    if not isinstance(found, dict):
        raise BadParameters({"": "expected a JSON object"})
    problems = dict.fromkeys(found.keys() - PARAMETERS.keys(), "is not one of the five settings")
    values: dict[str, Decimal] = {}
    for key, rule in PARAMETERS.items():
        value = _number(found.get(key), rule)
        if isinstance(value, str):
            problems[key] = value
        else:
            values[key] = value
    if problems:
        raise BadParameters(problems)
    return Parameters(
        values["neftune_noise_alpha"],
        int(values["num_train_epochs"]),
        int(values["per_device_train_batch_size"]),
        values["learning_rate"],
        int(values["max_steps"]),
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _number(written: object, rule: Range) -> Decimal | str:
    """The number, or what is wrong with it."""
    if written is None:
        return "is missing"
    if not isinstance(written, _Literal):
        return "expected a plain number"
    if "e" in written.lower():
        return "write it as a decimal, without an exponent"
    if not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,30})?", written):
        return "expected a plain number"
    value = Decimal(written)
    if rule.whole and "." in written:
        return "expected a whole number"
    if rule.low == -1:
        return value if value == -1 or value >= 1 else "expected -1 (no limit) or 1 and more"
    if not rule.low <= value <= rule.high:
        return f"expected {rule.low:f} to {rule.high:f}"
    return value


# ---- signatures ----------------------------------------------------------------------------------


def task_hash(user: str, nonce: int, dataset_hash: str) -> bytes:
    """What a user signs to create a task: 32 bytes.

    The dataset's hash enters as text, exactly as it is sent. Raises ValueError.
    """
    return keccak(bytes.fromhex(user[2:]) + nonce.to_bytes(32, "big") + dataset_hash.encode())


def cancel_hash(task_id: str) -> bytes:
    """What a user signs to cancel a task. Raises ValueError for an id that is no UUID."""
    return keccak(UUID(task_id).bytes)


def upload_hash(user: str, timestamp: int) -> bytes:
    """What a user signs to upload a dataset into the TEE; `timestamp` in unix seconds."""
    return keccak(text=f"{to_checksum_address(user)}{timestamp}")


def download_hash(task_id: str, timestamp: int) -> bytes:
    """What a user signs to download a result from the TEE; `timestamp` in unix seconds.

    Raises ValueError for an id that is no UUID.
    """
    return keccak(text=f"{UUID(task_id).hex}{timestamp}")


def signed_by(user: str, hash_: bytes, signature: str) -> bytes:
    """The digest that `user` signed for the 32-byte `hash_`: of all of it, or of what the official
    SDK leaves of it. Raises BadSignature where it is neither."""
    for digest in _digests(hash_):
        if recover(digest, signature).lower() == user.lower():
            return digest
    raise BadSignature("signature verification failed: address mismatch")


def timely(timestamp: int, now: float) -> bool:
    """Whether a signed timestamp counts now; both in unix seconds."""
    return now - LATEST_SECONDS <= timestamp <= now + EARLIEST_SECONDS


def _digests(hash_: bytes) -> Iterator[bytes]:
    yield personal_digest(hash_)
    if hash_[:1] == b"\0":
        yield personal_digest(hash_.lstrip(b"\0"))


# ---- money and names -----------------------------------------------------------------------------


def task_fee(
    *, tokens: int, price: int, epochs: int, coefficient: int = 1, storage_fee: int = 0
) -> int:
    """Neuron for a finished task (6.7); `price` in neuron per token."""
    return tokens * price * epochs * coefficient + storage_fee


@dataclass(frozen=True)
class Due:
    """Until when a result is to be acknowledged, unix seconds. `late`: what brokers come with is
    over, and `at` is the `latest` that any of them waits."""

    at: int
    latest: int
    late: bool


def acknowledge_by(delivered: int, lock_time_seconds: int, now: int) -> Due:
    """Until when a result that was delivered then can be acknowledged without fear: the window is
    the provider's setting, which it tells nobody. Brokers come with 6 hours, use at most half of
    the refund lock time (6.3), and never more than the documented 48 hours; the contract has no
    deadline at all. All in unix seconds."""
    longest = min(LONGEST_WINDOW, lock_time_seconds // 2)
    usual = min(USUAL_WINDOW, longest)
    late = longest > usual and now >= delivered + usual
    return Due(delivered + (longest if late else usual), delivered + longest, late)


def penalty(fee: int, percentage: int) -> int:
    """Neuron for a result that its user did not acknowledge in time (contracts.md 6.5)."""
    return fee * percentage // 100


def is_hash(text: str) -> bool:
    """Whether `text` is a 32-byte hash as clients send it: 0x and lower-case hex."""
    return bool(_HASH.match(text))


def adapter_name(base_model: str, task_id: str) -> str:
    """What a tuned model is called at an inference provider (1.6)."""
    base = _ADAPTER_GAPS.sub("-", base_model).strip("-")
    return f"ft-{base}-{task_id[:_NAME_CHARS_OF_TASK]}"

"""Rows of a small network for the API's tests, as the follower would write them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings
from django.utils import timezone
from eth_utils.address import to_checksum_address

from chain.models import Head
from ledger.models import (
    Ledger,
    Movement,
    Projection,
    Service,
    ServiceChange,
    ServingContract,
    Settlement,
    SubAccount,
)

INFERENCE = "0x0165878A594ca255338adfa4d48449f69242Eb8F"
TUNING_OLD = "0xA51c1fc2f0D1a1b8494Ed1FE312d7C3a78Ed91C0"
TUNING = "0x610178dA211FEF7D417bC0e6FeD39F05609AD788"
NOON = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
HUGE = 2**255 + 1


def address(number: int) -> str:
    return str(to_checksum_address(f"{number:#042x}"))


ALICE, BOB, CHARLIE = address(0xA11CE), address(0xB0B), address(0xC4A2)
PETRA, PAUL = address(0x9E72A), address(0x9A01)


def head(block: int = 100, hash_byte: str = "aa") -> Head:
    """The follower's position, agreed with the node this moment."""
    row, _ = Head.objects.update_or_create(
        chain_id=settings.CHAIN_ID,
        defaults={
            "head_block": block + 1,
            "indexed_block": block,
            "indexed_hash": "0x" + hash_byte * 32,
            "indexed_timestamp": 1_780_000_000,
            "final_block": block - 2,
            "checked_at": timezone.now(),
        },
    )
    Projection.objects.update_or_create(
        name="ledger", defaults={"version": 1, "final_block": block - 2, "pending_block": block}
    )
    return row


def contracts(lock_time_seconds: int = 86_400) -> None:
    """One inference contract and two of fine-tuning, the newer one recommended."""
    for place, kind, name, recommended, block in (
        (INFERENCE, "inference", "inference-v1.0", True, 5),
        (TUNING_OLD, "fine-tuning", "fine-tuning-v1.0", False, 6),
        (TUNING, "fine-tuning", "fine-tuning-v1.1", True, 7),
    ):
        ServingContract.objects.create(
            address=place,
            kind=kind,
            version=name.rsplit("-", 1)[1],
            service_name=name,
            recommended=recommended,
            registered_block=block,
            start_block=block,
            block=block,
            lock_time_seconds=lock_time_seconds,
        )


def service(provider: str = PETRA, serving: str = INFERENCE, **fields: Any) -> Service:
    values: dict[str, Any] = {
        "kind": "inference",
        "url": "https://petra.example",
        "service_type": "chatbot",
        "model": "llama-3",
        "verifiability": "TeeML",
        "input_price": 100,
        "output_price": 400,
        "tee_signer": address(0x516),
        "stake": 100 * 10**18,
        "block": 10,
        "created_block": 10,
    }
    return Service.objects.create(provider=provider, serving=serving, **{**values, **fields})


def tuning(provider: str = PETRA, serving: str = TUNING, **fields: Any) -> Service:
    values: dict[str, Any] = {
        "kind": "fine-tuning",
        "service_type": "",
        "model": "",
        "verifiability": "",
        "input_price": 0,
        "output_price": 0,
        "quota": {
            "cpu_count": 8,
            "node_memory": 64,
            "gpu_count": 1,
            "node_storage": 500,
            "gpu_type": "H100",
        },
        "price_per_token": 7,
        "model_list": ["llama-3", "qwen"],
    }
    return service(provider, serving, **{**values, **fields})


def ledger(user: str = ALICE, **fields: Any) -> Ledger:
    values: dict[str, Any] = {"total": 10 * 10**18, "available": 4 * 10**18, "block": 20}
    return Ledger.objects.create(user=user, **{**values, **fields})


def sub_account(
    user: str = ALICE, provider: str = PETRA, serving: str = INFERENCE, **fields: Any
) -> SubAccount:
    values: dict[str, Any] = {"balance": 2 * 10**18, "acknowledged": True, "block": 21}
    return SubAccount.objects.create(
        user=user, provider=provider, serving=serving, **{**values, **fields}
    )


def movement(user: str = ALICE, **fields: Any) -> Movement:
    values: dict[str, Any] = {
        "kind": "transfer",
        "balance": "sub_account",
        "serving": INFERENCE,
        "provider": PETRA,
        "amount": 5,
        "balance_after": 5,
        "source": "event",
        "block": 30,
        "at": NOON,
        "tx_hash": "0x" + "11" * 32,
        "log_index": 3,
    }
    return Movement.objects.create(user=user, **{**values, **fields})


def settlement(user: str = ALICE, provider: str = PETRA, **fields: Any) -> Settlement:
    values: dict[str, Any] = {
        "serving": INFERENCE,
        "status": "success",
        "settled": 9,
        "unsettled": 0,
        "block": 40,
        "at": NOON,
        "tx_hash": "0x" + "22" * 32,
        "log_index": 1,
    }
    return Settlement.objects.create(user=user, provider=provider, **{**values, **fields})


def change(provider: str = PETRA, serving: str = INFERENCE, **fields: Any) -> ServiceChange:
    values: dict[str, Any] = {
        "change": "price",
        "before": {"input_price": "1"},
        "after": {"input_price": "2"},
        "block": 50,
        "at": NOON,
        "tx_hash": "0x" + "33" * 32,
        "log_index": 2,
    }
    return ServiceChange.objects.create(provider=provider, serving=serving, **{**values, **fields})

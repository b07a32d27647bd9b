"""Rows for tests that need a state of the index without running a chain. Plain functions, keyword
overrides.

The indexer is the only writer of these tables in the product; tests that check the indexer never
use this module.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from functools import cache
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Model
from django.utils import timezone
from eth_utils.address import to_checksum_address

from accounts.models import User
from alerts.models import Channels, Delivery
from attestation.models import Endpoint, Outcome, Trigger, Turn, VerdictChange, Verification
from chain.models import Head
from ledger.models import Ledger, Service, ServiceChange, ServingContract, Settlement, SubAccount

#: The cast: Alice owns, Bob shares, Charlie must not see; Petra provides.
ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
CHARLIE = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
PETRA = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"

INFERENCE = "0x0165878A594ca255338adfa4d48449f69242Eb8F"
FINE_TUNING = "0x610178dA211FEF7D417bC0e6FeD39F05609AD788"

ONE = 10**18
Row = TypeVar("Row", bound=Model)


@cache
def address(seed: int | str) -> str:
    """An EIP-55 address that depends on the seed alone."""
    return str(
        to_checksum_address("0x" + hashlib.sha256(f"address {seed}".encode()).hexdigest()[:40])
    )


def tx_hash(seed: int | str) -> str:
    return "0x" + hashlib.sha256(f"transaction {seed}".encode()).hexdigest()


def _kept(row: Row) -> Row:
    row.save(force_insert=True)
    return row


def head(**given: Any) -> Head:
    """A follower that agreed with the node a moment ago."""
    values: dict[str, Any] = {
        "head_block": 4_512_332,
        "indexed_block": 4_512_331,
        "indexed_timestamp": int(timezone.now().timestamp()) - 3,
        "final_block": 4_512_320,
        "checked_at": timezone.now(),
    }
    row, _ = Head.objects.update_or_create(
        chain_id=given.pop("chain_id", settings.CHAIN_ID), defaults={**values, **given}
    )
    return row


def contract(**given: Any) -> ServingContract:
    kind = given.get("kind", "inference")
    values: dict[str, Any] = {
        "address": FINE_TUNING if kind == "fine-tuning" else INFERENCE,
        "kind": kind,
        "version": "v1.0",
        "service_name": f"{kind}-v1.0",
        "recommended": True,
        "registered_block": 10,
        "start_block": 10,
        "owner": address("owner"),
        "lock_time_seconds": 86_400,
        "penalty_percentage": 30 if kind == "fine-tuning" else None,
        "block": 10,
    }
    return ServingContract.objects.create(**{**values, **given})


def service(provider: str = PETRA, **given: Any) -> Service:
    """A chat service with an acknowledged signer, at 0.42 and 1.2 0G per million tokens."""
    return _kept(_service(provider, **given))


def _service(provider: str = PETRA, **given: Any) -> Service:
    kind = given.get("kind", "inference")
    values: dict[str, Any] = {
        "serving": FINE_TUNING if kind == "fine-tuning" else INFERENCE,
        "provider": provider,
        "kind": kind,
        "url": "https://provider.example",
        "service_type": "" if kind == "fine-tuning" else "chatbot",
        "model": "" if kind == "fine-tuning" else "qwen/qwen-2.5-7b-instruct",
        "verifiability": "" if kind == "fine-tuning" else "TeeML",
        "input_price": 420_000_000_000,
        "output_price": 1_200_000_000_000,
        "additional_info": '{"TEEVerifier": "dstack", "ProviderType": "decentralized"}',
        "updated_at_unix": int(timezone.now().timestamp()) - 7_200,
        "tee_signer": address(f"signer of {provider}"),
        "tee_signer_acknowledged": True,
        "stake": 100 * ONE,
        "created_block": 1_000,
        "block": 4_000_000,
    }
    if kind == "fine-tuning":
        values |= {
            "price_per_token": 500_000_000_000,
            "model_list": ["Qwen2.5-0.5B-Instruct", "Qwen3-32B"],
            "quota": {
                "cpu_count": 32,
                "node_memory": 128,
                "gpu_count": 1,
                "node_storage": 2_000,
                "gpu_type": "H100",
            },
        }
    return Service(**{**values, **given})


def change(provider: str = PETRA, **given: Any) -> ServiceChange:
    return _kept(_change(provider, **given))


def _change(provider: str = PETRA, **given: Any) -> ServiceChange:
    values: dict[str, Any] = {
        "serving": INFERENCE,
        "provider": provider,
        "change": "price",
        "before": {"input_price": "500000000000", "output_price": "1200000000000"},
        "after": {"input_price": "420000000000", "output_price": "1200000000000"},
        "block": 4_000_000,
        "at": timezone.now() - dt.timedelta(hours=2),
        "tx_hash": tx_hash(f"change {provider}"),
        "log_index": 1,
    }
    return ServiceChange(**{**values, **given})


def verdict_change(provider: str = PETRA, **given: Any) -> VerdictChange:
    """A verdict that became worse; of a service of the inference contract."""
    at = given.get("at", timezone.now() - dt.timedelta(hours=1))
    about = {"kind": "inference", "provider": provider, "service_name": "inference-v1.0"}
    run = Verification.objects.create(
        **about,
        endpoint=Endpoint.BROKER,
        trigger=Trigger.SCHEDULE,
        outcome=Outcome.JUDGED,
        overall="fail",
        started_at=at,
        finished_at=at,
        now_unix=int(at.timestamp()),
        block=given.get("block", 4_000_000),
    )
    values: dict[str, Any] = {
        **about,
        "change": Turn.WORSE,
        "before": {"overall": "pass"},
        "after": {"overall": "fail", "checks": ["tdx.debug"]},
        "block": 4_000_000,
        "at": at,
        "verification": run,
    }
    return VerdictChange.objects.create(**{**values, **given})


def settlement(provider: str = PETRA, user: str = ALICE, **given: Any) -> Settlement:
    return _kept(_settlement(provider, user, **given))


def _settlement(provider: str = PETRA, user: str = ALICE, **given: Any) -> Settlement:
    values: dict[str, Any] = {
        "serving": INFERENCE,
        "provider": provider,
        "user": user,
        "status": "success",
        "settled": 2_500_000_000_000_000,
        "unsettled": 0,
        "block": 4_100_000,
        "at": timezone.now() - dt.timedelta(minutes=30),
        "tx_hash": tx_hash(f"settlement {provider}"),
        "log_index": 3,
    }
    return Settlement(**{**values, **given})


def purse(user: str = ALICE, **given: Any) -> Ledger:
    values: dict[str, Any] = {
        "user": user,
        "available": 5 * ONE,
        "total": 8 * ONE,
        "block": 4_000_000,
    }
    return Ledger.objects.create(**{**values, **given})


def sub_account(user: str = ALICE, provider: str = PETRA, **given: Any) -> SubAccount:
    values: dict[str, Any] = {
        "serving": INFERENCE,
        "user": user,
        "provider": provider,
        "balance": 3 * ONE,
        "acknowledged": True,
        "block": 4_000_000,
    }
    return SubAccount.objects.create(**{**values, **given})


def market(services: int = 12) -> None:
    """A small network: contracts, services of every type, their changes and settlements."""
    head()
    contract()
    contract(kind="fine-tuning")
    offers = (
        ("chatbot", "qwen/qwen-2.5-7b-instruct", 420, 1_200),
        ("chatbot", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 900, 2_800),
        ("text-to-image", "black-forest-labs/FLUX.1-schnell", 0, 3_000_000),
        ("speech-to-text", "openai/whisper-large-v3", 100, 800_000),
        ("chatbot", "meta-llama/Llama-3.3-70B-Instruct", 700, 2_100),
    )
    listed: list[Service] = []
    changes: list[ServiceChange] = []
    settled: list[Settlement] = []
    for index in range(services):
        provider = address(index)
        if index % 6 == 5:
            listed.append(_service(provider, kind="fine-tuning", created_block=1_000 + index))
            continue
        kind, model, given, answered = offers[index % 6]
        listed.append(
            _service(
                provider,
                service_type=kind,
                model=model,
                input_price=given * 10**9,
                output_price=answered * 10**9,
                tee_signer_acknowledged=index % 7 != 3,
                created_block=1_000 + index,
                updated_at_unix=int(timezone.now().timestamp()) - 4_000 * (index + 1) ** 2,
            )
        )
        snapshot = {
            "model": model,
            "service_type": kind,
            "input_price": str(given * 10**9),
            "output_price": str(answered * 10**9),
        }
        signed = {"tee_signer": address(f"signer of {provider}")}
        changes += [
            _change(
                provider, change="registered", before=None, after=snapshot, block=1_000 + index
            ),
            _change(
                provider, change="acknowledged", before=None, after=signed, block=1_200 + index
            ),
            _change(provider),
        ]
        poor: dict[str, Any] = {"status": "partial", "settled": 10**14, "unsettled": 3 * 10**14}
        settled += [
            _settlement(provider, address(f"user {index % 3}"), settled=10**15 * (index + 3)),
            _settlement(provider, address("poor"), **poor),
        ]
    Service.objects.bulk_create(listed)
    ServiceChange.objects.bulk_create(changes)
    Settlement.objects.bulk_create(settled)


def mails_due(readers: int) -> None:
    """A mail that is due for each of so many readers."""
    now = timezone.now()
    for number in range(readers):
        user = User.objects.for_address(address(f"reader {number}"))
        Channels.objects.create(user=user, email=f"{number}@example.org", email_verified_at=now)
        Delivery.objects.create(user=user, created_at=now, due_at=now)

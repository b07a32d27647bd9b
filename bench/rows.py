"""A large network as rows, made inside PostgreSQL: for pages only, which read nothing else.

The index is measured on a real chain (bench.workload); here only the size of the tables matters.
"""

from __future__ import annotations

from django.conf import settings
from django.db import connection
from django.utils import timezone
from eth_utils.address import to_checksum_address

from bench.backfill import empty
from chain.models import Head
from ledger.models import Projection, ServingContract

INFERENCE = "0x0165878A594ca255338adfa4d48449f69242Eb8F"
FINE_TUNING = "0xA51c1fc2f0D1a1b8494Ed1FE312d7C3a78Ed91C0"
USERS = 2_000
BLOCKS = 100_000


def _address(number: int) -> str:
    """Digits only, hence EIP-55 as it stands: SQL makes the same with lpad."""
    return str(to_checksum_address(f"0x{number:040d}"))


PROVIDER, USER = _address(10**9 + 7), _address(7)
_PROVIDER = "'0x' || lpad((1000000000 + {0})::text, 40, '0')"
_USER = "'0x' || lpad(({0})::text, 40, '0')"
_HASH = "'0x' || lpad(({0})::text, 64, '0')"
_AT = "now() - ({0} * interval '1 minute')"

_SERVICES = f"""
INSERT INTO ledger_service (pending, shadowed, block, serving, provider, kind, removed, position,
    url, service_type, model, verifiability, input_price, output_price, additional_info,
    updated_at_unix, quota, price_per_token, occupied, model_list, tee_signer,
    tee_signer_acknowledged, stake, created_block)
SELECT false, false, n, %(inference)s, {_PROVIDER.format("n")}, 'inference', n %% 50 = 0, n,
    'https://provider-' || n || '.example.org',
    (ARRAY['chatbot', 'text-to-image', 'speech-to-text'])[1 + n %% 3],
    'family-' || n %% 12 || '/model-' || n %% 60 || '-instruct', 'TeeML', n * 1000, n * 3000, '',
    1780000000 + n, NULL, 0, false, '[]', {_PROVIDER.format("n + 500000000")}, n %% 3 > 0,
    100000000000000000000, n
FROM generate_series(1, %(services)s) n
"""
_LEDGERS = f"""
INSERT INTO ledger_ledger (pending, shadowed, block, "user", "exists", available, total,
    additional_info)
SELECT false, false, n, {_USER.format("n")}, true, n * 1000000000000000000::numeric,
    n * 2000000000000000000::numeric, '' FROM generate_series(1, %(users)s) n
"""
_ACCOUNTS = f"""
INSERT INTO ledger_subaccount (pending, shadowed, block, serving, "user", provider, live, balance,
    pending_refund, refunds, nonce, acknowledged, additional_info, generation, revoked_bitmap,
    deliverables)
SELECT false, false, n, %(inference)s, {_USER.format("n")},
    {_PROVIDER.format("1 + (n * 7 + k) %% %(services)s")}, true, 1000000000000000000, 0, '[]', n,
    true, '', 0, 0, '[]'
FROM generate_series(1, %(users)s) n, generate_series(0, 4) k
"""
# Four fifths of the events are spread over everybody, the rest belongs to one pair.
_MOVEMENTS = f"""
INSERT INTO ledger_movement (pending, block, at, tx_hash, log_index, sequence, "user", kind,
    balance, serving, provider, amount, balance_after, pending_change, source)
SELECT false, n * %(blocks)s::bigint / %(events)s, {_AT.format("(%(events)s - n)")},
    {_HASH.format("n")}, 1, n %% 100,
    {_USER.format("CASE WHEN n %% 200 = 0 THEN 7 ELSE 1 + n %% %(users)s END")}, 'settlement',
    'sub_account', %(inference)s, {_PROVIDER.format("1 + n %% %(services)s")}, -n, n, 0, 'event'
FROM generate_series(1, %(events)s) n
"""
_SETTLEMENTS = f"""
INSERT INTO ledger_settlement (pending, block, at, tx_hash, log_index, sequence, serving, provider,
    "user", status, settled, unsettled)
SELECT false, n * %(blocks)s::bigint / %(events)s, {_AT.format("(%(events)s - n)")},
    {_HASH.format("n")}, 1, n %% 100, %(inference)s,
    {_PROVIDER.format("CASE WHEN n %% 200 = 0 THEN 7 ELSE 1 + n %% %(services)s END")},
    {_USER.format("1 + n %% %(users)s")},
    (ARRAY['success', 'partial', 'invalid_nonce'])[1 + n %% 3], n * 1000, n %% 3
FROM generate_series(1, %(events)s) n
"""
_CHANGES = f"""
INSERT INTO ledger_servicechange (pending, block, at, tx_hash, log_index, sequence, serving,
    provider, change, before, after)
SELECT false, n * %(blocks)s::bigint / (%(events)s / 4), {_AT.format("(%(events)s - n)")},
    {_HASH.format("n")}, 1, n %% 100, %(inference)s,
    {_PROVIDER.format("1 + n %% %(services)s")}, 'price',
    '{{"input_price": "1", "output_price": "2"}}', '{{"input_price": "3", "output_price": "4"}}'
FROM generate_series(1, %(events)s / 4) n
"""


def fill(services: int, events: int) -> None:
    """Empty tables, then `services` listings, 2,000 users and about 2 x `events` history rows."""
    empty()
    given: dict[str, int | str] = {
        "services": services,
        "users": USERS,
        "events": events,
        "blocks": BLOCKS,
        "inference": INFERENCE,
    }
    for kind, address in (("inference", INFERENCE), ("fine-tuning", FINE_TUNING)):
        ServingContract.objects.create(
            address=address,
            kind=kind,
            version="v1.0",
            service_name=f"{kind}-v1.0",
            recommended=True,
            registered_block=1,
            start_block=1,
            block=1,
            lock_time_seconds=86_400,
        )
    Head.objects.create(
        chain_id=settings.CHAIN_ID,
        head_block=BLOCKS,
        indexed_block=BLOCKS,
        indexed_hash=f"0x{services:064x}",
        indexed_timestamp=int(timezone.now().timestamp()),
        final_block=BLOCKS - 2,
        checked_at=timezone.now(),
    )
    Projection.objects.create(
        name="ledger", version=1, final_block=BLOCKS - 2, pending_block=BLOCKS
    )
    with connection.cursor() as cursor:
        for statement in (
            _SERVICES, _LEDGERS, _ACCOUNTS, _MOVEMENTS, _SETTLEMENTS, _CHANGES,
        ):  # fmt: skip
            cursor.execute(statement, given)
        cursor.execute("VACUUM ANALYZE")

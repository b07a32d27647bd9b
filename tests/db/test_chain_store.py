"""The raw store and the follower's lock, on real PostgreSQL."""

from __future__ import annotations

import threading

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain import store
from chain.facts import Block, Call, Header, Log, Transaction
from chain.models import Coverage, RawBlock, RawCall, RawLog, RawTransaction
from ledger import services

A, B = "0x" + "Aa" * 20, "0x" + "Bb" * 20


def block(number: int, *, fork: str = "0", logs: int = 1, calls: int = 0) -> Block:
    """A block with one transaction of A and `logs` logs of A and B in turn."""
    name = f"0x{fork}{number:063x}"
    tx_hash = f"0x{fork}{number:062x}f"
    header = Header(number, name, f"0x{fork}{number - 1:063x}", 1000 + number)
    made = tuple(
        Log(number, name, i, tx_hash, 0, A if i % 2 == 0 else B, ("0x" + "11" * 32,), f"0x{i:02x}")
        for i in range(logs)
    )
    transaction = Transaction(tx_hash, name, number, 0, B, A, 2**255, "0x", 1)
    answers = {Call(A, f"0x{i:02x}"): f"0x{i:064x}" for i in range(calls)}
    return Block(header, (transaction,) if logs else (), made, answers)


@pytest.mark.django_db
@pytest.mark.parametrize("size", [3, 500])
def test_facts_come_back_as_they_went_in(size: int) -> None:
    """A few rows (INSERT) and many (COPY); writing them again changes nothing."""
    written = [block(n, logs=1 + n % 3, calls=n % 2) for n in range(1, size)]
    store.write(written)
    store.write([*written, block(size)])
    assert list(store.blocks(0, size)) == [*written, block(size)]
    assert RawLog.objects.count() == sum(len(b.logs) for b in written) + 1
    only = list(store.blocks(0, size, address=B))
    assert only == [b.only(B) for b in written if b.only(B).logs]


@pytest.mark.django_db
def test_losers_and_empty_headers_go_when_a_range_is_final() -> None:
    winners = [block(1), block(2, logs=0), block(3, calls=1), block(4, logs=0)]
    losers = [block(2, fork="a"), block(3, fork="a", calls=2)]
    later = [block(5, fork="a"), block(5)]
    asked_more_while_pending = block(3, calls=4)
    store.write([*winners[:2], asked_more_while_pending, *losers, *later])
    store.replace(1, winners)
    assert list(store.blocks(0, 4)) == [winners[0], winners[2]]
    assert set(RawBlock.objects.values_list("number", "hash")) == {
        (1, winners[0].header.hash),
        (3, winners[2].header.hash),
        (4, winners[3].header.hash),  # the last final one stays although it is empty
        (5, later[0].header.hash),
        (5, later[1].header.hash),
    }
    for model in (RawLog, RawTransaction, RawCall):
        hashes = set(model.objects.filter(block_number__lte=4).values_list("block_hash", flat=True))
        assert hashes <= {b.header.hash for b in winners}
    assert RawLog.objects.filter(block_number=5).count() == 2


@pytest.mark.django_db
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=8))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_coverage_is_the_union_of_what_was_covered(spans: list[tuple[int, int]]) -> None:
    Coverage.objects.all().delete()
    wanted: set[int] = set()
    for first, length in spans:
        store.cover(A, first, first + length)
        wanted |= set(range(first, first + length + 1))
    found = store.covered(A)
    assert {n for first, last in found for n in range(first, last + 1)} == wanted
    assert store.covered(B) == []


@pytest.mark.django_db(transaction=True)
def test_a_second_follower_waits() -> None:
    """The lock is the session's: it is free as soon as its holder is gone, however it went."""
    parts = connection.settings_dict
    other = psycopg.connect(host=parts["HOST"], user=parts["USER"], dbname=parts["NAME"])
    assert other.execute("SELECT pg_try_advisory_lock(%s)", [services.LOCK]).fetchone() == (True,)
    asked = threading.Event()

    def gone() -> bool:
        """Asked before each try; the holder dies after the second one."""
        if asked.is_set():
            other.close()
        asked.set()
        return False

    with services.only_one(gone) as held:
        assert held
        assert other.closed
    with services.only_one(lambda: True) as held:
        assert not held, "stopped while waiting"

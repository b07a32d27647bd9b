"""What brokers share about unsettled fees: read back as written, and nothing else is believed. And
what is owed where no disk takes it."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from protocol import unsettled
from protocol.digests import address_of_key
from protocol.unsettled import BadUnsettled, Unsettled
from provider.config import MachineChoice
from provider.debts import Debts
from provider.errors import Refused
from provider.receipts import Receipts
from provider.store import Charge, Store, record_answer
from provider.switch import Switch
from provider.tee.dev import DevTee

KEY = b"\x11" * 32
PROVIDER = address_of_key(KEY)
CONTRACT = "0x0165878A594ca255338adfa4d48449f69242Eb8F"
SAID = Unsettled(PROVIDER, 16661, CONTRACT, 1_763_676_000, 2**70, 12, 5, 1)
PLACE = {"provider": PROVIDER, "chain_id": 16661, "contract": CONTRACT}


def test_what_was_signed_is_read_back() -> None:
    document = SAID.document(KEY)
    assert document["unsettledFee"] == str(2**70)
    assert unsettled.parse(document, **PLACE) == SAID  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unsettledFee": "1"}, "not signed by the provider"),
        ({"users": 13}, "not signed by the provider"),
        ({"at": 1_763_676_001}, "not signed by the provider"),
        ({"chainId": 1}, "another service"),
        ({"provider": CONTRACT}, "another service"),
        ({"unsettledFee": 5}, "not what it should be"),
        ({"unsettledFee": "٣"}, "not what it should be"),
        ({"unsettledFee": "9" * 79}, "not what it should be"),
        ({"users": -1}, "not what it should be"),
        ({"users": True}, "not what it should be"),
        ({"atRiskUsers": 2**60}, "not what it should be"),
        ({"contract": "0x12"}, "not what it should be"),
        ({"provider": 7}, "not what it should be"),
        ({"signature": "0x"}, "invalid signature length"),
        ({"signature": None}, "invalid signature format"),
    ],
)
def test_nothing_else_is_believed(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadUnsettled, match=said):
        unsettled.parse({**SAID.document(KEY), **changes}, **PLACE)  # type: ignore[arg-type]


def test_a_stranger_cannot_speak_for_a_provider() -> None:
    with pytest.raises(BadUnsettled, match="not signed"):
        unsettled.parse(SAID.document(b"\x12" * 32), **PLACE)  # type: ignore[arg-type]
    junks: tuple[object, ...] = (None, [], "x", {})
    for junk in junks:
        with pytest.raises(BadUnsettled):
            unsettled.parse(junk, **PLACE)  # type: ignore[arg-type]
    assert replace(SAID, fee=1).text() != SAID.text()


async def test_what_no_disk_takes_is_owed_and_written_down_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was delivered, that is; and new work is refused meanwhile."""
    monkeypatch.setattr("provider.receipts.DISK_PAUSE_SECONDS", 0.01)
    debts, switch = Debts({}), Switch(store := Store(tmp_path))
    tee = DevTee(bytes([1] * 32), bytes(32), MachineChoice())
    receipts = Receipts(store, debts, tee, switch)
    when = "WHEN NEW.fee > '0' BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    store.rows(f"CREATE TRIGGER full BEFORE INSERT ON charge {when}")
    for number, delivered in enumerate((False, True, True)):
        charge = Charge(PROVIDER, 7, bytes(32), f"answer {number}")
        with pytest.raises(sqlite3.Error, match="disk full"):
            await receipts.record(charge, None, delivered=delivered)
    assert debts.debtors() == {PROVIDER: 14} and store.owed() == {}
    with pytest.raises(Refused) as refused:
        switch.check()
    assert refused.value.status == 503
    with store.transaction() as db:
        db.execute("DROP TRIGGER full")
        record_answer(db, Charge(PROVIDER, 7, bytes(32), "answer 1"), None)  # done after all
    while switch.full:
        await asyncio.sleep(0.01)
    assert store.owed() == {PROVIDER: 14} == debts.debtors()
    # A broker that is stopped meanwhile writes down what it can, or says what is lost.
    store.rows(f"CREATE TRIGGER full BEFORE INSERT ON charge {when}")
    with pytest.raises(sqlite3.Error, match="disk full"):
        await receipts.record(Charge(PROVIDER, 5, bytes(32), "answer 3"), None, delivered=True)
    receipts.record_last(Charge(PROVIDER, 2, bytes(32), "answer 4"))  # was being given
    receipts.close()
    assert "7 neuron of delivered answers are lost: disk full" in caplog.text
    store.rows("DROP TRIGGER full")
    receipts.close()
    assert store.owed() == {PROVIDER: 19 + 2} and debts.debtors() == {PROVIDER: 19}
    store.close()

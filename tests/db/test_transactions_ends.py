"""Ends of a transaction that a slow node or a reorganisation undoes, and what the page says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import carriers, follow, funds, intents, pages_transaction, services, unheard
from accounts.errors import Refused
from accounts.models import Intent, State
from devnet.anvil import Anvil
from devnet.client import Chain
from devnet.deploy import Contracts
from tests.db.test_transactions import (
    ALICE,
    BOB,
    FIVE,
    NEURON,
    _next,
    broadcast,
    chain,
    client_of,
    contracts,
    index,
    looked,
    opened,
    person,
    sent,
)

__all__ = ["chain", "contracts"]
pytestmark = pytest.mark.django_db
PRICE = {"maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 9 * 10**9}


def again(chain: Chain, intent: Intent) -> str:
    """The wallet broadcasts the same signed transaction once more."""
    return broadcast(chain, ALICE, intent)


def test_a_dropped_transaction_that_arrives_after_all_is_no_longer_called_dropped(
    chain: Chain,
) -> None:
    intent = sent(chain, ALICE)
    looked(intent)
    chain.rpc.call("anvil_dropTransaction", intent.tx_hash)
    Intent.objects.filter(pk=intent.pk).update(submitted_at=timezone.now() - timedelta(minutes=11))
    assert looked(intent).state == State.DROPPED
    assert again(chain, intent) == intent.tx_hash
    assert looked(intent).state == State.SUBMITTED
    chain.rpc.call("anvil_dropTransaction", intent.tx_hash)
    assert looked(intent).state == State.DROPPED
    again(chain, intent)
    chain.mine()
    follow.look_at_all()
    intent.refresh_from_db()
    assert intent.state == State.DROPPED  # the worker was there a moment ago
    Intent.objects.filter(pk=intent.pk).update(checked_at=timezone.now() - timedelta(minutes=1))
    follow.look_at_all()
    intent.refresh_from_db()
    assert intent.state == State.INCLUDED and intent.fee
    # After a day nobody looks any more.
    Intent.objects.filter(pk=intent.pk).update(
        state=State.DROPPED, submitted_at=timezone.now() - timedelta(hours=25)
    )
    intent.refresh_from_db()
    assert looked(intent).state == State.DROPPED


def test_what_another_node_still_knows_is_not_lost(chain: Chain, settings: Any) -> None:
    intent = sent(chain, ALICE)
    looked(intent)
    Intent.objects.filter(pk=intent.pk).update(submitted_at=timezone.now() - timedelta(hours=1))
    with Anvil(args=()) as other:
        other.rpc.call("evm_setAutomine", False)
        elsewhere = Chain(other.url)
        assert again(elsewhere, intent) == intent.tx_hash
        chain.rpc.call("anvil_dropTransaction", intent.tx_hash)
        settings.CHAIN_RPC_URLS = (chain.rpc.url, other.url)
        assert looked(intent).state == State.SUBMITTED
    assert looked(intent).state == State.DROPPED


def test_a_reverted_transaction_of_a_block_that_went_away_is_open_again(
    chain: Chain, contracts: Contracts
) -> None:
    chain.rpc.call("evm_setAutomine", True)
    contracts.ledger.send(ALICE, "depositFund", value=5 * NEURON)
    chain.rpc.call("evm_setAutomine", False)
    intent = opened(person(ALICE), "withdraw", {"amount": str(2 * NEURON)})
    intents.confirm(intent)
    snapshot = chain.snapshot()
    count = _next(chain)
    everything = contracts.ledger.encode("refund", 2 * NEURON)
    broadcast(chain, ALICE, intent, data="0x" + everything.hex(), value=0, nonce=count)
    chain.mine()
    intents.submitted(intent, broadcast(chain, ALICE, intent, nonce=count + 1))
    chain.mine()
    assert looked(intent).state == State.REVERTED
    chain.restore(snapshot)
    chain.mine(2)  # it was in the second
    assert looked(intent).state == State.SUBMITTED
    assert (intent.reason, intent.fee) == ("The chain reorganised; checking again.", None)
    chain.rpc.call("anvil_setNonce", ALICE.address, hex(count + 1))
    assert broadcast(chain, ALICE, intent) == intent.tx_hash
    chain.mine()
    assert looked(intent).state == State.INCLUDED


def test_what_ran_out_of_gas_was_not_refused_by_the_contract(chain: Chain) -> None:
    intent = sent(chain, ALICE, gas=60_000)  # set lower in the wallet: it opens an account
    chain.mine()
    assert (looked(intent).state, intent.code) == (State.REVERTED, "out_of_gas")


# --- hashes that no page reported ---------------------------------------------------------------


def orphaned(intent: Intent) -> Intent:
    """As if the page had closed two minutes ago with the wallet open."""
    at = timezone.now() - timedelta(minutes=2)
    Intent.objects.filter(pk=intent.pk).update(updated_at=at, checked_at=None)
    intent.refresh_from_db()
    return intent


def test_an_end_is_written_down_once(chain: Chain, monkeypatch: Any) -> None:
    """The page shows what ended a moment ago; looking again is no new end."""
    intent = sent(chain, ALICE)
    chain.mine()
    monkeypatch.setattr(carriers, "failed_inside", lambda receipt, wallet: True)
    assert (looked(intent).state, intent.code) == (State.REVERTED, "failed_inside")
    ended = intent.updated_at
    assert looked(intent).updated_at == ended


def test_a_transaction_whose_page_died_is_found_by_its_nonce(chain: Chain) -> None:
    intent = intents.confirm(opened(person(ALICE)))
    assert follow.look(orphaned(intent)).state == State.AWAITING_WALLET
    tx_hash = broadcast(chain, ALICE, intent)
    chain.mine()
    stale = Intent.objects.get(pk=intent.pk)
    follow.look_at_all()  # it was asked about a moment ago
    intent.refresh_from_db()
    assert intent.state == State.AWAITING_WALLET
    orphaned(intent)
    follow.look_at_all()
    intent.refresh_from_db()
    assert (intent.state, intent.tx_hash) == (State.SUBMITTED, tx_hash)
    assert looked(intent).state == State.INCLUDED
    # Meanwhile its page has told another hash, which its wallet had: that one stays.
    Intent.objects.update(tx_hash="0x" + "ab" * 32)
    follow._adopt(stale)
    assert Intent.objects.get().tx_hash == "0x" + "ab" * 32


def asked_for(intent: Intent) -> tuple[int, str]:
    """The page's request to hand it to the wallet, and what it is told."""
    path = f"/account/transactions/{intent.pk}/confirm"
    body = {"again": intent.state == State.AWAITING_WALLET}
    answer = client_of(ALICE).post(path, body, content_type="application/json")
    intent.refresh_from_db()
    if intent.tx_hash and answer.json().get("code") == "already_under_way":
        assert answer.json()["title"] == "This transaction was sent before."
    return answer.status_code, answer.json().get("code", "")


@pytest.mark.parametrize("end", [lambda i: intents.reject(i, declined=False), intents.give_up])
def test_what_a_wallet_sent_though_it_gave_an_error_is_found(
    chain: Chain, end: Callable[[Intent], Intent]
) -> None:
    intent = end(intents.confirm(opened(person(ALICE))))
    tx_hash = broadcast(chain, ALICE, intent)
    assert 'data-poll="15"' in said(intent)  # the open page hears of it, too
    # Asked for once more, from its form or as itself, it is found before the wallet opens again;
    # before it is in a block, only that something of the account waits for one.
    later = opened(person(ALICE))
    for one in (later, intent):
        assert asked_for(one) == (409, "not_in_a_block")
    chain.mine()
    for one, code in ((later, "same_under_way"), (intent, "already_under_way")):
        assert asked_for(one) == (409, code)
    later.delete()
    intent.refresh_from_db()
    assert (intent.state, intent.tx_hash) == (State.SUBMITTED, tx_hash)
    # And by the worker; but not where the same was asked for since, which may be that.
    Intent.objects.update(state=State.REJECTED, code="given_up", tx_hash="")
    later = intents.confirm(opened(person(ALICE)))
    assert follow.look(orphaned(intent)).state == State.REJECTED
    Intent.objects.filter(pk=later.pk).update(created_at=intent.created_at - timedelta(hours=1))
    assert follow.look(orphaned(intent)).state == State.REJECTED  # an earlier one, tried again
    later.delete()
    orphaned(intent)
    follow.look_at_all()
    intent.refresh_from_db()
    assert (intent.state, intent.tx_hash) == (State.SUBMITTED, tx_hash)
    # Declined, nothing is looked for.
    Intent.objects.update(state=State.REJECTED, code="", tx_hash="")
    assert 'data-poll="0"' in said(intent)
    assert follow.look(orphaned(intent)).state == State.REJECTED


@pytest.mark.parametrize(
    "end",
    [lambda i: intents.reject(i, declined=False), intents.give_up, lambda i: i],
    ids=["an error", "given up", "unanswered"],
)
@pytest.mark.parametrize("said", [{"declined": True}, {"declined": False, "handed": False}])
def test_declining_a_second_request_says_nothing_of_the_first(
    chain: Chain, end: Callable[[Intent], Intent], said: dict[str, bool]
) -> None:
    intent = end(intents.confirm(opened(person(ALICE))))
    assert asked_for(intent) == (200, "")
    intents.reject(intent, **said)
    assert "Nothing was sent" not in intent.reason
    tx_hash = broadcast(chain, ALICE, intent)
    chain.mine()
    follow.look(orphaned(intent))
    assert (intent.state, intent.tx_hash, intent.reason) == (State.SUBMITTED, tx_hash, "")


def test_what_is_tried_again_is_found_behind_everything_sent_since(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = intents.reject(intents.confirm(opened(person(ALICE))), declined=False)
    # It had not been sent; the same from another form was, and more.
    known = intents.confirm(opened(person(ALICE)))
    intents.submitted(known, broadcast(chain, ALICE, known))
    chain.mine()
    assert looked(known).state == State.INCLUDED
    for _ in range(unheard.NONCES - 1):
        broadcast(chain, ALICE, intent, to=BOB.address, data="0x", value=1)
        chain.mine()
    assert asked_for(intent) == (200, "")
    tx_hash = broadcast(chain, ALICE, intent)
    chain.mine()
    for _ in range(2):  # the next four nonces at once
        follow.look(orphaned(intent))
    assert (intent.state, intent.tx_hash) == (State.SUBMITTED, tx_hash)
    # Days later most of that is in blocks that nobody searches.
    monkeypatch.setattr(unheard, "SEARCH_BLOCKS", 2)
    Intent.objects.filter(pk=intent.pk).update(
        state=State.AWAITING_WALLET, tx_hash="", nonce_floor=0
    )
    assert follow.look(orphaned(intent)).tx_hash == tx_hash


def test_only_what_was_reviewed_and_only_once_is_adopted(chain: Chain) -> None:
    intent = intents.confirm(opened(person(ALICE)))
    broadcast(chain, ALICE, intent, value=4 * NEURON)
    broadcast(chain, ALICE, intent, to=BOB.address, data="0x", nonce=_next(chain) + 1)
    chain.mine()
    assert follow.look(orphaned(intent)).state == State.AWAITING_WALLET
    Intent.objects.all().delete()
    known = sent(chain, ALICE)
    age(known, minutes=3)
    Intent.objects.update(updated_at=timezone.now() - timedelta(minutes=3))
    twin = intents.confirm(opened(person(ALICE)))
    chain.mine()
    assert looked(known).state == State.INCLUDED
    assert follow.look(orphaned(twin)).state == State.AWAITING_WALLET


# --- what the page says --------------------------------------------------------------------------


def said(intent: Intent) -> str:
    """The fragment that the open page polls, as text."""
    Intent.objects.filter(pk=intent.pk).update(checked_at=None)
    answer = client_of(ALICE).get(f"/account/transactions/{intent.pk}/status")
    return str(answer.content.decode())


@pytest.mark.parametrize("minutes", [-5, 5], ids=["old", "of a clock that was ahead"])
def test_what_was_sent_between_review_and_wallet_is_not_taken_for_it(
    chain: Chain, minutes: int
) -> None:
    """A hash that our node has not heard of is looked for by the nonce of the last check."""
    intent = opened(person(ALICE))
    elsewhere = {"to": BOB.address, "data": "0x", "value": 1, **PRICE}
    broadcast(chain, ALICE, intent, **elsewhere)
    chain.mine()
    Intent.objects.filter(pk=intent.pk).update(
        updated_at=timezone.now() + timedelta(minutes=minutes)
    )
    intent.refresh_from_db()
    intents.confirm(intent)
    intents.submitted(intent, "0x" + "ab" * 32)
    Intent.objects.filter(pk=intent.pk).update(submitted_at=timezone.now() - timedelta(minutes=2))
    assert looked(intent).state == State.SUBMITTED


def test_a_node_that_has_the_block_before_the_receipt_tells_of_no_speeding_up(chain: Chain) -> None:
    intent = looked(sent(chain, ALICE))
    chain.mine()
    follow._missing(intent, _next(chain))
    assert (intent.state, intent.reason) == (State.SUBMITTED, "")
    assert looked(intent).state == State.INCLUDED


def test_a_clock_that_was_wrong_stops_no_following(chain: Chain) -> None:
    intent = sent(chain, ALICE)
    chain.mine()
    Intent.objects.update(checked_at=timezone.now() + timedelta(hours=1))
    follow.look_at_all()
    intent.refresh_from_db()
    assert intent.state == State.INCLUDED


def test_of_more_than_a_round_takes_all_have_their_turn(chain: Chain, monkeypatch: Any) -> None:
    known, new = sent(chain, ALICE), sent(chain, BOB)
    chain.mine()
    Intent.objects.filter(pk=known.pk).update(checked_at=timezone.now() - timedelta(minutes=1))
    monkeypatch.setattr(follow, "MOST", 1)
    for _ in range(2):
        follow.look_at_all()
    new.refresh_from_db()
    assert new.state == State.INCLUDED


def test_who_says_that_many_were_sent_keeps_nobody_else_waiting(
    chain: Chain, monkeypatch: Any
) -> None:
    """A page may tell any hash, and each is looked for."""
    for number in range(4):
        intents.submitted(opened(person(BOB)), f"0x{number:064x}")
    intent = sent(chain, ALICE)
    chain.mine()
    now = timezone.now()
    Intent.objects.filter(pk=intent.pk).update(checked_at=now - timedelta(minutes=1))
    monkeypatch.setattr(follow, "MOST", 2)
    follow.look_at_all()
    intent.refresh_from_db()
    assert intent.state == State.INCLUDED
    assert Intent.objects.filter(user=person(BOB), checked_at=None).count() == 3
    # Nor is what the chain never showed kept without end.
    invented = Intent.objects.filter(user=person(BOB))
    monkeypatch.setattr(intents, "MAX_UNSENT", 2)
    invented.update(state=State.DROPPED, submitted_at=now - timedelta(hours=23))
    opened(person(BOB))
    assert invented.count() == 5
    invented.filter(state=State.DROPPED).update(submitted_at=now - timedelta(hours=25))
    opened(person(BOB))
    assert set(invented.values_list("state", flat=True)) == {State.PRECHECKED}


def test_a_sped_up_transaction_says_so_until_it_arrives(chain: Chain) -> None:
    intent = sent(chain, ALICE)
    assert 'data-state="submitted"' in said(intent)
    faster = broadcast(chain, ALICE, intent, **PRICE)
    chain.mine()
    html = said(intent)
    assert "Sped up in your wallet; following the new transaction." in html and faster in html
    assert 'data-state="included"' in said(intent)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (ALICE.address, "Cancelled in your wallet. Only gas was charged."),
        (BOB.address, "Your wallet sent another transaction in its place."),
    ],
)
def test_a_replaced_transaction_says_by_what(chain: Chain, to: str, words: str) -> None:
    intent = sent(chain, ALICE)
    looked(intent)
    broadcast(chain, ALICE, intent, to=to, data="0x", value=0, **PRICE)
    chain.mine()
    html = said(intent)
    assert 'data-state="replaced"' in html and words in html and "both can be" not in html
    assert 'data-poll="0"' in html, "its nonce is spent"
    assert 'href="/account?action=deposit&amp;amount=5">Send again<' in html
    # What the money was missing for is still known.
    Intent.objects.filter(pk=intent.pk).update(then="/playground/images")
    assert 'amount=5&amp;then=%2Fplayground%2Fimages">Send again<' in said(intent)


def test_slow_dropped_and_reorganised_are_three_different_things(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = chain.snapshot()
    intent = sent(chain, ALICE)
    assert "Waiting for a block. You can leave this page." in said(intent)
    age(intent, minutes=2)
    html = said(intent)
    assert "Taking longer than usual" in html and "speed it up or cancel it" in html
    chain.mine()
    assert 'data-state="included"' in said(intent)
    index(chain.block_number(), 0)
    assert 'data-state="indexed"' in said(intent)
    chain.restore(snapshot)
    # A node that lags would refuse what the person's own transaction was sent for.
    monkeypatch.setattr(services, "PAUSES", ())
    assert funds.reviewed(person(ALICE), "withdraw", FIVE).heading == "Not checked"
    chain.mine()
    assert funds.reviewed(person(ALICE), "withdraw", FIVE).code == "LedgerNotExists"
    index(0, 0)
    html = said(intent)
    assert 'data-state="submitted"' in html and "The chain reorganised; checking again." in html
    chain.rpc.call("anvil_dropAllTransactions")
    age(intent, minutes=11)
    html = said(intent)
    assert 'data-state="dropped"' in html and "Nothing was charged." in html
    assert ">Send again<" in html and "both can be carried out" in html
    assert 'data-poll="15"' in html, "it is shown here, should it arrive after all within a day"
    age(intent, minutes=24 * 60 + 1)
    assert 'data-poll="0"' in said(intent)


def age(intent: Intent, minutes: int) -> None:
    at = timezone.now() - timedelta(minutes=minutes)
    Intent.objects.filter(pk=intent.pk).update(submitted_at=at)


def test_the_number_of_unsent_transactions_is_bounded(chain: Chain, monkeypatch: Any) -> None:
    monkeypatch.setattr(intents, "MAX_UNSENT", 3)
    for _ in range(6):
        opened(person(ALICE))
    assert Intent.objects.count() == 3
    for _ in range(3):
        with pytest.raises(Refused):
            intents.start(person(ALICE), "deposit", {"amount": str(NEURON)}, "")
    assert Intent.objects.count() == 3
    # A wallet that was asked a day ago is asked no more.
    Intent.objects.update(state=State.AWAITING_WALLET, updated_at=timezone.now())
    last = opened(person(ALICE))
    assert Intent.objects.count() == 4
    Intent.objects.update(updated_at=timezone.now() - timedelta(days=2))
    intents.reject(last)
    opened(person(ALICE))
    assert Intent.objects.count() == 3


def test_a_retrieval_says_what_it_began_and_what_it_brought() -> None:
    def shown(*effects: tuple[str, int, int]) -> tuple[bool, bool]:
        rows = [{"what": w, "before": str(a), "after": str(b)} for w, a, b in effects]
        intent = Intent(action="retrieve", params={}, state=State.FINAL, effects=rows)
        tx = pages_transaction.transaction(intent)
        return tx.retrieved, tx.collected

    assert shown(("locked", 2, 0), ("refunding", 0, 2), ("gas", 0, 1)) == (True, False)
    assert shown(("available", 1, 3), ("refunding", 2, 0)) == (False, True)
    assert shown(("available", 1, 3), ("locked", 2, 0)) == (True, True)

"""Intents: kept before the wallet opens, followed on a real chain, seen by their owner only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone, translation
from eth_account.signers.local import LocalAccount

from accounts import follow, funds, intents, pages_transaction, selectors, services
from accounts.errors import Problem, Refused
from accounts.models import Intent, State, User
from accounts.tasks import follow_intents
from chain.models import Head, RawBlock
from devnet import accounts as cast
from devnet.anvil import Anvil
from devnet.client import Chain
from devnet.deploy import Contracts, connect, deploy

pytestmark = pytest.mark.django_db
NEURON = 10**18
ALICE, BOB, CHARLIE = (cast.user(number) for number in (1, 2, 3))
FIVE = {"amount": str(5 * NEURON)}
GWEI = 10**9


@pytest.fixture(scope="module")
def contracts() -> Iterator[Contracts]:
    """A chain that mines only when told: every moment of a transaction can be seen."""
    with Anvil(args=("--order", "fees")) as node:
        found = connect(node.url, deploy(node.url))
        found.chain.rpc.call("evm_setAutomine", False)
        yield found


@pytest.fixture
def chain(contracts: Contracts, settings: Any) -> Iterator[Chain]:
    settings.CHAIN_RPC_URLS = (contracts.chain.rpc.url,)
    with contracts.chain.rollback():
        yield contracts.chain


def person(wallet: LocalAccount) -> User:
    return User.objects.for_address(wallet.address)


def opened(user: User, action: str = "deposit", params: dict[str, str] = FIVE) -> Intent:
    seen = services.check(action, params, user.address).digest
    return intents.start(user, action, params, seen)


def sent(chain: Chain, wallet: LocalAccount, **changes: Any) -> Intent:
    """An intent whose transaction the wallet has sent; it waits in the node's pool."""
    intent = opened(person(wallet))
    intents.confirm(intent)
    return intents.submitted(intent, broadcast(chain, wallet, intent, **changes))


def broadcast(chain: Chain, wallet: LocalAccount, intent: Intent, **changes: Any) -> str:
    count = int(chain.rpc.call("eth_getTransactionCount", wallet.address, "latest"), 16)
    transaction = {
        "type": 2,
        "chainId": 31337,
        "nonce": count,
        "to": intent.to,
        "data": intent.data,
        "value": int(intent.value),
        "gas": intent.gas,
        "maxFeePerGas": 20 * GWEI,
        "maxPriorityFeePerGas": GWEI,
        **changes,
    }
    raw = bytes(wallet.sign_transaction(transaction).raw_transaction)
    return str(chain.rpc.call("eth_sendRawTransaction", "0x" + raw.hex()))


def client_of(wallet: LocalAccount) -> Client:
    client = Client()
    client.force_login(person(wallet))
    return client


def looked(intent: Intent) -> Intent:
    """The next look, as if `follow.PAUSE` had passed."""
    Intent.objects.filter(pk=intent.pk).update(checked_at=None)
    return follow.look(intent)


def index(indexed: int, final: int) -> None:
    blocks = {"indexed_block": indexed, "final_block": final}
    Head.objects.update_or_create(chain_id=31337, defaults=blocks)


# --- the way to final ----------------------------------------------------------------------------


def test_a_transaction_goes_from_review_to_final(chain: Chain) -> None:
    intent = opened(person(ALICE))
    assert intent.state == State.PRECHECKED and intent.value == 5 * NEURON
    assert {"what": "available", "before": "0", "after": str(5 * NEURON)} in intent.effects
    assert intents.confirm(intent).state == State.AWAITING_WALLET
    tx_hash = broadcast(chain, ALICE, intent)
    assert intents.submitted(intent, tx_hash).state == State.SUBMITTED
    assert looked(intent).state == State.SUBMITTED and intent.nonce is not None
    chain.mine()
    assert looked(intent).state == State.INCLUDED
    assert intent.block == chain.block_number() and intent.fee and intent.fee > 0
    index(intent.block - 1, intent.block - 1)
    assert looked(intent).state == State.INCLUDED
    # A node that is stuck on a fork tells of a block that the index has otherwise.
    RawBlock.objects.create(number=intent.block, hash="0xf", parent_hash="0x", timestamp=0)
    index(intent.block, intent.block)
    assert looked(intent).state == State.INCLUDED
    RawBlock.objects.update(hash=intent.block_hash)
    index(intent.block, intent.block - 1)
    assert looked(intent).state == State.INDEXED
    index(intent.block, intent.block)
    assert looked(intent).state == State.FINAL


def test_the_worker_follows_when_nobody_looks(chain: Chain) -> None:
    intent = sent(chain, ALICE)
    client, path = Client(), "/account/transactions/waiting"
    assert client.get(path).content == b""
    assert "tx-waiting" not in client.get("/models").content.decode()
    client.force_login(person(BOB))
    assert ' data-count="0"' in client.get("/models").content.decode()
    client.force_login(person(ALICE))
    for shown in (client.get("/models"), client.get(path)):
        assert ">1 transaction waits for a block</span>" in shown.content.decode()
    Intent.objects.update(checked_at=None)  # the page has just asked the chain
    chain.mine()
    follow_intents()
    intent.refresh_from_db()
    assert intent.state == State.INCLUDED
    assert ' data-count="0"' in client.get(path).content.decode()


def test_the_header_asks_the_chain_for_one_transaction_at_a_time(chain: Chain) -> None:
    """A silent node costs seconds for each, on every open page."""
    for number in range(3):
        intent = opened(person(ALICE), params={"amount": str((5 + number) * NEURON)})
        intents.confirm(intent)
        intents.submitted(intent, f"0x{number:064x}")
    client = client_of(ALICE)
    for asked in (1, 2, 3):
        page = client.get("/account/transactions/waiting").content.decode()
        assert ">3 transactions wait for a block</span>" in page
        assert Intent.objects.exclude(checked_at=None).count() == asked


def test_who_waits_is_told_for_how_long_and_what_is_usual(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = sent(chain, ALICE)
    path = f"/account/transactions/{intent.pk}"

    def shown(*, after: int) -> str:
        monkeypatch.setattr("chain.selectors._pace", (0.0, None))
        Intent.objects.update(submitted_at=timezone.now() - timedelta(seconds=after))
        return " ".join(re.sub("<[^>]*>", "", client_of(ALICE).get(path).content.decode()).split())

    alone = shown(after=8)
    assert re.search(r" Sent waiting for \d+ s ", alone) and "come about" not in alone
    for number in range(5):
        RawBlock.objects.create(
            number=number,
            hash=f"0x{number:064x}",
            parent_hash="0x",
            timestamp=100 + 9 * number // 4,
        )
    assert "Waiting for a block; they come about every 2 s." in shown(after=8)
    late = shown(after=120)
    assert re.search(r" Sent waiting for 2 min( \d+ s)? .* Taking longer than usual", late)
    RawBlock.objects.create(number=5, hash="0x" + "5" * 64, parent_hash="0x", timestamp=10**6)
    assert "come about" not in shown(after=9), "blocks come when there is something in them"
    Intent.objects.update(checked_at=None)
    chain.mine()
    follow_intents()
    assert "waiting for" not in shown(after=9)


def test_a_silent_node_changes_nothing(chain: Chain, settings: Any, free_port: int) -> None:
    intent = sent(chain, ALICE)
    settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{free_port}",)
    assert looked(intent).state == State.SUBMITTED


# --- the ways out --------------------------------------------------------------------------------


def test_what_the_contract_refuses_is_kept_as_blocked(chain: Chain) -> None:
    with translation.override("de"), pytest.raises(Refused) as caught:
        intents.start(person(ALICE), "deposit", {"amount": str(NEURON)}, "")
    assert caught.value.code == "MinimumDepositRequired"
    intent = Intent.objects.get()
    assert (intent.state, intent.code) == (State.BLOCKED, "MinimumDepositRequired")
    assert intent.reason == "At least 3 0G is needed, you entered 1."
    with translation.override("de"):  # whoever reads it later, in whatever language
        assert caught.value.title == pages_transaction.transaction(intent).note
        assert caught.value.title.startswith("Mindestens 3 0G")


def test_numbers_that_changed_since_the_review_must_be_looked_at_again(chain: Chain) -> None:
    seen = services.check("deposit", FIVE, ALICE.address).digest
    first = sent(chain, ALICE)
    chain.mine()
    assert looked(first).state == State.INCLUDED
    with pytest.raises(Problem) as caught:
        intents.start(person(ALICE), "deposit", FIVE, seen)
    assert (caught.value.code, caught.value.status) == ("numbers_changed", 409)
    assert Intent.objects.count() == 1


def test_an_old_review_is_checked_again_before_the_wallet_opens(chain: Chain) -> None:
    old = opened(person(ALICE))
    first = sent(chain, ALICE)
    with pytest.raises(Problem) as twice:  # another tab, or the back button
        intents.confirm(old)
    assert (twice.value.code, twice.value.status) == ("same_under_way", 409)
    chain.mine()
    assert looked(first).state == State.INCLUDED
    Intent.objects.filter(pk=old.pk).update(updated_at=timezone.now() - timedelta(minutes=5))
    old.refresh_from_db()
    with pytest.raises(Problem) as caught:
        intents.confirm(old)
    assert caught.value.code == "numbers_changed"
    assert {"what": "available", "before": str(5 * NEURON), "after": str(10 * NEURON)} in (
        old.effects
    )
    assert intents.confirm(old).state == State.AWAITING_WALLET
    # What the wallet has already is not said to have changed, however old it is.
    Intent.objects.filter(pk=old.pk).update(updated_at=timezone.now() - timedelta(minutes=5))
    old.refresh_from_db()
    old.digest = "another"
    with pytest.raises(Problem) as waits:
        intents.confirm(old)
    assert waits.value.code == "already_under_way"


def test_an_address_whose_transaction_is_under_way_goes_on_with_it(chain: Chain) -> None:
    browser = Client()
    browser.force_login(person(ALICE))
    path, headers = "/account?action=deposit&amount=5", {"HX-Target": "review"}

    def goes_on(path: str = path, **asked: Any) -> bool:
        return "Continue where you left off" in browser.get(path, **asked).content.decode()

    intent = sent(chain, ALICE)
    assert goes_on() and goes_on("/account?action=deposit&amount=5.0")
    assert not goes_on(headers=headers), "a review that was asked for"
    assert not goes_on("/account?action=deposit&amount=6")
    assert not goes_on("/account?action=deposit_for&amount=5&recipient=0x12")
    chain.mine()
    assert looked(intent).state == State.INCLUDED
    index(intent.block or 0, 0)
    assert looked(intent).state == State.INDEXED
    assert not goes_on(), "what has arrived may be done again"
    # The way back from the step that opened by itself does not lead to a second deposit.
    Intent.objects.update(then="/account?action=transfer")
    step = f"{path}&then=%2Faccount%3Faction%3Dtransfer"
    assert goes_on(step) and not goes_on(step, headers=headers) and not goes_on()


@pytest.mark.parametrize("then", ("/account?action=transfer", "/playground/chat", ""))
@pytest.mark.django_db
def test_only_a_step_of_money_waits_to_be_continued(then: str) -> None:
    user = User.objects.for_address(ALICE.address)
    intent = Intent.objects.create(
        user=user,
        chain_id=settings.CHAIN_ID,
        action="deposit",
        params={"amount": str(NEURON)},
        to=settings.LEDGER_ADDRESS,
        state=State.FINAL,
        then=then,
    )
    assert selectors.under_way(user) == [intent], "it has just ended"
    Intent.objects.update(updated_at=timezone.now() - selectors.SHOWN_AFTER)
    assert selectors.under_way(user) == ([intent] if then.startswith("/account") else [])
    # What was sent stands before what somebody prepared, or gave up, later in another tab.
    Intent.objects.update(state=State.SUBMITTED)
    later = Intent.objects.get()
    later.pk, later.state, later.then = None, State.PRECHECKED, ""
    later.params = {"amount": str(2 * NEURON)}
    later.save(force_insert=True)
    assert selectors.under_way(user) == [intent, later]
    for asked, shown in (({}, intent), ({"action": "deposit", "amount": "2"}, later)):
        current = funds.page(user, asked).current
        assert current is not None and current.intent == shown, asked


def test_a_reverted_transaction_says_why(chain: Chain, contracts: Contracts) -> None:
    chain.rpc.call("evm_setAutomine", True)
    contracts.ledger.send(ALICE, "depositFund", value=5 * NEURON)
    chain.rpc.call("evm_setAutomine", False)
    intent = opened(person(ALICE), "withdraw", {"amount": str(2 * NEURON)})
    intents.confirm(intent)
    tx_hash = broadcast(chain, ALICE, intent, maxPriorityFeePerGas=GWEI, nonce=_next(chain) + 1)
    intents.submitted(intent, tx_hash)
    # Another withdrawal of the same wallet comes first and leaves too little.
    everything = contracts.ledger.encode("refund", 2 * NEURON)
    rival = {"data": "0x" + everything.hex(), "value": 0, "nonce": _next(chain)}
    broadcast(chain, ALICE, intent, **rival)
    chain.mine()
    chain.mine()
    looked(intent)
    assert (intent.state, intent.code) == (State.REVERTED, "MinimumDepositRequired")
    assert "You may withdraw all of it" in intent.reason and "Only gas was charged" in intent.reason


def _next(chain: Chain) -> int:
    return int(chain.rpc.call("eth_getTransactionCount", ALICE.address, "latest"), 16)


def test_a_sped_up_transaction_is_followed_under_its_new_hash(chain: Chain) -> None:
    intent = sent(chain, ALICE)
    looked(intent)
    faster = broadcast(chain, ALICE, intent, maxFeePerGas=50 * GWEI, maxPriorityFeePerGas=9 * GWEI)
    chain.mine()
    looked(intent)
    assert intent.tx_hash == faster and "Sped up" in intent.reason
    assert looked(intent).state == State.INCLUDED


def test_a_lost_twin_does_not_take_the_hash_of_the_one_that_arrived(chain: Chain) -> None:
    lost = opened(person(ALICE))
    intents.confirm(lost)
    intents.submitted(lost, "0x" + "77" * 32)  # a hash no node has ever seen
    before = timezone.now() - timedelta(minutes=3)
    Intent.objects.filter(pk=lost.pk).update(submitted_at=before, updated_at=before)
    arrived = sent(chain, ALICE)
    chain.mine()
    assert looked(arrived).state == State.INCLUDED
    looked(lost)
    assert (lost.state, lost.code) == (State.REPLACED, "other")
    assert lost.tx_hash != arrived.tx_hash and "most likely" in lost.reason
    page = client_of(ALICE).get(f"/account/transactions/{lost.pk}").content.decode()
    assert "both can be carried out" in page  # by a nonce that is only guessed


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [(ALICE.address, "cancelled", "Cancelled in your wallet"), (BOB.address, "other", "another")],
)
def test_a_replaced_transaction_is_told_apart(chain: Chain, to: str, code: str, words: str) -> None:
    intent = sent(chain, ALICE)
    looked(intent)
    broadcast(
        chain,
        ALICE,
        intent,
        to=to,
        data="0x",
        value=0,
        maxFeePerGas=50 * GWEI,
        maxPriorityFeePerGas=9 * GWEI,
    )
    chain.mine()
    looked(intent)
    assert (intent.state, intent.code) == (State.REPLACED, code)
    assert words in intent.reason


def test_a_lost_transaction_is_dropped_after_ten_minutes_and_not_before(chain: Chain) -> None:
    intent = sent(chain, ALICE)
    looked(intent)
    chain.rpc.call("anvil_dropTransaction", intent.tx_hash)
    assert looked(intent).state == State.SUBMITTED
    Intent.objects.filter(pk=intent.pk).update(submitted_at=timezone.now() - timedelta(minutes=11))
    assert looked(intent).state == State.DROPPED
    assert "Nothing was charged" in intent.reason


def test_a_reorganisation_moves_it_back_and_it_arrives_again(chain: Chain) -> None:
    snapshot = chain.snapshot()
    intent = sent(chain, ALICE)
    chain.mine()
    looked(intent)
    index(intent.block or 0, 0)
    assert looked(intent).state == State.INDEXED
    chain.restore(snapshot)
    assert looked(intent).state == State.INDEXED  # the node may only be behind
    chain.mine()
    index(0, 0)
    assert looked(intent).state == State.SUBMITTED
    assert intent.reason.startswith("The chain reorganised")
    again = broadcast(chain, ALICE, intent)
    assert again == intent.tx_hash
    chain.mine()
    assert looked(intent).state == State.INCLUDED


def test_the_hash_of_somebody_elses_transaction_proves_nothing(chain: Chain) -> None:
    theirs = sent(chain, BOB)
    chain.mine()
    intent = opened(person(ALICE))
    intents.confirm(intent)
    intents.submitted(intent, theirs.tx_hash)
    looked(intent)
    assert (intent.state, intent.code) == (State.REPLACED, "other")


@pytest.mark.parametrize(
    "changes", [{"value": 4 * NEURON}, {"to": BOB.address}, {"data": "0xe0a3e6a1"}]
)
def test_what_a_wallet_changed_is_not_what_was_reviewed(
    chain: Chain, changes: dict[str, Any]
) -> None:
    intent = sent(chain, ALICE, **changes)
    assert looked(intent).code == "other"
    chain.mine()
    assert looked(intent).state == State.REPLACED


# --- races ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_many_confirmations_at_once_exactly_one_opens_the_wallet(chain: Chain) -> None:
    intent = opened(person(ALICE))

    def attempt(_: int) -> bool:
        try:
            intents.confirm(Intent.objects.select_related("user").get(pk=intent.pk))
            return True
        except Problem as problem:
            assert problem.code == "already_under_way"
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_hash_is_taken_once_and_a_second_one_is_refused(chain: Chain) -> None:
    intent = sent(chain, ALICE)
    assert intents.submitted(intent, intent.tx_hash).state == State.SUBMITTED
    with pytest.raises(Problem) as caught:
        intents.submitted(intent, "0x" + "ab" * 32)
    assert caught.value.code == "already_sent" and "cancel the second one" in caught.value.said

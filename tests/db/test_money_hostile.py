"""What people and networks do at the wrong moment: two tabs, a key that changes under the review, a
node that dies between two steps, amounts at the edges of a uint256.
"""

from __future__ import annotations

import html as html_lib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import actions, follow, forms, funds, intents, node, preview_words, services
from accounts.errors import Problem
from accounts.models import Intent, State, User
from chain.rpc import Failure
from devnet import accounts as cast
from devnet.deploy import Contracts, connect
from devnet.owner import acknowledge_signer, revoke_signer
from protocol import abi
from tests import factories
from tests.live.test_index_nodes import Front

pytestmark = pytest.mark.django_db
NEURON = 10**18
ALICE, NAME = cast.user(1), "inference-v1.0"
PETRA, SIGNER, OTHER = cast.provider(1), cast.signer(1), cast.signer(2)
TRANSFER = {"provider": PETRA.address, "service_name": NAME, "amount": str(2 * NEURON)}


@pytest.fixture
def contracts(anvil: Any, devnet: Any, settings: Any) -> Iterator[Contracts]:
    settings.CHAIN_RPC_URLS = (anvil.url,)
    found = connect(anvil.url, devnet)
    with found.chain.rollback():
        listed(found, SIGNER.address, value=100 * NEURON)
        acknowledge_signer(found, PETRA.address)
        found.ledger.send(ALICE, "depositFund", value=10 * NEURON)
        yield found


def listed(contracts: Contracts, signer: str, value: int = 0) -> None:
    listing = ("chatbot", "http://127.0.0.1:1", "m", "TeeML", 1, 1, "{}", signer)
    contracts.inference.send(PETRA, "addOrUpdateService", listing, value=value)


def opened() -> Intent:
    seen = services.check("transfer", TRANSFER, ALICE.address).digest
    return intents.start(User.objects.for_address(ALICE.address), "transfer", TRANSFER, seen)


def aged(intent: Intent) -> Intent:
    """Looked at for a minute before the button was pressed."""
    Intent.objects.filter(pk=intent.pk).update(updated_at=timezone.now() - timedelta(minutes=1))
    intent.refresh_from_db()
    return intent


@pytest.mark.django_db(transaction=True)
def test_of_two_tabs_with_the_same_review_one_opens_the_wallet(contracts: Contracts) -> None:
    tabs = [opened().pk for _ in range(6)]

    def confirm(identifier: Any) -> str:
        try:
            intents.confirm(Intent.objects.select_related("user").get(pk=identifier))
            return "opened"
        except Problem as problem:
            return problem.code
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(confirm, tabs))
    assert sorted(outcomes) == ["opened"] + ["same_under_way"] * 5


def test_after_declining_the_other_tab_may(contracts: Contracts) -> None:
    first, second = opened(), opened()
    intents.confirm(first)
    with pytest.raises(Problem, match="Exactly this transaction waits"):
        intents.confirm(second)
    intents.reject(first)
    assert intents.confirm(second).state == State.AWAITING_WALLET


@pytest.mark.parametrize("how", ["signer", "removed", "unacknowledged"])
def test_a_provider_that_changes_under_the_review_must_be_looked_at_again(
    contracts: Contracts, how: str
) -> None:
    seen = services.check("transfer", TRANSFER, ALICE.address).digest
    intent = opened()
    if how == "signer":
        listed(contracts, OTHER.address)
    elif how == "removed":
        contracts.inference.send(PETRA, "removeService")
    else:
        revoke_signer(contracts, PETRA.address)
    with pytest.raises(Problem) as caught:
        intents.start(intent.user, "transfer", TRANSFER, seen)
    assert caught.value.code == "numbers_changed"
    with pytest.raises(Problem) as caught:
        intents.confirm(aged(intent))
    assert caught.value.code == "numbers_changed" and intent.state == State.PRECHECKED
    words = " ".join(intent.warnings)
    if how == "removed":
        assert "offers no service in this contract right now" in words
    else:
        assert "has not acknowledged this provider's signing key" in words
    assert intents.confirm(intent).state == State.AWAITING_WALLET
    # Once the wallet has it, other numbers are no proof that it was not sent.
    floor = intent.nonce_floor
    contracts.ledger.send(ALICE, "depositFund", value=NEURON)
    with pytest.raises(Problem) as caught:
        intents.confirm(aged(intent), again=True)
    assert caught.value.code == "numbers_changed" and intent.state == State.REJECTED
    assert intent.unsure and intent.nonce_floor == floor
    assert "Nothing was sent" not in intent.reason
    assert intents.confirm(intent).state == State.AWAITING_WALLET and intent.unsure


def test_a_node_that_dies_between_two_steps_loses_nothing(
    contracts: Contracts, settings: Any, free_port: int
) -> None:
    alive, dead = settings.CHAIN_RPC_URLS, (f"http://127.0.0.1:{free_port}",)
    client = Client()
    client.force_login(User.objects.for_address(ALICE.address))

    def post(path: str, **body: Any) -> Any:
        return client.post(f"/account/transactions/{path}", body, content_type="application/json")

    seen = services.check("transfer", TRANSFER, ALICE.address).digest
    start = {"action": "transfer", "params": TRANSFER, "seen": seen}
    settings.CHAIN_RPC_URLS = dead
    refused = post("start", **start)
    assert (refused.status_code, refused.json()["code"]) == (503, "chain_unreachable")
    assert not Intent.objects.exists() and "Nothing was sent" in refused.json()["title"]
    settings.CHAIN_RPC_URLS = alive
    identifier = post("start", **start).json()["id"]
    aged(Intent.objects.get())
    settings.CHAIN_RPC_URLS = dead
    assert post(f"{identifier}/confirm").status_code == 503
    assert Intent.objects.get().state == State.PRECHECKED
    settings.CHAIN_RPC_URLS = alive
    assert post(f"{identifier}/confirm").json()["state"] == "awaiting_wallet"
    # Of what the wallet has had once nobody says that it was not sent.
    aged(Intent.objects.get())
    settings.CHAIN_RPC_URLS = dead
    refused = post(f"{identifier}/confirm", again=True)
    assert refused.status_code == 503 and "sent before is not affected" in refused.json()["title"]
    # The wallet has its own node: the hash is kept whether ours answers or not.
    settings.CHAIN_RPC_URLS = dead
    assert post(f"{identifier}/submitted", tx_hash="0x" + "ab" * 32).json()["state"] == "submitted"
    for path in ("/account", f"/account/transactions/{identifier}", "/account/refunds/collect"):
        assert client.get(path).status_code == 200, path
    Intent.objects.update(checked_at=None)
    follow.look_at_all()
    row = Intent.objects.get()
    assert row.state == State.SUBMITTED and row.checked_at is not None


def test_what_a_node_cannot_answer_is_no_refusal_of_the_contract(
    contracts: Contracts, anvil: Any, settings: Any
) -> None:
    front = Front(anvil)

    def tamper(method: str, params: list[Any], answer: Any) -> Any:
        simulated = method == "eth_call" and "from" in params[0]
        return Failure(-32603, "internal error") if simulated else answer

    front.tamper, settings.CHAIN_RPC_URLS = tamper, (front.url,)
    user = User.objects.for_address(ALICE.address)
    try:
        review = funds.reviewed(user, "transfer", TRANSFER)
    finally:
        front.server.shutdown()
        front.server.server_close()
    assert (review.heading, review.code) == ("Not checked", "chain_unreachable")


EDGES = (0, 1, NEURON, 10**30, 2**255, 2**256 - 1, 2**256)


@pytest.mark.parametrize("action", ["deposit", "deposit_for", "transfer", "withdraw"])
def test_amounts_at_the_edges_are_refused_in_words_or_shown_exactly(
    contracts: Contracts, action: str
) -> None:
    named: dict[str, dict[str, str]] = {
        "deposit": {},
        "deposit_for": {"recipient": cast.user(2).address},
        "transfer": {"provider": PETRA.address},
        "withdraw": {},
    }
    for amount in EDGES:
        params = {**named[action], "amount": str(amount)}
        try:
            checked = services.check(action, params, ALICE.address)
        except Problem as problem:
            assert problem.status in (400, 422) and problem.code != "preview_disagrees"
            assert problem.title and "{" not in problem.title, (action, amount)
            continue
        assert amount < 10**30
        moved = [e for e in checked.effects if e.what in ("available", "wallet")]
        assert all(isinstance(e.after, int) and e.after >= 0 for e in moved)
    for wrong in ("1e3", "-1", "0x10", "1.5", " 1", "", "٣", None, 1.0, True, [1], "1" * 79):
        with pytest.raises(Problem) as caught:
            actions.parse(action, {**named[action], "amount": wrong})
        assert caught.value.code == "invalid_request"


TASK = "0b0e7a52-58a9-4a49-8f0c-0123456789ab"
STEP = f"/account?action=transfer&account={NAME}%3A{PETRA.address}&amount=2"


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (STEP, STEP),
        (STEP + "&then=x&next=//evil", STEP),
        ("https://evil.example/account?action=transfer", ""),
        ("//evil.example/account?action=transfer", ""),
        ("javascript:alert(1)", ""),
        ("/account/sign-out?action=transfer", ""),
        ("/account?action=nothing", ""),
        ("/account?action=transfer&amount=" + "9" * 500, ""),
        ("//[", ""),
        (
            f"/playground/chat?provider={ALICE.address}&draft=x",
            f"/playground/chat?provider={ALICE.address}",
        ),
        ("/playground/chat?provider=<b>", "/playground/chat"),
        ("/playground/embeddings", "/playground/embeddings"),
        ("/playground/requests", ""),
        ("https://evil.example/playground/chat", ""),
        (
            "/account?action=transfer&then=%2Fplayground%2Fimages",
            "/account?action=transfer&then=%2Fplayground%2Fimages",
        ),
        ("/account?action=transfer&then=%2F%2Fevil.example", "/account?action=transfer"),
        (f"/fine-tuning/tasks/{TASK}?x=1", f"/fine-tuning/tasks/{TASK}"),
        (
            f"/account?action=transfer&then=/fine-tuning/new/{TASK}/price",
            f"/account?action=transfer&then=%2Ffine-tuning%2Fnew%2F{TASK}%2Fprice",
        ),
        (f"/fine-tuning/tasks/{TASK}/result", ""),
        ("", ""),
        ("/account?then=" * 2_000, ""),
    ],
)
def test_a_second_step_is_a_form_of_this_page_and_nothing_else(asked: str, kept: str) -> None:
    assert forms.next_step(asked) == kept


def test_what_is_missing_is_offered_as_the_first_of_two_steps(contracts: Contracts) -> None:
    client = Client()
    client.force_login(User.objects.for_address(ALICE.address))
    html = client.get(STEP.replace("amount=2", "amount=12.25")).content.decode()
    assert "Step 1 of 2: deposit 2.25 0G" in html and "Retrieve from providers" in html
    path = html_lib.unescape(html.split("Step 1 of 2")[0].rsplit('href="', 1)[1].split('"')[0])
    assert 'data-testid="two-steps"' in client.get(path).content.decode()
    html = client.get("/account?action=deposit&amount=2&then=https://evil.example").content.decode()
    # What is printed and the foot's forms (language, times) name this very address.
    main = html.partition("<main")[2].partition("</main>")[0]
    assert "two-steps" not in main and "evil" not in main


def test_money_for_a_contract_of_the_network_would_be_lost_and_that_is_said(
    contracts: Contracts,
) -> None:
    for recipient in (contracts.ledger.address, contracts.inference.address.lower()):
        params = {"recipient": recipient, "amount": str(3 * NEURON)}
        checked = services.check("deposit_for", params, ALICE.address)
        assert any("nobody could ever take it out" in words for words in checked.warnings)


def _stored_long(contracts: Contracts) -> str:
    """All is available to Alice again, and a fine-tuning provider keeps a long text of hers."""
    tuning = "fine-tuning-v1.0"
    contracts.ledger.send(ALICE, "transferFund", PETRA.address, tuning, NEURON)
    long = b"\x01" * 24_000
    contracts.fine_tuning.send(PETRA, "addDeliverable", ALICE.address, "long", long)
    contracts.ledger.send(ALICE, "retrieveFund", [PETRA.address], tuning)
    contracts.chain.travel(86_500)
    contracts.ledger.send(ALICE, "retrieveFund", [PETRA.address], tuning)
    return tuning


def test_closing_an_account_has_the_gas_for_what_providers_stored(contracts: Contracts) -> None:
    """Where a serving contract runs out of it, the ledger goes on: a node calls less enough."""
    _stored_long(contracts)
    where = contracts.fine_tuning.address
    factories.contract(kind="fine-tuning", address=where)
    told = {"id": "long", "acknowledged": False, "settled": False, "timestamp": 1}
    factories.sub_account(
        ALICE.address, PETRA.address, serving=where, balance=0,
        deliverables=[{**told, "model_root_hash": "0x" + "01" * 24_000}],
    )  # fmt: skip
    there = abi.encode_call(abi.FINE_TUNING_SERVING, "accountExists", ALICE.address, PETRA.address)

    def exists() -> bool:
        return bool(node.quantity(node.call("eth_call", {"to": where, "data": there}, "latest")))

    seen = services.check("withdraw", {"amount": str(10 * NEURON)}, ALICE.address)
    assert exists()
    data = bytes.fromhex(seen.call.data[2:])
    with contracts.chain.rollback():
        assert contracts.chain.send(ALICE, seen.call.to, data, gas=seen.gas).ok and not exists()
    assert preview_words.STAYS not in seen.warnings and preview_words.KEYS_GO in seen.grave
    rpc = contracts.chain.rpc
    try:
        # A block that just may hold it, and one that is too small.
        for limit in (seen.gas * 9 // 10, 3_000_000):
            rpc.call("evm_setBlockGasLimit", hex(limit))
            contracts.chain.mine()
            stays = services.check("withdraw", {"amount": str(10 * NEURON)}, ALICE.address)
            assert preview_words.STAYS in stays.warnings and stays.gas <= limit
        assert contracts.chain.send(ALICE, seen.call.to, data, gas=stays.gas).ok and exists()
    finally:
        rpc.call("evm_setBlockGasLimit", hex(30_000_000))
        contracts.chain.mine()


def test_closing_an_account_that_no_block_has_the_gas_for_says_the_way_out(
    contracts: Contracts,
) -> None:
    """docs/contract-rules.md: what fine-tuning providers stored is cleared with the account."""
    tuning = _stored_long(contracts)
    rpc = contracts.chain.rpc
    rpc.call("evm_setBlockGasLimit", hex(1_000_000))
    contracts.chain.mine()
    try:
        with pytest.raises(Problem) as caught:
            services.check("withdraw", {"amount": str(10 * NEURON)}, ALICE.address)
        contracts.ledger.send(ALICE, "transferFund", PETRA.address, tuning, 1)
        services.check("withdraw", {"amount": str(10 * NEURON - 1)}, ALICE.address)
    finally:
        rpc.call("evm_setBlockGasLimit", hex(30_000_000))
        contracts.chain.mine()
    assert caught.value.code == "cannot_estimate_gas"
    assert "may have stored" in caught.value.fix, "a node may fail for other reasons"
    assert "transfer one neuron" in caught.value.fix

"""Preview against the contracts: what it promises happens, what it refuses is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from eth_account.signers.local import LocalAccount

from accounts import actions, calls, keys, keys_lasting, preview, reading, services
from accounts import pages_transaction as shown
from accounts import preview_words as words
from accounts.codes import CODES
from accounts.errors import Problem, Refused
from accounts.facts import Facts
from accounts.models import User
from accounts.preview import Predicted
from devnet import accounts as cast
from devnet.client import Reverted
from devnet.deploy import Contracts
from finetune import problems
from tests.contract_wallets import owned_by
from tests.db.test_funds import contracts as contracts  # fixtures
from tests.db.test_funds import site as site

NEURON = 10**18
ALICE, BOB, CHARLIE = (cast.user(number) for number in (1, 2, 3))
pytestmark = [pytest.mark.usefixtures("site"), pytest.mark.django_db]
PETRA, PAUL = (cast.provider(number).address for number in (1, 2))
INFERENCE, FINE_TUNING = "inference-v1.0", "fine-tuning-v1.0"
LISTING = {
    **dict.fromkeys(("service_type", "url", "model", "verifiability", "additional_info"), "x"),
    **dict.fromkeys(("input_price", "output_price"), "1"),
    "tee_signer": PAUL,
}


def facts_of(action: str, params: dict[str, Any], user: LocalAccount) -> Facts:
    return reading.facts(action, actions.parse(action, params), user.address)


def perform(contracts: Contracts, user: LocalAccount, action: str, **params: Any) -> None:
    checked = services.check(action, params, user.address)
    data = bytes.fromhex(checked.call.data[2:])
    receipt = contracts.chain.send(
        user, checked.call.to, data, value=checked.call.value, gas=checked.gas
    )
    assert receipt.ok


def amount(rng: random.Random) -> str:
    return str(rng.choice([0, 1, NEURON // 2, NEURON, 3 * NEURON, rng.randrange(8 * NEURON)]))


def draw(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A random action, legal or not."""
    provider = rng.choice([PETRA, PETRA, PAUL, ALICE.address])
    name = rng.choice([INFERENCE, INFERENCE, FINE_TUNING, "inference"])
    at = {"provider": provider, "service_name": name}
    drawn: list[tuple[str, dict[str, Any]]] = [
        ("deposit", {"amount": amount(rng)}),
        ("deposit_for", {"recipient": BOB.address, "amount": amount(rng)}),
        ("transfer", {**at, "amount": amount(rng)}),
        ("transfer", {**at, "amount": amount(rng)}),
        ("retrieve", {"providers": [provider], "service_name": name}),
        ("retrieve", {"providers": [PETRA, PAUL, PETRA], "service_name": INFERENCE}),
        ("retrieve", {"providers": [PETRA] * 21, "service_name": INFERENCE}),
        ("withdraw", {"amount": amount(rng)}),
        ("delete_ledger", {}),
        ("acknowledge_signer", {**at, "acknowledged": rng.random() < 0.5}),
        ("revoke_token", {"provider": provider, "token_id": rng.randrange(256)}),
        ("revoke_tokens", {"provider": provider, "token_ids": [1, 255, 1]}),
        ("revoke_all_tokens", {"provider": provider}),
        ("acknowledge_deliverable", {"provider": provider, "deliverable_id": "none"}),
        ("remove_service", {"service_name": name}),
    ]
    return rng.choice(drawn)


def after_of(facts: Facts, effects: tuple[preview.Effect, ...]) -> dict[tuple[str, str], Any]:
    """Every value the preview speaks about, as the chain has it now."""
    held = {p: account for p, account in facts.accounts.items() if account}
    now: dict[tuple[str, str], Any] = {
        ("available", ""): facts.available,
        ("refunding", ""): facts.refunding,
        ("locked", ""): facts.total - facts.available - facts.refunding,
        ("stake", ""): facts.stake,
        ("available", BOB.address): facts.recipient.available if facts.recipient else 0,
        **{("sub_account", p): account.balance for p, account in held.items()},
        **{("signer_acknowledged", p): account.acknowledged for p, account in held.items()},
    }
    return {(e.what, e.who): now.get((e.what, e.who), e.after) for e in effects}


@pytest.mark.parametrize("seed", range(4))
def test_preview_and_contract_agree_on_random_actions(contracts: Contracts, seed: int) -> None:
    """80 random actions per seed: same verdict, same error and arguments, same numbers."""
    rng = random.Random(seed)
    accepted = refused = 0
    contracts.ledger.send(ALICE, "depositFund", value=20 * NEURON)
    for _ in range(80):
        if rng.random() < 0.15:
            contracts.chain.travel(rng.choice([100, 40_000, 90_000]))
        action, params = draw(rng)
        facts = facts_of(action, params, ALICE)
        parsed = actions.parse(action, params)
        call = calls.encode(action, parsed, facts)
        try:
            effects = preview.plan(action, parsed, facts).effects
        except Predicted as predicted:
            refused += 1
            if call is None:
                assert predicted.name == "ServiceNotFound"
                continue
            with pytest.raises(Reverted) as caught:
                contracts.chain.send(ALICE, call.to, bytes.fromhex(call.data[2:]), value=call.value)
            assert (caught.value.error, caught.value.args_) == (
                predicted.name,
                predicted.arguments_,
            ), (action, params)
            continue
        accepted += 1
        assert call is not None
        data = bytes.fromhex(call.data[2:])
        receipt = contracts.chain.send(ALICE, call.to, data, value=call.value, gas=3_000_000)
        assert receipt.ok, (action, params)
        now = after_of(facts_of(action, params, ALICE), effects)
        assert {(e.what, e.who): e.after for e in effects} == now, (action, params)
    assert accepted > 15 and refused > 15


def test_the_wallet_changes_by_value_and_gas_and_nothing_else(contracts: Contracts) -> None:
    checked = services.check("deposit", {"amount": str(5 * NEURON)}, BOB.address)
    before, after = next((e.before, e.after) for e in checked.effects if e.what == "wallet")
    assert before == contracts.chain.balance(BOB.address) and after == before - 5 * NEURON
    data = bytes.fromhex(checked.call.data[2:])
    receipt = contracts.chain.send(BOB, checked.call.to, data, value=5 * NEURON, gas=checked.gas)
    raw = contracts.chain.rpc.call("eth_getTransactionReceipt", receipt.tx_hash)
    paid = int(raw["gasUsed"], 16) * int(raw["effectiveGasPrice"], 16)
    assert contracts.chain.balance(BOB.address) == after - paid


@pytest.mark.parametrize(
    ("action", "least", "least_refused"),
    [
        ("deposit", {"amount": 3 * NEURON}, {"amount": 3 * NEURON - 1}),
        ("transfer", {"amount": NEURON}, {"amount": NEURON - 1}),
        ("withdraw", {"amount": 2 * NEURON}, {"amount": 2 * NEURON + 1}),  # three must remain
        ("withdraw", {"amount": 5 * NEURON}, {"amount": 5 * NEURON + 1}),  # or nothing
    ],
)
def test_the_contracts_minimums_to_the_neuron(
    contracts: Contracts, action: str, least: dict[str, int], least_refused: dict[str, int]
) -> None:
    if action != "deposit":
        perform(contracts, ALICE, "deposit", amount=str(5 * NEURON))
    at = {"provider": PETRA, "service_name": INFERENCE} if action == "transfer" else {}
    refused = {name: str(value) for name, value in least_refused.items()}
    with pytest.raises(Refused):  # the contract's word
        services.check(action, {**at, **refused}, ALICE.address)
    parsed = actions.parse(action, {**at, **refused})
    with pytest.raises(Predicted):  # and ours
        preview.plan(action, parsed, facts_of(action, {**at, **refused}, ALICE))
    perform(contracts, ALICE, action, **at, **{name: str(value) for name, value in least.items()})


def both_refuse(action: str, params: dict[str, Any], name: str) -> None:
    """The contract and our own rules say no for the same reason."""
    with pytest.raises(Refused) as caught:
        services.check(action, params, ALICE.address)
    assert caught.value.code == name
    with pytest.raises(Predicted) as predicted:
        preview.plan(action, actions.parse(action, params), facts_of(action, params, ALICE))
    assert predicted.value.name == name


def test_five_refunds_may_wait_and_no_sixth(contracts: Contracts) -> None:
    perform(contracts, ALICE, "deposit", amount=str(5 * NEURON))
    at = {"provider": PETRA, "service_name": INFERENCE}
    retrieval = {"providers": [PETRA], "service_name": INFERENCE}
    for size in (3 * NEURON, 10**17, 10**16, 10**15, 10**14):
        perform(contracts, ALICE, "transfer", **at, amount=str(size))  # sets this much free again
        perform(contracts, ALICE, "retrieve", **retrieval)
    perform(contracts, ALICE, "transfer", **at, amount="1")
    both_refuse("retrieve", retrieval, "TooManyRefunds")


def test_fifty_providers_and_no_more(contracts: Contracts) -> None:
    contracts.ledger.send(ALICE, "depositFund", value=60 * NEURON)
    new = {"provider": PETRA, "service_name": INFERENCE, "amount": str(NEURON)}
    for number in range(50):
        if number in (43, 44):  # told while five more fit
            said = " ".join(services.check("transfer", new, ALICE.address).warnings)
            assert ("This takes place 45 of 50" in said) == (number == 44)
        provider = "0x" + f"{number + 1:040x}"
        contracts.ledger.send(ALICE, "transferFund", provider, INFERENCE, NEURON)
    both_refuse("transfer", new, "TooManyProvidersForService")
    perform(contracts, ALICE, "transfer", **{**new, "service_name": FINE_TUNING})


@pytest.mark.parametrize(("early", "paid"), [(1, 0), (0, 5 * NEURON)])
def test_a_refund_unlocks_in_the_very_second(contracts: Contracts, early: int, paid: int) -> None:
    perform(contracts, ALICE, "deposit", amount=str(5 * NEURON))
    at = {"provider": PETRA, "service_name": INFERENCE}
    perform(contracts, ALICE, "transfer", **at, amount=str(5 * NEURON))
    params = {"providers": [PETRA], "service_name": INFERENCE}
    perform(contracts, ALICE, "retrieve", **params)
    facts = facts_of("retrieve", params, ALICE)
    account, serving = facts.accounts[PETRA], facts.serving
    assert account is not None and serving is not None
    second = account.refunds[0].created_at + serving.lock_time - early
    expected = preview.plan("retrieve", params, replace(facts, timestamp=second)).effects
    call = calls.encode("retrieve", params, facts)
    assert call is not None
    # What is sent now comes into a later block than the newest one.
    contracts.chain.rpc.call("evm_setNextBlockTimestamp", second - 1)
    contracts.chain.rpc.call("evm_mine")
    checked = services.check("retrieve", params, ALICE.address)
    reviewed = {e.what: e.after for e in checked.effects}
    assert reviewed.get("available", facts.available) == facts.available + paid
    contracts.chain.rpc.call("evm_setNextBlockTimestamp", second)
    # With the gas of a block that finds it locked.
    receipt = contracts.chain.send(ALICE, call.to, bytes.fromhex(call.data[2:]), gas=checked.gas)
    assert receipt.ok and contracts.chain.timestamp(receipt.block) == second
    after = facts_of("retrieve", params, ALICE)
    assert after.available - facts.available == paid
    shown = {e.what: e.after for e in expected}
    assert shown.get("available", facts.available) == after.available


def test_a_top_up_spells_out_the_refund_it_cancels(contracts: Contracts) -> None:
    perform(contracts, ALICE, "deposit", amount=str(10 * NEURON))
    at = {"provider": PETRA, "service_name": INFERENCE}
    perform(contracts, ALICE, "transfer", **at, amount=str(3 * NEURON))
    perform(contracts, ALICE, "retrieve", providers=[PETRA], service_name=INFERENCE)
    checked = services.check("transfer", {**at, "amount": str(NEURON)}, ALICE.address)
    shown = {(e.what): (e.before, e.after) for e in checked.effects}
    assert shown["refund_cancelled"] == (3 * NEURON, 2 * NEURON)
    assert shown["refunding"] == (3 * NEURON, 2 * NEURON)
    assert shown["locked"] == (0, NEURON)
    assert "available" not in shown
    assert any("1 0G of this comes from your pending refund" in w for w in checked.warnings)
    for action, params in (("transfer", {**at, "amount": "0"}), ("withdraw", {"amount": "0"})):
        same = services.check(action, params, ALICE.address)
        assert [e.what for e in same.effects] == ["gas"]
        assert "For the contract this changes nothing: it would only cost gas." in same.warnings


def test_retrieving_says_what_is_paid_now_and_what_starts_its_lock(contracts: Contracts) -> None:
    perform(contracts, ALICE, "deposit", amount=str(10 * NEURON))
    at = {"provider": PETRA, "service_name": INFERENCE}
    perform(contracts, ALICE, "transfer", **at, amount=str(3 * NEURON))
    perform(contracts, ALICE, "retrieve", providers=[PETRA], service_name=INFERENCE)
    contracts.chain.travel(86_500)
    contracts.ledger.send(ALICE, "transferFund", PETRA, INFERENCE, 5 * NEURON)
    params = {"providers": [PETRA], "service_name": INFERENCE}
    checked = services.check("retrieve", params, ALICE.address)
    assert checked.warnings[0].startswith("Later: 5 0G starts its lock and unlocks in about 24")
    # Not only until it unlocks, and the contract does not ask for what (contracts.md 6.4).
    assert checked.warnings[0].endswith("Until you collect it, the provider may still charge it.")


def test_the_hidden_reason_of_a_refused_transfer_is_told(contracts: Contracts) -> None:
    perform(contracts, ALICE, "deposit", amount=str(10 * NEURON))
    params = {"provider": ALICE.address, "service_name": INFERENCE, "amount": str(2 * NEURON)}
    with pytest.raises(Refused) as caught:
        services.check("transfer", params, ALICE.address)
    assert caught.value.code == "CallFailed"
    assert "This wallet is the provider" in caught.value.title


def test_a_wallet_that_cannot_pay_is_told_both_numbers(contracts: Contracts) -> None:
    poor = cast.signer(1)
    with pytest.raises(Problem) as caught:
        services.check("deposit", {"amount": str(5 * NEURON)}, poor.address)
    assert caught.value.code == "insufficient_wallet_balance"
    assert "holds 0 0G" in caught.value.title


def test_a_provider_pays_its_stake_once_and_gets_it_back(contracts: Contracts) -> None:
    listing = {
        "service_type": "chatbot",
        "url": "https://provider.example",
        "model": "some/model",
        "verifiability": "TeeML",
        "input_price": "100",
        "output_price": "400",
        "additional_info": "{}",
        "tee_signer": cast.signer(1).address,
    }
    provider = cast.provider(1)
    before = services.check("add_or_update_service", listing, provider.address)
    assert before.call.value == 100 * NEURON
    assert ("stake", 0, 100 * NEURON) in [(e.what, e.before, e.after) for e in before.effects]
    perform(contracts, provider, "add_or_update_service", **listing)
    update = services.check("add_or_update_service", listing, provider.address)
    assert update.call.value == 0
    assert not {"stake", "wallet"} & {e.what for e in update.effects}
    # A table of what changes has no line for what was listed and stays so.
    assert [row.what for row in shown.review(before, {}).rows] == [
        "wallet",
        "stake",
        "service",
        "gas",
    ]
    assert [row.what for row in shown.review(update, {}).rows] == ["gas"]
    with pytest.raises(Refused) as caught:
        long = {**listing, "additional_info": "é" * 2049}
        services.check("add_or_update_service", long, provider.address)
    assert caught.value.code == "AdditionalInfoTooLong"
    removal = services.check("remove_service", {"service_name": INFERENCE}, provider.address)
    assert ("stake", 100 * NEURON, 0) in [(e.what, e.before, e.after) for e in removal.effects]
    perform(contracts, provider, "remove_service", service_name=INFERENCE)
    with pytest.raises(Refused) as caught:
        services.check("remove_service", {"service_name": INFERENCE}, provider.address)
    assert caught.value.code == "ServiceNotExist"


def test_a_fine_tuning_listing_and_a_result_to_acknowledge(contracts: Contracts) -> None:
    provider = cast.provider(2)
    quota = dict.fromkeys(("cpu_count", "node_memory", "gpu_count", "node_storage"), "1")
    listing = {
        "url": "https://tuner.example",
        "quota": {**quota, "gpu_type": "H100"},
        "price_per_token": "5",
        "occupied": False,
        "models": ["base/model"],
        "tee_signer": cast.signer(2).address,
    }
    perform(contracts, provider, "add_or_update_finetune_service", **listing)
    stored = contracts.fine_tuning.view("getService", provider.address)
    assert (stored["url"], stored["models"]) == ("https://tuner.example", ["base/model"])
    perform(contracts, ALICE, "deposit", amount=str(5 * NEURON))
    at = {"provider": provider.address, "service_name": FINE_TUNING}
    perform(contracts, ALICE, "transfer", **at, amount=str(2 * NEURON))
    same = services.check("acknowledge_signer", {**at, "acknowledged": True}, ALICE.address)
    assert "For the contract this changes nothing: it would only cost gas." in same.warnings
    result = {"provider": provider.address, "deliverable_id": "task-1"}
    both_refuse("acknowledge_deliverable", result, "DeliverableNotExists")
    contracts.fine_tuning.send(provider, "addDeliverable", ALICE.address, "task-1", b"root")
    perform(contracts, ALICE, "acknowledge_deliverable", **result)
    (found,) = contracts.fine_tuning.view("getDeliverables", ALICE.address, provider.address)
    assert found["acknowledged"] is True
    taken = {"providers": [provider.address], "service_name": FINE_TUNING}
    assert words.UNSETTLED in services.check("retrieve", taken, ALICE.address).warnings
    again = services.check("acknowledge_deliverable", result, ALICE.address)
    assert again.warnings == ("You acknowledged this result before: this would only cost gas.",)


# --- through HTTP -------------------------------------------------------------------------------


def ask(client: Client, body: Any) -> Any:
    return client.post("/api/v1/transactions/preview", body, content_type="application/json")


def test_the_api_answers_with_the_transaction_and_its_effects(client: Client) -> None:
    body = {"action": "deposit", "from": ALICE.address, "params": {"amount": str(5 * NEURON)}}
    answer = ask(client, body).json()
    assert set(answer) == {"to", "data", "value", "gas", "effects", "warnings"}
    assert answer["value"] == str(5 * NEURON) and int(answer["gas"]) > 50_000
    available = next(e for e in answer["effects"] if e["what"] == "available")
    assert available == {"what": "available", "before": "0", "after": str(5 * NEURON)}


@pytest.mark.parametrize(
    ("action", "params", "status", "code"),
    [
        ("deposit", {"amount": str(NEURON)}, 422, "MinimumDepositRequired"),
        ("withdraw", {"amount": "1"}, 422, "LedgerNotExists"),
        ("deposit", {"amount": "0"}, 422, "ZeroAmountNotAllowed"),
        ("deposit", {"amount": 1.5}, 400, "invalid_request"),
        ("deposit", {"amount": "1e18"}, 400, "invalid_request"),
        ("deposit", {"amount": str(2**256)}, 400, "invalid_request"),
        ("deposit", {}, 400, "invalid_request"),
        ("deposit", {"amount": "1", "extra": 1}, 400, "invalid_request"),
        ("deposit", [], 400, "invalid_request"),
        ("burn", {}, 400, "unknown_action"),
        ("deposit_for", {"recipient": "0x12", "amount": "1"}, 400, "invalid_request"),
        ("revoke_token", {"provider": PETRA, "token_id": 256}, 400, "invalid_request"),
        ("deposit", {"amount": "\u0663"}, 400, "invalid_request"),
        ("add_or_update_service", {**LISTING, "service_name": FINE_TUNING}, 422, "ServiceNotFound"),
    ],
)
def test_refusals_are_problem_documents(
    client: Client, action: str, params: Any, status: int, code: str
) -> None:
    answer = ask(client, {"action": action, "from": CHARLIE.address, "params": params})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer["Content-Type"] == "application/problem+json"
    document = answer.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(document)
    assert document["type"] == f"/api/docs#{code}" and document.get("fix") != ""
    ours = CODES.get(code)  # else the contract's error name
    assert ours.status == status if ours else code[0].isupper()


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b'{"action": {}, "from": 1}'])
def test_malformed_requests_are_problem_documents(client: Client, raw: bytes) -> None:
    answer = client.post("/api/v1/transactions/preview", raw, content_type="application/json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("size", [65_537, 2_000_000])
def test_a_large_request_is_a_problem_document(client: Client, size: int) -> None:
    answer = ask(client, b"x" * size)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_silent_node_is_said_to_be_silent(client: Client, settings: Any, free_port: int) -> None:
    settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{free_port}",)
    answer = ask(client, {"action": "delete_ledger", "from": ALICE.address, "params": {}})
    assert (answer.status_code, answer.json()["code"]) == (503, "chain_unreachable")


def test_a_node_of_another_chain_is_not_believed(client: Client, settings: Any) -> None:
    settings.CHAIN_ID = 16661
    answer = ask(client, {"action": "delete_ledger", "from": ALICE.address, "params": {}})
    assert (answer.status_code, answer.json()["code"]) == (503, "wrong_chain")


def test_a_wallet_that_is_a_contract_hears_what_its_money_cannot_do(contracts: Contracts) -> None:
    """Before it moves any: providers recover who signed a key, and a contract signs none."""
    perform(contracts, ALICE, "deposit", amount=str(5 * NEURON))
    perform(contracts, ALICE, "transfer", provider=PETRA, amount=str(NEURON))
    user = User.objects.for_address(ALICE.address)

    def grave(action: str, **params: Any) -> bool:
        return words.CONTRACT_WALLET in services.check(action, params, ALICE.address).grave

    moves = ({"action": "deposit"}, {"action": "transfer", "provider": PETRA})
    # A plain account that lends itself a contract's code (EIP-7702) signs as ever.
    for code, told in ((owned_by(BOB.address), True), ("0xef0100" + PAUL[2:], False)):
        contracts.chain.rpc.call("anvil_setCode", ALICE.address, code)
        assert [grave(amount=str(NEURON), **move) for move in moves] == [told, told]
        assert not grave("retrieve", providers=[PETRA])
        if not told:
            assert keys.prepare(user, PETRA).digest
            assert problems.wrong_signature(ALICE.address).code == "wrong_signature"
            continue
        with pytest.raises(Problem, match="Your wallet is a contract"):
            keys.prepare(user, PETRA)
        with pytest.raises(Problem, match="Your wallet is a contract"):
            keys_lasting.prepare(user, PETRA, 1)
        assert problems.wrong_signature(ALICE.address).code == "contract_wallet"

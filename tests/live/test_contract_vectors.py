"""`vectors/contracts.json`, made by running the networks' own bytecode, is accepted by ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from devnet import accounts, owner
from devnet.anvil import Anvil
from devnet.client import Chain, Contract, Receipt, decode_log
from devnet.deploy import Contracts, Deployment, connect, deploy
from devnet.signatures import Domain, settlement, verifier_input

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "contracts.json").read_text())
ONE = 10**18
USER, PROVIDER = VECTORS["keys"]["user"], VECTORS["keys"]["provider"]
TEE: LocalAccount = Account.from_key(VECTORS["keys"]["teePrivateKey"])


def hexed(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Contracts, Deployment]]:
    """A chain where the vectors' user and provider act without keys of ours."""
    with Anvil(args=()) as node:
        deployment = deploy(node.url)
        contracts = connect(node.url, deployment)
        for address in (USER, PROVIDER):
            contracts.chain.rpc.call("anvil_impersonateAccount", address)
            contracts.chain.rpc.call("anvil_setBalance", address, hex(1000 * ONE))
        yield contracts, deployment


def impersonate(chain: Chain, sender: str, to: str, data: bytes, value: int = 0) -> Receipt:
    tx = {"from": sender, "to": to, "data": "0x" + data.hex(), "value": hex(value)}
    receipt = chain.wait(chain.rpc.call("eth_sendTransaction", tx))
    assert receipt.ok
    return receipt


def recorded(contracts: Contracts, call: str) -> Receipt:
    """Sends one recorded call with its recorded value, from whom the flow says."""
    contract = {
        "ledger": contracts.ledger,
        "inference": contracts.inference,
        "fine-tuning": contracts.fine_tuning,
    }[call.partition(".")[0]]
    by_provider = any(word in call for word in ("Service", "settleFees", "addDeliverable"))
    vector = VECTORS["calldata"][call]
    return impersonate(
        contracts.chain,
        PROVIDER if by_provider else USER,
        contract.address,
        hexed(vector["data"]),
        int(vector["value"]),
    )


def vector(kind: str, chain_id: int = 31337) -> dict[str, Any]:
    found: dict[str, Any] = next(v for v in VECTORS[kind] if v["chainId"] == chain_id)
    return found


def test_domain_separators_of_all_networks() -> None:
    names = {"Inference": "0G Inference Serving", "FineTuning": "0G Fine-Tuning Serving"}
    addresses = {
        "zgMainnet/InferenceServing_v1.0": (16661, "0x47340d900bdFec2BD393c626E12ea0656F938d84"),
        "zgMainnet/FineTuningServing_v1.0": (16661, "0x4e3474095518883744ddf135b7E0A23301c7F9c0"),
        "zgTestnetV4/InferenceServing_v1.0": (16602, "0xa79F4c8311FF93C06b8CfB403690cc987c93F91E"),
        "zgTestnetV4/FineTuningServing_v1.1": (16602, "0xC6C075D8039763C8f1EbE580be5ADdf2fd6941bA"),
        "hardhat31337/InferenceServing_v1.0": (31337, "0x0165878A594ca255338adfa4d48449f69242Eb8F"),
        "hardhat31337/FineTuningServing_v1.0": (
            31337,
            "0xA51c1fc2f0D1a1b8494Ed1FE312d7C3a78Ed91C0",
        ),
    }
    for key, (chain_id, address) in addresses.items():
        name = names["FineTuning" if "FineTuning" in key else "Inference"]
        domain = {
            "name": name,
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": address,
        }
        message = encode_typed_data(domain, {"Any": [{"name": "a", "type": "uint256"}]}, {"a": 1})
        assert message.header == hexed(VECTORS["domainSeparators"][key])


@pytest.mark.parametrize("chain_id", [16661, 31337])
def test_our_signatures_equal_the_recorded_ones(chain_id: int) -> None:
    """secp256k1 signing is deterministic, so equal bytes mean an equal digest."""
    item = vector("settlement", chain_id)
    signed = settlement(
        Domain(chain_id, item["verifyingContract"]),
        TEE,
        user=USER,
        provider=PROVIDER,
        fee=int(item["totalFee"]),
        nonce=int(item["nonce"]),
        requests_hash=hexed(item["requestsHash"]),
    )
    assert signed["signature"] == hexed(item["signature"])
    task = vector("verifier", chain_id)
    verified = verifier_input(
        Domain(chain_id, task["verifyingContract"]),
        TEE,
        user=USER,
        deliverable=task["id"],
        root=hexed(task["modelRootHash"]),
        secret=hexed(task["encryptedSecret"]),
        fee=int(task["taskFee"]),
        nonce=int(task["nonce"]),
    )
    assert verified["signature"] == hexed(task["signature"])
    assert keccak(
        b"\x19\x01" + hexed(item["domainSeparator"]) + hexed(item["structHash"])
    ) == hexed(item["digest"])


def test_the_recorded_calls_run_in_their_order(stage: tuple[Contracts, Deployment]) -> None:
    """The whole flow of contracts.md 10 with the recorded bytes, then a look at the views."""
    contracts, _ = stage
    with contracts.chain.rollback():
        recorded(contracts, "ledger.addLedger('')")
        recorded(contracts, "ledger.depositFund()")
        recorded(contracts, "ledger.depositFundFor(user)")
        recorded(contracts, "ledger.transferFund(provider,'inference-v1.0',1 0G)")
        ledger = contracts.ledger.view("getLedger", USER)
        assert (ledger["totalBalance"], ledger["availableBalance"]) == (5 * ONE, 4 * ONE)

        recorded(contracts, "inference.addOrUpdateService(params)")
        recorded(contracts, "inference.acknowledgeTEESigner(provider,true)")
        for call in ("revokeToken(provider,7)", "revokeTokens(provider,[0,255])"):
            recorded(contracts, f"inference.{call}")
        account = contracts.inference.view("getAccount", USER, PROVIDER)
        assert account["revokedBitmap"] == 1 << 7 | 1 | 1 << 255
        recorded(contracts, "inference.revokeAllTokens(provider)")
        assert contracts.inference.view("getAccount", USER, PROVIDER)["generation"] == 1

        recorded(contracts, "ledger.updateAdditionalInfo('x')")
        recorded(contracts, "ledger.refund(1 0G)")
        recorded(contracts, "ledger.retrieveFund([provider],'inference-v1.0')")
        contracts.chain.travel(86_400)
        recorded(contracts, "ledger.retrieveFund([provider],'inference-v1.0')")
        ledger = contracts.ledger.view("getLedger", USER)
        assert (ledger["totalBalance"], ledger["availableBalance"]) == (4 * ONE, 4 * ONE)
        assert ledger["additionalInfo"] == "x"
        before = contracts.chain.balance(PROVIDER)
        recorded(contracts, "inference.removeService()")
        assert 99 * ONE < contracts.chain.balance(PROVIDER) - before < 100 * ONE


def open_pair(contracts: Contracts, serving: Contract, name: str, amount: int) -> None:
    ledger = contracts.ledger
    impersonate(contracts.chain, USER, ledger.address, ledger.encode("depositFund"), 9 * ONE)
    data = ledger.encode("transferFund", PROVIDER, name, amount)
    impersonate(contracts.chain, USER, ledger.address, data)


def register(contracts: Contracts, serving: Contract, *params: Any) -> None:
    data = serving.encode("addOrUpdateService", *params)
    impersonate(contracts.chain, PROVIDER, serving.address, data, 100 * ONE)
    kind: owner.Kind = "inference" if serving is contracts.inference else "fine-tuning"
    owner.acknowledge_signer(contracts, PROVIDER, kind)


def test_the_recorded_settlement_is_paid(stage: tuple[Contracts, Deployment]) -> None:
    """The exact calldata, signature included; the provider's wallet gets the fee less gas."""
    contracts, _ = stage
    item = vector("settlement")
    fee, nonce = int(item["totalFee"]), int(item["nonce"])
    with contracts.chain.rollback():
        open_pair(contracts, contracts.inference, "inference-v1.0", ONE)
        params = ("chatbot", "http://127.0.0.1", "m", "TeeML", 1, 1, "", TEE.address)
        register(contracts, contracts.inference, params)
        # The recorded calldata carries mainnet's signature: another chain must refuse it.
        foreign = recorded(contracts, "inference.settleFeesWithTEE([item])")
        assert [log.args for log in foreign.logs] == [
            {"user": USER, "status": 5, "unsettledAmount": fee}
        ]

        local = hexed(VECTORS["calldata"]["inference.settleFeesWithTEE([item])"]["data"]).replace(
            hexed(vector("settlement", 16661)["signature"]), hexed(item["signature"])
        )
        before = contracts.chain.balance(PROVIDER)
        receipt = impersonate(contracts.chain, PROVIDER, contracts.inference.address, local)
        raw = contracts.chain.rpc.call("eth_getTransactionReceipt", receipt.tx_hash)
        gas = receipt.gas_used * int(raw["effectiveGasPrice"], 16)
        assert contracts.chain.balance(PROVIDER) - before == fee - gas
        names = [log.name for log in receipt.logs]
        assert names == ["FundSpent", "BalanceUpdated", "TEESettlementResult"]
        assert receipt.logs[2].args == {"user": USER, "status": 0, "unsettledAmount": 0}
        account = contracts.inference.view("getAccount", USER, PROVIDER)
        assert (account["balance"], account["nonce"]) == (ONE - fee, nonce)
        assert contracts.ledger.view("getLedger", USER)["totalBalance"] == 9 * ONE - fee

        again = impersonate(contracts.chain, PROVIDER, contracts.inference.address, local)
        assert again.logs[-1].args == {"user": USER, "status": 4, "unsettledAmount": fee}


def test_the_recorded_task_is_paid(stage: tuple[Contracts, Deployment]) -> None:
    contracts, _ = stage
    task = vector("verifier")
    tuning = contracts.fine_tuning
    with contracts.chain.rollback():
        open_pair(contracts, tuning, "fine-tuning-v1.0", ONE)
        register(
            contracts, tuning, "http://127.0.0.1", (1, 1, 1, 1, "H100"), 1, False, [], TEE.address
        )
        recorded(contracts, "fine-tuning.addDeliverable(user,'task-1',root)")
        stored = tuning.view("getDeliverable", USER, PROVIDER, "task-1")["modelRootHash"]
        assert stored == hexed(task["modelRootHash"])
        recorded(contracts, "fine-tuning.acknowledgeDeliverable(provider,'task-1')")
        call = (
            task["id"],
            hexed(task["encryptedSecret"]),
            hexed(task["modelRootHash"]),
            int(task["nonce"]),
            hexed(task["signature"]),
            int(task["taskFee"]),
            USER,
        )
        data = tuning.encode("settleFees", call)
        receipt = impersonate(contracts.chain, PROVIDER, tuning.address, data)
        names = [log.name for log in receipt.logs]
        assert names == ["FeesSettled", "FundSpent", "BalanceUpdated"]
        settled = tuning.view("getDeliverable", USER, PROVIDER, "task-1")
        assert settled["settled"] and settled["encryptedSecret"] == hexed(task["encryptedSecret"])
        account = tuning.view("getAccount", USER, PROVIDER)
        assert account["balance"] == ONE - int(task["taskFee"])


def test_the_deployment_is_the_one_of_the_official_sdk(
    stage: tuple[Contracts, Deployment],
) -> None:
    """Addresses, creation logs and owners after the order of contracts.md 13.2."""
    contracts, deployment = stage
    assert deployment.ledger == "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"
    assert deployment.inference == "0x0165878A594ca255338adfa4d48449f69242Eb8F"
    assert deployment.fine_tuning == "0xA51c1fc2f0D1a1b8494Ed1FE312d7C3a78Ed91C0"
    query = {"fromBlock": "0x0", "toBlock": hex(16)}
    logs: dict[str, list[str]] = {}
    for raw in contracts.chain.rpc.call("eth_getLogs", query):
        log = decode_log(raw)
        if log is not None:
            logs.setdefault(log.address, []).append(log.name)
    start = ["OwnershipTransferred", "Initialized"]
    registered = ["ServiceRegistered", "RecommendedServiceUpdated"]
    assert logs[deployment.ledger] == start + registered * 2
    assert logs[deployment.inference] == [start[0], "ContractInitialized", start[1]]
    assert logs[deployment.fine_tuning] == start
    for one in (contracts.ledger, contracts.inference, contracts.fine_tuning):
        assert one.view("owner") == accounts.owner().address
        assert one.view("initialized") is True

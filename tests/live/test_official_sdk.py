"""Conformance with clients nobody here wrote: the official CLI 0.9.0 and the `openai` library,
unmodified, use our contracts and our broker. After each command the contracts are asked."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
import yaml
from openai.types.chat import ChatCompletionMessageParam

from devnet import accounts, owner
from devnet.anvil import Anvil
from devnet.deploy import Contracts, connect, deploy
from protocol import fees, keys, replies
from tests.live import official_sdk, signed
from tests.waiting import eventually

G = 10**18  # neuron of 1 0G
INPUT_PRICE, OUTPUT_PRICE = 3 * 10**9, 7 * 10**9  # neuron per token
MODEL = "project-docs"
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "How does a refund of locked money work?"}
]
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Peer:
    """One wallet with the official CLI, one registered provider with our broker."""

    cli: official_sdk.Cli
    contracts: Contracts
    user: str
    provider: str
    url: str
    folder: Path

    @property
    def ledger(self) -> tuple[int, int]:
        """(available, total) of the user, as the contract says."""
        row = self.contracts.ledger.view("getLedger", self.user)
        return row["availableBalance"], row["totalBalance"]

    @property
    def account(self) -> Any:
        return self.contracts.inference.view("getAccount", self.user, self.provider)

    @property
    def service(self) -> Any:
        return self.contracts.inference.view("getService", self.provider)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """A chain of its own, since the CLI knows one set of addresses on chain 31337."""
    entry = official_sdk.install()
    folder = tmp_path_factory.mktemp("sdk")
    user, provider = accounts.user(1), accounts.provider(1)
    docs = ("--docs", str(official_sdk.ROOT), "--rate", "5000")
    with (
        Anvil() as node,
        official_sdk.python(
            "provider.answerer", *docs, log=folder / "answerer.log", ready="answerer READY"
        ) as answerer,
    ):
        contracts = connect(node.url, deploy(node.url))
        config = {
            "service": {
                "model": MODEL,
                "input_price": str(INPUT_PRICE),
                "output_price": str(OUTPUT_PRICE),
            },
            "upstream": {"url": f"{answerer[2]}/v1"},
            "chain": {
                "rpc": node.url,
                "inference": contracts.inference.address,
                "cache_seconds": 0.2,
            },
            "settlement": {"interval_seconds": 1},
            "wallet_key": "0x" + bytes(provider.key).hex(),
            "state": "state",
        }
        path = folder / "provider.yaml"
        path.write_text(yaml.safe_dump(config))
        with official_sdk.python(
            "provider", "--config", str(path), log=folder / "provider.log", ready="provider READY"
        ) as broker:
            owner.acknowledge_signer(contracts, provider.address)
            home = folder / "home"
            cli = official_sdk.Cli.of(entry, home, node.url, "0x" + bytes(user.key).hex())
            yield Peer(cli, contracts, user.address, provider.address, broker[2], folder)


def signed_by_the_chains_signer(peer: Peer, chat_id: str, body: bytes, received: bytes) -> None:
    """The answer's signature, over the bytes as they travelled, by the signer on chain."""
    address = f"{peer.url}/v1/proxy/signature/{chat_id}"
    document = requests.get(address, params={"model": MODEL}, timeout=10).json()
    check = replies.check(
        replies.parse_reply(document),
        expected_signer=peer.service["teeSignerAddress"],
        request_sha256=replies.sha256_hex(body),
        response_sha256=[replies.sha256_hex(received)],
    )
    assert signed.word(check) == "verified", (check, document)


def test_the_official_cli_lives_with_our_contracts_and_broker(peer: Peer) -> None:
    """One wallet's whole life, in the order a newcomer meets it."""
    cli = peer.cli

    said = cli("add-account", "--amount", "10")
    assert peer.ledger == (10 * G, 10 * G), said

    said = cli("deposit", "--amount", "5")
    assert peer.ledger == (15 * G, 15 * G), said

    said = cli("get-account")
    assert peer.ledger == (15 * G, 15 * G) and f"15.{'0' * 18}" in said, said

    said = cli("inference", "list-providers")
    assert peer.provider in said and MODEL in said, said
    assert (peer.service["inputPrice"], peer.service["outputPrice"]) == (INPUT_PRICE, OUTPUT_PRICE)
    for price in (INPUT_PRICE, OUTPUT_PRICE):
        assert f"0.{price:018d}" in said, said

    # Acknowledging opens the sub-account with exactly 1 0G (provider-protocol.md 10, trap 16).
    said = cli("inference", "acknowledge-provider", "--provider", peer.provider)
    assert peer.account["acknowledged"] is True, said
    assert (peer.account["balance"], peer.ledger) == (G, (14 * G, 15 * G)), said

    flags = ("--provider", peer.provider, "--service", "inference")
    said = cli("transfer-fund", *flags, "--amount", "2")
    assert (peer.account["balance"], peer.ledger) == (3 * G, (12 * G, 15 * G)), said

    said = cli("get-sub-account", *flags)
    assert f"3.{'0' * 18}" in said, said

    folder = peer.folder / "evidence"
    folder.mkdir()
    said = cli("inference", "verify", "--provider", peer.provider, "--output-dir", str(folder))
    assert "Signer Address Verification: ✅ PASSED" in said, said
    report = json.loads((folder / "attestation_report.json").read_text())
    signer = base64.b64decode(report["report_data"]).rstrip(b"\0").decode()
    assert signer == peer.service["teeSignerAddress"] and peer.service["teeSignerAcknowledged"]

    said = cli("inference", "get-models", "--provider", peer.provider)
    assert MODEL in said, said

    key = get_secret(peer, token_id=3)
    spent = call_with_openai(peer, key)
    settle_exactly(peer, spent)
    revoke(peer, key, token_id=3)
    bring_money_home(peer, flags)


def get_secret(peer: Peer, token_id: int) -> str:
    """An API key of the CLI, judged by our own reading of the wire format."""
    flags = ("--token-id", str(token_id), "--duration", str(HOUR_MS))
    said = peer.cli("inference", "get-secret", "--provider", peer.provider, *flags)
    found = re.search(r"app-sk-[A-Za-z0-9+/=]+", said)
    assert found, said
    account = peer.account
    fields = keys.verify(
        keys.authorization(found[0]),
        provider=peer.provider,
        now=int(time.time()),
        state=keys.Revocation(account["generation"], account["revokedBitmap"]),
    )
    assert (fields.address, fields.token_id, fields.generation) == (peer.user, token_id, 0)
    assert fields.expires_at - fields.timestamp == HOUR_MS
    return found[0]


def call_with_openai(peer: Peer, key: str) -> int:
    """One plain and one streamed answer; returns their fees by the published tariff, in neuron."""
    client = openai.OpenAI(
        api_key=key,
        base_url=f"{peer.url}/v1/proxy",
        max_retries=0,
        # What is hashed is what travels (provider-protocol.md 10, trap 11).
        default_headers={"Accept-Encoding": "identity"},
    )
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, max_tokens=60
    )
    plain = raw.parse()
    assert plain.choices[0].message.content and plain.usage
    signed_by_the_chains_signer(
        peer, raw.headers["ZG-Res-Key"], raw.http_request.content, raw.content
    )

    with client.chat.completions.with_streaming_response.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=60,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        received = b"".join(stream.iter_bytes())
        chat_id, sent = stream.headers["ZG-Res-Key"], stream.http_request.content
    signed_by_the_chains_signer(peer, chat_id, sent, received)
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            max_tokens=60,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == plain.choices[0].message.content and len(chunks) > 5
    usage = chunks[-1].usage
    assert usage

    tariff = fees.tariff(INPUT_PRICE, OUTPUT_PRICE, peer.service["additionalInfo"])
    counted = fees.Usage(plain.usage.prompt_tokens, plain.usage.completion_tokens)
    assert (usage.prompt_tokens, usage.completion_tokens) == (
        counted.prompt_tokens,
        counted.completion_tokens,
    )
    fee = 3 * fees.chat_fee(tariff, counted)
    owed = requests.get(
        f"{peer.url}/v1/user/{peer.user}/unsettledfee",
        headers={"Authorization": keys.authorization(key)},
        timeout=10,
    )
    assert int(owed.json()["unsettledFee"]) in range(fee + 1)
    return fee


def settle_exactly(peer: Peer, spent: int) -> None:
    """The broker's EIP-712 batches move exactly the fees: no more, no less, no double charge."""
    eventually(lambda: peer.account["balance"] <= 3 * G - spent)
    time.sleep(2.5)  # two more settlement rounds, that must find nothing
    assert peer.account["balance"] == 3 * G - spent
    assert peer.ledger == (12 * G, 15 * G - spent)
    assert peer.account["nonce"] > 0


def revoke(peer: Peer, key: str, token_id: int) -> None:
    flags = ("--provider", peer.provider, "--token-id", str(token_id))
    said = peer.cli("inference", "revoke-token", *flags)
    assert peer.account["revokedBitmap"] == 1 << token_id, said
    client = openai.OpenAI(api_key=key, base_url=f"{peer.url}/v1/proxy", max_retries=0)

    time.sleep(1)  # the broker's account cache is 0.2 s old by then; a call before would still cost
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1)
    assert "session token has been revoked" in refused.value.response.text


def bring_money_home(peer: Peer, flags: tuple[str, ...]) -> None:
    """The two-step refund, and the withdrawal to the wallet."""
    balance, (available, total) = peer.account["balance"], peer.ledger
    said = peer.cli("retrieve-fund", *flags)
    assert peer.account["pendingRefund"] == balance == peer.account["balance"], said
    assert peer.ledger == (available, total), said

    lock = peer.contracts.inference.view("lockTime")
    peer.contracts.chain.rpc.call("evm_increaseTime", lock + 1)
    peer.contracts.chain.rpc.call("evm_mine")
    said = peer.cli("retrieve-fund", *flags)
    assert peer.account["balance"] == 0, said
    assert peer.ledger == (available + balance, total), said

    wallet = peer.contracts.chain.balance(peer.user)
    said = peer.cli("refund", "--amount", "4")
    assert peer.ledger == (available + balance - 4 * G, total - 4 * G), said
    gas = wallet + 4 * G - peer.contracts.chain.balance(peer.user)
    assert 0 < gas < G // 100, said

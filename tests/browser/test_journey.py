"""The whole, as a newcomer meets it: `./run demo`, a wallet, money, two answers, two verdicts; then
how others begin beside it, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from devnet import accounts as cast
from devnet.deploy import Contracts, Deployment, connect, find
from devnet.rpc import Rpc
from runner.demo import TUNER
from tests.browser.wallet import Wallet, neuron
from tests.demo import Demo
from tests.live.branches import reorganise

NEURON = 10**18
NEWCOMER = cast.user(1)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "demo.log")
    try:
        running.ready()
        yield running
    finally:
        running.end()


@pytest.fixture
def contracts(demo: Demo) -> Contracts:
    from devnet.client import Chain

    url = demo.said(r"^Chain +(http://\S+)")
    deployment = find(Chain(url))
    assert isinstance(deployment, Deployment)
    return connect(url, deployment)


@pytest.fixture
def errors(page: Page) -> Iterator[list[str]]:
    """Console errors and CSP reports fail the test."""
    seen: list[str] = []
    page.on("console", lambda m: seen.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: seen.append(str(e)))
    yield seen
    assert seen == []


def all_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=60)
    return [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as response:
        body: bytes = response.read()
        return body


def confirm_until_final(page: Page) -> None:
    page.get_by_test_id("tx-confirm").click()
    state = page.get_by_test_id("tx-state").first
    expect(state).to_have_attribute("data-state", "final", timeout=60_000)


def fund(page: Page, site: str, provider: str, amount: str) -> None:
    page.goto(f"{site}/account?action=transfer&provider={provider}")
    page.get_by_test_id("tx-amount").fill(amount)
    confirm_until_final(page)


def until_settled(page: Page, site: str, contracts: Contracts, *providers: str) -> list[int]:
    """Wait until an answer of each was settled and the page says the same; the balances left."""
    for _ in range(60):
        held = [
            contracts.inference.view("getAccount", NEWCOMER.address, provider)["balance"]
            for provider in providers
        ]
        if 2 * NEURON not in held:
            page.goto(f"{site}/account")
            if neuron(page, "locked") == sum(held):
                return held
        page.wait_for_timeout(1000)
    raise AssertionError(f"held {held} at {page.url}")


def ask(page: Page, site: str, provider: str, question: str) -> Any:
    """A question in a new chat, for which a key is made first; the verdict element."""
    page.goto(f"{site}/playground/chat?provider={provider}")
    page.get_by_test_id("chat-input").fill(question)
    page.get_by_test_id("chat-send").click()
    dialog = page.get_by_role("dialog", name="Make a key for this provider")
    expect(dialog).to_contain_text(provider)
    expect(dialog).to_contain_text("A key is good for the whole sub-account")
    page.get_by_role("button", name="Make the key").click()
    return page.get_by_test_id("message-verdict")


def test_a_demo_from_an_empty_wallet_page_to_two_verdicts_and_its_end(
    demo: Demo,
    contracts: Contracts,
    context: BrowserContext,
    page: Page,
    errors: list[str],
    tmp_path: Path,
) -> None:
    site = demo.ready()
    chain = demo.said(r"^Chain +(http://\S+)")
    wallet = Wallet(NEWCOMER, chain).install(context)
    honest, liar = cast.provider(1).address, cast.provider(3).address

    page.goto(site)
    expect(page.get_by_test_id("service-row")).to_have_count(TUNER)
    assert wallet.calls == []
    page.get_by_test_id("connect-wallet").click()
    page.get_by_test_id("wallet-option").click()
    page.get_by_test_id("sign-in").click()
    address = page.get_by_test_id("wallet-address")
    expect(address).to_have_attribute("data-address", NEWCOMER.address)

    page.goto(f"{site}/account")
    page.get_by_test_id("tx-amount").fill("5")
    confirm_until_final(page)
    fund(page, site, honest, "2")
    ledger = contracts.ledger.view("getLedger", NEWCOMER.address)
    account = contracts.inference.view("getAccount", NEWCOMER.address, honest)
    assert (ledger["availableBalance"], account["balance"]) == (3 * NEURON, 2 * NEURON)
    # The numbers follow a moment after the transaction's own line.
    available = page.get_by_test_id("balance-available")
    expect(available).to_have_attribute("data-neuron", str(3 * NEURON), timeout=15_000)
    assert neuron(page, "locked") == 2 * NEURON
    assert neuron(page, "refunding") == account["pendingRefund"] == 0
    assert neuron(page, "wallet") == contracts.chain.balance(NEWCOMER.address)

    verdict = ask(page, site, honest, "How do I get my money back?")
    expect(verdict).to_have_attribute("data-verdict", "verified", timeout=60_000)
    answer = page.locator('[data-testid="chat-message"][data-role="assistant"]')
    expect(answer).to_contain_text("retriev", ignore_case=True)
    cost = int(page.get_by_test_id("message-cost").get_attribute("data-neuron") or "-1")
    assert 0 < cost < NEURON

    # Settled before the next review is read: one that is settled meanwhile changes its numbers.
    until_settled(page, site, contracts, honest)
    fund(page, site, liar, "2")
    verdict = ask(page, site, liar, "What does the verdict altered mean?")
    expect(verdict).to_have_attribute("data-verdict", "altered", timeout=60_000)
    expect(verdict).to_contain_text("Signed, but for different text")

    # The broker settles what the answer cost, and the page follows the contract to the neuron.
    held = until_settled(page, site, contracts, honest, liar)
    ledger = contracts.ledger.view("getLedger", NEWCOMER.address)
    assert sum(held) == ledger["totalBalance"] - ledger["availableBalance"]
    assert held[0] == 2 * NEURON - cost
    page.close()

    # Others begin beside it: one that was killed leaves nothing, the next begins in its folder, and
    # the crash of any child ends the whole tree, with the reason.
    others = [Demo(tmp_path / "killed.log")]
    try:
        others[0].child("migrate")  # half set up: no contracts yet
        tree = others[0].tree()
        others[0].process.kill()
        others[0].process.wait(10)
        assert all_gone(tree) == []
        again = Demo(tmp_path / "again.log")
        others.append(again)
        answerer = again.child("provider.answerer")
        told = answerer.environ()
        assert told["SITE_URL"] != site and told["CHAIN_RPC_URLS"] != chain
        assert not Path(os.environ["RUN_DATA"], "demo-3").exists()
        tree = again.tree()
        answerer.kill()
        assert again.process.wait(60) == 1
        assert "answerer ended" in again.text
        assert all_gone(tree) == []
    finally:
        for started in others:
            started.end()
    assert json.loads(fetch(f"{site}/api/v1/services"))["count"] >= 3
    assert json.loads(fetch(f"{site}/api/v1/status"))["chain_id"] == 31337
    tuned = demo.until(r"a first model fine-tuned|fine-tuning failed:\n.*")
    assert tuned[0] == "a first model fine-tuned", demo.text
    # A chain that takes back what was final stops the follower, not the site.
    node = Rpc(chain)
    reorganise(node, int(node.call("eth_blockNumber"), 16) - 19)
    demo.until(r"follow stopped; the site goes on")
    assert json.loads(fetch(f"{site}/api/v1/status"))["halted"]
    assert b"indexing has stopped" in fetch(f"{site}/").lower()
    # Ctrl-C ends all of it.
    tree = demo.tree()
    assert any("uvicorn" in " ".join(child.cmdline()) for child in tree)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(60) == 0, demo.text
    assert all_gone(tree) == []

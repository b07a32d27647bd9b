"""What an operator sees and does while the broker runs: numbers, the page, pause, sharing."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import requests

from devnet import accounts
from protocol import unsettled
from runner.processes import free_port
from tests.live.provider_lab import (
    FEE,
    MODEL,
    ONE,
    SERVICE,
    Broker,
    Lab,
    Upstream,
    buy,
    customer,
    served,
)
from tests.waiting import eventually


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with served(Upstream()) as url:
        yield url + "/v1"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def broker(lab: Lab, upstream: str, port: int) -> Iterator[Broker]:
    made = Broker(
        lab,
        lab.person(),
        upstream,
        admin={"port": port},
        settlement={"watch_seconds": 0.2},
        log={"format": "json"},
    )
    text = made.config.read_text()
    made.config.write_text(text + "share_unsettled: true\n")
    made.start()
    lab.acknowledge(made.address)
    yield made
    made.stop()


class Door:
    """The admin port, with the token or as a browser."""

    def __init__(self, broker: Broker, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = (broker.state / "admin.token").read_text().strip()
        self.bearer = {"Authorization": f"Bearer {self.token}"}
        self.browser = requests.Session()

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.url + path, headers=headers, timeout=10)

    def post(self, path: str, **headers: str) -> requests.Response:
        return requests.post(
            self.url + path, headers={**self.bearer, **headers}, timeout=10, allow_redirects=False
        )

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/status.json", **self.bearer).json()
        return found

    def metric(self, name: str, **labels: str) -> float:
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        series = f"zg_broker_{name}" + (f"{{{wanted}}}" if wanted else "")
        text = self.get("/metrics").text
        match = re.search(f"^{re.escape(series)} (\\S+)$", text, re.MULTILINE)
        return float(match[1]) if match else 0.0


@pytest.fixture
def door(broker: Broker, port: int) -> Door:
    return Door(broker, port)


def test_the_numbers_follow_what_happens(lab: Lab, broker: Broker, door: Door) -> None:
    user = customer(lab, broker)
    before = door.metric("requests_total", door="chat", status="2xx")
    buy(broker, user, 2)
    assert broker.ask("nonsense").status_code == 400
    assert door.metric("requests_total", door="chat", status="2xx") == before + 2
    assert door.metric("requests_total", door="chat", status="4xx") >= 1
    assert door.metric("request_seconds_count", door="chat") >= 3
    assert door.metric("in_flight") == 0
    assert door.metric("unsettled_neuron") == 2 * FEE
    assert door.metric("debtors") == 1
    eventually(lambda: door.metric("wallet_neuron") > 0)
    eventually(lambda: door.metric("upstream_up") == 1)
    assert door.metric("node_up") == 1
    # Settled by order of the operator: the sums move from one series to the other.
    spent = door.metric("gas_spent_neuron_total")
    assert door.post("/settle").status_code == 200
    eventually(lambda: door.metric("unsettled_neuron") == 0)
    assert door.metric("settled_neuron_total") >= 2 * FEE
    assert door.metric("gas_spent_neuron_total") > spent
    assert door.metric("settlement_items_total", outcome="paid") >= 1
    assert door.metric("settlement_batches_total", event="mined") >= 1
    (batch,) = door.status()["sent"]
    assert (batch["asked"], batch["settled"], batch["users"]) == (str(2 * FEE), str(2 * FEE), 1)
    assert batch["outcome"].startswith("paid") and batch["tx_hash"].startswith("0x")
    assert user.address not in door.get("/metrics").text


def test_one_press_settles_all_and_an_empty_wallet_and_a_removal_are_told(
    lab: Lab, broker: Broker, door: Door
) -> None:
    user, chain = customer(lab, broker), lab.contracts.chain
    # One press settles all of it, also what came while an item that was refused waited.
    buy(broker, user, 1)
    revoke = "revokeTEESignerAcknowledgement"
    lab.contracts.inference.send(accounts.owner(), revoke, broker.address)
    door.post("/settle")
    eventually(lambda: "would answer status 3, no signer" in broker.log)
    lab.acknowledge(broker.address)
    eventually(lambda: broker.ask(user.provider_key(broker.address)).status_code == 200)
    door.post("/settle")
    eventually(lambda: door.metric("unsettled_neuron") == 0)
    buy(broker, user, 1)
    door.browser.post(f"{door.url}/login", {"token": door.token}, timeout=10)

    def told(said: str) -> bool:
        return said in door.browser.get(door.url, timeout=10).text

    full = chain.balance(broker.address)
    chain.rpc.call("anvil_setBalance", broker.address, hex(10**9))
    door.post("/settle")
    eventually(lambda: "the wallet cannot pay its gas: send it 0G" in broker.log)
    eventually(
        lambda: told("The gas wallet holds 0.000000001 0G: a settlement of fifty users needs")
    )
    chain.rpc.call("anvil_setBalance", broker.address, hex(full))
    eventually(lambda: door.metric("unsettled_neuron") == 0)
    assert not told("The gas wallet holds") and not told("not on chain any more")
    lab.contracts.inference.send(broker.owner.wallet, "removeService")
    eventually(lambda: told("The service is not on chain any more"))
    assert not told("has not acknowledged the signer")
    broker.stop()
    broker.start()  # registers again
    lab.acknowledge(broker.address)


def test_a_pause_refuses_new_work_and_survives_a_restart(
    lab: Lab, broker: Broker, door: Door, port: int
) -> None:
    user = customer(lab, broker)
    key = user.provider_key(broker.address)
    assert broker.ask(key).status_code == 200
    assert door.post("/pause").json() == {"paused": True}
    refused = broker.ask(key)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
    assert broker.owes(user) == FEE  # what users may ask about themselves stays open
    broker.stop()
    broker.start()
    door = Door(broker, port)
    assert "requests are refused until it is resumed" in broker.log
    assert broker.ask(key).status_code == 503 and door.metric("paused") == 1
    assert door.post("/resume").json() == {"paused": False}
    assert broker.ask(key).status_code == 200


def test_what_a_full_disk_does_not_take_is_owed_all_the_same(
    lab: Lab, broker: Broker, door: Door, port: int
) -> None:
    """The disk takes no charges as long as the operator has not paused."""
    user, kept = customer(lab, broker), broker.state / "broker.sqlite3"
    key = user.provider_key(broker.address)
    broker.stop()
    with closing(sqlite3.connect(kept)) as db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON charge WHEN coalesce((SELECT value FROM note"
            " WHERE name = 'paused'), 'no') = 'no' BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    broker.start()
    # Nobody gets a whole answer that could not be written down, nor another one meanwhile.
    assert broker.ask(key).status_code == 500 and broker.owes(user) == 0
    said = eventually(lambda: (it := broker.ask(key)).status_code == 503 and it.headers)
    assert said["Retry-After"] == "1" and broker.owes(user) == 0

    def streamed() -> bool:
        question = {"messages": [{"role": "user", "content": "plain"}], "stream": True}
        try:
            assert broker.ask(key, {"model": MODEL, **question}).status_code == 503
        except requests.RequestException:
            return True  # all but its end had come
        return False

    eventually(streamed)
    assert broker.owes(user) > 0 and broker.ask(key).status_code == 503
    owed, door = broker.owes(user), Door(broker, port)
    assert door.status()["full"] and door.metric("paused") == 1
    door.browser.post(f"{door.url}/login", {"token": door.token}, timeout=10)
    assert "The disk takes no charges" in door.browser.get(door.url, timeout=10).text
    door.post("/pause")
    eventually(lambda: not door.status()["full"])
    broker.stop()
    with closing(sqlite3.connect(kept)) as db:
        written = db.execute("SELECT fee FROM charge WHERE user = ?", (user.address,)).fetchall()
        db.execute("DROP TRIGGER full")
    assert written == [(str(owed),)]
    broker.start()
    # Batches of before that are not final yet begin a round at once, which may settle it by now.
    again = Door(broker, port)
    assert again.post("/settle").status_code == again.post("/resume").status_code == 200
    eventually(lambda: lab.account(user, broker.address)["balance"] == 2 * ONE - owed)
    eventually(lambda: broker.owes(user) == 0)
    assert broker.ask(key).status_code == 200


def test_the_page_works_as_a_browser_uses_it(lab: Lab, broker: Broker, door: Door) -> None:
    user = customer(lab, broker)
    buy(broker, user, 1)
    browser = door.browser
    page = browser.get(door.url, timeout=10)
    assert "Token" in page.text and user.address not in page.text
    assert browser.post(f"{door.url}/login", {"token": "guess"}, timeout=10).status_code == 403
    page = browser.post(f"{door.url}/login", {"token": door.token}, timeout=10)
    assert page.url == f"{door.url}/" and user.address in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in page.text and len(browser.cookies) == 1
    match = re.search(r'name="secret" value="([0-9a-f]{64})"', page.text)
    assert match is not None
    # A form from elsewhere has the cookie at most, never the secret.
    for form, headers in (
        ({}, {}),
        ({"secret": "0" * 64}, {}),
        ({"secret": match[1]}, {"Origin": "http://evil.example"}),
        ({"secret": match[1]}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        answer = browser.post(f"{door.url}/pause", form, headers=headers, timeout=10)
        assert answer.status_code == 403
    assert not door.status()["paused"]
    page = browser.post(f"{door.url}/pause", {"secret": match[1]}, timeout=10)
    assert "Paused: new requests are refused" in page.text and door.status()["paused"]
    page = browser.post(f"{door.url}/resume", {"secret": match[1]}, timeout=10)
    assert "taking work" in page.text
    page = browser.post(f"{door.url}/logout", {"secret": match[1]}, timeout=10)
    assert "Token" in page.text and user.address not in page.text


def test_only_this_machine_gets_in_and_only_by_its_own_name(door: Door) -> None:
    for path in ("/", "/metrics", "/status.json"):
        for headers in (
            {"Host": "rebound.example"},
            {"Host": "127.0.0.1.nip.io"},
            {"X-Forwarded-For": "203.0.113.5"},
            {"Forwarded": "for=203.0.113.5"},
        ):
            assert door.get(path, **headers).status_code == 403, (path, headers)
    assert door.get("/status.json").status_code == 401
    assert door.get("/status.json", Authorization="Basic eDp5").status_code == 401
    assert door.get("/nowhere").status_code == 404
    assert requests.get(f"{door.url}/pause", headers=door.bearer, timeout=5).status_code == 404
    # Guessing ends early, also for whoever then knows it: that is the operator's minute to wait.
    tried = [door.get("/status.json", Authorization=f"Bearer {n}").status_code for n in range(12)]
    assert set(tried) == {401, 429} and tried[-1] == 429


def test_sums_are_shared_signed(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    buy(broker, user, 1)

    def said() -> unsettled.Unsettled:
        answer = requests.get(broker.url + unsettled.PATH, timeout=10)
        assert user.address not in answer.text
        return unsettled.parse(
            answer.json(),
            provider=broker.address,
            chain_id=31337,
            contract=lab.contracts.inference.address,
        )

    eventually(lambda: said().fee >= FEE)
    assert said().users >= 1 and said().at_risk_fee == 0


def test_money_at_risk_is_seen_and_settled_without_being_asked(
    lab: Lab, broker: Broker, door: Door
) -> None:
    """The user takes the balance back while a debt is open; nobody asks the broker anything."""
    user = customer(lab, broker, 3 * ONE)
    debt = buy(broker, user, 1)
    assert lab.account(user, broker.address)["nonce"] == 0
    lab.contracts.ledger.send(user.wallet, "retrieveFund", [broker.address], SERVICE)
    eventually(lambda: lab.account(user, broker.address)["balance"] == 3 * ONE - debt)
    eventually(lambda: door.metric("users_at_risk") == 0)


def test_the_log_is_one_object_per_line(broker: Broker) -> None:
    lines = [json.loads(line) for line in broker.log.splitlines() if line.strip()]
    assert {"at", "level", "logger", "message"} <= lines[0].keys()
    assert any(line["message"] == "the operator says: pause" for line in lines)
    assert broker.owner.key.hex() not in broker.log

"""The broker as its users meet it.

A real process on a real chain, in front of a hostile upstream.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from protocol import fees
from protocol.fees import Tariff, Usage
from tests.live import signed
from tests.live.provider_lab import (
    INPUT_PRICE,
    MODEL,
    ONE,
    OUTPUT_PRICE,
    Broker,
    ChaosRpc,
    Lab,
    Person,
    Upstream,
    health_path,
    served,
)
from tests.waiting import eventually

TARIFF = Tariff(INPUT_PRICE, OUTPUT_PRICE)
USAGE_FEE = fees.chat_fee(TARIFF, Usage(11, 7))
PRIVATE_HEADERS = (
    "Address",
    "Fee",
    "Input-Fee",
    "Nonce",
    "Request-Hash",
    "Signature",
    "Session-Token",
    "Session-Signature",
    "Cookie",
    "X-Forwarded-For",
    "Origin",
)
WORDS_FEE = fees.words_fee(OUTPUT_PRICE, "seven words are in this short answer")


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[Upstream, str]]:
    app = Upstream()
    with served(app) as url:
        yield app, url + "/v1"


@pytest.fixture(scope="module")
def broker(lab: Lab, upstream: tuple[Upstream, str]) -> Iterator[Broker]:
    made = Broker(
        lab,
        lab.person(),
        upstream[1],
        upstream={"idle_seconds": 1, "first_byte_seconds": 2},
        limits={"requests_per_minute": 1000},
    ).start()
    lab.acknowledge(made.address)
    yield made
    made.stop()


@pytest.fixture
def user(lab: Lab, broker: Broker) -> Person:
    person = lab.person()
    lab.fund(person, broker.address)
    return person


def error(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def asking(word: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": word}], **more}


def verdict(broker: Broker, response: requests.Response, request: bytes) -> str:
    return signed.verdict(broker, response.headers["ZG-Res-Key"], request, response.content)


# ---- being a provider ----------------------------------------------------------------------


def test_registers_once_and_says_ready(lab: Lab, upstream: tuple[Upstream, str]) -> None:
    made = Broker(lab, lab.person(), upstream[1]).start()
    assert made.ready == f"provider READY {made.url} {made.address}"
    assert made.state.stat().st_mode & 0o077 == 0, "it says who asked, and how much"
    found = lab.service(made.address)
    assert (found["url"], found["model"], found["serviceType"]) == (made.url, MODEL, "chatbot")
    assert (found["inputPrice"], found["outputPrice"]) == (INPUT_PRICE, OUTPUT_PRICE)
    assert json.loads(found["additionalInfo"])["TEEVerifier"] == "dstack"
    lab.acknowledge(made.address)
    made.stop()
    made.start()
    # Nothing changed, so nothing was sent: an update would withdraw the acknowledgement.
    assert lab.service(made.address) == {**found, "teeSignerAcknowledged": True}
    assert made.memory() < 80 * 1024 * 1024
    made.stop()
    made.set("service", output_price=OUTPUT_PRICE + 1)
    made.start()
    assert lab.service(made.address)["outputPrice"] == OUTPUT_PRICE + 1
    assert lab.service(made.address)["teeSignerAcknowledged"]
    made.stop()


@pytest.mark.parametrize(
    ("section", "values", "text"),
    [
        ("chain", {"rpc": "http://127.0.0.1:9"}, "chain.rpc: no node answers"),
        ("chain", {"chain_id": 1}, "chain.chain_id"),
        ("chain", {"inference": "0x" + "12" * 20}, "chain.inference: there is no contract"),
        ("service", {"stake": ONE}, "InsufficientStake"),
        ("listen", {"port": 1_000_000}, "listen: cannot listen"),
        ("tee", {"backend": "sgx"}, "tee.backend: expected one of"),
    ],
)
def test_says_in_one_line_what_is_wrong(
    lab: Lab, upstream: tuple[Upstream, str], section: str, values: dict[str, Any], text: str
) -> None:
    made = Broker(lab, lab.person(), upstream[1])
    made.set(section, **values)
    with pytest.raises(RuntimeError, match="did not start"):
        made.start()
    last = made.log.strip().splitlines()[-1]
    assert last.startswith("provider: ") and text in last
    made.wait_dead()


def test_a_poor_wallet_is_told_what_it_needs(lab: Lab, upstream: tuple[Upstream, str]) -> None:
    made = Broker(lab, lab.person(coins=5), upstream[1])
    with pytest.raises(RuntimeError, match="fund it"):
        made.start()
    made.wait_dead()


# ---- answers -------------------------------------------------------------------------------


def test_a_plain_answer_is_untouched_billed_and_signed(
    broker: Broker, user: Person, upstream: tuple[Upstream, str]
) -> None:
    request = b'{ "messages": [{"role":"user","content":"plain"}],  "model": "lab-model" }'
    response = broker.ask(user.provider_key(broker.address), request)
    assert response.status_code == 200 and response.headers["Provider"] == broker.address
    assert upstream[0].bodies[-1] == request
    assert verdict(broker, response, request) == "verified"
    assert broker.owes(user) == USAGE_FEE


def test_a_stream_is_untouched_billed_and_signed(
    broker: Broker, user: Person, upstream: tuple[Upstream, str]
) -> None:
    request = json.dumps(
        asking("plain", stream=True, stream_options={"include_usage": True})
    ).encode()
    response = broker.ask(user.provider_key(broker.address), request)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content.endswith(b"data: [DONE]\n\n")
    assert upstream[0].bodies[-1] == request
    assert verdict(broker, response, request) == "verified"
    assert broker.owes(user) == USAGE_FEE


def test_asks_for_usage_where_the_client_did_not(
    broker: Broker, user: Person, upstream: tuple[Upstream, str]
) -> None:
    request = json.dumps(asking("plain", stream=True)).encode()
    response = broker.ask(user.provider_key(broker.address), request)
    forwarded = upstream[0].bodies[-1]
    assert json.loads(forwarded) == {
        **json.loads(request),
        "stream_options": {"include_usage": True},
    }
    assert verdict(broker, response, request) == "rewritten"
    assert verdict(broker, response, forwarded) == "verified"


def test_works_with_the_openai_client(broker: Broker, user: Person) -> None:
    key = user.provider_key(broker.address).removeprefix("Bearer ")
    with openai.OpenAI(api_key=key, base_url=broker.url + "/v1/proxy") as client:
        plain = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "plain"}]
        )
        assert plain.choices[0].message.content == "seven words are in this short answer"
        chunks = list(
            client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "plain"}], stream=True
            )
        )
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == "seven words are in this short answer"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 7
    assert broker.owes(user) == 2 * USAGE_FEE


def test_the_duplicated_v1_is_the_same_door(broker: Broker, user: Person) -> None:
    key = user.provider_key(broker.address)
    assert broker.ask(key, path="/v1/proxy/v1/chat/completions/").status_code == 200


def test_another_model_name_is_replaced(
    broker: Broker, user: Person, upstream: tuple[Upstream, str]
) -> None:
    asked = {**asking("plain"), "model": "gpt-4o"}
    assert broker.ask(user.provider_key(broker.address), asked).status_code == 200
    assert json.loads(upstream[0].bodies[-1])["model"] == MODEL


def test_the_upstream_learns_nothing_about_the_user(
    broker: Broker, user: Person, upstream: tuple[Upstream, str]
) -> None:
    secret = dict.fromkeys((*PRIVATE_HEADERS, "X-Hop"), "leak")
    headers = {**secret, "Connection": "keep-alive, X-Hop", "X-Custom": "kept"}
    assert broker.ask(user.provider_key(broker.address), headers=headers).status_code == 200
    seen = upstream[0].headers[-1]
    assert "leak" not in seen.values() and user.address not in str(seen)
    assert seen["authorization"] == "Bearer upstream-secret"
    assert (seen["accept-encoding"], seen["x-custom"]) == ("identity", "kept")


def test_a_client_that_leaves_pays_for_the_whole_answer(
    broker: Broker, user: Person, upstream: tuple[Upstream, str]
) -> None:
    response = broker.ask(
        user.provider_key(broker.address), asking("slowly", stream=True), stream=True
    )
    chat_id = response.headers["ZG-Res-Key"]
    next(response.iter_content(10))
    response.close()
    # The signature request waits for the end that the client did not wait for.
    reply = requests.get(f"{broker.url}/v1/proxy/signature/{chat_id.upper()}", timeout=10)
    assert reply.status_code == 200
    assert broker.owes(user) == USAGE_FEE


def test_a_lying_provider_is_seen_by_whoever_hashes(
    lab: Lab, upstream: tuple[Upstream, str]
) -> None:
    liar = Broker(lab, lab.person(), upstream[1], tee={"backend": "lying"}).start()
    lab.acknowledge(liar.address)
    victim = lab.person()
    lab.fund(victim, liar.address)
    request = json.dumps(asking("plain")).encode()
    response = liar.ask(victim.provider_key(liar.address), request)
    chat_id = response.headers["ZG-Res-Key"]
    found = signed.facts(liar, chat_id, request, response.content)
    assert (found.signer_ok, found.request_ok, found.response_ok) == (True, True, False)
    liar.stop()


# ---- who may ask ---------------------------------------------------------------------------


def test_refuses_keys_in_the_words_of_the_reference_server(
    lab: Lab, broker: Broker, user: Person
) -> None:
    now = int(time.time() * 1000)
    forger = Person()
    cases: list[tuple[str | None, str]] = [
        (None, "missing or invalid Authorization header, must be Bearer app-sk-<base64("),
        ("Bearer sk-123", "missing or invalid Authorization header"),
        ("Bearer app-sk-%%%", "invalid base64 in Authorization header"),
        (user.provider_key(user.address), "session token is for different provider"),
        (
            user.provider_key(broker.address, expires_at=0),
            "ephemeral token must have an expiration time",
        ),
        (
            user.provider_key(broker.address, expires_at=now + 86_400_000 + 60_000, timestamp=now),
            "ephemeral token duration cannot exceed 24 hours",
        ),
        (
            user.provider_key(broker.address, expires_at=now - 2000, timestamp=now - 3000),
            "session token expired",
        ),
        (
            user.provider_key(broker.address, address=lab.person().address),
            "signature verification failed: address mismatch",
        ),
        (user.provider_key(broker.address, generation=1), "invalid session token (future gen"),
        # A forged key is refused for what the chain says first, then for its signature.
        (
            forger.provider_key(broker.address, address=user.address, generation=1),
            "invalid session token (future generation)",
        ),
        (
            forger.provider_key(broker.address, address=user.address),
            "signature verification failed: address mismatch",
        ),
    ]
    for header, text in cases:
        status, said = error(broker.ask(header))
        assert status == 400 and said.startswith(f"validate session: {text}"), said


def test_a_key_revoked_on_chain_dies(lab: Lab, upstream: tuple[Upstream, str]) -> None:
    made = Broker(lab, lab.person(), upstream[1], chain={"cache_seconds": 0.1}).start()
    lab.acknowledge(made.address)
    user = lab.person()
    lab.fund(user, made.address)
    slot7 = user.provider_key(made.address, token_id=7, expires_at=0)
    ephemeral = user.provider_key(made.address)
    assert made.ask(slot7).status_code == made.ask(ephemeral).status_code == 200
    lab.contracts.inference.send(user.wallet, "revokeToken", made.address, 7)
    time.sleep(0.2)
    assert error(made.ask(slot7)) == (400, "validate session: session token has been revoked")
    assert made.ask(ephemeral).status_code == 200
    lab.contracts.inference.send(user.wallet, "revokeAllTokens", made.address)
    time.sleep(0.2)
    gone = "validate session: session token has been revoked (generation expired)"
    assert error(made.ask(ephemeral)) == (400, gone)
    # A key of the new generation works at once although the old account was cached.
    assert made.ask(user.provider_key(made.address, generation=1)).status_code == 200
    made.stop()


class HoldingRpc(ChaosRpc):
    """A node that leaves questions about some wallets unanswered."""

    held: tuple[str, ...] = ()
    waiting = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        self.waiting += any(wallet.encode() in message.get("body", b"") for wallet in self.held)
        while any(wallet.encode() in message.get("body", b"") for wallet in self.held):
            await asyncio.sleep(0.02)

        async def again() -> Any:
            return message

        await super().__call__(scope, again, send)


def test_wallets_without_an_account_keep_no_customer_waiting(
    lab: Lab, upstream: tuple[Upstream, str]
) -> None:
    """They cost nothing, and each is looked up: many at once held every place for that."""
    rpc = HoldingRpc(lab.rpc)
    with served(rpc) as url, ThreadPoolExecutor(80) as pool:
        chain = {"rpc": url, "cache_seconds": 0.1}
        made = Broker(lab, lab.person(), upstream[1], chain=chain).start()
        lab.acknowledge(made.address)
        user = lab.person()
        lab.fund(user, made.address)
        key = user.provider_key(made.address)
        assert made.ask(key).status_code == 200
        strangers = [Person() for _ in range(80)]
        rpc.held = tuple(one.address[2:].lower() for one in strangers)
        asked = [pool.submit(made.ask, one.provider_key(made.address)) for one in strangers]
        eventually(lambda: rpc.waiting >= 4 and sum(one.done() for one in asked) >= 16)
        time.sleep(0.2)
        assert made.ask(key).status_code == 200
        assert {one.result().status_code for one in asked if one.done()} == {503}
        rpc.held = ()
        said = [error(one.result()) for one in asked]
        made.stop()
    assert {status for status, _ in said} == {400, 503}
    assert all("account not exist" in text for status, text in said if status == 400)


def test_account_and_acknowledgements(lab: Lab, upstream: tuple[Upstream, str]) -> None:
    made = Broker(lab, lab.person(), upstream[1], chain={"cache_seconds": 0.1}).start()
    user = lab.person()
    status, said = error(made.ask(user.provider_key(made.address)))
    assert status == 400
    assert said.startswith("validate request: get account from contract, account not exist: ")
    lab.fund(user, made.address)
    time.sleep(1.1)
    assert error(made.ask(user.provider_key(made.address))) == (
        400,
        "validate request: service not acknowledge the tee signer",
    )
    lab.acknowledge(made.address)
    time.sleep(1.1)
    assert made.ask(user.provider_key(made.address)).status_code == 200
    made.stop()


def test_a_user_who_withdrew_the_acknowledgement(lab: Lab, broker: Broker) -> None:
    user = lab.person()
    lab.fund(user, broker.address)
    ledger = lab.contracts.ledger
    ledger.send(user.wallet, "retrieveFund", [broker.address], "inference-v1.0")
    snapshot = lab.contracts.chain.snapshot()
    lab.contracts.chain.travel(86_401)
    ledger.send(user.wallet, "retrieveFund", [broker.address], "inference-v1.0")
    lab.contracts.inference.send(user.wallet, "acknowledgeTEESigner", broker.address, False)
    status, said = error(broker.ask(user.provider_key(broker.address)))
    lab.contracts.chain.restore(snapshot)
    assert status == 400
    assert said.startswith("validate request: user not acknowledge the provider, please use ")


def test_the_reserve_of_one_0g_is_not_for_spending(lab: Lab, broker: Broker) -> None:
    user = lab.person()
    lab.fund(user, broker.address, ONE)
    asked = asking("plain", max_tokens=100)
    size = len(json.dumps(asked).encode())
    estimate = fees.chat_fee(TARIFF, Usage(size // 4 + 1, 100))
    lack = fees.Shortfall(ONE, ONE, 0, estimate)
    key = user.provider_key(broker.address)
    refused = (400, f"validate request: {fees.shortfall_text(lack, broker.address)}")
    assert error(broker.ask(key, asked)) == refused
    assert "your locked balance is 1.000000 0G, but the required minimum is 1.0000" in refused[1]
    # A top-up counts at once: a refusal is checked against the chain, not the cache.
    lab.contracts.ledger.send(
        user.wallet, "transferFund", broker.address, "inference-v1.0", estimate
    )
    time.sleep(1.1)
    assert broker.ask(key, asked).status_code == 200
    time.sleep(1.1)
    status, said = error(broker.ask(key, asked))
    assert status == 400 and "unsettled fees 0.000004 0G" in said


def test_what_is_being_refunded_is_not_for_spending(lab: Lab, broker: Broker) -> None:
    user = lab.person()
    lab.fund(user, broker.address)
    lab.contracts.ledger.send(user.wallet, "retrieveFund", [broker.address], "inference-v1.0")
    status, said = error(broker.ask(user.provider_key(broker.address)))
    assert status == 400 and "your locked balance is 0.000000 0G, but" in said


def test_answers_in_flight_count_against_the_balance(lab: Lab, broker: Broker) -> None:
    user = lab.person()
    asked = asking("slowly", stream=True, max_tokens=1000)
    estimate = fees.chat_fee(TARIFF, Usage(len(json.dumps(asked).encode()) // 4 + 1, 1000))
    lab.fund(user, broker.address, ONE + 2 * estimate - 1)
    key = user.provider_key(broker.address)
    first = broker.ask(key, asked, stream=True)
    assert first.status_code == 200
    status, said = error(broker.ask(key, asked))
    assert status == 400 and "insufficient balance" in said
    assert first.content.endswith(b"data: [DONE]\n\n")
    # The first answer cost far less than was held back for it.
    assert broker.ask(key, asked).status_code == 200


# ---- limits --------------------------------------------------------------------------------


def test_rate_and_concurrency_limits(lab: Lab, upstream: tuple[Upstream, str]) -> None:
    made = Broker(
        lab,
        lab.person(),
        upstream[1],
        limits={"requests_per_minute": 6, "concurrency": 3, "concurrency_per_user": 2},
    ).start()
    lab.acknowledge(made.address)
    alice, bob = lab.person(), lab.person()
    lab.fund(alice, made.address)
    lab.fund(bob, made.address)
    if time.time() % 60 > 45:
        time.sleep(61 - time.time() % 60)  # the window must not turn in the middle
    key = alice.provider_key(made.address)
    slow = asking("slowly", stream=True)
    open_ = [made.ask(key, slow, stream=True) for _ in range(2)]
    assert error(made.ask(key, slow)) == (503, "Service Unavailable")
    other = bob.provider_key(made.address)
    open_.append(made.ask(other, slow, stream=True))
    assert error(made.ask(other, slow)) == (503, "Service Unavailable")
    assert all(response.content for response in open_)
    answers = [made.ask(key) for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert error(answers[-1])[1] == (
        "Rate limit exceeded. Please slow down your request rate (limit: 6 requests/min)."
    )
    assert answers[0].headers["X-RateLimit-Limit"] == "6"
    assert answers[-1].headers["X-RateLimit-Remaining"] == "0"
    made.stop()


def test_a_body_over_32_mib_is_refused(broker: Broker, user: Person) -> None:
    text = "Request body size exceeds the maximum allowed size of 32MB"
    key = user.provider_key(broker.address)
    assert error(broker.ask(key, b" " * (32 * 1024 * 1024 + 1))) == (413, text)


MALFORMED = (
    b"",
    b"[]",
    b"{",
    b"\xff",
    b"[" * 100_000,
    b'{"messages":[],"messages":[]}',
    b'{"messages":"hi"}',
    b'{"messages":[],"stream":"yes"}',
    b'{"messages":[],"max_tokens":-1}',
    b'{"messages":[],"max_tokens":1e9}',
    b'{"messages":[],"n":0}',
    b'{"messages":["\\ud800"]}',
)


def test_malformed_requests_cost_nothing(broker: Broker, user: Person) -> None:
    for body in MALFORMED:
        status, said = error(broker.ask(user.provider_key(broker.address), body))
        assert status == 400 and said.startswith("validate request: "), (body[:40], said)
    assert broker.owes(user) == 0


# ---- an upstream that misbehaves -----------------------------------------------------------


def test_without_usable_usage_words_are_billed(broker: Broker, user: Person) -> None:
    for number, (word, stream) in enumerate(product(("nousage", "absurd"), (False, True)), 1):
        asked = asking(word, stream=stream, stream_options={"include_usage": True})
        request = json.dumps(asked).encode()
        response = broker.ask(user.provider_key(broker.address), request)
        assert verdict(broker, response, request) == "verified", (word, stream)
        assert broker.owes(user) == number * WORDS_FEE, (word, stream)


FAILURES = {
    "error": (500, {"error": {"message": "upstream exploded"}}),
    "busy": (429, {"error": {"message": "later"}}),
    "denied": (502, {"error": "Bad Gateway"}),
    "elsewhere": (502, {"error": "Bad Gateway"}),
    "garbage": (502, {"error": "Bad Gateway"}),
    "huge": (502, {"error": "Bad Gateway"}),
    "zipped": (502, {"error": "Bad Gateway"}),
    "foreign": (502, {"error": "Bad Gateway"}),
    "silent": (502, {"error": "Bad Gateway"}),
}


def test_upstream_failures_are_free_and_unsigned(broker: Broker, user: Person) -> None:
    for word, expected in FAILURES.items():
        response = broker.ask(user.provider_key(broker.address), asking(word))
        assert (response.status_code, response.json()) == expected, word
        assert "ZG-Res-Key" not in response.headers, word
        assert broker.owes(user) == 0, word


def test_malformed_events_are_passed_on_and_the_rest_is_billed(
    broker: Broker, user: Person
) -> None:
    response = broker.ask(user.provider_key(broker.address), asking("garbage", stream=True))
    assert response.content.startswith(b"data: {not json")
    assert broker.owes(user) == 2 * OUTPUT_PRICE


def test_an_upstream_that_lingers_after_the_end_has_ended(broker: Broker, user: Person) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    request = json.dumps(asking("lingering", **options)).encode()
    response = broker.ask(user.provider_key(broker.address), request)
    assert verdict(broker, response, request) == "verified"
    assert broker.owes(user) == USAGE_FEE


def test_who_sees_the_end_finds_debt_and_signature(broker: Broker, user: Person) -> None:
    """Also where the upstream's connection stays open after the end for another second."""
    body = asking("lingering", stream=True, stream_options={"include_usage": True})
    response = broker.ask(user.provider_key(broker.address), body, stream=True)
    seen = b""
    for part in response.iter_content(1):
        seen += part
        if seen.endswith(b"[DONE]"):
            break
    assert broker.owes(user) == USAGE_FEE
    response.close()


@pytest.mark.parametrize(("word", "paid_words"), [("stuck", 2), ("huge", 0)])
def test_a_stream_that_never_ends_is_cut_and_not_signed(
    broker: Broker, user: Person, word: str, paid_words: int
) -> None:
    response = broker.ask(user.provider_key(broker.address), asking(word, stream=True), stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        for _ in response.iter_content(1 << 20):
            pass
    chat_id = response.headers["ZG-Res-Key"]
    reply = requests.get(f"{broker.url}/v1/proxy/signature/{chat_id}", timeout=10)
    assert error(reply)[0] == 400
    assert broker.owes(user) == paid_words * OUTPUT_PRICE
    assert broker.memory() < 200 * 1024 * 1024


# ---- the other doors -----------------------------------------------------------------------


def test_doors_that_do_not_exist(broker: Broker) -> None:
    for path in ("/", "/v1/service", "/v1/settle", "/v1/user", "/v1/quote/verify/gpu"):
        answer = requests.get(broker.url + path, timeout=10)
        assert (answer.status_code, answer.text) == (404, "404 page not found")
        assert answer.headers["content-type"].startswith("text/plain")
    for path in ("/v1/proxy/images/generations", "/v1/proxy/", "/v1/proxy"):
        answer = requests.post(broker.url + path, timeout=10)
        assert error(answer) == (400, "unsupported endpoint: endpoint not supported")
    for method in ("TRACE", "CONNECT"):
        answer = requests.request(
            method, broker.url + "/v1/quote", headers={"X-Secret": "echo"}, timeout=10
        )
        assert error(answer) == (405, "method not allowed")
    answer = requests.get(broker.url + "/v1/proxy/signature/nobody", timeout=10)
    text = "prepare HTTP request: Chat id not found or expired, chat_id_not_found"
    assert error(answer) == (400, text)


def test_quote_has_the_shape_and_says_what_it_is(broker: Broker) -> None:
    import base64
    import hashlib

    quote = requests.get(broker.url + "/v1/quote", timeout=10).json()
    signer = broker.lab.service(broker.address)["teeSignerAddress"]
    assert base64.b64decode(quote["report_data"]).rstrip(b"\0").decode() == signer
    assert "DEVELOPMENT EVIDENCE" in quote["development"]
    assert signer.encode() in bytes.fromhex(quote["quote"])
    compose = json.loads(quote["tcb_info"])["app_compose"]
    (logged,) = [e for e in json.loads(quote["event_log"]) if e["event"] == "compose-hash"]
    assert logged["event_payload"] == hashlib.sha256(compose.encode()).hexdigest()
    assert json.loads(quote["vm_config"])


def test_the_image_finds_it_healthy(broker: Broker) -> None:
    assert requests.get(broker.url + health_path(), timeout=10).status_code == 200


def test_models_in_0g_per_token(broker: Broker) -> None:
    listed = requests.get(broker.url + "/v1/models", timeout=10).json()
    (model,) = listed["data"]
    assert model["id"] == MODEL and model["pricing"] == {
        "prompt": "0.0000001",
        "completion": "0.0000004",
    }


def test_only_the_user_reads_the_own_debt(lab: Lab, broker: Broker, user: Person) -> None:
    url = f"{broker.url}/v1/user/{lab.person().address}/unsettledfee"
    headers = {"Authorization": user.provider_key(broker.address)}
    assert requests.get(url, headers=headers, timeout=10).status_code == 403
    assert requests.get(url, timeout=10).status_code == 400


def test_cors_lets_a_browser_read_the_chat_id(broker: Broker, user: Person) -> None:
    origin = "https://app.example"
    preflight = requests.options(
        broker.url + "/v1/proxy/chat/completions",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
        timeout=10,
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    answer = broker.ask(user.provider_key(broker.address), headers={"Origin": origin})
    assert "ZG-Res-Key" in answer.headers["access-control-expose-headers"]
    assert answer.headers["access-control-allow-credentials"] == "true"
    quote = requests.options(broker.url + "/v1/quote", headers={"Origin": origin}, timeout=10)
    assert quote.headers["access-control-allow-origin"] == "*"
    assert (
        "access-control-allow-origin"
        not in requests.get(broker.url + "/v1/quote", timeout=10).headers
    )


def test_stops_in_the_middle_of_an_answer(
    lab: Lab, upstream: tuple[Upstream, str], tmp_path: Path
) -> None:
    made = Broker(lab, lab.person(), upstream[1]).start()
    lab.acknowledge(made.address)
    user = lab.person()
    lab.fund(user, made.address)
    asked = asking("dripping", stream=True)
    response = made.ask(user.provider_key(made.address), asked, stream=True)
    next(response.iter_content(16))
    reader = threading.Thread(target=lambda: _drain(response), daemon=True)
    reader.start()
    made.stop()
    made.start()
    # What was delivered until then is owed: one word at least, and by far not all 2,000.
    assert OUTPUT_PRICE <= made.owes(user) < 1000 * OUTPUT_PRICE
    made.stop()


def _drain(response: requests.Response) -> None:
    try:
        for _ in response.iter_content(1024):
            pass
    except requests.exceptions.RequestException:
        pass

"""`/v1` over real HTTP with the `openai` client: bytes, verdicts, money, limits, and who may."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from django.db import OperationalError
from django.utils import timezone

from accounts import tokens
from accounts.models import AccessToken, ProviderKey, User
from inference import hub as hubs
from inference import turn_sql
from inference.models import Medium, State, Turn
from inference.openai import app, listing
from ledger.models import Service
from marketplace import samples
from tests import factories
from tests.db.chat_world import world
from tests.db.test_chat_hostile import _sql
from tests.live.chat_upstream import Asked, Reply, ThreadedUpstream, Upstream, closing, token

NAME = f"test-model@{factories.PETRA}"
HELLO: Any = [{"role": "user", "content": "Hello"}]
WORDS = ("One ", "two ", "three")


async def provider(reply: Reply, asked: Asked) -> None:
    if asked.path.endswith("/embeddings"):
        rows = [{"object": "embedding", "index": 0, "embedding": [0.5] * 4000}]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        body = json.dumps({"object": "list", "data": rows, "model": "m", "usage": usage}).encode()
        reply.upstream.sign("vector", asked, body)
        await reply.whole(body, ZG_Res_Key="vector", Content_Type="application/json")
        return
    wanted = json.loads(asked.body)["messages"][0]["content"]
    name = f"id-{len(reply.upstream.chats)}"
    if wanted.startswith("status "):
        status = int(wanted.split()[1])
        body = b'{"error":"validate request: the provider says no"}'
        await reply.whole(body, status, Content_Type="application/json")
    elif not json.loads(asked.body).get("stream"):
        message = {"role": "assistant", "content": "".join(WORDS)}
        document = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "test-model",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }
        body = json.dumps(document).encode()
        reply.upstream.sign(name, asked, body + b" " if wanted == "lie" else body)
        await reply.whole(body, ZG_Res_Key=name, Content_Type="application/json")
    else:
        await reply.start(name, Connection="close")
        if wanted == "slowly":
            for counted in range(1, 1001):
                await reply.send(token("tick ", counted))
                await asyncio.sleep(0.02)
        await reply.tokens(*([] if wanted == "nothing" else WORDS), pause=0.01)
        if wanted == "broken":
            reply.abort()
            return
        if wanted == "fails":
            await reply.send(b'data: {"error":{"message":"out of memory"}}\n\n')
            await reply.raw(b"0\r\n\r\n")
            return
        await reply.signed_end(name, asked, None if wanted == "uncounted" else (11, 7))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with ThreadedUpstream(provider) as started:
        yield started


@pytest.fixture
def alice(asgi_server: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(listing, "_known", (0.0, []))
    app.relay.forget()
    return world(upstream.url, model="test-model").owner


def secret(user: User, **given: Any) -> str:
    wanted = {"label": "job", "scopes": ["inference"], "per_minute": 600, **given}
    return tokens.create(user, tokens.Wanted.of(wanted)).secret


def client(url: str, key: str, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=20, **more)


def ended(**given: Any) -> Turn:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        turn = Turn.objects.filter(**given).exclude(state=State.OPEN).exclude(verdict="pending")
        if found := turn.order_by("-pk").first():
            return found
        time.sleep(0.02)
    raise AssertionError(list(Turn.objects.values("state", "verdict")))


def test_the_openai_client_gets_whole_answers_with_proof_and_price(
    asgi_server: str, upstream: Upstream, alice: User
) -> None:
    key = secret(alice)
    raw = client(asgi_server, key).chat.completions.with_raw_response.create(
        model="test-model", messages=HELLO, extra_headers={"X-Provider": factories.PETRA}
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "One two three"
    turn = ended()
    price = Service.objects.values_list("input_price", "output_price").get()
    fee = 11 * price[0] + 7 * price[1]
    sent = upstream.chats[0]
    told = raw.headers
    assert told["x-verification"] == "verified" and told["x-verification-id"] == str(turn.pk)
    assert (told["x-cost-neuron"], told["x-cost-kind"]) == (str(fee), "known")
    assert told["x-response-sha256"] == hashlib.sha256(raw.content).hexdigest()
    assert told["x-request-sha256"] == hashlib.sha256(sent.body).hexdigest()
    assert told["x-provider"] == factories.PETRA and told["zg-res-key"] == "id-1"
    assert sent.headers["authorization"].startswith("Bearer app-sk-")
    assert key not in str(sent.headers)
    # the row that every page shows, without a word of what was said
    assert (turn.state, turn.verdict, turn.fee, turn.fee_kind) == (
        "answered", "verified", fee, "known",
    )  # fmt: skip
    assert (turn.chat.medium, turn.chat.owner) == (Medium.RELAY, alice)
    assert turn.first_token_ms == 0 < turn.total_ms, "what is no stream has no first token"
    assert not turn.request_sealed and not turn.response_sealed and not turn.answer_sealed
    row = AccessToken.objects.get()
    assert row.spent == fee and row.last_used_at is not None
    # the verdict can be had again, by this token and by nobody else's
    mine = {"Authorization": f"Bearer {key}"}
    found = requests.get(f"{asgi_server}/v1/verifications/{turn.pk}", headers=mine, timeout=9)
    assert found.json()["verdict"] == "verified"
    assert found.json()["signature"]["text"].startswith(turn.request_sha256)
    other = User.objects.for_address(factories.BOB)
    theirs = {"Authorization": f"Bearer {secret(other, scopes=['inference', 'read'])}"}
    path = f"{asgi_server}/v1/verifications/{turn.pk}"
    assert requests.get(path, headers=theirs, timeout=9).status_code == 404


def test_embeddings_are_passed_on_where_a_service_is_registered_for_them(
    asgi_server: str, alice: User
) -> None:
    own = client(asgi_server, secret(alice))

    def ask() -> Any:
        asking = own.embeddings.with_raw_response
        return asking.create(model=NAME, input="three short words", encoding_format="float")

    with pytest.raises(openai.NotFoundError):
        ask()  # of a service that chats
    Service.objects.update(service_type="embedding")
    app.relay.forget()
    raw = ask()
    assert len(raw.parse().data[0].embedding) == 4000
    turn = ended()
    told = raw.headers
    assert told["x-verification"] == turn.verdict == "verified"
    assert (told["x-cost-neuron"], told["x-cost-kind"]) == (str(3 * turn.input_price), "estimated")
    assert (turn.endpoint, turn.prompt_tokens, turn.max_tokens) == ("embeddings", 3, 0)


def test_a_stream_is_passed_on_byte_by_byte_and_proven_at_its_end(
    asgi_server: str, upstream: Upstream, alice: User
) -> None:
    key = secret(alice)
    stream = client(asgi_server, key).chat.completions.create(
        model=NAME, messages=HELLO, stream=True
    )
    text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text == "One two three"
    sent = json.loads(upstream.chats[0].body)
    assert sent["model"] == "test-model" and sent["stream_options"] == {"include_usage": True}
    body = {
        "model": "test-model", "messages": HELLO, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    exact = json.dumps(body, indent=1).encode()
    headers = {"Authorization": f"Bearer {key}", "X-Provider": factories.PETRA}
    headers["Content-Type"] = "application/json"
    door = f"{asgi_server}/v1/chat/completions"
    raw = requests.post(door, data=exact, headers=headers, timeout=20)
    assert upstream.chats[1].body == exact
    provided = b"".join(token(w) for w in WORDS) + closing((11, 7))
    assert raw.content.startswith(provided)
    said = raw.content.removeprefix(provided).decode()
    assert said.startswith(": {") and said.endswith("}\n\n")
    told = json.loads(said[2:])
    turn = ended(pk=int(told["verification"]["id"]))
    assert told["verification"]["verdict"] == turn.verdict == "verified"
    assert told["response_sha256"] == hashlib.sha256(provided).hexdigest()
    assert told["cost"] == {"neuron": str(turn.fee), "kind": "known"}
    assert turn.first_token_ms and turn.finish_reason == "stop" and turn.completion_tokens == 7
    # What says nothing is no token, however early it comes.
    nothing = exact.replace(b"Hello", b"nothing")
    assert requests.post(door, data=nothing, headers=headers, timeout=20).ok
    assert ended(pk=Turn.objects.latest("pk").pk).first_token_ms == 0


def test_a_provider_that_altered_failed_or_counted_nothing_is_said_so(
    asgi_server: str, upstream: Upstream, alice: User
) -> None:
    own = client(asgi_server, secret(alice))

    def ask(text: str, **more: Any) -> Any:
        return own.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": text}], max_tokens=50, **more
        )

    ask("lie")
    assert ended().verdict == "altered"
    list(ask("uncounted", stream=True))
    turn = ended(fee_kind="estimated")
    assert turn.verdict == "verified" and turn.fee == 3 * turn.output_price
    for text in ("broken", "fails"):
        with pytest.raises(openai.APIError) as error:
            list(ask(text, stream=True))
        wanted = {"broken": "cut_off", "fails": "out of memory"}[text]
        assert wanted in str(error.value) or error.value.code == wanted
        turn = ended(state="cut_off")
        assert turn.fee_kind == "unknown" and turn.fee > 0
        Turn.objects.all().delete()
    asked = len(upstream.chats)
    with pytest.raises(openai.InternalServerError) as failed:
        ask("status 500")
    assert failed.value.code == "provider_error"
    assert len(upstream.chats) == asked + 1, "what may have been charged is not sent twice"
    with pytest.raises(openai.BadRequestError, match="the provider says no"):
        ask("status 400")
    assert ended(failure="refused").fee == 0
    asked = len(upstream.chats)
    with pytest.raises(openai.RateLimitError):
        ask("status 429")
    assert len(upstream.chats) == asked + 3, "what was surely not charged may be tried again"
    Service.objects.update(url="http://169.254.169.254")
    app.relay.forget()
    with pytest.raises(openai.InternalServerError) as failed:
        ask("Hello")
    assert failed.value.code == "blocked_address"
    spent = sum(AccessToken.objects.values_list("spent", flat=True))
    assert spent >= sum(Turn.objects.values_list("fee", flat=True))


def test_leaving_closes_the_providers_connection(
    asgi_server: str, upstream: Upstream, alice: User
) -> None:
    stream = client(asgi_server, secret(alice)).chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "slowly"}], stream=True, max_tokens=5
    )
    next(iter(stream))
    assert Turn.objects.get().state == State.OPEN
    stream.close()
    turn = ended()
    assert (turn.state, turn.verdict, turn.fee_kind) == ("stopped", "not_comparable", "unknown")
    deadline = time.monotonic() + 5
    while not upstream.closed_early and time.monotonic() < deadline:
        time.sleep(0.02)
    assert upstream.closed_early == 1
    assert AccessToken.objects.get().spent == turn.fee, "what may be charged stays counted"


def test_a_request_outlives_trouble_with_the_database(
    asgi_server: str,
    upstream: Upstream,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its row would stay open as long as the process lives, with what was set aside for it."""
    monkeypatch.setattr(hubs, "BEAT_SECONDS", 0.1)
    key = secret(alice)

    def ask() -> str:
        own = client(asgi_server, key, max_retries=0)
        said = own.chat.completions.create(model=NAME, messages=HELLO, max_tokens=5)
        return str(said.choices[0].message.content)

    with ThreadPoolExecutor(1) as pool:
        _sql("ALTER TABLE inference_turn ADD CONSTRAINT never CHECK (state = 'open') NOT VALID")
        try:
            answer = pool.submit(ask)
            deadline = time.monotonic() + 20
            while "waits for the database" not in caplog.text:
                assert time.monotonic() < deadline and not answer.done()
                time.sleep(0.02)
            assert Turn.objects.get().state == State.OPEN
        finally:
            _sql("ALTER TABLE inference_turn DROP CONSTRAINT never")
        assert answer.result(20)
    turn = ended()
    assert (turn.state, turn.verdict) == ("answered", "verified")
    assert AccessToken.objects.get().spent == turn.fee
    # What the database stored without being able to say so is counted once, and told as it is.
    store, lost = turn_sql.end, iter([OperationalError("the connection is lost")])

    def cut(*given: Any, **more: Any) -> Any:
        found = store(*given, **more)
        for error in lost:
            raise error
        return found

    monkeypatch.setattr(turn_sql, "end", cut)
    own = client(asgi_server, key, max_retries=0).chat.completions.with_raw_response
    said = own.create(model=NAME, messages=HELLO, max_tokens=5)
    assert said.headers["x-verification"] == "verified"
    assert AccessToken.objects.get().spent == 2 * turn.fee


def refused(url: str, key: str, **given: Any) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}", **given.pop("headers", {})}
    body = {"model": NAME, "messages": HELLO, **given}
    answer = requests.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=20)
    assert answer.headers["Content-Type"] == "application/json", answer.text
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    return answer.status_code, error["code"]


def test_who_may_not_ask_is_told_why_and_nothing_is_sent(
    asgi_server: str, upstream: Upstream, alice: User
) -> None:
    key = secret(alice)
    assert refused(asgi_server, "zgm_" + "x" * 43) == (401, "token_unknown")
    assert refused(asgi_server, "app-sk-abc") == (401, "token_unknown")
    assert refused(asgi_server, secret(alice, scopes=["read"])) == (403, "insufficient_scope")
    assert refused(asgi_server, key, model="test-model") == (400, "provider_ambiguous")
    assert refused(asgi_server, key, model="no-such") == (404, "model_not_found")
    assert refused(asgi_server, key, model=f"test-model@{factories.BOB}")[0] == 404
    assert refused(asgi_server, key, headers={"X-Provider": "0x12"}) == (400, "invalid_provider")
    assert refused(asgi_server, key, headers={"X-Provider": factories.BOB})[0] == 400
    for wrong in ({"model": 5}, {"max_tokens": 0}, {"n": "2"}, {"n": 65}):
        assert refused(asgi_server, key, **wrong)[0] == 400, wrong
    narrow = secret(alice, models="other")
    assert refused(asgi_server, narrow) == (403, "model_not_allowed")
    narrow = secret(alice, providers=factories.BOB)
    assert refused(asgi_server, narrow) == (403, "provider_not_allowed")
    assert refused(asgi_server, secret(alice, verified_only=True)) == (403, "not_verified")
    slow = secret(alice, per_minute=1)
    assert refused(asgi_server, slow, model="no-such")[0] == 404
    assert refused(asgi_server, slow)[1] in ("rate_limit_exceeded", "no-such")
    ProviderKey.objects.all().delete()
    app.relay.forget()
    assert refused(asgi_server, key) == (403, "no_key")
    header = {"Authorization": f"Bearer {key}"}
    base = f"{asgi_server}/v1"
    assert requests.get(f"{base}/chat/completions", headers=header, timeout=9).status_code == 405
    for path in ("", "/", "/nothing"):
        nowhere = requests.get(f"{base}{path}", headers=header, timeout=9)
        assert nowhere.status_code == 404
        assert "/v1 has: models" in nowhere.json()["error"]["message"]
    assert requests.get(f"{base}/models", timeout=9).status_code == 401
    cut = requests.post(f"{base}/chat/completions", data=b"{", headers=header, timeout=9)
    assert (cut.status_code, cut.json()["error"]["code"]) == (400, "invalid_json")
    large = requests.post(
        f"{base}/chat/completions", data=b" " * (9 << 20), headers=header, timeout=9
    )
    assert large.status_code == 413
    assert upstream.chats == [] and Turn.objects.count() == 0
    listed = client(asgi_server, key).models.list().data
    assert [m.id for m in listed] == [NAME]


def test_a_spend_limit_and_a_revocation_hold_at_once(
    asgi_server: str, upstream: Upstream, alice: User
) -> None:
    price = Service.objects.values_list("output_price", flat=True).get()
    key = secret(alice, spend_limit=f"{price * 350 / 10**18:.18f}")
    own = client(asgi_server, key, max_retries=0)

    def ask(_: int) -> str:
        try:
            own.chat.completions.create(model=NAME, messages=HELLO, max_tokens=100)
        except openai.APIStatusError as error:
            assert error.status_code == 402
            return str(error.code)
        return "answered"

    # four at once could cost 400 answers' tokens at most, and the limit holds 350
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(ask, range(4)))
    row = AccessToken.objects.get()
    assert row.spend_limit is not None and row.spent <= row.spend_limit
    assert said.count("answered") == len(upstream.chats) >= 1
    assert row.spent == sum(Turn.objects.values_list("fee", flat=True))
    with pytest.raises(openai.APIStatusError):
        own.chat.completions.create(model=NAME, messages=HELLO)  # unbounded: too much for the rest
    fresh = secret(alice)
    again = client(asgi_server, fresh, max_retries=0)
    again.chat.completions.create(model=NAME, messages=HELLO, max_tokens=5)
    AccessToken.objects.filter(digest=tokens.digest_of(fresh)).update(revoked_at=timezone.now())
    with pytest.raises(openai.AuthenticationError):
        again.chat.completions.create(model=NAME, messages=HELLO, max_tokens=5)
    late = secret(alice)
    own = client(asgi_server, late, max_retries=0)
    own.chat.completions.create(model=NAME, messages=HELLO, max_tokens=5)
    soon = timezone.now() - timedelta(seconds=1)
    AccessToken.objects.filter(digest=tokens.digest_of(late)).update(expires_at=soon)
    with pytest.raises(openai.AuthenticationError, match="expired"):
        own.chat.completions.create(model=NAME, messages=HELLO, max_tokens=5)


def test_the_samples_run_as_they_are_printed(
    asgi_server: str, upstream: Upstream, alice: User, tmp_path: Path
) -> None:
    page = requests.get(f"{asgi_server}/services/inference/{factories.PETRA}/use", timeout=20)
    printed = [unescape(x) for x in re.findall(r"<code[^>]*>(.*?)</code>", page.text, re.S)]
    relayed = samples.relayed("chatbot", asgi_server, "test-model", factories.PETRA)
    direct = samples.direct("chatbot", upstream.url, "test-model", factories.PETRA)
    assert {x.text for x in (*relayed, *direct)} <= {text.strip() for text in printed}
    keys = {"ZGM_TOKEN": secret(alice), "ZG_KEY": "app-sk-any", "NO_PROXY": "127.0.0.1"}
    for curl, python, *scripts in (relayed, direct):
        command = ["bash", "-c", f"{curl.text} -sS --fail"]
        said = _run(command, keys, tmp_path)
        assert json.loads(said)["choices"][0]["message"]["content"] == "One two three"
        assert _run([sys.executable, "-c", python.text], keys, tmp_path) == "One two three\n"
        for script in scripts:
            file = tmp_path / "sample.mjs"
            file.write_text(script.text)
            _run(["node", "--check", str(file)], keys, tmp_path)
    assert Turn.objects.filter(verdict="verified").count() == 2


def _run(command: list[str], more: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, env={**os.environ, **more}, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout

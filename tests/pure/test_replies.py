"""Response signatures against exchanges the official SDK accepted; the three facts stay apart."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import replies
from protocol.replies import BadReply

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors/provider/response_signature.json").read_text()
)
BY_NAME = {vector["name"]: vector for vector in VECTORS["vectors"]}
PLAIN = BY_NAME["chat_non_stream"]


def responses(vector: dict[str, Any]) -> list[str]:
    bodies = vector.get("response_parts_base64") or [vector["response_body_base64"]]
    return [replies.sha256_hex(base64.b64decode(body)) for body in bodies]


def facts(check: replies.ReplyCheck) -> tuple[bool, ...]:
    return (check.signer_ok, check.request_ok, check.response_ok)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["name"])
def test_signed_answers_of_every_kind_verify(vector: dict[str, Any]) -> None:
    request = replies.sha256_hex(base64.b64decode(vector["request_body_base64"]))
    said = replies.parse_text(vector["text"])
    if said.routing_proof:
        route = (said.provider_type, said.provider_identity, said.tls_fingerprint)
        text = ":".join((request, *responses(vector), *route))
    else:
        text = replies.signed_text(request, *responses(vector))
    assert text == vector["text"]
    assert (
        replies.sign_text(text, bytes.fromhex(vector["signer_private_key"][2:]))
        == (vector["signature"])
    )
    check = replies.check(
        replies.parse_reply(vector["signature_endpoint_reply"]),
        expected_signer=vector["signer"].lower(),
        request_sha256=request,
        response_sha256=responses(vector),
    )
    assert (check.signer, facts(check), check.problem) == (vector["signer"], (True,) * 3, "")


@pytest.mark.parametrize("exchange", VECTORS["end_to_end"], ids=["plain", "stream"])
def test_live_exchanges_of_the_sdk_verify_over_the_bytes(exchange: dict[str, Any]) -> None:
    reply = replies.parse_reply(exchange["signature_reply"])
    check = replies.check(
        reply,
        expected_signer=reply.signing_address,
        request_sha256=replies.sha256_hex(exchange["request_body"].encode()),
        response_sha256=[replies.sha256_hex(base64.b64decode(exchange["response_base64"]))],
    )
    assert facts(check) == (True, True, True)


def test_each_fact_fails_on_its_own() -> None:
    reply = replies.parse_reply(PLAIN["signature_endpoint_reply"])
    right = {
        "expected_signer": PLAIN["signer"],
        "request_sha256": PLAIN["request_sha256"],
        "response_sha256": [PLAIN["response_sha256"]],
    }
    other = "0" * 64

    def checked(reply: replies.SignatureReply = reply, **changes: Any) -> tuple[bool, ...]:
        return facts(replies.check(reply, **{**right, **changes}))

    assert checked() == (True, True, True)
    assert checked(request_sha256=other) == (True, False, True)
    assert checked(response_sha256=[other]) == (True, True, False)
    assert checked(response_sha256=[PLAIN["response_sha256"], other]) == (True, True, False)
    assert checked(expected_signer="0x" + "1" * 40) == (False, True, True)
    # Whom the reply itself names proves nothing, either way.
    assert checked(replace(reply, signing_address="0x" + "1" * 40)) == (True, True, True)
    # A text that the key never signed recovers to some other key.
    forged = replace(reply, text=other + ":" + PLAIN["response_sha256"])
    assert checked(forged) == (False, False, True)
    assert checked(replace(reply, signature="0x00")) == (False, False, False)
    key = bytes.fromhex(PLAIN["signer_private_key"][2:])
    unknown = replies.SignatureReply("hello", replies.sign_text("hello", key), "")
    assert checked(unknown) == (True, False, False)
    assert "SHA-256" in replies.check(unknown, **right).problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "a" * 64,
        "a" * 64 + ":",
        "A" * 64 + ":" + "a" * 64,
        "a" * 64 + ":" + "a" * 64 + ",",
        "a" * 64 + ":" + "a" * 64 + ":vendor",
        "a" * 64 + ":" + "a" * 64 + ":vendor:host:nohash",
        "a" * 64 + ":" + "a" * 64 + "\n",
        "zg-sig-v1:" + "a" * 64 + ":" + "a" * 64,
        "a" * 100_000,
    ],
)
def test_unknown_texts_are_no_proof(text: str) -> None:
    with pytest.raises(BadReply):
        replies.parse_text(text)


def test_an_upstream_may_name_a_port() -> None:
    text = ":".join(["a" * 64, "b" * 64, "centralized", "api.example:443", "c" * 64])
    assert replies.parse_text(text).provider_identity == "api.example:443"


@pytest.mark.parametrize(
    "document",
    [None, [], "x", {}, {"text": 1}, {"text": "x", "signature": "0x"}]
    + [
        {**PLAIN["signature_endpoint_reply"], **change}
        for change in (
            {"signing_algo": "ed25519"},
            {"signature": "0x" + "0" * 999},
            {"signing_address": None},
        )
    ],
)
def test_hostile_signature_replies_are_refused(document: object) -> None:
    with pytest.raises(BadReply):
        replies.parse_reply(document)


@given(st.text(max_size=300), st.text(max_size=140))
def test_check_never_raises(text: str, signature: str) -> None:
    reply = replies.SignatureReply(text, signature, "0x")
    check = replies.check(reply, expected_signer="0x", request_sha256="", response_sha256=[""])
    assert not check.signer_ok and check.problem

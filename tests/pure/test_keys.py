"""`app-sk-` keys against keys made by the official SDK, and the refusals in the server's order and
words.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import keys
from protocol.digests import sign
from protocol.keys import KeyRejected, Revocation

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors/provider/app_sk.json").read_text()
)
PRIVATE_KEY = bytes.fromhex(VECTORS["signer"]["private_key"][2:])
USER = VECTORS["signer"]["address"]
PROVIDER = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
NOW_MS = 1_767_225_600_000


def signed(fields: keys.KeyFields) -> str:
    raw = keys.raw_message(fields)
    return keys.authorization(keys.encode(raw, sign(keys.signing_digest(raw), PRIVATE_KEY)))


def fields(**changes: Any) -> keys.KeyFields:
    made = keys.build(
        address=USER,
        provider=PROVIDER,
        now_ms=NOW_MS,
        lifetime_ms=3_600_000,
        nonce="00112233445566778899aabbccddeeff",
        generation=2,
        token_id=7,
    )
    return replace(made, **changes)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: c["name"])
def test_reproduces_keys_of_the_official_sdk_byte_for_byte(case: dict[str, Any]) -> None:
    token = case["token"]
    made = keys.KeyFields(
        token["address"],
        token["provider"],
        token["timestamp"],
        token["expiresAt"],
        token["nonce"],
        token["generation"],
        token["tokenId"],
    )
    raw = keys.raw_message(made)
    assert raw == case["raw_message"]
    assert "0x" + keys.message_hash(raw).hex() == case["keccak256_raw_message"]
    assert "0x" + keys.signing_digest(raw).hex() == case["eip191_digest"]
    assert "0x" + sign(keys.signing_digest(raw), PRIVATE_KEY).hex() == case["signature"]
    assert keys.encode(raw, case["signature"]) == case["api_key"]
    assert keys.authorization(case["api_key"]) in case["authorization_header"]
    parsed = keys.parse(case["api_key"])
    assert (parsed.raw, parsed.fields, parsed.signature) == (raw, made, case["signature"])
    state = Revocation(token["generation"], 0)
    now = NOW_MS // 1000
    assert (
        keys.verify(
            keys.authorization(case["api_key"]),
            provider=token["provider"].upper().replace("0X", "0x"),
            now=now,
            state=state,
        )
        == made
    )


@pytest.mark.parametrize("case", VECTORS["negative_cases"], ids=lambda c: c["case"])
def test_refuses_with_the_text_of_the_server(case: dict[str, Any]) -> None:
    with pytest.raises(KeyRejected) as refusal:
        keys.verify(case["authorization"], provider=case["provider"], now=1_800_000_000, state=None)
    assert case["expected_error_contains"] in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({}, Revocation(3, 0), "session token has been revoked (generation expired)"),
        ({}, Revocation(1, 0), "invalid session token (future generation)"),
        ({}, Revocation(2, 1 << 7), "session token has been revoked"),
    ],
)
def test_revocation_on_chain_kills_a_key(
    changes: dict[str, Any], state: Revocation, text: str
) -> None:
    with pytest.raises(KeyRejected, match=f"^{text.replace('(', '.').replace(')', '.')}$"):
        keys.verify(signed(fields(**changes)), provider=PROVIDER, now=NOW_MS // 1000, state=state)


def test_what_does_not_kill_a_key() -> None:
    now = NOW_MS // 1000
    other_bits = ((1 << 256) - 1) ^ (1 << 7)
    keys.verify(signed(fields()), provider=PROVIDER, now=now, state=Revocation(2, other_bits))
    ephemeral = signed(fields(token_id=255))
    keys.verify(ephemeral, provider=PROVIDER, now=now, state=Revocation(2, (1 << 256) - 1))
    # The server compares whole unix seconds: a key lives through the second in which it expires.
    keys.verify(ephemeral, provider=PROVIDER, now=now + 3600, state=None)
    with pytest.raises(KeyRejected, match="session token expired"):
        keys.verify(ephemeral, provider=PROVIDER, now=now + 3601, state=None)


def test_checks_run_in_the_documented_order() -> None:
    """A key wrong in every way is refused for the first reason, then for the next as each is
    mended.
    """
    wrong = keys.KeyFields(USER, USER, NOW_MS, 0, "n", 0, 255)
    header = signed(wrong)[:-8] + "AAAAAAA="
    now = NOW_MS // 1000
    steps: list[tuple[dict[str, Any], str]] = [
        ({}, "different provider"),
        ({"provider": PROVIDER}, "must have an expiration"),
        ({"expires_at": NOW_MS + 86_400_001}, "cannot exceed 24 hours"),
        ({"expires_at": NOW_MS - 1000}, "expired"),
        ({"expires_at": NOW_MS + 1000}, "generation expired"),
    ]
    for change, text in steps:
        wrong = replace(wrong, **change)
        raw = keys.raw_message(wrong)
        header = keys.authorization(keys.encode(raw, b"\x01" * 65))
        with pytest.raises(KeyRejected, match=text):
            keys.verify(header, provider=PROVIDER, now=now, state=Revocation(9, 0))
    with pytest.raises(KeyRejected, match="recovery id"):
        keys.verify(header, provider=PROVIDER, now=now, state=Revocation(0, 0))


@given(st.binary(max_size=300))
def test_hostile_bytes_are_refused_and_nothing_else(payload: bytes) -> None:
    header = keys.BEARER_PREFIX + base64.b64encode(payload).decode()
    with pytest.raises(KeyRejected):
        keys.verify(header, provider=PROVIDER, now=NOW_MS // 1000, state=None)


@pytest.mark.parametrize(
    "raw",
    [
        "[" * 2000,
        '{"address":1}',
        '{"tokenId":256}',
        '{"tokenId":true}',
        '{"timestamp":1e400}',
        '{"expiresAt":1.5}',
        '{"generation":-1}',
        '{"timestamp":' + "9" * 500 + "}",
        "null",
    ],
)
def test_hostile_json_is_a_bad_format(raw: str) -> None:
    with pytest.raises(KeyRejected, match="invalid session token format"):
        keys.parse(keys.encode(raw, b"\0" * 65))


def test_a_huge_key_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(KeyRejected, match="invalid base64"):
        keys.parse(keys.PREFIX + "A" * 1_000_000)


@pytest.mark.parametrize(
    "changes", [{"token_id": 256}, {"token_id": 255, "lifetime_ms": 0}, {"lifetime_ms": -1}]
)
def test_builds_no_key_that_every_server_refuses(changes: dict[str, Any]) -> None:
    asked: dict[str, Any] = {
        "address": USER,
        "provider": PROVIDER,
        "now_ms": NOW_MS,
        "lifetime_ms": keys.MAX_EPHEMERAL_MS,
        "nonce": "n",
        "generation": 0,
        "token_id": 255,
    }
    assert keys.build(**asked).expires_at == NOW_MS + 86_400_000
    with pytest.raises(ValueError, match=r"."):
        keys.build(**{**asked, **changes})

"""The verdict on one signed answer: the whole matrix, and every one-byte mutation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation import verify
from attestation.verify import Exchange, Signer
from protocol import replies

VECTORS = Path(__file__).parents[1] / "vectors" / "provider" / "response_signature.json"
KEY = bytes.fromhex("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6")
OTHER_KEY = b"\x07" * 32
ADDRESS = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
REQUEST, RESPONSE, ELSE = (replies.sha256_hex(x) for x in (b"request", b"response", b"else"))
SIGNER = Signer(ADDRESS, acknowledged=True)
EXCHANGE = Exchange(REQUEST, RESPONSE, complete=True)


def signed(text: str, key: bytes = KEY, **other: Any) -> dict[str, Any]:
    return {
        "text": text,
        "signature": replies.sign_text(text, key),
        "signing_address": ADDRESS,
        "signing_algo": "ecdsa",
        **other,
    }


HONEST = signed(f"{REQUEST}:{RESPONSE}")


def judge(
    document: object, exchange: Exchange = EXCHANGE, signer: Signer = SIGNER
) -> tuple[str, str]:
    result = verify.reply(document, exchange, signer)
    return result.verdict, result.reason


@pytest.mark.parametrize(
    ("document", "exchange", "signer", "expected"),
    [
        (HONEST, EXCHANGE, SIGNER, ("verified", "hashes_match")),
        (signed(f"m/x:y:{REQUEST}:{RESPONSE}"), EXCHANGE, SIGNER, ("verified", "hashes_match")),
        (
            signed(f"{REQUEST}:{RESPONSE}:centralized:api.example:{ELSE}"),
            EXCHANGE,
            SIGNER,
            ("verified", "hashes_match"),
        ),
        (signed(f"model{REQUEST}:{RESPONSE}"), EXCHANGE, SIGNER, ("unavailable", "unknown_form")),
        *(
            (
                signed(f"{said}:{REQUEST}:{RESPONSE}"),
                dataclasses.replace(EXCHANGE, model="Qwen/Qwen3-8B"),
                SIGNER,
                expected,
            )
            for said, expected in (
                ("Qwen/Qwen3-8B", ("verified", "hashes_match")),
                ("qwen3-8b", ("verified", "hashes_match")),
                ("Qwen/Qwen3-0.6B", ("rewritten", "model_differs")),
                ("B", ("rewritten", "model_differs")),
            )
        ),
        (signed(f"{ELSE}:{RESPONSE}"), EXCHANGE, SIGNER, ("rewritten", "request_differs")),
        (signed(f"{REQUEST}:{ELSE}"), EXCHANGE, SIGNER, ("altered", "answer_differs")),
        (signed(f"{ELSE}:{ELSE}"), EXCHANGE, SIGNER, ("altered", "answer_differs")),
        (
            signed(f"{REQUEST}:{ELSE}"),
            dataclasses.replace(EXCHANGE, complete=False),
            SIGNER,
            ("not_comparable", "not_received_whole"),
        ),
        # stopped after the last byte: nothing is missing, so the hashes do compare
        (
            HONEST,
            dataclasses.replace(EXCHANGE, complete=False),
            SIGNER,
            ("verified", "hashes_match"),
        ),
        (HONEST, dataclasses.replace(EXCHANGE, reused=True), SIGNER, ("failed", "reused")),
        (
            signed(f"{REQUEST}:{ELSE}"),
            dataclasses.replace(EXCHANGE, reused=True),
            SIGNER,
            ("altered", "answer_differs"),
        ),
        (signed(f"{REQUEST}:{RESPONSE}", OTHER_KEY), EXCHANGE, SIGNER, ("failed", "wrong_signer")),
        (
            signed(f"{REQUEST}:{RESPONSE}", OTHER_KEY),
            dataclasses.replace(EXCHANGE, complete=False),
            SIGNER,
            ("failed", "wrong_signer"),
        ),
        (HONEST, EXCHANGE, Signer(ADDRESS, False), ("failed", "signer_unacknowledged")),
        (HONEST, EXCHANGE, Signer(ADDRESS.lower(), True), ("verified", "hashes_match")),
        ({**HONEST, "signature": "0x00"}, EXCHANGE, SIGNER, ("failed", "bad_signature")),
        (signed("hello"), EXCHANGE, SIGNER, ("unavailable", "unknown_form")),
        (signed(f"{REQUEST}:{RESPONSE},{ELSE}"), EXCHANGE, SIGNER, ("unavailable", "unknown_form")),
        (None, EXCHANGE, SIGNER, ("unavailable", "unusable")),
        ([], EXCHANGE, SIGNER, ("unavailable", "unusable")),
        ({}, EXCHANGE, SIGNER, ("unavailable", "unusable")),
        ({**HONEST, "text": 7}, EXCHANGE, SIGNER, ("unavailable", "unusable")),
        ({**HONEST, "signing_algo": "ed25519"}, EXCHANGE, SIGNER, ("unavailable", "unusable")),
        # what the stranger claims about itself decides nothing
        (
            {**HONEST, "signing_address": "0x" + "1" * 40},
            EXCHANGE,
            SIGNER,
            ("verified", "hashes_match"),
        ),
    ],
)
def test_matrix(
    document: object, exchange: Exchange, signer: Signer, expected: tuple[str, str]
) -> None:
    assert judge(document, exchange, signer) == expected


def test_the_facts_are_told() -> None:
    result = verify.reply(signed(f"{REQUEST}:{ELSE}"), EXCHANGE, SIGNER)
    assert result.signer == result.expected_signer == ADDRESS
    assert (result.scheme, result.signed_request, result.signed_response) == (
        "req:resp",
        REQUEST,
        ELSE,
    )


@given(st.data())
def test_every_one_byte_mutation_of_the_evidence_fails(data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["text", "signature"]))
    original = HONEST[field]
    place = data.draw(st.integers(0, len(original) - 1))
    other = data.draw(st.sampled_from("0123456789abcdef:x,").filter(lambda c: c != original[place]))
    mutated = {**HONEST, field: original[:place] + other + original[place + 1 :]}
    assert verify.reply(mutated, EXCHANGE, SIGNER).verdict == "failed"


@given(st.binary(min_size=1, max_size=200), st.data())
def test_every_one_byte_mutation_of_the_answer_is_seen(answer: bytes, data: st.DataObject) -> None:
    document = signed(f"{REQUEST}:{replies.sha256_hex(answer)}")
    place = data.draw(st.integers(0, len(answer) - 1))
    flip = data.draw(st.integers(1, 255))
    mutated = answer[:place] + bytes([answer[place] ^ flip]) + answer[place + 1 :]
    exchange = Exchange(REQUEST, replies.sha256_hex(mutated), complete=True)
    assert verify.reply(document, exchange, SIGNER).verdict == "altered"


def test_answers_that_the_real_client_accepted() -> None:
    checked = 0
    for vector in json.loads(VECTORS.read_text())["vectors"]:
        if vector.get("text_length") != 129:
            continue
        exchange = Exchange(vector["request_sha256"], vector["response_sha256"], complete=True)
        document = vector["signature_endpoint_reply"]
        assert judge(document, exchange, Signer(vector["signer"], True))[0] == "verified"
        checked += 1
    assert checked >= 2


@pytest.mark.parametrize(
    ("info", "verifiability", "expected"),
    [
        ("", "TeeML", Signer(ADDRESS, True)),
        ("not json", "TeeML", Signer(ADDRESS, True)),
        ("[]", "TeeML", Signer(ADDRESS, True)),
        (
            '{"TargetSeparated": false, "TargetTeeAddress": "0x' + "1" * 40 + '"}',
            "TeeML",
            Signer(ADDRESS, True),
        ),
        (
            '{"TargetSeparated": true, "TargetTeeAddress": "0x' + "1" * 40 + '"}',
            "TeeML",
            Signer("0x" + "1" * 40, True),
        ),
        (
            '{"TargetSeparated": true, "ProviderType": "centralized", "TargetTeeAddress": "0x1"}',
            "TeeML",
            Signer(ADDRESS, True, routing=True),
        ),
        ('{"TargetSeparated": true}', "TeeML", None),
        ('{"TargetSeparated": true, "TargetTeeAddress": "0x' + "z" * 40 + '"}', "TeeML", None),
        ('{"ProviderType": "standard"}', "TeeML", None),
        ("", "standard", None),
    ],
)
def test_whom_the_chain_names(info: str, verifiability: str, expected: Signer | None) -> None:
    found = verify.signer_of(
        tee_signer=ADDRESS, acknowledged=True, verifiability=verifiability, additional_info=info
    )
    assert found == expected


def test_no_signer_on_chain() -> None:
    for nobody in ("", "0x" + "0" * 40):
        assert (
            verify.signer_of(
                tee_signer=nobody, acknowledged=True, verifiability="TeeML", additional_info=""
            )
            is None
        )


def test_without_a_signature() -> None:
    stopped = dataclasses.replace(EXCHANGE, complete=False)
    assert verify.no_reply(EXCHANGE, "not_found").verdict == "unavailable"
    assert verify.no_reply(stopped, "not_found").verdict == "not_comparable"
    assert verify.no_reply(stopped, "never_signs").verdict == "unavailable"

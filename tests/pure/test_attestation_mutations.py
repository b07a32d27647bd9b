"""Changed evidence: signed bytes never stay green, and nothing at all makes the engine raise."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.engine import ccel, certificates, reports
from attestation.engine.evidence import Context
from attestation.engine.verdicts import Check, Report
from protocol import quotes
from provider.tee.development.report import Machine
from tests.pure.attestation_lab import ADDRESS, NOW, lab

# A damaged serial number is only worth a warning to the library.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

#: Together 15,000 (issue 5); each group mutates one kind of evidence.
RANDOM = {
    "quote": 2_000,
    "collateral": 1_000,
    "report": 3_500,
    "gpu": 2_000,
    "chain": 1_500,
    "ccel": 4_000,
    "tokens": 500,
    "manifest": 300,
    "ocsp": 200,
}
WORDS = {"pass", "warn", "fail", "partial", "not_checked"}
BROKER = Machine(ADDRESS, gpus=0)
MODEL = Machine(ADDRESS, gpus=1)
#: What a reader of strangers' data may stumble over; anything else is a bug of ours.
EXPECTED_ERRORS = ("Unreadable", "TooMuch", "KeyError", "ValueError", "TypeError", "Error", "Asn1")


def broker_context() -> Context:
    return lab().context(BROKER, nras=None)


def sane(report: Report) -> Report:
    """Every outcome is a word of ours, and every accident one that we foresaw."""
    assert report.overall.removeprefix("dev-") in WORDS
    assert report.overall != "pass"
    row = report.find("report.readable")
    if row is not None:
        assert str(row.got).split(":")[0].endswith(EXPECTED_ERRORS), row.got
        assert report.overall == "fail"
    json.dumps([report, report.summary()], default=members)
    return report


def members(value: object) -> dict[str, Any]:
    """As asdict, without its copies: they took an eighth of the time of this file."""
    assert isinstance(value, Report | Check), value
    return vars(value)


def flip(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flipped bits, a cut, an insertion, or a run of ones."""
    kind, position = rng.random(), rng.randrange(len(data))
    if kind < 0.6:
        for _ in range(rng.choice((1, 1, 2, 8))):
            data = flip(data, rng.randrange(len(data)), rng.randrange(8))
        return data
    if kind < 0.8:
        return data[:position]
    if kind < 0.9:
        return data[:position] + rng.randbytes(rng.randrange(1, 40)) + data[position:]
    return data[:position] + b"\xff" * 4 + data[position + 4 :]


# --- one byte of what is signed -------------------------------------------------------------------


def quote_of(body: bytes) -> bytes:
    return bytes.fromhex(json.loads(body)["quote"])


def with_quote(body: bytes, quote: bytes) -> bytes:
    return json.dumps({**json.loads(body), "quote": quote.hex()}).encode()


def test_a_byte_of_the_signed_parts_of_a_quote_counts() -> None:
    body, context = lab().body(BROKER), broker_context()
    quote = quote_of(body)
    assert reports.verify(body, context).overall == "dev-pass"
    signed = [*range(632), *range(636, 770 + 384 + 64 + 2 + 32)]
    for number, position in enumerate(signed[::3]):
        changed = with_quote(body, flip(quote, position, number % 8))
        report = reports.verify(changed, context)
        assert report.overall == "fail", position
        assert report.questions()["key"] in ("fail", "not_provided"), position


def test_a_certificate_byte_of_a_quote_counts() -> None:
    body, context = lab().body(BROKER), broker_context()
    quote = quote_of(body)
    start = quote.index(b"-----BEGIN")
    chain = [x509.load_pem_x509_certificate(p) for p in pems(quote[start:])]
    ders = [certificate.public_bytes(Encoding.DER) for certificate in chain]
    for which, der in enumerate(ders):
        for position in range(which, len(der), 9):
            changed = [*ders]
            changed[which] = flip(der, position, position % 8)
            pem = b"".join(map(as_pem, changed))
            # Certificates are behind a length field of their own.
            head = quote[: start - 4] + len(pem).to_bytes(4, "little")
            inner = len(head) - 770 + len(pem)
            head = head[:766] + inner.to_bytes(4, "little") + head[770:]
            head = head[:632] + (134 + inner).to_bytes(4, "little") + head[636:]
            report = reports.verify(with_quote(body, head + pem), context)
            assert report.overall == "fail", (which, position)


def test_a_byte_of_gpu_evidence_counts() -> None:
    entry = lab().nvidia.evidence(MODEL.gpu_nonce)
    evidence = base64.b64decode(entry["evidence"])
    chain = base64.b64decode(entry["certificate"])
    context = Context(now=NOW, anchors=lab().anchors, nonce=MODEL.gpu_nonce.hex())
    assert reports.verify_gpu(evidence, chain, context).overall == "dev-pass"
    for nonce in (f"0x{context.nonce}", f"0X{context.nonce}".upper()):  # as whoever has it types it
        tokens = lab().nvidia.tokens(MODEL.gpu_nonce, NOW, 1)
        typed = replace(context, nonce=nonce, nras=tokens, jwks=lab().nvidia.key_set())
        report = reports.verify_gpu(evidence, chain, typed)
        assert [row.id for row in report.checks if row.verdict == "fail"] == []
    for position in range(0, len(evidence), 11):
        changed = flip(evidence, position, position % 8)
        assert reports.verify_gpu(changed, chain, context).overall == "fail", position


def test_a_byte_of_the_collateral_counts() -> None:
    body, context = lab().body(BROKER), broker_context()
    for name in ("tcb_info", "qe_identity", "tcb_info_signature", "pck_crl", "root_ca_crl"):
        text = str((context.collateral or {})[name])
        for position in range(0, len(text), 23):
            letter = "0" if text[position] != "0" else "1"
            changed = {
                **(context.collateral or {}),
                name: text[:position] + letter + text[position + 1 :],
            }
            report = reports.verify(body, replace(context, collateral=changed))
            assert report.overall == "fail", (name, position)


def test_a_byte_of_a_manifest_counts() -> None:
    manifests = lab().manifests
    entry = lab().nvidia.evidence(MODEL.gpu_nonce)
    evidence, chain = (base64.b64decode(entry[name]) for name in ("evidence", "certificate"))
    for id, xml in manifests.items():
        for position in range(0, xml.index(b"<ds:KeyInfo>"), 211):
            given = {**manifests, id: flip(xml, position)}
            context = Context(now=NOW, anchors=lab().anchors, rims=given)
            report = reports.verify_gpu(evidence, chain, context)
            kind = "driver" if "DRIVER" in id else "vbios"
            row = report.find(f"gpu0.rim_{kind}")
            assert row is not None and row.verdict == "fail", (id, position)


def test_every_event_and_every_letter_of_the_compose_file_counts() -> None:
    body, context = json.loads(lab().body(BROKER)), replace(broker_context(), collateral=None)
    events = json.loads(body["event_log"])
    for number, event in enumerate(events):
        runtime = event["imr"] == 3
        for key in ("event", "event_payload") if runtime else ("digest",):
            changed = copy.deepcopy(events)
            changed[number][key] = "00" + event[key][2:] if key != "event" else event[key] + "x"
            if changed == events:
                continue
            given = json.dumps({**body, "event_log": changed}).encode()
            row = reports.verify(given, context).find(f"dstack.rtmr{event['imr']}")
            assert row is not None and row.verdict == "fail", (number, key)
    compose = json.loads(body["tcb_info"])["app_compose"]
    for position in range(len(compose)):
        text = compose[:position] + "~" + compose[position + 1 :]
        given = json.dumps({**body, "tcb_info": {"app_compose": text}}).encode()
        row = reports.verify(given, context).find("dstack.compose")
        assert row is not None and row.verdict == "fail", position


def pems(text: bytes) -> list[bytes]:
    return [part + b"-----END CERTIFICATE-----\n" for part in text.split(b"-----END CERT")[:-1]]


def as_pem(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


# --- random damage --------------------------------------------------------------------------------


def damaged_quotes(rng: random.Random) -> Iterator[Report]:
    body, context = lab().body(BROKER), broker_context()
    quote = quote_of(body)
    yield reports.verify(body, context)
    while True:
        changed = damage(quote, rng)
        report = reports.verify(with_quote(body, changed), context)
        if report.overall == "dev-pass":
            assert unsigned_only(quote, changed)
        yield report


def unsigned_only(before: bytes, after: bytes) -> bool:
    """True where nothing that anybody signed differs: lengths, padding, PEM's white space, the
    quote's own copy of the root.
    """
    a, b = quotes.parse(before), quotes.parse(after)
    same = all(
        getattr(a, name) == getattr(b, name)
        for name in ("body", "signature", "attestation_key", "qe_report", "qe_signature", "qe_auth")
    )
    chains = [certificates.load_pem(quote.pck_pem)[:2] for quote in (a, b)]
    return same and before[:632] == after[:632] and chains[0] == chains[1]


def damaged_collateral(rng: random.Random) -> Iterator[Report]:
    body, context = lab().body(BROKER), broker_context()
    original = dict(context.collateral or {})
    yield reports.verify(body, context)
    while True:
        changed: dict[str, Any] = dict(original)
        name = rng.choice(sorted(changed))
        text = changed[name]
        position = rng.randrange(len(text))
        letter = rng.choice('0123456789abcdef"{}[],:-')
        changed[name] = rng.choice(
            (text[:position] + letter + text[position + 1 :],) * 6 + (text[:position], None, 7, [])
        )
        yield reports.verify(body, replace(context, collateral=changed))


def damaged_reports(rng: random.Random) -> Iterator[Report]:
    """Members of every level removed, replaced by junk, or damaged as what they encode."""
    contexts = {
        lab().body(BROKER): replace(broker_context(), collateral=None),
        lab().body(MODEL): lab().context(MODEL, collateral=None, rims=None, nras=None, ocsp=()),
    }
    yield reports.verify(lab().body(BROKER), contexts[lab().body(BROKER)])
    while True:
        body, context = rng.choices(list(contexts.items()), (7, 1))[0]
        yield reports.verify(json.dumps(spoil(json.loads(body), rng)).encode(), context)


JUNK: tuple[Any, ...] = (None, "", 0, -1, 1.5, True, "x", [], {}, [1], {"a": 1}, "00" * 64, 2**70)


def spoil(value: Any, rng: random.Random) -> Any:
    places = list(walk(value, ()))
    path = rng.choice(places)
    if not path:
        return rng.choice(JUNK)
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    node, kind = holder[path[-1]], rng.random()
    if kind < 0.15:
        del holder[path[-1]]
    elif isinstance(node, str) and kind < 0.85:
        holder[path[-1]] = spoil_text(node, rng)
    else:
        holder[path[-1]] = copy.deepcopy(rng.choice(JUNK))
    return value


def walk(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        steps = value if isinstance(value, dict) else range(len(value))
        for step in steps:
            yield from walk(value[step], (*path, step))


def spoil_text(text: str, rng: random.Random) -> str:
    if text[:1] in "{[" and text:
        return json.dumps(spoil(json.loads(text), rng))
    for decode, encode in (
        (bytes.fromhex, bytes.hex),
        (decode_base64, lambda raw: base64.b64encode(raw).decode()),
    ):
        try:
            raw = decode(text)
        except ValueError:
            continue
        if raw:
            return encode(damage(raw, rng))
    return text[: rng.randrange(len(text) + 1)] + chr(rng.randrange(0xD7FF))


def decode_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def damaged_gpu(rng: random.Random, *, chain: bool) -> Iterator[Report]:
    entry = lab().nvidia.evidence(MODEL.gpu_nonce)
    parts = [base64.b64decode(entry[name]) for name in ("evidence", "certificate")]
    context = Context(now=NOW, anchors=lab().anchors, nonce=MODEL.gpu_nonce.hex())
    yield reports.verify_gpu(parts[0], parts[1], context)
    while True:
        given = list(parts)
        given[chain] = damage(given[chain], rng)
        yield reports.verify_gpu(given[0], given[1], context)


def damaged_logs(rng: random.Random) -> Iterator[Report]:
    """Judged without the engine's guard: this parser may not raise by itself."""
    body = json.loads(lab().tapp_body("services: {}"))
    evidence = json.loads(base64.b64decode(body["evidence"]))
    quote = quotes.parse(base64.b64decode(evidence["quote"]))
    log, context = base64.b64decode(evidence["cc_eventlog"]), Context(NOW, lab().anchors)
    given = log
    while True:
        report = Report("cryptopilot", development=True)
        ccel.verify(quote, given, body["compose_content"], context, report)
        yield report
        given = damage(log, rng)


def damaged_answers(rng: random.Random, name: str) -> Iterator[Report]:
    """Stored answers of NVIDIA's services."""
    entry = lab().nvidia.evidence(MODEL.gpu_nonce)
    evidence, chain = (base64.b64decode(entry[part]) for part in ("evidence", "certificate"))
    whole = lab().context(MODEL, collateral=None)
    bare = Context(NOW, lab().anchors, nonce=MODEL.gpu_nonce.hex())
    kept = {"tokens": ("nras", "jwks"), "manifest": ("rims",), "ocsp": ("ocsp",)}[name]
    intact = replace(bare, **{field: getattr(whole, field) for field in kept})
    yield reports.verify_gpu(evidence, chain, intact)
    while True:
        changes: dict[str, Any] = {}
        if name == "tokens":
            spoilt = spoil(json.loads(json.dumps([whole.nras, whole.jwks])), rng)
            given = spoilt if isinstance(spoilt, list) and len(spoilt) == 2 else [spoilt, None]
            changes = {"nras": given[0], "jwks": given[1]}
        elif name == "manifest":
            changes = {"rims": {id: damage(xml, rng) for id, xml in (whole.rims or {}).items()}}
        else:
            changes = {"ocsp": [damage(answer, rng) for answer in whole.ocsp]}
        yield reports.verify_gpu(evidence, chain, replace(bare, **changes))


GROUPS: dict[str, Callable[[random.Random], Iterator[Report]]] = {
    "quote": damaged_quotes,
    "collateral": damaged_collateral,
    "report": damaged_reports,
    "gpu": lambda rng: damaged_gpu(rng, chain=False),
    "chain": lambda rng: damaged_gpu(rng, chain=True),
    "ccel": damaged_logs,
    "tokens": lambda rng: damaged_answers(rng, "tokens"),
    "manifest": lambda rng: damaged_answers(rng, "manifest"),
    "ocsp": lambda rng: damaged_answers(rng, "ocsp"),
}


def test_the_groups_together_are_fifteen_thousand() -> None:
    assert sum(RANDOM.values()) == 15_000
    assert set(GROUPS) == set(RANDOM)


@pytest.mark.parametrize("group", RANDOM)
def test_no_damage_makes_the_engine_raise(group: str) -> None:
    rng = random.Random(f"attestation {group}")
    found = GROUPS[group](rng)
    noticed, intact = 0, impression(next(found))
    for _ in range(RANDOM[group]):
        noticed += impression(sane(next(found))) != intact
    assert noticed > RANDOM[group] // 2  # the damage reaches what is judged


def impression(report: Report) -> tuple[str, object]:
    return report.overall, report.questions()

"""Evidence that somebody made to look like another's: genuine parts, put together to deceive."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.engine import binding, reports
from attestation.engine.anchors import VENDOR
from attestation.engine.ccel import parse, replay
from attestation.engine.verdicts import Report
from protocol import quotes
from protocol.digests import address_of_key
from provider.tee.development import pki
from provider.tee.development.report import Machine
from tests.pure.attestation_lab import ADDRESS, NOW, ccel, lab, word

THIEF = address_of_key(hashlib.sha256(b"thief").digest())
_EVIL = json.dumps({"docker_compose_file": "services: {evil: {image: evil}}\n"})


def _bytes(address: str) -> bytes:
    return bytes.fromhex(address[2:])


def _judged(given: dict[str, Any], machine: Machine, **changes: Any) -> Report:
    return reports.verify(json.dumps(given).encode(), lab().context(machine, **changes))


def test_nonce_that_spells_a_key_is_not_the_key() -> None:
    """Whoever asks an honest model's TD chooses the second half of its report_data: filled with the
    asker's key in the v1 layout's place, the quote must not become evidence of that key.
    """
    nonce = _bytes(THIEF) + (1).to_bytes(4, "big") + bytes(8)
    data = _bytes(ADDRESS).ljust(32, b"\0") + nonce
    bound = binding.decode(data, {})
    assert not bound.is_for(THIEF)
    assert bound.is_for(ADDRESS)
    machine = Machine(ADDRESS, gpus=0, fields={"report_data": data})
    given = json.loads(lab().body(machine))
    del given["report_data"]
    stolen = _judged(given, machine, onchain_signer=THIEF, nras=None)
    assert word(stolen, "bind.onchain") == "fail"


def test_hashed_layout_binds_only_the_address_that_was_hashed() -> None:
    content = "what an old broker wrote into its quote"
    data = hashlib.sha512(b"app-data:" + content.encode()).digest()
    hint = {"signing_address": THIEF, "app_data": content}
    assert not binding.decode(data, hint).is_for(THIEF)
    for named in (ADDRESS, ADDRESS.lower()):
        data = hashlib.sha512(b"app-data:" + named.encode()).digest()
        for hint in ({"signing_address": named}, {"signing_address": ADDRESS, "app_data": named}):
            assert binding.decode(data, hint).is_for(ADDRESS)
    raw = hashlib.sha512(b"app-data:" + _bytes(ADDRESS)).digest()
    assert binding.decode(raw, {"signing_address": ADDRESS}).is_for(ADDRESS)


def test_event_without_checked_content_ends_what_the_boot_said() -> None:
    """A digest alone says nothing: under it the real compose-hash could hide, and a later one, that
    the app wrote itself, would stand first.
    """
    later = hashlib.sha256(_EVIL.encode()).hexdigest()
    fields = {"mr_config_id": bytes(48)}  # older guests write no compose hash there
    keys = json.dumps({"name": "kms", "id": "ab"}).encode().hex()
    written = [("compose-hash", later), ("key-provider", keys)]
    machine = Machine(ADDRESS, gpus=0, fields=fields, events=written)
    given = json.loads(lab().body(machine))
    events = json.loads(given["event_log"])
    for event in events:
        name, payload = event["event"], event["event_payload"]
        boot = name in ("compose-hash", "key-provider") and payload not in (later, keys)
        if name == "system-ready" or boot:
            event["event_type"] = 9
    forged = {
        **given,
        "event_log": json.dumps(events),
        "tcb_info": json.dumps({"app_compose": _EVIL}),
    }
    report = _judged(forged, machine, nras=None)
    assert word(report, "dstack.rtmr3") == "pass"
    assert word(report, "dstack.compose") == word(report, "dstack.key_provider") == "fail"
    assert report.overall == "fail"


def test_event_cannot_take_a_part_of_its_content_into_its_name() -> None:
    """Version 1 hashes `name:content`, so a name may be said to end at a later colon: under one
    that nobody reads the newest image would hide, and the one before it would seem to run.
    """
    pinned = ("ghcr.io/example/broker@sha256:" + digit * 64 for digit in "ab")
    entries = [("zg-image-update", f"{ref} {ADDRESS}".encode().hex()) for ref in pinned]
    machine = Machine(ADDRESS, gpus=0, events=entries)
    given = json.loads(lab().body(machine))
    events = json.loads(given["event_log"])
    name, rest = bytes.fromhex(events[-1]["event_payload"]).split(b":")
    events[-1] |= {"event": f"zg-image-update:{name.decode()}", "event_payload": rest.hex()}
    report = _judged({**given, "event_log": json.dumps(events)}, machine, nras=None)
    assert word(report, "dstack.rtmr3") == word(report, "dstack.digests") == "pass"
    assert word(report, "dstack.running_image") == word(report, "dstack.compose") == "fail"


@pytest.mark.parametrize("of", ["0x" + "00" * 20, "00"])
def test_no_key_is_nobodys_key(of: str) -> None:
    """A service without a signer, and a quote that names none: two nothings are no proof."""
    zero = "0x" + "00" * 20
    for data in (bytes(64), bytes(32) + b"\7" * 32, zero.encode().ljust(64, b"\0")):
        machine = Machine(ADDRESS, gpus=0, fields={"report_data": data})
        given = json.loads(lab().body(machine))
        given["intel_quote"], given["signing_address"] = given["quote"], of
        report = _judged(given, machine, onchain_signer=zero, nras=None)
        assert word(report, "bind.layout") == word(report, "bind.onchain") == "fail"
        assert report.facts["signer"] is None


@pytest.mark.parametrize("hidden", ["type", "data", "frame", "all"])
def test_last_start_of_an_app_cannot_be_hidden(hidden: str) -> None:
    """CryptoPilot: the log's types and texts are unsigned, only the digests are measured."""
    compose = "services:\n  good:\n    image: good@sha256:" + "ab" * 32 + "\n"
    given = json.loads(lab().tapp_body(compose))
    evidence = json.loads(base64.b64decode(given["evidence"]))
    start = {"app_id": "app", "compose_hash": "e", "timestamp": 2}
    text = f"tapp.0g.com start_app {json.dumps(start)}"
    first = json.loads(base64.b64decode(json.loads(lab().tapp_body(compose))["evidence"]))
    started = _last_record(base64.b64decode(first["cc_eventlog"]))
    log, registers = ccel(
        [(1, b"firmware"), (2, b"kernel"), (3, b"cmdline")],
        [started, "cryptpilot.alibabacloud.com load_config abc", text],
    )
    at = log.index(text.encode())
    if hidden == "type":
        record = at - 8 - 4 - 48 - 14 + 4
        assert struct.unpack_from("<I", log, record) == (6,)
        log = log[:record] + struct.pack("<I", 0xD) + log[record + 4 :]
    elif hidden in ("frame", "all"):
        # What was hashed, the text or all of the data, is said to be the other of the two.
        data = log[at - 8 : at + len(text)]
        hashed, said = (text.encode(), text.encode())
        if hidden == "all":
            hashed, said = data, b"LEAA" + struct.pack("<I", len(data)) + data
        digest = hashlib.sha384(hashed).digest()
        registers[3] = quotes.extend(_before(log[: at - 8 - 4 - 48 - 14]), digest)
        log = log[: at - 8 - 4 - 48] + digest + struct.pack("<I", len(said)) + said + b"\xff" * 64
    else:
        log = log[: at - 8] + b"LEAA" + struct.pack("<I", 0) + log[at:]
    fields = {f"rtmr{i}": value for i, value in enumerate(registers)}
    fields["report_data"] = _bytes(ADDRESS).ljust(64, b"\0")
    evidence["quote"] = base64.b64encode(lab().intel.quote(fields)).decode()
    evidence["cc_eventlog"] = base64.b64encode(log).decode()
    given["evidence"] = base64.b64encode(json.dumps(evidence).encode()).decode()
    report = _judged(given, Machine(ADDRESS))
    assert word(report, "ccel.rtmr3") == "pass"
    assert word(report, "ccel.aael") == "fail"
    assert report.overall == "fail"


def test_nvidias_word_about_other_gpus_is_not_about_these() -> None:
    """Whoever leaves out the nonce beside the evidence has none to be held against a token's."""
    machine = Machine(ADDRESS)
    given = json.loads(lab().body(machine))
    payload = json.loads(given["nvidia_payload"])
    del payload["nonce"]
    tokens = lab().nvidia.tokens(b"\7" * 32, NOW, 1)
    report = _judged({**given, "nvidia_payload": json.dumps(payload)}, machine, nras=tokens)
    assert word(report, "nras.nonce") == "fail"
    report = _judged({**given, "nvidia_payload": json.dumps(payload)}, machine)
    assert word(report, "nras.nonce") == "pass"


def test_quote_without_certificates_is_nobodys() -> None:
    """Anybody signs a quote with a key of their own. A row that only warns (a bound service TD)
    must not make it "verified, with warnings".
    """
    machine = Machine(ADDRESS, gpus=0)
    given = json.loads(lab().body(machine))
    given["quote"] = _own_quote(bytes.fromhex(given["quote"])).hex()
    for collateral in (None, lab().context(machine).collateral):
        report = _judged(given, machine, nras=None, collateral=collateral, anchors=VENDOR)
        assert word(report, "tdx.sig") == word(report, "tdx.att_key") == "pass"
        assert word(report, "tdx.service_td") == "warn"
        assert report.overall in ("not_provided", "fail")
        answers = report.questions()
        for question in ("hardware", "key", "software", "fresh"):
            assert answers[question] in ("not_provided", "fail"), question


def _own_quote(genuine: bytes) -> bytes:
    """The body of a quote as TDX 1.5 with a service TD, signed by a key that nobody certified."""
    quote, key = quotes.parse(genuine), ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    body = {**quote.body, "mr_service_td": b"\1" * 48}
    form = struct.pack("<HI", 3, sum(size for _, size in quotes.BODY_TD15))
    message = struct.pack("<H", 5) + genuine[2:48] + form
    message += b"".join(body.get(name, b"").ljust(size, b"\0") for name, size in quotes.BODY_TD15)
    report = bytes(320) + hashlib.sha256(point).digest() + bytes(32)
    inner = report + bytes(64) + struct.pack("<HHI", 0, 3, 400) + bytes(400)
    section = pki.raw_sign(key, message, hashes.SHA256(), fresh=True) + point
    section += struct.pack("<HI", quotes.CERTIFICATION_QE_REPORT, len(inner)) + inner
    return message + struct.pack("<I", len(section)) + section


def _before(log: bytes) -> bytes:
    """RTMR3 after all of a log."""
    return replay(parse(log))[3]


def _last_record(log: bytes) -> str:
    begin = log.index(b"tapp.0g.com")
    (length,) = struct.unpack_from("<I", log, begin - 4)
    return log[begin : begin + length].decode()

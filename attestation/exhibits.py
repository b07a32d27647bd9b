"""What a report's bytes hold besides its verdict: event log, compose file, certificates, raw parts.

Read from the stored body, for people to look at; nothing here judges, and nothing a stranger wrote
makes it raise. Strings are the stranger's own: whoever shows them escapes them.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from cryptography import x509

from attestation import registries
from attestation.engine import ccel, certificates, composefile, dstack, gpu, reports, spdm
from attestation.engine.evidence import (
    Evidence,
    base64_or_pem,
    document,
    hex_or_base64,
    mapping,
    nested,
)
from attestation.engine.limits import MAX_GPUS
from net.marks import N_
from protocol import quotes
from protocol.quotes import Quote, QuoteError

#: Rows of an event log that a page shows; the rest is in the bundle.
SHOWN_EVENTS = 300
SHOWN_LINES = 2_000
_TEXT = 400
#: Longer parts are shown by their ends; whole they are in the bundle.
SHOWN_BYTES = 12 << 10

Part = TypeVar("Part")


@dataclass(frozen=True)
class LogEvent:
    """One event with the register's value after it. Digests and registers are hex."""

    number: int
    register: int
    name: str
    payload: str
    digest: str
    value: str


@dataclass(frozen=True)
class EventLog:
    """`registers`: (name, replayed, signed in the quote or ""). `total` counts hidden rows too."""

    events: tuple[LogEvent, ...]
    total: int
    registers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class ComposeLine:
    """A line of the compose file; `mark`: pinned, mutable, or "" where it names no image."""

    text: str
    mark: str


@dataclass(frozen=True)
class Compose:
    lines: tuple[ComposeLine, ...]
    pinned: int
    mutable: int
    total: int
    images: tuple[registries.Image, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """One certificate of a chain, leaf first; `fingerprint` is the SHA-256 of its DER, hex."""

    subject: str
    issuer: str
    since: dt.datetime
    until: dt.datetime
    fingerprint: str


@dataclass(frozen=True)
class Chain:
    title: str
    certificates: tuple[Certificate, ...]


@dataclass(frozen=True)
class Raw:
    """Bytes in hex with their name; `size` in bytes. `text` is empty above SHOWN_BYTES."""

    title: str
    size: int
    head: str
    tail: str
    text: str


@dataclass(frozen=True)
class Exhibits:
    log: EventLog | None = None
    compose: Compose | None = None
    chains: tuple[Chain, ...] = ()
    raw: tuple[Raw, ...] = ()


@dataclass(frozen=True)
class _Report:
    """The members of a report that are shown, whatever its shape."""

    quote: Quote | None = None
    log: Any = None
    ccel: bytes = b""
    compose: str = ""
    gpus: tuple[dict[str, Any], ...] = ()


@lru_cache(maxsize=16)
def of(evidence: Evidence) -> Exhibits:
    """Everything that can be read of the evidence. Never raises.

    Remembered: anybody may read a page again and again whose evidence is slow to read.
    """
    found = _tried(lambda: _open(evidence)) or _Report()
    quote = found.quote
    log = _tried(lambda: _dstack_log(found.log, quote)) if found.log else None
    if found.ccel:
        log = _tried(lambda: _ccel_log(found.ccel, quote))
    return Exhibits(
        log=log,
        compose=_tried(lambda: _compose(found.compose)) if found.compose else None,
        chains=tuple(_chains(found)),
        raw=tuple(_raw(evidence, found)),
    )


def _tried(read: Callable[[], Part]) -> Part | None:
    try:
        return read()
    except Exception:  # a stranger's bytes: what cannot be read is not shown
        return None


def _open(evidence: Evidence) -> _Report:
    if evidence.kind == "gpu":
        item = {
            "evidence": base64.b64encode(evidence.body).decode(),
            "certificate": evidence.chain_pem.decode("ascii", "replace"),
        }
        return _Report(gpus=(item,))
    given = document(evidence.body)
    if evidence.kind == "gpu-payload":
        return _Report(gpus=_gpus(given))
    if reports.shape(given) == "cryptopilot":
        inner = mapping(document(base64.b64decode(given["evidence"])), "evidence")
        return _Report(
            quote=_quote(inner.get("quote")),
            ccel=_tried(lambda: base64.b64decode(inner["cc_eventlog"])) or b"",
            compose=_text(given.get("compose_content")),
            gpus=_gpus(inner.get("gpu_evidence")),
        )
    info = mapping(_tried(lambda: nested(given.get("info"))) or {}, "info")
    claimed = given.get("tcb_info") or info.get("tcb_info")
    tcb_info = mapping(_tried(lambda: nested(claimed)) or {}, "tcb_info")
    return _Report(
        quote=_quote(given.get("intel_quote") or given.get("quote")),
        log=given.get("event_log") or tcb_info.get("event_log"),
        compose=_compose_text(tcb_info.get("app_compose")),
        gpus=_gpus(given.get("nvidia_payload") or given.get("gpu_evidence")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _quote(value: Any) -> Quote | None:
    try:
        return quotes.parse(hex_or_base64(value)) if value else None
    except (QuoteError, ValueError):
        return None


def _gpus(value: Any) -> tuple[dict[str, Any], ...]:
    found = _tried(lambda: gpu.payload(nested(value)).items)
    return tuple(found or ())[:MAX_GPUS]


def _compose_text(app_compose: Any) -> str:
    """The compose file inside dstack's app-compose with all that is measured beside it (a script
    runs before it) as comments, or the whole text where it holds none.
    """
    text = _text(app_compose)
    outer = _tried(lambda: mapping(document(text.encode()), "app_compose")) or {}
    inner = _text(outer.pop("docker_compose_file", ""))
    if not inner:
        return text
    lines = ["# Beside it in the measured app-compose:"] if outer else []
    for name, value in outer.items():
        lines.append(f"# {name}:")
        said = value if isinstance(value, str) else json.dumps(value)
        lines += [f"#   {line}" for line in said.splitlines()]
    return "\n".join([inner.rstrip("\n"), *lines])


# --- event logs -----------------------------------------------------------------------------------


def _dstack_log(value: Any, quote: Quote | None) -> EventLog | None:
    events = dstack.load_events(value)
    if not events:
        return None
    registers = [bytes(dstack.DIGEST_BYTES) for _ in dstack.REGISTERS]
    rows: list[LogEvent] = []
    for number, (event, register, digest) in enumerate(dstack.extensions(events)):
        registers[register] = quotes.extend(registers[register], digest)
        if number < SHOWN_EVENTS:
            said = _readable(event["event_payload"]) if dstack.is_runtime(event) else ""
            name = str(event.get("event", ""))[:_TEXT] or f"type {int(event['event_type']):#x}"
            rows.append(_event(number, register, name, said, digest, registers[register]))
    return EventLog(tuple(rows), len(events), _signed(registers, quote))


def _ccel_log(log: bytes, quote: Quote | None) -> EventLog:
    events = ccel.parse(log)
    registers = [bytes(dstack.DIGEST_BYTES) for _ in dstack.REGISTERS]
    rows: list[LogEvent] = []
    measured = [event for event in events if event.measured]
    for number, event in enumerate(measured):
        register = event.register - 1
        registers[register] = quotes.extend(registers[register], event.digest)
        if number < SHOWN_EVENTS:
            said = event.record_text or b""
            rows.append(
                _event(
                    number,
                    register,
                    f"type {event.type:#x}",
                    said.decode("utf-8", "replace")[:_TEXT],
                    event.digest,
                    registers[register],
                )
            )
    return EventLog(tuple(rows), len(measured), _signed(registers, quote))


def _event(
    number: int, register: int, name: str, payload: str, digest: bytes, value: bytes
) -> LogEvent:
    return LogEvent(number, register, name, payload, digest.hex(), value.hex())


def _signed(registers: list[bytes], quote: Quote | None) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (f"RTMR{n}", value.hex(), quote.body[f"rtmr{n}"].hex() if quote else "")
        for n, value in enumerate(registers)
    )


def _readable(payload: str) -> str:
    """A runtime event's payload as text where it is one (JSON, an image's name), else as hex."""
    text = _tried(lambda: bytes.fromhex(payload).decode())
    if text and text.isprintable() and any(mark in text for mark in "{:/ "):
        return text[:_TEXT]
    return payload[:_TEXT]


# --- compose file ---------------------------------------------------------------------------------


def _compose(text: str) -> Compose:
    images = composefile.named(text).images
    marks = {str(image["ref"]): "pinned" if image["digest"] else "mutable" for image in images}
    lines = text.splitlines()
    return Compose(
        lines=tuple(ComposeLine(_cut(line), _mark(line, marks)) for line in lines[:SHOWN_LINES]),
        pinned=sum(mark == "pinned" for mark in marks.values()),
        mutable=sum(mark == "mutable" for mark in marks.values()),
        total=len(lines),
        images=tuple(
            dict.fromkeys(found for ref in marks if (found := registries.image(ref)) is not None)
        ),
    )


def _cut(line: str) -> str:
    return line if len(line) <= _TEXT else f"{line[:_TEXT]}… ({len(line)} characters)"


def _mark(line: str, marks: dict[str, str]) -> str:
    """The mark of the longest image reference that stands in the line."""
    if "image" not in line:
        return ""
    named = [ref for ref in marks if ref in line]
    return marks[max(named, key=len)] if named else ""


# --- certificates and raw parts -------------------------------------------------------------------


def _chains(report: _Report) -> Iterator[Chain]:
    if report.quote is not None:
        pem = report.quote.pck_pem
        chain = _chain(N_("Intel: the key that signs this machine's quotes"), pem)
        if chain.certificates:
            yield chain
    for number, item in enumerate(report.gpus):
        found = _tried(lambda item=item: base64_or_pem(item.get("certificate")))  # type: ignore[misc]
        chain = _chain(N_("NVIDIA: GPU %(number)s") % {"number": number}, found or b"")
        if chain.certificates:
            yield chain


def _chain(title: str, pem: bytes) -> Chain:
    found = _tried(lambda: certificates.load_pem(pem)) or []
    return Chain(title, tuple(_certificate(one) for one in found))


def _certificate(one: x509.Certificate) -> Certificate:
    return Certificate(
        subject=certificates.common_name(one) or certificates.subject(one),
        issuer=_tried(lambda: one.issuer.rfc4514_string()[:120]) or "",
        since=one.not_valid_before_utc,
        until=one.not_valid_after_utc,
        fingerprint=certificates.fingerprint(one),
    )


def _raw(evidence: Evidence, report: _Report) -> Iterator[Raw]:
    quote = report.quote
    if quote is not None:
        signed = quote.raw[: quote.signed_bytes]
        yield _bytes(N_("TDX quote"), quote.raw)
        yield _bytes(N_("Signed part of the quote (header and TD report)"), signed)
        yield _bytes(N_("report_data: 64 bytes that the machine chose"), quote.body["report_data"])
    for number, item in enumerate(report.gpus):
        given = item.get("evidence") or item.get("attestation_report")
        raw = _tried(lambda given=given: base64_or_pem(given))  # type: ignore[misc]
        if raw and _tried(lambda raw=raw: spdm.parse(raw)):  # type: ignore[misc]
            yield _bytes(N_("Measurements of GPU %(number)s (SPDM)") % {"number": number}, raw)
    yield _bytes(N_("Everything the provider sent"), evidence.body)


def _bytes(title: str, value: bytes) -> Raw:
    whole = value.hex()
    text = whole if len(value) <= SHOWN_BYTES else ""
    return Raw(title, len(value), whole[:32], whole[-16:], text)

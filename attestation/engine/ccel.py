"""The TCG event log of CryptoPilot and tapp machines (attestation.md 7)."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any

from attestation.engine import composefile, reviewed
from attestation.engine.evidence import Context, excerpt
from attestation.engine.limits import MAX_CCEL_BYTES, MAX_EVENTS, check
from attestation.engine.verdicts import FAIL, NOT_CHECKED, NOT_PROVIDED, PASS, WARN, Report, Verdict
from net.marks import N_
from protocol import quotes
from protocol.quotes import Quote

GROUP = N_("Deployment")
_REPLAY_TITLE = N_("CCEL replays to RTMR%(number)s")
EV_NO_ACTION, EV_EVENT_TAG = 0x3, 0x6
_SHA384 = 0xC
_DIGEST_BYTES = {0x4: 20, 0xB: 32, _SHA384: 48, 0xD: 64}
_END = 0xFFFFFFFF
#: RTMR3 in this log's numbering.
_RUNTIME_REGISTER = 4
_CRYPTPILOT = "cryptpilot.alibabacloud.com"
_TAPP = ("tapp.0g.com", "start_app")
_APP_KEYS = ("app_id", "compose_hash", "timestamp")


@dataclass(frozen=True)
class Event:
    """One log record. Registers are numbered from 1: register n is RTMR(n-1)."""

    register: int
    type: int
    digest: bytes
    data: bytes

    @property
    def measured(self) -> bool:
        return self.type != EV_NO_ACTION and 1 <= self.register <= 4

    @property
    def record_text(self) -> bytes | None:
        """The text of an attestation-agent record, None for every other event.

        Agents hash the text or all of the data, and the log does not say which: with an exact
        length and no NUL, which every length holds, neither can be framed as the other.
        """
        if self.type != EV_EVENT_TAG or len(self.data) < 8:
            return None
        (length,), text = struct.unpack_from("<I", self.data, 4), self.data[8:]
        return text if len(text) == length and b"\0" not in text else None


@dataclass(frozen=True)
class Record:
    """ "domain operation content", as the attestation agent writes it."""

    register: int
    domain: str
    operation: str
    content: str
    matches_digest: bool


def parse(log: bytes) -> list[Event]:
    """The records after the header. Raises ValueError for anything but a crypto-agile log."""
    check("event log bytes", len(log), MAX_CCEL_BYTES)
    try:
        return _parse(log)
    except struct.error as error:
        raise ValueError(f"truncated: {error}") from None
    except KeyError as error:
        raise ValueError(f"unknown digest algorithm {error}") from None


def _parse(log: bytes) -> list[Event]:
    (length,) = struct.unpack_from("<I", log, 28)
    if not log[32 : 32 + length].startswith(b"Spec ID Event03\0"):
        raise ValueError("not a crypto-agile log")
    position, events = 32 + length, list[Event]()
    while position + 12 <= len(log):
        register, kind, count = struct.unpack_from("<III", log, position)
        if register == _END or not (register or kind or count):
            break  # padding after the last event
        position += 12
        digests = {}
        for _ in range(count):
            (algorithm,) = struct.unpack_from("<H", log, position)
            size = _DIGEST_BYTES[algorithm]
            digests[algorithm] = log[position + 2 : position + 2 + size]
            position += 2 + size
        (size,) = struct.unpack_from("<I", log, position)
        data = log[position + 4 : position + 4 + size]
        position += 4 + size
        events.append(Event(register, kind, digests.get(_SHA384, b""), data))
        check("events", len(events), MAX_EVENTS)
    return events


def replay(events: list[Event]) -> list[bytes]:
    """RTMR0 to RTMR3 after the whole log."""
    registers = [bytes(48) for _ in range(4)]
    for event in events:
        if event.measured:
            number = event.register - 1
            registers[number] = quotes.extend(registers[number], event.digest)
    return registers


def verify(
    quote: Quote, log: bytes | None, compose: str | None, context: Context, report: Report
) -> None:
    """Add the ccel rows of group Deployment."""
    if not log:
        for i in range(4):
            report.add(f"ccel.rtmr{i}", GROUP, _REPLAY_TITLE % {"number": i}, NOT_PROVIDED)
        return
    try:
        events = parse(log)
    except ValueError as error:
        report.add(
            "ccel.parse", GROUP, N_("CCEL parses"), FAIL, got=str(error), source="cc_eventlog"
        )
        return
    _registers(quote, events, report)
    found = _records(events, report)
    _cryptpilot(found, context, report)
    apps = _apps(found, report)
    if compose:
        _compose(compose, apps, context, report)


def _registers(quote: Quote, events: list[Event], report: Report) -> None:
    for i, value in enumerate(replay(events)):
        count = sum(1 for event in events if event.register == i + 1 and event.measured)
        expected = quote.body[f"rtmr{i}"].hex()
        report.add(
            f"ccel.rtmr{i}",
            GROUP,
            _REPLAY_TITLE % {"number": i},
            PASS if value.hex() == expected else FAIL,
            expected=expected,
            got=value.hex(),
            detail=f"{count} events",
            source="cc_eventlog and quote",
        )


def _records(events: list[Event], report: Report) -> list[Record]:
    """Records of the runtime register, which boot cannot write. One whose text is not there may be
    any, a later start of an app too: it counts as a mismatch.
    """
    found, hidden = [], 0
    for event in events:
        if event.register != _RUNTIME_REGISTER or not event.measured:
            continue
        text = event.record_text
        try:
            domain, operation, content = (*(text or b"").decode().split(" ", 2), "", "")[:3]
        except UnicodeDecodeError:
            text = None
        if text is None:
            hidden += 1
            continue
        hashes = (hashlib.sha384(part).digest() for part in (text, event.data))
        found.append(Record(event.register - 1, domain, operation, content, event.digest in hashes))
    report.facts["ccel_events"] = len(events)
    report.facts["ccel_records"] = [f"{r.domain} {r.operation} {r.content}"[:500] for r in found]
    if found or hidden:
        wrong = hidden + sum(1 for record in found if not record.matches_digest)
        report.add(
            "ccel.aael",
            GROUP,
            N_("Runtime records hash to their digests"),
            FAIL if wrong else PASS,
            got=f"{len(found) + hidden} records, {wrong} mismatching",
            source="attestation-agent events",
        )
    return found


def _cryptpilot(found: list[Record], context: Context, report: Report) -> None:
    for operation in ("load_config", "fde_rootfs_hash"):
        got = next(
            (r.content for r in found if (r.domain, r.operation) == (_CRYPTPILOT, operation)), None
        )
        wanted = context.policy.cryptopilot.get(operation)
        verdict: Verdict = PASS if wanted and got in wanted else WARN
        if got is None:
            verdict = NOT_PROVIDED
        elif wanted is None:
            verdict = NOT_CHECKED
        report.add(
            f"ccel.{operation}",
            GROUP,
            f"cryptpilot {operation.replace('_', ' ')}",
            verdict,
            expected=None if wanted is None else ", ".join(wanted),
            got=got,
            detail=N_("no reference value configured") if wanted is None else "",
            source="attestation-agent record in RTMR3",
            required=False,
        )


def _apps(found: list[Record], report: Report) -> list[dict[str, str]]:
    apps = []
    for record in found:
        if (record.domain, record.operation) != _TAPP:
            continue
        try:
            app: Any = json.loads(record.content)
            apps.append({key: str(app[key]) for key in _APP_KEYS})
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            report.add(
                "ccel.start_app",
                GROUP,
                N_("start_app records are readable"),
                FAIL,
                got=record.content[:200],
                source="RTMR3 start_app",
            )
    report.facts["tapp_apps"] = [{k: v[:200] for k, v in app.items()} for app in apps]
    return apps


def _compose(compose: str, apps: list[dict[str, str]], context: Context, report: Report) -> None:
    """The report has to be the last start of its app; other apps share the trust boundary."""
    title = N_("Compose content is the one last started for its app")
    try:
        calculated = composefile.tapp_hash(compose)
    except ValueError as error:
        report.add("ccel.compose", GROUP, title, FAIL, got=excerpt(error), source="compose_content")
        return
    starts = [app for app in apps if app["compose_hash"] == calculated]
    mine = starts[-1]["app_id"] if starts else None
    last = [app["compose_hash"] for app in apps if app["app_id"] == mine][-1:]
    right = last == [calculated] and report.passed("ccel.rtmr3")
    report.add(
        "ccel.compose",
        GROUP,
        title,
        PASS if right else FAIL,
        expected=calculated,
        got=f"app {mine}, {len(starts)} start(s)"
        if starts
        else "no start_app record has this hash",
        source="compose_content and RTMR3 start_app",
    )
    reviewed.compose("ccel", GROUP, calculated, right, context, report)
    images, read, started = composefile.named(compose)
    reviewed.images("ccel", GROUP, images, read, right, context, report)
    measured = composefile.digests(started) if right else None
    whole = all(image["digest"] for image in images)
    reviewed.declared("ccel", GROUP, measured, read, whole, context, report)
    others = sorted({app["app_id"] for app in apps} - {mine})
    if starts and others:
        report.add(
            "ccel.other_apps",
            GROUP,
            N_("No other app ran in this TD"),
            WARN,
            got=", ".join(others),
            detail=N_("they share the trust boundary"),
            source="RTMR3 start_app",
            required=False,
        )

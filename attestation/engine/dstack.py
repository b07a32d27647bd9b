"""dstack's evidence: event log, compose hash, MRCONFIGID, key provider, 0G ledger.

Rows 19 to 27 of attestation.md 10; rules in its section 6.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from attestation.engine import composefile, reviewed
from attestation.engine.evidence import Context, Unreadable, nested
from attestation.engine.limits import MAX_EVENTS, check
from attestation.engine.verdicts import FAIL, NOT_CHECKED, NOT_PROVIDED, PASS, WARN, Report, Verdict
from net.marks import N_
from protocol import quotes
from protocol.quotes import RUNTIME_EVENT, RUNTIME_REGISTER, Quote

GROUP = N_("Deployment")
_REPLAY_TITLE = N_("Event log replays to RTMR%(number)s")
REGISTERS = range(4)
#: Everything after this event was written by the app, not by the guest's boot.
_LAST_BOOT_EVENT = "system-ready"
_COMPOSE, _KEY_PROVIDER, _IMAGE_UPDATE = "compose-hash", "key-provider", "zg-image-update"
_BOOT_FACTS = ("app-id", "instance-id", "os-image-hash")
#: Names that anything is read from.
_READ = {_LAST_BOOT_EVENT, _COMPOSE, _KEY_PROVIDER, _IMAGE_UPDATE, *_BOOT_FACTS}
DIGEST_BYTES = 48
_MRCONFIG_KINDS = {1: "V1", 2: "V2", 3: "V3"}

Event = dict[str, Any]


@dataclass(frozen=True)
class Deployment:
    """What a dstack report holds beside its quote.

    `claimed` are the copies of measurements in tcb_info: claims, never evidence.
    """

    events: list[Event] | None
    app_compose: str | None
    claimed: dict[str, Any]
    vm_config: Any


@dataclass(frozen=True)
class Replay:
    """Registers 0 to 3 after the whole log, and the events whose digest is not their content's."""

    registers: list[bytes]
    disagreeing: list[int]


def load_events(value: Any) -> list[Event] | None:
    """A log given as a list or as its JSON text; None where there is none. Raises Unreadable."""
    if value in (None, "", b""):
        return None
    events = nested(value)
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise Unreadable("event log is not a list of objects")
    check("events", len(events), MAX_EVENTS)
    return events


def replay(events: list[Event]) -> Replay:
    """Extend the registers as the machine did. Raises ValueError or KeyError for odd events.

    Digests of runtime events are always computed, never taken from the log (attestation.md 6.1).
    """
    registers, disagreeing = [bytes(DIGEST_BYTES) for _ in REGISTERS], []
    for number, (event, register, digest) in enumerate(extensions(events)):
        if is_runtime(event) and event.get("digest") and bytes.fromhex(event["digest"]) != digest:
            disagreeing.append(number)
        registers[register] = quotes.extend(registers[register], digest)
    return Replay(registers, disagreeing)


def extensions(events: list[Event]) -> Iterator[tuple[Event, int, bytes]]:
    """Each event with the register that it extends, and by what. Raises as `replay`."""
    for number, event in enumerate(events):
        register = int(event["imr"])
        if register not in REGISTERS:
            raise Unreadable(f"event {number} extends register {register}")
        if is_runtime(event):
            version = 2 if event.get("version") == 2 else 1
            payload = bytes.fromhex(event["event_payload"])
            yield event, register, quotes.runtime_digest(event["event"], payload, version)
        else:
            yield event, register, bytes.fromhex(event["digest"]).ljust(DIGEST_BYTES, b"\0")


def verify(quote: Quote, given: Deployment, context: Context, report: Report) -> None:
    """Add every row of group Deployment that this evidence has."""
    events = given.events
    _registers(quote, events, report)
    replayed = report.passed("dstack.rtmr3")
    # Under a bare digest the guest's own entry could hide, and a later one stand in its place.
    trusted = replayed and not _hidden(events or [])
    calculated = (
        hashlib.sha256(given.app_compose.encode()).hexdigest() if given.app_compose else None
    )
    logged = _boot_value(events, _COMPOSE) if events else None
    _compose(calculated, logged, replayed, trusted, report)
    _mrconfig(quote, calculated or logged, report)
    measured = _measured(report)
    reviewed.compose("dstack", GROUP, calculated or logged, measured, context, report)
    if events:
        _key_provider(events, trusted, context, report)
        _boot_facts(events, report)
        _ledger(events, trusted, context, report)
    read = True
    started: tuple[str, ...] = ()
    if given.app_compose:
        read, started = _images(given.app_compose, context, report)
    _declared(started, trusted, read, context, report)
    _claims(quote, given.claimed, report)
    _os_image(given.vm_config, report)


def is_runtime(event: Event) -> bool:
    return bool(event["event_type"] == RUNTIME_EVENT and int(event["imr"]) == RUNTIME_REGISTER)


def _hidden(events: list[Event]) -> bool:
    """Whether the runtime register holds an event whose content nobody can check: without any, or
    with a part of it taken into the name, as a colon is all that parts the two in the digest.
    """
    return any(
        int(e["imr"]) == RUNTIME_REGISTER
        and (not is_runtime(e) or (e["event"] not in _READ and e["event"].split(":")[0] in _READ))
        for e in events
    )


def _split(events: list[Event]) -> tuple[list[Event], list[Event]]:
    """Runtime events of the boot, and those that the app wrote after it."""
    runtime = [event for event in events if is_runtime(event)]
    for number, event in enumerate(runtime):
        if event["event"] == _LAST_BOOT_EVENT:
            return runtime[: number + 1], runtime[number + 1 :]
    return runtime, []


def _boot_value(events: list[Event], name: str) -> str | None:
    """Payload of the first boot event of a name: later ones are the app's own."""
    boot = _split(events)[0]
    return next((str(e["event_payload"]) for e in boot if e["event"] == name), None)


def _registers(quote: Quote, events: list[Event] | None, report: Report) -> None:
    if events is None:
        for i in REGISTERS:
            report.add(
                f"dstack.rtmr{i}",
                GROUP,
                _REPLAY_TITLE % {"number": i},
                NOT_PROVIDED,
                source="event_log",
                required=i == RUNTIME_REGISTER,
            )
        return
    result = replay(events)
    for i in REGISTERS:
        count = sum(1 for event in events if int(event["imr"]) == i)
        uncovered = "; boot event payloads are not covered, only their digests"
        expected, got = quote.body[f"rtmr{i}"].hex(), result.registers[i].hex()
        report.add(
            f"dstack.rtmr{i}",
            GROUP,
            _REPLAY_TITLE % {"number": i},
            PASS if expected == got else FAIL,
            expected=expected,
            got=got,
            detail=f"{count} events{uncovered if i < RUNTIME_REGISTER else ''}",
            source="event_log and quote",
        )
    wrong = result.disagreeing
    report.add(
        "dstack.digests",
        GROUP,
        N_("Runtime events hash to the digests they claim"),
        FAIL if wrong else PASS,
        got=f"events {wrong}" if wrong else "all",
        source="event_log",
        required=False,
    )


def _compose(
    calculated: str | None, logged: str | None, replayed: bool, trusted: bool, report: Report
) -> None:
    verdict: Verdict = PASS if calculated == logged and trusted else FAIL
    detail = "" if replayed else N_("RTMR3 does not match, so the event proves nothing")
    if replayed and not trusted:
        detail = N_(
            "RTMR3 holds an event without its content, so the order of the others is unknown"
        )
    if calculated is None or logged is None:
        verdict = NOT_PROVIDED
        detail = N_("no compose file") if calculated is None else N_("no compose-hash event")
    report.add(
        "dstack.compose",
        GROUP,
        N_("Compose file hashes to the measured compose-hash"),
        verdict,
        expected=logged,
        got=calculated,
        detail=detail,
        source="sha256(app_compose) and RTMR3 event",
    )


def _mrconfig(quote: Quote, compose_hash: str | None, report: Report) -> None:
    value = quote.body["mr_config_id"]
    title = N_("Compose hash is in the signed MRCONFIGID")
    if value[0] == 1:
        report.compare(
            "dstack.mrconfig",
            GROUP,
            title,
            compose_hash,
            value[1:33].hex(),
            source="quote[233:265]",
        )
        return
    empty = not any(value)
    kind = _MRCONFIG_KINDS.get(value[0], "?")
    report.add(
        "dstack.mrconfig",
        GROUP,
        title,
        NOT_PROVIDED if empty else NOT_CHECKED,
        got="all zero (dstack before 0.5, or not dstack)" if empty else f"{kind} {value.hex()}",
        detail="" if empty else N_("V2 and V3 hash more than the compose file"),
        source="quote[232:280]",
        required=False,
    )


def _key_provider(events: list[Event], trusted: bool, context: Context, report: Report) -> None:
    payload = _boot_value(events, _KEY_PROVIDER)
    if not payload:
        return
    try:
        provider = json.loads(bytes.fromhex(payload))
    except (ValueError, RecursionError):
        provider = {}
    if not isinstance(provider, dict):
        provider = {}
    name, key = str(provider.get("name")), str(provider.get("id", ""))
    known = context.policy.kms_keys
    verdict: Verdict = FAIL
    if trusted:
        listed = known is None or key.lower() in known
        verdict = PASS if name == "kms" and listed else WARN
    report.add(
        "dstack.key_provider",
        GROUP,
        N_("Keys come from a KMS"),
        verdict,
        expected="kms" if known is None else "kms in our list",
        got=f"{name} {key}",
        detail="" if known is None else str(known.get(key.lower(), "unknown KMS key")),
        source="RTMR3 event key-provider",
        required=False,
    )


def _boot_facts(events: list[Event], report: Report) -> None:
    boot, ledger = _split(events)
    for name in _BOOT_FACTS:
        value = _boot_value(events, name)
        if value:
            report.facts[name] = value
    report.facts["runtime_events"] = [event["event"] for event in boot]
    report.facts["ledger_events"] = [event["event"] for event in ledger]


def _ledger(events: list[Event], trusted: bool, context: Context, report: Report) -> None:
    """0G brokers log which image runs with which keys; the last entry holds (6.4)."""
    updates = [event for event in _split(events)[1] if event["event"] == _IMAGE_UPDATE]
    if not updates:
        return
    words = bytes.fromhex(updates[-1]["event_payload"]).decode("utf-8", "replace").split()
    reference = words[0] if words else ""
    names = ("ref", "signer", "enc_pub")
    report.facts["ledger"] = dict(zip(names, words, strict=False))
    accepted = context.policy.images
    verdict: Verdict = FAIL
    detail = N_("no list of accepted images configured") if accepted is None else ""
    if trusted and "@sha256:" in reference:
        digest = reference.split("@")[1]
        verdict = NOT_CHECKED if accepted is None else PASS if digest in accepted else WARN
        if accepted is not None and digest in accepted:
            detail = f"published: {accepted[digest]}"
    report.add(
        "dstack.running_image",
        GROUP,
        N_("Running broker image (0G ledger in RTMR3)"),
        verdict,
        expected="accepted digest",
        got=reference,
        detail=detail,
        source="last zg-image-update after system-ready",
    )


def _images(app_compose: str, context: Context, report: Report) -> tuple[bool, tuple[str, ...]]:
    """Whether all images of the file were read, and those that its services start."""
    found, read, started = composefile.listed(app_compose)
    report.facts["images"] = found
    loose = [str(image["ref"]) for image in found if not image["digest"]]
    verdict: Verdict = WARN if loose else PASS if found and read else NOT_CHECKED
    detail = "" if read else reviewed.UNREAD
    if loose:
        detail = N_("a tag can be re-pointed without changing compose-hash")
    report.add(
        "dstack.images_pinned",
        GROUP,
        N_("Every container image is pinned by digest"),
        verdict,
        expected="@sha256:…",
        got=", ".join(loose) or f"{len(found)} pinned",
        detail=detail,
        source="docker_compose_file",
        required=False,
    )
    reviewed.images("dstack", GROUP, found, read, _measured(report), context, report)
    return read, started


def _measured(report: Report) -> bool:
    """Whether the compose file as it was sent is the measured one: MRCONFIGID is signed directly,
    so it settles that where no log is (attestation.md 6.2).
    """
    return report.passed("dstack.compose") or report.passed("dstack.mrconfig")


def _declared(
    started: tuple[str, ...], trusted: bool, read: bool, context: Context, report: Report
) -> None:
    """The ledger's image where it names one, else those of the measured compose file."""
    running = str(report.facts.get("ledger", {}).get("ref", ""))
    images = report.facts.get("images") or []
    if trusted and "@sha256:" in running:
        measured, read, whole = composefile.digests([running]), True, True
    elif _measured(report):
        measured = composefile.digests(started)
        whole = all(image["digest"] for image in images)
    else:
        measured, whole = None, False
    reviewed.declared("dstack", GROUP, measured, read, whole, context, report)


def _claims(quote: Quote, claimed: dict[str, Any], report: Report) -> None:
    """Copies beside the quote appear only where they lie."""
    pairs = (("mrtd", "mr_td"), *((f"rtmr{i}", f"rtmr{i}") for i in REGISTERS))
    for claim, name in pairs:
        if claim in claimed and claimed[claim] != quote.body[name].hex():
            report.add(
                f"dstack.claim_{claim}",
                GROUP,
                N_("tcb_info.%(claim)s equals the quote") % {"claim": claim},
                FAIL,
                expected=quote.body[name].hex(),
                got=str(claimed[claim]),
                source="tcb_info",
            )


def _os_image(vm_config: Any, report: Report) -> None:
    if not vm_config:
        return
    config = nested(vm_config)
    if not isinstance(config, dict):
        raise Unreadable("vm_config is not an object")
    report.facts["vm_config"] = config
    image = str(config.get("image", ""))
    development = "-dev-" in image or image.startswith("dstack-dev")
    report.add(
        "dstack.os_image",
        GROUP,
        N_("Guest OS image is a published dstack release"),
        FAIL if development else NOT_CHECKED,
        expected="published os_image_hash, replayed to MRTD and RTMR0 to 2",
        got=f"{image or '?'} {config.get('os_image_hash', '')}",
        detail=N_("a development OS has a login shell")
        if development
        else N_("needs dstack-verifier with the OS image (about 1 GB)"),
        source="vm_config (a claim until measured)",
        required=development,
    )

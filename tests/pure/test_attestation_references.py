"""Published values: a file of them, what a row says by it, and what the listing declares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from attestation import declared, registries
from attestation.engine import references, reports
from attestation.engine.policy import DEFAULT, Known
from attestation.engine.references import BadReferences
from attestation.engine.verdicts import Check, Report
from provider.tee.development.report import Machine
from tests.pure.attestation_lab import ADDRESS, lab

MACHINE = Machine(ADDRESS)
RUNNING = "ab" * 32
OTHER = "cd" * 32
REGISTERS = ("mr_td", "rtmr0", "rtmr1", "rtmr2")
HEAD = {"format": references.FORMAT, "label": "test list", "source": "https://list.example"}


def measured(machine: Machine = MACHINE) -> dict[str, str]:
    facts = lab().judge(machine).facts
    return {name: facts[name] for name in REGISTERS}


def file(**lists: Any) -> bytes:
    return json.dumps({**HEAD, **lists}).encode()


def judged(body: bytes, machine: Machine = MACHINE, **changes: Any) -> Report:
    return lab().judge(machine, policy=references.load(body), **changes)


def row(report: Report, id: str) -> Check:
    found = report.find(id)
    assert found is not None, id
    return found


def verdicts(report: Report, *ids: str) -> list[str]:
    return [row(report, id).verdict for id in ids]


def test_without_a_file_nothing_is_judged_by_it() -> None:
    report = lab().judge(MACHINE)
    ids = [f"tdx.{name}" for name in REGISTERS]
    assert verdicts(report, *ids) == ["not_checked"] * 4
    assert not any(row.id.endswith("_known") for row in report.checks)
    assert "references" not in report.facts
    assert verdicts(judged(file()), *ids) == ["not_checked"] * 4, "a file without lists"


def test_registers_are_compared_one_by_one_and_as_one_image() -> None:
    ids = [f"tdx.{name}" for name in REGISTERS]
    got = measured()
    # RTMR0 depends on the machine's shape: a list may leave it out.
    right = {"label": "guest 1", "source": "https://guest.example", **got}
    del right["rtmr0"]
    report = judged(file(boots=[right]))
    assert verdicts(report, *ids) == ["pass", "not_checked", "pass", "pass"]
    found = row(report, "tdx.rtmr1")
    assert found.expected == found.got == got["rtmr1"]
    assert found.detail == "published: guest 1, https://guest.example"
    assert report.overall == lab().judge(MACHINE).overall
    assert report.facts["references"] == {
        "label": "test list", "source": "https://list.example",
        "sha256": hashlib.sha256(file(boots=[right])).hexdigest(),
    }  # fmt: skip
    # Nor does another image's RTMR0 judge a machine that is wholly this one.
    other = {"label": "guest 2", **got, "mr_td": "00" * 48, "rtmr0": "00" * 48}
    report = judged(file(boots=[right, other]))
    assert verdicts(report, *ids) == ["pass", "not_checked", "pass", "pass"]
    assert row(report, "tdx.rtmr0").expected is None
    # Half of one image and half of another is none.
    mixed = [
        {"label": "one", "mr_td": got["mr_td"], "rtmr1": "00" * 48},
        {"label": "two", "mr_td": "00" * 48, "rtmr1": got["rtmr1"]},
    ]
    report = judged(file(boots=mixed))
    assert verdicts(report, "tdx.mr_td", "tdx.rtmr1") == ["warn", "warn"]
    assert "other registers are not those of one" in row(report, "tdx.mr_td").detail
    assert row(report, "tdx.rtmr1").expected == "00" * 48


def test_compose_files_images_and_key_services_are_compared() -> None:
    compose = hashlib.sha256(MACHINE.app_compose.encode()).hexdigest()
    known: dict[str, Any] = {
        "composes": [{"label": "release 1", "hash": compose}],
        "images": [{"label": "broker 1", "digest": f"sha256:{RUNNING}"}],
    }
    report = judged(file(**known))
    assert verdicts(report, "dstack.compose_known", "dstack.images_known") == ["pass", "pass"]
    other: dict[str, Any] = {
        "composes": [{"label": "release 2", "hash": OTHER}],
        "images": [{"label": "broker 2", "digest": f"sha256:{OTHER}"}],
    }
    report = judged(file(**other))
    assert verdicts(report, "dstack.compose_known", "dstack.images_known") == ["warn", "warn"]
    assert RUNNING in row(report, "dstack.images_known").got
    assert not row(report, "dstack.compose_known").required
    id = str(json.loads(bytes.fromhex(_payload("key-provider")))["id"]).lower()
    assert row(lab().judge(MACHINE), "dstack.key_provider").verdict == "pass"
    ours = replace(DEFAULT, kms_keys={id: Known("our kms")})
    assert row(lab().judge(MACHINE, policy=ours), "dstack.key_provider").verdict == "pass"
    keys = [{"label": "another", "id": "abcd"}]
    assert row(judged(file(kms_keys=keys)), "dstack.key_provider").verdict == "warn"


def _payload(name: str) -> str:
    events = json.loads(json.loads(lab().body(MACHINE))["event_log"])
    return str(next(event["event_payload"] for event in events if event["event"] == name))


def test_the_image_of_the_ledger_is_compared() -> None:
    machine = Machine(ADDRESS, events=[("zg-image-update", f"repo@sha256:{RUNNING} {ADDRESS}")])
    for digest, verdict in ((RUNNING, "pass"), (OTHER, "warn")):
        images = [{"label": "broker", "digest": f"sha256:{digest}"}]
        report = judged(file(images=images), _ledger(machine))
        assert row(report, "dstack.running_image").verdict == verdict


def _ledger(machine: Machine) -> Machine:
    """Payloads of events are hex."""
    return Machine(
        machine.address, events=[(name, text.encode().hex()) for name, text in machine.events]
    )


@pytest.mark.parametrize(
    ("claimed", "compose", "verdict"),
    [
        ((RUNNING,), f"image: a/b@sha256:{RUNNING}", "pass"),
        (
            (RUNNING,),
            f"image: a/b@sha256:{RUNNING}\n  side:\n    image: c/d@sha256:{OTHER}",
            "pass",
        ),
        ((OTHER, RUNNING), f"image: a/b@sha256:{RUNNING}", "warn"),
        ((OTHER,), f"image: a/b@sha256:{RUNNING}", "warn"),
        ((OTHER,), f"image: a/b@sha256:{RUNNING}\n  side:\n    image: c/d:latest", "not_checked"),
        ((OTHER,), "image: a/b:latest", "not_checked"),
    ],
)
def test_the_declared_image_is_held_against_the_measured_one(
    claimed: tuple[str, ...], compose: str, verdict: str
) -> None:
    text = json.dumps({"docker_compose_file": f"services:\n  broker:\n    {compose}\n"})
    machine = Machine(ADDRESS, app_compose=text)
    plain = lab().judge(machine)
    assert plain.find("dstack.declared_image") is None
    report = lab().judge(machine, declared_images=claimed)
    assert row(report, "dstack.declared_image").verdict == verdict
    # A claim of the provider's own proves nothing and fails nothing (attestation.md, decision 6).
    assert report.overall == plain.overall


PADDING = f"  image: x@sha256:{RUNNING}\n" * 200
PADDED = f"note: |\n{PADDING}services: {{s: {{image: evil:latest}}}}\n"


@pytest.mark.parametrize(
    "compose",
    [
        PADDED,
        f"image: x@sha256:{RUNNING}\nservices: {{s: {{image: evil:latest}}}}\nz: !unknown 1",
    ],
    ids=["cut", "unreadable"],
)
def test_images_that_could_not_be_read_are_not_called_known(compose: str) -> None:
    known = {"images": [{"label": "x", "digest": f"sha256:{RUNNING}"}]}
    machine = Machine(ADDRESS, app_compose=json.dumps({"docker_compose_file": compose}))
    report = judged(file(**known), machine, declared_images=(OTHER,))
    ids = ("dstack.images_known", "dstack.images_pinned", "dstack.declared_image")
    assert verdicts(report, *ids) == ["not_checked"] * 3
    assert len({row(report, id).detail for id in ids}) == 1
    context = lab().context(
        MACHINE, policy=references.load(file(**known)), declared_images=(OTHER,)
    )
    report = reports.verify(lab().tapp_body(PADDED), context)
    assert verdicts(report, "ccel.images_known", "ccel.declared_image") == ["not_checked"] * 2


def test_a_text_that_names_an_image_starts_none() -> None:
    """Padding in a scalar, or beside the services, must not make a claim true."""
    decoy = f"x@sha256:{RUNNING}"
    compose = f"note: |\n  image: {decoy}\nx-a: {{image: '{decoy}'}}\n"
    compose += f"services: {{s: {{image: 'y@sha256:{OTHER}'}}}}\n"
    machine = Machine(ADDRESS, app_compose=json.dumps({"docker_compose_file": compose}))
    for claimed, verdict in ((RUNNING, "warn"), (OTHER, "pass")):
        report = lab().judge(machine, declared_images=(claimed,))
        assert row(report, "dstack.declared_image").verdict == verdict
        context = lab().context(MACHINE, declared_images=(claimed,))
        report = reports.verify(lab().tapp_body(compose), context)
        assert row(report, "ccel.declared_image").verdict == verdict


def test_a_declared_image_is_compared_with_nothing_that_is_not_measured() -> None:
    body = json.loads(lab().body(MACHINE))
    compose = MACHINE.app_compose + " "
    body["tcb_info"] = json.dumps({"app_compose": compose})
    known = {
        "composes": [{"label": "x", "hash": hashlib.sha256(compose.encode()).hexdigest()}],
        "images": [{"label": "x", "digest": f"sha256:{RUNNING}"}],
    }
    context = lab().context(
        MACHINE, declared_images=(RUNNING,), policy=references.load(file(**known))
    )
    report = reports.verify(json.dumps(body).encode(), context)
    assert row(report, "dstack.compose").verdict == "fail"
    # Published or not: this is not the file that was measured.
    ids = ("dstack.declared_image", "dstack.compose_known", "dstack.images_known")
    assert verdicts(report, *ids) == ["not_checked"] * 3
    tapp = lab().tapp_body(f"services:\n  a:\n    image: x/y@sha256:{RUNNING}\n")
    for digest, verdict in ((RUNNING, "pass"), (OTHER, "warn")):
        report = reports.verify(tapp, lab().context(MACHINE, declared_images=(digest,)))
        assert row(report, "ccel.declared_image").verdict == verdict


def test_which_images_a_listing_declares() -> None:
    def of(value: Any) -> tuple[str, ...]:
        return declared.images(json.dumps({"ImageDigest": value}))

    assert of(f"sha256:{RUNNING.upper()}") == of(RUNNING) == (RUNNING,)
    assert of(f"repo@sha256:{RUNNING}, {OTHER} {RUNNING}") == (RUNNING, OTHER)
    for nothing in ("", "latest", RUNNING + "a", 7, [RUNNING], None):
        assert of(nothing) == ()
    assert declared.images("no json") == declared.images("{}") == ()


BAD: Mapping[str, Any] = {
    "not json": b"{",
    "no format": b"{}",
    "no label": json.dumps({"format": references.FORMAT}).encode(),
    "unknown member": file(mrtd=[]),
    "no list": file(boots={}),
    "no register": file(boots=[{"label": "x"}]),
    "short register": file(boots=[{"label": "x", "mr_td": "ab"}]),
    "upper case": file(boots=[{"label": "x", "mr_td": "AB" * 48}]),
    "no label in it": file(boots=[{"mr_td": "ab" * 48}]),
    "unknown register": file(boots=[{"label": "x", "mr_td": "ab" * 48, "rtmr3": "ab" * 48}]),
    "bare digest": file(images=[{"label": "x", "digest": RUNNING}]),
    "no hash": file(composes=[{"label": "x"}]),
    "many": file(composes=[{"label": "x", "hash": RUNNING}] * (references.MAX_ENTRIES + 1)),
    "cryptopilot": file(cryptopilot={"load_config": "x"}),
}


@pytest.mark.parametrize("name", BAD)
def test_half_a_list_is_refused(name: str) -> None:
    with pytest.raises(BadReferences):
        references.load(BAD[name])


def test_a_file_changes_nothing_else_of_the_policy() -> None:
    loaded = references.load(file(cryptopilot={"load_config": ["a"]}))
    assert (loaded.tcb_pass, loaded.tcb_warn) == (DEFAULT.tcb_pass, DEFAULT.tcb_warn)
    assert loaded.cryptopilot == {"load_config": ("a",)}
    assert (loaded.boots, loaded.composes, loaded.images, loaded.kms_keys) == (None,) * 4


@pytest.mark.parametrize(
    ("reference", "page"),
    [
        ("mysql", "https://hub.docker.com/_/mysql"),
        ("docker.io/library/mysql:8.0", "https://hub.docker.com/_/mysql"),
        ("vllm/vllm-openai:v0.10.2", "https://hub.docker.com/r/vllm/vllm-openai"),
        ("ghcr.io/0g/broker", "https://ghcr.io/0g/broker"),
        ("quay.io/a/b", f"https://quay.io/repository/a/b/manifest/sha256:{RUNNING}"),
        ("registry.example/a/b", ""),
        ("evil.example.hub.docker.com/a", ""),
    ],
)
def test_images_lead_to_registries_that_we_know_only(reference: str, page: str) -> None:
    found = registries.image(f"{reference}@sha256:{RUNNING}")
    assert found is not None
    assert found.page == page
    assert found.sigstore == f"https://search.sigstore.dev/?hash=sha256:{RUNNING}"


@pytest.mark.parametrize(
    "reference",
    ["a/b:latest", f"a/../../b@sha256:{RUNNING}", f"javascript:alert(1)@sha256:{RUNNING}",
     f"ghcr.io/a?b=c@sha256:{RUNNING}", f"ghcr.io/a#b@sha256:{RUNNING}", f"a@sha256:{'x' * 64}",
     f"ghcr.io//evil.example/a@sha256:{RUNNING}", f"{'a' * 400}@sha256:{RUNNING}",
     f"a b@sha256:{RUNNING}", f"a\n@sha256:{RUNNING}"],
)  # fmt: skip
def test_what_is_no_reference_leads_nowhere(reference: str) -> None:
    assert registries.image(reference) is None

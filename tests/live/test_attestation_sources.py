"""The clients of Intel's and NVIDIA's services against a server that plays the documented protocol
(attestation.md 5, 9), and against one that does not.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.engine import anchors as trust
from attestation.engine import reports
from attestation.engine.evidence import Context, Evidence
from attestation.engine.verdicts import Report
from attestation.sources.collect import Gathered, collect
from attestation.sources.records import Sources
from devnet.attestation.services import Reply
from provider.tee.development.report import Machine
from tests.live.attestation_services import Fault, Faulty, Recorded, Shelf, serving
from tests.pure.attestation_cases import VECTORS, Case
from tests.pure.attestation_lab import ADDRESS, Lab

SEED = b"attestation sources"
MACHINE = Machine(ADDRESS, gpus=2)
LAB = Lab(SEED)
EVIDENCE = Evidence("report", LAB.body(MACHINE))
NOW = int(time.time())
TCB, QE = "/tdx/certification/v4/tcb", "/tdx/certification/v4/qe/identity"
PCK_CRL, ROOT_CRL = "/sgx/certification/v4/pckcrl", "/sgx/certification/v4/rootcacrl"
RIM, OCSP, NRAS, JWKS = "/v1/rim/", "/ocsp", "/v3/attest/gpu", "/.well-known/jwks.json"
#: Rows that rest on each service.
ROWS = {
    "pcs": {"tdx.tcb", "tdx.tcb_info", "tdx.qe_identity", "tdx.pck_chain"},
    RIM: {"gpu0.measurements", "gpu1.measurements"},
    OCSP: {"gpu0.revocation", "gpu1.revocation"},
    NRAS: {"nras.token", "nras.GPU-0"},
}


@pytest.fixture(autouse=True)
def moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test judges in its own present: tokens and answers are made when they are asked for."""
    monkeypatch.setitem(globals(), "NOW", int(time.time()))


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Faulty, Sources]]:
    services = Faulty(SEED)
    with serving(services, LAB.anchors) as found:
        yield services, found


@pytest.fixture
def services(running: tuple[Faulty, Sources]) -> Faulty:
    """Without a fault, and as if nobody had asked yet."""
    found = running[0]
    found.faults, found.asked, found.ahead = {}, Counter(), 0
    return found


@pytest.fixture
def sources(running: tuple[Faulty, Sources], services: Faulty) -> Sources:
    return running[1]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def judged(found: Gathered) -> Report:
    context = Context(
        anchors=LAB.anchors,
        onchain_signer=ADDRESS,
        acknowledged=True,
        **found.context,
    )
    return reports.judge(EVIDENCE, context)


def words(report: Report) -> dict[str, str]:
    return {row.id: row.verdict for row in report.checks}


def texts(found: Gathered) -> str:
    return " | ".join(f"{note['source']}: {note['text']}" for note in found.notes)


async def test_everything_is_had_once_and_kept(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    report = judged(found)
    assert report.overall == "dev-pass" and found.notes == ()
    for id in set().union(*ROWS.values()):
        assert words(report)[id] == "pass", id
    # Two devices under one provisioner: 2 BROM, provisioner, identity; never a leaf.
    assert services.asked[OCSP] == 4
    assert {reference["sha256"] for reference in found.references} == {
        answer.sha256 for answer in shelf.answers
    }
    asked = services.asked.total()
    again = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert services.asked.total() == asked
    assert again.context == found.context and again.references == found.references


def answering(status: int, body: bytes = b"", **headers: str) -> Fault:
    return lambda reply: Reply(status, body, "text/html", headers)


def slow(reply: Reply) -> Reply:
    time.sleep(1.5)
    return reply


def without_headers(reply: Reply) -> Reply:
    return replace(reply, headers={})


def flipped(reply: Reply) -> Reply:
    """One byte in the middle is another one, still the same kind of text."""
    middle = len(reply.body) // 2
    byte = b"0" if reply.body[middle : middle + 1] != b"0" else b"1"
    return replace(reply, body=reply.body[:middle] + byte + reply.body[middle + 1 :])


FAULTS = {
    "refuses": answering(403, b"<html>Forbidden</html>"),
    "does not know": answering(404, b'{"error":"unknown"}'),
    "is overloaded": answering(429, b"", **{"Retry-After": "0"}),
    "is broken": answering(503, b"no healthy upstream"),
    "is slow": slow,
    "sends too much": lambda reply: replace(reply, body=b" " * (5 << 20) + reply.body),
    "sends nothing": answering(200, b""),
    "sends a page": answering(200, b"<html>maintenance</html>"),
    "sends deep JSON": answering(200, b"[" * 100_000),
    "sends another shape": answering(200, b'{"tcbInfo": 1, "enclaveIdentity": [], "keys": {}}'),
    "sends us elsewhere": answering(302, b"", Location="http://127.0.0.2:1/"),
    "changes a byte": flipped,
}


SERVICE_OF = {TCB: "pcs", QE: "pcs", PCK_CRL: "pcs", ROOT_CRL: "pcs", RIM: RIM, OCSP: OCSP,
              NRAS: NRAS, JWKS: NRAS}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        *((TCB, fault) for fault in FAULTS),
        *((path, "sends another shape") for path in SERVICE_OF if path != TCB),
        *((path, "changes a byte") for path in SERVICE_OF if path != TCB),
    ],
)
async def test_a_service_that_fails_costs_its_own_rows_only(
    path: str, fault: str, services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    """Never an exception, never green, and never red: the provider did nothing wrong."""
    service = SERVICE_OF[path]
    services.faults[path] = FAULTS[fault]
    if fault == "is slow":
        sources = replace(sources, answer_seconds=0.5)
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    report = judged(found)
    assert not {row.id for row in report.checks if row.verdict == "fail"} - {"tdx.root"}
    for other, rows in ROWS.items():
        for id in rows:
            verdict = words(report).get(id)
            if other == service:
                # Without manifests or tokens there is no such row at all.
                assert verdict in ("not_checked", None), (id, verdict, texts(found))
            elif not (service == "pcs" and id == "tdx.pck_chain"):
                assert verdict == "pass", (id, verdict)
    assert found.notes, "an operator has to see it"
    kept = [answer for answer in shelf.answers if answer.error]
    assert all(answer.body is None for answer in kept)


async def test_an_answer_without_its_issuer_chain_is_of_no_use(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    services.faults[TCB] = without_headers
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert found.collateral is None and "no issuer chain" in texts(found)


async def test_what_may_pass_is_tried_again(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    def twice(reply: Reply) -> Reply:
        return Reply(502, b"") if services.asked[TCB] <= 2 else reply

    services.faults[TCB] = twice
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert found.collateral is not None and services.asked[TCB] == 3
    services.faults = {RIM: answering(404)}
    await collect(EVIDENCE, now=NOW, sources=sources, cache=Shelf())
    assert all(count == 2 for path, count in services.asked.items() if path.startswith(RIM))


def in_gzip(reply: Reply) -> Reply:
    headers = {**reply.headers, "Content-Encoding": "gzip"}
    return replace(reply, body=gzip.compress(reply.body), headers=headers)


def as_der(reply: Reply) -> Reply:
    return replace(reply, body=bytes.fromhex(reply.body.decode()))


def as_pem(reply: Reply) -> Reply:
    revocations = x509.load_der_x509_crl(bytes.fromhex(reply.body.decode()))
    return replace(reply, body=revocations.public_bytes(Encoding.PEM))


@pytest.mark.parametrize(
    "forms",
    [
        {"": in_gzip},
        {ROOT_CRL: as_der},
        {ROOT_CRL: as_pem},
        {PCK_CRL: lambda reply: replace(reply, body=reply.body.hex().upper().encode())},
    ],
)
async def test_other_forms_of_the_same_answer(
    forms: dict[str, Fault], services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    services.faults = forms
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert (judged(found).overall, found.notes) == ("dev-pass", ())


async def test_expired_documents_are_never_used(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    services.ahead = -40 * 86_400
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert found.collateral is None and found.ocsp == () and found.nras is None
    assert "another time" in texts(found)
    assert words(judged(found))["tdx.tcb"] == "not_checked"


async def test_an_answer_issued_while_we_ask_is_not_from_the_future(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    services.faults = {NRAS: answering(403)}
    start = int(time.time())
    services.ahead = 3600 + 30  # the revocation answers begin an hour before the service's clock
    found = await collect(EVIDENCE, now=start, sources=sources, cache=shelf)
    assert start + 30 <= found.now <= start + 60, texts(found)
    assert words(judged(found))["gpu0.revocation"] == words(judged(found))["tdx.tcb"] == "pass"
    services.ahead = 3600 + 90
    start = int(time.time())
    found = await collect(EVIDENCE, now=start, sources=sources, cache=Shelf())
    assert (found.now, found.ocsp) == (start, ()) and "outside its validity" in texts(found)


async def test_a_kept_document_serves_while_the_service_does_not_until_it_ends(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    first = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    shelf.age(25 * 3600 + 600)
    services.faults = {"": answering(503)}
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert found.collateral == first.collateral and found.ocsp == first.ocsp
    assert "used the one of 25 h ago" in texts(found)
    assert words(judged(found))["tdx.tcb"] == "pass"
    later = NOW + 31 * 86_400
    found = await collect(EVIDENCE, now=later, sources=sources, cache=shelf)
    assert found.collateral is None and found.ocsp == ()
    assert words(judged(found))["tdx.tcb"] == "not_checked"


async def test_intels_documents_are_asked_for_daily_and_manifests_once(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    before = services.asked.copy()
    shelf.age(25 * 3600)
    await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    asked = services.asked - before
    assert {path for path in asked if path.startswith(RIM)} == set()
    assert {TCB, QE, PCK_CRL, ROOT_CRL, OCSP} <= set(asked)


async def test_a_new_revision_of_a_manifest_is_fetched_before_anybody_is_blamed(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    """NVIDIA re-issues manifests under an old id (attestation.md 9.3, trap 28)."""
    other = Evidence("report", LAB.body(replace(MACHINE, wrong_measurement=3)))
    await collect(other, now=NOW, sources=sources, cache=shelf)
    fetched = {path: n for path, n in services.asked.items() if path.startswith(RIM)}
    assert set(fetched.values()) == {1}, "fresh ones are not asked for twice"
    shelf.age(2 * 3600)
    await collect(other, now=NOW, sources=sources, cache=shelf)
    again = {path: n for path, n in services.asked.items() if path.startswith(RIM)}
    assert set(again.values()) == {2}
    await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert {p: n for p, n in services.asked.items() if p.startswith(RIM)} == again


async def test_a_key_set_from_before_the_rotation_is_replaced(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    stranger = Lab(b"yesterday's keys").nvidia.key_set()
    stranger["keys"][0]["kid"] = "yesterday"
    services.faults[JWKS] = answering(200, json.dumps(stranger).encode())
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert found.nras is None and "not in the key set" in texts(found)
    services.faults = {}
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert words(judged(found))["nras.GPU-1"] == "pass"
    assert services.asked[NRAS] == 1, "the token was kept"


async def test_nvidias_bad_word_about_the_evidence_is_passed_on(
    sources: Sources, shelf: Shelf
) -> None:
    other = Evidence("report", LAB.body(replace(MACHINE, wrong_measurement=3)))
    found = await collect(other, now=NOW, sources=sources, cache=shelf)
    report = reports.judge(other, Context(anchors=LAB.anchors, **found.context))
    assert words(report)["nras.result"] == words(report)["gpu0.measurements"] == "fail"


async def test_nobody_sends_our_requests_out_about_roots_of_their_own(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    strangers = Lab(b"somebody else's roots")
    evidence = Evidence("report", strangers.body(MACHINE))
    found = await collect(evidence, now=NOW, sources=sources, cache=shelf)
    asked = set(services.asked)
    assert {path for path in asked if not path.startswith(RIM)} == set()
    assert "pinned root" in texts(found)


async def test_an_unknown_platform_is_not_known_to_intel(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    services.faults[TCB] = answering(404, b"")
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    (note,) = [note for note in found.notes if note["source"] == "tcb_info"]
    assert (note["key"], note["text"]) == ("D0C06F000000", "status 404")


async def test_a_responder_that_knows_nothing_is_no_fault_of_the_device(
    services: Faulty, sources: Sources, shelf: Shelf
) -> None:
    services.faults[OCSP] = lambda reply: replace(reply, body=bytes.fromhex("30030a0106"))
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert found.ocsp == () and "unauthorized" in texts(found)
    assert words(judged(found))["gpu0.revocation"] == "not_checked"


async def test_our_clock_is_compared_with_intels(
    sources: Sources, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attestation.sources import fetch

    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=shelf)
    assert "clock" not in texts(found)
    monkeypatch.setattr(fetch, "now", lambda: time.time() + 3600)
    found = await collect(EVIDENCE, now=NOW, sources=sources, cache=Shelf())
    (seconds,) = re.findall(r"clock is (\d+) s ahead of Intel's", texts(found))
    assert abs(int(seconds) - 3600) <= 2


async def test_all_services_gone_costs_seconds_and_says_so(shelf: Shelf) -> None:
    gone = "http://127.0.0.1:9"
    sources = Sources(gone, gone, gone, gone, LAB.anchors, pauses=(0.0,))
    closed = replace(sources, policy=replace(sources.policy, allow_private=True))
    for given, said in ((closed, "no connection"), (sources, "not a public address")):
        found = await collect(EVIDENCE, now=NOW, sources=given, cache=shelf)
        assert found.context == {
            "now": NOW, "collateral": None, "rims": {}, "ocsp": (), "nras": None, "jwks": None
        }  # fmt: skip
        assert said in texts(found) or "port 9" in texts(found)


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the vectors lie in ../shared, which is absent")
@pytest.mark.parametrize("name", ["real/0g-broker", "real/0g-llm", "real/near-direct-8gpu"])
async def test_recorded_collateral_comes_back_byte_for_byte(name: str, shelf: Shelf) -> None:
    case = Case(name)
    recorded = case.context().collateral
    assert recorded is not None
    with serving(Recorded(as_pcs(recorded)), trust.VENDOR) as sources:
        found = await collect(case.evidence, now=case.fields["now"], sources=sources, cache=shelf)
    assert found.collateral == {name: _hex(value) for name, value in recorded.items()}, texts(found)
    given = replace(case.context(), collateral=found.collateral)
    assert reports.judge(case.evidence, given) == case.judge()


def as_pcs(given: Any) -> dict[str, Reply]:
    """The four answers that this collateral was once made of."""

    def signed(name: str, member: str, header: str) -> Reply:
        body = f'{{"{member}":{given[name]},"signature":"{_hex(given[name + "_signature"])}"}}'
        return Reply(200, body.encode(), headers={header: quote(given[f"{name}_issuer_chain"])})

    chain = {"SGX-PCK-CRL-Issuer-Chain": quote(given["pck_crl_issuer_chain"])}
    return {
        TCB: signed("tcb_info", "tcbInfo", "TCB-Info-Issuer-Chain"),
        QE: signed("qe_identity", "enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain"),
        PCK_CRL: Reply(200, bytes.fromhex(_hex(given["pck_crl"])), headers=chain),
        ROOT_CRL: Reply(200, _hex(given["root_ca_crl"]).encode()),
    }


def _hex(value: Any) -> str:
    """Some recorded documents hold bytes as lists of numbers."""
    return bytes(value).hex() if isinstance(value, list) else str(value)


def test_the_evidence_of_this_module_holds_what_is_asked_about() -> None:
    payload = json.loads(json.loads(EVIDENCE.body)["nvidia_payload"])
    assert len(payload["evidence_list"]) == 2
    assert base64.b64decode(payload["evidence_list"][0]["certificate"]).count(b"BEGIN") == 5

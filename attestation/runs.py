"""One run on its way into the database and back: what was judged, by what, with which result.

A stored run can be judged again to the same rows: `evidence_of` and `context_of` give exactly
what the engine was given, `attestation.bundle` the same as a file.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import or_
from typing import Any

import dcap_qvl
from django.db.models import Q
from eth_utils.address import to_checksum_address

from attestation import published, trust
from attestation.engine import exchange, policy, references
from attestation.engine.evidence import Context, Evidence
from attestation.engine.verdicts import FAIL, NOT_PROVIDED, PASS, WARN, Report
from attestation.models import Document, Endpoint, Outcome, Trigger, Verification
from attestation.selectors import ServiceKey
from attestation.sources.records import Note, Reference
from protocol.addresses import is_address

#: Bump when the engine's rules change: a stored verdict names the rules it was made by.
ENGINE = f"6 dcap-qvl {dcap_qvl.__version__}"
#: A stranger's values in `facts` beyond this many are cut: they are for the page, nothing rests
#: on them.
MAX_VALUES = 20_000
#: Which answers stand in which column.
_REFERENCES = {
    "collateral": ("tcb_info", "qe_identity", "pck_crl", "root_crl"),
    "rims": ("rim",),
    "ocsp": ("ocsp",),
    "nras": ("nras",),
    "jwks": ("jwks",),
}
_HEX = re.compile(r"[0-9a-f]*")
#: Verdicts of an exchange that say who signed.
_SAID = (PASS, WARN, FAIL)
_NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Draft:
    """A finished run before it is written. `evidence` is None where none was handed over; `mute`:
    see `asking.Asked`."""

    endpoint: Endpoint
    trigger: Trigger
    started_at: dt.datetime
    finished_at: dt.datetime
    outcome: Outcome
    context: Context
    report: Report
    evidence: Evidence | None = None
    references: tuple[Reference, ...] = ()
    notes: tuple[Note, ...] = ()
    #: The word where the report holds none: of services that hand over nothing.
    overall: str = ""
    mute: bool = False
    #: Columns that only this kind of run has.
    columns: Mapping[str, Any] = field(default_factory=dict)


def store(draft: Draft) -> Verification:
    """Write a run and the documents it rests on; call it inside a transaction."""
    run = Verification(
        endpoint=draft.endpoint,
        trigger=draft.trigger,
        started_at=draft.started_at,
        finished_at=draft.finished_at,
        outcome=draft.outcome,
        hash_version=published.HASH_VERSION,
        **clean(dict(draft.columns)),  # headers and words of a stranger are among them
    )
    _context_columns(run, draft.context)
    # Content-addressed: most of them are there already.
    Document.keep_all(_input_columns(run, draft.context, draft.evidence))
    for column, sources in _REFERENCES.items():
        setattr(run, column, [r for r in draft.references if r["source"] in sources])
    run.notes = clean(list(draft.notes))
    if draft.outcome != Outcome.UNREACHABLE:
        _result_columns(run, draft.report)
        run.overall = draft.overall or draft.report.overall
    run.content_hash = content_hash(run)
    run.save(force_insert=True)
    return run


def evidence_of(run: Verification) -> Evidence | None:
    """What was judged; None where the provider handed over nothing."""
    if run.body is None:
        return None
    chain = b"" if run.chain_pem is None else bytes(run.chain_pem.body)
    return Evidence(run.evidence_kind, bytes(run.body.body), chain)  # type: ignore[arg-type]


def context_of(run: Verification) -> Context:
    """What it was judged with, under the anchors of this installation (1 query)."""
    inputs = run.inputs
    rims = inputs.get("rims")
    names = ("collateral", "nras", "jwks", "challenge", "references")
    single = [inputs[name] for name in names if inputs.get(name)]
    hashes = {*single, *inputs.get("ocsp", ()), *(rims or {}).values()}
    bodies = {
        sha256: bytes(body)
        for sha256, body in Document.objects.filter(pk__in=hashes).values_list("sha256", "body")
    }

    published_by = inputs.get("references")

    def parsed(name: str) -> Any:
        return json.loads(bodies[inputs[name]]) if inputs.get(name) else None

    return Context(
        now=run.now_unix,
        anchors=trust.anchors(),
        policy=references.load(bodies[published_by]) if published_by else policy.DEFAULT,
        collateral=parsed("collateral"),
        rims=None if rims is None else {id: bodies[sha256] for id, sha256 in rims.items()},
        ocsp=[bodies[sha256] for sha256 in inputs.get("ocsp", ())],
        nras=parsed("nras"),
        jwks=parsed("jwks"),
        challenge=parsed("challenge"),
        declared_images=tuple(inputs.get("declared_images") or ()),
        onchain_signer=run.onchain_signer or None,
        acknowledged=run.acknowledged,
        nonce=run.nonce or None,
        accepts_nonce=run.accepts_nonce,
        tls_fingerprint=run.tls_fingerprint or None,
        body_signature=run.body_signature if run.signs_body else None,
    )


def failed_exchange(
    key: ServiceKey, endpoint: str, signer: object, since: dt.datetime
) -> dict[str, Any] | None:
    """The exchange, made after `since`, that `signer` failed last, unless a later one said better
    (at most 2 queries). `inputs` of later runs may hold it, too.
    """
    said = (Q(rows__contains=[{"id": exchange.ID, "verdict": word}]) for word in _SAID)
    newest = (
        Verification.objects.filter(reduce(or_, said), **key._asdict(), endpoint=endpoint)
        .filter(started_at__gte=since)
        .order_by("-started_at", "-pk")
        .only("rows", "inputs")
        .first()
    )
    if newest is None:
        return None
    (row,) = (row for row in newest.rows if row["id"] == exchange.ID)
    if row["verdict"] != FAIL or row["expected"] != signer:
        return None
    body = Document.objects.values_list("body", flat=True).get(pk=newest.inputs["challenge"])
    given: dict[str, Any] = json.loads(bytes(body))
    return given if dt.datetime.fromisoformat(given["at"]) >= since else None


def content_hash(run: Verification) -> str:
    """SHA-256 over what is published about the run, by the version it was stored with."""
    return published.hash_of(published.document(run))


def document(run: Verification) -> dict[str, Any]:
    """What is published about a stored run, with its hash."""
    return {**published.document(run), published.HASH: run.content_hash}


def unstored(evidence: Evidence, context: Context, report: Report) -> Verification:
    """A run's columns for a verdict made here, never written: to compare with a published one."""
    run = Verification(started_at=_NEVER, finished_at=_NEVER, outcome=Outcome.JUDGED)
    _context_columns(run, context)
    _input_columns(run, context, evidence)
    _result_columns(run, report)
    run.overall = report.overall
    return run


def clean(value: Any) -> Any:
    """A value that JSON and PostgreSQL can hold: no NUL, no half of a character, no NaN."""
    return _Cleaner().clean(value)


class _Cleaner:
    def __init__(self) -> None:
        self.left = MAX_VALUES

    def clean(self, value: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            return "…"
        match value:
            case str():
                return _text(value)
            case bool() | int() | None:
                return value
            case float():
                # As text: a database and other languages write the same number in other ways, and
                # the content hash has to be the same for all.
                return str(value)
            case bytes():
                return value.hex()
            case Mapping():
                return {_text(str(key)): self.clean(item) for key, item in value.items()}
            case list() | tuple() | set():
                return [self.clean(item) for item in value]
            case dt.datetime():
                return value
        return _text(str(value))


def _text(value: str) -> str:
    whole = value.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _context_columns(run: Verification, context: Context) -> None:
    run.now_unix = context.now
    run.nonce = _text(context.nonce or "")[:66]
    run.accepts_nonce = context.accepts_nonce
    run.onchain_signer = context.onchain_signer or ""
    run.acknowledged = context.acknowledged
    run.tls_fingerprint = _text(context.tls_fingerprint or "")[:66]
    run.signs_body = context.body_signature is not None
    run.body_signature = _text(context.body_signature or "")[:200]


def _input_columns(
    run: Verification, context: Context, evidence: Evidence | None
) -> tuple[bytes, ...]:
    """Set the hashes of evidence and inputs; what they are the hashes of."""
    bodies = list[bytes]()

    def kept(body: bytes) -> str:
        bodies.append(body)
        return hashlib.sha256(body).hexdigest()

    def json_kept(value: Any) -> str | None:
        return None if value is None else kept(published.canonical(value))

    rims = context.rims
    run.inputs = {
        "collateral": json_kept(None if context.collateral is None else dict(context.collateral)),
        "rims": None if rims is None else {id: kept(xml) for id, xml in sorted(rims.items())},
        "ocsp": [kept(answer) for answer in context.ocsp],
        "nras": json_kept(context.nras),
        "jwks": json_kept(context.jwks),
        "challenge": json_kept(None if context.challenge is None else dict(context.challenge)),
    }
    # Named only where there are any, so that runs without are what they always were.
    if context.policy.references is not None:
        run.inputs["references"] = kept(context.policy.references.body)
    if context.declared_images:
        run.inputs["declared_images"] = list(context.declared_images)
    if evidence is not None:
        run.evidence_kind = evidence.kind
        run.body_id = kept(evidence.body)
        if evidence.chain_pem:
            run.chain_pem_id = kept(evidence.chain_pem)
    return tuple(bodies)


def _result_columns(run: Verification, report: Report) -> None:
    run.report_kind = report.kind
    run.development = report.development
    run.questions = dict(report.questions())
    run.rows = [clean(asdict(row)) for row in report.checks]
    run.facts = clean(report.facts)
    run.engine_version = ENGINE
    run.policy_version = policy.VERSION
    _identities(run, report)


def _identities(run: Verification, report: Report) -> None:
    """What names machine, key and software: only from evidence that the hardware really signed."""
    run.gpu_serials = sorted(_gpu_serials(report))
    ours = ("tdx.sig", "tdx.att_key", "tdx.qe_sig")
    signed = all(map(report.passed, ours)) and report.find("tdx.pck_chain") is not None
    if not signed or report.overall == NOT_PROVIDED or report.questions()["hardware"] == "fail":
        return
    facts = report.facts
    run.ppid = _hex(facts.get("ppid"), 64)
    run.mr_td = _hex(facts.get("mr_td"), 96)
    run.signed_range_hash = _hex(facts.get("signed_range_sha256"), 64)
    signer = facts.get("signer")
    if isinstance(signer, str) and is_address(signer):
        run.attested_signer = to_checksum_address(signer)
    for id in ("dstack.compose", "ccel.compose"):
        row = report.find(id)
        if row is not None and row.verdict == "pass":
            run.compose_hash = _hex(row.expected, 96)


def _gpu_serials(report: Report) -> set[str]:
    found = set()
    for name, fact in report.facts.items():
        genuine = report.passed(f"{name}.chain") and report.passed(f"{name}.sig")
        if re.fullmatch(r"gpu\d+", name) and genuine and isinstance(fact.get("ueid"), str):
            found.add(_text(fact["ueid"])[:80])
    return found


def _hex(value: Any, most: int) -> str:
    whole = isinstance(value, str) and len(value) <= most and _HEX.fullmatch(value)
    return value if whole else ""

"""Intel's Provisioning Certification Service v4, or a cache (PCCS) that speaks it
(attestation.md 5).
"""

from __future__ import annotations

import asyncio
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.engine import certificates, collateral, tcb
from attestation.engine.anchors import Anchors
from attestation.engine.collateral import Collateral, PcsAnswers
from attestation.engine.evidence import Context
from attestation.engine.limits import JSON
from attestation.sources.fetch import Request
from attestation.sources.needs import Platform
from attestation.sources.obtain import Retriever, Unusable
from attestation.sources.records import INTEL_PCS, Answer
from net import strictjson
from net.errors import BadAnswer

TCB_CHAIN = "TCB-Info-Issuer-Chain"
QE_CHAIN = "SGX-Enclave-Identity-Issuer-Chain"
PCK_CHAIN = "SGX-PCK-CRL-Issuer-Chain"
_INTEL_ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
_MAX_BYTES = 1 << 20
#: An answer's shape is a stranger's even where its host is Intel's.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, BadAnswer)


async def collateral_for(
    platform: Platform, retriever: Retriever, base: str, anchors: Anchors
) -> dict[str, str] | None:
    """The nine members that dcap-qvl takes, all current at the retriever's time and signed as they
    should be; None with notes otherwise.
    """
    requests = (
        Request(
            "tcb_info",
            platform.fmspc,
            f"{base}/tdx/certification/v4/tcb?fmspc={platform.fmspc}",
            max_bytes=_MAX_BYTES,
            headers_kept=(TCB_CHAIN,),
        ),
        Request(
            "qe_identity",
            "",
            f"{base}/tdx/certification/v4/qe/identity",
            max_bytes=_MAX_BYTES,
            headers_kept=(QE_CHAIN,),
        ),
        Request(
            "pck_crl",
            platform.authority,
            f"{base}/sgx/certification/v4/pckcrl?ca={platform.authority}&encoding=der",
            max_bytes=_MAX_BYTES,
            headers_kept=(PCK_CHAIN,),
        ),
        Request("root_crl", "", _root_crl_url(base), max_bytes=_MAX_BYTES),
    )
    found = await asyncio.gather(*(retriever.obtain(request, _window) for request in requests))
    tcb_info, qe_identity, pck_crl, root_crl = found
    if not tcb_info or not qe_identity or not pck_crl or not root_crl:
        return None
    try:
        built = build(tcb_info, qe_identity, pck_crl, root_crl)
        wrong = problem(built, anchors, retriever.now)
    except _MALFORMED as error:
        built, wrong = {}, f"unreadable: {str(error)[:120]}"
    if wrong:
        retriever.note("collateral", platform.fmspc, f"Intel's documents were not used: {wrong}")
        return None
    retriever.use(tcb_info, qe_identity, pck_crl, root_crl)
    return built


def build(
    tcb_info: Answer, qe_identity: Answer, pck_crl: Answer, root_crl: Answer
) -> dict[str, str]:
    """The collateral document of four raw answers. Raises one of _MALFORMED."""
    return collateral.build(
        PcsAnswers(
            tcb_info=(tcb_info.body or b"").decode(),
            tcb_info_chain=tcb_info.headers[TCB_CHAIN],
            qe_identity=(qe_identity.body or b"").decode(),
            qe_identity_chain=qe_identity.headers[QE_CHAIN],
            pck_crl=revocation_list(pck_crl.body or b""),
            pck_crl_chain=pck_crl.headers[PCK_CHAIN],
            root_crl=revocation_list(root_crl.body or b""),
        )
    )


def problem(built: Collateral, anchors: Anchors, now: int) -> str | None:
    """Why the documents cannot be judged by at `now`, or None. Raises one of _MALFORMED.

    A document of ours that is badly signed must not turn a provider's rows red.
    """
    start, end = collateral.window(built)
    if not start <= certificates.at(now) <= end:
        return f"valid together from {start:%Y-%m-%d} to {end:%Y-%m-%d} only"
    context = Context(now=now, anchors=anchors, collateral=built)
    for name in ("tcb_info", "qe_identity"):
        wrong = tcb.problem(built, name, collateral.parsed(built, name), context)
        if wrong:
            return f"{name}: {wrong}"
    lists = collateral.revocation_lists(built)
    roots = collateral.roots(built, anchors.intel)
    chain = certificates.load_pem(str(built["pck_crl_issuer_chain"]).encode())
    wrong = certificates.chain_problem(chain, anchors.intel, roots, lists, certificates.at(now))
    if wrong:
        return f"pck_crl: {wrong}"
    issued = certificates.load_list(collateral.octets(built["pck_crl"]))
    key = chain[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not issued.is_signature_valid(key):
        return "pck_crl: signature invalid"
    return None


def clock_ahead(answers: list[Answer]) -> int | None:
    """By how many seconds our clock is ahead of the newest answer's `Date`; None without one."""
    measured = [
        answer.fetched_at - answer.http_date
        for answer in answers
        if answer.http_date is not None
        and answer.source in ("tcb_info", "qe_identity", "pck_crl", "root_crl")
    ]
    return min(measured, key=abs) if measured else None


def revocation_list(body: bytes) -> bytes:
    """DER of a list sent as DER, PEM or hex: caches differ. Raises ValueError."""
    if body[:1] == b"\x30":
        return body
    if body.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_crl(body).public_bytes(Encoding.DER)
    return bytes.fromhex(body.decode().strip().strip('"'))


def _root_crl_url(base: str) -> str:
    """Intel keeps it on another host; a cache serves it itself."""
    return _INTEL_ROOT_CRL if base == INTEL_PCS else f"{base}/sgx/certification/v4/rootcacrl"


def _window(answer: Answer) -> tuple[int, int]:
    try:
        if answer.source in ("pck_crl", "root_crl"):
            return _list_window(answer)
        return _document_window(answer)
    except Unusable:
        raise
    except _MALFORMED as error:
        raise Unusable(f"not readable: {str(error)[:120] or type(error).__name__}") from None


def _list_window(answer: Answer) -> tuple[int, int]:
    issued = certificates.load_list(revocation_list(answer.body or b""))
    until = issued.next_update_utc
    if until is None:
        raise Unusable("a revocation list without an end")
    if answer.source == "pck_crl" and not answer.headers.get(PCK_CHAIN):
        raise Unusable(f"the answer has no {PCK_CHAIN}")
    return int(issued.last_update_utc.timestamp()), int(until.timestamp())


def _document_window(answer: Answer) -> tuple[int, int]:
    tcb_info = answer.source == "tcb_info"
    outer: Any = strictjson.loads(answer.body or b"", JSON)
    inner = outer["tcbInfo" if tcb_info else "enclaveIdentity"]
    kind = "TDX" if tcb_info else "TD_QE"
    if inner["id"] != kind:
        raise Unusable(f"a document about {str(inner['id'])[:20]!r}, not {kind!r}")
    if tcb_info and inner["fmspc"].upper() != answer.key:
        raise Unusable(f"a document about FMSPC {inner['fmspc'][:20]!r}")
    if not answer.headers.get(TCB_CHAIN if tcb_info else QE_CHAIN):
        raise Unusable("the answer has no issuer chain in its headers")
    start, end = (collateral.moment(inner[name]) for name in ("issueDate", "nextUpdate"))
    return int(start.timestamp()), int(end.timestamp())

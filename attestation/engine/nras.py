"""Tokens of NVIDIA's hosted verifier: a detached EAT of ES384 JWTs (attestation.md 9.5)."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.engine import certificates
from attestation.engine.evidence import Context, excerpt, nested
from attestation.engine.limits import MAX_GPUS, MAX_TOKEN_BYTES, check
from attestation.engine.verdicts import FAIL, NOT_CHECKED, NOT_PROVIDED, PASS, Report
from net.marks import N_

GROUP = N_("NVIDIA service")
_OVERALL_TITLE = N_("Overall token signed by NVIDIA and current")
_ALGORITHM = "ES384"
CLOCK_SKEW_SECONDS = 300
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MEASURED = ("success", "comparison-successful")
#: What a token, a key or a document of another form can raise on the way.
_MALFORMED = (
    jwt.PyJWTError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError,
)  # fmt: skip


def verify(
    context: Context, report: Report, *, nonce: str | None = None, gpus: int | None = None
) -> None:
    """Judge the stored token list by the key set stored with it.

    `nonce`: the one the evidence was sent with; `gpus`: how many GPUs it named.
    """
    if not context.nras:
        report.add("nras.token", GROUP, N_("NRAS token"), NOT_PROVIDED)
        return
    keys = context.jwks.get("keys") if isinstance(context.jwks, dict) else None
    if not keys:
        report.add(
            "nras.token",
            GROUP,
            _OVERALL_TITLE,
            NOT_CHECKED,
            detail=N_("no key set stored with this token (keys rotate about every 2 days)"),
            source="NRAS JWKS",
        )
        return
    try:
        overall, parts = _split(context.nras)
        claims, signer = _decode(overall, keys, context)
    except _MALFORMED as error:
        report.add("nras.token", GROUP, _OVERALL_TITLE, FAIL, got=excerpt(error), source="NRAS JWT")
        return
    report.add(
        "nras.token",
        GROUP,
        _OVERALL_TITLE,
        PASS,
        got=f"{claims['iss']} by {signer}, version {claims.get('x-nvidia-ver')}",
        source="NRAS JWT and JWKS",
    )
    result = "x-nvidia-overall-att-result"
    report.compare(
        "nras.result",
        GROUP,
        N_("NVIDIA's overall verdict"),
        True,
        claims.get(result),
        source=result,
    )
    if nonce:
        report.compare(
            "nras.nonce",
            GROUP,
            N_("Token is for our nonce"),
            nonce.lower(),
            claims.get("eat_nonce"),
            source="eat_nonce",
        )
    _submodules(claims.get("submods", {}), parts, gpus, report)
    for name, token in parts.items():
        _gpu(name, token, keys, context, report)


def _split(given: Any) -> tuple[str, dict[str, str]]:
    """The overall token and the tokens by GPU name. Raises one of _MALFORMED."""
    document = nested(given)
    overall, parts = document[0][1], document[1]
    if not isinstance(parts, dict) or not all(_NAME.fullmatch(name) for name in parts):
        raise ValueError("per-GPU tokens are not named as we know them")
    check("tokens", len(parts), 2 * MAX_GPUS)
    for token in (overall, *parts.values()):
        if not isinstance(token, str):
            raise TypeError("a token is not a text")
        check("token bytes", len(token), MAX_TOKEN_BYTES)
    return overall, parts


def _decode(token: str, keys: Any, context: Context) -> tuple[dict[str, Any], str]:
    """Claims of an authentic token and its signer's name. Raises one of _MALFORMED."""
    header = jwt.get_unverified_header(token)
    if header.get("alg") != _ALGORITHM:  # never let the token choose: none, HS256 …
        raise jwt.InvalidAlgorithmError(str(header.get("alg")))
    entry = next((key for key in keys if key["kid"] == header.get("kid")), None)
    if entry is None:
        raise KeyError(f"kid {header.get('kid')} not in the key set (keys rotate every 2 days)")
    key, signer = jwt.PyJWK(entry, algorithm=_ALGORITHM).key, ""
    if entry.get("x5c"):
        certificate = certificates.load_der(base64.b64decode(entry["x5c"][0]))
        named = certificate.public_key()
        same = (
            isinstance(named, ec.EllipticCurvePublicKey)
            and named.public_numbers() == key.public_numbers()
        )
        if not same:
            raise ValueError("x5c[0] is a different key than the JWK")
        signer = certificates.subject(certificate, 200)
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=[_ALGORITHM],
        issuer=context.anchors.nras_issuer,
        # The window is judged at the verification's own time, not by the wall clock.
        options={
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "require": ["exp", "iat", "iss"],
        },
    )
    if not claims["iat"] - CLOCK_SKEW_SECONDS <= context.now <= claims["exp"]:
        raise jwt.ExpiredSignatureError(f"valid from {claims['iat']} to {claims['exp']}")
    return claims, signer


def _submodules(named: Any, parts: dict[str, str], gpus: int | None, report: Report) -> None:
    """The digests are over the ASCII tokens."""
    try:
        right = (
            set(named) == set(parts)
            and gpus in (None, len(parts))
            and all(
                hashlib.sha256(parts[name].encode()).hexdigest() == named[name][1][1]
                for name in named
            )
        )
    except (TypeError, KeyError, IndexError):
        right = False
    report.add(
        "nras.submods",
        GROUP,
        N_("Per-GPU tokens are the ones the overall token names"),
        PASS if right else FAIL,
        expected=f"{gpus or len(parts)} GPU(s)",
        got=", ".join(sorted(parts)),
        source="submods digests",
    )


def _gpu(name: str, token: str, keys: Any, context: Context, report: Report) -> None:
    try:
        claims, _ = _decode(token, keys, context)
    except _MALFORMED as error:
        report.add(
            f"nras.{name}", GROUP, N_("%(name)s token") % {"name": name}, FAIL, got=excerpt(error)
        )
        return
    truths = {claim: value for claim, value in claims.items() if isinstance(value, bool)}
    for claim, value in claims.items():
        if isinstance(value, dict) and "x-nvidia-cert-status" in value:
            truths[claim] = (
                value["x-nvidia-cert-status"] == "valid"
                and value.get("x-nvidia-cert-ocsp-status") == "good"
            )
    wrong = [claim for claim, value in truths.items() if not value]
    measured = claims.get("measres")
    if measured not in _MEASURED:
        wrong.append(f"measres={measured}")
    if claims.get("dbgstat") != "disabled":
        wrong.append(f"dbgstat={claims.get('dbgstat')}")
    driver = claims.get("x-nvidia-gpu-driver-version")
    vbios = claims.get("x-nvidia-gpu-vbios-version")
    report.add(
        f"nras.{name}",
        GROUP,
        f"{name}: {claims.get('hwmodel')} driver {driver} VBIOS {vbios}",
        FAIL if wrong else PASS,
        expected="all claims true",
        got=", ".join(wrong) or f"{len(truths)} claims true, measurements {measured}",
        detail=str(claims.get("x-nvidia-attestation-warning") or ""),
        source="NRAS per-GPU JWT",
    )

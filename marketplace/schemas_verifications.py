"""JSON shapes of verifications (interfaces.md 3); words and rows are the engine's own."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from ninja import Field, Schema

from marketplace.schemas import Address, Instant

Sha256 = str


class VerificationEntry(Schema):
    """One run in a service's history; `overall` is empty where nobody answered."""

    id: uuid.UUID
    endpoint: str = Field(description="whose evidence: `broker`, `model` or `upload`")
    trigger: str = Field(description="why it was made: listed, changed, schedule, asked …")
    outcome: Literal["judged", "unreachable", "refused"]
    error: str
    started_at: Instant
    finished_at: Instant
    overall: str
    development: bool
    questions: dict[str, str]
    block: int | None = Field(description="at which the chain's values were read")
    changed: list[str] = Field(description="questions answered otherwise than the time before")


class CheckOut(Schema):
    """One row: what was expected, what was there, which bytes say so."""

    id: str
    group: str
    title: str
    verdict: Literal["pass", "warn", "fail", "not_provided", "not_checked"]
    expected: Any
    got: Any
    detail: str
    source: str
    required: bool = Field(description="only these decide `overall`")


class ReferenceOut(Schema):
    """An answer of an outside service that the verdict rests on."""

    source: str
    key: str
    sha256: Sha256
    url: str
    fetched_at: int = Field(description="unix seconds")


class MissingOut(Schema):
    """What could not be had, and why."""

    source: str
    key: str
    text: str


class ChainValues(Schema):
    """What the chain said when the verdict was made."""

    block: int | None
    tee_signer: Address | None
    tee_signer_acknowledged: bool | None
    additional_info: str


class VerificationOut(Schema):
    """One stored run: never made again from anything else. `kind` is empty for uploads."""

    id: uuid.UUID
    kind: str
    provider: str
    service_name: str
    endpoint: str
    trigger: str
    declared: str = Field(description="tee, separated, centralized, standard, opml or zkml")
    outcome: Literal["judged", "unreachable", "refused"]
    error: str
    started_at: Instant
    finished_at: Instant
    now_unix: int = Field(description="the moment that every validity window was judged at")
    url: str
    status: int = Field(description="HTTP status; 0 = no answer came")
    http_date: Instant | None
    nonce: str
    accepts_nonce: bool = Field(description="the endpoint is known to put our nonce into evidence")
    tls_fingerprint: str
    signs_body: bool = Field(description="a signature over the whole body was asked for")
    body_signature: str
    chain: ChainValues
    evidence_kind: str = Field(description="report, gpu or gpu-payload")
    evidence_sha256: Sha256 | None
    chain_pem_sha256: Sha256 | None
    inputs: dict[str, Any] = Field(
        description="documents it was judged with, by the SHA-256 of their bytes or canonical JSON"
    )
    report_kind: str = Field(description="shape of the report")
    overall: str
    development: bool
    questions: dict[str, str]
    checks: list[CheckOut]
    facts: dict[str, Any]
    attested_signer: str
    ppid: str
    gpu_serials: list[str]
    compose_hash: str
    mr_td: str
    signed_range_hash: str
    references: list[ReferenceOut]
    notes: list[MissingOut]
    engine_version: str
    policy_version: int
    hash_version: int = Field(description="1: checks and inputs; 2: this whole answer but the hash")
    content_hash: Sha256

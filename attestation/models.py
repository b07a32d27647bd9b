"""Evidence and verdicts: raw bytes once, one row per run, one current word per service.

Nothing here is ever rewritten to say something else: a `Verification` is what one run found with
the documents it names, at its own moment (`now_unix`); `Standing` is derived and replaced.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from typing import ClassVar

from django.db import models
from django.db.models import Q

from chain.fields import AddressField, NeuronField

#: Characters of a service contract's name that we keep; longer ones exist in no registry we know.
MAX_SERVICE_NAME = 200


class Document(models.Model):
    """Bytes as they were received, kept once under their SHA-256."""

    sha256 = models.CharField(primary_key=True, max_length=64, help_text="lower-case hex")
    body = models.BinaryField()
    size = models.IntegerField(help_text="bytes")

    def __str__(self) -> str:
        return f"{self.sha256[:16]} ({self.size} bytes)"

    @staticmethod
    def keep(body: bytes) -> Document:
        """The row that holds these bytes, written if it is new."""
        (document,) = Document.keep_all([body])
        return document

    @staticmethod
    def keep_all(bodies: Iterable[bytes]) -> list[Document]:
        """The rows that hold these bytes, in their order (at most 2 queries)."""
        found = [
            Document(sha256=hashlib.sha256(body).hexdigest(), body=body, size=len(body))
            for body in bodies
        ]
        rows = {document.sha256: document for document in found}
        held = set(Document.objects.filter(pk__in=rows).values_list("sha256", flat=True))
        # With equal bytes at the same moment both writers just go on; in one order, so that they
        # never wait for each other in a circle.
        new = [rows[sha256] for sha256 in sorted(rows.keys() - held)]
        Document.objects.bulk_create(new, ignore_conflicts=True)
        return found


class Source(models.TextChoices):
    """Which outside service answered."""

    TCB_INFO = "tcb_info"
    QE_IDENTITY = "qe_identity"
    PCK_CRL = "pck_crl"
    ROOT_CRL = "root_crl"
    RIM = "rim"
    OCSP = "ocsp"
    JWKS = "jwks"
    NRAS = "nras"


class Retrieval(models.Model):
    """One answer of an outside service; the newest that is still valid is the cache."""

    source = models.CharField(max_length=12, choices=Source.choices)
    key = models.CharField(
        max_length=160,
        default="",
        blank=True,
        help_text="FMSPC, CA, RIM id, certificate fingerprint or nonce; empty where one exists",
    )
    url = models.TextField()
    fetched_at = models.DateTimeField()
    http_date = models.DateTimeField(null=True)
    status = models.IntegerField(default=0, help_text="HTTP status; 0 = no answer came")
    headers = models.JSONField(default=dict)
    document = models.ForeignKey(Document, null=True, on_delete=models.PROTECT, related_name="+")
    valid_from = models.DateTimeField(null=True)
    valid_until = models.DateTimeField(null=True)
    error = models.TextField(default="")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["source", "key", "-fetched_at"],
                name="retrieval_cached",
                condition=Q(document__isnull=False),
            ),
            models.Index(fields=["source", "key", "-fetched_at"], name="retrieval_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.key} {self.status}"


class Endpoint(models.TextChoices):
    """Whose evidence: the broker's TD, the separated model's TD, or bytes somebody uploaded."""

    BROKER = "broker"
    MODEL = "model"
    UPLOAD = "upload"


class Trigger(models.TextChoices):
    """Why a run was made."""

    LISTED = "listed"
    CHANGED = "changed"
    SCHEDULE = "schedule"
    ASKED = "asked"
    UPLOAD = "upload"
    COMMAND = "command"


class Outcome(models.TextChoices):
    """`unreachable`: no answer; `refused`: an answer without evidence; neither is a verdict."""

    JUDGED = "judged"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"


class Verification(models.Model):
    """One run, with everything its verdict depended on (attestation.md 12)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=100, default="", help_text="service kind; empty for uploads")
    provider = AddressField(default="")
    service_name = models.CharField(max_length=MAX_SERVICE_NAME, default="")
    endpoint = models.CharField(max_length=6, choices=Endpoint.choices)
    trigger = models.CharField(max_length=8, choices=Trigger.choices)
    requested_by = models.BigIntegerField(
        null=True, help_text="primary key of a user, if one asked"
    )
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    outcome = models.CharField(max_length=11, choices=Outcome.choices)
    error = models.TextField(default="", help_text="why there is no verdict, in one line")

    url = models.TextField(default="", help_text="that was asked")
    nonce = models.CharField(max_length=66, default="", help_text="hex, the one we sent")
    accepts_nonce = models.BooleanField(default=True, help_text="the endpoint documents it")
    body = models.ForeignKey(Document, null=True, on_delete=models.PROTECT, related_name="+")
    chain_pem = models.ForeignKey(
        Document, null=True, on_delete=models.PROTECT, related_name="+", help_text="one GPU only"
    )
    evidence_kind = models.CharField(
        max_length=11, default="report", help_text="report, gpu or gpu-payload"
    )
    headers = models.JSONField(default=dict)
    status = models.IntegerField(default=0, help_text="HTTP status; 0 = no answer came")
    http_date = models.DateTimeField(null=True)
    tls_fingerprint = models.CharField(max_length=66, default="", help_text="SHA-256, hex")
    signs_body = models.BooleanField(default=False, help_text="ZG-Quote-Signature is asked for")
    body_signature = models.CharField(max_length=200, default="", help_text="empty = absent")

    block = models.BigIntegerField(null=True, help_text="at which the chain's values were read")
    onchain_signer = AddressField(default="")
    acknowledged = models.BooleanField(null=True)
    additional_info = models.TextField(default="", help_text="as the chain held it")
    declared = models.CharField(max_length=12, default="", help_text="`attestation.declared.Word`")
    now_unix = models.BigIntegerField(help_text="the moment that every window was judged at")

    #: References: [{"source", "key", "sha256", "url", "fetched_at"}], documents by their hash.
    collateral = models.JSONField(default=list)
    rims = models.JSONField(null=True, help_text="NULL = not looked for")
    ocsp = models.JSONField(default=list)
    nras = models.JSONField(default=list)
    jwks = models.JSONField(default=list)
    notes = models.JSONField(default=list, help_text="what could not be had, and why")
    inputs = models.JSONField(
        default=dict,
        help_text='documents of the engine\'s context by hash: {"collateral", "rims", "ocsp", …}',
    )

    report_kind = models.CharField(max_length=40, default="", help_text="shape of the report")
    overall = models.CharField(max_length=16, default="")
    development = models.BooleanField(default=False)
    questions = models.JSONField(default=dict)
    rows = models.JSONField(default=list, help_text="asdict(Check), in order")
    facts = models.JSONField(default=dict)
    engine_version = models.CharField(max_length=40, default="")
    policy_version = models.IntegerField(default=0)
    content_hash = models.CharField(
        max_length=64, default="", help_text="SHA-256 of all that is published: `published`"
    )
    hash_version = models.PositiveSmallIntegerField(
        default=1, db_default=1, help_text="of `content_hash`"
    )

    ppid = models.CharField(max_length=64, default="", help_text="hex: which CPU package")
    gpu_serials = models.JSONField(default=list)
    attested_signer = AddressField(default="")
    compose_hash = models.CharField(max_length=96, default="")
    mr_td = models.CharField(max_length=96, default="")
    signed_range_hash = models.CharField(
        max_length=64, default="", help_text="SHA-256 of the quote's signed bytes: its identity"
    )

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["provider", "kind", "service_name", "-started_at"], name="verification_runs"
            ),
            models.Index(
                fields=["provider", "endpoint", "-started_at"],
                name="verification_judged",
                condition=Q(outcome="judged"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider or 'upload'} {self.overall or self.outcome}"


class Standing(models.Model):
    """What is known about one service now; whether it is too old is asked when it is read."""

    provider = AddressField()
    kind = models.CharField(max_length=100)
    service_name = models.CharField(max_length=MAX_SERVICE_NAME)
    serving = AddressField(help_text="the contract of that name: joins with `ledger.Service`")
    basis = models.JSONField(
        default=dict, help_text="what the chain said when it was last tried: a change is due a run"
    )
    endpoints = models.JSONField(
        default=dict,
        help_text='{"broker": {"overall", "questions", "verification", "checked_at", "error"}, …}',
    )
    verification = models.ForeignKey(
        Verification, null=True, on_delete=models.PROTECT, related_name="+", help_text="last judged"
    )
    declared = models.CharField(max_length=12, default="", help_text="`attestation.declared.Word`")
    overall = models.CharField(max_length=16, default="", help_text="empty = never judged")
    questions = models.JSONField(default=dict)
    development = models.BooleanField(default=False)
    checked_at = models.DateTimeField(null=True, help_text="of the oldest verdict it rests on")
    tried_at = models.DateTimeField(null=True)
    unreachable_since = models.DateTimeField(null=True)
    error = models.TextField(default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["provider", "kind", "service_name"], name="standing_once"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["serving", "provider"], name="standing_of_service"),
            models.Index(fields=["-updated_at"], name="standing_newest"),
            models.Index(fields=["kind", "overall", "checked_at"], name="standing_words"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.provider} {self.overall or 'never'}"


class Fact(models.TextChoices):
    """What only somebody who looks at the whole market can see."""

    REGRESSION = "regression"
    SAME_PPID = "same_ppid"
    SAME_GPU = "same_gpu"
    SIGNER_REUSED = "signer_reused"
    COMPOSE_CHANGED = "compose_changed"
    IDENTICAL_EVIDENCE = "identical_evidence"
    URL_CHANGED = "url_changed_unacknowledged"
    SIGNER_DIFFERS = "signer_differs"


class Finding(models.Model):
    """A fact with the time it began and, once it no longer holds, the time it ended."""

    kind = models.CharField(max_length=26, choices=Fact.choices)
    provider = AddressField()
    other_provider = AddressField(default="")
    service_kind = models.CharField(max_length=100)
    service_name = models.CharField(max_length=MAX_SERVICE_NAME)
    subject = models.TextField(help_text="PPID, serial, signer, hash … that it is about")
    verification = models.ForeignKey(
        Verification, null=True, on_delete=models.PROTECT, related_name="findings"
    )
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    detail = models.JSONField(default=dict)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=[
                    "kind",
                    "provider",
                    "other_provider",
                    "service_kind",
                    "service_name",
                    "subject",
                ],
                name="finding_open_once",
                condition=Q(closed_at__isnull=True),
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["provider", "-opened_at"]),
            models.Index(fields=["other_provider", "-opened_at"]),
            models.Index(
                fields=["-opened_at"], name="finding_open", condition=Q(closed_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.provider}"


class Turn(models.TextChoices):
    """Which way a verdict went: worse, or as good again as it was before that."""

    WORSE = "verification_regressed"
    RECOVERED = "verification_recovered"


class VerdictChange(models.Model):
    """A turn of a service's verdict, appended with the regression it opens or closes; the feed of
    changes shows it among those on chain (`marketplace.history`).
    """

    change = models.CharField(max_length=24, choices=Turn.choices)
    kind = models.CharField(max_length=100)
    provider = AddressField()
    service_name = models.CharField(max_length=MAX_SERVICE_NAME)
    before = models.JSONField(help_text='{"overall"}')
    after = models.JSONField(help_text='{"overall", "checks"}: ids of those that became worse')
    block = models.BigIntegerField(help_text="at which the listing was read")
    at = models.DateTimeField()
    verification = models.ForeignKey(Verification, on_delete=models.PROTECT, related_name="+")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["-block", "-id"], name="verdict_change_newest"),
            models.Index(fields=["provider", "-block", "-id"], name="verdict_change_of_provider"),
        ]

    def __str__(self) -> str:
        return f"{self.change} of {self.provider}"


class Trait(models.TextChoices):
    """What names a machine, a key or a piece of evidence."""

    PPID = "ppid"
    GPU = "gpu"
    SIGNER = "signer"
    COMPOSE = "compose"
    EVIDENCE = "evidence"


class Identity(models.Model):
    """What the newest judged evidence of one endpoint is identified by: to find it elsewhere."""

    trait = models.CharField(max_length=8, choices=Trait.choices)
    value = models.CharField(max_length=160)
    provider = AddressField()
    service_kind = models.CharField(max_length=100)
    service_name = models.CharField(max_length=MAX_SERVICE_NAME)
    endpoint = models.CharField(max_length=6, choices=Endpoint.choices)
    verification = models.ForeignKey(Verification, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(help_text="first seen there")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["provider", "service_kind", "service_name", "endpoint", "trait", "value"],
                name="identity_once",
            )
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["trait", "value"])]

    def __str__(self) -> str:
        return f"{self.trait} {self.value[:16]} of {self.provider}"


class Payment(models.Model):
    """What the site's wallet may have spent on one key challenge: reserved before it is sent."""

    at = models.DateTimeField()
    provider = AddressField()
    amount = NeuronField(help_text="the most that the answer can cost, neuron")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["-at"])]

    def __str__(self) -> str:
        return f"{self.amount} to {self.provider}"


class Request(models.Model):
    """Somebody asked for a run; gone once a worker made it."""

    kind = models.CharField(max_length=100)
    provider = AddressField()
    service_name = models.CharField(max_length=MAX_SERVICE_NAME)
    requested_by = models.BigIntegerField(null=True)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["provider", "kind", "service_name"], name="request_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.provider}"

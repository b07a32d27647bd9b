"""Writes: verify a service now, judge what somebody brings, pack a run for others to judge.

`verify` asks the provider, gathers what Intel and NVIDIA add, judges, and writes runs, standing
and facts in one transaction. Nothing a provider does makes it raise.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from attestation import (
    brought,
    comparison,
    declared,
    evaluate,
    findings,
    leases,
    line,
    published,
    runs,
    standings,
    trust,
    uploads,
)
from attestation import bundle as bundles
from attestation import verify as engine
from attestation.engine.evidence import KINDS, MOST_NOW, Context, Evidence
from attestation.engine.limits import MAX_BODY_BYTES, MAX_CHAIN_BYTES
from attestation.engine.verdicts import Report
from attestation.errors import (
    BadUpload,
    Busy,
    LineDown,
    NoEvidence,
    QueueDown,
    TooSoon,
    UnknownService,
)
from attestation.evaluate import Target
from attestation.models import (
    MAX_SERVICE_NAME,
    Endpoint,
    Outcome,
    Request,
    Standing,
    Trigger,
    Verification,
)
from attestation.runs import Draft
from attestation.selectors import ServiceKey
from attestation.sources.records import Note
from chain import selectors as chain
from ledger import selectors as ledger
from ledger.records import Listing
from net import locks, queue
from net.cache import recall
from net.client import Client
from protocol.addresses import is_address, is_mistyped

#: Name of the background task that takes what was asked for.
TASK = "attestation.answer"
ASKED_EVERY_SECONDS = 60
#: All documents of an upload together, bytes.
MAX_UPLOAD_BYTES = 4 << 20
#: PostgreSQL advisory lock of one writer at a time: "0G runs" in bytes.
_WRITER = 0x3047_2072_756E_73
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]*")


def verify(key: ServiceKey, trigger: Trigger, by: int | None = None) -> tuple[Verification, ...]:
    """Fetch, judge and store the evidence of every endpoint of a service now.

    `by` is the primary key of the user who asked. Raises UnknownService, Busy (another run of this
    service is under way) and LineDown.
    """
    stored: tuple[Verification, ...] = async_to_sync(verify_async)(key, trigger, by)
    return stored


async def verify_async(
    key: ServiceKey, trigger: Trigger, by: int | None = None
) -> tuple[Verification, ...]:
    """`verify` for a caller who looks at several services at once."""
    lease = await sync_to_async(_take)(key)
    try:
        async with leases.renewed(_lock(key), lease):
            listing, target = await sync_to_async(_target)(key)
            async with Client(trust.provider_policy(), connections=4) as client:
                drafts = await evaluate.every_endpoint(client, target, trigger)
                if await line.is_down(client, target.url, drafts):
                    raise LineDown("Nobody can be reached: this site's own line may be down.")
            return await sync_to_async(_store)(listing, target, drafts, by)
    finally:
        await sync_to_async(leases.give_back)(_lock(key), lease)


def verify_now(key: ServiceKey, by: int | None = None) -> ServiceKey:
    """Queue a run because somebody asked, at most once a minute and provider; it spends no money.

    Returns the exact key (an empty service name means the recommended contract). Raises
    UnknownService, TooSoon and QueueDown.
    """
    exact = ServiceKey.of(_listing(key))
    name, now = f"attestation:asked:{exact.provider}", time.time()
    # One atomic step: of two requests at once one is too soon.
    if not cache.add(name, now, timeout=ASKED_EVERY_SECONDS):
        since = now - float(cache.get(name) or now)
        raise TooSoon(max(1, round(ASKED_EVERY_SECONDS - since)))
    request = Request(**exact._asdict(), requested_by=by, at=timezone.now())
    Request.objects.bulk_create([request], ignore_conflicts=True)
    if not queue.put(TASK, expires=ASKED_EVERY_SECONDS):
        Request.objects.filter(**exact._asdict()).delete()
        cache.delete(name)
        raise QueueDown(_("Background work cannot be queued at the moment; try again."))
    return exact


def is_running(key: ServiceKey) -> bool:
    """Whether a run of this service is under way, or asked for (at most 1 query)."""
    waiting = Request.objects.filter(**key._asdict())
    return recall(_lock(key)) is not None or waiting.exists()


def bundle(run: Verification) -> bytes:
    """A zip that `verify_bundle` judges like the run. Raises NoEvidence."""
    evidence = runs.evidence_of(run)
    if evidence is None:
        raise NoEvidence(_("The provider handed over nothing in this run."))
    return bundles.write(evidence, runs.context_of(run), runs.document(run))


# --- uploads --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Upload:
    """What somebody brings: a bundle, or evidence with what they know about it.

    `kind`, `body` and `chain_pem` as in `engine.evidence.Evidence`; texts are "" where unknown.
    """

    bundle: bytes = b""
    kind: str = "report"
    body: bytes = b""
    chain_pem: bytes = b""
    nonce: str = ""
    onchain_signer: str = ""
    acknowledged: bool | None = None
    body_signature: str | None = None


def judge_upload(upload: Upload, by: int | None = None) -> Verification:
    """Judge and store what somebody brings, as nobody's evidence. Raises BadUpload.

    A bundle is judged with its own documents and time; anything else now, with ours.
    """
    draft = _from_bundle(upload.bundle) if upload.bundle else _from_evidence(upload)
    with transaction.atomic():
        _one_writer()
        return runs.store(replace(draft, columns={"requested_by": by}))


def _from_bundle(data: bytes) -> Draft:
    if len(data) > MAX_UPLOAD_BYTES:
        raise BadUpload(_("A bundle of more than %(size)s MB.") % {"size": MAX_UPLOAD_BYTES >> 20})
    try:
        evidence, context = bundles.read(data, trust.anchors(), trust.policy())
        given = bundles.published(data)
    except bundles.BadBundle as error:
        raise BadUpload(
            _(
                "This ZIP is no bundle from a report page: %(error)s. It was not stored. "
                "Of an archive of pictures, bring the JSON in it."
            )
            % {"error": error}
        ) from None
    _bounded(evidence, context)
    uploads.require_evidence(evidence)
    draft = _uploaded(evidence, context)
    report = engine.judge(evidence, context)
    notes, known_keys = [], False
    if given is not None:
        found = comparison.compare(given, evidence, context, report)
        ours = _ours(given)
        said = found.note(ours.pk, of_file=brought.by_word(ours)) if ours else found.note(None)
        notes.append(Note(source="bundle", key="published.json", text=said))
        known_keys = found.same and ours is not None and brought.KEYS not in brought.noted(ours)
    if context.jwks and not known_keys:
        # Whoever packs a bundle can sign for NVIDIA with keys of their own (attestation.md 3).
        text = "came with the bundle: whether NVIDIA published these keys is not known here"
        notes.append(Note(source="bundle", key=brought.KEYS, text=text))
    draft = replace(draft, notes=tuple(notes))
    return replace(draft, outcome=Outcome.JUDGED, report=report, finished_at=timezone.now())


def _ours(given: Mapping[str, Any]) -> Verification | None:
    """The report of this site that a published document is (1 query)."""
    try:
        number = uuid.UUID(str(given.get("id")))
    except ValueError:
        return None
    stored = Verification.objects.filter(pk=number).first()
    fits = stored is not None and stored.content_hash == given.get(published.HASH)
    return stored if fits else None


def _from_evidence(upload: Upload) -> Draft:
    if upload.kind not in KINDS:
        raise BadUpload(_("Unknown kind of evidence."))
    if not upload.body:
        raise BadUpload(_("There is no evidence in it."))
    evidence = Evidence(upload.kind, upload.body, upload.chain_pem)
    context = Context(
        now=int(time.time()),
        anchors=trust.anchors(),
        policy=trust.policy(),
        onchain_signer=upload.onchain_signer or None,
        acknowledged=upload.acknowledged,
        nonce=upload.nonce or None,
        body_signature=upload.body_signature,
    )
    _bounded(evidence, context)
    uploads.require_evidence(evidence)
    judged: Draft = async_to_sync(evaluate.judged)(_uploaded(evidence, context))
    return judged


def _uploaded(evidence: Evidence, context: Context) -> Draft:
    now = timezone.now()
    return Draft(
        endpoint=Endpoint.UPLOAD,
        trigger=Trigger.UPLOAD,
        started_at=now,
        finished_at=now,
        outcome=Outcome.JUDGED,
        context=context,
        report=Report("none"),
        evidence=evidence,
    )


def _bounded(evidence: Evidence, context: Context) -> None:
    """Texts that fit our columns, bytes that fit our patience. Raises BadUpload."""
    if len(evidence.body) > MAX_BODY_BYTES or len(evidence.chain_pem) > MAX_CHAIN_BYTES:
        raise BadUpload(_("Evidence of more than %(size)s MB.") % {"size": MAX_BODY_BYTES >> 20})
    if context.onchain_signer and not is_address(context.onchain_signer):
        raise BadUpload(_("The signer on chain is not an address (0x and 40 hex digits)."))
    if context.onchain_signer and is_mistyped(context.onchain_signer):
        raise BadUpload(_("The signer on chain has a wrong checksum: check for a typing error."))
    for text, most, problem in (
        (context.nonce, 66, _("The nonce is not hex of a known length.")),
        (context.tls_fingerprint, 66, _("The TLS fingerprint is not hex of a known length.")),
        (context.body_signature, 200, _("The body signature is not hex of a known length.")),
    ):
        if text and (len(text) > most or not _HEX.fullmatch(text)):
            raise BadUpload(problem)
    if not 0 <= context.now < MOST_NOW:
        raise BadUpload(_("The bundle's time is out of range."))


# --- one run --------------------------------------------------------------------------------------


def _listing(key: ServiceKey) -> Listing:
    listing = ledger.service(*key)
    if listing is None or len(listing.service_name) > MAX_SERVICE_NAME:
        raise UnknownService(_("Nobody offers this service now."))
    return listing


def _target(key: ServiceKey) -> tuple[Listing, Target]:
    """The listing with the block it was read at: the same before and after reading."""
    for _try in range(5):
        block = chain.head().indexed_block
        listing = _listing(key)
        if chain.head().indexed_block == block:
            break
    return listing, Target(
        key=ServiceKey.of(listing),
        block=block,
        url=listing.url,
        model=listing.model,
        verifiability=listing.verifiability,
        additional_info=listing.additional_info,
        signer=listing.tee_signer,
        acknowledged=listing.tee_signer_acknowledged,
        declared=declared.of(listing.verifiability, listing.additional_info),
        payable=vars(listing),
    )


@transaction.atomic
def _store(
    listing: Listing, target: Target, drafts: Sequence[Draft], by: int | None
) -> tuple[Verification, ...]:
    key = target.key
    _one_writer()
    standing, _ = Standing.objects.select_for_update().get_or_create(
        provider=key.provider,
        kind=key.kind,
        service_name=key.service_name,
        defaults={"serving": listing.serving},
    )
    said = [entry.get("verification") for entry in standing.endpoints.values()]
    before = {run.endpoint: run for run in Verification.objects.filter(pk__in=filter(None, said))}
    stored = tuple(
        runs.store(replace(draft, columns={**draft.columns, "requested_by": by}))
        for draft in drafts
    )
    kept = [run.endpoint for run in stored]
    if standing.endpoints.keys() - set(kept):
        findings.retire(key, stored[0].finished_at, kept)
    _update(standing, listing, target, stored)
    for run in stored:
        findings.of_run(run, before.get(run.endpoint))
    findings.of_listing(listing, stored[0], stored[0].finished_at)
    return stored


def _one_writer() -> None:
    """Runs are written one after the other until the transaction ends: of two at the same moment
    the second has to see what it shares with the first.
    """
    locks.in_turn(_WRITER)


def _update(
    standing: Standing, listing: Listing, target: Target, stored: Sequence[Verification]
) -> None:
    now, about = max(run.finished_at for run in stored), standings.basis_of(listing)
    endpoints = standings.update(standing.endpoints, stored, about)
    together = standings.together(endpoints)
    silent = any(entry.get("silent") for entry in endpoints.values())
    # How long another address was silent says nothing of this one (`tasks.next_run`).
    since = standing.unreachable_since if standing.basis.get("url") == about["url"] else None
    standing.serving = listing.serving
    standing.endpoints, standing.basis = endpoints, about
    standing.declared = target.declared.word
    standing.overall, standing.development = together.overall, together.development
    standing.questions, standing.error = dict(together.questions), together.error
    standing.checked_at = _moment(together.checked_at)
    standing.verification_id = uuid.UUID(together.verification) if together.verification else None
    standing.tried_at = now
    standing.unreachable_since = (since or now) if silent else None
    standing.save()


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def fingerprint(key: ServiceKey) -> str:
    """For names of locks: parts of the key are strangers' texts of any length."""
    return hashlib.sha256("|".join(key).encode("utf-8", "replace")).hexdigest()[:32]


def _lock(key: ServiceKey) -> str:
    return f"attestation:run:{fingerprint(key)}"


def _take(key: ServiceKey) -> str:
    """One run of a service at a time, over all processes. Raises Busy."""
    lease = leases.take(_lock(key))
    if lease is None:
        raise Busy(_("This service is being verified at this moment."))
    return lease

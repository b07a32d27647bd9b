"""`manage.py prune`: what is old goes, what anything rests on stays, and a dry run only counts."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.management import call_command
from django.db.models import signals
from django.utils import timezone

from accounts.models import AccessToken, Erasure, Export, ProviderKey, SignIn, User
from accounts.session_store import name_of
from alerts.models import Attempt, Delivery, Notification, Rule
from attestation.models import Document, Retrieval, Standing, Verification
from finetune.models import Dataset, DatasetState, Piece, StoredFile
from inference import retention as tokens_kept
from inference.models import Chat, Turn
from ledger.models import Reconciliation
from marketplace import retention, tasks
from marketplace.retention import RULES
from probes.models import Bucket, Health, Probe
from tests.db import api_rows
from tests.db.api_rows import INFERENCE, PAUL, PETRA

pytestmark = pytest.mark.django_db
SERVICE = {"serving": INFERENCE, "kind": "inference", "service_name": "inference-v1.0"}


def run(age: dt.timedelta, outcome: str, overall: str = "") -> Verification:
    at = timezone.now() - age
    return Verification.objects.create(
        kind="inference", provider=PETRA, service_name="inference-v1.0", endpoint="broker",
        trigger="schedule", started_at=at, finished_at=at, outcome=outcome, overall=overall,
        now_unix=0,
    )  # fmt: skip


def bucket(span: int, days: float) -> Bucket:
    return Bucket.objects.create(
        serving=INFERENCE, provider=PETRA, span=span, probes=1, cells=1, answered=1, good=1,
        start=timezone.now() - dt.timedelta(days=days), answer_ms=[], first_token_ms=[],
        tokens_per_10s=[],
    )  # fmt: skip


def prune(*arguments: str) -> dict[str, int]:
    output = io.StringIO()
    call_command("prune", *arguments, stdout=output)
    lines = (line.split(": ") for line in output.getvalue().splitlines())
    return {what: int(said.split()[0].replace(",", "")) for what, said in lines}


def test_old_rows_go_once_and_what_is_needed_stays(settings: Any) -> None:
    now = timezone.now()
    api_rows.service(PETRA)
    for age in (9, 1):
        Probe.objects.create(
            **SERVICE, provider=PETRA, at=now - dt.timedelta(days=age), url="", state="up"
        )
    kept = [bucket(900, 8), bucket(3600, 30), bucket(86_400, 400)]
    for span, days in ((900, 10), (3600, 40), (86_400, 1_200)):
        bucket(span, days)
    for provider in (PETRA, PAUL):  # Paul offers nothing any more
        Health.objects.create(**SERVICE, provider=provider)
    Health.objects.update(updated_at=now - dt.timedelta(days=100))
    user = User.objects.create(address=PETRA)
    # One that 0.1.0 named by what its cookie says opens nothing, whatever its end.
    for key, hours in ((name_of("open"), 1), (name_of("ended"), -1), ("0" * 32, 1)):
        Session.objects.create(session_key=key, expire_date=now + dt.timedelta(hours=hours))
        SignIn.objects.create(user=user, session_key=key, seen_at=now)
    for days in (1, 100):
        Reconciliation.objects.create(at=now - dt.timedelta(days=days), scope="sample")
    year = dt.timedelta(days=365)
    run(year, "unreachable")
    recent, report, relied_on = (
        run(dt.timedelta(days=2), "unreachable"),
        run(year, "judged", "pass"),
        run(year, "judged", "pass"),
    )
    Standing.objects.create(
        **{**SERVICE, "serving": INFERENCE}, provider=PETRA, verification=relied_on
    )

    expected = {
        "probes": 1,
        "buckets of probes": 3,
        "health of removed services": 1,
        "sign-ins of ended sessions": 2,
        "ended sessions": 2,
        "reconciliations": 1,
        "verifications": 1,
    }
    # Of everything else that has a rule there is nothing here.
    expected = {rule.what: expected.get(rule.what, 0) for rule in RULES if rule.old}
    assert prune("--dry-run") == expected
    assert Probe.objects.count() == 2, "a dry run deletes nothing"
    assert prune() == {**expected, "deleted and unkept chats": 0}
    assert set(prune().values()) == {0}
    assert set(Bucket.objects.all()) == set(kept)
    assert Health.objects.get().provider == PETRA
    assert SignIn.objects.get().session_key == Session.objects.get().session_key == name_of("open")
    assert set(Verification.objects.all()) == {recent, report, relied_on}
    # Reports are permanent links: they go only where the operator says so.
    settings.VERIFICATIONS_KEEP_DAYS = 30
    assert prune()["verifications"] == 1
    assert set(Verification.objects.all()) == {recent, relied_on}


def test_evidence_goes_with_the_last_report_that_rests_on_it(settings: Any) -> None:
    """What a report names is kept as long as it; what only a report of before named takes room."""
    year = dt.timedelta(days=365)
    gone, kept = run(year, "judged", "pass"), run(dt.timedelta(days=1), "judged", "pass")
    for report in (gone, kept):
        words = ["shared", *(f"{word} of {report.pk}" for word in ("body", "ocsp", "raw"))]
        shared, body, ocsp, raw = (Document.keep(word.encode()) for word in words)
        report.body, report.chain_pem = body, shared
        report.inputs = {"ocsp": [ocsp.pk], "nras": None, "rims": {"x": shared.pk}}
        report.nras = [{"source": "nras", "sha256": raw.pk}]
        report.save()
        told = {"source": "nras", "key": str(report.pk), "url": "", "fetched_at": report.started_at}
        Retrieval.objects.create(**told, document=raw, valid_until=report.started_at)
        # A manifest is asked for once, and is good for years.
        rim = {**told, "source": "rim", "fetched_at": timezone.now() - year}
        Retrieval.objects.create(**rim, document=shared, valid_until=timezone.now() + year)
    assert prune()["documents that no report rests on"] == 0, "reports are kept for good"
    settings.VERIFICATIONS_KEEP_DAYS = 30
    assert prune()["documents that no report rests on"] == 3
    bodies = {bytes(row.body).decode() for row in Document.objects.all()}
    assert bodies == {"shared", *(f"{word} of {kept.pk}" for word in ("body", "ocsp", "raw"))}
    left = Retrieval.objects.values_list("source", "key")
    assert set(left) == {("nras", str(kept.pk)), ("rim", str(kept.pk)), ("rim", str(gone.pk))}


def test_what_is_somebodys_goes_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each that is too old, and one that is not."""
    now, day = timezone.now(), dt.timedelta(days=1)
    user = User.objects.create(address=PETRA)

    def aged(row: Any, field: str, age: dt.timedelta) -> Any:
        type(row).objects.filter(pk=row.pk).update(**{field: now - age})
        return row.pk

    def made(number: int, old: dt.timedelta, young: dt.timedelta) -> None:
        for place, age in enumerate((old, young)):
            key = ProviderKey.objects.create(
                user=user, provider=PETRA, serving=PAUL, sealed="x", token_id=255,
                generation=number, created_at=now, expires_at=now - age,
            )  # fmt: skip
            assert key.pk and place < 2

    made(1, 31 * day, day)
    lasting = ProviderKey.objects.create(
        user=user, provider=PETRA, serving=PAUL, sealed="", token_id=3, generation=1,
        created_at=now, expires_at=now - 400 * day,
    )  # fmt: skip
    rule = Rule.objects.create(user=user, kind="signer", created_at=now, after_block=0)
    for number, age in enumerate((366 * day, 364 * day)):
        note = Notification.objects.create(
            user=user, rule=rule, kind="signer", occurrence=str(number), title="t", path="/",
            at=now - age,
        )  # fmt: skip
        for state in ("sent", "waiting"):
            sent = Delivery.objects.create(
                user=user, notification=note, created_at=now - 91 * day * (1 - number),
                due_at=now, state=state,
            )  # fmt: skip
            Attempt.objects.create(delivery=sent, at=now, milliseconds=1)
    several, asked = AccessToken(user=user, expires_at=now + day), list[int]()
    for days in (None, None, 31, 31, 1, 2):  # made in this order
        several.pk, several.digest = None, str(len(asked))
        several.revoked_at = None if days is None else now - days * day
        several.save(force_insert=True)
        asked.append(several.pk)
    AccessToken.objects.filter(pk=asked[1]).update(expires_at=now - 31 * day)
    said = Chat.objects.create(owner=user, provider=PETRA)
    Turn.objects.create(
        chat=said, prompt_key=uuid4(), process="", provider=PETRA, serving=PETRA, url="", model="",
        input_price=0, output_price=0, max_tokens=1, token_id=asked[2],
    )  # fmt: skip
    for age in (8 * day, day / 2):
        file = StoredFile.objects.create(user=user, key_sealed="", size=1)
        Piece.objects.create(file=file, number=0, sealed=b"x")
        aged(file, "created_at", age)
        upload = Dataset.objects.create(
            user=user, file=file, name="d", size=1, state=DatasetState.UPLOADING
        )
        aged(upload, "created_at", age)
        Export.objects.create(user=user, key_sealed="", expires_at=now - age + day, state="done")
        Erasure.objects.create(asked_at=now, due_at=now, done_at=now - age * 46)

    gone = prune()
    assert gone["expired provider keys"] == 1
    assert ProviderKey.objects.filter(pk=lasting.pk).exists(), "its slot was given out"
    assert gone["access tokens"] == 2  # one that lives, one that asked, and two that ended lately
    left = AccessToken.objects.order_by("pk").values_list("pk", flat=True)
    assert [asked.index(pk) for pk in left] == [0, 2, 4, 5]
    monkeypatch.setattr(tokens_kept, "MOST_TOKENS", 1)
    assert prune()["access tokens"] == 1 and left.last() == asked[5], "but of many the newest"
    assert (gone["notifications"], Notification.objects.count()) == (1, 1)
    # With the notification went its deliveries, except none that still waits elsewhere.
    assert set(Delivery.objects.values_list("notification__occurrence", flat=True)) == {"1"}
    # An upload nobody finished goes, and at the same or the next time its bytes.
    assert gone["unfinished uploads"] == 1
    prune()
    assert Dataset.objects.count() == StoredFile.objects.count() == Piece.objects.count() == 1
    assert (gone["personal files past their time"], Export.objects.count()) == (1, 1)
    assert (gone["erasures that are done"], Erasure.objects.count()) == (1, 1)


def test_a_day_passes_even_if_beat_restarts_every_hour(settings: Any) -> None:
    """Beat's own timer begins anew with every container; the task knows when it ran last."""
    every = {entry["task"]: entry["schedule"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert max(every.values()) <= 600, "a longer one never comes to its end"
    cache.delete(tasks.LAST_PRUNED)
    old = {"expire_date": timezone.now() - dt.timedelta(days=400), "session_data": ""}
    Session.objects.create(session_key="first", **old)
    assert tasks.prune() >= 1 and not Session.objects.exists()
    Session.objects.create(session_key="second", **old)
    assert tasks.prune() == 0 and Session.objects.exists(), "not twice a day"
    cache.delete(tasks.LAST_PRUNED)  # a day later
    assert tasks.prune() >= 1 and not Session.objects.exists()


def test_what_is_no_longer_old_when_its_turn_comes_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows take a while to go: an upload may end in the meantime."""
    user = User.objects.create(address=PETRA)
    for name in ("first", "second"):
        file = StoredFile.objects.create(user=user, key_sealed="", size=1)
        Dataset.objects.create(
            user=user, file=file, name=name, size=1, state=DatasetState.UPLOADING
        )
    Dataset.objects.update(created_at=timezone.now() - dt.timedelta(days=8))

    def ends(sender: Any, instance: Dataset, **_: Any) -> None:
        Dataset.objects.exclude(pk=instance.pk).update(state=DatasetState.CHECKING)

    monkeypatch.setattr(retention, "AT_ONCE", 1)
    signals.post_delete.connect(ends, sender=Dataset)
    try:
        assert prune()["unfinished uploads"] == 1
    finally:
        signals.post_delete.disconnect(ends, sender=Dataset)
    assert Dataset.objects.get().state == DatasetState.CHECKING

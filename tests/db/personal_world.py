"""Everything the site can keep about one person, all of it Alice's; Bob has the same."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.utils import timezone
from redis import Redis

from accounts import crypto, sessions
from accounts.models import Export, ExportPiece, Intent, SignIn, User, Watch
from alerts import hooks
from alerts import services as alerts
from alerts.models import Attempt, Channels, Delivery, Held, Hook, Notification, Rule
from attestation.models import Endpoint, Outcome, Request, Trigger, Verification
from finetune import files
from finetune.models import (
    Dataset,
    DatasetState,
    Deployment,
    Draft,
    LogPart,
    Passage,
    Place,
    PlaceState,
    Task,
    Way,
)
from inference import conversations, opening, presets, services, shares
from inference.media.models import File, Job
from inference.media.models import Role as FileRole
from inference.models import Chat, Medium, State, Turn
from inference.relay import Record
from moderation.models import Anyway, Report
from operators.models_listing import (
    ListingDraft,
    Note,
    NoteKind,
    Profile,
    SelfTest,
    SetupRun,
)
from ops import failures
from ops.models import Job as Command
from ops.models import PasswordAccount
from probes.models import Sharer
from protocol import fees
from tests import factories
from tests.db.chat_world import make_key
from tests.db.permission_world import PARAMETERS

NOWHERE = "http://127.0.0.1:9"
#: A picture's bytes and a dataset's, which must come back as they were.
PICTURE, DATASET = b"\x89PNG of ", b'{"prompt": "a", "completion": "b"}\n'


def person(name: str) -> User:
    """A wallet with one of each thing; its words hold `canary-of-<name>`."""
    user = User.objects.for_address(factories.address(name))
    canary, now = f"canary-of-{name}", timezone.now()
    _account(user, canary, name)
    _alerts(user, canary)
    _chats(user, canary)
    _tuning(user, canary)
    User.objects.filter(pk=user.pk).update(last_login=now)
    Report.objects.create(
        reporter=user, subject_kind="provider", subject=factories.PETRA,
        category="other", text=f"{canary} reports", at=now,
    )  # fmt: skip
    Anyway.objects.create(user=user, number=1, at=now)
    run: Any = {"user": user, "kind": "inference", "url": f"https://{canary}.example"}
    SetupRun.objects.create(**run)
    SelfTest.objects.create(**run)
    ListingDraft.objects.create(
        user=user, kind="inference", service_name="s", typed={"url": canary}
    )
    said: Any = {"provider": user.address, "message": canary, "signature": "0x", "signed_at": now}
    Note.objects.create(
        **said, nonce=f"n-{name}", kind=NoteKind.MAINTENANCE, starts_at=now, text=canary
    )
    Profile.objects.create(**said, nonce=f"p-{name}", name=canary)
    return user


def _account(user: User, canary: str, name: str) -> None:
    now = timezone.now()
    Intent.objects.create(
        user=user, chain_id=31337, action="deposit", params={"note": canary},
        to=factories.INFERENCE, data="0x", value=10**18,
    )  # fmt: skip
    make_key(user)
    user.access_tokens.create(
        label=canary, digest=f"d-{name}", hint="zgm_", expires_at=now + timedelta(days=1)
    )
    # Two sessions: one listed, and one that its row lost.
    for listed in (True, False):
        store = SessionStore()
        store["_auth_user_id"] = str(user.pk)
        store["word"] = canary
        store.save()
        if listed:
            SignIn.objects.create(
                user=user, session_key=str(store.session_key), seen_at=now, agent=canary
            )
    Watch.objects.create(user=user, serving=factories.INFERENCE, provider=factories.PETRA)
    Sharer.objects.create(user=user.pk, since=now)
    Request.objects.create(
        kind="inference", provider=factories.PETRA, service_name=name, requested_by=user.pk, at=now
    )
    Verification.objects.create(
        kind="inference", provider=factories.PETRA, endpoint=Endpoint.BROKER,
        trigger=Trigger.LISTED, started_at=now, finished_at=now, now_unix=0,
        outcome=Outcome.UNREACHABLE, requested_by=user.pk,
    )  # fmt: skip
    old = Export.objects.create(
        user=user, key_sealed=crypto.seal("00"), state="done", expires_at=now + timedelta(days=1)
    )
    ExportPiece.objects.create(export=old, number=0, sealed=canary.encode())
    LogEntry.objects.create(
        user=user, content_type=ContentType.objects.get_for_model(User),
        action_flag=CHANGE, change_message=canary,
    )  # fmt: skip
    PasswordAccount.objects.create(user=user, name=canary)
    Command.objects.create(name=f"doctor-{name}", created_at=now, started_by=user, state="ended")
    failed = failures.keep("a.task", name, ValueError(name), [], {})
    type(failed).objects.filter(pk=failed.pk).update(handled_by=user)


def _alerts(user: User, canary: str) -> None:
    now = timezone.now()
    rule = Rule.objects.create(user=user, kind="signer", created_at=now, after_block=0)
    Held.objects.create(rule=rule, subject=canary, since=now)
    alerts.channels_of(user)
    Channels.objects.filter(user=user).update(
        sealed_email=crypto.seal(f"{canary}@example.org"), email_error=canary
    )
    place = hooks.sealed(f"https://{canary}.example/")
    secret = crypto.seal("s")
    hook = Hook.objects.create(
        user=user, **place, sealed_secret=secret, created_at=now, disabled_why=canary
    )
    told = Notification.objects.create(
        user=user, rule=rule, kind="signer", occurrence="1", title=canary, path="/", at=now
    )
    sent = Delivery.objects.create(
        user=user, notification=told, hook=hook, created_at=now, due_at=now, state="sent"
    )
    Attempt.objects.create(delivery=sent, at=now, milliseconds=1, status=200, said=canary)


def _chats(user: User, canary: str) -> None:
    factories.purse(user=user.address)
    factories.sub_account(user=user.address, acknowledged=True)
    chat = conversations.create_chat(user, factories.PETRA)
    opened = opening.open_turn(chat, f"{canary} asked", process="p")
    record = Record(request_sha256="a" * 64, answer_id=canary, complete=True)
    record.text.append(f"{canary} answered")
    record.usage = fees.Usage(1_024, 310)
    assert services.end_turn(opened.turn, State.ANSWERED, record)
    unkept = conversations.create_chat(user, factories.PETRA, session_key="gone")
    assert opening.open_turn(unkept, f"{canary} unkept", process="p").turn
    services.end_turn(unkept.turns.get().pk, State.ANSWERED, Record(complete=True))
    drawn = Chat.objects.create(
        owner=user, provider=factories.PETRA, medium=Medium.IMAGES, asked=True
    )
    drawn.key_sealed = chat.key_sealed
    drawn.save()
    turn = Turn.objects.create(
        chat=drawn, prompt_key=uuid.uuid4(), state=State.ANSWERED, process="p",
        provider=factories.PETRA, serving=factories.INFERENCE, url=NOWHERE, model="m",
        input_price=1, output_price=1, max_tokens=1, ended_at=timezone.now(), verdict="verified",
    )  # fmt: skip
    Job.objects.create(turn=turn, path="images/generations", content_type="application/json")
    file = File(
        chat=drawn, turn=turn, role=FileRole.MADE, size=1, sha256="a", media_type="image/png"
    )
    file.sealed = drawn.box.seal(f"file {file.pk}", PICTURE + canary.encode())
    file.save()
    presets.save(user, "mine", {"system": canary})
    presets.save(user, "mine", {"system": f"{canary} again"})
    chat.refresh_from_db()
    shares.create(chat, "7")


def _tuning(user: User, canary: str) -> None:
    now = timezone.now()
    data = DATASET + canary.encode()
    stored = files.create(user, len(data))
    files.put(stored, 0, data)
    dataset = Dataset.objects.create(
        user=user, file=stored, name=canary, size=len(data), state=DatasetState.GOOD,
        preview_sealed=crypto.seal(f'[["{canary}","b"]]'),
    )  # fmt: skip
    Place.objects.create(
        dataset=dataset, way=Way.TEE, provider=factories.PETRA, state=PlaceState.THERE
    )
    Draft.objects.create(user=user, dataset=dataset, parameters=canary)
    task = Task.objects.create(
        user=user, remote_id=uuid.uuid4(), provider=factories.PETRA,
        serving=factories.FINE_TUNING, service_name="f", url=NOWHERE, model="m", model_hash="",
        dataset=dataset, dataset_hash="", parameters=PARAMETERS, price_per_token=1, nonce=2**200,
        signature="0x", tee_signer=factories.PETRA, created_at=now,
    )  # fmt: skip
    Passage.objects.create(task=task, stage="Init", at=now)
    LogPart.objects.create(task=task, offset=0, text=canary)
    Deployment.objects.create(
        task=task, provider=factories.PETRA, serving=factories.INFERENCE, url=NOWHERE, asked_at=now
    )


def found_in_database(needle: str) -> set[str]:
    """Tables of which some row holds `needle`, in a text or among bytes."""
    as_hex = needle.encode().hex()
    found = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(
                f'SELECT count(*) FROM "{table}" AS r '
                "WHERE strpos(lower(r::text), lower(%s)) > 0 OR strpos(r::text, %s) > 0",
                [needle, as_hex],
            )
            if cursor.fetchone()[0]:
                found.add(table)
    return found


def found_in_redis(needle: str) -> set[str]:
    """Keys that hold `needle`, or are called so."""
    redis = Redis.from_url(settings.REDIS_URL)
    with redis:
        return {
            str(key)
            for key in redis.scan_iter()
            if needle.encode() in key
            or any(needle.encode() in part for part in _values(redis, key))
        }


def _values(redis: Any, key: bytes) -> Iterator[bytes]:
    kind = redis.type(key).decode()
    if kind == "string":
        yield redis.get(key) or b""
    elif kind == "stream":
        for _, fields in redis.xrange(key):
            yield from fields.values()
    elif kind == "list":
        yield from redis.lrange(key, 0, -1)
    elif kind in ("set", "zset", "hash"):
        yield repr(
            redis.smembers(key)
            if kind == "set"
            else redis.hgetall(key)
            if kind == "hash"
            else redis.zrange(key, 0, -1)
        ).encode()


def sign_in(client: Any, user: User) -> None:
    """A session whose signature is fresh."""
    client.force_login(user)
    prove(client, 0)


def prove(client: Any, age: int) -> None:
    """Make a session's signature `age` seconds old."""
    session = client.session
    session[sessions._PROVED] = int(timezone.now().timestamp()) - age
    session.save()

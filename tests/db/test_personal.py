"""What is kept about a person: every table is spoken of, the file holds it, erased is erased."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import zipfile
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.core.cache import cache
from django.db.models import ForeignKey
from django.test import Client
from django.utils import timezone
from redis import Redis

from accounts import personal, personal_erase, personal_export, roles
from accounts.errors import Problem
from accounts.models import Erasure, Export, ExportPiece, ExportState, User
from accounts.tasks import sweep_personal
from chain.fields import AddressField
from inference import opening, services, turnlog
from inference.models import Chat, State, Turn
from inference.relay import Record
from marketplace import retention
from moderation import audit
from tests import factories
from tests.db.chat_world import in_db, stage
from tests.db.personal_world import (
    DATASET,
    PICTURE,
    found_in_database,
    found_in_redis,
    person,
    sign_in,
)
from tests.live.chat_upstream import Asked, Reply

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(db: None) -> User:
    cache.clear()  # limits count from nothing
    factories.head()
    factories.contract()
    factories.contract(kind="fine-tuning", address=factories.FINE_TUNING)
    factories.service(url="http://127.0.0.1:9")
    return person("alice")


def test_what_the_export_says_leads_somewhere(client: Client) -> None:
    paths = re.findall(r"/docs/[a-z/-]+", personal_export.README)
    assert paths and all(client.get(path).status_code == 200 for path in paths), paths


def rows_of(*models: Any) -> dict[str, list[Any]]:
    return {m._meta.label: list(m._default_manager.order_by("pk").values()) for m in models}


def erase(user: User) -> Erasure:
    """As after a day, by one pass of the worker."""
    row = personal_erase.ask(user, "erase")
    assert personal_erase.run(str(row.pk), row.due_at)
    return Erasure.objects.get(pk=row.pk)


# --- tables ---------------------------------------------------------------------------------------


def test_every_table_is_erased_or_named_with_a_reason_and_has_a_rule() -> None:
    """A new model fails here: register it in its app's `personal.py` and in `retention.RULES`."""
    models = set(apps.get_models())
    spoken = personal.table()
    assert models - set(spoken) == set()
    assert set(spoken) - models == set()
    assert all(len(reason) > 5 for reason in spoken.values())
    # Whatever has a column of a user is erased, or is the row of the erasure itself.
    for model in models:
        for field in model._meta.concrete_fields:
            if isinstance(field, ForeignKey) and field.related_model is User:
                assert spoken[model] == "erased" or model is Erasure, model
    # A wallet's address may stay only in what says so to the person, or is about providers.
    named = {m for entry in personal.stays() for m in entry.models}
    for model in models - named - {User}:
        if any(isinstance(field, AddressField) for field in model._meta.concrete_fields):
            owner = {field.name for field in model._meta.concrete_fields} & {"user", "owner"}
            assert spoken[model] == "erased" or not owner, model
    covered = retention.covered()
    assert models - set(covered) == set()
    beat = {entry["task"] for entry in _schedule().values()}
    assert {rule.job for rule in retention.RULES} - {""} <= beat
    assert all(rule.old is None or rule.job == retention.PRUNE for rule in retention.RULES)


def _schedule() -> dict[str, Any]:
    from django.conf import settings

    found: dict[str, Any] = settings.CELERY_BEAT_SCHEDULE
    return found


# --- the file -------------------------------------------------------------------------------------


def opened(row: Export) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(personal_export.read(row))))


def test_the_file_holds_everything_readable_and_no_secret(alice: User) -> None:
    person("bob")
    row = personal_export.ask(alice)
    assert personal_export.ask(alice).pk == row.pk, "one at a time"
    assert personal_export.make(str(row.pk)) == ExportState.DONE
    assert personal_export.make(str(row.pk)) is None, "once"
    with opened(Export.objects.get(pk=row.pk)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    index = json.loads(files["index.json"])
    assert {entry["path"] for entry in index["files"]} == set(files) - {"index.json"}
    assert all(entry["bytes"] == len(files[entry["path"]]) for entry in index["files"])
    assert index["person"]["address"] == alice.address
    # Every table of every category has a row of hers in it (a world that lacks one proves nothing);
    # the file that holds all this is not in itself.
    for category in personal.categories():
        for table in category.tables:
            name = f"{category.key}/{table.model._meta.model_name}.ndjson"
            rows = [json.loads(line) for line in files[name].splitlines()]
            if table.model is not ExportPiece:
                assert len(rows) == table.rows(alice).count() > 0, name
    # Words are opened, files are as they were.
    text = b"\n".join(files[name] for name in files if name.endswith(".md")).decode()
    assert "canary-of-alice asked" in text and "canary-of-alice answered" in text
    proofs = [
        json.loads(body) for name, body in files.items() if "chat/" in name and "json" in name
    ]
    assert "canary-of-alice asked" in {turn["question"] for x in proofs for turn in x["turns"]}
    # What is not kept ends with its session: a file for a day would keep it.
    assert b"canary-of-alice unkept" not in b"".join(files.values())
    assert PICTURE + b"canary-of-alice" in files.values()
    assert DATASET + b"canary-of-alice" in files.values()
    assert b"canary-of-alice" in files["presets/presets.json"]
    [task] = [json.loads(line) for line in files["tuning/task.ndjson"].splitlines()]
    assert task["nonce"] == str(2**200), "amounts and large numbers are strings"
    whole = b"\n".join(files.values())
    assert b"canary-of-bob" not in whole
    secrets = (
        *alice.access_tokens.values_list("digest", flat=True),
        *alice.sign_ins.values_list("session_key", flat=True),
        *alice.provider_keys.values_list("sealed", flat=True),
        alice.alert_channels.feed,
        alice.hooks.get().sealed_secret,
    )
    for secret in secrets:
        assert secret.encode() not in whole.replace(b'"hint":"zgm_"', b"")


def test_a_file_survives_its_worker_and_is_sealed(alice: User) -> None:
    row = personal_export.ask(alice)
    ago = timezone.now() - dt.timedelta(minutes=2)
    # A worker took it, wrote a piece, and died.
    Export.objects.filter(pk=row.pk).update(state=ExportState.RUNNING, beat_at=ago, tries=1)
    ExportPiece.objects.create(export=row, number=0, sealed=b"half")
    sweep_personal.apply()
    row.refresh_from_db()
    if row.state != ExportState.DONE:  # the sweep only queued it
        assert personal_export.make(str(row.pk)) == ExportState.DONE
        row.refresh_from_db()
    with opened(row) as archive:
        assert "index.json" in archive.namelist()
    sealed = b"".join(bytes(part.sealed) for part in row.parts.all())
    assert b"index.json" not in sealed and sealed[:2] != b"PK"
    # Three tries, then it says that it failed.
    Export.objects.filter(pk=row.pk).update(state=ExportState.RUNNING, beat_at=ago, tries=3)
    assert personal_export.make(str(row.pk)) == ExportState.FAILED


def test_a_worker_that_was_only_slow_does_not_write_into_the_next_ones_file(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes up while the file that replaces its own is being made."""
    monkeypatch.setattr(personal_export, "PIECE_BYTES", 64)
    row = personal_export.ask(alice)
    store = personal_export._Pieces._store
    woken: list[Any] = []

    def slow(pieces: Any, data: bytes) -> None:
        if pieces.number == 3 and not woken:
            woken.append(pieces)
            ago = timezone.now() - personal_export.SILENT * 2
            Export.objects.filter(pk=row.pk).update(beat_at=ago)
            assert personal_export.make(str(row.pk)) == ExportState.DONE
        store(pieces, data)

    monkeypatch.setattr(personal_export._Pieces, "_store", slow)
    assert personal_export.make(str(row.pk)) is None, "the other has made it"
    made = Export.objects.get(pk=row.pk)
    assert (made.state, made.tries, made.parts.count()) == (ExportState.DONE, 2, made.pieces)
    with opened(made) as archive:
        assert archive.testzip() is None


def test_nothing_is_left_of_a_file_that_is_too_large_or_not_wanted_any_more(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal_export, "PIECE_BYTES", 64)
    with monkeypatch.context() as patched:
        patched.setattr(personal_export, "MOST_BYTES", 1_000)
        row = personal_export.ask(alice)
        assert personal_export.make(str(row.pk)) == ExportState.FAILED
    assert not ExportPiece.objects.filter(export=row).exists()
    row = personal_export.ask(alice)
    store = personal_export._Pieces._store

    def erased(pieces: Any, data: bytes) -> None:
        Export.objects.filter(pk=row.pk).delete()
        store(pieces, data)

    monkeypatch.setattr(personal_export._Pieces, "_store", erased)
    assert personal_export.make(str(row.pk)) is None
    assert not ExportPiece.objects.filter(export=row.pk).exists()


# --- erasing --------------------------------------------------------------------------------------


def test_erased_is_erased_and_nobody_elses_is_touched(alice: User) -> None:
    bob = person("bob")
    turn = Turn.objects.filter(chat__owner=alice).earliest("pk")
    async_to_sync(_stream)(turn.pk, "canary-of-alice said")
    roles.give(alice, roles.Role.MODERATOR)
    audit.record(alice, "note", ("provider", factories.PETRA), area="moderation", reason="because")
    row = personal_export.ask(alice)
    personal_export.make(str(row.pk))
    assert len(found_in_database("canary-of-alice")) >= 20
    assert found_in_redis("canary-of-alice")
    mine = {m: m._default_manager.count() for m in apps.get_models()}
    before = bobs(bob)

    done = erase(alice)

    assert found_in_database("canary-of-alice") == set()
    assert found_in_redis("canary-of-alice") == set()
    assert found_in_redis(f"chat-key:{turn.chat_id}") == set()
    assert not User.objects.filter(address=alice.address).exists()
    # The address: only what the page says that it stays.
    stays = {m._meta.db_table for entry in personal.stays() for m in entry.models}
    left = found_in_database(alice.address)
    assert left <= stays
    assert {"ledger_subaccount", "moderation_act"} <= left
    assert done.user is None and done.done_at and sum(done.done.values()) > 30
    assert bobs(bob) == before
    gone = {m for m, count in mine.items() if m._default_manager.count() < count}
    erased = {m for m, how in personal.table().items() if how == "erased"}
    assert gone <= erased | {User, apps.get_model("sessions.Session")}
    # Everything has been said: to press again changes nothing.
    assert not personal_erase.run(str(done.pk), done.due_at)


async def _stream(turn: int, text: str) -> None:
    writer = turnlog.Writer(turn)
    writer.text(text)
    await writer.flush()
    writer.close()
    await turnlog.close()


def bobs(bob: User) -> dict[str, list[Any]]:
    found = {}
    for category in personal.categories():
        for table in category.tables:
            found[table.model._meta.label] = list(table.rows(bob).order_by("pk").values())
    assert all(found.values())
    return found


def test_a_day_to_undo_it_and_nothing_before(alice: User) -> None:
    with pytest.raises(Problem, match="Type ERASE"):
        personal_erase.ask(alice, "yes")
    row = personal_erase.ask(alice, " erase ")
    assert row.due_at - row.asked_at == personal_erase.WAIT
    assert personal_erase.ask(alice, "erase").due_at == row.due_at, "asking again delays nothing"
    assert not personal_erase.run(str(row.pk), row.due_at - dt.timedelta(seconds=1))
    assert Chat.objects.filter(owner=alice).exists()
    assert personal_erase.undo(alice)
    assert not personal_erase.run(str(row.pk), row.due_at)
    assert User.objects.get(pk=alice.pk).is_active


def test_it_goes_on_where_a_worker_died(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    row = personal_erase.ask(alice, "erase")
    categories = personal.categories()

    class Killed(BaseException):
        pass

    def dies() -> tuple[personal.Category, ...]:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        # Half of it is gone when the process is.
        patched.setattr(personal, "categories", lambda: (*categories[:5], Broken(dies)))
        personal_erase.run(str(row.pk), row.due_at)
    row.refresh_from_db()
    assert set(row.done) == {category.key for category in categories[:5]}
    assert not personal_erase.undo(alice), "what has begun cannot be undone"
    assert not User.objects.get(pk=alice.pk).is_active
    late = timezone.now() + personal_erase.SILENT * 2 + personal_erase.WAIT
    assert personal_erase.run(str(row.pk), late)
    assert found_in_database("canary-of-alice") == set()


class Broken:
    key = "broken"

    def __init__(self, call: Any) -> None:
        self.call = call

    def erase(self, user: User) -> int:
        return int(self.call())


def test_of_two_workers_the_slower_one_takes_nothing_from_the_receipt(alice: User) -> None:
    row = personal_erase.ask(alice, "erase")
    category: Any = Broken([0, 7].pop)
    for known in (row, Erasure.objects.get(pk=row.pk)):
        personal_erase._forget(known, alice, category)
    assert Erasure.objects.get().done == {"broken": 7}


def test_the_last_admin_stays(alice: User) -> None:
    roles.give(alice, roles.Role.ADMIN)
    with pytest.raises(Problem, match="only admin"):
        personal_erase.ask(alice, "erase")
    bob = User.objects.for_address(factories.BOB)
    roles.give(bob, roles.Role.ADMIN)
    assert personal_erase.ask(alice, "erase").user == alice
    # She will be gone by then: of two who ask, one stays.
    with pytest.raises(Problem, match="only admin"):
        personal_erase.ask(bob, "erase")
    assert personal_erase.undo(alice)
    assert personal_erase.ask(bob, "erase").user == bob


def test_a_block_outlives_the_account(alice: User) -> None:
    row = personal_erase.ask(alice, "erase")
    User.objects.filter(pk=alice.pk).update(is_active=False)  # by an admin, in the day between
    assert personal_erase.run(str(row.pk), row.due_at)
    assert found_in_database("canary-of-alice") == set()
    left = User.objects.get(address=alice.address)
    assert (left.is_active, left.last_login, left.pk == alice.pk) == (False, None, False)
    assert not any(x.count(left) for x in personal.categories())


async def forever(reply: Reply, asked: Asked) -> None:
    await reply.start("id-1")
    await reply.tokens(*["canary-tick "] * 4_000, pause=0.02)


@pytest.mark.django_db(transaction=True)
async def test_an_answer_that_is_being_written_ends_first() -> None:
    async with stage(forever) as s:
        turn_id = await s.ask("Go on for ever")
        user = s.chat.owner
        # Its first words are there.
        await anext(entries async for entries in turnlog.batches(turn_id) if entries)
        row = await in_db(personal_erase.ask)(user, "erase")
        # Asked to end, in whichever process it is; gone at one of the next tries.
        assert not await in_db(personal_erase.run)(str(row.pk), row.due_at)
        ended = await s.ended(turn_id, judged=False)
        assert ended.state == State.STOPPED
        assert await in_db(personal_erase.run)(str(row.pk), row.due_at)
        assert not await in_db(Chat.objects.filter(pk=s.chat.pk).exists)()
        # Its process may still say that it has ended; what it wrote is gone.
        assert await in_db(found_in_redis)("canary-tick") == set()


# --- doors ----------------------------------------------------------------------------------------


def test_the_page_and_its_doors(alice: User) -> None:
    client, thief = Client(), Client()
    client.force_login(alice)  # signed in, but the signature is old
    page = client.get("/account/data").content.decode()
    counts = dict(re.findall(r'data-key="(\w+)" data-count="(\d+)"', page))
    assert set(counts) == {category.key for category in personal.categories()}
    assert next(iter(counts)) == "sessions" and next(reversed(counts)) == "commands"
    assert counts["conversations"] == "3" and all(int(n) for n in counts.values())
    assert 'data-testid="personal-stale"' in page and "erase-confirm" not in page
    assert client.post("/account/data/export").status_code == 403
    assert client.post("/account/data/erase", {"confirm": "ERASE"}).status_code == 403
    assert not Erasure.objects.exists()

    sign_in(client, alice)
    assert client.post("/account/data/export").status_code == 302
    row = Export.objects.filter(user=alice).latest("created_at")
    assert 'data-state="waiting"' in client.get("/account/data").content.decode()
    path = f"/account/data/{row.pk}.zip"
    assert client.get(path).status_code == 404, "not ready"
    personal_export.make(str(row.pk))
    answer: Any = client.get(path)
    body = b"".join(answer.streaming_content)
    assert zipfile.ZipFile(io.BytesIO(body)).testzip() is None
    assert int(answer["Content-Length"]) == len(body)
    assert answer["Content-Disposition"].startswith("attachment")
    sign_in(thief, person("bob"))
    assert thief.get(path).status_code == 404
    Export.objects.filter(pk=row.pk).update(expires_at=timezone.now())
    assert client.get(path).status_code == 404, "expired"
    assert {p.what: p.rows for p in retention.prune()}["personal files past their time"] == 1

    wrong = client.post("/account/data/erase", {"confirm": "no"})
    assert wrong.status_code == 400 and b"Type ERASE" in wrong.content
    assert client.post("/account/data/erase", {"confirm": "ERASE"}).status_code == 302
    planned = Erasure.objects.get(user=alice)
    assert b"erasure-planned" in client.get("/account/data").content
    receipt = f"/account/erased/{planned.pk}"
    assert b'data-state="planned"' in Client().get(receipt).content
    assert thief.post("/account/data/erase/undo").status_code == 302
    assert Erasure.objects.filter(user=alice).exists(), "somebody else's wish"
    assert personal_erase.run(str(planned.pk), planned.due_at)
    said = Client().get(receipt).content.decode()
    assert 'data-state="done"' in said and alice.address not in said
    assert client.get("/account/data").context["page"].title, "signed out"


def test_a_stopped_turn_is_no_reason_to_wait(alice: User) -> None:
    """A turn whose process died is ended by the sweep of chats; until then nothing is lost."""
    chat = Chat.objects.filter(owner=alice, medium="chat").exclude(key_sealed="").get()
    opened_turn = opening.open_turn(chat, "still open", process="dead").turn
    row = personal_erase.ask(alice, "erase")
    with Redis.from_url(_redis()) as redis, redis.pubsub() as ears:
        ears.subscribe("process:dead:stop")
        assert ears.get_message(timeout=5)  # that we hear it
        assert not personal_erase.run(str(row.pk), row.due_at)
        heard = ears.get_message(timeout=5)
    assert heard and heard["data"] == str(opened_turn).encode()
    assert Chat.objects.filter(owner=alice).exists()
    services.end_turn(opened_turn, State.CUT_OFF, Record())
    assert personal_erase.run(str(row.pk), row.due_at)


def _redis() -> str:
    from django.conf import settings

    return str(settings.REDIS_URL)

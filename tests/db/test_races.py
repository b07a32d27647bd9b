"""What only time shows: two at one moment, a message that comes late, a row that went meanwhile."""

from __future__ import annotations

import datetime as dt
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet
from django.core.mail.backends.locmem import EmailBackend as LocMemBackend
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts import crypto, intents, personal_erase, roles, tokens, watching
from accounts.errors import Problem
from accounts.models import Erasure, Intent, User
from accounts.models import State as IntentState
from alerts import deliver, hooks, mailbox, signing
from alerts import services as alerts
from alerts.kinds import Kind
from alerts.models import Attempt, Channels, Delivery, Hook, State
from devnet import accounts as cast
from finetune import follow, problems, publishing, results, services, tasks, wizard
from finetune.models import Dataset, DatasetState, Draft, Place, PlaceState, Task, Way
from ledger import selectors as ledger
from ledger.records import Listing
from marketplace import announcements
from marketplace.models import Announcement
from moderation import audit
from moderation import services as moderation
from moderation.decisions import Decision
from moderation.fold import Action
from moderation.models import Act
from moderation.subjects import Subject
from operators import notes
from operators.models import Note
from ops.admin_users import UserAdmin
from protocol import tuning
from protocol.digests import personal_digest, sign
from tests import factories
from tests.db import test_alert_deliveries as deliveries
from tests.db import test_listing_statements as said
from tests.db import test_tuning_states as states
from tests.db.test_admin import enter
from tests.db.test_keys_lasting import signed_in
from tests.db.test_verification_races import together

pytestmark = pytest.mark.django_db
alice, answering, chain = states.alice, states.answering, states.chain
receiver = deliveries.receiver


@pytest.mark.django_db(transaction=True)
def test_a_webhook_deleted_while_it_is_called_costs_nobody_else_a_second_call(
    alice: User, receiver: deliveries.Receiver
) -> None:
    now, users = timezone.now(), [alice, User.objects.for_address(factories.BOB)]
    for user in users:
        url = f"{receiver.url}/{user.pk}"
        sealed = crypto.seal(signing.new_secret())
        hook = Hook.objects.create(user=user, url=url, created_at=now, sealed_secret=sealed)
        Delivery.objects.create(user=user, hook=hook, created_at=now, due_at=now)

    def deleted() -> None:
        try:
            Hook.objects.filter(user=alice).delete()
        finally:
            connection.close()

    receiver.meanwhile = deleted
    assert deliver.send_due() == 2
    assert Delivery.objects.get().state == State.SENT and Attempt.objects.count() == 1


class Slower(LocMemBackend):
    """A mail server so slow with the first letter that the other person has no mails meanwhile."""

    def send_messages(self, messages: Any) -> int:
        for way in Channels.objects.exclude(email=messages[0].to[0]).select_related("user"):
            mailbox.forget(way.user)
        return int(super().send_messages(messages))


def test_no_mail_goes_to_an_address_that_was_deleted_while_it_waited_for_its_turn(
    settings: Any, mailoutbox: list[Any]
) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = f"{__name__}.Slower", "127.0.0.1"
    factories.mails_due(2)
    assert deliver.send_due() == 2
    assert len(mailoutbox) == 1
    assert sorted(Delivery.objects.values_list("state", flat=True)) == [State.FAILED, State.SENT]


@pytest.mark.django_db(transaction=True)
def test_what_is_due_for_a_person_is_taken_whole_by_one_of_several_workers() -> None:
    factories.mails_due(1)
    row, claims = Delivery.objects.get(), list[int]()
    made = {"user": row.user, "created_at": row.created_at, "due_at": row.due_at}
    Delivery.objects.bulk_create([Delivery(**made) for _ in range(999)])

    def claim() -> None:
        claims.append(len(deliver._claim(timezone.now(), hooks=False)))

    for _ in range(8):  # each takes what another has not come to yet: one time in five
        Delivery.objects.update(due_at=row.due_at)
        claims.clear()
        assert together(*[claim] * 4) == []
        assert sorted(claims) == [0, 0, 0, 1000]


@pytest.mark.django_db(transaction=True)
def test_a_wallet_is_not_asked_twice_by_two_tabs_that_say_it_was_not_asked(
    alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Intent.objects.create(
        user=alice, chain_id=settings.CHAIN_ID, action="deposit", params={},
        to=settings.LEDGER_ADDRESS, data="0x", value=1, state=IntentState.AWAITING_WALLET,
    )  # fmt: skip
    tabs = [intents.of(alice, row.pk) for _ in range(2)]
    (refused,) = together(*(partial(intents.confirm, tab, again=True) for tab in tabs))
    assert "already waiting in your wallet" in str(refused)
    # The same for the announcement of a dataset, which asks storage and chain in between.
    dataset = Dataset.objects.create(user=alice, name="d", size=1, state=DatasetState.GOOD)
    Place.objects.create(dataset=dataset, way=Way.STORAGE, state=PlaceState.ASKING)
    met = threading.Barrier(2)
    monkeypatch.setattr(publishing, "known", lambda _: None)
    told = publishing.Announcement("", "", 0, 0, 0, 0, 0)
    monkeypatch.setattr(publishing, "announcement", lambda *_: (met.wait(10), told)[1])
    again = partial(publishing.confirm, dataset, alice.address, again=True)
    (refused,) = together(again, again)
    assert "waits in your wallet" in str(refused)
    # And for two datasets of the same bytes, which one announcement is for.
    Place.objects.all().delete()
    twin = Dataset.objects.create(user=alice, name="d", size=1, state=DatasetState.GOOD)
    both = (partial(publishing.confirm, one, alice.address) for one in (dataset, twin))
    (refused,) = together(*both)
    assert "waits in your wallet" in str(refused)
    # While the one is followed the other waits, however long; what storage has lost since holds it
    # no more.
    old = timezone.now() - dt.timedelta(hours=2)
    monkeypatch.setattr(publishing, "announcement", lambda *_: told)
    for state in (PlaceState.WAITING, PlaceState.SENDING, PlaceState.THERE):
        Place.objects.all().delete()
        stands = {"state": state, "tx_hash": "0x" + "ab" * 32, "tx_at": old}
        Place.objects.create(dataset=dataset, way=Way.STORAGE, **stands)
        Place.objects.update(updated_at=old)
        free = together(partial(publishing.confirm, twin, alice.address)) == []
        assert free == (state == PlaceState.THERE)


class _Taking(states._Logging):
    """Takes a task once, whoever asks first; two ask at the same moment."""

    def do_POST(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers["Content-Length"]))
        first = server.barrier.wait(10) == 0
        getattr(server, "meanwhile", int)()
        self.send_response(201 if first else 400)
        self.end_headers()
        task = json.loads(server.told)[0]
        self.wfile.write(json.dumps(task if first else {"error": "invalid nonce"}).encode())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("found", [False, True], ids=["two clicks", "found in another tab"])
def test_a_task_handed_in_twice_is_one(alice: User, answering: Any, found: bool) -> None:
    server, url = answering(_Taking)
    model = next(iter(tuning.MODEL_HASHES))
    listing = factories.service(
        kind="fine-tuning", serving=factories.FINE_TUNING, model_list=[model], url=url
    )

    def drafted() -> Draft:
        draft = wizard.begin(alice)
        draft.provider, draft.serving, draft.model = listing.provider, listing.serving, model
        draft.service_name, draft.dataset_hash = "", states.HASH
        price = str(Listing.of(listing, ledger.contracts()).price_per_token)
        draft.pending = {"nonce": "7", "dataset_hash": states.HASH, "price": price}
        draft.save()
        return draft

    draft = drafted()
    digest = personal_digest(tuning.task_hash(alice.address, 7, states.HASH))
    signature = "0x" + sign(digest, cast.user(1).key).hex()
    said = {"id": str(uuid4()), "nonce": "7", "progress": tuning.INIT, "datasetHash": states.HASH}
    server.told, server.barrier = json.dumps([said]).encode(), threading.Barrier(1 if found else 2)
    clicks = [Draft.objects.select_related("user").get(pk=draft.pk) for _ in range(2 - found)]
    if found:
        assert follow.adopt(alice, Listing.of(listing, ledger.contracts())) == 1

    def create(clicked: Draft) -> Any:
        try:
            return wizard.create(clicked, signature)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        done = {task.pk for task in pool.map(create, clicks)}
    task = Task.objects.get()
    assert done == {task.pk} and task.signature == signature and task.passages.count() == 1
    assert not Draft.objects.exists()
    # What was edited in another tab while the provider was asked is kept, as a draft.
    edited, server.barrier = drafted(), threading.Barrier(1)
    before, edited.parameters = edited.parameters, edited.parameters.replace("5", "4")

    def edit() -> None:
        wizard.configure(edited)
        connection.close()

    server.meanwhile = edit
    wizard.create(Draft.objects.select_related("user").get(pk=edited.pk), signature)
    assert Draft.objects.get().parameters == edited.parameters != before
    assert Task.objects.get().parameters == before
    Draft.objects.all().delete()
    del server.meanwhile
    # A provider that names an older task, or somebody else's.
    others: tuple[dict[str, Any], ...] = (
        {"nonce": 6, "signature": "0x06"}, {"user": User.objects.for_address(factories.BOB)}
    )  # fmt: skip
    for other in others:
        Task.objects.update(**other)
        kept = Task.objects.values().get()
        server.barrier = threading.Barrier(1)
        with pytest.raises(Problem, match="another task"):
            wizard.create(drafted(), signature)
        assert Task.objects.values().get() == kept and Draft.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_dataset_is_sent_once_at_a_time(alice: User, monkeypatch: Any) -> None:
    dataset = Dataset.objects.create(user=alice, name="d", size=1, state=DatasetState.GOOD)
    now = int(timezone.now().timestamp())

    def ask(at: int) -> Place:
        digest = personal_digest(tuning.upload_hash(alice.address, at))
        signature = "0x" + sign(digest, cast.user(1).key).hex()
        return services.send_to(dataset, factories.PETRA, "http://127.0.0.1:1", signature, at)

    place = ask(now)
    Place.objects.update(state=PlaceState.SENDING)
    assert ask(now - 1).state == PlaceState.SENDING, "what is on its way is left alone"
    Place.objects.update(state=PlaceState.FAILED)
    again = ask(now - 2)
    services._failed(place, "of the try before")
    again.refresh_from_db()
    assert (again.state, again.error) == (PlaceState.WAITING, "")


def test_what_no_key_opens_is_not_read_for_ever(alice: User, settings: Any) -> None:
    dataset = services.begin(alice, "d", 3)
    services.put(dataset, 0, b"{}\n")
    services.finish(dataset)
    stale = Dataset.objects.get()
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    services.check(Dataset.objects.select_related("file").get())
    dataset.refresh_from_db()
    assert dataset.state == DatasetState.BAD and dataset.problems == [[1, problems.UNREADABLE]]
    # A second "all is here" that comes late begins nothing anew.
    stale.state = DatasetState.UPLOADING
    services.finish(stale)
    dataset.refresh_from_db()
    assert dataset.state == DatasetState.BAD


def test_a_result_that_is_here_is_not_fetched_again_by_a_late_message(alice: User) -> None:
    task = states.made(alice, result_state=results.State.HERE)
    tasks.fetch(str(task.pk), "0x00", 1)
    task.refresh_from_db()
    assert (task.result_state, task.result_error) == (results.State.HERE, "")


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_ask_at_once_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    admins = [User.objects.for_address(each) for each in (factories.ALICE, factories.BOB)]
    for each in admins:
        roles.give(each, roles.Role.ADMIN)
    met, last = threading.Barrier(2), personal_erase._last_admin

    def slowly(user: User) -> bool:
        found = last(user)
        with suppress(threading.BrokenBarrierError):
            met.wait(0.5)
        return found

    monkeypatch.setattr(personal_erase, "_last_admin", slowly)
    raised = together(*(lambda user=user: personal_erase.ask(user, "erase") for user in admins))
    assert ["only admin" in str(error) for error in raised] == [True]
    assert Erasure.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_take_each_others_role_one_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admins = [User.objects.for_address(each) for each in (factories.ALICE, factories.BOB)]
    met, saved = threading.Barrier(2), UserAdmin.save_model
    for each in admins:
        roles.give(each, roles.Role.ADMIN)

    def at_once(*given: Any) -> None:
        met.wait(10)  # both were let in
        saved(*given)

    def take(by: User, of: User) -> None:
        client = Client()
        enter(client, by)
        form = {"is_active": "on", "roles": [], "reason": "they go"}
        answers.append(client.post(f"/admin/accounts/user/{of.pk}/change/", form).status_code)

    monkeypatch.setattr(UserAdmin, "save_model", at_once)
    answers: list[int] = []
    assert not together(partial(take, *admins), partial(take, *reversed(admins)))
    assert sorted(answers) == [302, 403] and Act.objects.count() == 1
    assert User.objects.filter(groups__name=roles.Role.ADMIN.value).count() == 1


@pytest.mark.django_db(transaction=True)
def test_who_loses_the_role_while_they_wait_decides_nothing(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles.give(alice, roles.Role.MODERATOR)
    about = Subject.provider_of(factories.PETRA)
    flag = Decision(Action.FLAG, "odd", "Odd weights.")
    held, asked, lock = threading.Event(), threading.Event(), audit.lock

    def locking() -> None:
        asked.set()
        lock()

    monkeypatch.setattr(audit, "lock", locking)

    def decide() -> None:
        assert moderation.may_decide(alice) and held.wait(10), "as the door sees them"
        moderation.decide(alice, about, flag)

    def take() -> None:
        with transaction.atomic():
            lock()
            held.set()
            assert asked.wait(10)
            roles.take(User.objects.get(pk=alice.pk), roles.Role.MODERATOR)

    (refused,) = together(decide, take)
    assert "role of moderator" in str(refused) and not Act.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_who_sends_many_at_once_gets_no_more_than_the_most(
    alice: User, client: Client, rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    met, count = threading.Barrier(2), QuerySet.count

    def slowly(rows: Any) -> int:
        found: int = count(rows)
        with suppress(threading.BrokenBarrierError):
            met.wait(0.3)
        return found

    def watch(provider: str) -> None:
        request = rf.post("/")
        request.user = alice
        watching.put(request, (factories.INFERENCE, provider), True)

    def arrive(provider: str) -> None:
        request = rf.post("/")
        request.session = {"watched": [[factories.INFERENCE, provider]]}  # type: ignore[assignment]
        watching.merge(None, request, alice)

    def announce(title: str) -> None:
        typed = {"kind": "incident", "title": title, "text": "We look into it."}
        written, _ = announcements.parse(typed, timezone.now())
        assert written is not None
        announcements.announce(written, timezone.now())

    def note(written: tuple[Client, str]) -> None:
        said.sign(written[0], said.NOTES, written[1], by=cast.user(1))

    def token(label: str) -> None:
        tokens.create(alice, tokens.Wanted.of({"label": label, "scopes": ["read"]}))

    factories.service(alice.address)
    sessions = [signed_in(cast.user(1)) for _ in range(2)]
    for session in sessions:
        session.post(said.NOTES, said.note())
    written = [(session, said.waiting(session, said.NOTES)) for session in sessions]
    two = factories.PETRA, factories.BOB
    urls = "https://a.example/", "https://b.example/"
    limited: tuple[tuple[Any, str, Any, Any, Any], ...] = (
        (watching, "MOST", watch, two, alice.watches),
        (watching, "MOST", arrive, two, alice.watches),
        (announcements, "MOST_OPEN", announce, ("One", "Two"), Announcement.objects),
        (notes, "MOST", note, written, Note.objects),
        (alerts, "MOST_RULES", lambda who: alerts.add(alice, alerts.Wish(Kind.SIGNER, who)), two,
         alice.alert_rules),
        (hooks, "MOST", lambda url: hooks.create(alice, url), urls, alice.hooks),
        (tokens, "MOST_TOKENS", token, "ab", alice.access_tokens),
    )  # fmt: skip
    for module, most, act, given, rows in limited:
        rows.all().delete()
        met.reset()
        with monkeypatch.context() as held:
            held.setattr(module, most, 1)
            held.setattr(QuerySet, "count", slowly)
            together(*(partial(act, one) for one in given))
        assert rows.all().count() == 1, act


@pytest.mark.django_db
def test_each_worker_erases_what_it_was_given_however_many_are_due() -> None:
    now = timezone.now()
    rows = Erasure.objects.bulk_create(Erasure(asked_at=now, due_at=now) for _ in range(60))
    assert personal_erase.run(str(rows[-1].pk), now)

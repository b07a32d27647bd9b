"""One of each private thing, all Alice's; Bob has nothing; Petra offers a service."""

from __future__ import annotations

import copy
import re
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from django.core.cache import cache
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from accounts import roles
from accounts.models import AccessToken, Erasure, Export, Intent, SignIn, User
from accounts.roles import Role
from alerts import services as alerts
from alerts.models import Delivery, Hook, Notification, Rule
from attestation.models import Endpoint, Outcome, Trigger, Verification
from finetune.models import Dataset, DatasetState, Draft, Task
from inference import conversations, opening, presets, services, shares
from inference.media.models import File, Job
from inference.media.models import Role as FileRole
from inference.models import Chat, Medium, State, Turn
from inference.relay import Record
from ledger.models import Service
from marketplace.models import Announcement
from moderation import audit
from moderation.models import Item, ItemKind
from operators.models_listing import Note, NoteKind, SelfTest, SetupRun
from ops import failures
from ops.models import Job as OpsJob
from protocol import fees
from tests import factories
from tests.db.chat_world import make_key

#: Columns of the table.
VISITORS = ("anonymous", "user", "other", "operator", "moderator", "admin", "auditor")
NOWHERE = "http://127.0.0.1:9"
#: Stands in everything that is Alice's alone.
CANARY = "canary-of-alice"
PARAMETERS = (
    '{"neftune_noise_alpha": 5, "num_train_epochs": 1, "per_device_train_batch_size": 2, '
    '"learning_rate": 0.0002, "max_steps": 3}'
)


def routes(resolver: Any = None, before: str = "") -> list[str]:
    """Every path pattern of the site, as Django spells it; those of `/admin/` with their prefix."""
    found = []
    for entry in (resolver or get_resolver()).url_patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            found += routes(entry, route)
        else:
            assert isinstance(entry, URLPattern)
            found.append(route)
    return found


class World:
    """`clients` by visitor; `path` makes a real address of a pattern."""

    def __init__(self) -> None:
        factories.head()
        factories.contract()
        factories.contract(kind="fine-tuning", address=factories.FINE_TUNING)
        factories.service(url=NOWHERE)
        factories.purse()
        factories.sub_account(acknowledged=True)
        self.users = {
            "user": User.objects.for_address(factories.ALICE),
            "other": User.objects.for_address(factories.BOB),
            "operator": User.objects.for_address(factories.PETRA),
        }
        for role in Role:
            user = User.objects.for_address(factories.address(str(role)))
            roles.give(user, role)
            self.users[str(role)] = user
        self.alice = self.users["user"]
        self.given = {**self._of_account(), **self._of_alerts(), **self._of_chats()}
        self.given |= {**self._of_tuning(), **self._of_staff()}
        self.clients = {name: self._client(name) for name in VISITORS}
        self.cookies = {name: copy.deepcopy(self.clients[name].cookies) for name in VISITORS}
        self.read = ""
        #: Whose answers a shared cache might keep, though they are somebody's.
        self.shared: set[str] = set()

    def _client(self, name: str) -> Client:
        client = Client(raise_request_exception=False)
        if name in self.users:
            client.force_login(self.users[name])
        return client

    def refuses(self, visitor: str, method: str, route: str) -> bool:
        """Whether the method is none of this door's, asked as a program: no page is drawn that
        says so (tests/db/test_page_errors.py looks at that one)."""
        status, body = self.ask(visitor, method, route, accept="application/json")
        return status == 405 and CANARY.encode() not in body

    def ask(self, visitor: str, method: str, route: str, accept: str = "*/*") -> tuple[int, bytes]:
        """Status and body; nothing stays of what the request did, the session of a sign-out too.

        Visitors who read the same page after each other share the caches: none may get another's.
        """
        client = self.clients[visitor]
        client.cookies = copy.deepcopy(self.cookies[visitor])
        if method != "GET" or route != self.read:
            cache.clear()  # limits count from nothing
        self.read = route if method == "GET" else ""
        saved = transaction.savepoint()
        try:
            answer: Any = getattr(client, method.lower())(
                self.path(route), headers={"accept": accept}
            )
            body = answer.content if not answer.streaming else b""
            if answer.streaming and not answer.is_async:
                body = b"".join(answer)
            kept = re.search("private|no-store", answer.headers.get("Cache-Control", ""))
            if not kept and (answer.cookies or CANARY.encode() in body):
                self.shared.add(f"{visitor} at {method} {route}")
            return answer.status_code, body
        finally:
            transaction.savepoint_rollback(saved)

    def _of_account(self) -> dict[str, Any]:
        now = timezone.now()
        intent = Intent.objects.create(
            user=self.alice,
            chain_id=31337,
            action="deposit",
            params={"amount": "1"},
            to=factories.INFERENCE,
            data="0x",
            value=1,
        )
        token = AccessToken.objects.create(
            user=self.alice,
            label="a",
            digest="d",
            hint="zgm_",
            created_at=now,
            expires_at=now + timedelta(days=1),
        )
        signed = SignIn.objects.create(user=self.alice, session_key="s", seen_at=now)
        later = now + timedelta(days=1)
        export = Export.objects.create(
            user=self.alice, key_sealed="", state="done", expires_at=later
        )
        erasure = Erasure.objects.create(user=self.alice, asked_at=now, due_at=later)
        return {
            "export_id": export.pk,
            "erasure_id": erasure.pk,
            "account/transactions|identifier": intent.pk,
            "token_id": token.pk,
            "sign_in_id": signed.pk,
            "key_id": make_key(self.alice).pk,
        }

    def _of_alerts(self) -> dict[str, Any]:
        now = timezone.now()
        rule = Rule.objects.create(user=self.alice, kind="signer", created_at=now, after_block=0)
        hook = Hook.objects.create(
            user=self.alice, url=f"https://{CANARY}.example/", sealed_secret="", created_at=now
        )
        told = Notification.objects.create(
            user=self.alice,
            rule=rule,
            kind="signer",
            occurrence="1",
            title=f"{CANARY} told",
            path="/account",
            at=now,
        )
        delivery = Delivery.objects.create(
            user=self.alice,
            notification=told,
            hook=hook,
            created_at=now,
            due_at=now,
            state="sent",
        )
        return {
            "rule_id": rule.pk,
            "hook_id": hook.pk,
            "notification_id": told.pk,
            "delivery_id": delivery.pk,
            "token": alerts.channels_of(self.alice).feed,
        }

    def _of_chats(self) -> dict[str, Any]:
        chat = conversations.create_chat(self.alice, factories.PETRA)
        opened = opening.open_turn(chat, f"{CANARY} asked", process="p")
        record = Record(request_sha256="a" * 64, answer_id="id-1", complete=True)
        record.text.append(f"{CANARY} answered")
        record.usage = fees.Usage(1_024, 310)
        assert services.end_turn(opened.turn, State.ANSWERED, record)
        made = {
            medium: Chat.objects.create(
                owner=self.alice,
                provider=factories.PETRA,
                medium=medium,
                asked=True,
                key_sealed=chat.key_sealed,
            )
            for medium in (Medium.IMAGES, Medium.SPEECH, Medium.EMBED)
        }
        for each in made.values():
            self.turn_of(each)
        file = File(
            chat=made[Medium.IMAGES],
            turn=made[Medium.IMAGES].turns.get(),
            role=FileRole.MADE,
            size=1,
            sha256="a",
            media_type="image/png",
        )
        file.sealed = file.chat.box.seal(f"file {file.pk}", b"x")
        file.save()
        preset = presets.save(self.alice, CANARY, {"system": f"{CANARY} told"})
        presets.save(self.alice, CANARY, {})
        chat.refresh_from_db()
        share = shares.create(chat, "1")
        return {
            "share": share.pk,
            "shared|token": chat.box.text("share", share.token_sealed),
            "playground/chat|chat": chat.pk,
            "playground/images|chat": made[Medium.IMAGES].pk,
            "playground/audio|chat": made[Medium.SPEECH].pk,
            "playground/embeddings|chat": made[Medium.EMBED].pk,
            "turn": opened.turn,
            "file": file.pk,
            "preset": preset.id,
            "version": presets.versions(self.alice, preset.id)[0].id,
        }

    def turn_of(self, chat: Chat) -> Turn:
        turn = Turn.objects.create(
            chat=chat,
            prompt_key=uuid.uuid4(),
            state=State.ANSWERED,
            process="p",
            provider=factories.PETRA,
            serving=factories.INFERENCE,
            url=NOWHERE,
            model="m",
            input_price=1,
            output_price=1,
            max_tokens=10,
            ended_at=timezone.now(),
            complete=True,
            verdict="verified",
        )
        paths = {Medium.IMAGES: "images/generations", Medium.EMBED: "embeddings"}
        path = paths.get(Medium(chat.medium), "audio/transcriptions")
        Job.objects.create(turn=turn, path=path, content_type="application/json")
        return turn

    def _of_tuning(self) -> dict[str, Any]:
        now = timezone.now()
        dataset = Dataset.objects.create(
            user=self.alice, name=f"{CANARY} data", size=1, state=DatasetState.GOOD
        )
        draft = Draft.objects.create(user=self.alice, dataset=dataset)
        task = Task.objects.create(
            user=self.alice,
            remote_id=uuid.uuid4(),
            provider=factories.PETRA,
            serving=factories.FINE_TUNING,
            service_name="f",
            url=NOWHERE,
            model="m",
            model_hash="",
            dataset=dataset,
            dataset_hash="",
            parameters=PARAMETERS,
            price_per_token=1,
            nonce=1,
            signature="0x",
            tee_signer=factories.PETRA,
            created_at=now,
            look_next=None,
        )
        return {"dataset_id": dataset.pk, "draft_id": draft.pk, "task_id": task.pk}

    def _of_staff(self) -> dict[str, Any]:
        now = timezone.now()
        petra = self.users["operator"]
        run = {"user": petra, "kind": "inference", "url": NOWHERE}
        item = Item.objects.create(
            kind=ItemKind.NEW,
            subject_kind="provider",
            subject=factories.PETRA,
            occurrence="1",
            opened_at=now,
        )
        act = audit.record(
            self.users["moderator"],
            "note",
            ("provider", factories.PETRA),
            area="moderation",
            now=now - timedelta(hours=1),  # too late to undo, however fast this runs
        )
        run_of_evidence = Verification.objects.create(
            kind="inference",
            provider=factories.PETRA,
            endpoint=Endpoint.BROKER,
            trigger=Trigger.LISTED,
            started_at=now,
            finished_at=now,
            outcome=Outcome.UNREACHABLE,
            now_unix=int(now.timestamp()),
            content_hash="a1" * 32,
        )
        note = Note.objects.create(
            provider=factories.PETRA,
            message="m",
            signature="0x",
            nonce="n",
            signed_at=now,
            kind=NoteKind.MAINTENANCE,
            starts_at=now,
            text="t",
        )
        return {
            "operator/setup|identifier": SetupRun.objects.create(**run).pk,
            "operator/selftest|identifier": SelfTest.objects.create(**run).pk,
            "operator/notes|identifier": note.pk,
            "item_id": item.pk,
            "moderation|number": act.number,
            "job_id": OpsJob.objects.create(name="doctor", created_at=now).pk,
            "announcement_id": Announcement.objects.create(kind="incident", starts_at=now).pk,
            "failure_id": failures.keep("a.task", "1", ValueError("no"), [], {}).pk,
            "id": run_of_evidence.pk,
            "digest": run_of_evidence.content_hash[:16],
            # What is no private thing.
            "address": factories.PETRA,
            "provider": factories.PETRA,
            "kind": "inference",
            "model": quote(Service.objects.get(provider=factories.PETRA).model, safe=""),
            "tx_hash": "0x" + "12" * 32,
            "slug": "getting-started",
            "day": "2026-05-01",
            "section": "pages",
            "number": 1,
            "name": "model",
        }

    def path(self, route: str) -> str:
        """The address of Alice's thing (or Petra's) that a pattern matches."""

        def value(name: str) -> str:
            for key, given in self.given.items():
                start, _, wanted = key.partition("|")
                if wanted == name and start in route:
                    return str(given)
            if name == "form":
                return "json" if "chat" in route else "srt"
            return str(self.given[name])

        group = r"\(\?P<(\w+)>(?:\[[^\]]*\]|\{\d+\}|[^()\[\]])*\)"
        path = re.sub(group, lambda found: value(found[1]), route)
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: value(found[1]), path)
        return "/" + path.strip("^$").replace("\\.", ".").replace("(?:/.*)?", "/nothing")

"""What is stored of a conversation: sealed, searchable, exportable, and gone when it should be."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as site
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import StreamingHttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import crypto
from accounts.models import ProviderKey, User
from accounts.session_store import name_of
from attestation import verify
from inference import answers, conversations, opening, seals, search, services
from inference.failures import Failure
from inference.models import Chat, State, Turn
from inference.openai.choose import relay_chat
from inference.options import Options
from inference.relay import Record
from net import stores
from tests import factories
from tests.conftest import ROOT
from tests.db.chat_world import in_db, make_key, stage, world
from tests.db.personal_world import prove, sign_in
from tests.db.plans import plans
from tests.live.chat_upstream import Asked, Reply

SECRET = "the walrus keeps its pin code"


@pytest.fixture
def chat(db: None) -> Chat:
    return world("http://127.0.0.1:9")


def signed_in(user: User) -> Client:
    client = Client()
    sign_in(client, user)
    return client


def said(chat: Chat, question: str, answer: str, **again: Any) -> Turn:
    """A turn that ended well."""
    opened = opening.open_turn(chat, question, process="p", **again)
    record = Record(complete=True)
    record.text.append(answer)
    record.reasoning.append("because " + answer)
    assert services.end_turn(opened.turn, State.ANSWERED, record)
    return Turn.objects.select_related("chat").get(pk=opened.turn)


def everything_stored() -> bytes:
    """All rows of all our tables, as PostgreSQL writes them."""
    with connection.cursor() as cursor:
        names = ["inference_chat", "inference_turn"]
        rows = []
        for name in names:
            cursor.execute(f"SELECT * FROM {name}")
            rows += cursor.fetchall()
    return b"\n".join(bytes(v) if isinstance(v, memoryview) else str(v).encode()
                      for row in rows for v in row)  # fmt: skip


@pytest.mark.django_db
def test_nothing_that_was_said_is_stored_in_clear(chat: Chat) -> None:
    turn = said(chat, f"Hello? {SECRET}", f"I heard: {SECRET}")
    stored = everything_stored()
    for piece in (SECRET, "walrus", "pin code", base64.b64encode(SECRET.encode()).decode()[4:-4]):
        assert piece.encode() not in stored
    assert turn.question.endswith(SECRET) and turn.answer.endswith(SECRET)
    assert turn.reasoning.startswith("because") and SECRET.encode() in turn.request
    assert turn.chat.title.startswith("Hello?")


@pytest.mark.django_db
def test_sealed_fields_cannot_be_swapped_or_altered(chat: Chat) -> None:
    turn = said(chat, "The question", "The answer")
    other = said(conversations.create_chat(chat.owner, factories.PETRA), "Else", "Other")
    turn.answer_sealed = turn.question_sealed
    assert turn.answer == seals.LOST
    turn.answer_sealed = other.answer_sealed
    assert turn.answer == seals.LOST
    altered = bytearray(turn.question_sealed)
    altered[-1] ^= 1
    turn.question_sealed = bytes(altered)
    assert turn.question == seals.LOST


@pytest.mark.django_db
def test_a_new_field_key_takes_over_and_a_lost_one_takes_no_page_down(
    chat: Chat, settings: Any
) -> None:
    turn = said(chat, "The question", "The answer")
    old, new = settings.FIELD_KEYS[0], Fernet.generate_key().decode()
    settings.FIELD_KEYS = [new, old]
    call_command("rotate_field_keys")
    settings.FIELD_KEYS = [new]
    assert Turn.objects.select_related("chat").get(pk=turn.pk).answer == "The answer"
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    alice = signed_in(chat.owner)
    for path in (f"/playground/chat/{chat.pk}", f"/playground/chat/turns/{turn.pk}",
                 f"/playground/chat/turns/{turn.pk}/inspect", f"/playground/chat/{chat.pk}.json",
                 f"/playground/chat/{chat.pk}.md", "/playground/chat?q=question",
                 "/playground/requests"):  # fmt: skip
        page = alice.get(path)
        assert page.status_code == 200 and "The answer" not in page.getvalue().decode(), path
    assert seals.LOST in alice.get(f"/playground/chat/{chat.pk}").content.decode()
    chat.refresh_from_db()
    assert crypto.rotate() == (0, 2), "the conversation's and the provider's"


@pytest.mark.django_db
def test_a_question_that_never_left_has_no_verdict(chat: Chat) -> None:
    said(chat, "The question", "The answer")
    never = opening.open_turn(chat, "Nobody hears", process="p").turn
    assert services.cut_off(never, "")
    Turn.objects.exclude(pk=never).update(verdict="altered")
    alice = signed_in(chat.owner)
    page = alice.get("/playground/requests").content.decode()
    rows = page.split('data-testid="request-row"')[1:]
    assert [re.findall(r'data-verdict="(\w+)"', row) for row in rows] == [[], ["altered"]]
    assert '<option value="altered">Signed, but for different text</option>' in page
    for verdict, listed in (("not_comparable", 0), ("altered", 1)):
        page = alice.get("/playground/requests", {"verdict": verdict}).content.decode()
        assert page.count('data-testid="request-row"') == listed
    exported = alice.get(f"/playground/chat/{chat.pk}.md").getvalue().decode()
    assert "Nobody hears" in exported and "None in" not in exported
    # It went through the relay, which waits longer, and nobody charges for it.
    Turn.objects.filter(pk=never).update(
        chat=relay_chat(chat.owner), endpoint="chat/completions", state="failed",
        failure="slow_start", fee=0, fee_kind="none",
    )  # fmt: skip
    page = alice.get(f"/playground/chat/turns/{never}/inspect").content.decode()
    assert "The provider did not answer in time" in page and "within 20 s" not in page
    assert "nothing due" in page
    # What a program's request said of itself is not kept.
    assert "Bearer app-sk-" in page and "event-stream" not in page


@pytest.mark.django_db
def test_search_finds_names_questions_and_answers_of_ones_own(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(chat, "Who is Ada?", "A Countess & mathematician")
    bob = User.objects.for_address(factories.BOB)
    theirs = conversations.create_chat(bob, factories.PETRA)
    theirs.box.seal_text("title", "x")
    Chat.objects.filter(pk=theirs.pk).update(
        asked=True, title_sealed=theirs.box.seal_text("title", "countess of Bob")
    )
    alice = signed_in(chat.owner)
    page = alice.get("/playground/chat", {"q": "COUNTESS &"}).content.decode()
    assert "1 found in 1 answers" in page and "A Countess &amp; mathematician" in page
    assert "of Bob" not in page
    page = alice.get("/playground/chat", {"q": "nowhere"}).content.decode()
    assert "0 found" in page and "No conversation contains this" in page
    assert (
        signed_in(bob).get("/playground/chat", {"q": "countess"}).content.decode().count("0 found")
    )
    # letter case folded, a text may be longer than it is: the excerpt is from where the words are
    conversations.rename(chat, "ß" * 60 + " needle")
    page = alice.get("/playground/chat", {"q": "NEEDLE"}).content.decode()
    assert f"…{'ß' * 39} needle</span>" in page
    # only so much is opened and read: what is older is said to be left out, as with too many
    said(chat, "And Babbage?", "An engineer " * 100)
    page = alice.get("/playground/chat", {"q": "countess"}).content.decode()
    assert "1 found in 2 answers" in page
    for name, most in (("LOOKED_AT_BYTES", 1_000), ("LOOKED_AT", 1)):
        with monkeypatch.context() as patched:
            patched.setattr(search, name, most)
            page = alice.get("/playground/chat", {"q": "countess"}).content.decode()
            assert "0 found in the newest 1 answers" in page, name
    monkeypatch.setattr(search, "PER_MINUTE", 1)
    assert alice.get("/playground/chat", {"q": "countess"}).status_code == 429


@pytest.mark.django_db
def test_rename_delete_and_bring_back(chat: Chat) -> None:
    said(chat, "A question", "An answer")
    alice, path = signed_in(chat.owner), f"/playground/chat/{chat.pk}"
    alice.post(f"{path}/rename", {"title": "  Of <walruses>  "})
    assert "Of &lt;walruses&gt;" in alice.get(path).content.decode()
    for bad in ("", "   ", "x" * 81):
        assert alice.post(f"{path}/rename", {"title": bad}).status_code == 409
    gone = alice.post(f"{path}/delete")
    assert gone["Location"] == f"/playground/chat?deleted={chat.pk}"
    after = alice.get(gone["Location"]).content.decode()
    assert "The conversation was deleted." in after and "walruses" not in after
    for hidden in (path, f"{path}.json"):
        assert alice.get(hidden).status_code == 404
    assert conversations.purge() == 0, "it can still be brought back"
    strangers = signed_in(User.objects.for_address(factories.BOB))
    assert strangers.post(f"{path}/undo").status_code == 404
    assert alice.post(f"{path}/undo").status_code == 302
    assert alice.get(path).status_code == 200
    alice.post(f"{path}/delete")
    Chat.objects.update(deleted_at=timezone.now() - timedelta(minutes=2))
    # An offer that came too late says so, and a page that is loaded again makes none.
    late = alice.post(f"{path}/undo")
    assert late.status_code == 404 and b"It is too late to undo this." in late.content
    assert "The conversation was deleted." not in alice.get(gone["Location"]).content.decode()
    # The words of an answer that has just been written are in clear where windows watch it.
    stream = f"turn:{Turn.objects.get().pk}"
    with stores.client(site.REDIS_URL) as redis:
        redis.xadd(stream, {"delta": "walruses"})
        assert conversations.purge() == 1
        assert not redis.exists(stream)
    assert Chat.objects.count() == Turn.objects.count() == 0


@pytest.mark.django_db
def test_a_conversation_that_is_not_kept_lives_in_its_session_alone(chat: Chat) -> None:
    alice, elsewhere = signed_in(chat.owner), signed_in(chat.owner)
    made = alice.post("/playground/chat/start", {"provider": factories.PETRA, "keep": "no"})
    path = made["Location"]
    private = Chat.objects.exclude(pk=chat.pk).get()
    assert private.key_sealed == "" and private.session_key == name_of(alice.session.session_key)
    turn = said(private, f"Hello? {SECRET}", "An answer", options=Options(system=SECRET))
    next_one = conversations.create_chat(chat.owner, factories.PETRA)
    assert next_one.options == Options(), "how it was asked goes into no other conversation"
    next_one.delete()
    page = alice.get(path).content.decode()
    assert SECRET in page and "Not kept" in page
    assert "has not been checked here as it is listed now, or not" in page
    assert "So could whoever runs this site" in page
    assert SECRET in alice.get("/playground/chat", {"q": "walrus"}).content.decode()
    for hidden in (path, f"{path}.json", f"/playground/chat/turns/{turn.pk}"):
        assert elsewhere.get(hidden).status_code == 404, "same person, another session"
    assert "walrus" not in elsewhere.get("/playground/chat").content.decode()
    assert "0 found" in elsewhere.get("/playground/chat", {"q": "walrus"}).content.decode()
    assert "request-row" not in alice.get("/playground/requests").content.decode()
    # nothing in the database opens it
    seals.forget_key(private.pk)
    assert Turn.objects.select_related("chat").get(pk=turn.pk).question == seals.LOST
    assert conversations.purge() == 0, "a minute of grace"
    Chat.objects.filter(pk=private.pk).update(created_at=timezone.now() - timedelta(minutes=2))
    assert conversations.purge() == 1
    assert list(Chat.objects.all()) == [chat]


@pytest.mark.django_db
def test_signing_out_ends_what_is_not_kept(
    chat: Chat,
    django_assert_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice = signed_in(chat.owner)
    for _ in range(2):
        alice.post("/playground/chat/start", {"provider": factories.PETRA, "keep": "no"})
    private = [one.pk for one in Chat.objects.exclude(pk=chat.pk)]
    Chat.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    with django_assert_num_queries(3):  # one for all sessions
        assert conversations.purge() == 0
    # However many there are, some are looked at each time: first those whose session has ended.
    monkeypatch.setattr(conversations, "BATCH", 1)
    elsewhere = signed_in(chat.owner)
    elsewhere.post("/playground/chat/start", {"provider": factories.PETRA, "keep": "no"})
    living = Chat.objects.exclude(pk__in=[chat.pk, *private]).get()
    Chat.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    alice.logout()
    assert [conversations.purge() for _ in range(3)] == [1, 1, 0]
    seals.forget_key(living.pk)
    assert conversations.purge() == 1
    assert list(Chat.objects.all()) == [chat]
    assert seals.lent(private) == set()


@pytest.mark.django_db
def test_what_was_begun_and_never_asked_goes_after_a_session(chat: Chat) -> None:
    empty = conversations.create_chat(chat.owner, factories.PETRA)
    opening.open_turn(chat, "One question", process="p")
    Chat.objects.update(updated_at=timezone.now() - timedelta(days=6))
    assert conversations.purge() == 0
    Chat.objects.update(updated_at=timezone.now() - timedelta(days=8))
    assert conversations.purge() == 1
    assert list(Chat.objects.all()) == [chat] and empty.pk != chat.pk


async def polite(reply: Reply, asked: Asked) -> None:
    answer_id = f"id-{len(reply.upstream.chats)}"
    await reply.start(answer_id, Connection="close")
    await reply.tokens("One ", "two `three` ", *[f"word{i} " for i in range(800)])
    await reply.signed_end(answer_id, asked)


def printed(exported: bytes, folder: Path) -> str:
    """What the program of the documentation says about a file."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/chat.md").read_text(), re.S)
    file = folder / "chat.json"
    file.write_bytes(exported)
    return subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True
    ).stdout


def unpacked(turns: list[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
    """By the rule that the file itself states."""
    made, before = [], b""
    for item in turns:
        packed = (base64.b64decode(item[f"{name}_packed"]) for name in ("request", "response"))
        request, response = map(zlib.decompress, packed)
        before = before[: item["request_shared"]] + request
        made.append((before, response))
    return made


@pytest.mark.django_db(transaction=True)
async def test_an_export_proves_itself_without_us_however_long(tmp_path: Path) -> None:
    async with stage(polite) as s:
        for number in range(6):
            turn = await s.ended(await s.ask(f"What is a ledger? {SECRET} {number}"))
        chat = turn.chat
        alice = await in_db(signed_in)(await in_db(lambda: chat.owner)())
        await in_db(prove)(alice, 601)
        stale = await in_db(alice.get)(f"/playground/chat/{chat.pk}.json")
        await in_db(prove)(alice, 0)
        answer = await in_db(alice.get)(f"/playground/chat/{chat.pk}.json")
        # a thousand answers of ten megabytes are nowhere whole: one at a time is read and sent
        assert isinstance(answer, StreamingHttpResponse)
        pieces: list[bytes] = await in_db(list)(cast(Any, answer.streaming_content))
        assert [piece.count(b'"request_packed": ') for piece in pieces] == [0, *[1] * 6, 0]
        content = b"".join(pieces)
        text = (await in_db(alice.get)(f"/playground/chat/{chat.pk}.md")).getvalue().decode()
        checked = await in_db(answers.conversation)(content)
        refused = await in_db(alice.post)("/verify", {"text": text})
    assert refused.status_code == 400 and "which is for reading" in refused.content.decode()
    assert stale.status_code == 403 and b"step-up" in stale.content
    assert SECRET.encode() not in stale.content
    assert "attachment" in answer["Content-Disposition"]
    said = printed(content, tmp_path)
    assert said.count(" True\n") == 12 and said.count(" signed: True\n") == 6, said
    exported = json.loads(content)
    assert len(exported["turns"]) == len(checked) == 6
    assert {one.verdict for one in checked} == {"verified"}
    for item, (request, response) in zip(
        exported["turns"], unpacked(exported["turns"]), strict=True
    ):
        assert hashlib.sha256(request).hexdigest() == item["request_sha256"]
        assert hashlib.sha256(response).hexdigest() == item["response_sha256"]
        assert len(response) == item["response_bytes"] and b"[DONE]" in response
        judged = verify.reply(
            item["signature"],
            verify.Exchange(item["request_sha256"], item["response_sha256"], True),
            verify.Signer(item["expected_signer"], True),
        )
        assert judged.verdict == item["verdict"] == "verified"
    sizes = [
        len(item["request_packed"]) + len(item["response_packed"]) for item in exported["turns"]
    ]
    assert max(sizes[1:]) < 2 * min(sizes[1:])  # a question does not repeat all before it
    assert "app-sk" not in content.decode()
    assert SECRET in text and "One two `three`" in text and item["response_sha256"] in text


@pytest.mark.django_db(transaction=True)
def test_old_rows_are_sealed_by_the_migration() -> None:
    """Two turns as the first version kept them become one sealed branch."""
    executor = MigrationExecutor(connection)
    executor.migrate([("inference", "0001_chats")])
    try:
        old = executor.loader.project_state([("inference", "0001_chats")]).apps
        # Only what other tables need: their historical models may differ from today's.
        owner = old.get_model("accounts", "User").objects.create(address=factories.ALICE)
        chat = old.get_model("inference", "Chat").objects.create(
            owner=owner, title="The old title", provider=factories.PETRA
        )
        for number in (1, 2):
            old.get_model("inference", "Turn").objects.create(
                chat=chat, prompt_key=uuid4(), state="answered", question=f"Question {number}",
                answer=f"Answer {number}", request=b"{}", provider=factories.PETRA, max_tokens=1,
                serving=factories.INFERENCE, input_price=1, output_price=1,
            )  # fmt: skip
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
    sealed = Chat.objects.get()
    assert (sealed.title, sealed.asked, sealed.kept) == ("The old title", True, True)
    turns = [sealed.turns.get(pk=pk) for pk in conversations.tree_of(sealed).path(sealed.leaf_id)]
    assert [(t.question, t.answer, t.request, t.request_bytes) for t in turns] == [
        ("Question 1", "Answer 1", b"{}", 2),
        ("Question 2", "Answer 2", b"{}", 2),
    ]
    assert b"Question" not in everything_stored()


@pytest.mark.django_db
def test_what_is_brought_back_while_it_is_purged_stays(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(chat, "The question", "The answer")
    conversations.delete_chat(chat)
    Chat.objects.update(deleted_at=timezone.now() - 2 * conversations.UNDO_FOR)

    def meanwhile(chats: list[UUID]) -> set[UUID]:
        conversations.bring_back(chat)
        return set(chats)

    monkeypatch.setattr(seals, "lent", meanwhile)
    conversations.purge()
    assert Chat.objects.get().turns.exists()


@pytest.mark.django_db
def test_a_late_refusal_of_an_old_key_leaves_the_new_one(chat: Chat) -> None:
    turn = opening.open_turn(chat, "A question", process="p").turn
    new = make_key(chat.owner)
    services.end_turn(turn, State.FAILED, Record(), Failure("key_rejected", "revoked"))
    assert ProviderKey.objects.get() == new


@pytest.mark.django_db
def test_what_may_end_is_found_without_reading_what_stays(chat: Chat) -> None:
    """Every half minute, for as long as the site lives."""
    said(chat, "Still here?", "Yes.")
    chat.refresh_from_db()
    for _ in range(100):
        chat.pk = uuid4()
        chat.save(force_insert=True)
    with CaptureQueriesContext(connection) as asked:
        conversations.purge()
    found = [query["sql"] for query in asked if 'FROM "inference_chat"' in query["sql"]]
    assert len(found) == 3
    for plan in plans(found, "inference_chat"):
        assert "chat_ending" in plan, plan

"""Links to conversations: what a reader gets and what not, how they end, whose they are."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from alerts.models import Channels
from alerts.selectors import feed_owner
from alerts.services import renew_feed
from inference import conversations, formulas, opening, selectors, services, shares, views_shares
from inference.errors import BadPrompt
from inference.models import Chat, Share, State, Turn, Verdict
from inference.relay import Record
from inference.words import ENDED_FOR_OTHERS
from moderation.models import Act
from tests import factories
from tests.db.chat_world import world
from tests.db.personal_world import prove, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def chat(db: None) -> Chat:
    return world("http://127.0.0.1:9")


@pytest.fixture
def alice(chat: Chat) -> Client:
    client = Client()
    sign_in(client, chat.owner)
    return client


def said(chat: Chat, question: str, answer: str, **options: Any) -> Turn:
    opened = opening.open_turn(chat, question, process="p", **options)
    record = Record(complete=True)
    record.text.append(answer)
    record.reasoning.append("a secret thought")
    assert services.end_turn(opened.turn, State.ANSWERED, record)
    chat.refresh_from_db()
    return Turn.objects.select_related("chat").get(pk=opened.turn)


def link_of(page: bytes) -> str:
    token: str = page.decode().split("/shared/")[1].split("<")[0].split('"')[0]
    return f"/shared/{token}"


def desk(name: str, role: Role = Role.MODERATOR) -> Client:
    user = User.objects.for_address(factories.address(name))
    roles.give(user, role)
    client = Client()
    client.force_login(user)
    return client


def test_a_reader_gets_the_words_and_the_proof_and_nothing_of_the_person(
    chat: Chat, alice: Client, client: Client, settings: Any
) -> None:
    turn = said(chat, "Is it *so*? <script>x</script>", "It is **so**.")
    Turn.objects.filter(pk=turn.pk).update(
        verdict=Verdict.VERIFIED, signer="0x" + "a" * 40, signed_request="b" * 64, fee=12345
    )
    made = alice.post(f"/playground/chat/{chat.pk}/share", {"days": "7"}, follow=True)
    link = link_of(made.content)
    assert f"{settings.SITE_URL}{link}" in made.content.decode()
    later = said(chat, "And what I asked later?", "Also mine alone.")

    seen = client.get(link)
    body = seen.content.decode()
    assert seen.status_code == 200
    assert "<strong>so</strong>" in body and "&lt;script&gt;x" in body
    assert 'data-testid="message-verdict"' in body and "b" * 64 in body
    assert "What the model thought before is not shared." in body
    for private in (
        chat.owner.address,
        chat.owner.address.lower(),
        "a secret thought",
        "12345",
        str(chat.pk),
        "asked later",
        f"turns/{turn.pk}",
        f"turns/{later.pk}",
    ):
        assert private not in body, private
    assert "noindex" in seen["X-Robots-Tag"] and seen["Referrer-Policy"] == "no-referrer"
    assert "no-store" in seen["Cache-Control"] and "/shared/" in client.get("/robots.txt").text
    # the address is nowhere in the database
    row = Share.objects.get()
    token = link.removeprefix("/shared/")
    assert token not in f"{Share.objects.values().get()}" and row.leaf_id == turn.pk
    # where its model ended without a word, or at its length
    Turn.objects.update(answer_sealed=b"", finish_reason="length")
    text = client.get(link).content.decode()
    assert "ended without writing anything" in text and "ended at the length limit" in text
    # that an answer ended early, and not why
    for state, why, answer in (
        ("stopped", "", b""),
        ("failed", "not_funded", b""),
        ("cut_off", "key_rejected", turn.answer_sealed),
        ("cut_off", "interrupted", b""),
    ):
        Turn.objects.update(state=state, failure=why, answer_sealed=answer)
        text = client.get(link).content.decode().partition("<main")[2]
        ended = "failed" if state == "cut_off" and not answer else state
        assert ENDED_FOR_OTHERS[ended].title in text
        assert not any(said in text for said in ("You ", "your ", "balance", why or "You stopped"))


def test_a_link_ends_by_its_owner_by_time_by_the_host_and_with_the_conversation(
    chat: Chat, alice: Client, client: Client
) -> None:
    said(chat, "Hello?", "Yes.")
    path = f"/playground/chat/{chat.pk}/share"

    def fresh() -> str:
        alice.post(path, {"days": "1"})
        return link_of(alice.get(path).content)

    link = fresh()
    other = Client()
    other.force_login(User.objects.for_address(factories.BOB))
    share = Share.objects.get()
    assert other.post(f"/playground/shares/{share.pk}/end").status_code == 404
    assert other.get(path).status_code == 404 and other.post(path).status_code == 404
    assert client.get(link).status_code == 200
    assert alice.post(f"/playground/shares/{share.pk}/end").status_code == 302
    assert client.get(link).status_code == 404

    link = fresh()
    Share.objects.update(ends_at=timezone.now() - timedelta(seconds=1))
    assert client.get(link).status_code == 404 and b"/shared/" not in alice.get(path).content
    assert shares.purge() == 1
    link = fresh()
    reason = f"A court said so. https://example.org{link}"
    call_command("end_share", f"https://example.org{link}?utm=1", reason=reason)
    assert link not in repr(list(Act.objects.values())), "the record keeps no secret"
    told = client.get(link)
    assert told.status_code == 410 and b"A court said so." in told.content
    assert b"A court said so." in Client().get("/moderation/log").content
    with pytest.raises(CommandError, match="ended already"):
        call_command("end_share", link)
    one, digest = desk("moderator 1"), Share.objects.get().digest
    about = {"about": "share", "key": digest}
    refused = one.post("/moderation/decide", {**about, "act": "reopen", "reason": "it is mild"})
    assert b"The host of this site ended this link." in refused.content
    for _ in range(30):  # nor is it offered once that act is below the newest
        one.post("/moderation/decide", {**about, "act": "note", "reason": "somebody wrote again"})
    read = one.get("/moderation", about).content
    assert b"Only the host opens it again." in read and b'data-testid="reopen"' not in read
    assert client.get(link).status_code == 410
    call_command("end_share", link, reopen=True, reason="the court was wrong")
    assert client.get(link).status_code == 200
    with pytest.raises(CommandError, match="nobody ended it"):
        call_command("end_share", link, reopen=True)
    call_command("end_share", link)
    assert alice.post(f"/playground/shares/{Share.objects.get().pk}/end").status_code == 302

    link, said_of_it = fresh(), StringIO()
    feed = renew_feed(chat.owner)
    assert feed_owner(feed) == chat.owner
    call_command("end_access", stdout=said_of_it)
    assert said_of_it.getvalue() == "tokens: 0, links: 1, feeds: 1, sessions: 0\n"
    assert client.get(link).status_code == 404 and alice.get(path).status_code == 200
    assert feed_owner(feed) is None
    assert Act.objects.latest("number").action == "access_ended"
    Channels.objects.all().delete()
    call_command("end_access", stdout=StringIO())
    assert Act.objects.filter(action="access_ended").count() == 1

    link = fresh()
    conversations.delete_chat(chat)
    assert client.get(link).status_code == 404
    conversations.bring_back(chat)
    assert client.get(link).status_code == 200

    # who may not sign in any more cannot end it
    User.objects.filter(pk=chat.owner_id).update(is_active=False)
    assert client.get(link).status_code == 404


def test_a_question_that_was_edited_away_does_not_name_the_link(
    chat: Chat, alice: Client, client: Client
) -> None:
    edited = said(chat, "Write to my boss Ida", "Dear Ida.")
    said(chat, "Write to somebody", "Dear somebody.", again=edited.pk)
    made = alice.post(f"/playground/chat/{chat.pk}/share", {"days": "7"}, follow=True)
    assert "Ida" in made.content.decode()  # its owner knows it by that name
    body = client.get(link_of(made.content)).content.decode()
    assert "Dear somebody." in body and "my boss" not in body


def test_a_reader_has_little_laid_out_at_a_time(
    chat: Chat, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        said(chat, f"Question {number}?", f"answer{number} " * 1_000)
    token = chat.box.text("share", shares.create(chat, "1").token_sealed)
    monkeypatch.setattr(shares, "SHOWN_BYTES", 20_000)
    body = client.get(f"/shared/{token}").content.decode()
    assert "Question 0?" not in body and "1 earlier answer not shown" in body
    assert "answer1" in body and "answer2" in body
    monkeypatch.setattr(shares, "SHOWN_BYTES", 10)
    seen = shares.read(token)
    assert len(seen.turns) == 1 and seen.earlier == 2 and seen.title == "Question 2?"
    assert [link.answers for link in shares.links(chat)] == [1]
    # a long one counts as several
    cache.clear()
    monkeypatch.setattr(shares, "SHOWN_BYTES", 20_000)
    monkeypatch.setattr(views_shares, "LARGE", 5_000)
    monkeypatch.setattr(views_shares, "READ_PER_MINUTE", 10)
    statuses = [client.get(f"/shared/{token}").status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    monkeypatch.setattr(views_shares, "READ_PER_MINUTE", 0)
    refused = client.get(f"/shared/{token}")
    assert refused.status_code == 429 and int(refused["Retry-After"]) > 0


def test_nor_has_its_owner(chat: Chat, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        said(chat, f"Question {number}?", f"answer{number} " * 1_000)
    monkeypatch.setattr(selectors, "SHOWN_BYTES", 20_000)
    path = f"/playground/chat/{chat.pk}"
    body = alice.get(path).content.decode()
    assert "answer0" not in body and "Show 1 earlier answer" in body
    assert "answer1" in body and "answer2" in body
    # what was asked side by side is laid out side by side
    newest = chat.turns.order_by("-pk")[0]
    batch = uuid4()
    Turn.objects.filter(pk=newest.pk).update(batch=batch)
    said(chat, "", "beside " * 1_500, again=newest.pk, batch=batch, lane=1)
    body = alice.get(path).content.decode()
    assert "answer1" not in body and "answer2" in body and "beside" in body


def test_many_short_answers_cost_no_more_than_a_long_one(
    chat: Chat, alice: Client, client: Client
) -> None:
    """What formulas of a page may cost is theirs together, the newest first."""
    for number in range(9):
        said(chat, f"Question {number}?", f"$q_{number}$ " + "$a$ " * 300)
    token = chat.box.text("share", shares.create(chat, "1").token_sealed)
    paths = {alice: f"/playground/chat/{chat.pk}", client: f"/shared/{token}"}
    for who, path in paths.items():
        body = who.get(path).content.decode()
        assert "Question 0?" in body
        assert body.count("<math") <= formulas.MAX_PAGE // formulas.cost("a")
        assert "<mn>8</mn>" in body and "<mn>0</mn>" not in body


def test_only_what_can_be_read_can_be_shared(chat: Chat, alice: Client) -> None:
    path = f"/playground/chat/{chat.pk}/share"
    assert b"no answer to share" in alice.post(path, {"days": "7"}).content
    first = said(chat, "Hello?", "Yes.")
    opening.open_turn(chat, "Still being answered?", process="p")
    chat.refresh_from_db()
    assert shares.shareable(chat) == [first.pk]
    # a link carries the conversation away, so the person signs for it
    prove(alice, 601)
    stale = alice.post(path, {"days": "7"})
    assert stale.status_code == 403 and b"data-step-up" in stale.content
    assert b'<input type="hidden" name="days" value="7">' in stale.content
    assert b"share-create" not in stale.content and not Share.objects.exists()
    prove(alice, 0)
    for wrong in ("", "2", "x", "-1", "0001", "99999999999999999999"):
        assert alice.post(path, {"days": wrong}).status_code == 400
    for _ in range(shares.MOST):
        shares.create(chat, "1")
    with pytest.raises(BadPrompt, match="End one first"):
        shares.create(chat, "1")
    unkept = conversations.create_chat(chat.owner, factories.PETRA, session_key="s")
    with pytest.raises(BadPrompt, match="not kept"):
        shares.create(unkept, "1")

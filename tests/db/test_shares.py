"""Links to conversations: what a reader gets and what not, how they end, whose they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone, translation

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from alerts import services as alerts
from alerts import words
from alerts.kinds import Kind
from alerts.services import Wish
from inference import conversations, formulas, opening, selectors, services, shares, views_shares
from inference.errors import BadPrompt
from inference.models import Chat, Share, State, Turn, Verdict
from inference.relay import Record
from inference.words import ENDED_FOR_OTHERS
from moderation import looking, phrases
from moderation import services as services_of_staff
from moderation.models import Act, Effect, Item, Report
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
    for state, why in (("stopped", ""), ("failed", "not_funded"), ("cut_off", "key_rejected")):
        Turn.objects.update(state=state, failure=why)
        text = client.get(link).content.decode().partition("<main")[2]
        assert ENDED_FOR_OTHERS[state].title in text
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


# --- reports --------------------------------------------------------------------------------------

TEXT = "It shows the private key of my colleague."
ENDED = "It showed secrets or private data of a person."


@pytest.fixture
def one(db: None) -> Client:
    return desk("moderator 1")


@pytest.fixture
def two(db: None) -> Client:
    return desk("moderator 2")


def desk(name: str, role: Role = Role.MODERATOR) -> Client:
    user = User.objects.for_address(factories.address(name))
    roles.give(user, role)
    client = Client()
    client.force_login(user)
    return client


def bob() -> Client:
    client = Client()
    client.force_login(User.objects.for_address(factories.BOB))
    return client


def shared(chat: Chat) -> tuple[str, str]:
    """The address of a new link and its digest."""
    row = shares.create(chat, "7")
    return f"/shared/{chat.box.text('share', row.token_sealed)}", row.digest


def report(who: Client, digest: str, **more: str) -> int:
    given = {"about": "share", "key": digest, "category": "secrets", "text": TEXT, **more}
    return who.post("/moderation/report", given).status_code


def ended(one: Client, two: Client, digest: str) -> None:
    """What two moderators do on the page of the queue."""
    about = {"about": "share", "key": digest}
    done = one.post("/moderation/decide", {**about, "act": "propose_end", "template": "secrets"})
    assert done.status_code == 302, done.content
    number = Act.objects.latest("number").pk
    assert one.post(f"/moderation/proposals/{number}", {"act": "confirm"}).status_code == 409
    assert two.post(f"/moderation/proposals/{number}", {"act": "confirm"}).status_code == 302


def test_a_reported_conversation_is_ended_by_two_persons_and_nobody_is_named(
    chat: Chat, alice: Client, client: Client, one: Client, two: Client
) -> None:
    said(chat, "What is the key?", "It is hunter2.")
    link, digest = shared(chat)
    token = link.removeprefix("/shared/")
    path = f"/moderation/report?about=share&key={digest}"
    assert path.replace("&", "&amp;") in client.get(link).content.decode()
    assert b"Connect your wallet" in client.get(path).content
    assert client.get(path.replace(digest, "0" * 64)).status_code == 404

    form = bob().get(path).content.decode()
    assert "against the law" in form and "charges more" not in form and "Appeal" not in form
    for category in ("money", "x", "appeal"):
        assert report(bob(), digest, category=category) == 400
    mine = bob().get(link)  # a moderator reads nothing that nobody reported
    assert mine.status_code == 200 and one.get(f"/moderation/shared/{digest}").status_code == 404
    quoted = f"{TEXT} {token} https://x.org{link} _{token}_ -{token} ?u=%2Fshared%2F{token}"
    leak = {"text": quoted, "evidence": f"https://x.org{link}"}
    assert report(bob(), digest, **leak) == 302 and report(bob(), digest, **leak) == 409
    looking.sweep()

    queue = one.get("/moderation?kind=report").content.decode()
    assert f"Shared conversation {digest[:8]}" in queue and TEXT in queue
    assert f'href="/moderation/shared/{digest}"' in queue
    assert 'data-key="e" data-testid="act-end"' in queue
    assert "hunter2" not in queue and chat.owner.address not in queue
    seen = one.get(f"/moderation/shared/{digest}")
    assert b"hunter2" in seen.content and chat.owner.address.encode() not in seen.content
    assert "noindex" in seen["X-Robots-Tag"] and b"shared-desk" in seen.content
    for nobody in (client, bob(), alice):
        assert nobody.get(f"/moderation/shared/{digest}").status_code == 403
    given = {"about": "share", "key": digest, "act": "propose_end", "reason": "seen it"}
    assert b"public text is missing" in one.post("/moderation/decide", given).content
    hours = {**given, "public_text": "x y z", "hours": "24"}
    assert one.post("/moderation/decide", hours).status_code == 400
    assert one.post("/moderation/decide", {**given, "act": "propose_hide"}).status_code == 400
    assert client.get(link).status_code == 200
    assert one.post("/moderation/decide", {**given, "public_text": "x y z"}).status_code == 302
    why = {"act": "decline", "reason": f"not at {link}"}
    waits = Act.objects.latest("number").pk
    assert two.post(f"/moderation/proposals/{waits}", why).status_code == 302
    ended(one, two, digest)

    done = Act.objects.latest("number").pk
    assert two.post(f"/moderation/acts/{done}/undo").status_code == 302
    assert client.get(link).status_code == 200 and Report.objects.get().closed_at is None
    waits = Act.objects.filter(action="propose_end").latest("number").pk
    assert two.post(f"/moderation/proposals/{waits}", {"act": "confirm"}).status_code == 302
    told = client.get(link)
    assert told.status_code == 410 and ENDED in told.content.decode()
    assert b"hunter2" not in told.content and chat.owner.address not in told.content.decode()
    assert "noindex" in told["X-Robots-Tag"] and "no-store" in told["Cache-Control"]
    assert client.get(link, headers={"Accept-Language": "de"}).status_code == 410
    assert one.get(f"/moderation/shared/{digest}").status_code == 404, "it is ended"
    log = client.get("/moderation/log").content.decode()
    assert "Link ended" in log and ENDED in log and "Ending" not in log
    assert 'data-outcome="upheld"' in bob().get("/account/reports").content.decode()
    own = alice.get(f"/playground/chat/{chat.pk}/share").content.decode()
    assert ENDED in own and "share-appeal" in own
    table = b"".join(client.get("/moderation/log.csv"))
    kept = f"{table!r} {client.get('/moderation/log.json').content!r} {log} "
    kept += f"{list(Act.objects.values())} {list(Report.objects.values())}"
    kept += f"{list(Item.objects.values())} {list(Effect.objects.values())}"
    for private in (token, chat.owner.address, str(chat.pk), "hunter2"):
        assert private not in kept, private
    anew, other = shared(chat)
    assert client.get(anew).status_code == 200 and other != digest

    # what stays names a digest that nothing here knows any more
    chat.owner.delete()
    assert not Share.objects.exists() and client.get(link).status_code == 410
    call_command("verify_audit")


def test_the_owner_is_told_appeals_and_gets_the_link_back(
    chat: Chat, alice: Client, client: Client, one: Client, two: Client
) -> None:
    said(chat, "What is the key?", "It is hunter2.")
    link, digest = shared(chat)
    alerts.add(chat.owner, Wish(Kind.DECIDED))
    assert report(alice, digest) == 302, "whoever shared it by mistake may say so, too"
    roles.give(chat.owner, Role.MODERATOR)
    given = {"about": "share", "key": digest, "act": "propose_end", "template": "secrets"}
    assert b"your own wallet" in alice.post("/moderation/decide", given).content
    ended(one, two, digest)
    assert alerts.sweep() == 0, "who decided may still take it back"
    assert alerts.sweep(timezone.now() + services_of_staff.UNDO_FOR) == 1
    told = chat.owner.notifications.get()
    assert told.title == "Moderators ended your link to a conversation" and told.text == ENDED
    assert told.path == f"/moderation/report?about=share&key={digest}"
    with translation.override("de"):
        assert words.translated(told.title) != told.title and ENDED not in phrases.public(ENDED)
    assert b"Appeal" in alice.get(told.path).content
    # The log names it: nobody learns by that whether it is there, or has it read again.
    assert report(bob(), digest) == 404 and bob().get(told.path).status_code == 404
    assert b"Connect your wallet" in client.get(told.path).content
    lift = {"about": "share", "key": digest, "act": "reopen", "reason": "it was an example"}
    conversations.delete_chat(chat)
    assert alice.get(told.path).status_code == 404
    assert b"your own wallet" in alice.post("/moderation/decide", lift).content, "nor while deleted"
    conversations.bring_back(chat)
    assert report(alice, digest, category="appeal") == 302
    queue = one.get("/moderation?kind=appeal").content.decode()
    assert "shared-open" in queue and "act-end" not in queue, "it is ended already"
    assert b"hunter2" in one.get(f"/moderation/shared/{digest}").content
    assert client.get(link).status_code == 410
    assert one.post("/moderation/decide", lift).status_code == 302
    assert client.get(link).status_code == 200
    assert "Link opened again" in client.get("/moderation/log").content.decode()


def test_what_is_reported_about_a_link_that_ended_waits_for_nobody(
    chat: Chat, alice: Client, one: Client, two: Client
) -> None:
    said(chat, "Hello?", "Yes.")
    _, digest = shared(chat)
    assert report(bob(), digest) == 302
    number = Item.objects.get().pk
    for active, change in ((True, conversations.delete_chat), (False, conversations.bring_back)):
        change(chat)
        User.objects.filter(pk=chat.owner.pk).update(is_active=active)
        looking.sweep()
        assert Item.objects.get(pk=number).closed_at is None, "it may come back"
    User.objects.filter(pk=chat.owner.pk).update(is_active=True)
    given = {"about": "share", "key": digest, "act": "propose_end", "template": "secrets"}
    conversations.delete_chat(chat)
    assert one.post("/moderation/decide", given).status_code == 302
    conversations.bring_back(chat)
    alice.post(f"/playground/shares/{Share.objects.get().pk}/end")
    proposal = Act.objects.latest("number").pk
    refused = two.post(f"/moderation/proposals/{proposal}", {"act": "confirm"})
    assert refused.status_code == 409 and b"ended already" in refused.content
    assert one.get(f"/moderation/shared/{digest}").status_code == 404
    assert b"it opens nothing" in one.get(f"/moderation?item={number}").content
    assert not Report.objects.get().outcome
    looking.sweep()
    assert not Item.objects.filter(closed_at=None, subject_kind="share").exists()
    told = bob().get("/account/reports").content.decode()
    assert 'data-outcome="gone"' in told and "The link had ended before" in told

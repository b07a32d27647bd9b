"""Reports about shared conversations: who reads them, ends a link, and is told."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone, translation

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from alerts import services as alerts
from alerts import words
from alerts.kinds import Kind
from alerts.services import Wish
from inference import conversations, shares
from inference.models import Chat, Share
from moderation import looking, phrases
from moderation import services as services_of_staff
from moderation.models import Act, Effect, Item, Report
from tests import factories
from tests.db.test_shares import alice as alice
from tests.db.test_shares import chat as chat
from tests.db.test_shares import desk, said

pytestmark = pytest.mark.django_db

TEXT = "It shows the private key of my colleague."
ENDED = "It showed secrets or private data of a person."


@pytest.fixture
def one(db: None) -> Client:
    return desk("moderator 1")


@pytest.fixture
def two(db: None) -> Client:
    return desk("moderator 2")


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

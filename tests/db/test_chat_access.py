"""Whose conversations they are, how many queries they cost, and that strangers' words stay
words.
"""

from __future__ import annotations

import html as html_lib
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import forms
from accounts.models import User
from inference import conversations, opening, selectors, services, turn_sql
from inference.models import Chat, State, Turn, Verdict
from inference.relay import Record
from ledger.models import Ledger, Service, SubAccount
from protocol import fees
from runner import demo
from tests import factories
from tests.db.chat_world import world
from tests.db.personal_world import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def chat(db: None) -> Chat:
    return world("http://127.0.0.1:9")


def client(address: str | None) -> Client:
    made = Client()
    if address:
        sign_in(made, User.objects.for_address(address))
    return made


def answered(chat: Chat, text: str = "An answer", **fields: Any) -> Turn:
    """A turn that ended well."""
    opened = opening.open_turn(chat, "A question", process="p")
    record = Record(request_sha256="a" * 64, answer_id="id-1", complete=True)
    record.text.append(text)
    record.usage = fees.Usage(1_024, 310)
    record.first_token_seconds, record.seconds = 0.42, 5.76
    assert services.end_turn(opened.turn, State.ANSWERED, record)
    Turn.objects.filter(pk=opened.turn).update(
        **{"verdict": Verdict.VERIFIED, "verdict_reason": "hashes_match", **fields}
    )
    return Turn.objects.get(pk=opened.turn)


def test_only_the_owner_sees_and_changes_anything(chat: Chat) -> None:
    turn = answered(chat)
    reads = [
        f"/playground/chat/{chat.pk}",
        f"/playground/chat/turns/{turn.pk}",
        f"/playground/chat/turns/{turn.pk}/events",
        f"/playground/chat/{chat.pk}.json",
        f"/playground/chat/{chat.pk}.md",
        f"/playground/chat/estimate?chat={chat.pk}",
    ]
    writes = [
        f"/playground/chat/{chat.pk}/send",
        f"/playground/chat/{chat.pk}/delete",
        f"/playground/chat/turns/{turn.pk}/stop",
        f"/playground/chat/turns/{turn.pk}/recheck",
        f"/playground/chat/turns/{turn.pk}/show",
        f"/playground/chat/turns/{turn.pk}/forget",
        f"/playground/chat/{chat.pk}/rename",
        f"/playground/chat/{chat.pk}/undo",
    ]
    for who in (None, factories.BOB, factories.CHARLIE):
        for path in reads:
            assert client(who).get(path).status_code == 404, (who, path)
        for path in writes:
            assert client(who).post(path, {"text": "x"}).status_code == 404, (who, path)
        assert "A question" not in client(who).get("/playground/chat").content.decode()
    assert client(factories.ALICE).get(reads[0]).status_code == 200
    for path in writes:
        assert client(factories.ALICE).get(path).status_code == 405, "reading changes nothing"
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(chat.owner)
        assert strict.post(path, {"text": "x"}).status_code == 403, path
    assert Chat.objects.count() == 1
    assert client(factories.ALICE).post(writes[1]).status_code == 302
    assert client(factories.ALICE).get(reads[0]).status_code == 404


def test_private_pages_are_not_kept_by_caches(chat: Chat) -> None:
    turn = answered(chat)
    alice = client(factories.ALICE)
    for path in (
        "/playground/chat",
        f"/playground/chat/{chat.pk}",
        f"/playground/chat/turns/{turn.pk}",
        f"/playground/chat/side?provider={factories.PETRA}",
    ):
        assert "no-store" in alice.get(path)["Cache-Control"], path


def test_what_is_shown_under_an_answer(chat: Chat) -> None:
    turn = answered(chat)
    page = client(factories.ALICE).get(f"/playground/chat/{chat.pk}").content.decode()
    fee = 1_024 * 420_000_000_000 + 310 * 1_200_000_000_000
    assert turn.fee == fee
    for words in ("1,024 in", "310 out", f'data-neuron="{fee}"', "420 ms", "58 tok/s"):
        assert words in page, words
    assert 'data-verdict="verified"' in page and 'data-testid="message-verdict"' in page
    # What came in one piece says nothing of how fast it was written.
    Turn.objects.update(total_ms=turn.first_token_ms + 1)
    page = client(factories.ALICE).get(f"/playground/chat/{chat.pk}").content.decode()
    assert "310 out" in page and "tok/s" not in page


def test_odd_addresses_and_numbers_are_not_found(chat: Chat) -> None:
    alice = client(factories.ALICE)
    for path in (
        f"/playground/chat/{uuid4()}",
        "/playground/chat/not-a-uuid",
        "/playground/chat/turns/0",
        "/playground/chat/turns/99999999999999999999999999",
        "/playground/chat/turns/-1",
    ):
        assert alice.get(path).status_code == 404, path
    for provider in ("", "x", "0x\x00", factories.BOB, factories.PETRA.lower(), "'; --"):
        for path in ("/playground/chat", "/playground/chat/side"):
            assert alice.get(path, {"provider": provider}).status_code == 200, (path, provider)
        assert alice.get("/playground/chat", {"draft": "<b>\x00" * 999}).status_code == 200


def test_the_query_count_does_not_grow(chat: Chat) -> None:
    answered(chat)
    alice = client(factories.ALICE)
    path = f"/playground/chat/{chat.pk}"
    alice.get(path)
    with CaptureQueriesContext(
        connection,
    ) as few:
        alice.get(path)
    turn = Turn.objects.get()
    for number in range(60):
        turn.parent_id, turn.pk, turn.prompt_key = turn.pk, None, uuid4()
        turn.save(force_insert=True)
        conversations.create_chat(chat.owner, factories.PETRA)
        factories.service(factories.address(number), url="http://127.0.0.1:9")
    Chat.objects.update(asked=True, updated_at=timezone.now())
    Chat.objects.filter(pk=chat.pk).update(leaf=turn)
    with CaptureQueriesContext(connection) as many:
        alice.get(path)
    # The first answer of a person takes three more, to say what it leaves.
    assert len(many) == len(few) - 3 <= 29


def test_an_open_question_says_nothing_of_its_end_and_psycopg_remembers_its_statement(
    chat: Chat,
) -> None:
    turn = Turn.objects.get(pk=opening.open_turn(chat, "A question", process="p").turn)
    later = [field for field in turn_sql._FIELDS if field.name in turn_sql._LATER]
    assert len(later) == len(turn_sql._LATER)
    for field in later:
        found = getattr(turn, field.name)
        assert (bytes(found) if isinstance(found, memoryview) else found) == field.get_default()
    for statement in (turn_sql._OPEN, turn_sql._RESERVED):
        assert len(statement) <= 4096
        assert len(set(re.findall(r"%\((\w+)\)s", statement))) <= 50


def test_what_is_older_can_be_read_on(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "SHOWN_TURNS", 2)
    monkeypatch.setattr(selectors, "SHOWN_CONVERSATIONS", 2)
    turns = [answered(chat, answer_id=f"id-{n}").pk for n in range(5)]
    alice = client(factories.ALICE)
    for _ in range(4):
        conversations.create_chat(chat.owner, factories.PETRA)
    Chat.objects.update(asked=True)

    def shown(page: str) -> list[int]:
        return [int(number) for number in re.findall(r'data-asked="(\d+)"', page)]

    path = f"/playground/chat/{chat.pk}"
    seen: list[int] = []
    page = alice.get(path).content.decode()
    assert "js/chat.js" in page and 'id="composer"' in page and "Show 3 earlier answers" in page
    while True:
        seen[:0] = shown(page)
        older = re.search(r'href="(\?before=\d+)" data-testid="chat-earlier"', page)
        if older is None:
            break
        page = alice.get(path + older[1]).content.decode()
        # to read: what is asked goes under the newest
        assert "js/chat.js" not in page and "go on to the newest" in page
    assert seen == turns
    for odd in ("before=99999999999", "before=x", f"before={turns[0]}"):
        assert shown(alice.get(f"{path}?{odd}").content.decode()) == turns[-2:]

    listed: list[str] = []
    for number in (1, 2, 3):
        page = alice.get(f"{path}?older={number}").content.decode()
        links = re.findall(r'href="/playground/chat/([0-9a-f-]{36})"(?: aria|>)', page)
        listed += [link for link in links if link not in listed]
        assert ("Older conversations" in page) is (number < 3)
        assert ("Newer conversations" in page) is (number > 1)
    assert len(listed) == 5
    assert "Newer conversations" in alice.get("/playground/chat?older=9").content.decode()


def test_strangers_words_stay_words(chat: Chat) -> None:
    attack = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e'
    Service.objects.update(model=attack, verifiability=attack)
    sealed = {name: chat.box.seal_text(name, attack) for name in ("question", "detail", "title")}
    Chat.objects.update(title_sealed=sealed.pop("title"))
    said = {f"{name}_sealed": value for name, value in sealed.items()}
    answered(chat, attack, failure_status=400, model=attack)
    answered(chat, attack, state=State.FAILED, failure="refused", model=attack)
    Turn.objects.update(answer_id=attack[:100], failure_status=400, signed_model=attack, **said)
    page = client(factories.ALICE).get(f"/playground/chat/{chat.pk}").content.decode()
    assert page.count(attack[2:20]) == 0, "no unescaped tag"
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.django_db(transaction=True)
def test_asking_by_form_says_what_is_missing(chat: Chat) -> None:
    alice = client(factories.ALICE)
    chat.owner.provider_keys.all().delete()
    answer = alice.post(f"/playground/chat/{chat.pk}/send", {"text": "My <question>"})
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "You have no key for this provider" in page
    assert "My &lt;question&gt;</textarea>" in page, "what was written is not lost"
    answer = alice.post(f"/playground/chat/{chat.pk}/send", {"text": " ", "again": "9" * 5000})
    assert answer.status_code == 400
    # what was set holds for the next try too
    factories.service(factories.CHARLIE, url="http://127.0.0.1:8")
    wish = {"verified": "on", "temperature": "0.3", "max_tokens": "", "also": factories.CHARLIE}
    for wrong in ({}, {"seed": "x"}):
        answer = alice.post(f"/playground/chat/{chat.pk}/send", {"text": "Hi", **wish, **wrong})
        assert answer.status_code == (400 if wrong else 409)
        page = answer.content.decode()
        assert 'data-testid="chat-verified" data-verified checked' in page
        assert ('value="0.3"' in page) is not bool(wrong)
        assert page.count(f'<option value="{factories.CHARLIE}" selected') == 1
    answer = alice.post("/playground/chat/start", {"provider": factories.BOB, "text": "x"})
    assert answer.status_code == 400
    answer = client(None).post(
        "/playground/chat/start",
        {"provider": factories.PETRA},
        headers={"accept": "application/json"},
    )
    assert (answer.status_code, answer.json()["title"]) == (400, "Sign in to chat.")
    assert Chat.objects.count() == 1


def test_states_of_the_page_without_a_market(db: None) -> None:
    factories.head()
    page = client(None).get("/playground/chat").content.decode()
    assert "No chat services yet" in page
    assert settings.NETWORK.label in page


def test_the_first_answer_is_of_a_model_that_knows_it(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = client(None).get("/playground/chat").content.decode()
    assert "Signing in needs JavaScript." in page
    assert "know nothing else" in page and "draft=What%20is%20a%20sub-account%3F" in page
    chats = [offer for offer in demo.OFFERS if offer.type == "chatbot" and not offer.machine]
    cheapest = min(chats, key=lambda offer: offer.input_price + offer.output_price)
    assert cheapest.model == "zg-docs-reader"  # whom a newcomer is led to
    monkeypatch.setattr(settings, "IS_DEVNET", False)
    page = client(None).get("/playground/chat").content.decode()
    assert "a model does not know them" in page and "draft=Explain%20a%20hash" in page
    assert "autofocus" not in page
    page = client(None).get("/playground/chat?draft=Explain%20a%20hash").content.decode()
    assert " autofocus>Explain a hash</textarea>" in page


@pytest.mark.django_db
@pytest.mark.parametrize("available", (0, 5 * 10**18))
def test_the_way_to_the_money_leads_back_to_the_conversation(chat: Chat, available: int) -> None:
    """Also where a fragment says what is missing; a page's address of elsewhere counts nothing."""
    SubAccount.objects.all().delete()
    Ledger.objects.update(available=available)
    client = Client()
    client.force_login(chat.owner)
    path = f"/playground/chat/{chat.pk}"
    side = f"/playground/chat/side?provider={factories.PETRA}"

    def back(address: str, shown: str = "") -> str:
        html = client.get(address, headers={"HX-Current-URL": shown}).content.decode()
        gate = html.split('<div id="gate"', 1)[1]
        link = html_lib.unescape("/account" + gate.split('href="/account', 1)[1].split('"')[0])
        then = forms.next_step(dict(parse_qsl(urlsplit(link).query))["then"])
        if not available:  # a deposit first, the transfer then
            assert "action=deposit&amount=2&" in link and "action=transfer" in then
            assert f"&account=inference-v1.0%3A{factories.PETRA}&amount=2&" in then
            then = forms.next_step(dict(parse_qsl(urlsplit(then).query))["then"])
        return then

    here = f"{path}?provider={factories.PETRA}"
    assert back(path) == back(side, f"https://site.example{path}?draft=x") == here
    new = f"/playground/chat?provider={factories.PETRA}"
    for elsewhere in ("", "https://site.example/account", "//[", "/playground/chat/x"):
        assert back(side, elsewhere) == new
    for medium in ("relay", "nonsense"):  # nothing that a page asks for
        assert back(f"{side}&medium={medium}") == new


def test_money_on_its_way_back_from_the_provider_needs_no_deposit(chat: Chat) -> None:
    """A transfer takes a pending refund there back first, and only the rest is deposited."""
    Ledger.objects.update(available=5 * 10**17)
    held = SubAccount.objects.filter(user=factories.ALICE, provider=factories.PETRA)
    held.update(balance=10**18, pending_refund=10**18)
    path = f"/playground/chat?provider={factories.PETRA}"
    html = client(chat.owner.address).get(path).content.decode()
    assert "action=transfer" in html and "amount=1.5&amp;then" in html
    assert "action=deposit" not in html.split('<div id="gate"', 1)[1]
    held.update(balance=10**17, pending_refund=10**17)
    html = client(chat.owner.address).get(path).content.decode()
    assert "action=deposit&amp;amount=1.4&amp;" in html.split('<div id="gate"', 1)[1]


def test_the_first_answer_of_a_person_says_what_it_cost_and_what_is_left(chat: Chat) -> None:
    turn = answered(chat)
    one = f"/playground/chat/turns/{turn.pk}"
    for path in (one, f"/playground/chat/{chat.pk}"):
        html = client(chat.owner.address).get(path).content.decode()
        said = html.split('data-testid="first-answer"', 1)[1].split("</p>", 1)[0]
        assert "signed exactly this question" in said and "by a settlement" in said
        left = SubAccount.objects.get().balance - fees.MINIMUM_RESERVE - turn.fee
        assert f'data-neuron="{left}"' in said and f'data-neuron="{turn.fee}"' in said
    Turn.objects.update(verdict=Verdict.PENDING)
    assert "first-answer" not in client(chat.owner.address).get(one).content.decode()
    answered(chat)
    Turn.objects.update(verdict=Verdict.VERIFIED)
    assert "first-answer" not in client(chat.owner.address).get(one).content.decode()

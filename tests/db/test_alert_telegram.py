"""A chat with the site's bot: proven by its own code, told in its person's language, and left alone
when Telegram or the person wants that. The server speaks as core.telegram.org/bots/api says."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from accounts import crypto
from accounts.models import User
from alerts import deliver, hooks, tasks, telegram
from alerts.models import Attempt, Delivery, Format, Notification, State
from devnet import accounts as cast
from marketplace.env import Env
from tests.db.test_alert_deliveries import alice as alice  # the same person, a fixture
from tests.db.test_alert_deliveries import due_now, told
from tests.db.test_keys_lasting import signed_in

pytestmark = pytest.mark.django_db

TOKEN = "123456:" + "A" * 35
CHAT = 7_000_000_001
HERE = "/account/alerts/telegram"


class Bot:
    """Telegram's side of one bot: keeps what it was told until that is confirmed by an offset."""

    def __init__(self) -> None:
        self.token = TOKEN
        self.number = 500
        self.updates: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.refusal: dict[str, Any] | None = None
        self.blocked = 0
        bot = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                _, token, method = self.path.split("/")
                status, body = bot.answer(token.removeprefix("bot"), method, fields)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, token: str, method: str, fields: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append(method)
        if token != self.token:
            return refused(401, "Unauthorized")
        if method == "getMe":
            return 200, {"ok": True, "result": {"id": 123456, "username": "market_bot"}}
        if method == "getUpdates":
            self.updates = [u for u in self.updates if u["update_id"] >= fields["offset"]]
            return 200, {"ok": True, "result": self.updates[: fields["limit"]]}
        if self.refusal is not None:
            return self.refusal["error_code"], self.refusal
        if fields["chat_id"] == self.blocked:
            return refused(403, "Forbidden: bot was blocked by the user")
        self.sent.append(fields)
        return 200, {"ok": True, "result": {"message_id": 1, "chat": {"id": fields["chat_id"]}}}

    def hears(self, text: str, chat: int = CHAT, kind: str = "private") -> None:
        self.tell(message={"text": text, "chat": {"id": chat, "type": kind}})

    def tell(self, **update: Any) -> None:
        self.number += 1
        self.updates.append({"update_id": self.number, **update})


def refused(code: int, said: str, **parameters: int) -> tuple[int, dict[str, Any]]:
    more = {"parameters": parameters} if parameters else {}
    return code, {"ok": False, "error_code": code, "description": said, **more}


@pytest.fixture
def bot(settings: Any) -> Iterator[Bot]:
    found = Bot()
    settings.TELEGRAM_BOT_TOKEN = TOKEN
    settings.TELEGRAM_API_URL = f"http://127.0.0.1:{found.server.server_address[1]}"
    yield found
    found.server.shutdown()
    found.server.server_close()


def connected(alice: User, bot: Bot) -> None:
    bot.hears(f"/start {telegram.invite(alice).code}")
    assert tasks.hear_telegram() == 1
    bot.sent.clear()


def test_a_chat_is_connected_by_the_code_of_its_page_and_told_in_its_persons_language(
    alice: User, bot: Bot
) -> None:
    browser = signed_in(cast.user(1))
    browser.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    assert HERE in browser.get("/account/alerts").content.decode()
    assert tasks.hear_telegram() == 0 and not bot.asked, "nobody waits for anything"
    page = browser.post(HERE).content.decode()
    found = re.search(r"https://t\.me/market_bot\?start=([\w-]{32})", page)
    assert found is not None
    for number in range(100):  # strangers write, too
        bot.hears(f"/start {number:032}", chat=number)
    bot.tell(message=None)
    bot.tell(message={"text": 5, "chat": {"id": "x", "type": "private"}})
    bot.tell(edited_message={"text": f"/start {found[1]}"})
    bot.hears(f"/start {found[1]}", chat=-100, kind="group")
    assert tasks.hear_telegram() == 0 and not bot.sent and not alice.hooks.exists()
    bot.hears(f"/start {found[1]}")
    bot.hears(f"/start {found[1]}", chat=666)
    assert tasks.hear_telegram() == 1
    assert [one["chat_id"] for one in bot.sent] == [CHAT] and "Verbunden" in bot.sent[0]["text"]
    hook = alice.hooks.get()
    assert hook.format == Format.TELEGRAM and hook.address == "https://t.me/market_bot"
    assert str(CHAT) not in hook.sealed_secret and crypto.unseal(hook.sealed_secret) == str(CHAT)
    assert hook.address in browser.get("/account/alerts").content.decode()

    row = told(alice, by_hook=True)
    Notification.objects.filter(pk=row.pk).update(text="@evil_bot https://evil.example 1.5 " * 200)
    hooks.test(hook)
    assert deliver.send_due() == 2
    news, test = sorted(bot.sent[1:], key=lambda one: "Test" in one["text"])
    assert news["chat_id"] == CHAT and "parse_mode" not in news
    assert news["link_preview_options"] == {"is_disabled": True}
    theirs, _, link = news["text"].rpartition("\n")
    assert (
        link.endswith(row.path) and theirs.startswith("Noch 3 0G bei") and len(news["text"]) < 4_096
    )
    assert "://" not in theirs and ".example" not in theirs and " @" not in theirs
    assert "Test" in test["text"] and set(Delivery.objects.values_list("state", flat=True)) == {
        State.SENT
    }


def test_telegram_is_waited_for_and_a_chat_that_blocks_the_bot_is_left_alone(
    alice: User, bot: Bot
) -> None:
    connected(alice, bot)
    told(alice, by_hook=True)
    hook = alice.hooks.get()
    later = timezone.now() + dt.timedelta(minutes=1)
    other = Delivery.objects.create(user=alice, hook=hook, created_at=later, due_at=later)
    bot.refusal = refused(429, "Too Many Requests: retry after 900", retry_after=900)[1]
    before = timezone.now()
    assert deliver.send_due() == 1
    for row in Delivery.objects.all():  # the whole bot is quiet, not this message alone
        assert row.state == State.WAITING
        assert dt.timedelta(minutes=15) <= row.due_at - before < dt.timedelta(minutes=16)
    assert Attempt.objects.get().said == "Too Many Requests: retry after 900"
    other.delete()
    # Whatever stands between may refuse as well, and says nothing of the person.
    bot.refusal = {"error_code": 403}
    due_now()
    deliver.send_due()
    hook.refresh_from_db()
    assert hook.enabled and Delivery.objects.get().state == State.WAITING
    bot.refusal = refused(403, "Forbidden: bot was blocked by the user")[1]
    due_now()
    deliver.send_due()
    hook.refresh_from_db()
    assert not hook.enabled and Delivery.objects.get().state == State.FAILED
    page = signed_in(cast.user(1)).get(f"/account/alerts/hooks/{hook.pk}").content.decode()
    assert "You blocked the bot" in page and "bot was blocked by the user" in page
    assert TOKEN not in page and str(CHAT) not in page
    # Whoever connects again, is told again.
    bot.refusal = None
    connected(alice, bot)
    hook.refresh_from_db()
    assert hook.enabled and not hook.disabled_why and alice.hooks.count() == 1


def test_another_bot_begins_with_numbers_of_its_own(alice: User, bot: Bot, settings: Any) -> None:
    connected(alice, bot)
    bot.token = settings.TELEGRAM_BOT_TOKEN = f"9{TOKEN}"
    bot.number, bot.updates = 7, []
    connected(alice, bot)


def test_a_code_of_yesterday_and_a_full_list_connect_nothing(alice: User, bot: Bot) -> None:
    code = telegram.invite(alice).code
    for number in range(hooks.MOST):
        hooks.create(alice, f"https://example.org/{number}")
    bot.hears(f"/start {code}")
    assert tasks.hear_telegram() == 1 and "At most 5" in bot.sent[0]["text"]
    browser = signed_in(cast.user(1))
    full = browser.post(HERE)
    assert full.status_code == 400 and "At most 5" in full.content.decode()
    alice.hooks.all().delete()
    late = telegram.invite(alice).code
    cache.clear()
    telegram.invite(alice)
    bot.hears(f"/start {late}")
    assert tasks.hear_telegram() == 0 and not alice.hooks.exists()


def test_nobody_keeps_others_from_being_connected(alice: User, bot: Bot) -> None:
    """By messages that are long, by a code and a block at once, or by a secret for a chat."""
    mallory = User.objects.create(address=cast.user(2).address)
    theirs, ours = telegram.invite(mallory).code, telegram.invite(alice).code
    bot.blocked = 666
    bot.hears(f"/start {theirs}", chat=666)
    for _number in range(60):
        bot.hears("\U0001f9ad" * 2_048, chat=666)  # 4,096 units, each written as six bytes
    bot.hears(f"/start {ours}")
    assert tasks.hear_telegram() == 2
    assert alice.hooks.count() == 1 and [one["chat_id"] for one in bot.sent] == [CHAT]
    browser = signed_in(cast.user(2))
    hook = mallory.hooks.get()
    page = browser.post(f"/account/alerts/hooks/{hook.pk}/act", {"act": "secret"})
    assert "whsec_" not in page.content.decode()
    hook.refresh_from_db()
    assert crypto.unseal(hook.sealed_secret) == "666"
    form = browser.get("/account/alerts/hooks/new").content.decode()
    assert 'value="discord"' in form and 'value="telegram"' not in form


def test_a_wrong_token_stops_the_start_and_is_not_repeated() -> None:
    assert Env({}).bot_token("BOT") == "" and Env({"BOT": TOKEN}).bot_token("BOT") == TOKEN
    for wrong in (TOKEN.replace(":", ""), f"bot{TOKEN}", f"{TOKEN}/", "123456:short"):
        with pytest.raises(ImproperlyConfigured, match="@BotFather") as told_so:
            Env({"BOT": wrong}).bot_token("BOT")
        assert wrong not in str(told_so.value)


def test_a_site_without_a_bot_says_nothing_of_one_and_a_broken_one_is_said(
    alice: User, bot: Bot, settings: Any
) -> None:
    connected(alice, bot)
    told(alice, by_hook=True)
    browser = signed_in(cast.user(1))
    settings.TELEGRAM_BOT_TOKEN = TOKEN[:-1] + "B"
    cache.clear()
    wrong = browser.post(HERE)
    assert wrong.status_code == 502 and "Telegram does not answer" in wrong.content.decode()
    assert tasks.hear_telegram() == 0
    settings.TELEGRAM_BOT_TOKEN = ""
    assert HERE not in browser.get("/account/alerts").content.decode()
    assert browser.get(HERE).status_code == 404
    asked = list(bot.asked)
    assert deliver.send_due() == 1 and bot.asked == asked
    assert "no bot on Telegram" in Attempt.objects.get().said
    refused_by_form = browser.post(
        "/account/alerts/hooks/new", {"url": "https://example.org/", "format": "telegram"}
    )
    assert refused_by_form.status_code == 400, "a number of a chat is nobody's to give"

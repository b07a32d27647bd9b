"""Messages leave the site as they should: signed, tried again, never to where they must not go."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from accounts.errors import Problem
from accounts.models import User
from alerts import deliver, hooks, mailbox, services
from alerts.kinds import Kind
from alerts.models import CLAIM, Attempt, Channels, Delivery, Hook, Notification, State
from alerts.services import Wish
from devnet import accounts as cast
from ledger.models import Projection
from tests import factories
from tests.db.test_keys_lasting import signed_in
from tests.factories import ALICE, ONE

pytestmark = pytest.mark.django_db


class Receiver:
    """A web server of the person's own; answers with `status` and keeps what it got."""

    def __init__(self) -> None:
        self.status, self.answer = 200, b"thanks"
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                receiver.meanwhile()
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()
                if receiver.status != 204:
                    self.wfile.write(receiver.answer)

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


class Post:
    """A mail server that takes everything, unless told to refuse."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []
        self.refuses = False
        post = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 here")
                while line := self.rfile.readline().decode().strip():
                    word = line.split(" ", 1)[0].upper()
                    if word == "DATA":
                        self.say("354 go on")
                        lines = iter(lambda: self.rfile.readline(), b".\r\n")
                        post.letters.append(b"".join(lines))
                    if word == "QUIT":
                        self.say("221 bye")
                        return
                    self.say("550 no" if post.refuses and word == "RCPT" else "250 fine")

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.ALLOW_PRIVATE_PROVIDERS = True
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def post(settings: Any) -> Iterator[Post]:
    found = Post()
    settings.EMAIL_BACKEND = "net.smtp.Backend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", found.server.server_address[1]
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def alice() -> User:
    cache.clear()
    factories.head()
    factories.contract()
    factories.sub_account()
    Projection.objects.create(name="ledger", version=3, final_block=1)
    return User.objects.for_address(ALICE)


def told(user: User, *, by_email: bool = False, by_hook: bool = False) -> Notification:
    """A low balance, found by a rule with these ways."""
    wish = Wish(Kind.LOW_BALANCE, threshold=4 * ONE, by_email=by_email, by_hook=by_hook)
    services.add(user, wish)
    assert services.sweep() == 1
    return user.notifications.get()


def due_now() -> None:
    Delivery.objects.filter(state=State.WAITING).update(due_at=timezone.now())


def test_a_webhook_gets_a_signed_post_and_the_same_id_again(
    alice: User, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, secret = hooks.create(alice, receiver.url)
    row = told(alice, by_hook=True)
    receiver.status = 500
    assert deliver.send_due() == 1 and deliver.send_due() == 0  # not before it is due again
    waiting = Delivery.objects.get(state=State.WAITING, due_at__gt=timezone.now())
    # Whoever mends the server need not wait, and loses no later try; what is being tried is left.
    owner, path = signed_in(cast.user(1)), f"/account/alerts/deliveries/{waiting.pk}"
    monkeypatch.setattr("alerts.views_hooks.queue.put", lambda task: None)
    for wait, tried in ((CLAIM, 1), (dt.timedelta(minutes=5), 0)):
        Delivery.objects.update(due_at=timezone.now() + wait)
        page = owner.get(f"/account/alerts/hooks/{hook.pk}").content.decode()
        assert ("Try now" in page) is (tried == 0), "offered where it does something"
        owner.post(path)
        assert Delivery.objects.get().tried == tried
    receiver.status = 204
    assert deliver.send_due() == 1
    (first, body), (second, again) = receiver.got
    assert body == again and first["webhook-id"] == second["webhook-id"] == f"msg_{row.pk.hex}"
    # What a receiver does is the function that the page prints.
    page = (Path(__file__).parents[2] / "docs/alerts.md").read_text()
    receives: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)[0], receives)
    assert receives["genuine"](secret, second, body)
    assert not receives["genuine"](secret, second, body + b" ")
    # Whoever else posts there sends anything at all.
    late = {**second, "webhook-timestamp": "soon"}
    signs = ({**second, "webhook-signature": word} for word in ("é", "\udce9"))  # as aiohttp has it
    for odd in ({}, late, {**second, "webhook-id": "\udce9"}, *signs):
        assert not receives["genuine"](secret, odd, body)
    types = re.findall(r"^\| [^|]+ \| (`[^|]+`) \| ", page, re.M)
    assert {word.strip("`") for cell in types for word in cell.split(", ")} == set(Kind)
    said = json.loads(body)
    assert said["type"] == "low_balance" and said["data"]["title"] == row.title
    assert list(Attempt.objects.order_by("at").values_list("status", flat=True)) == [500, 204]
    hook.refresh_from_db()
    assert Delivery.objects.get().state == State.SENT and hook.failing_since is None
    # The first that a new receiver sees has every field that the page names.
    hooks.test(hook)
    assert deliver.send_due() == 1
    test = json.loads(receiver.got[-1][1])
    assert test["type"] == "test" and test["data"].keys() == said["data"].keys()
    assert test["data"]["provider"] is None and test["data"]["network"] == "devnet"
    # A click may be two: what the receiver has is good for a day, with what is shown last.
    for _ in range(2):
        shown = owner.post(f"/account/alerts/hooks/{hook.pk}/act", {"act": "secret"})
    newest = re.search(r"whsec_[A-Za-z0-9+/=]+", shown.content.decode())
    assert newest is not None and "hook-overlap" in shown.content.decode()
    for opens in ([secret, newest[0]], [newest[0]]):
        hooks.test(hook)
        assert deliver.send_due() == 1
        headers, body = receiver.got[-1]
        good = [one for one in (secret, newest[0]) if receives["genuine"](one, headers, body)]
        assert good == opens
        Hook.objects.update(replaced_until=timezone.now())
    assert "hook-overlap" not in owner.get(f"/account/alerts/hooks/{hook.pk}").content.decode()


def test_whoever_sends_much_keeps_nobody_else_waiting(alice: User, receiver: Receiver) -> None:
    """A full round of one person's slow webhooks took 20 seconds of everybody's."""
    many, _ = hooks.create(alice, receiver.url)
    one, _ = hooks.create(User.objects.for_address(factories.BOB), receiver.url)
    for _ in range(deliver.BATCH + 5):
        hooks.test(many)
    last = hooks.test(one)
    assert deliver.send_due() == deliver.BATCH
    last.refresh_from_db()
    assert last.state == State.SENT
    assert deliver.send_due() == 6 and not Delivery.objects.filter(state=State.WAITING).exists()


def test_many_wallets_cannot_flood_anybodys_server() -> None:
    presses = []
    for number in range(10, 13):
        user = User.objects.for_address(cast.account(number).address)
        hook, _ = hooks.create(user, "https://victim.example/")
        browser, path = signed_in(cast.account(number)), f"/account/alerts/hooks/{hook.pk}/act"
        for _press in range(41):
            presses.append(browser.post(path, {"act": "enable"}, REMOTE_ADDR="203.0.113.8"))
    assert [press.status_code for press in presses] == [302] * 120 + [429] * 3


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_what_is_no_success_is_tried_again(alice: User, receiver: Receiver, status: int) -> None:
    hooks.create(alice, receiver.url)
    told(alice, by_hook=True)
    receiver.status, receiver.answer = status, b"\x00\xff<script>" * 10_000
    deliver.send_due()
    assert Delivery.objects.get().state == State.WAITING
    attempt = Attempt.objects.get()
    assert attempt.status == status and len(attempt.said) <= 500
    browser = signed_in(cast.user(1))
    page = browser.get("/account/alerts").content.decode()
    assert "tried again later" in page
    assert "\ufffd<script>" not in page and "&lt;script&gt;" in page, attempt.said
    # Whoever presses "Try now" makes as many as they like.
    same = {"delivery": attempt.delivery, "at": attempt.at, "said": "", "milliseconds": 1}
    Attempt.objects.bulk_create(Attempt(**same, status=number) for number in range(600, 621))
    said = re.findall(r"status (\d+)", browser.get("/account/alerts").content.decode())
    assert said == [str(number) for number in range(601, 621)]


def test_a_hook_that_is_gone_or_only_fails_is_switched_off(alice: User, receiver: Receiver) -> None:
    hook, _ = hooks.create(alice, receiver.url)
    told(alice, by_hook=True)
    receiver.status = 410
    deliver.send_due()
    hook.refresh_from_db()
    assert hook.disabled_why and Delivery.objects.get().state == State.FAILED
    hooks.enable(hook)
    long_ago = timezone.now() - deliver.PATIENCE - dt.timedelta(hours=1)
    Hook.objects.update(failing_since=long_ago)
    again = Delivery.objects.select_related("hook", "user", "notification").get()
    # One that answered a moment ago did not only fail, whatever the next message meets.
    for _ in range(2):
        hooks.replay(again)
    first, second = deliver._claim(timezone.now(), hooks=True)
    deliver._record_hook(first, deliver.Outcome(True, 200, "", 1), timezone.now())
    deliver._record_hook(second, deliver.Outcome(False, 500, "", 1), timezone.now())
    hook.refresh_from_db()
    assert hook.enabled and hook.failing_since and hook.failing_since > long_ago
    Delivery.objects.exclude(pk=again.pk).delete()
    Hook.objects.update(failing_since=long_ago)
    hooks.replay(again)
    receiver.status = 500
    deliver.send_due()
    hook.refresh_from_db()
    assert not hook.enabled and "5 days" in hook.disabled_why


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/hook",
        "http://[::1]/hook",
        "http://2130706433/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://user:secret@example.org/",
        "https://example.org/" + "a" * 500,
        "",
    ],
)
def test_a_hook_never_points_into_the_sites_own_network(
    alice: User, settings: Any, url: str
) -> None:
    settings.ALLOW_PRIVATE_PROVIDERS = False
    with pytest.raises(Problem) as refused:
        hook, _ = hooks.create(alice, url)
        # A name is judged when it is resolved, at every try.
        hooks.test(hook)
        deliver.send_due()
        raise Problem("refused_late", Attempt.objects.get().said)
    assert refused.value.code in ("invalid_url", "refused_late")
    assert not Attempt.objects.exclude(status=None).exists()


def test_a_code_proves_only_the_address_that_it_was_mailed_to(
    alice: User, post: Post, monkeypatch: Any
) -> None:
    mailbox.ask(alice, "alice@example.org")
    code = re.search(r"code is (\d{6})", post.letters[0].decode())
    assert code is not None
    read = services.channels_of(alice)
    # Another address is asked for between the reading and the writing of `prove`.
    mailbox.ask(alice, "victim@example.org")
    monkeypatch.setattr(services, "channels_of", lambda user: read)
    with pytest.raises(Problem):
        mailbox.prove(alice, code[1])
    row = Channels.objects.get()
    assert (row.address, row.email_verified_at) == ("victim@example.org", None)


def test_mail_goes_only_where_a_code_came_back(alice: User, post: Post) -> None:
    mailbox.ask(alice, "alice@example.org")
    code = re.search(r"code is (\d{6})", post.letters[0].decode())
    assert code is not None
    row = told(alice, by_email=True)
    assert not Delivery.objects.exists()
    with pytest.raises(Problem):
        mailbox.prove(alice, "000000" if code[1] != "000000" else "111111")
    mailbox.prove(alice, code[1])
    with pytest.raises(Problem):
        mailbox.prove(alice, code[1])  # a code is good once
    alice.alert_rules.all().delete()
    told_again = services.add(alice, Wish(Kind.LOW_AVAILABLE, threshold=ONE, by_email=True))
    services.add(alice, Wish(Kind.LOW_BALANCE, threshold=4 * ONE, by_email=True))
    factories.purse(available=1)
    services.sweep()
    assert Delivery.objects.count() == 2
    assert deliver.send_due() == 1  # one mail with both
    letter = email.message_from_bytes(post.letters[1], policy=email.policy.default)
    assert letter["To"] == "alice@example.org" and "and 1 more" in letter["Subject"]
    text = letter.get_content()
    assert row.title in text and "/account/alerts" in text
    assert set(Delivery.objects.values_list("state", flat=True)) == {State.SENT}
    assert told_again.pk


def test_the_secret_needs_a_fresh_signature_and_is_shown_once(
    alice: User, receiver: Receiver
) -> None:
    browser = signed_in(cast.user(1))
    made = browser.post("/account/alerts/hooks/new", {"url": receiver.url}).content.decode()
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", made)
    assert secret is not None
    hook = alice.hooks.get()
    assert "No rule sends anything here yet" in made
    services.add(alice, Wish(Kind.URL, by_hook=True))
    page = browser.get(f"/account/alerts/hooks/{hook.pk}").content.decode()
    assert "No rule sends anything here yet" not in page
    assert "whsec_" not in browser.get(f"/account/alerts/hooks/{hook.pk}").content.decode()
    assert secret[0] not in hook.sealed_secret
    session = browser.session
    session["proved_at"] = 1
    for key in list(session.keys()):
        if isinstance(session[key], int) and not isinstance(session[key], bool):
            session[key] = 1
    session.save()
    late = browser.post("/account/alerts/hooks/new", {"url": receiver.url + "2"})
    assert late.status_code == 403 and alice.hooks.count() == 1
    assert signed_in(cast.user(2)).get(f"/account/alerts/hooks/{hook.pk}").status_code == 404


def test_a_rule_tells_one_webhook_of_several_and_never_more_when_that_is_gone(
    alice: User, receiver: Receiver
) -> None:
    first, second = (hooks.create(alice, f"{receiver.url}/{n}")[0] for n in range(2))
    mine, browser = alice.alert_rules, signed_in(cast.user(1))
    services.add(alice, Wish(Kind.LOW_BALANCE, threshold=4 * ONE, by_hook=True))
    services.add(alice, Wish(Kind.LOW_AVAILABLE, threshold=4 * ONE, by_hook=True))
    rule = mine.get(kind=Kind.LOW_BALANCE)
    path = f"/account/alerts/rules/{rule.pk}"
    foreign, _ = hooks.create(User.objects.for_address(factories.BOB), receiver.url)
    for wrong in (foreign.pk, "nonsense"):
        assert browser.post(path, {"act": "ways", "hook": wrong}).status_code == 404
    browser.post(path, {"act": "ways", "hook": second.pk})
    page = browser.get("/account/alerts").content.decode()
    assert page.count(f'value="{second.pk}" selected') == 1 and "all webhooks" in page
    factories.purse(available=1)
    assert services.sweep() == 2
    told_by = sorted(Delivery.objects.values_list("notification__kind", "hook"), key=str)
    wanted = [("low_available", first.pk), ("low_available", second.pk), ("low_balance", second.pk)]
    assert told_by == sorted(wanted, key=str)
    browser.post(f"/account/alerts/hooks/{second.pk}/act", {"act": "delete"})
    rule.refresh_from_db()
    assert not rule.by_hook and rule.hook_id is None, "not the other one instead"
    assert mine.get(kind=Kind.LOW_AVAILABLE).by_hook
    browser.post(path, {"act": "ways", "hook": "on"})
    rule.refresh_from_db()
    assert rule.by_hook and rule.hook_id is None


@pytest.mark.parametrize("form", ["slack", "discord"])
def test_a_chat_gets_a_message_that_calls_nobody(
    alice: User, receiver: Receiver, form: str
) -> None:
    browser = signed_in(cast.user(1))
    made = browser.post("/account/alerts/hooks/new", {"url": receiver.url, "format": form})
    assert "whsec_" not in made.content.decode(), "a chat checks no signature"
    row = told(alice, by_hook=True)
    Notification.objects.filter(pk=row.pk).update(
        title="<!channel> @everyone & <https://evil> [0G](https://a.example/x) www.b.example 1.5"
    )
    hooks.test(alice.hooks.get())
    assert deliver.send_due() == 2
    bodies = [json.loads(body) for _, body in receiver.got]
    news, test = sorted(bodies, key=lambda body: "This is a test" in str(body))
    said = news["text" if form == "slack" else "content"]
    assert said.endswith(row.path) and "below your 4 0G" in said
    theirs = said.removesuffix(said.rpartition("\n")[2])
    assert "://" not in theirs and ".example" not in theirs and " 1.5\n" in theirs
    if form == "slack":
        assert (
            said.startswith("&lt;!channel&gt; @everyone &amp; &lt;https") and "test" in test["text"]
        )
    else:
        assert said.startswith(r"\<!channel\> @everyone & \<https") and r"\[0G\]\(https" in said
        assert news["allowed_mentions"] == {"parse": []} and "test" in test["content"]
    refused = browser.post("/account/alerts/hooks/new", {"url": receiver.url + "2", "format": "x"})
    assert refused.status_code == 400


@pytest.mark.django_db(transaction=True)
def test_one_click_may_be_two(alice: User) -> None:
    for number in range(hooks.MOST - 1):
        hooks.create(alice, f"https://example.org/{number}")
    barrier, outcomes = threading.Barrier(4), []

    def click(url: str) -> None:
        barrier.wait()
        try:
            hooks.create(alice, url)
            outcomes.append("made")
        except Problem as problem:
            outcomes.append(problem.code)
        connection.close()

    names = ("twice", "twice", "other", "third")
    threads = [
        threading.Thread(target=click, args=(f"https://example.org/{name}",)) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outcomes.count("made") == 1 and len(outcomes) == 4, outcomes
    assert alice.hooks.count() == hooks.MOST

"""What mails say: in their reader's language, and how to end them; what a refused one shows."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import itertools
import re
from email.message import EmailMessage
from typing import Any

import pytest
from django.conf import settings as site
from django.core import mail
from django.core.cache import cache
from django.core.mail.backends.locmem import EmailBackend as LocMemBackend
from django.test import Client
from django.utils import timezone

from accounts.errors import Problem
from accounts.models import User
from alerts import deliver, mailbox, services
from alerts.kinds import Kind
from alerts.models import Attempt, Channels, Delivery, Notification, State
from devnet import accounts as cast
from tests import factories
from tests.db.test_alert_deliveries import Post, due_now, told
from tests.db.test_alert_deliveries import alice as alice
from tests.db.test_alert_deliveries import post as post
from tests.db.test_keys_lasting import signed_in

pytestmark = pytest.mark.django_db
GERMAN = {"accept-language": "de"}


def letter_of(post: Post) -> EmailMessage:
    """The newest."""
    return email.message_from_bytes(post.letters[-1], policy=email.policy.default)


def test_mails_are_in_the_language_that_their_reader_chose(alice: User, post: Post) -> None:
    browser = signed_in(cast.user(1))
    refused = browser.post("/account/alerts/mail", {"act": "ask", "email": "a @b.org"})
    field = re.search(r'<input[^>]*id="mail-address"[^>]*>', refused.content.decode())
    assert field and 'value="a @b.org"' in field[0] and 'aria-invalid="true"' in field[0]
    browser.post("/account/alerts/mail", {"act": "ask", "email": "a@b.org"}, headers=GERMAN)
    asked = letter_of(post).get_content()
    code = re.search(r"Code lautet (\d{6})", asked)
    assert code is not None
    assert site.SITE_URL in asked and alice.address in asked, "who asked, and where"
    mailbox.prove(alice, code[1])
    told(alice, by_email=True)
    Notification.objects.update(text="From a provider: https://evil.example, pay@evil.example, 1.5")
    deliver.send_due()
    letter = letter_of(post)
    assert "Noch 3 0G bei" in letter["Subject"] and "Regel" in letter.get_content()
    words = " ".join(letter.get_content().split())
    assert "https[:]//evil[.]example, pay@evil[.]example, 1.5 " in words, "no link in our name"
    browser.post("/language", {"language": "en"})
    mailbox.test(alice)
    deliver.send_due()
    assert "the test mail" in letter_of(post).get_content()


def test_a_test_mail_is_sent_by_a_worker_and_not_while_its_page_waits(
    alice: User, post: Post
) -> None:
    way = services.channels_of(alice)
    Channels.objects.filter(pk=way.pk).update(email="a@b.org", email_verified_at=timezone.now())
    answer = signed_in(cast.user(1)).post("/account/alerts/mail", {"act": "test"})
    assert answer.status_code == 302 and not post.letters
    assert deliver.send_due() == 1 and b"the test mail" in post.letters[0]


def test_a_site_without_a_mail_server_says_so(alice: User, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    page = signed_in(cast.user(1)).get("/account/alerts").content.decode()
    assert "no mail server" in page
    with pytest.raises(Problem, match="sends no mail"):
        mailbox.ask(alice, "alice@example.org")


def test_every_mail_can_be_ended_without_signing_in(alice: User, post: Post, settings: Any) -> None:
    settings.SITE_URL = "https://market.example"
    way = services.channels_of(alice)
    Channels.objects.filter(pk=way.pk).update(email="a@b.org", email_verified_at=timezone.now())
    mailbox.test(alice)
    deliver.send_due()
    letter = email.message_from_bytes(post.letters[0], policy=email.policy.default)
    # Killed before it was written down, it goes out again, and mail programs know it by its name.
    Delivery.objects.update(state=State.WAITING, due_at=timezone.now())
    deliver.send_due()
    assert letter_of(post)["Message-ID"] == letter["Message-ID"]
    Delivery.objects.update(state=State.WAITING, due_at=timezone.now())
    mailbox.test(alice)
    deliver.send_due()
    assert letter_of(post)["Message-ID"] != letter["Message-ID"], "it tells more"
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = str(letter["List-Unsubscribe"]).strip(" <>").removeprefix(settings.SITE_URL)
    outside = Client(enforce_csrf_checks=True)
    asked = outside.get(path)
    assert "a@b.org" in asked.content.decode() and asked["Referrer-Policy"] == "no-referrer"
    assert services.channels_of(alice).address == "a@b.org", "a look ends nothing"
    assert outside.post(path[:-1] + "AB"[path.endswith("A")]).status_code == 404
    done = outside.post(path, {"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200 and services.channels_of(alice).address == ""
    Channels.objects.filter(pk=way.pk).update(email="new@b.org", email_verified_at=timezone.now())
    assert outside.post(path).status_code == 404, "it was about another address"


def test_many_wallets_cannot_flood_anybodys_mailbox(post: Post) -> None:
    """Wallets cost nothing, and whose address it is is known only when the code comes back."""

    wallets = [signed_in(cast.account(number)) for number in range(10, 15)]

    def asked(number: int, to: str, network: str) -> int:
        given = {"act": "ask", "email": to}
        path = "/account/alerts/mail"
        return wallets[number].post(path, given, REMOTE_ADDR=network).status_code

    own = [asked(n % 4, "Victim@example.org", f"192.0.2.{n}") for n in range(6)]
    assert own == [302] * 5 + [429] and len(post.letters) == 5
    assert asked(2, "victim@EXAMPLE.org", "192.0.2.99") == 429
    cache.clear()
    elsewhere = "2001:db8::"  # one customer has all of a /64
    spread = [asked(n % 5, f"victim{n}@example.org", f"{elsewhere}{n}") for n in range(22)]
    assert spread == [302] * 20 + [429] * 2


def test_a_mail_server_that_refuses_is_shown_and_tried_again(alice: User, post: Post) -> None:
    mailbox.ask(alice, "alice@example.org")
    code = re.search(r"code is (\d{6})", post.letters[0].decode())
    assert code is not None
    mailbox.prove(alice, code[1])
    told(alice, by_email=True)
    post.refuses = True
    deliver.send_due()
    assert Delivery.objects.get().state == State.WAITING
    page = signed_in(cast.user(1)).get("/account/alerts").content.decode()
    assert "The last one failed" in page
    post.refuses = False
    due_now()
    deliver.send_due()
    assert Delivery.objects.get().state == State.SENT
    mailbox.forget(alice)
    services.channels_of(alice)
    assert services.channels_of(alice).address == ""


class Slow(LocMemBackend):
    """A mail server so slow with the first letter that meanwhile the claim on what is left ends,
    and another worker takes it up."""

    def send_messages(self, messages: Any) -> int:
        sent = int(super().send_messages(messages))
        if len(mail.outbox) > 1:
            return sent
        others = Delivery.objects.filter(state=State.WAITING).exclude(
            user__alert_channels__email=messages[0].to[0]
        )
        others.update(due_at=timezone.now())
        deliver.send_due()
        return sent


def test_a_mail_that_another_worker_took_up_meanwhile_is_sent_once(
    alice: User, settings: Any, mailoutbox: list[Any]
) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = f"{__name__}.Slow", "127.0.0.1"
    factories.mails_due(4)
    assert deliver.send_due() == 1  # by this worker: the others took up the rest
    assert sorted(letter.to[0][0] for letter in mailoutbox) == ["0", "1", "2", "3"]
    assert Attempt.objects.count() == 4
    assert set(Delivery.objects.values_list("state", flat=True)) == {State.SENT}


def test_all_that_is_due_for_one_person_is_one_mail(
    alice: User, settings: Any, mailoutbox: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daily digest is due for everybody at the same moment, more rows than one round takes."""
    settings.EMAIL_HOST = "127.0.0.1"
    monkeypatch.setattr(deliver, "BATCH", 2)
    factories.mails_due(3)
    now = timezone.now()
    readers = User.objects.filter(alert_channels__email_verified_at__isnull=False)
    for user, hours in itertools.product(readers, (1, 3, 2)):
        at = now - dt.timedelta(hours=hours)
        row = Notification.objects.create(
            user=user, kind=Kind.NOTE, occurrence=hours, title=f"{hours} h ago", path="/", at=at
        )
        Delivery.objects.create(user=user, notification=row, created_at=at, due_at=now)
    Delivery.objects.update(due_at=now)
    assert [deliver.send_due() for _round in range(3)] == [2, 1, 0]
    assert sorted(letter.to[0][0] for letter in mailoutbox) == ["0", "1", "2"]
    assert Attempt.objects.count() == 12
    for letter in mailoutbox:  # as it went
        assert "3 h ago and 2 more" in letter.subject
        assert re.findall("^. h ago", letter.body, re.M) == ["3 h ago", "2 h ago", "1 h ago"]

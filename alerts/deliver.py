"""Sending what is due: signed POSTs to webhooks, messages of the bot, and mails. Every try is
written down. What programs read is English; a mail and the bot speak the person's language.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F, Min, Window
from django.db.models.functions import RowNumber
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import crypto
from alerts import hooks, signing, telegram, unsubscribing, words
from alerts.models import CLAIM, Attempt, Channels, Delivery, Format, Hook, Notification, State
from net.client import Client
from net.errors import BadStatus, NetError
from net.limits import Limits
from net.locks import in_turn

log = logging.getLogger(__name__)

#: Held while mails are claimed: "0GMAIL".
CLAIMING = 0x3047_4D41_494C
#: Webhooks that are called, and persons who are mailed, in one round.
BATCH = 50
#: A webhook that did nothing but fail for so long is switched off.
PATIENCE = dt.timedelta(days=5)
_LIMITS = Limits(connect=5, first_byte=15, between=10, total=20, max_bytes=1 << 20, max_redirects=0)
_KEPT = 500
#: Discord takes 2,000 characters (Telegram 4,096), and shows no preview of links with this flag.
_MOST_SAID, _NO_EMBEDS = 1_500, 4
#: What chats and mail programs make a link of, with or without a scheme; 1.5 is an amount.
_DOT = re.compile(r"(?<=\S)[.。．｡](?=\w)(?!(?<=\d.)\d)")
#: What Discord reads as Markdown.
_MARKDOWN = re.compile(r"[\\`*_~|<>#\[\]()]")
_ACCEPTED = tuple(range(200, 300))
#: Mails to one person: at most so many lines in one, so many tries.
_MOST_LINES = 50
_MAIL_TRIES = 6
_MAIL_WAIT = dt.timedelta(minutes=10)


@dataclass(frozen=True)
class Outcome:
    ok: bool
    status: int | None
    said: str
    milliseconds: int
    #: Seconds that whoever answered asks us to wait.
    wait: int = 0


def send_due() -> int:
    """Try everything that is due, once; the number of tries."""
    return _send_hooks(timezone.now()) + _send_mails(timezone.now())


def _claim(now: dt.datetime, *, hooks: bool) -> list[Delivery]:
    """Deliveries that are ours alone until `CLAIM` has passed, the oldest first. Of webhooks those
    are everybody's first, then everybody's second: whoever has many, and slow ones, keeps nobody
    else waiting. Of mails all of so many persons: what is due for one is one mail.
    """
    due = Delivery.objects.filter(state=State.WAITING, due_at__lte=now, hook__isnull=not hooks)
    with transaction.atomic():
        if hooks:
            own = Window(RowNumber(), partition_by="user_id", order_by=["due_at", "pk"])
            turns = due.annotate(own=own).order_by("own", "due_at").values_list("pk", flat=True)
            wanted = due.filter(pk__in=list(turns[:BATCH]))
        else:
            # Of two that lock rows at once, each would get a part of one person's.
            in_turn(CLAIMING)
            readers = (
                due.values("user_id").annotate(since=Min("due_at")).order_by("since", "user_id")
            )
            wanted = due.filter(user__in=[row["user_id"] for row in readers[:BATCH]])
        rows = list(wanted.order_by("due_at").select_for_update(skip_locked=True))
        ids = [row.pk for row in rows]
        Delivery.objects.filter(pk__in=ids).update(due_at=now + CLAIM)
    taken = Delivery.objects.filter(pk__in=ids).select_related("hook", "notification", "user")
    return list(taken.order_by("created_at", "pk"))


# --- webhooks -------------------------------------------------------------------------------------


def body_of(delivery: Delivery) -> bytes:
    """What is posted, by the webhook's format; the same bytes at every try."""
    row = delivery.notification
    title = row.title if row else "This is a test"
    text = row.text if row else "Your webhook works."
    url = _url(row.path if row else "/account")
    if delivery.hook is not None and delivery.hook.format != Format.SIGNED:
        return orjson.dumps(_message(delivery.hook.format, title, text, url))
    data: dict[str, str | None] = {"title": title, "text": text, "url": url}
    data |= {"provider": (row and row.provider) or None, "network": settings.NETWORK.name}
    at = row.at if row else delivery.created_at
    kind = row.kind if row else "test"
    return orjson.dumps({"type": kind, "timestamp": at.isoformat(), "data": data})


def _message(form: str, title: str, text: str, url: str) -> dict[str, object]:
    """The same for the incoming webhooks of a chat, which hold what strangers wrote: it must call
    nobody and be no link: example.org is shown as example[.]org, and the last line alone links."""
    said = _harmless(title, text)
    if form == Format.SLACK:
        for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            said = said.replace(sign, shown)
        return {"text": f"{said}\n{url}", "mrkdwn": False, "unfurl_links": False}
    said = _MARKDOWN.sub(r"\\\g<0>", said)[:_MOST_SAID].rstrip("\\")
    return {"content": f"{said}\n{url}", "allowed_mentions": {"parse": []}, "flags": _NO_EMBEDS}


def _harmless(title: str, text: str) -> str:
    """No link of what strangers wrote, which would be one in our name, and no more than any chat
    takes."""
    return _DOT.sub("[.]", f"{title}\n{text}".strip().replace("://", "[:]//"))[:_MOST_SAID]


def chat_text(delivery: Delivery) -> str:
    """The same of the bot, as plain text in which `@name` leads nowhere either."""
    row = delivery.notification
    with translation.override(delivery.user.reads):
        title = words.translated(row.title) if row else _("This is a test")
        text = words.translated(row.text) if row else _("The alerts that you choose come here.")
    said = _harmless(title, text).replace("@", "[@]")[:_MOST_SAID]
    return f"{said}\n{_url(row.path if row else '/account')}"


def message_id(delivery: Delivery) -> str:
    """`webhook-id`: that of the notification, so that a receiver can drop what it knows."""
    return f"msg_{(delivery.notification_id or delivery.pk).hex}"


def _send_hooks(now: dt.datetime) -> int:
    rows = [row for row in _claim(now, hooks=True) if row.hook is not None]
    ready = []
    for row in rows:
        if row.hook is not None and not row.hook.enabled:
            _close(row, State.FAILED)
        else:
            ready.append(row)
    outcomes = async_to_sync(_post_all)(ready)
    for row, outcome in zip(ready, outcomes, strict=True):
        _record_hook(row, outcome, now)
    return len(ready)


async def _post_all(rows: Iterable[Delivery]) -> list[Outcome]:
    guarded = Client(hooks.policy(), _LIMITS)
    async with guarded, Client(telegram.POLICY, telegram.LIMITS) as chosen:
        tries = (
            _tell(chosen, row)
            if row.hook is not None and row.hook.format == Format.TELEGRAM
            else _post(guarded, row)
            for row in rows
        )
        return list(await asyncio.gather(*tries))


async def _tell(client: Client, row: Delivery) -> Outcome:
    assert row.hook is not None
    started = time.monotonic()

    def outcome(ok: bool, status: int | None, said: str, wait: int = 0) -> Outcome:
        return Outcome(ok, status, said, int((time.monotonic() - started) * 1000), wait)

    if not telegram.works():
        return outcome(False, None, words.NO_BOT)
    try:
        await telegram.send(client, crypto.unseal(row.hook.sealed_secret), chat_text(row))
    except crypto.Unreadable:
        return outcome(False, None, words.SECRET_LOST)
    except telegram.Refusal as refusal:
        return outcome(False, refusal.status, str(refusal), refusal.wait)
    return outcome(True, 200, "")


async def _post(client: Client, row: Delivery) -> Outcome:
    assert row.hook is not None
    started, stamp, body = time.monotonic(), int(time.time()), body_of(row)
    name = message_id(row)

    def outcome(ok: bool, status: int | None, said: str) -> Outcome:
        return Outcome(ok, status, said, int((time.monotonic() - started) * 1000))

    try:
        url = row.hook.opened()
    except crypto.Unreadable:
        return outcome(False, None, words.URL_LOST)
    try:
        held = row.hook.secrets(timezone.now())
    except crypto.Unreadable:
        return outcome(False, None, words.SECRET_LOST)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(stamp),
        "webhook-signature": " ".join(signing.signature(one, name, stamp, body) for one in held),
    }
    try:
        async with client.open("POST", url, headers=headers, body=body, accept=_ACCEPTED) as answer:
            return outcome(True, answer.status, _text(await answer.beginning(_KEPT)))
    except BadStatus as error:
        return outcome(False, error.status, _text(error.body[:_KEPT]))
    except NetError as error:
        return outcome(False, None, str(error)[:_KEPT])


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace").replace("\0", "�")


def try_now(row: Delivery) -> None:
    """Let a message that waits for its next try go at once, in place of its last try."""
    if not row.can_hurry:
        return
    now = timezone.now()
    # Of one table: of two at once the second looks again at what the first made of it.
    mine = Delivery.objects.filter(pk=row.pk, state=State.WAITING, tried__gt=0)
    mine.filter(due_at__gt=now + CLAIM).update(due_at=now, tried=F("tried") - 1)


def _record_hook(row: Delivery, outcome: Outcome, now: dt.datetime) -> None:
    assert row.hook is not None
    tried = row.tried + 1
    with transaction.atomic():
        if not _attempt(row, outcome):
            return
        hook = Hook.objects.filter(pk=row.hook.pk)  # as it is now: another try may have gone well
        if outcome.ok:
            _close(row, State.SENT)
            hook.update(failing_since=None)
            return
        hook.filter(failing_since=None).update(failing_since=now)
        wait = signing.next_wait(tried) if row.notification_id else None
        chat = row.hook.format == Format.TELEGRAM
        # In words of Telegram's own: a proxy's 403 would switch off everybody's.
        blocked = outcome.status == 403 and outcome.said.startswith("Forbidden")
        if blocked if chat else outcome.status == 410:
            _switch_off(row.hook, words.BLOCKED if chat else words.GONE)
            wait = None
        elif hook.filter(failing_since__lt=now - PATIENCE).exists():
            _switch_off(row.hook, words.KEPT_FAILING.format(days=PATIENCE.days))
            wait = None
        until = timezone.now() + dt.timedelta(seconds=outcome.wait)
        if outcome.wait:  # it is the bot that has to be quiet, for everybody
            waiting = Delivery.objects.filter(state=State.WAITING, due_at__lt=until)
            waiting.filter(hook__format=Format.TELEGRAM).update(due_at=until)
        if wait is None:
            _close(row, State.FAILED)
        else:
            due = max(timezone.now() + wait, until)
            Delivery.objects.filter(pk=row.pk).update(due_at=due)


def _switch_off(hook: Hook, why: str) -> None:
    Hook.objects.filter(pk=hook.pk).update(enabled=False, disabled_why=why)


def _attempt(row: Delivery, outcome: Outcome) -> bool:
    """Write a try down, in a transaction; False where its owner deleted the webhook, or is
    forgotten, since it began: that must not take the tries of others with it."""
    if not Delivery.objects.filter(pk=row.pk).update(tried=F("tried") + 1):
        return False
    Attempt.objects.create(
        delivery=row,
        at=timezone.now(),
        milliseconds=outcome.milliseconds,
        status=outcome.status,
        said=outcome.said,
    )
    return True


def _close(row: Delivery, state: State) -> None:
    Delivery.objects.filter(pk=row.pk).update(state=state)


# --- mail -----------------------------------------------------------------------------------------


def _send_mails(now: dt.datetime) -> int:
    """One mail to each person with all that is due for them."""
    by_user: dict[int, list[Delivery]] = {}
    for row in _claim(now, hooks=False):
        by_user.setdefault(row.user_id, []).append(row)
    sent = 0
    for user_id, claimed in by_user.items():
        if rows := _renewed(claimed):
            # As it is by now: the mails before may have taken minutes.
            _mail(Channels.objects.filter(user=user_id).first(), rows)
            sent += 1
    return sent


def _renewed(rows: Iterable[Delivery]) -> list[Delivery]:
    """Those that are still ours, for another `CLAIM`: mails before this one may have taken longer
    than a claim lasts, and then somebody else has taken these up."""
    until = timezone.now() + CLAIM
    return [
        row
        for row in rows
        if Delivery.objects.filter(pk=row.pk, state=State.WAITING, due_at=row.due_at).update(
            due_at=until
        )
    ]


def _mail(way: Channels | None, rows: list[Delivery]) -> None:
    if way is None or way.email_verified_at is None or not mail_works() or not way.readable():
        for row in rows:
            _record_mail(row, Outcome(False, None, words.NO_ADDRESS, 0), last=True)
        return
    told = [row.notification for row in rows if row.notification is not None]
    started = time.monotonic()
    with translation.override(rows[0].user.reads):
        said = letter(told) if told else _test()
    headers = {**unsubscribing.headers(way), "Message-ID": _mail_id(rows)}
    error = send_mail(way.address, *said, headers=headers)
    took = int((time.monotonic() - started) * 1000)
    Channels.objects.filter(pk=way.pk, email=way.email, sealed_email=way.sealed_email).update(
        email_error=error
    )
    outcome = Outcome(not error, None, error or words.HANDED_OVER, took)
    for row in rows:
        last = row.tried + 1 >= _MAIL_TRIES or row.notification is None
        _record_mail(row, outcome, last=last)


def _mail_id(rows: Iterable[Delivery]) -> str:
    """The same for the same deliveries: a mail that went out before we could write that down goes
    out again, and programs show what has one id once (RFC 5322, 3.6.4)."""
    told = "".join(sorted(row.pk.hex for row in rows))
    name = hashlib.sha256(told.encode()).hexdigest()[:32]
    return f"<{name}@{urlsplit(settings.SITE_URL).hostname}>"


def _record_mail(row: Delivery, outcome: Outcome, *, last: bool) -> None:
    with transaction.atomic():
        if not _attempt(row, outcome):
            return
        if outcome.ok or last:
            _close(row, State.SENT if outcome.ok else State.FAILED)
        else:
            Delivery.objects.filter(pk=row.pk).update(due_at=timezone.now() + _MAIL_WAIT)


def _test() -> tuple[str, str]:
    return (
        _("0G Market: a test"),
        _("This is the test mail that you asked for. Mails reach you here.") + "\n",
    )


def letter(told: list[Notification]) -> tuple[str, str]:
    """Subject and text of a mail about these notifications, in the language that is active."""
    # A name from the chain may hold anything; a header takes one line.
    first, more = " ".join(words.translated(told[0].title).split())[:150], len(told) - 1
    subject = first
    if more:
        subject = ngettext("%(first)s and %(more)d more", "%(first)s and %(more)d more", more) % {
            "first": first,
            "more": more,
        }
    lines = [
        f"{_harmless(words.translated(row.title), words.translated(row.text))}\n{_url(row.path)}\n"
        for row in told[:_MOST_LINES]
    ]
    if (rest := len(told) - _MOST_LINES) > 0:
        inbox = ngettext(
            "… and %(more)d more in your inbox: %(url)s",
            "… and %(more)d more in your inbox: %(url)s",
            rest,
        )
        lines.append(inbox % {"more": rest, "url": _url("/account/inbox")} + "\n")
    why = _("You made a rule for this. Change it: %(url)s") % {"url": _url("/account/alerts")}
    lines.append(f"{why}\n")
    return f"0G Market: {subject}", "\n".join(lines)


def mail_works() -> bool:
    """Whether this site can send mail at all (`EMAIL_URL`)."""
    return bool(settings.EMAIL_HOST)


def send_mail(to: str, subject: str, text: str, headers: dict[str, str] | None = None) -> str:
    """Hand one mail to the server; "" or what went wrong, for the person's eyes."""
    try:
        EmailMessage(subject, text, to=[to], headers=headers).send()
    except OSError as error:  # smtplib's errors are OSErrors
        log.warning("a mail was not sent", extra={"error": repr(error)})
        return words.MAIL_REFUSED.format(error=type(error).__name__)
    return ""


def _url(path: str) -> str:
    return f"{settings.SITE_URL}{path}"

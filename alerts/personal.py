"""What alerts keep about a person (`accounts.personal`)."""

from __future__ import annotations

from django.utils.translation import gettext_noop

from accounts import personal
from accounts.personal import Category, Table
from alerts.models import Attempt, Channels, Delivery, Held, Hook, Notification, Rule


def register() -> None:
    personal.register(
        Category(
            "alerts",
            gettext_noop("Alert rules"),
            gettext_noop("What you want to be told about, and which of it holds now."),
            gettext_noop("Nothing is sent without a rule of yours."),
            (Table(Rule), Table(Held, "rule__user")),
        ),
        Category(
            "channels",
            gettext_noop("Mail address, webhooks and Telegram"),
            gettext_noop(
                "Where alerts go besides the inbox; addresses, a webhook’s secret and the number "
                "of your chat with the bot are sealed."
            ),
            gettext_noop("To reach you outside the site, only where you set it up."),
            (
                Table(Hook, opened=(("url", "sealed_url"),)),
                Table(
                    Channels,
                    secret=("feed_token", "code_digest"),
                    opened=(("email", "sealed_email"),),
                ),
            ),
        ),
        Category(
            "inbox",
            gettext_noop("Inbox"),
            gettext_noop("What you were told, and every try to tell it elsewhere."),
            gettext_noop("So that you can read it later, and see why a message did not come."),
            (Table(Notification), Table(Delivery), Table(Attempt, "delivery__user")),
        ),
    )

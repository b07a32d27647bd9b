"""What moderation keeps about a person (`accounts.personal`)."""

from __future__ import annotations

from django.utils.translation import gettext_noop

from accounts import personal
from accounts.personal import Category, Stays, Table
from moderation.models import Act, Anyway, Effect, Item, Report


def register() -> None:
    personal.register(
        Category(
            "reports",
            gettext_noop("Reports you made"),
            gettext_noop("What you wrote about listings and links, and what you were answered."),
            gettext_noop("Moderators read them; the queue forgets who said it once it is erased."),
            (Table(Report, "reporter", secret=("reporter",)),),
        ),
        Category(
            "anyway",
            gettext_noop("Hidden listings you chose to ask"),
            gettext_noop("That you read why a listing is hidden and went on."),
            gettext_noop("So that you are not asked at every question."),
            (Table(Anyway),),
        ),
        stays=(
            Stays(
                gettext_noop("Decisions of moderators"),
                gettext_noop(
                    "The record of what staff did, with reasons, is one chain of hashes: "
                    "nothing can be taken out without breaking it, and it protects everybody from "
                    "quiet changes. It names a wallet only where the decision was about it or "
                    "made by it."
                ),
                (Act, Effect, Item),
            ),
        ),
    )

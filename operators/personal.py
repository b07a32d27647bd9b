"""What the operators' pages keep about a person (`accounts.personal`)."""

from __future__ import annotations

from django.utils.translation import gettext_noop

from accounts import personal
from accounts.personal import Category, Table
from operators.models import BatchGas, Debt, ListingDraft, Note, Profile, SelfTest, SetupRun


def register() -> None:
    personal.register(
        Category(
            "listing_drafts",
            gettext_noop("Drafts and checks of your listing"),
            gettext_noop(
                "What you typed and did not publish, and runs of setup checks and self-tests."
            ),
            gettext_noop("So that you can go on where you stopped. Nobody else sees them."),
            (Table(ListingDraft), Table(SetupRun), Table(SelfTest)),
        ),
        Category(
            "signed_words",
            gettext_noop("Your notes and profile as a provider"),
            gettext_noop("What your wallet signed for everybody to read, with the signature."),
            gettext_noop(
                "Users read there who you are and what is planned. Erased, it is gone "
                "from the pages; copies that others took stay."
            ),
            (Table(Note, "provider", key="address"), Table(Profile, "provider", key="address")),
        ),
        apart={
            BatchGas: "gas of settlement transactions, from public receipts",
            Debt: "sums that brokers say they are owed; of nobody in particular",
        },
    )

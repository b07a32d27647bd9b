"""What the pages of staff keep about a person (`accounts.personal`)."""

from __future__ import annotations

from django.utils.translation import gettext_noop

from accounts import personal
from accounts.models import User
from accounts.personal import Category, Table
from ops.models import FailedTask, Job, PasswordAccount


def _let_go(user: User) -> int:
    """Commands and failures stay, they are the site's; who pressed the button goes."""
    started = Job.objects.filter(started_by=user).update(started_by=None)
    return started + FailedTask.objects.filter(handled_by=user).update(handled_by=None)


def register() -> None:
    personal.register(
        Category(
            "password_account",
            gettext_noop("Password account of staff"),
            gettext_noop("Its name, and that an authenticator is set up; secrets are sealed."),
            gettext_noop("For staff who sign in without a wallet."),
            (Table(PasswordAccount, secret=("recovery", "last_step")),),
        ),
        Category(
            "commands",
            gettext_noop("Commands you started"),
            gettext_noop("That it was you who pressed a button of the operations page."),
            gettext_noop("The output stays, it is the site’s; your part in it is removed."),
            (
                Table(Job, "started_by", secret=("output",)),
                Table(
                    FailedTask,
                    "handled_by",
                    only=("id", "name", "error", "state", "handled_at"),
                ),
            ),
            forget=_let_go,
        ),
    )

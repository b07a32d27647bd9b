"""What accounts, and the apps below, keep about a person (`accounts.personal`)."""

from __future__ import annotations

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.utils.translation import gettext_noop

from accounts import personal
from accounts.models import (
    AccessToken,
    Erasure,
    Export,
    ExportPiece,
    Intent,
    ProviderKey,
    SignIn,
    User,
    Watch,
)
from accounts.personal import Category, Stays, Table
from attestation import models as attestation
from chain import models as chain
from ledger import models as ledger
from probes import models as probes

_SITE = "the site's own measurements of services; no person in it"


def _end_sessions(user: User) -> None:
    """Sessions that no row names any more, too: their keys are only known by what they hold."""
    mine = str(user.pk)
    for row in Session.objects.iterator():
        if row.get_decoded().get("_auth_user_id") == mine:
            row.delete()


def _leave_runs(user: User) -> int:
    """The reports stay, they are about services; who asked for them goes."""
    asked = (attestation.Verification, attestation.Request)
    rows = (model._default_manager.filter(requested_by=user.pk) for model in asked)
    return sum(found.update(requested_by=None) for found in rows)


def register() -> None:
    personal.register(*CATEGORIES, stays=STAYS, apart=APART)


CATEGORIES = (
    Category(
        "sessions",
        gettext_noop("Sign-ins"),
        gettext_noop(
            "Open sessions: when each began and was last used, the browser’s name, and the network "
            "(no whole address)."
        ),
        gettext_noop("So that you can see where you are signed in, and end it from elsewhere."),
        (Table(SignIn, secret=("session_key",)), Table(LogEntry)),
        before=_end_sessions,
    ),
    Category(
        "tokens",
        gettext_noop("Access tokens"),
        gettext_noop(
            "Names, limits and sums of the tokens of your programs; no secret, only its digest."
        ),
        gettext_noop("They let your programs in, and hold them to the limits you set."),
        (Table(AccessToken, secret=("digest", "previous_digest")),),
    ),
    Category(
        "provider_keys",
        gettext_noop("Provider keys"),
        gettext_noop(
            "The short-lived keys that pay providers for what you ask, sealed; names and "
            "slots of lasting ones."
        ),
        gettext_noop("Without one, no provider answers you here."),
        (Table(ProviderKey),),
    ),
    Category(
        "transactions",
        gettext_noop("Reviewed transactions"),
        gettext_noop("What you were about to send, as it was shown, and what became of it."),
        gettext_noop("A page that is reloaded must not lose money that is under way."),
        (Table(Intent),),
    ),
    Category(
        "watched",
        gettext_noop("Watched listings"),
        gettext_noop("Which listings you keep an eye on."),
        gettext_noop("So that they can be found again, and alerts can be about them."),
        (Table(Watch),),
    ),
    Category(
        "shared_times",
        gettext_noop("Shared times"),
        gettext_noop("That the times of your answers may count among everybody’s."),
        gettext_noop("It is off unless you switch it on; the counts name nobody."),
        (Table(probes.Sharer, "user", key="pk"),),
    ),
    Category(
        "asked_runs",
        gettext_noop("Verifications you asked for"),
        gettext_noop("That it was you who asked for a run of evidence checks."),
        gettext_noop(
            "It limits how often one person can ask. The report itself is about the "
            "service and stays; your part in it is removed."
        ),
        (
            Table(
                attestation.Verification,
                "requested_by",
                key="pk",
                only=("id", "provider", "kind", "service_name", "started_at", "outcome"),
            ),
            Table(attestation.Request, "requested_by", key="pk"),
        ),
        forget=_leave_runs,
    ),
    Category(
        "exports",
        gettext_noop("Files made for you"),
        gettext_noop("The ZIP that this page makes, sealed."),
        gettext_noop("So that it is there when you come back."),
        (Table(Export), Table(ExportPiece, "export__user")),
    ),
)

STAYS = (
    Stays(
        gettext_noop("What the chain says about your address"),
        gettext_noop(
            "Deposits, balances at providers, settlements and listings are public on the "
            "chain. This site only shows them, and would read them again."
        ),
        (
            chain.RawBlock,
            chain.RawTransaction,
            chain.RawLog,
            chain.RawCall,
            ledger.Ledger,
            ledger.SubAccount,
            ledger.Service,
            ledger.ServiceChange,
            ledger.ServingContract,
            ledger.ServiceTotal,
            ledger.Movement,
            ledger.Settlement,
        ),
    ),
    Stays(
        gettext_noop("That an account was erased"),
        gettext_noop("One row with the day and numbers of rows. It names nobody."),
        (Erasure,),
    ),
    Stays(
        gettext_noop("That a wallet may not sign in"),
        gettext_noop(
            "Where staff had blocked a wallet, its address stays with the block and nothing else."
        ),
        (),
    ),
)

APART = {
    **dict.fromkeys(
        (
            attestation.Document,
            attestation.Retrieval,
            attestation.Standing,
            attestation.Finding,
            attestation.VerdictChange,
            attestation.Identity,
        ),
        "evidence about services, from their providers and the vendors of their hardware",
    ),
    **dict.fromkeys((probes.Probe, probes.Bucket, probes.Health), _SITE),
    probes.ExchangeRate: "what 0G cost by the word of an outside source",
    attestation.Payment: "what the site's own wallet spent",
    chain.Coverage: "which blocks were read",
    chain.Head: "how far the index is",
    chain.NodeState: "how chain nodes answer",
    ledger.Projection: "how far rows are folded",
    ledger.Reconciliation: "comparisons with the contracts",
    Session: "goes with the sign-ins: a session is found by the user it holds",
    Group: "names of roles; who has one goes with the account",
    Permission: "Django's, of roles",
    ContentType: "Django's names of tables",
    User: "the account itself goes last",
}

"""What messages say, as sentences with `{gaps}`. The sweep makes them in English, as mails, feeds
and webhooks are; a page tells them again in the reader's language.
"""

from __future__ import annotations

import datetime as dt

from django.utils.translation import gettext_noop as N_

from accounts import stored_sentences, trust
from attestation.models import Fact
from inference.models import Medium
from moderation.fold import Action
from operators.models_listing import NoteKind
from protocol import tuning

LEFT_AT = N_("{amount} 0G left at {provider}")
AVAILABLE = N_("{amount} 0G available")
BELOW = N_("That is below your {amount} 0G.")
IDLE = N_("{amount} 0G at {provider} was not used for {days} days")
RETRIEVE = N_("Retrieve it, if you no longer need it there.")
SILENT = N_("{provider} does not answer")
SILENT_SINCE = N_("By this site's probes since {moment} UTC.")
BACK = N_("{provider} answers again")
BACK_SINCE = N_("You were told on {moment} UTC that it did not.")
UNLOCKED = N_("{amount} 0G from {provider} can be collected")
STILL_CHARGEABLE = N_("Until you collect it, the provider can still charge it.")
LOCK_TIME = N_("Refunds of {service} now wait {span}")
LOCK_TIME_FOR_ALL = N_("This counts for refunds that wait already, too.")
WORSE = N_("It was “{before}” and is “{after}”.")
TASKS = {
    tuning.DELIVERED: N_("Fine-tuning of {model} is delivered: acknowledge it in time"),
    tuning.FINISHED: N_("Fine-tuning of {model} is finished"),
    tuning.FAILED: N_("Fine-tuning of {model} failed"),
}
TASK_LOST = N_("Fine-tuning of {model} was settled without your acknowledgement")
PENALTY = N_("A part of the fee was charged, and the key to the model is not released.")
#: What 0.1.0 stored of a finished one (`stored_sentences.FORMER`).
FORMER = N_("Fine-tuning of {model} is finished: the key is released")
READY = {
    Medium.IMAGES: N_("Your pictures are ready"),
    Medium.SPEECH: N_("Your transcript is ready"),
    Medium.EMBED: N_("Your embeddings are ready"),
}
NOT_READY = {
    Medium.IMAGES: N_("Your pictures were not made"),
    Medium.SPEECH: N_("Your transcript is not complete"),
    Medium.EMBED: N_("Your embeddings were not made"),
}
MADE_AT = N_("Asked for at {provider}.")
LAST_HOUR = N_("Less than 1 hour to acknowledge the fine-tuning of {model}")
HOURS_LEFT = N_("Less than {hours} hours to acknowledge the fine-tuning of {model}")
LATE = N_("The 6 hours that brokers come with are over: it may be too late already, so do it now.")
FORFEIT = N_("If you do not, you lose the model and still pay a part.")
UNLISTED = N_("It is of no task on your list: “Find my tasks” at {provider} brings yours there.")
ANSWERED = N_("Your report was answered: {outcome}")
UNACKNOWLEDGED = N_("{provider} lost the owner's acknowledgement of its key")
LAST_OF = N_("The last of {count} such changes.")
STAYS_YOURS = N_("What you hold there stays yours: retrieve it.")
OWNERS_SURVIVES = N_("The owner's acknowledgement survives this. Check it before you send more.")
KEY = N_("The key was {before} and is {after}.")
KEY_AND_OWNER = N_(
    "The key was {before} and is {after}; the owner's acknowledgement was lost with it."
)
YOURS_SURVIVES = N_(
    "Your own acknowledgement survives a change of the key. Check it before you send more."
)
PRICE = N_("{name}: {before} → {after} {unit}.")
PRICE_BY = N_("{name}: {before} → {after} {unit} ({step} %).")
QUIET_TODAY = N_("This rule has told you {count} things today and is quiet for the rest of it.")
FINDING = "{provider}: {what}"
FINDINGS = {
    Fact.REGRESSION: N_("its verification became worse"),
    Fact.SAME_PPID: N_("it showed evidence of a machine that another provider shows too"),
    Fact.SAME_GPU: N_("it showed a GPU that another provider shows too"),
    Fact.SIGNER_REUSED: N_("another provider names its signing key, too"),
    Fact.COMPOSE_CHANGED: N_("it showed evidence of another compose file than before"),
    Fact.IDENTICAL_EVIDENCE: N_("it showed evidence that had been shown before"),
    Fact.URL_CHANGED: N_("its endpoint moved without a new acknowledgement"),
    Fact.SIGNER_DIFFERS: N_("users accepted an earlier signing key than the one it has now"),
}
CHANGES = {
    "price": N_("{provider} changed its price"),
    "price_below": N_("{provider} asks less than your price"),
    "price_above": N_("{provider} asks more than your price"),
    "url": N_("{provider} changed its URL"),
    "signer": N_("{provider} changed its signing key"),
    "acknowledged": N_("The owner acknowledged the signing key of {provider}"),
    "removed": N_("{provider} removed its service"),
}
ACCEPTED = N_("Settlements that this key signs are accepted.")
ANNOUNCED = {
    NoteKind.MAINTENANCE: N_("{provider} announces maintenance"),
    NoteKind.INCIDENT: N_("{provider} tells of an incident"),
}
ENDED = N_("{provider} says that an incident ended")
FROM_TO = N_("From {start} to {end} UTC: {text}")
FROM = N_("From {start} UTC, end not known: {text}")
EXPIRES = N_("Your access token “{label}” expires on {moment} UTC")
EXPIRES_MEANS = N_("Programs that use it are refused from then on: make another one in time.")
SPENT = N_("Your access token “{label}” has spent {percent} % of its {amount} 0G")
SPENT_MEANS = N_("Open requests count with what they may cost. Beyond the limit it is refused.")
DECIDED = {
    Action.FLAG: N_("Moderators flagged {what}"),
    Action.UNFLAG: N_("Moderators took back their flag on {what}"),
    Action.LABEL: N_("Moderators labelled {what}: {label}"),
    Action.UNLABEL: N_("Moderators took a label from {what}: {label}"),
    Action.HIDE: N_("Moderators hid {what}"),
    Action.UNHIDE: N_("Moderators show {what} again"),
    Action.END: N_("Moderators ended your link to a conversation"),
    Action.END_BY_HOST: N_("The host of this site ended your link to a conversation"),
    Action.REOPEN: N_("Moderators opened your link to a conversation again"),
}
YOUR_SERVICE, YOUR_SERVICES = N_("your service {service}"), N_("all your services")
YOUR_MODEL = N_("your model {model}")
A_MODEL = N_("a model")
#: Names that fill a gap.
_NAMES = (
    A_MODEL,
    *(N_("Input price"), N_("Output price"), N_("Price per token")),
    *(N_("acted on"), N_("looked at, nothing to do"), N_("not a report")),
    N_("the link had ended before"),
)
CERTIFICATE = N_("The certificate of your {service} ends in {days} d")
CERTIFICATE_ENDED = N_("The certificate of your {service} has ended")
RENEW = N_("Renew it: without one, browsers and programs refuse to connect.")
UNPAID = N_("{amount} 0G of your fees were not paid")
WHY_UNPAID = N_("The page of the settlement says why, and what to do.")
GAS = N_("{amount} 0G left in your wallet {wallet}")
GAS_ENDS = N_("Settlements are sent from it.")
UNSETTLED = N_("{amount} 0G is not settled yet, says your broker")
ABOVE = N_("That is above your {amount} 0G.")
GONE = N_("It answered 410 Gone.")
BLOCKED = N_("You blocked the bot, or the chat is gone.")
NO_BOT = N_("This site has no bot on Telegram any more.")
KEPT_FAILING = N_("It failed for {days} days.")
NO_ADDRESS = N_("There is no proven mail address.")
HANDED_OVER = N_("Handed to the mail server.")
URL_LOST = N_("Its address cannot be read any more; make a new webhook.")
SECRET_LOST = N_("The secret cannot be read any more; make a new one.")
MAIL_REFUSED = N_("The mail server did not take it ({error}).")
_SENTENCES = (
    *(IDLE, RETRIEVE, LEFT_AT, AVAILABLE, BELOW, SILENT, SILENT_SINCE, BACK, BACK_SINCE, UNLOCKED),
    *(STILL_CHARGEABLE, LOCK_TIME, LOCK_TIME_FOR_ALL, WORSE, *TASKS.values(), LAST_HOUR),
    *(HOURS_LEFT, LATE, FORFEIT, UNLISTED, ANSWERED, UNACKNOWLEDGED, LAST_OF, STAYS_YOURS),
    *(CERTIFICATE, CERTIFICATE_ENDED, RENEW, UNPAID, WHY_UNPAID, GAS, GAS_ENDS, UNSETTLED, ABOVE),
    *(
        ACCEPTED,
        *ANNOUNCED.values(),
        ENDED,
        FROM_TO,
        FROM,
        EXPIRES,
        EXPIRES_MEANS,
        SPENT,
        SPENT_MEANS,
    ),
    *DECIDED.values(),
    *(KEY_AND_OWNER, KEY, YOURS_SURVIVES, PRICE_BY, PRICE, QUIET_TODAY, *CHANGES.values()),
    *(*READY.values(), *NOT_READY.values(), MADE_AT),
    *(
        GONE,
        BLOCKED,
        NO_BOT,
        KEPT_FAILING,
        NO_ADDRESS,
        HANDED_OVER,
        URL_LOST,
        SECRET_LOST,
        MAIL_REFUSED,
    ),
    OWNERS_SURVIVES,
    TASK_LOST,
    PENALTY,
    FORMER,
    FINDING,  # the last: its gaps hold anything
)


def moment(at: dt.datetime) -> str:
    """A moment as every language reads it: `2026-11-21 12:30`."""
    return f"{at:%Y-%m-%d %H:%M}"


def translated(told: str) -> str:
    """A stored title, text or outcome of a delivery in the reader's language."""
    within = (YOUR_SERVICE, YOUR_MODEL, trust.DEVELOPED)
    return stored_sentences.translated(told, _SENTENCES, within=within)

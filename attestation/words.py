"""What rows, answers and verdicts mean, for people who have to decide whether to send something.

"Verified" only for what we checked ourselves; what it means for privacy or money; what to do
(ux.md 18).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

#: Words of `Verification.endpoint`.
_ENDPOINTS: Mapping[str, str] = {
    "broker": N_("the broker’s machine"),
    "model": N_("the model’s machine"),
    "upload": N_("evidence that somebody brought"),
}
_TRIGGERS: Mapping[str, str] = {
    "listed": N_("because the service was listed"),
    "changed": N_("because the listing changed"),
    "schedule": N_("on schedule"),
    "asked": N_("because somebody asked"),
    "upload": N_("because somebody brought it"),
    "command": N_("by an operator’s command"),
}
#: The five questions by their names, as a history lists them.
QUESTION_NAMES = (N_("hardware"), N_("key"), N_("software"), N_("gpu"), N_("fresh"))
#: What a service declares about itself, where that decides what evidence can show.
_DECLARED: Mapping[str, str] = {
    "separated": N_(
        "Broker and model run on two machines, which are judged apart: see the report of each."
    ),
    "centralized": N_(
        "The broker is attested. The model runs at a third party and is not: answers are routed, "
        "not private."
    ),
    "standard": N_(
        "A standard provider: no trusted machine, nothing is signed or attested. "
        "It is not failed for what it never claimed."
    ),
    "opml": N_("OpML is declared, and cannot be verified here yet."),
    "zkml": N_("ZKML is declared, and cannot be verified here yet."),
}
_FINDINGS: Mapping[str, tuple[str, str]] = {
    "regression": (
        N_("An answer got worse"),
        N_(
            "The evidence shows less than before. Hold back private data until the newest report "
            "explains why."
        ),
    ),
    "same_ppid": (
        N_("One machine behind two providers"),
        N_(
            "Both handed over evidence of the same CPU package. Reselling is legitimate; comparing "
            "them as two is not."
        ),
    ),
    "same_gpu": (
        N_("One GPU behind two providers"),
        N_(
            "Both handed over evidence of the same GPU. Reselling is legitimate; comparing them as "
            "two is not."
        ),
    ),
    "signer_reused": (
        N_("Two providers name one signing key"),
        N_("A signature does not tell which of them answered."),
    ),
    "compose_changed": (
        N_("The software changed"),
        N_(
            "The measured compose file is another one than at the check before. "
            "Compare the two reports."
        ),
    ),
    "identical_evidence": (
        N_("The same evidence again"),
        N_("What was signed is what was handed over before: it was not made for this check."),
    ),
    "url_changed_unacknowledged": (
        N_("The endpoint moved without a new acknowledgement"),
        N_("The owner’s acknowledgement was for the earlier endpoint."),
    ),
    "signer_differs": (
        N_("The signer is another one than was acknowledged"),
        N_("Whoever accepted the earlier key has not accepted this one."),
    ),
}

_PASSED_ON = (
    N_("Another provider shows the same evidence"),
    N_(
        "What this one’s machine signed was handed over by another one, too. That says nothing "
        "against this one."
    ),
)

_LEAVE = N_("Do not send private data, and retrieve what you hold there.")
_DOCUMENT = N_(
    "Intel’s document that this was judged by is not genuine, not for this platform, or was not "
    "valid at that moment: nothing follows from it."
)
#: What to do about a row that is wrong, in sentences, by the longest beginning of its id.
_FAILED: Mapping[str, tuple[str, ...]] = {
    "report.": (
        N_(
            "What came is no report that can be read. Ask the operator for one; until then "
            "nothing is known about this machine."
        ),
    ),
    "tdx.root": (N_("Expected on a development network. On a real network treat it as forged."),),
    "tdx.": (N_("Genuine, current Intel hardware would not give this."), _LEAVE),
    "tdx.tcb": (
        N_(
            "Intel’s list has no trusted level for this machine’s firmware. The operator has to "
            "update it; until then send nothing private."
        ),
    ),
    # Documents, not the level that "tdx.tcb" is about.
    "tdx.tcb_info": (_DOCUMENT,),
    "tdx.qe_identity": (_DOCUMENT,),
    "tdx.fmspc": (_DOCUMENT,),
    "tdx.debug": (
        N_(
            "The machine runs in debug mode: whoever operates it can read and change everything "
            "inside."
        ),
        _LEAVE,
    ),
    "tdx.attributes": (N_("These settings let the host look in or move the machine."), _LEAVE),
    "tdx.pck_chain": (
        N_("The key that signed is not vouched for by the pinned root."),
        _LEAVE,
    ),
    "dstack.": (N_("What runs is not what the evidence claims to run."), _LEAVE),
    "ccel.": (N_("What runs is not what the evidence claims to run."), _LEAVE),
    "bind.": (N_("The key that signs answers is not proven to live in this machine."), _LEAVE),
    "bind.onchain": (
        N_(
            "The chain names another key than this machine holds: signed answers prove "
            "nothing about it."
        ),
        _LEAVE,
    ),
    "bind.ack": (
        N_(
            "The network’s owner has not accepted this key; the provider cannot settle. Wait "
            "for the acknowledgement."
        ),
    ),
    "bind.nonce": (
        N_(
            "The evidence was made for somebody else’s question: it may be a recording. "
            "Verify again; if it stays, do not rely on it."
        ),
    ),
    "bind.tls": (
        N_(
            "The connection ended somewhere else than in this machine. What you send may be "
            "read on the way."
        ),
    ),
    "gpu": (N_("Treat the GPU as unproven: text that reaches it may leave the protected memory."),),
    "nras.": (N_("NVIDIA’s own service does not confirm these GPUs. Treat them as unproven."),),
    "service.": (N_("Read what the service declares before you send anything private."),),
}
_MISSING = N_("The provider did not hand this over. Only its operator can change that.")
_NOT_IN_IT = N_("What was brought holds nothing of this.")
_UNCHECKED = N_("Our gap, not the provider’s fault: it counts as unchecked, neither green nor red.")
_UNPUBLISHED = N_(
    "It is measured, but not among the published values that this site compares with: either its "
    "list is behind, or something else runs."
)
_DECLARED_ELSE = N_(
    "What the provider says about its image is not what the machine measured. "
    "Go by what is measured."
)
_WEAK: Mapping[str, tuple[str, ...]] = {
    "bind.nonce": (
        N_(
            "An old report could be shown again. Our challenge of the key, or a newer "
            "broker, closes this."
        ),
    ),
    "dstack.images_pinned": (
        N_(
            "A tag can be pointed at another image without changing the measured "
            "compose file. Ask the operator to pin images by digest."
        ),
    ),
    "tdx.mr_td": (_UNPUBLISHED,),
    "tdx.rtmr": (_UNPUBLISHED,),
    "dstack.compose_known": (_UNPUBLISHED,),
    "dstack.images_known": (_UNPUBLISHED,),
    "dstack.running_image": (_UNPUBLISHED,),
    "ccel.compose_known": (_UNPUBLISHED,),
    "ccel.images_known": (_UNPUBLISHED,),
    "ccel.load_config": (_UNPUBLISHED,),
    "ccel.fde_rootfs_hash": (_UNPUBLISHED,),
    "dstack.declared_image": (_DECLARED_ELSE,),
    "ccel.declared_image": (_DECLARED_ELSE,),
    "dstack.key_provider": (N_("Keys do not come from a key service that is itself attested."),),
    "gpu.cpu_gpu": (N_("True of every machine of this generation. No question counts it."),),
    "tdx.tcb": (
        N_("Genuine, but not at Intel’s newest level. Decide by the advisories named here."),
    ),
}
#: Numbers and names that engine titles hold, as the messages have them (`engine`, `N_`).
_PLACES = (
    re.compile(r"\bGPU (?P<number>\d+)"),
    re.compile(r"\bRTMR(?P<number>\d)\b"),
    re.compile(r"(?P<kind>driver|vbios)(?= reference manifest)"),
    re.compile(r": (?P<field>(?:driver|vbios) version)(?= is the signed one)"),
    re.compile(r"^tcb_info\.(?P<claim>\w+)"),
)


def endpoint(name: str) -> str:
    """Whose evidence a run judged."""
    return _said(_ENDPOINTS, name)


def trigger(name: str) -> str:
    """Why a run was made."""
    return _said(_TRIGGERS, name)


def declared(word: str) -> str:
    """What the service's own declaration means for evidence; "" where it changes nothing."""
    return _(_DECLARED[word]) if word in _DECLARED else ""


def other_hash() -> str:
    """Where an address holds a hash that its report does not have."""
    return _("The report of this number has another content hash.")


def finding(kind: str, *, passed_on: bool = False) -> tuple[str, str]:
    """Title and explanation of a fact across the market (`attestation.models.Fact`); `passed_on`:
    as seen from whose evidence another one handed over."""
    if passed_on:
        return _(_PASSED_ON[0]), _(_PASSED_ON[1])
    if kind not in _FINDINGS:
        return kind.replace("_", " "), ""
    title, text = _FINDINGS[kind]
    return _(title), _(text)


def spoken(stored: str) -> str:
    """A title or sentence of a stored row in the reader's language.

    As it was stored where there is no translation: rows hold values and strangers' words, too.
    """
    if not stored:
        return ""
    message, values = stored.replace("%", "%%"), dict[str, str]()
    for place in _PLACES:
        found = place.search(message)
        if found:
            for name, value in found.groupdict().items():
                start, end = found.span(name)
                message = f"{message[:start]}%({name})s{message[end:]}"
                values[name] = value
    if not values:
        return _(stored)
    translated = _(message)
    return stored if translated == message else translated % values


def advice(id: str, verdict: str, *, provider: bool = True) -> str:
    """What to do about a row; "" for one that is right. Not `provider`: of evidence that is of no
    known one, only what it means.
    """
    if verdict == "pass":
        return ""
    if verdict == "not_provided":
        return _(_MISSING if provider else _NOT_IN_IT)
    if verdict == "not_checked":
        return _(_UNCHECKED)
    table = _WEAK if verdict == "warn" else _FAILED
    found = [start for start in table if id.startswith(start)]
    texts = table[max(found, key=len)] if found else ()
    return " ".join(_(text) for text in texts if provider or text != _LEAVE)


#: Rows that need something besides the stored bytes: where the value came from, in words.
_ONLINE: Mapping[str, str] = {
    "bind.onchain": N_(
        "this site, from the chain; the value is stored, the moment cannot be repeated"
    ),
    "bind.ack": N_("this site, from the chain; the value is stored, the moment cannot be repeated"),
    "bind.tls": N_(
        "this site, from the live connection; the value is stored, the moment cannot be repeated"
    ),
}


def who_checked(id: str, *, kept: bool, by_word: bool = False) -> str:
    """Who did, and whether the stored bytes are enough to do it again; `kept`: there are any;
    `by_word`: what they are compared with came with them."""
    if not kept:
        return _("this site; there is no bundle to repeat it from")
    if by_word:
        return _("this site, against the word of whoever brought it; repeatable offline")
    if id in _ONLINE:
        return _(_ONLINE[id])
    if id.startswith("nras."):
        return _("NVIDIA, and this site its signature; repeatable offline")
    return _("this site; repeatable offline from the bundle")


def _said(table: Mapping[str, str], name: str) -> str:
    return _(table[name]) if name in table else name

"""What rows, answers and verdicts mean, for people who have to decide whether to send something.

"Verified" only for what we checked ourselves; what it means for privacy or money; what to do
(ux.md 18).
"""

from __future__ import annotations

from collections.abc import Mapping

#: Words of `Verification.endpoint`.
ENDPOINTS: Mapping[str, str] = {
    "broker": "the broker’s machine",
    "model": "the model’s machine",
    "upload": "evidence that somebody brought",
}
TRIGGERS: Mapping[str, str] = {
    "listed": "because the service was listed",
    "changed": "because the listing changed",
    "schedule": "on schedule",
    "asked": "because somebody asked",
    "upload": "because somebody brought it",
    "command": "by an operator’s command",
}
#: What a service declares about itself, where that decides what evidence can show.
DECLARED: Mapping[str, str] = {
    "separated": (
        "Broker and model run on two machines, which are judged apart: see the report of each."
    ),
    "centralized": (
        "The broker is attested. The model runs at a third party and is not: answers are routed, "
        "not private."
    ),
    "standard": (
        "A standard provider: no trusted machine, nothing is signed or attested. "
        "It is not failed for what it never claimed."
    ),
    "opml": "OpML is declared, and cannot be verified here yet.",
    "zkml": "ZKML is declared, and cannot be verified here yet.",
}
FINDINGS: Mapping[str, tuple[str, str]] = {
    "regression": (
        "An answer got worse",
        "What was verified before no longer is. Hold back private data until the newest report "
        "explains why.",
    ),
    "same_ppid": (
        "One machine behind two providers",
        "Both handed over evidence of the same CPU package. Reselling is legitimate; comparing "
        "them as two is not.",
    ),
    "same_gpu": (
        "One GPU behind two providers",
        "Both handed over evidence of the same GPU. Reselling is legitimate; comparing them as "
        "two is not.",
    ),
    "signer_reused": (
        "Two providers sign with one key",
        "A signature does not tell which of them answered.",
    ),
    "compose_changed": (
        "The software changed",
        "The measured compose file is another one than at the check before. "
        "Compare the two reports.",
    ),
    "identical_evidence": (
        "The same evidence again",
        "What was signed is what was handed over before: it was not made for this check.",
    ),
    "url_changed_unacknowledged": (
        "The endpoint moved without a new acknowledgement",
        "The owner’s acknowledgement was for the earlier endpoint.",
    ),
    "signer_differs": (
        "The signer is another one than was acknowledged",
        "Whoever accepted the earlier key has not accepted this one.",
    ),
}

_LEAVE = "Do not send private data, and retrieve what you hold there."
#: What to do about a row that is wrong, by the longest beginning of its id.
_FAILED: Mapping[str, str] = {
    "report.": "What came is no report that can be read. Ask the operator for one; until then "
    "nothing is known about this machine.",
    "tdx.root": "Expected on a development network. On a real network treat it as forged.",
    "tdx.": f"Genuine, current Intel hardware would not give this. {_LEAVE}",
    "tdx.tcb": "The machine’s firmware has known weaknesses. The operator has to update it; "
    "until then send nothing private.",
    "tdx.debug": f"The host can read a debuggable machine’s memory. {_LEAVE}",
    "tdx.attributes": f"These settings let the host look in or move the machine. {_LEAVE}",
    "tdx.pck_chain": f"The key that signed is not vouched for by the pinned root. {_LEAVE}",
    "dstack.": f"What runs is not what the evidence claims to run. {_LEAVE}",
    "ccel.": f"What runs is not what the evidence claims to run. {_LEAVE}",
    "bind.": f"The key that signs answers is not proven to live in this machine. {_LEAVE}",
    "bind.onchain": "The chain names another key than this machine holds: signed answers prove "
    f"nothing about it. {_LEAVE}",
    "bind.ack": "The network’s owner has not accepted this key; the provider cannot settle. Wait "
    "for the acknowledgement.",
    "bind.nonce": "The evidence was made for somebody else’s question: it may be a recording. "
    "Verify again; if it stays, do not rely on it.",
    "bind.tls": "The connection ended somewhere else than in this machine. What you send may be "
    "read on the way.",
    "gpu": "Treat the GPU as unproven: text that reaches it may leave the protected memory.",
    "nras.": "NVIDIA’s own service does not confirm these GPUs. Treat them as unproven.",
    "service.": "Read what the service declares before you send anything private.",
}
_MISSING = "The provider did not hand this over. Only its operator can change that."
_UNCHECKED = "Our gap, not the provider’s fault: it counts as unchecked, neither green nor red."
_WEAK: Mapping[str, str] = {
    "bind.nonce": "An old report could be shown again. Our challenge of the key, or a newer "
    "broker, closes this.",
    "dstack.images_pinned": "A tag can be pointed at another image without changing the measured "
    "compose file. Ask the operator to pin images by digest.",
    "dstack.key_provider": "Keys do not come from a key service that is itself attested.",
    "gpu.cpu_gpu": "True of every machine of this generation. No question counts it.",
    "tdx.tcb": "Genuine, but not at Intel’s newest level. Decide by the advisories named here.",
}


def advice(id: str, verdict: str) -> str:
    """What to do about a row; "" for one that is right."""
    if verdict == "pass":
        return ""
    if verdict == "not_provided":
        return _MISSING
    if verdict == "not_checked":
        return _UNCHECKED
    table = _WEAK if verdict == "warn" else _FAILED
    found = [start for start in table if id.startswith(start)]
    return table[max(found, key=len)] if found else ""


#: Rows that need something besides the stored bytes: which, in words.
_ONLINE: Mapping[str, str] = {
    "bind.onchain": "this site, from the chain",
    "bind.ack": "this site, from the chain",
    "bind.tls": "this site, from the live connection",
}


def who_checked(id: str) -> str:
    """Who did, and whether the stored bytes are enough to do it again."""
    if id in _ONLINE:
        return f"{_ONLINE[id]}; the value is stored, the moment cannot be repeated"
    if id.startswith("nras."):
        return "NVIDIA, and this site its signature; repeatable offline"
    return "this site; repeatable offline from the bundle"

"""Sign-In with Ethereum (EIP-4361): the message is written here, the wallet only returns a
signature.

No message from outside is ever parsed: the grammar of the library is quadratic on hostile input
(stack.md 1). The library checks the fields; signatures of plain accounts must be canonical (low s),
and contract wallets are asked through the chain node (EIP-1271, and EIP-6492 before they are
deployed).

The library brings all of web3 with it: a quarter of the site's imports. So it is imported by who
signs in first, and not by every worker and command.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_defunct
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

from accounts import node
from accounts.errors import NodeError, RpcError, SignInFailed
from protocol import abi

if TYPE_CHECKING:
    import siwe

MESSAGE_LIFETIME = timedelta(minutes=5)
STATEMENT = "Sign in to 0G Market. This is a message, not a transaction, and costs nothing."
#: A contract wallet's signature may be long (WebAuthn), but not without end.
MAX_SIGNATURE_CHARACTERS = 2 + 2 * 8192
_CONTRACT_CHECK_SECONDS = 3.0
#: What a wallet contract may take, its deployment included; a node gives a call five times as much
#: and more, and goes on after we have left.
_CONTRACT_CHECK_GAS = 10_000_000
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0

#: By the name of the library's error.
_REASONS = {
    "DomainMismatch": (
        "domain_mismatch",
        gettext_noop("The message was made for another site."),
    ),
    "UriMismatch": (
        "uri_mismatch",
        gettext_noop("The message was made for another address of this site."),
    ),
    "ChainIdMismatch": (
        "chain_mismatch",
        gettext_noop("The message was made for another chain."),
    ),
    "NonceMismatch": (
        "nonce_mismatch",
        gettext_noop("The message was already used, or is not the one we sent."),
    ),
    "ExpiredMessage": ("message_expired", gettext_noop("The message is older than 5 minutes.")),
    "NotYetValidMessage": (
        "message_not_yet_valid",
        gettext_noop("The message is not valid yet."),
    ),
}


def write(*, address: str, domain: str, uri: str, chain_id: int, now: datetime) -> siwe.SiweMessage:
    """A fresh message with a fresh nonce, valid for five minutes from `now` (aware). Raises
    ValueError on a bad address.
    """
    import siwe

    return siwe.SiweMessage(
        domain=domain,
        address=to_checksum_address(address),
        uri=uri,
        version=siwe.siwe.VersionEnum.one,
        chain_id=chain_id,
        nonce=secrets.token_hex(16),
        issued_at=siwe.ISO8601Datetime.from_datetime(now),
        expiration_time=siwe.ISO8601Datetime.from_datetime(now + MESSAGE_LIFETIME),
        statement=STATEMENT,
    )


def kept(fields: dict[str, Any]) -> siwe.SiweMessage:
    """The message of `write`, from its `model_dump`. Raises pydantic.ValidationError."""
    import siwe

    return siwe.SiweMessage(**fields)


def verify(
    message: siwe.SiweMessage,
    signature: str,
    *,
    domain: str,
    uri: str,
    chain_id: int,
    nonce: str,
    now: datetime,
) -> str:
    """The EIP-55 address that signed; every expectation is required. Raises SignInFailed with the
    reason.

    A signature of a plain account is 65 bytes r‖s‖v with low s; anything else is put to the
    contract at the address.
    """
    import siwe

    raw = _signature_bytes(signature)
    try:
        message.verify(
            signature,
            domain=domain,
            uri=uri,
            chain_id=chain_id,
            nonce=nonce,
            timestamp=now,
            strict=True,
            provider=None,
        )
    except siwe.InvalidSignature:
        if not _contract_accepts(message.address, message.prepare_message(), raw):
            raise SignInFailed(
                "invalid_signature",
                _("The signature does not belong to %(address)s.") % {"address": message.address},
            ) from None
    except siwe.VerificationError as error:
        code, title = _REASONS.get(
            type(error).__name__, ("invalid_message", gettext_noop("The message is not valid."))
        )
        raise SignInFailed(code, _(title)) from None
    else:
        _require_low_s(raw)
    return to_checksum_address(message.address)


def require(address: str, text: str, signature: str) -> None:
    """Raises SignInFailed unless `address` (EIP-55) signed `text` (EIP-191), as a plain account or
    as a contract wallet. What the text says, and that it is new, is the caller's to see to.
    """
    raw = _signature_bytes(signature)
    if _signer(text, raw) == address:
        _require_low_s(raw)
    elif not _contract_accepts(address, text, raw):
        raise SignInFailed(
            "invalid_signature",
            _("The signature does not belong to %(address)s.") % {"address": address},
        )


def _signer(text: str, raw: bytes) -> str:
    """The plain account that signed; "" where none can be recovered."""
    if len(raw) != 65:
        return ""
    try:
        return str(Account.recover_message(encode_defunct(text=text), signature=raw))
    except (BadSignature, ValidationError):
        return ""


def _require_low_s(raw: bytes) -> None:
    if int.from_bytes(raw[32:64], "big") > _HALF_ORDER:
        raise SignInFailed(
            "malleable_signature", _("The signature is not in its canonical form (high s).")
        )


def _signature_bytes(signature: str) -> bytes:
    if len(signature) > MAX_SIGNATURE_CHARACTERS:
        raise SignInFailed(
            "signature_too_long", _("The signature is longer than any wallet makes.")
        )
    try:
        if not signature.startswith("0x"):
            raise ValueError
        return bytes.fromhex(signature[2:])
    except ValueError:
        raise SignInFailed("malformed_signature", _("The signature is not 0x-hex.")) from None


def _contract_accepts(address: str, text: str, signature: bytes) -> bool:
    """Ask the wallet contract (EIP-1271), deployed or not (EIP-6492), in one `eth_call` of the
    standard's validator.

    The call creates nothing: it runs the validator's constructor on the node and returns one byte.
    A plain account without code whose signature did not match gets a recover there too, and fails
    again. All but one: what recovers to nobody is zero there, so of that address any signature
    would hold.
    """
    if address == abi.ZERO_ADDRESS:
        return False
    from siwe.siwe import EIP6492_VALIDATOR_BYTECODE

    digest = _hash_eip191_message(encode_defunct(text=text))
    arguments = encode(
        ["address", "bytes32", "bytes"], [to_checksum_address(address), digest, signature]
    )
    data = EIP6492_VALIDATOR_BYTECODE + arguments.hex()
    try:
        result: Any = node.call(
            "eth_call",
            {"data": data, "gas": hex(_CONTRACT_CHECK_GAS)},
            "latest",
            timeout=_CONTRACT_CHECK_SECONDS,
        )
    except RpcError:
        return False  # the validator reverts on signatures it cannot read
    except NodeError:
        raise SignInFailed(
            "wallet_check_unavailable",
            _(
                "This is no plain signature, and the chain node that could ask a contract wallet "
                "does not answer."
            ),
            _("Try again in a minute."),
        ) from None
    return isinstance(result, str) and result.lower() in ("0x01", "0x1")

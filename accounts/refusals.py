"""Every custom error of the three contracts as a sentence and what to do about it (ux.md 3;
contracts.md 3.3, 4.3, 5).

A sentence may name the error's arguments as the ABI names them; amounts are shown in 0G.
`tests/pure/test_errors.py` asserts that no error of our artifacts is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts import money

#: Arguments that are amounts of 0G, per error name; all others are shown as they are.
_AMOUNTS = {
    "provided", "required", "available", "remainingBalance", "balance",
}  # fmt: skip

#: name → (sentence, fix). `{argument}` is filled in.
SENTENCES: dict[str, tuple[str, str]] = {
    # LedgerManager
    "LedgerNotExists": ("You have no compute account yet.", "Create one with a first deposit."),
    "LedgerExists": ("Your account already exists.", "Open it and deposit there."),
    "LedgerLocked": (
        "Another operation on your account is running.",
        "Wait for its block, then try again.",
    ),
    "InsufficientBalance": (
        "The available balance is lower than this amount.",
        "Refresh the numbers and enter less.",
    ),
    "InsufficientAvailableBalance": (
        "{required} 0G needed, {available} 0G available. The rest is locked at providers.",
        "Deposit more, or retrieve money from providers.",
    ),
    "MinimumDepositRequired": (
        "At least {required} 0G is needed, you entered {provided}.",
        "Enter {required} 0G or more.",
    ),
    "MustWithdrawAllFundsFirst": (
        "{remainingBalance} 0G is still in the account.",
        "Retrieve everything from providers, then withdraw all of it.",
    ),
    "ZeroAmountNotAllowed": ("The amount is zero.", "Enter an amount."),
    "ZeroAddressNotAllowed": (
        "The recipient is the zero address.",
        "Enter the address of the account to fund.",
    ),
    "AdditionalInfoTooLong": (
        "The additional information is longer than 4096 bytes.",
        "Shorten it; characters outside ASCII count more than one byte.",
    ),
    "TooManyProviders": (
        "Up to {maximum} providers fit into one transaction; you chose {requested}.",
        "Send several transactions of at most {maximum} providers.",
    ),
    "TooManyProvidersForService": (
        "You have accounts at {maximum} providers, the limit.",
        "Close your account and open it again to free unused places.",
    ),
    "CallFailed": (
        "The provider contract refused the transfer.",
        "Check the provider's address, or choose another provider.",
    ),
    "TransferFailed": (
        "The receiving address refused the payment.",
        "Use a wallet that accepts plain transfers.",
    ),
    "DirectDepositsDisabled": ("Plain transfers to the contract are refused.", "Use Deposit."),
    "CallerNotRegisteredService": (
        "Only a registered service contract may do this.",
        "Use the actions of this page.",
    ),
    "ServiceNotFound": (
        "This network has no service contract of that name.",
        "Choose a provider from the list, or check the exact name.",
    ),
    "ServiceNotRegistered": (
        "This service contract is not registered.",
        "Choose a service from the list.",
    ),
    "NoRecommendedService": (
        "The network recommends no contract for {serviceType}.",
        "Name the service contract.",
    ),
    "ServiceAlreadyRegistered": (
        "This service contract is registered already.",
        "Nothing is left to do.",
    ),
    "ServiceNameExists": (
        "A service contract with the name {serviceName} exists.",
        "Choose another version.",
    ),
    "ServiceMustImplementIServing": (
        "The address is not a service contract.",
        "Check the address.",
    ),
    "ServiceRegistryLimitReached": (
        "The network holds its limit of {limit} service contracts.",
        "Ask the owner of the contracts.",
    ),
    "ServiceTypeRequired": ("The service type is empty.", "Enter a service type."),
    "VersionRequired": ("The version is empty.", "Enter a version."),
    "InvalidServiceAddress": ("The service address is empty.", "Enter the contract's address."),
    "InvalidServiceType": (
        "The service type {serviceType} is not valid.",
        "Choose one from the list.",
    ),
    "AlreadyInitialized": ("The contract is set up already.", "Nothing is left to do."),
    # Serving contracts
    "AccountNotExists": (
        "You have no account at this provider.",
        "Transfer to the provider first; that opens one.",
    ),
    "AccountExists": ("You already have an account at this provider.", "Top it up instead."),
    "TooManyRefunds": (
        "5 refunds are already waiting at this provider, the limit.",
        "Collect the ones that are unlocked, or wait until the oldest unlocks.",
    ),
    "CannotRevokeWithNonZeroBalance": (
        "You can withdraw your acknowledgement only when the balance at this provider is 0; it is "
        "{balance} 0G.",
        "Retrieve {balance} 0G first.",
    ),
    "ProviderCannotBeUser": (
        "This wallet is the provider, and a provider cannot be its own user.",
        "Test with another wallet.",
    ),
    "ServiceNotExist": (
        "This address has no service in this contract.",
        "Choose a provider from the list, or register first.",
    ),
    "InsufficientStake": (
        "Registration needs {required} 0G stake; {provided} was attached.",
        "Attach {required} 0G; it comes back when the service is removed.",
    ),
    "CannotAddStakeWhenUpdating": (
        "Stake cannot be attached to an update.",
        "Send the update without value.",
    ),
    "InvalidAddress": ("The address is empty.", "Enter an address."),
    "CallerNotLedger": (
        "Only the main account contract may do this.",
        "Use the actions of this page.",
    ),
    "LimitTooLarge": ("Too many rows were asked for at once.", "Ask for at most 50."),
    "LockTimeOutOfRange": (
        "The lock time must lie between one hour and seven days.",
        "Choose a time between them.",
    ),
    "BatchSizeTooLarge": ("Too many accounts were asked for at once.", "Ask for fewer."),
    "NoSettlementsProvided": ("There is nothing to settle.", "Add at least one item."),
    "TooManySettlements": (
        "A batch settles at most {max} items; this one has {count}.",
        "Split the batch.",
    ),
    "InvalidTEESignature": ("The settlement's signature is not valid.", "Sign it again."),
    # Fine-tuning
    "DeliverableNotExists": (
        "There is no result with the id {id}.",
        "Check the id on the task's page.",
    ),
    "DeliverableAlreadyExists": ("A result with the id {id} exists.", "Use another id."),
    "DeliverableIdInvalidLength": (
        "A result's id has 1 to 256 bytes; this one has {length}.",
        "Use a shorter id.",
    ),
    "PreviousDeliverableNotAcknowledged": (
        "The earlier result {id} is not acknowledged, so the provider cannot deliver the next.",
        "Review and acknowledge {id}.",
    ),
    "CannotAcknowledgeSettledDeliverable": (
        "The result {id} is settled already and can no longer be acknowledged.",
        "See the task's page for what was charged.",
    ),
    "CannotAbandonSettledDeliverable": (
        "The result {id} is settled already and can no longer be abandoned.",
        "Nothing is left to do.",
    ),
    "CannotEvictUnsettledDeliverable": (
        "20 results are kept, and the oldest, {id}, is not settled yet.",
        "Settle or abandon {id} first.",
    ),
    "DeliverableAlreadySettled": ("The result {id} is settled already.", "Nothing is left to do."),
    "InvalidVerifierInput": (
        "The settlement was refused: {reason}.",
        "Correct that and settle again.",
    ),
    "SecretShouldBeEmpty": (
        "A result that was not acknowledged is settled without its key.",
        "Leave the key out.",
    ),
    "SecretShouldNotBeEmpty": (
        "An acknowledged result is settled with its key.",
        "Attach the encrypted key.",
    ),
    "InvalidLedgerAddress": (
        "The main account contract's address is not valid.",
        "Check the address.",
    ),
    "PenaltyPercentageTooHigh": ("The penalty is above 100 %.", "Choose at most 100."),
    "TransferToLedgerFailed": (
        "The money could not be paid back to the main account.",
        "Try again; tell the operator if it repeats.",
    ),
    "ETHTransferFailed": (
        "The receiving address refused the payment.",
        "Use a wallet that accepts plain transfers.",
    ),
    # Solidity's own
    "Error": ("The contract refused: {message}.", "Check the action and try again."),
    "Panic": (
        "The contract stopped on an arithmetic check (code {code}).",
        "Check the amounts and try again.",
    ),
}


def sentence(name: str, arguments: Mapping[str, Any], action: str = "") -> tuple[str, str]:
    """(sentence, fix) of an error by name; an unknown name gets an honest general one."""
    if name == "MinimumDepositRequired" and action == "withdraw":
        rest, least = arguments["provided"], arguments["required"]
        return (
            f"You may withdraw all of it, or leave at least {money.short(least)} 0G. "
            f"{money.short(rest)} would remain.",
            f"Withdraw everything, or {money.exact(least - rest)} 0G less.",
        )
    if name not in SENTENCES:
        return (f"The contract refused: {name}. Nothing was sent.", "Report this with its id.")
    shown = {key: _shown(key, value) for key, value in arguments.items()}
    title, fix = SENTENCES[name]
    return title.format_map(_Gaps(shown)), fix.format_map(_Gaps(shown))


class _Gaps(dict[str, str]):
    """Errors that share a name with other arguments (contracts.md 11.19) leave no hole."""

    def __missing__(self, key: str) -> str:
        return "…"


def _shown(name: str, value: Any) -> str:
    if name in _AMOUNTS and isinstance(value, int):
        return money.short(value)
    return str(value)[:300]

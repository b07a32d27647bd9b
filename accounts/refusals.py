"""Every custom error of the three contracts as a sentence and what to do about it (ux.md 3;
contracts.md 3.3, 4.3, 5).

A sentence may name the error's arguments as the ABI names them; amounts are shown in 0G.
`tests/pure/test_errors_accounts.py` asserts that no error of our artifacts is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import money, stored_sentences

#: Arguments that are amounts of 0G, per error name; all others are shown as they are.
_AMOUNTS = {
    "provided", "required", "available", "remainingBalance", "balance",
}  # fmt: skip

#: name → (sentence, fix). `{argument}` is filled in.
SENTENCES: dict[str, tuple[str, str]] = {
    # LedgerManager
    "LedgerNotExists": (
        N_("You have no compute account yet."),
        N_("Create one with a first deposit."),
    ),
    "LedgerExists": (N_("Your account already exists."), N_("Open it and deposit there.")),
    "LedgerLocked": (
        N_("Another operation on your account is running."),
        N_("Wait for its block, then try again."),
    ),
    "InsufficientBalance": (
        N_("The available balance is lower than this amount."),
        N_("Refresh the numbers and enter less."),
    ),
    "InsufficientAvailableBalance": (
        N_("{required} 0G needed, {available} 0G available. The rest is locked at providers."),
        N_("Deposit more, or retrieve money from providers."),
    ),
    "MinimumDepositRequired": (
        N_("At least {required} 0G is needed, you entered {provided}."),
        N_("Enter {required} 0G or more."),
    ),
    "MustWithdrawAllFundsFirst": (
        N_("{remainingBalance} 0G is still in the account."),
        N_("Retrieve everything from providers, then withdraw all of it."),
    ),
    "ZeroAmountNotAllowed": (N_("The amount is zero."), N_("Enter an amount.")),
    "ZeroAddressNotAllowed": (
        N_("The recipient is the zero address."),
        N_("Enter the address of the account to fund."),
    ),
    "AdditionalInfoTooLong": (
        N_("The additional information is longer than 4096 bytes."),
        N_("Shorten it; characters outside ASCII count more than one byte."),
    ),
    "TooManyProviders": (
        N_("Up to {maximum} providers fit into one transaction; you chose {requested}."),
        N_("Send several transactions of at most {maximum} providers."),
    ),
    "TooManyProvidersForService": (
        N_("You have accounts at {maximum} providers, the limit."),
        N_("Close your account and open it again to free unused places."),
    ),
    "CallFailed": (
        N_("The provider contract refused the transfer."),
        N_("Check the provider's address, or choose another provider."),
    ),
    "TransferFailed": (
        N_("The receiving address refused the payment."),
        N_("Use a wallet that accepts plain transfers."),
    ),
    "DirectDepositsDisabled": (
        N_("Plain transfers to the contract are refused."),
        N_("Use Deposit."),
    ),
    "CallerNotRegisteredService": (
        N_("Only a registered service contract may do this."),
        N_("Use the actions of this page."),
    ),
    "ServiceNotFound": (
        N_("This network has no service contract of that name."),
        N_("Choose a provider from the list, or check the exact name."),
    ),
    "ServiceNotRegistered": (
        N_("This service contract is not registered."),
        N_("Choose a service from the list."),
    ),
    "NoRecommendedService": (
        N_("The network recommends no contract for {serviceType}."),
        N_("Name the service contract."),
    ),
    "ServiceAlreadyRegistered": (
        N_("This service contract is registered already."),
        N_("Nothing is left to do."),
    ),
    "ServiceNameExists": (
        N_("A service contract with the name {serviceName} exists."),
        N_("Choose another version."),
    ),
    "ServiceMustImplementIServing": (
        N_("The address is not a service contract."),
        N_("Check the address."),
    ),
    "ServiceRegistryLimitReached": (
        N_("The network holds its limit of {limit} service contracts."),
        N_("Ask the owner of the contracts."),
    ),
    "ServiceTypeRequired": (N_("The service type is empty."), N_("Enter a service type.")),
    "VersionRequired": (N_("The version is empty."), N_("Enter a version.")),
    "InvalidServiceAddress": (
        N_("The service address is empty."),
        N_("Enter the contract's address."),
    ),
    "InvalidServiceType": (
        N_("The service type {serviceType} is not valid."),
        N_("Choose one from the list."),
    ),
    "AlreadyInitialized": (N_("The contract is set up already."), N_("Nothing is left to do.")),
    # Serving contracts
    "AccountNotExists": (
        N_("You have no account at this provider."),
        N_("Transfer to the provider first; that opens one."),
    ),
    "AccountExists": (
        N_("You already have an account at this provider."),
        N_("Top it up instead."),
    ),
    "TooManyRefunds": (
        N_("5 refunds are already waiting at this provider, the limit."),
        N_("Collect the ones that are unlocked, or wait until the oldest unlocks."),
    ),
    "CannotRevokeWithNonZeroBalance": (
        N_(
            "You can withdraw your acknowledgement only when the balance at this provider is 0; "
            "it is {balance} 0G."
        ),
        N_("Retrieve {balance} 0G first."),
    ),
    "ProviderCannotBeUser": (
        N_("This wallet is the provider, and a provider cannot be its own user."),
        N_("Test with another wallet."),
    ),
    "ServiceNotExist": (
        N_("This address has no service in this contract."),
        N_("Choose a provider from the list, or register first."),
    ),
    "InsufficientStake": (
        N_("Registration needs {required} 0G stake; {provided} was attached."),
        N_("Attach {required} 0G; it comes back when the service is removed."),
    ),
    "CannotAddStakeWhenUpdating": (
        N_("Stake cannot be attached to an update."),
        N_("Send the update without value."),
    ),
    "InvalidAddress": (N_("The address is empty."), N_("Enter an address.")),
    "CallerNotLedger": (
        N_("Only the main account contract may do this."),
        N_("Use the actions of this page."),
    ),
    "LimitTooLarge": (N_("Too many rows were asked for at once."), N_("Ask for at most 50.")),
    "LockTimeOutOfRange": (
        N_("The lock time must lie between one hour and seven days."),
        N_("Choose a time between them."),
    ),
    "BatchSizeTooLarge": (N_("Too many accounts were asked for at once."), N_("Ask for fewer.")),
    "NoSettlementsProvided": (N_("There is nothing to settle."), N_("Add at least one item.")),
    "TooManySettlements": (
        N_("A batch settles at most {max} items; this one has {count}."),
        N_("Split the batch."),
    ),
    "InvalidTEESignature": (N_("The settlement's signature is not valid."), N_("Sign it again.")),
    # Fine-tuning
    "DeliverableNotExists": (
        N_("There is no result with the id {id}."),
        N_("Check the id on the task's page."),
    ),
    "DeliverableAlreadyExists": (N_("A result with the id {id} exists."), N_("Use another id.")),
    "DeliverableIdInvalidLength": (
        N_("A result's id has 1 to 256 bytes; this one has {length}."),
        N_("Use a shorter id."),
    ),
    "PreviousDeliverableNotAcknowledged": (
        N_("The earlier result {id} is not acknowledged, so the provider cannot deliver the next."),
        N_("Review and acknowledge {id}."),
    ),
    "CannotAcknowledgeSettledDeliverable": (
        N_("The result {id} is settled already and can no longer be acknowledged."),
        N_("See the task's page for what was charged."),
    ),
    "CannotAbandonSettledDeliverable": (
        N_("The result {id} is settled already and can no longer be abandoned."),
        N_("Nothing is left to do."),
    ),
    "CannotEvictUnsettledDeliverable": (
        N_("20 results are kept, and the oldest, {id}, is not settled yet."),
        N_("Settle or abandon {id} first."),
    ),
    "DeliverableAlreadySettled": (
        N_("The result {id} is settled already."),
        N_("Nothing is left to do."),
    ),
    "InvalidVerifierInput": (
        N_("The settlement was refused: {reason}."),
        N_("Correct that and settle again."),
    ),
    "SecretShouldBeEmpty": (
        N_("A result that was not acknowledged is settled without its key."),
        N_("Leave the key out."),
    ),
    "SecretShouldNotBeEmpty": (
        N_("An acknowledged result is settled with its key."),
        N_("Attach the encrypted key."),
    ),
    "InvalidLedgerAddress": (
        N_("The main account contract's address is not valid."),
        N_("Check the address."),
    ),
    "PenaltyPercentageTooHigh": (N_("The penalty is above 100 %."), N_("Choose at most 100.")),
    "TransferToLedgerFailed": (
        N_("The money could not be paid back to the main account."),
        N_("Try again; tell the operator if it repeats."),
    ),
    "ETHTransferFailed": (
        N_("The receiving address refused the payment."),
        N_("Use a wallet that accepts plain transfers."),
    ),
    # Solidity's own
    "Error": (N_("The contract refused: {message}."), N_("Check the action and try again.")),
    "Panic": (
        N_("The contract stopped on an arithmetic check (code {code})."),
        N_("Check the amounts and try again."),
    ),
}


def sentence(name: str, arguments: Mapping[str, Any], action: str = "") -> tuple[str, str]:
    """(sentence, fix) of an error by name; an unknown name gets an honest general one."""
    if name == "MinimumDepositRequired" and action == "withdraw":
        rest, least = arguments["provided"], arguments["required"]
        shown = {"least": money.short(least), "rest": money.short(rest)}
        title, fix = _WITHDRAW
        return _(title).format_map(shown), _(fix).format(less=money.told(least - rest))
    title, fix = SENTENCES.get(name, _UNKNOWN)
    shown = {key: _shown(key, value) for key, value in arguments.items()}
    if name not in SENTENCES:
        shown = {"name": _(name)}
    return _(title).format_map(_Gaps(shown)), _(fix).format_map(_Gaps(shown))


_WITHDRAW = (
    N_("You may withdraw all of it, or leave at least {least} 0G. {rest} would remain."),
    N_("Withdraw everything, or {less} 0G less."),
)
_UNKNOWN = (N_("The contract refused: {name}. Nothing was sent."), N_("Report this with its id."))
ONLY_GAS = N_("Only gas was charged.")


def translated(code: str, told: str) -> str:
    """A stored reason (English: `follow`, `Refused.stored`) in the reader's language."""
    known = (*SENTENCES.get(code, ()), *_WITHDRAW, *_UNKNOWN, ONLY_GAS)
    if code == "CallFailed":  # with the sentence of the contract that it called
        known += tuple(title for title, _fix in SENTENCES.values())
    return stored_sentences.translated(told, known)


class _Gaps(dict[str, str]):
    """Errors that share a name with other arguments (contracts.md 11.19) leave no hole."""

    def __missing__(self, key: str) -> str:
        return "…"


def _shown(name: str, value: Any) -> str:
    if name in _AMOUNTS and isinstance(value, int):
        return money.short(value)
    return str(value)[:300]

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {Paging} from "../common/Paging.sol";
import {ILedger} from "../interfaces/ILedger.sol";
import {IServing} from "../interfaces/IServing.sol";
import {LedgerServices} from "./LedgerServices.sol";
import {Ledger, LedgerStorage} from "./LedgerTypes.sol";

/// The user's money on one network: deposits, transfers to sub-accounts, refunds, withdrawals, deletion.
///
/// Most of its operations log nothing (contracts.md 3.1): that is the published behaviour, not an omission.
/// The contract's own balance always equals the sum of all available balances.
abstract contract LedgerBase is LedgerServices, ILedger {
    using EnumerableSet for EnumerableSet.AddressSet;
    using EnumerableSet for EnumerableSet.Bytes32Set;

    uint256 public constant MAX_PROVIDERS_PER_BATCH = 20;
    uint256 public constant MAX_PROVIDERS_PER_USER_PER_SERVICE = 50;
    uint256 public constant MAX_ADDITIONAL_INFO_LENGTH = 4096;

    /// Neuron. Code, not state: networks differ in them, and only an upgrade changes them.
    uint256 public immutable MIN_ACCOUNT_BALANCE;
    uint256 public immutable MIN_TRANSFER_AMOUNT;

    error AdditionalInfoTooLong(uint256 length, uint256 max);
    error CallFailed();
    error DirectDepositsDisabled();
    error InsufficientAvailableBalance(uint256 available, uint256 required);
    error InsufficientBalance(address user);
    error LedgerExists(address user);
    error LedgerLocked();
    error LedgerNotExists(address user);
    error MinimumDepositRequired(uint256 provided, uint256 required);
    error MustWithdrawAllFundsFirst(uint256 remainingBalance);
    error TooManyProviders(uint256 requested, uint256 maximum);
    error TooManyProvidersForService(uint256 current, uint256 maximum);
    error TransferFailed();
    error ZeroAddressNotAllowed();
    error ZeroAmountNotAllowed();

    event FundSpent(address indexed user, address indexed service, uint256 amount);
    event LedgerInfoUpdated(address indexed user, string additionalInfo);

    constructor(uint256 minAccountBalance, uint256 minTransferAmount) {
        MIN_ACCOUNT_BALANCE = minAccountBalance;
        MIN_TRANSFER_AMOUNT = minTransferAmount;
    }

    /// Refunds arrive here from serving contracts; everybody else must call a deposit function.
    receive() external payable {
        if (!_isServing(msg.sender)) revert DirectDepositsDisabled();
    }

    /// A call that reaches the same user's ledger again while it is being changed is refused.
    modifier locksLedger(address user) {
        LedgerStorage storage $ = _ledgerStorage();
        if ($.locks[user]) revert LedgerLocked();
        $.locks[user] = true;
        _;
        $.locks[user] = false;
    }

    function initialize(address owner) external onlyUninitialized initializer {
        _transferOwnership(owner);
    }

    // ---- deposits ----------------------------------------------------------------------------------------

    function addLedger(
        string memory additionalInfo
    ) external payable locksLedger(msg.sender) returns (uint256, uint256) {
        _checkMinimum(msg.value);
        _checkInfo(additionalInfo);
        if (_exists(msg.sender)) revert LedgerExists(msg.sender);
        _create(msg.sender, msg.value, additionalInfo);
        return (msg.value, 0);
    }

    function depositFund() external payable {
        _deposit(msg.sender);
    }

    function depositFundFor(address recipient) external payable {
        if (recipient == address(0)) revert ZeroAddressNotAllowed();
        _deposit(recipient);
    }

    // ---- sub-accounts ------------------------------------------------------------------------------------

    /// Opens or tops up a sub-account. A top-up un-requests pending refunds first (contracts.md 6.1), so a
    /// transfer of no more than the pending amount moves no money at all.
    function transferFund(
        address provider,
        string memory serviceName,
        uint256 amount
    ) external locksLedger(msg.sender) {
        Ledger storage ledger = _ledger(msg.sender);
        IServing serving = IServing(_serviceByName(serviceName));
        bool isNew = !serving.accountExists(msg.sender, provider);
        uint256 cancelled = isNew ? 0 : _min(amount, serving.getPendingRefund(msg.sender, provider));
        if (isNew) _rememberPair(address(serving), provider, amount);

        uint256 moved = amount - cancelled;
        if (ledger.availableBalance < moved) revert InsufficientAvailableBalance(ledger.availableBalance, moved);
        ledger.availableBalance -= moved;
        bytes memory data = isNew
            ? abi.encodeCall(IServing.addAccount, (msg.sender, provider, ledger.additionalInfo))
            : abi.encodeCall(IServing.depositFund, (msg.sender, provider, cancelled));
        (bool ok, ) = address(serving).call{value: moved}(data);
        if (!ok) revert CallFailed();
    }

    /// Completes matured refunds and requests everything that is free, provider by provider
    /// (contracts.md 6.3). Unknown pairs are skipped; one failing provider reverts the batch.
    function retrieveFund(address[] memory providers, string memory serviceName) external locksLedger(msg.sender) {
        if (providers.length > MAX_PROVIDERS_PER_BATCH) {
            revert TooManyProviders(providers.length, MAX_PROVIDERS_PER_BATCH);
        }
        IServing serving = IServing(_serviceByName(serviceName));
        Ledger storage ledger = _ledger(msg.sender);
        uint256 received;
        for (uint256 i; i < providers.length; i++) {
            if (!serving.accountExists(msg.sender, providers[i])) continue;
            (uint256 paid, , ) = serving.processRefund(msg.sender, providers[i]);
            serving.requestRefundAll(msg.sender, providers[i]);
            received += paid;
        }
        ledger.availableBalance += received;
    }

    /// A settlement: the serving contract has paid, or is about to pay, `amount` of this user's money.
    function spendFund(address user, uint256 amount) external onlyServing locksLedger(user) {
        Ledger storage ledger = _ledger(user);
        uint256 inSubAccounts = ledger.totalBalance - ledger.availableBalance;
        if (inSubAccounts < amount) revert InsufficientAvailableBalance(inSubAccounts, amount);
        ledger.totalBalance -= amount;
        emit FundSpent(user, msg.sender, amount);
    }

    // ---- withdrawal --------------------------------------------------------------------------------------

    /// Withdraws to the wallet. What stays available is nothing or the minimum; a ledger that is empty
    /// afterwards is deleted, sub-accounts included.
    function refund(uint256 amount) external locksLedger(msg.sender) {
        Ledger storage ledger = _ledger(msg.sender);
        if (ledger.availableBalance < amount) revert InsufficientBalance(msg.sender);
        uint256 rest = ledger.availableBalance - amount;
        if (rest > 0) _checkMinimum(rest);
        ledger.availableBalance = rest;
        ledger.totalBalance -= amount;
        if (ledger.totalBalance == 0) _delete(msg.sender);
        if (amount > 0) {
            (bool ok, ) = payable(msg.sender).call{value: amount}("");
            if (!ok) revert TransferFailed();
        }
    }

    function deleteLedger() external locksLedger(msg.sender) {
        Ledger storage ledger = _ledger(msg.sender);
        if (ledger.totalBalance > 0) revert MustWithdrawAllFundsFirst(ledger.totalBalance);
        _delete(msg.sender);
    }

    function updateAdditionalInfo(string memory additionalInfo) external locksLedger(msg.sender) {
        _checkInfo(additionalInfo);
        _ledger(msg.sender).additionalInfo = additionalInfo;
        emit LedgerInfoUpdated(msg.sender, additionalInfo);
    }

    // ---- views -------------------------------------------------------------------------------------------

    function getLedger(address user) external view returns (Ledger memory) {
        return _ledger(user);
    }

    function getAllLedgers(
        uint256 offset,
        uint256 limit
    ) external view returns (Ledger[] memory ledgers, uint256 total) {
        LedgerStorage storage $ = _ledgerStorage();
        total = $.ledgerKeys.length();
        ledgers = new Ledger[](Paging.size(total, offset, limit));
        for (uint256 i; i < ledgers.length; i++) ledgers[i] = $.ledgers[$.ledgerKeys.at(offset + i)];
    }

    function getLedgerProviders(address user, string memory serviceName) external view returns (address[] memory) {
        return _ledgerStorage().providers[user][_serviceByName(serviceName)].values();
    }

    // ---- internals ---------------------------------------------------------------------------------------

    function _key(address user) private pure returns (bytes32) {
        return keccak256(abi.encode(user));
    }

    function _exists(address user) private view returns (bool) {
        return _ledgerStorage().ledgerKeys.contains(_key(user));
    }

    function _ledger(address user) private view returns (Ledger storage) {
        if (!_exists(user)) revert LedgerNotExists(user);
        return _ledgerStorage().ledgers[_key(user)];
    }

    function _create(address user, uint256 amount, string memory additionalInfo) private {
        LedgerStorage storage $ = _ledgerStorage();
        $.ledgerKeys.add(_key(user));
        $.ledgers[_key(user)] = Ledger(user, amount, amount, additionalInfo);
    }

    function _deposit(address user) private locksLedger(user) {
        if (msg.value == 0) revert ZeroAmountNotAllowed();
        if (!_exists(user)) {
            _checkMinimum(msg.value);
            _create(user, msg.value, "");
            return;
        }
        Ledger storage ledger = _ledger(user);
        ledger.availableBalance += msg.value;
        ledger.totalBalance += msg.value;
    }

    function _rememberPair(address serving, address provider, uint256 amount) private {
        if (amount < MIN_TRANSFER_AMOUNT) revert MinimumDepositRequired(amount, MIN_TRANSFER_AMOUNT);
        EnumerableSet.AddressSet storage providers = _ledgerStorage().providers[msg.sender][serving];
        uint256 count = providers.length();
        if (count >= MAX_PROVIDERS_PER_USER_PER_SERVICE) {
            revert TooManyProvidersForService(count, MAX_PROVIDERS_PER_USER_PER_SERVICE);
        }
        providers.add(provider);
    }

    /// Erases the ledger and asks every serving contract to forget the user's pairs; one that fails is
    /// ignored, so a broken serving contract cannot hold a ledger hostage.
    function _delete(address user) private {
        LedgerStorage storage $ = _ledgerStorage();
        address[] memory servings = $.serviceAddresses.values();
        for (uint256 i; i < servings.length; i++) {
            EnumerableSet.AddressSet storage set = $.providers[user][servings[i]];
            address[] memory providers = set.values();
            for (uint256 j; j < providers.length; j++) {
                try IServing(servings[i]).deleteAccount(user, providers[j]) {} catch {}
                set.remove(providers[j]);
            }
        }
        $.ledgerKeys.remove(_key(user));
        delete $.ledgers[_key(user)];
    }

    /// The rule for a first deposit and for what a withdrawal leaves behind.
    function _checkMinimum(uint256 amount) private view {
        if (amount < MIN_ACCOUNT_BALANCE) revert MinimumDepositRequired(amount, MIN_ACCOUNT_BALANCE);
    }

    function _checkInfo(string memory info) private pure {
        uint256 length = bytes(info).length;
        if (length > MAX_ADDITIONAL_INFO_LENGTH) revert AdditionalInfoTooLong(length, MAX_ADDITIONAL_INFO_LENGTH);
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}

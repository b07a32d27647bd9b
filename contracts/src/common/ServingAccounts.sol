// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/security/ReentrancyGuard.sol";
import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {ILedger} from "../interfaces/ILedger.sol";
import {IServing} from "../interfaces/IServing.sol";
import {OwnedImplementation} from "./OwnedImplementation.sol";
import {Paging} from "./Paging.sol";
import {RefundList} from "./RefundList.sol";
import {ServingStorage, SubAccount} from "./ServingTypes.sol";

/// Sub-accounts of a serving contract: opening, topping up, refunds, deletion, lock time, user acknowledgement.
///
/// The two serving contracts share every rule of contracts.md 6.1-6.3 but not every error: where the deployed
/// pair disagrees (arguments of `CallerNotLedger`, `LockTimeOutOfRange`, ...) a hook lets each throw its own.
abstract contract ServingAccounts is IServing, ERC165, OwnedImplementation, ReentrancyGuard {
    using EnumerableSet for EnumerableSet.Bytes32Set;
    using RefundList for SubAccount;

    uint256 public constant MIN_LOCKTIME = 1 hours;
    uint256 public constant MAX_LOCKTIME = 7 days;
    uint256 internal constant MAX_INFO_LENGTH = 4096;

    error AccountNotExists(address user, address provider);
    error AccountExists(address user, address provider);
    error AdditionalInfoTooLong();
    error CannotRevokeWithNonZeroBalance(address user, address provider, uint256 balance);
    error DirectDepositsDisabled();

    event BalanceUpdated(address indexed user, address indexed provider, uint256 amount, uint256 pendingRefund);
    event RefundRequested(address indexed user, address indexed provider, uint256 indexed index, uint256 timestamp);
    event AccountDeleted(address indexed user, address indexed provider, uint256 refundedAmount);
    event LockTimeUpdated(uint256 oldLockTime, uint256 newLockTime);

    receive() external payable {
        revert DirectDepositsDisabled();
    }

    modifier onlyLedger() {
        if (msg.sender != _serving().ledgerAddress) _revertCallerNotLedger();
        _;
    }

    // ---- hooks -------------------------------------------------------------------------------------------

    function _serving() internal view virtual returns (ServingStorage storage);

    function _revertCallerNotLedger() internal view virtual;

    function _revertLockTimeOutOfRange(uint256 value) internal pure virtual;

    function _revertLimitTooLarge(uint256 limit) internal pure virtual;

    function _revertLedgerPayoutFailed() internal pure virtual;

    /// Conditions on the pair and the info text of a transfer in, before existence is looked at.
    function _checkPair(address user, address provider) internal pure virtual;

    /// Clears what a serving contract keeps beside the sub-account; nonce-like state must survive.
    function _clearPair(bytes32 key) internal virtual;

    // ---- called by the ledger ----------------------------------------------------------------------------

    function addAccount(address user, address provider, string memory additionalInfo) external payable onlyLedger {
        _checkPair(user, provider);
        if (bytes(additionalInfo).length > MAX_INFO_LENGTH) revert AdditionalInfoTooLong();
        ServingStorage storage $ = _serving();
        bytes32 key = _accountKey(user, provider);
        if (!$.accountKeys.add(key)) revert AccountExists(user, provider);
        $.keysByProvider[provider].add(key);
        $.keysByUser[user].add(key);

        SubAccount storage account = $.accounts[key];
        account.user = user;
        account.provider = provider;
        account.balance = msg.value;
        account.additionalInfo = additionalInfo;
        account.acknowledged = true;
        _logBalance(account);
    }

    function depositFund(address user, address provider, uint256 cancelRetrievingAmount) external payable onlyLedger {
        _checkPair(user, provider);
        SubAccount storage account = _account(user, provider);
        account.cancelNewest(cancelRetrievingAmount);
        account.balance += msg.value;
        account.acknowledged = true;
        _logBalance(account);
    }

    /// Logs even when nothing was free: the log says how many entries are active, not that one is new.
    function requestRefundAll(address user, address provider) external onlyLedger {
        SubAccount storage account = _account(user, provider);
        account.request();
        uint256 active = account.validRefundsLength;
        if (active > 0) emit RefundRequested(user, provider, active - 1, block.timestamp);
    }

    function processRefund(
        address user,
        address provider
    ) external onlyLedger returns (uint256 totalAmount, uint256 balance, uint256 pendingRefund) {
        SubAccount storage account = _account(user, provider);
        totalAmount = account.takeMatured(_serving().lockTime);
        (balance, pendingRefund) = (account.balance, account.pendingRefund);
        if (totalAmount > 0) {
            _logBalance(account);
            if (!_pay(msg.sender, totalAmount)) _revertLedgerPayoutFailed();
        }
    }

    /// A missing pair is not an error. The nonce survives, so an old signature can never be replayed.
    function deleteAccount(address user, address provider) external onlyLedger {
        ServingStorage storage $ = _serving();
        bytes32 key = _accountKey(user, provider);
        if (!$.accountKeys.remove(key)) return;
        $.keysByProvider[provider].remove(key);
        $.keysByUser[user].remove(key);

        SubAccount storage account = $.accounts[key];
        uint256 balance = account.balance;
        account.balance = 0;
        account.pendingRefund = 0;
        account.validRefundsLength = 0;
        account.acknowledged = false;
        delete account.refunds;
        delete account.additionalInfo;
        _clearPair(key);
        emit AccountDeleted(user, provider, balance);
    }

    // ---- called by users and the owner -------------------------------------------------------------------

    /// Trusting needs no log and distrusting needs an empty account (contracts.md 6.6).
    function acknowledgeTEESigner(address provider, bool acknowledged) external {
        SubAccount storage account = _account(msg.sender, provider);
        if (account.acknowledged && !acknowledged && account.balance > 0) {
            revert CannotRevokeWithNonZeroBalance(msg.sender, provider, account.balance);
        }
        account.acknowledged = acknowledged;
    }

    // ---- views -------------------------------------------------------------------------------------------

    function lockTime() external view returns (uint256) {
        return _serving().lockTime;
    }

    function ledgerAddress() external view returns (address) {
        return _serving().ledgerAddress;
    }

    function accountExists(address user, address provider) public view returns (bool) {
        return _serving().accountKeys.contains(_accountKey(user, provider));
    }

    function getPendingRefund(address user, address provider) external view returns (uint256) {
        return _account(user, provider).pendingRefund;
    }

    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IServing).interfaceId || super.supportsInterface(interfaceId);
    }

    // ---- internals ---------------------------------------------------------------------------------------

    function _accountKey(address user, address provider) internal pure returns (bytes32) {
        return keccak256(abi.encode(user, provider));
    }

    function _account(address user, address provider) internal view returns (SubAccount storage) {
        if (!accountExists(user, provider)) revert AccountNotExists(user, provider);
        return _serving().accounts[_accountKey(user, provider)];
    }

    function _logBalance(SubAccount storage account) internal {
        emit BalanceUpdated(account.user, account.provider, account.balance, account.pendingRefund);
    }

    /// Takes `fee` from the sub-account and from the ledger's total, in the log order of contracts.md 6.4.
    function _charge(SubAccount storage account, uint256 fee) internal {
        account.charge(fee);
        ILedger(_serving().ledgerAddress).spendFund(account.user, fee);
        _logBalance(account);
    }

    /// False when the receiver rejects the money; zero is never sent.
    function _pay(address to, uint256 amount) internal returns (bool ok) {
        if (amount == 0) return true;
        (ok, ) = payable(to).call{value: amount}("");
    }

    function _checkLockTime(uint256 value) internal pure {
        if (value < MIN_LOCKTIME || value > MAX_LOCKTIME) _revertLockTimeOutOfRange(value);
    }

    /// The keys of one page of `set` and the set's size.
    function _page(
        EnumerableSet.Bytes32Set storage set,
        uint256 offset,
        uint256 limit
    ) internal view returns (bytes32[] memory keys, uint256 total) {
        if (limit > Paging.DEFAULT_LIMIT) _revertLimitTooLarge(limit);
        total = set.length();
        keys = new bytes32[](Paging.size(total, offset, limit));
        for (uint256 i; i < keys.length; i++) keys[i] = set.at(offset + i);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ServingStorage, SubAccount} from "../common/ServingTypes.sol";
import {InferenceAccounts} from "./InferenceAccounts.sol";
import {Service, SettlementStatus, TEESettlementData} from "./InferenceTypes.sol";

/// Inference: services, sub-accounts, token revocation and settlement of TEE-signed fees.
contract InferenceServing is InferenceAccounts, EIP712 {
    uint256 private constant MAX_SETTLEMENTS = 50;
    bytes32 private constant SETTLEMENT_TYPEHASH =
        keccak256("TEESettlement(bytes32 requestsHash,uint256 nonce,address provider,address user,uint256 totalFee)");

    error CallerNotLedger(address caller);
    error InvalidAddress(address addr);
    error InvalidTEESignature(string reason); // part of the published ABI, never thrown
    error LimitTooLarge(uint256 limit, uint256 max);
    error LockTimeOutOfRange(uint256 lockTime, uint256 min, uint256 max);
    error NoSettlementsProvided();
    error ProviderCannotBeUser();
    error TooManySettlements(uint256 count, uint256 max);
    error TransferFailed();

    event TEESettlementResult(address indexed user, SettlementStatus status, uint256 unsettledAmount);
    event ContractInitialized(address indexed owner, uint256 lockTime, address ledgerAddress);
    event BatchBalanceUpdated(address[] users, uint256[] balances, uint256[] pendingRefunds); // never emitted

    constructor() EIP712("0G Inference Serving", "1") {}

    function initialize(
        uint256 _locktime,
        address _ledgerAddress,
        address owner
    ) external onlyUninitialized initializer {
        _checkLockTime(_locktime);
        _transferOwnership(owner);
        ServingStorage storage $ = _serving();
        $.lockTime = _locktime;
        $.ledgerAddress = _ledgerAddress;
        emit ContractInitialized(owner, _locktime, _ledgerAddress);
    }

    /// Applies at once, also to refunds already pending; logs even an unchanged value.
    function updateLockTime(uint256 _locktime) external onlyOwner {
        _checkLockTime(_locktime);
        emit LockTimeUpdated(_serving().lockTime, _locktime);
        _serving().lockTime = _locktime;
    }

    // ---- settlement (contracts.md 6.4) -------------------------------------------------------------------

    /// Charges each item or says why not; a failing item never reverts the batch. The caller is paid once.
    function settleFeesWithTEE(
        TEESettlementData[] memory settlements
    ) external nonReentrant returns (uint8[] memory statuses) {
        _checkBatch(settlements.length);
        statuses = new uint8[](settlements.length);
        uint256 payout;
        for (uint256 i; i < settlements.length; i++) {
            (SettlementStatus status, uint256 paid) = _judge(settlements[i]);
            _apply(settlements[i], status, paid);
            statuses[i] = uint8(status);
            payout += paid;
        }
        _payProvider(payout);
    }

    /// The same judgement without its effects: two items of one user do not see each other.
    function previewSettlementResults(
        TEESettlementData[] memory settlements
    )
        external
        view
        returns (
            address[] memory failedUsers,
            SettlementStatus[] memory failureReasons,
            address[] memory partialUsers,
            uint256[] memory partialAmounts
        )
    {
        uint256 count = settlements.length;
        _checkBatch(count);
        failedUsers = new address[](count);
        failureReasons = new SettlementStatus[](count);
        partialUsers = new address[](count);
        partialAmounts = new uint256[](count);
        uint256 failed;
        uint256 partials;
        for (uint256 i; i < count; i++) {
            (SettlementStatus status, uint256 paid) = _judge(settlements[i]);
            if (status == SettlementStatus.PARTIAL) {
                partialUsers[partials] = settlements[i].user;
                partialAmounts[partials++] = settlements[i].totalFee - paid;
            } else if (status != SettlementStatus.SUCCESS) {
                failedUsers[failed] = settlements[i].user;
                failureReasons[failed++] = status;
            }
        }
        assembly {
            mstore(failedUsers, failed)
            mstore(failureReasons, failed)
            mstore(partialUsers, partials)
            mstore(partialAmounts, partials)
        }
    }

    /// First match wins; the order is the published table.
    function _judge(TEESettlementData memory item) private view returns (SettlementStatus status, uint256 paid) {
        if (item.provider != msg.sender) return (SettlementStatus.PROVIDER_MISMATCH, 0);
        if (!accountExists(item.user, msg.sender)) return (SettlementStatus.INVALID_SIGNATURE, 0);
        if (!_hasService(msg.sender)) return (SettlementStatus.PROVIDER_MISMATCH, 0);
        Service storage service = _inference().services[_serviceKey(msg.sender)];
        SubAccount storage account = _account(item.user, msg.sender);
        address signer = service.teeSignerAddress;
        if (!account.acknowledged || !service.teeSignerAcknowledged || signer == address(0)) {
            return (SettlementStatus.NO_TEE_SIGNER, 0);
        }
        if (item.nonce <= account.nonce) return (SettlementStatus.INVALID_NONCE, 0);
        (address recovered, ECDSA.RecoverError problem) = ECDSA.tryRecover(_digest(item), item.signature);
        if (problem != ECDSA.RecoverError.NoError || recovered != signer) {
            return (SettlementStatus.INVALID_SIGNATURE, 0);
        }
        if (item.totalFee > account.balance) return (SettlementStatus.PARTIAL, account.balance);
        return (SettlementStatus.SUCCESS, item.totalFee);
    }

    function _apply(TEESettlementData memory item, SettlementStatus status, uint256 paid) private {
        if (status == SettlementStatus.SUCCESS || status == SettlementStatus.PARTIAL) {
            SubAccount storage account = _account(item.user, msg.sender);
            account.nonce = item.nonce;
            if (paid > 0) _charge(account, paid);
        }
        emit TEESettlementResult(item.user, status, item.totalFee - paid);
    }

    function _digest(TEESettlementData memory item) private view returns (bytes32) {
        return
            _hashTypedDataV4(
                keccak256(
                    abi.encode(
                        SETTLEMENT_TYPEHASH,
                        item.requestsHash,
                        item.nonce,
                        item.provider,
                        item.user,
                        item.totalFee
                    )
                )
            );
    }

    function _checkBatch(uint256 count) private pure {
        if (count == 0) revert NoSettlementsProvided();
        if (count > MAX_SETTLEMENTS) revert TooManySettlements(count, MAX_SETTLEMENTS);
    }

    // ---- the errors of this contract ---------------------------------------------------------------------

    function _checkPair(address user, address provider) internal pure override {
        if (user == address(0) || provider == address(0)) revert InvalidAddress(address(0));
        if (user == provider) revert ProviderCannotBeUser();
    }

    function _revertCallerNotLedger() internal view override {
        revert CallerNotLedger(msg.sender);
    }

    function _revertLockTimeOutOfRange(uint256 value) internal pure override {
        revert LockTimeOutOfRange(value, MIN_LOCKTIME, MAX_LOCKTIME);
    }

    function _revertLimitTooLarge(uint256 limit) internal pure override {
        revert LimitTooLarge(limit, 50);
    }

    function _revertLedgerPayoutFailed() internal pure override {
        revert TransferFailed();
    }

    function _revertProviderPayoutFailed() internal pure override {
        revert TransferFailed();
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ServingStorage, SubAccount} from "../common/ServingTypes.sol";
import {DeliverableRing} from "./DeliverableRing.sol";
import {FineTuningAccounts} from "./FineTuningAccounts.sol";
import {Deliverable, Ring, Service, VerifierInput} from "./FineTuningTypes.sol";

/// Fine-tuning: services, sub-accounts, deliverables and settlement of TEE-signed task fees.
contract FineTuningServing is FineTuningAccounts, EIP712("0G Fine-Tuning Serving", "1") {
    using DeliverableRing for Ring;

    bytes32 private constant VERIFIER_TYPEHASH =
        keccak256(
            "VerifierMessage(string id,bytes encryptedSecret,bytes modelRootHash,uint256 nonce,uint256 taskFee,address user)"
        );

    error CallerNotLedger();
    error DeliverableAlreadySettled(string id);
    error ETHTransferFailed();
    error InvalidLedgerAddress();
    error InvalidVerifierInput(string reason);
    error LimitTooLarge(uint256 limit);
    error LockTimeOutOfRange(uint256 lockTime);
    error PenaltyPercentageTooHigh(uint256 percentage);
    error SecretShouldBeEmpty();
    error SecretShouldNotBeEmpty();
    error TransferToLedgerFailed();

    event FeesSettled(
        address indexed user,
        address indexed provider,
        string deliverableId,
        uint256 fee,
        bool acknowledged,
        uint256 nonce
    );

    /// Unlike inference this logs neither the lock time nor the ledger (contracts.md 5).
    function initialize(
        uint256 _locktime,
        address _ledgerAddress,
        address owner,
        uint256 _penaltyPercentage
    ) external onlyUninitialized initializer {
        if (_ledgerAddress.code.length == 0) revert InvalidLedgerAddress();
        _checkPenalty(_penaltyPercentage);
        _checkLockTime(_locktime);
        _transferOwnership(owner);
        ServingStorage storage $ = _serving();
        $.lockTime = _locktime;
        $.ledgerAddress = _ledgerAddress;
        _fineTuning().penaltyPercentage = _penaltyPercentage;
    }

    /// Applies at once, also to refunds already pending; an unchanged value is not logged.
    function updateLockTime(uint256 _locktime) external onlyOwner {
        _checkLockTime(_locktime);
        uint256 previous = _serving().lockTime;
        if (previous == _locktime) return;
        _serving().lockTime = _locktime;
        emit LockTimeUpdated(previous, _locktime);
    }

    function updatePenaltyPercentage(uint256 _penaltyPercentage) external onlyOwner {
        _checkPenalty(_penaltyPercentage);
        _fineTuning().penaltyPercentage = _penaltyPercentage;
    }

    function penaltyPercentage() external view returns (uint256) {
        return _fineTuning().penaltyPercentage;
    }

    /// Charges one task, in full for an acknowledged deliverable and reduced for one that is not
    /// (contracts.md 6.5). Every failed condition reverts.
    function settleFees(VerifierInput memory verifierInput) external nonReentrant {
        SubAccount storage account = _account(verifierInput.user, msg.sender);
        Deliverable storage item = _checkSettlement(account, verifierInput);
        uint256 fee = verifierInput.taskFee;
        if (item.acknowledged) {
            if (verifierInput.encryptedSecret.length == 0) revert SecretShouldNotBeEmpty();
            item.encryptedSecret = verifierInput.encryptedSecret;
        } else {
            if (verifierInput.encryptedSecret.length != 0) revert SecretShouldBeEmpty();
            fee = _penalised(fee);
        }
        account.nonce = verifierInput.nonce;
        item.settled = true;
        emit FeesSettled(
            verifierInput.user,
            msg.sender,
            verifierInput.id,
            fee,
            item.acknowledged,
            verifierInput.nonce
        );
        _charge(account, fee);
        _payProvider(fee);
    }

    // ---- internals ---------------------------------------------------------------------------------------

    /// The conditions before the secret, in the published order.
    function _checkSettlement(
        SubAccount storage account,
        VerifierInput memory input
    ) private view returns (Deliverable storage item) {
        _requireService(msg.sender);
        Service storage service = _fineTuning().services[_serviceKey(msg.sender)];
        address signer = service.teeSignerAddress;
        if (!account.acknowledged || !service.teeSignerAcknowledged || signer == address(0)) {
            revert InvalidVerifierInput("TEE signer not acknowledged");
        }
        if (input.nonce <= account.nonce) {
            revert InvalidVerifierInput("nonce should larger than the current nonce");
        }
        if (account.balance < input.taskFee) revert InvalidVerifierInput("insufficient balance");
        item = _ring(input.user, msg.sender).get(input.id);
        if (item.settled) revert DeliverableAlreadySettled(input.id);
        if (keccak256(item.modelRootHash) != keccak256(input.modelRootHash)) {
            revert InvalidVerifierInput("model root hash mismatch");
        }
        (address recovered, ECDSA.RecoverError problem) = ECDSA.tryRecover(_digest(input), input.signature);
        if (problem != ECDSA.RecoverError.NoError || recovered != signer) {
            revert InvalidVerifierInput("TEE settlement validation failed");
        }
    }

    /// floor(fee * penalty / 100) without overflow for any fee.
    function _penalised(uint256 fee) private view returns (uint256) {
        uint256 penalty = _fineTuning().penaltyPercentage;
        return (fee / 100) * penalty + ((fee % 100) * penalty) / 100;
    }

    function _digest(VerifierInput memory input) private view returns (bytes32) {
        return
            _hashTypedDataV4(
                keccak256(
                    abi.encode(
                        VERIFIER_TYPEHASH,
                        keccak256(bytes(input.id)),
                        keccak256(input.encryptedSecret),
                        keccak256(input.modelRootHash),
                        input.nonce,
                        input.taskFee,
                        input.user
                    )
                )
            );
    }

    function _checkPenalty(uint256 value) private pure {
        if (value > 100) revert PenaltyPercentageTooHigh(value);
    }

    // ---- the errors of this contract ---------------------------------------------------------------------

    /// Any pair is allowed here, also a zero provider and a user that is its own provider.
    function _checkPair(address, address) internal pure override {}

    function _revertCallerNotLedger() internal pure override {
        revert CallerNotLedger();
    }

    function _revertLockTimeOutOfRange(uint256 value) internal pure override {
        revert LockTimeOutOfRange(value);
    }

    function _revertLimitTooLarge(uint256 limit) internal pure override {
        revert LimitTooLarge(limit);
    }

    function _revertLedgerPayoutFailed() internal pure override {
        revert TransferToLedgerFailed();
    }

    function _revertProviderPayoutFailed() internal pure override {
        revert ETHTransferFailed();
    }
}

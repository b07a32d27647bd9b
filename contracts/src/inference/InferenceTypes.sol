// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {Refund, ServingStorage} from "../common/ServingTypes.sol";

/// What a provider submits. Note that `Service`, what is read back, has another field order.
struct ServiceParams {
    string serviceType;
    string url;
    string model;
    string verifiability;
    uint256 inputPrice;
    uint256 outputPrice;
    string additionalInfo;
    address teeSignerAddress;
}

struct Service {
    address provider;
    string serviceType;
    string url;
    uint256 inputPrice;
    uint256 outputPrice;
    uint256 updatedAt;
    string model;
    string verifiability;
    string additionalInfo;
    address teeSignerAddress;
    bool teeSignerAcknowledged;
}

/// The sub-account as views return it; `balance` includes `pendingRefund`.
struct Account {
    address user;
    address provider;
    uint256 nonce;
    uint256 balance;
    uint256 pendingRefund;
    Refund[] refunds;
    string additionalInfo;
    bool acknowledged;
    uint256 validRefundsLength;
    uint256 generation;
    uint256 revokedBitmap;
}

/// One signed charge. The signed type has another field order (contracts.md 7.1).
struct TEESettlementData {
    address user;
    address provider;
    uint256 totalFee;
    bytes32 requestsHash;
    uint256 nonce;
    bytes signature;
}

enum SettlementStatus {
    SUCCESS,
    PARTIAL,
    PROVIDER_MISMATCH,
    NO_TEE_SIGNER,
    INVALID_NONCE,
    INVALID_SIGNATURE
}

/// Revoked API tokens of a pair: ids below `generation` are dead, the bitmap is of the current one.
struct TokenState {
    uint256 generation;
    uint256 revokedBitmap;
}

/// The ERC-7201 namespace `0g.serving.inference.v1.0` (contracts.md 2, storage table).
struct InferenceStorage {
    ServingStorage serving; // 0-9
    mapping(bytes32 => Service) services; // 10
    mapping(address => uint256) providerStake; // 11, read from outside by slot
    mapping(bytes32 => TokenState) tokens; // 12
}

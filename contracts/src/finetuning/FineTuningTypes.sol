// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {ServingStorage} from "../common/ServingTypes.sol";

struct Quota {
    uint256 cpuCount;
    uint256 nodeMemory;
    uint256 gpuCount;
    uint256 nodeStorage;
    string gpuType;
}

struct Service {
    address provider;
    string url;
    Quota quota;
    uint256 pricePerToken;
    bool occupied;
    string[] models;
    address teeSignerAddress;
    bool teeSignerAcknowledged;
}

/// A refund as this contract's views return it: the last member has another name than in inference.
struct Refund {
    uint256 index;
    uint256 amount;
    uint256 createdAt;
    bool _deprecated_processed;
}

/// The result of one fine-tuning task; `timestamp` in seconds.
struct Deliverable {
    string id;
    bytes modelRootHash;
    bytes encryptedSecret;
    bool acknowledged;
    uint248 timestamp;
    bool settled;
}

/// One pair in full; `deliverables` oldest first.
struct AccountDetails {
    address user;
    address provider;
    uint256 nonce;
    uint256 balance;
    uint256 pendingRefund;
    Refund[] refunds;
    string additionalInfo;
    Deliverable[] deliverables;
    uint256 validRefundsLength;
    uint256 deliverablesHead;
    uint256 deliverablesCount;
    bool acknowledged;
}

/// One pair in a list.
struct AccountSummary {
    address user;
    address provider;
    uint256 nonce;
    uint256 balance;
    uint256 pendingRefund;
    string additionalInfo;
    uint256 validRefundsLength;
    uint256 deliverablesCount;
    bool acknowledged;
}

/// What a provider presents to be paid for a task (contracts.md 7.2 names the signed type).
struct VerifierInput {
    string id;
    bytes encryptedSecret;
    bytes modelRootHash;
    uint256 nonce;
    bytes signature;
    uint256 taskFee;
    address user;
}

/// The last 20 deliverables of a pair. `ids` holds positions; `head` is the oldest once it is full.
struct Ring {
    uint256 head;
    string[] ids;
    mapping(string => Deliverable) byId;
}

/// The ERC-7201 namespace `0g.serving.finetuning.v1.0` (contracts.md 2, storage table).
struct FineTuningStorage {
    ServingStorage serving; // 0-9
    mapping(bytes32 => Service) services; // 10
    uint256 penaltyPercentage; // 11
    mapping(address => uint256) providerStake; // 12, read from outside by slot
    mapping(bytes32 => Ring) rings; // 13
}

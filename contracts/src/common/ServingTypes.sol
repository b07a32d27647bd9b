// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

/// One refund request. `processed` is always false: it only keeps the tuple layout of the deployed contracts.
struct Refund {
    uint256 index;
    uint256 amount;
    uint256 createdAt;
    bool processed;
}

/// The account of one (user, provider) pair as both serving contracts keep it.
/// `balance` contains `pendingRefund`; the active refunds are `refunds[0 .. validRefundsLength)`.
struct SubAccount {
    address user;
    address provider;
    uint256 nonce;
    uint256 balance;
    uint256 pendingRefund;
    Refund[] refunds;
    string additionalInfo;
    bool acknowledged;
    uint256 validRefundsLength;
}

/// Members 0-9 of a serving contract's ERC-7201 namespace (contracts.md 2, storage table).
struct ServingStorage {
    uint256 lockTime; // 0, seconds
    address ledgerAddress; // 1
    address reserved; // 2
    EnumerableSet.Bytes32Set accountKeys; // 3-4
    mapping(bytes32 => SubAccount) accounts; // 5
    mapping(address => EnumerableSet.Bytes32Set) keysByProvider; // 6
    mapping(address => EnumerableSet.Bytes32Set) keysByUser; // 7
    EnumerableSet.Bytes32Set serviceKeys; // 8-9
}

error TooManyRefunds(address user, address provider);

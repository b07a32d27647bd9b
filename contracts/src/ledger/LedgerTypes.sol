// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {IServing} from "../interfaces/IServing.sol";

/// A user's money: `totalBalance - availableBalance` is what lies in sub-accounts. Amounts in neuron.
struct Ledger {
    address user;
    uint256 availableBalance;
    uint256 totalBalance;
    string additionalInfo;
}

struct ServiceInfo {
    address serviceAddress;
    IServing serviceContract; // the same address
    string serviceType;
    string version;
    string fullName;
    string description;
    bool isRecommended;
    uint256 registeredAt;
}

/// The ERC-7201 namespace `0g.serving.ledger` (contracts.md 2, storage table).
struct LedgerStorage {
    mapping(address => ServiceInfo) services; // 0
    mapping(string => address) addressByName; // 1
    EnumerableSet.AddressSet serviceAddresses; // 2-3
    mapping(string => address) recommendedByType; // 4
    EnumerableSet.Bytes32Set ledgerKeys; // 5-6
    mapping(bytes32 => Ledger) ledgers; // 7
    mapping(address => bool) locks; // 8
    uint256 reserved; // 9
    mapping(address => mapping(address => EnumerableSet.AddressSet)) providers; // 10: user, serving contract
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {LedgerBase} from "./LedgerBase.sol";

/// The ledger with the testnet's minimums: 0.1 0G for an account, 0.01 0G for a first transfer (contracts.md 1.1).
contract LedgerManagerTestnet is LedgerBase {
    constructor() LedgerBase(0.1 ether, 0.01 ether) {}
}

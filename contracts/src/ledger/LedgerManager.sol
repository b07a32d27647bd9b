// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {LedgerBase} from "./LedgerBase.sol";

/// The ledger with mainnet's minimums: 3 0G for an account, 1 0G for a first transfer (contracts.md 1.1).
contract LedgerManager is LedgerBase {
    constructor() LedgerBase(3 ether, 1 ether) {}
}

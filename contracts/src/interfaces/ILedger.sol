// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

/// What a serving contract calls on the ledger; refunds are paid to its `receive()` (contracts.md 2).
interface ILedger {
    function spendFund(address user, uint256 amount) external;
}

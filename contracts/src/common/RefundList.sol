// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {Refund, SubAccount, TooManyRefunds} from "./ServingTypes.sol";

/// The refund rules of contracts.md 6.2, the same for both serving contracts.
///
/// The array never shrinks: entries at and after `validRefundsLength` are stale and are overwritten later.
/// An active entry's `index` always equals its position.
library RefundList {
    uint256 internal constant MAX_ACTIVE = 5;

    /// Asks for the whole free amount back. Nothing changes when nothing is free, and that is
    /// tested before the limit, so an idle pair never makes a batch fail.
    function request(SubAccount storage account) internal {
        uint256 free = account.balance - account.pendingRefund;
        if (free == 0) return;
        uint256 length = account.validRefundsLength;
        if (length >= MAX_ACTIVE) revert TooManyRefunds(account.user, account.provider);
        _write(account, length, free, block.timestamp);
        account.validRefundsLength = length + 1;
        account.pendingRefund = account.balance;
    }

    /// Un-requests up to `amount`, newest entry first.
    function cancelNewest(SubAccount storage account, uint256 amount) internal {
        uint256 left = amount;
        uint256 length = account.validRefundsLength;
        while (left > 0 && length > 0) {
            Refund storage entry = account.refunds[length - 1];
            if (entry.amount > left) {
                entry.amount -= left;
                left = 0;
            } else {
                left -= entry.amount;
                entry.amount = 0;
                length--;
            }
        }
        account.validRefundsLength = length;
        account.pendingRefund -= amount - left;
    }

    /// Takes every entry whose lock is over at this block out of the balance and returns the sum.
    /// Survivors move to the front and keep the time of their request.
    function takeMatured(SubAccount storage account, uint256 lockTime) internal returns (uint256 paid) {
        uint256 length = account.validRefundsLength;
        uint256 kept;
        for (uint256 i; i < length; i++) {
            Refund storage entry = account.refunds[i];
            if (block.timestamp >= entry.createdAt + lockTime) {
                paid += entry.amount;
                continue;
            }
            if (kept != i) _write(account, kept, entry.amount, entry.createdAt);
            kept++;
        }
        if (kept == length) return 0;
        account.validRefundsLength = kept;
        account.balance -= paid;
        account.pendingRefund -= paid;
    }

    /// Charges `fee`. Free money goes first; a shortfall eats pending refunds, even those whose
    /// lock is over but which were not collected (contracts.md 6.4).
    function charge(SubAccount storage account, uint256 fee) internal {
        uint256 free = account.balance - account.pendingRefund;
        if (fee > free) cancelNewest(account, fee - free);
        account.balance -= fee;
    }

    function _write(SubAccount storage account, uint256 position, uint256 amount, uint256 createdAt) private {
        Refund memory entry = Refund({index: position, amount: amount, createdAt: createdAt, processed: false});
        if (position < account.refunds.length) account.refunds[position] = entry;
        else account.refunds.push(entry);
    }
}

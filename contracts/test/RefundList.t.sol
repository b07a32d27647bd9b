// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {RefundList} from "../src/common/RefundList.sol";
import {Refund, SubAccount} from "../src/common/ServingTypes.sol";
import {Base} from "./Base.sol";

/// The library on one account of its own.
contract Book {
    using RefundList for SubAccount;

    SubAccount private account;

    function add(uint256 amount) external {
        account.balance += amount;
    }

    function request() external {
        account.request();
    }

    function cancel(uint256 amount) external {
        account.cancelNewest(amount);
    }

    function take(uint256 lockTime) external returns (uint256) {
        return account.takeMatured(lockTime);
    }

    function charge(uint256 fee) external {
        account.charge(fee);
    }

    function balance() external view returns (uint256) {
        return account.balance;
    }

    function pending() external view returns (uint256) {
        return account.pendingRefund;
    }

    /// The active entries.
    function active() external view returns (Refund[] memory entries) {
        entries = new Refund[](account.validRefundsLength);
        for (uint256 i; i < entries.length; i++) entries[i] = account.refunds[i];
    }
}

/// The refund rules of contracts.md 6.2 against a model that keeps one number per neuron's age:
/// a plain list of (amount, time) where every rule is spelled out anew.
contract RefundListTest is Base {
    struct Entry {
        uint256 amount;
        uint256 createdAt;
    }

    Book private book;
    Entry[] private model;
    uint256 private money;

    function setUp() public override {
        vm.warp(1_800_000_000);
        book = new Book();
    }

    /// Each byte pair is an action and its size; the comparison follows every action.
    function testFuzz_followsTheModel(bytes memory script) public {
        book.add(1000);
        money = 1000;
        for (uint256 i; i + 1 < script.length; i += 2) {
            uint256 size = uint8(script[i + 1]);
            uint256 action = uint8(script[i]) % 6;
            if (action == 0) _add(size);
            else if (action == 1) _request();
            else if (action == 2) _cancel(size * 5);
            else if (action == 3) _charge(size * 5);
            else if (action == 4) _take(size * 1 hours);
            else vm.warp(block.timestamp + size * 600);
            _compare();
        }
    }

    function _add(uint256 amount) private {
        book.add(amount);
        money += amount;
    }

    function _request() private {
        uint256 free = money - _sum();
        if (free > 0 && model.length == 5) {
            vm.expectRevert(abi.encodeWithSignature("TooManyRefunds(address,address)", address(0), address(0)));
            book.request();
            return;
        }
        book.request();
        if (free > 0) model.push(Entry(free, block.timestamp));
    }

    function _cancel(uint256 amount) private {
        book.cancel(amount);
        _modelCancel(amount);
    }

    function _modelCancel(uint256 amount) private {
        // One neuron at a time from the youngest entry: slow and beyond doubt.
        for (; amount > 0 && model.length > 0; amount--) {
            Entry storage youngest = model[model.length - 1];
            youngest.amount--;
            if (youngest.amount == 0) model.pop();
        }
    }

    function _charge(uint256 fee) private {
        if (fee > money) fee = money;
        book.charge(fee);
        uint256 free = money - _sum();
        if (fee > free) _modelCancel(fee - free);
        money -= fee;
    }

    function _take(uint256 lockTime) private {
        uint256 paid = book.take(lockTime);
        uint256 expected;
        Entry[] memory before = model;
        delete model;
        for (uint256 i; i < before.length; i++) {
            bool matured = before[i].createdAt + lockTime <= block.timestamp;
            if (matured) expected += before[i].amount;
            else model.push(before[i]);
        }
        money -= expected;
        _eq(paid, expected, "paid");
    }

    function _sum() private view returns (uint256 total) {
        for (uint256 i; i < model.length; i++) total += model[i].amount;
    }

    function _compare() private view {
        Refund[] memory entries = book.active();
        _eq(entries.length, model.length, "active entries");
        for (uint256 i; i < entries.length; i++) {
            _eq(entries[i].index, i, "index");
            _eq(entries[i].amount, model[i].amount, "amount");
            _eq(entries[i].createdAt, model[i].createdAt, "createdAt");
        }
        _eq(book.balance(), money, "balance");
        _eq(book.pending(), _sum(), "pending");
    }
}

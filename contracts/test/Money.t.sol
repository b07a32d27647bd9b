// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {Account, TEESettlementData} from "../src/inference/InferenceTypes.sol";
import {AccountDetails, VerifierInput} from "../src/finetuning/FineTuningTypes.sol";
import {Ledger} from "../src/ledger/LedgerTypes.sol";
import {Base} from "./Base.sol";

/// Random people doing random things; what it counts is compared by the invariants below.
contract Crowd is Base {
    address[] public users;
    address[] public providers;
    uint256 public deposited;
    uint256 public withdrawn;
    uint256 public settled;
    uint256 private nonce;
    uint256 private task;

    function setUp() public override {
        require(users.length == 0, "the fuzzer may call this too");
        super.setUp();
        for (uint256 i; i < 3; i++) {
            users.push(vm.addr(1000 + i));
            providers.push(vm.addr(2000 + i));
            _serveInference(providers[i]);
            _serveTuning(providers[i]);
        }
        for (uint256 i; i < 9; i++) {
            depositFor(i / 3, i / 3, 50 ether);
            transfer(i / 3, i, true, 10 ether);
            transfer(i / 3, i, false, 10 ether);
        }
    }

    function contracts() external view returns (address, address, address) {
        return (address(ledger), address(inference), address(tuning));
    }

    function depositFor(uint256 from, uint256 to, uint256 amount) public {
        // Mostly enough to open a ledger that was deleted.
        amount = _between(amount, amount % 4 == 0 ? 1 : 3 ether, 60 ether);
        address sender = users[from % 3];
        vm.deal(sender, sender.balance + amount);
        vm.prank(sender);
        ledger.depositFundFor{value: amount}(users[to % 3]);
        deposited += amount;
    }

    function transfer(uint256 user, uint256 provider, bool toInference, uint256 amount) public {
        _transfer(users[user % 3], providers[provider % 3], toInference ? INFERENCE : TUNING, amount % 12 ether);
    }

    function retrieve(uint256 user, bool fromInference, bool twice) public {
        address[] memory list = new address[](twice ? 4 : 3);
        for (uint256 i; i < list.length; i++) list[i] = providers[i % 3];
        vm.prank(users[user % 3]);
        ledger.retrieveFund(list, fromInference ? INFERENCE : TUNING);
    }

    function wait(uint256 time) external {
        vm.warp(block.timestamp + (time % (2 days)));
    }

    /// Everything back and out, which deletes the ledger.
    function leave(uint256 user) external {
        for (uint256 i; i < 2; i++) {
            vm.warp(block.timestamp + 7 days);
            retrieve(user, true, false);
            retrieve(user, false, false);
        }
        vm.warp(block.timestamp + 7 days);
        retrieve(user, true, false);
        retrieve(user, false, false);
        withdraw(user, 0, true);
        (Ledger[] memory all, ) = ledger.getAllLedgers(0, 100);
        for (uint256 i; i < all.length; i++) require(all[i].user != users[user % 3], "still there");
    }

    function withdraw(uint256 user, uint256 amount, bool all) public {
        address who = users[user % 3];
        uint256 available = ledger.getLedger(who).availableBalance;
        amount = all ? available : _between(amount, 0, available);
        uint256 before = who.balance;
        vm.prank(who);
        ledger.refund(amount);
        withdrawn += who.balance - before;
    }

    function settle(uint256 provider, uint256 feeA, uint256 feeB) external {
        address who = providers[provider % 3];
        TEESettlementData[] memory items = new TEESettlementData[](2);
        items[0] = _signed(TEE_KEY, users[feeA % 3], who, feeA % 8 ether, ++nonce);
        items[1] = _signed(TEE_KEY, users[feeB % 3], who, feeB % 30 ether, ++nonce);
        uint256 before = who.balance;
        vm.prank(who);
        inference.settleFeesWithTEE(items);
        settled += who.balance - before;
    }

    function settleTask(uint256 user, uint256 provider, uint256 fee, uint256 mood) external {
        bool trust = mood % 10 != 0; // a task settled without trust blocks its pair for good
        address who = providers[provider % 3];
        address payer = users[user % 3];
        string memory id = string(abi.encodePacked(++task));
        vm.prank(who);
        tuning.addDeliverable(payer, id, "root");
        if (trust) {
            vm.prank(payer);
            tuning.acknowledgeDeliverable(who, id);
        }
        uint256 cap = tuning.getAccount(payer, who).balance;
        VerifierInput memory input = _verifier(payer, id, "root", trust ? bytes("s") : bytes(""), fee % (cap + 1), ++nonce);
        uint256 before = who.balance;
        vm.prank(who);
        tuning.settleFees(input);
        settled += who.balance - before;
    }

    function changeService(uint256 provider, bool back) external {
        address who = providers[provider % 3];
        vm.prank(who);
        inference.removeService();
        if (back) _serveInference(who);
    }

    function changeLockTime(uint256 time, bool ofInference) external {
        time = _between(time, 1 hours, 7 days);
        if (ofInference) inference.updateLockTime(time);
        else tuning.updateLockTime(time);
    }

    /// The stake of everybody: 100 0G for each registered service.
    function staked() external view returns (uint256 ofInference, uint256 ofTuning) {
        for (uint256 i; i < 3; i++) if (inference.serviceExists(providers[i])) ofInference += 100 ether;
        ofTuning = 300 ether;
    }

    // ---- the identities of contracts.md 2 ----------------------------------------------------------------

    function check() external view {
        (uint256 available, uint256 total) = _ledgers();
        uint256 inInference = _inferenceSum();
        uint256 inTuning = _tuningSum();
        (uint256 stakeA, uint256 stakeB) = this.staked();
        _eq(address(ledger).balance, available, "the ledger holds what is available");
        _eq(address(inference).balance, inInference + stakeA, "inference holds sub-accounts and stakes");
        _eq(address(tuning).balance, inTuning + stakeB, "fine-tuning holds sub-accounts and stakes");
        _eq(total - available, inInference + inTuning, "what is not available lies in sub-accounts");
        _eq(deposited - withdrawn - settled, total, "no money appears or vanishes");
    }

    function _ledgers() private view returns (uint256 available, uint256 total) {
        (Ledger[] memory all, ) = ledger.getAllLedgers(0, 100);
        for (uint256 i; i < all.length; i++) {
            available += all[i].availableBalance;
            total += all[i].totalBalance;
            uint256 inside;
            for (uint256 j; j < 3; j++) {
                if (inference.accountExists(all[i].user, providers[j])) {
                    inside += inference.getAccount(all[i].user, providers[j]).balance;
                }
                if (tuning.accountExists(all[i].user, providers[j])) {
                    inside += tuning.getAccount(all[i].user, providers[j]).balance;
                }
            }
            _eq(all[i].totalBalance - all[i].availableBalance, inside, "per user");
        }
    }

    function _inferenceSum() private view returns (uint256 sum) {
        (Account[] memory all, ) = inference.getAllAccounts(0, 50);
        for (uint256 i; i < all.length; i++) {
            uint256 pending;
            for (uint256 j; j < all[i].validRefundsLength; j++) pending += all[i].refunds[j].amount;
            _checkPending(all[i].pendingRefund, pending, all[i].balance, all[i].validRefundsLength);
            sum += all[i].balance;
        }
    }

    function _tuningSum() private view returns (uint256 sum) {
        for (uint256 i; i < 9; i++) {
            (address user, address provider) = (users[i / 3], providers[i % 3]);
            if (!tuning.accountExists(user, provider)) continue;
            AccountDetails memory one = tuning.getAccount(user, provider);
            uint256 pending;
            for (uint256 j; j < one.validRefundsLength; j++) pending += one.refunds[j].amount;
            _checkPending(one.pendingRefund, pending, one.balance, one.validRefundsLength);
            sum += one.balance;
        }
    }

    function _checkPending(uint256 stored, uint256 summed, uint256 balance, uint256 entries) private pure {
        _eq(stored, summed, "pending is the sum of the active entries");
        require(stored <= balance, "pending is part of the balance");
        require(entries <= 5, "five requests at most");
    }
}

/// Whatever the crowd does, in any order, the money adds up after every call.
contract MoneyTest {
    Crowd private crowd;

    function setUp() public {
        crowd = new Crowd();
        crowd.setUp();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(crowd);
    }

    function invariant_moneyAddsUp() public view {
        crowd.check();
    }

    /// The crowd really moves money: an idle crowd would satisfy any identity.
    function test_theCrowdActs() public {
        crowd.settle(0, 3 ether, 4 ether);
        crowd.settleTask(0, 0, 2 ether, 1);
        crowd.settleTask(1, 1, 2 ether, 0);
        crowd.retrieve(1, true, true);
        crowd.wait(86_400);
        crowd.retrieve(1, true, false);
        crowd.withdraw(1, 5 ether, false);
        crowd.changeService(2, false);
        crowd.check();
        crowd.leave(0);
        crowd.check();
        require(crowd.settled() > 2 ether && crowd.withdrawn() > 0, "nothing moved");
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {FineTuningServing} from "../src/finetuning/FineTuningServing.sol";
import {AccountDetails, Deliverable, Quota, VerifierInput} from "../src/finetuning/FineTuningTypes.sol";
import {Base} from "./Base.sol";

/// Task settlement and the ring of deliverables, contracts.md 6.5.
contract FineTuningTest is Base {
    address private user = _person("user");
    address private provider = _person("provider");
    bytes private constant ROOT = "root";

    function setUp() public override {
        super.setUp();
        _serveTuning(provider);
        _deposit(user, 100 ether);
        _transfer(user, provider, TUNING, 10 ether);
    }

    function _add(string memory id) private {
        vm.prank(provider);
        tuning.addDeliverable(user, id, ROOT);
    }

    function _acknowledge(string memory id) private {
        vm.prank(user);
        tuning.acknowledgeDeliverable(provider, id);
    }

    function _abandon(string memory id) private {
        vm.prank(provider);
        tuning.abandonDeliverable(user, id);
    }

    function _settle(VerifierInput memory input) private {
        vm.prank(provider);
        tuning.settleFees(input);
    }

    function _invalid(string memory reason) private pure returns (bytes memory) {
        return abi.encodeWithSelector(FineTuningServing.InvalidVerifierInput.selector, reason);
    }

    function _account() private view returns (AccountDetails memory) {
        return tuning.getAccount(user, provider);
    }

    function testFuzz_acknowledgedTaskCostsTheFullFee(uint256 fee, bytes memory secret, uint256 nonce) public {
        fee = _between(fee, 0, 10 ether);
        nonce = _between(nonce, 1, type(uint256).max);
        vm.assume(secret.length > 0);
        _add("a");
        _acknowledge("a");
        vm.expectRevert(abi.encodeWithSelector(FineTuningServing.SecretShouldNotBeEmpty.selector));
        _settle(_verifier(user, "a", ROOT, "", fee, nonce));

        uint256 before = provider.balance;
        _settle(_verifier(user, "a", ROOT, secret, fee, nonce));
        Deliverable memory item = tuning.getDeliverable(user, provider, "a");
        require(item.settled && keccak256(item.encryptedSecret) == keccak256(secret), "settled with its secret");
        _eq(provider.balance - before, fee, "paid");
        _eq(_account().balance, 10 ether - fee, "balance");
        _eq(_account().nonce, nonce, "nonce");
        _eq(ledger.getLedger(user).totalBalance, 100 ether - fee, "total");
    }

    /// The penalty in force at settlement, rounded down; the full fee must be there all the same.
    function testFuzz_unacknowledgedTaskCostsThePenalty(uint256 fee, uint256 penalty) public {
        fee = _between(fee, 0, 10 ether);
        penalty = _between(penalty, 0, 100);
        tuning.updatePenaltyPercentage(penalty);
        _add("a");
        vm.expectRevert(abi.encodeWithSelector(FineTuningServing.SecretShouldBeEmpty.selector));
        _settle(_verifier(user, "a", ROOT, "s", fee, 1));
        vm.expectRevert(_invalid("insufficient balance"));
        _settle(_verifier(user, "a", ROOT, "", 10 ether + 1, 1));

        uint256 before = provider.balance;
        _settle(_verifier(user, "a", ROOT, "", fee, 1));
        _eq(provider.balance - before, (fee * penalty) / 100, "paid");

        // The pair is stuck from here on (contracts.md 6.5).
        vm.expectRevert(abi.encodeWithSignature("PreviousDeliverableNotAcknowledged(string)", "a"));
        _add("b");
        vm.expectRevert(abi.encodeWithSignature("CannotAcknowledgeSettledDeliverable(string)", "a"));
        _acknowledge("a");
        vm.expectRevert(abi.encodeWithSignature("CannotAbandonSettledDeliverable(string)", "a"));
        _abandon("a");
    }

    /// Pending refunds pay too, as in inference.
    function testFuzz_chargeEatsPendingRefunds(uint256 fee) public {
        fee = _between(fee, 1, 10 ether);
        _add("a");
        _acknowledge("a");
        _retrieve(user, provider, TUNING);
        _settle(_verifier(user, "a", ROOT, "s", fee, 1));
        _eq(_account().pendingRefund, 10 ether - fee, "pending");
        _eq(_account().balance, 10 ether - fee, "balance");
    }

    /// Each condition is reported before the ones after it.
    function test_conditionsInTheirOrder() public {
        VerifierInput memory input = _verifier(user, "a", "other", "s", 20 ether, 0);
        vm.expectRevert(abi.encodeWithSignature("AccountNotExists(address,address)", address(this), provider));
        _settle(_verifier(address(this), "a", ROOT, "s", 1, 1));

        vm.prank(provider);
        tuning.removeService();
        vm.expectRevert(abi.encodeWithSignature("ServiceNotExist(address)", provider));
        _settle(input);
        vm.prank(provider);
        tuning.addOrUpdateService{value: 100 ether}("u", Quota(1, 1, 1, 1, ""), 1, false, new string[](0), tee);
        vm.expectRevert(_invalid("TEE signer not acknowledged"));
        _settle(input);
        tuning.acknowledgeTEESignerByOwner(provider);
        vm.expectRevert(_invalid("nonce should larger than the current nonce"));
        _settle(input);
        input.nonce = 1;
        vm.expectRevert(_invalid("insufficient balance"));
        _settle(input);
        input.taskFee = 1 ether;
        vm.expectRevert(abi.encodeWithSignature("DeliverableNotExists(string)", "a"));
        _settle(input);
        _add("a");
        vm.expectRevert(_invalid("model root hash mismatch"));
        _settle(input);
        input.modelRootHash = ROOT;
        vm.expectRevert(_invalid("TEE settlement validation failed"));
        _settle(input);
        _acknowledge("a");
        _settle(_verifier(user, "a", ROOT, "s", 1 ether, 1));
        vm.expectRevert(abi.encodeWithSelector(FineTuningServing.DeliverableAlreadySettled.selector, "a"));
        _settle(_verifier(user, "a", ROOT, "s", 1 ether, 2));
    }

    /// Any change of a signed field after signing is refused.
    function testFuzz_everySignedFieldCounts(uint256 fee, uint256 nonce, bytes memory secret) public {
        fee = _between(fee, 0, 10 ether);
        vm.assume(fee != 1 ether && nonce > 1 && secret.length > 0 && keccak256(secret) != keccak256("s"));
        _add("a");
        _acknowledge("a");
        VerifierInput memory input = _verifier(user, "a", ROOT, "s", 1 ether, 1);
        input.taskFee = fee;
        vm.expectRevert(_invalid("TEE settlement validation failed"));
        _settle(input);
        (input.taskFee, input.nonce) = (1 ether, nonce);
        vm.expectRevert(_invalid("TEE settlement validation failed"));
        _settle(input);
        (input.nonce, input.encryptedSecret) = (1, secret);
        vm.expectRevert(_invalid("TEE settlement validation failed"));
        _settle(input);
    }

    /// 20 places in insertion order; a newcomer pushes out the oldest, which must be settled.
    function testFuzz_ring(uint256 count, uint256 unsettled) public {
        count = _between(count, 1, 65);
        unsettled = _between(unsettled, 0, 90);
        for (uint256 i; i < count; i++) {
            if (i >= 20 && i - 20 == unsettled) {
                vm.expectRevert(
                    abi.encodeWithSignature("CannotEvictUnsettledDeliverable(string)", _name(unsettled))
                );
                _add(_name(i));
                _abandon(_name(unsettled));
            }
            _add(_name(i));
            _acknowledge(_name(i));
            if (i != unsettled) _abandon(_name(i));
        }
        Deliverable[] memory all = tuning.getDeliverables(user, provider);
        uint256 kept = count < 20 ? count : 20;
        _eq(all.length, kept, "kept");
        for (uint256 i; i < kept; i++) {
            require(keccak256(bytes(all[i].id)) == keccak256(bytes(_name(count - kept + i))), "oldest first");
        }
        _eq(_account().deliverablesHead, count <= 20 ? 0 : (count - 20) % 20, "head");
        if (count > 20) {
            vm.expectRevert(abi.encodeWithSignature("DeliverableNotExists(string)", _name(count - 21)));
            tuning.getDeliverable(user, provider, _name(count - 21));
        }
    }

    function testFuzz_idLength(uint256 length) public {
        length = _between(length, 0, 400);
        string memory id = string(new bytes(length));
        if (length == 0 || length > 256) {
            vm.expectRevert(abi.encodeWithSignature("DeliverableIdInvalidLength(uint256)", length));
            _add(id);
            return;
        }
        _add(id);
        _acknowledge(id);
        vm.expectRevert(abi.encodeWithSignature("DeliverableAlreadyExists(string)", id));
        _add(id);
    }

    /// Deliverables go with the ledger, the nonce stays: the way out of a stuck pair.
    function test_recreatedLedgerStartsWithoutDeliverables() public {
        _add("a");
        _settle(_verifier(user, "a", ROOT, "", 10 ether, 4));
        _retrieve(user, provider, TUNING);
        vm.warp(block.timestamp + LOCK_TIME);
        _retrieve(user, provider, TUNING);
        vm.prank(user);
        ledger.refund(97 ether);
        _deposit(user, 10 ether);
        _transfer(user, provider, TUNING, 5 ether);
        _eq(_account().deliverablesCount, 0, "deliverables");
        _eq(_account().nonce, 4, "nonce");
        _add("a");
    }

    function _name(uint256 number) private pure returns (string memory) {
        return string(abi.encodePacked("task-", bytes1(uint8(65 + number / 26)), bytes1(uint8(65 + (number % 26)))));
    }
}

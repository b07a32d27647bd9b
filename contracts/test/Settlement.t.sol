// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {InferenceServing} from "../src/inference/InferenceServing.sol";
import {Account, ServiceParams, SettlementStatus, TEESettlementData} from "../src/inference/InferenceTypes.sol";
import {Puppet} from "../src/testing/Puppet.sol";
import {Base} from "./Base.sol";

/// The status table of contracts.md 6.4, row by row, and the acknowledgements of 6.6.
contract SettlementTest is Base {
    address private user = _person("user");
    address private provider = _person("provider");

    function setUp() public override {
        super.setUp();
        _serveInference(provider);
        _deposit(user, 100 ether);
        _transfer(user, provider, INFERENCE, 10 ether);
    }

    function _settle(TEESettlementData memory item) private returns (uint8) {
        TEESettlementData[] memory items = new TEESettlementData[](1);
        items[0] = item;
        vm.prank(provider);
        return inference.settleFeesWithTEE(items)[0];
    }

    function _account() private view returns (Account memory) {
        return inference.getAccount(user, provider);
    }

    /// A row that must change nothing at all.
    function _refused(TEESettlementData memory item, SettlementStatus expected) private {
        bytes32 before = keccak256(abi.encode(_account(), ledger.getLedger(user), provider.balance));
        _eq(_settle(item), uint8(expected), "status");
        bytes32 afterwards = keccak256(abi.encode(_account(), ledger.getLedger(user), provider.balance));
        require(before == afterwards, "a refused item changed something");
    }

    function testFuzz_row1_otherProvider(address other, uint256 fee) public {
        vm.assume(other != provider);
        _refused(_signed(TEE_KEY, user, other, fee, 1), SettlementStatus.PROVIDER_MISMATCH);
    }

    function testFuzz_row2_unknownUser(address stranger, uint256 fee) public {
        vm.assume(stranger != user);
        _refused(_signed(TEE_KEY, stranger, provider, fee, 1), SettlementStatus.INVALID_SIGNATURE);
    }

    function testFuzz_row3_noService(uint256 fee) public {
        vm.prank(provider);
        inference.removeService();
        _refused(_signed(TEE_KEY, user, provider, fee, 1), SettlementStatus.PROVIDER_MISMATCH);
    }

    function testFuzz_row4_ownerHasNotAcknowledged(uint256 fee) public {
        inference.revokeTEESignerAcknowledgement(provider);
        _refused(_signed(TEE_KEY, user, provider, fee, 1), SettlementStatus.NO_TEE_SIGNER);
    }

    function testFuzz_row4_noSigner(uint256 fee) public {
        vm.prank(provider);
        inference.addOrUpdateService(_params(address(0)));
        inference.acknowledgeTEESignerByOwner(provider);
        _refused(_signed(TEE_KEY, user, provider, fee, 1), SettlementStatus.NO_TEE_SIGNER);
    }

    /// A user can distrust only with an empty account; any transfer in trusts again.
    function test_row4_userDistrusts() public {
        vm.expectRevert(
            abi.encodeWithSignature(
                "CannotRevokeWithNonZeroBalance(address,address,uint256)",
                user,
                provider,
                10 ether
            )
        );
        vm.prank(user);
        inference.acknowledgeTEESigner(provider, false);

        _eq(_settle(_signed(TEE_KEY, user, provider, 10 ether, 1)), 0, "status");
        vm.prank(user);
        inference.acknowledgeTEESigner(provider, false);
        _refused(_signed(TEE_KEY, user, provider, 0, 2), SettlementStatus.NO_TEE_SIGNER);
        _transfer(user, provider, INFERENCE, 0);
        _eq(_settle(_signed(TEE_KEY, user, provider, 0, 2)), 0, "status");
    }

    function testFuzz_row5_nonceNotHigher(uint256 first, uint256 second) public {
        first = _between(first, 1, type(uint256).max);
        _eq(_settle(_signed(TEE_KEY, user, provider, 0, first)), 0, "first");
        second = _between(second, 0, first - 1);
        _refused(_signed(TEE_KEY, user, provider, 1, second), SettlementStatus.INVALID_NONCE);
        _refused(_signed(TEE_KEY, user, provider, 1, first), SettlementStatus.INVALID_NONCE);
    }

    function testFuzz_row6_otherKey(uint256 key, uint256 fee) public {
        key = _between(key, 1, type(uint128).max);
        vm.assume(key != TEE_KEY);
        _refused(_signed(key, user, provider, fee, 1), SettlementStatus.INVALID_SIGNATURE);
    }

    /// Every signed field counts: change one after signing.
    function testFuzz_row6_changedField(uint256 fee, uint256 nonce, bytes32 hash) public {
        TEESettlementData memory item = _signed(TEE_KEY, user, provider, 1 ether, 7);
        vm.assume(fee != 1 ether && nonce > 0 && nonce != 7 && hash != item.requestsHash);
        item.totalFee = fee;
        _refused(item, SettlementStatus.INVALID_SIGNATURE);
        item = _signed(TEE_KEY, user, provider, 1 ether, 7);
        item.nonce = nonce;
        _refused(item, SettlementStatus.INVALID_SIGNATURE);
        item = _signed(TEE_KEY, user, provider, 1 ether, 7);
        item.requestsHash = hash;
        _refused(item, SettlementStatus.INVALID_SIGNATURE);
    }

    /// Exactly 65 bytes, v 27 or 28, low s.
    function testFuzz_row6_otherEncodings(uint256 nonce, bytes memory tail) public {
        TEESettlementData memory item = _signed(TEE_KEY, user, provider, 1, _between(nonce, 1, type(uint256).max));
        bytes memory good = item.signature;
        (bytes32 r, bytes32 s, uint8 v) = _split(good);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

        item.signature = abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27));
        _refused(item, SettlementStatus.INVALID_SIGNATURE);
        item.signature = abi.encodePacked(r, s, v - 27);
        _refused(item, SettlementStatus.INVALID_SIGNATURE);
        item.signature = abi.encodePacked(r, uint256(s) | (uint256(v - 27) << 255)); // EIP-2098
        _refused(item, SettlementStatus.INVALID_SIGNATURE);
        item.signature = abi.encodePacked(good, tail, uint8(0));
        _refused(item, SettlementStatus.INVALID_SIGNATURE);
        item.signature = tail;
        _refused(item, SettlementStatus.INVALID_SIGNATURE);
        item.signature = good;
        _eq(_settle(item), 0, "the untouched signature");
    }

    function _split(bytes memory signature) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
            v := byte(0, mload(add(signature, 96)))
        }
    }

    function testFuzz_row7_partial(uint256 balance, uint256 excess) public {
        balance = _between(balance, 0, 10 ether);
        _eq(_settle(_signed(TEE_KEY, user, provider, 10 ether - balance, 1)), 0, "spend down");
        uint256 fee = balance + _between(excess, 1, type(uint128).max);
        uint256 before = provider.balance;
        _eq(_settle(_signed(TEE_KEY, user, provider, fee, 2)), uint8(SettlementStatus.PARTIAL), "status");
        _eq(provider.balance - before, balance, "paid");
        _eq(_account().balance, 0, "balance");
        _eq(_account().nonce, 2, "nonce");
    }

    function testFuzz_row8_success(uint256 fee, uint256 nonce) public {
        fee = _between(fee, 0, 10 ether);
        nonce = _between(nonce, 1, type(uint256).max);
        uint256 before = provider.balance;
        _eq(_settle(_signed(TEE_KEY, user, provider, fee, nonce)), 0, "status");
        _eq(provider.balance - before, fee, "paid");
        _eq(_account().balance, 10 ether - fee, "balance");
        _eq(_account().nonce, nonce, "nonce");
        _eq(ledger.getLedger(user).totalBalance, 100 ether - fee, "total");
        _eq(ledger.getLedger(user).availableBalance, 90 ether, "available");
    }

    /// Pending refunds do not protect money, and the youngest request pays first.
    function testFuzz_chargeEatsPendingRefunds(uint256 fee) public {
        fee = _between(fee, 0, 20 ether);
        _retrieve(user, provider, INFERENCE);
        _transfer(user, provider, INFERENCE, 20 ether); // cancels 10, moves 10
        _retrieve(user, provider, INFERENCE);
        _eq(_account().pendingRefund, 20 ether, "pending");
        _eq(_settle(_signed(TEE_KEY, user, provider, fee, 1)), 0, "status");
        _eq(_account().balance, 20 ether - fee, "balance");
        _eq(_account().pendingRefund, 20 ether - fee, "pending afterwards");
    }

    /// One user twice in a batch is settled one after the other; a failing item stops nobody.
    function testFuzz_batch(uint256 a, uint256 b) public {
        a = _between(a, 0, 12 ether);
        b = _between(b, 0, 12 ether);
        TEESettlementData[] memory items = new TEESettlementData[](4);
        items[0] = _signed(TEE_KEY, user, provider, a, 5);
        items[1] = _signed(TEE_KEY, user, provider, 1, 5); // stale by then
        items[2] = _signed(TEE_KEY + 1, user, provider, 1, 6);
        items[3] = _signed(TEE_KEY, user, provider, b, 7);
        uint256 before = provider.balance;
        vm.prank(provider);
        uint8[] memory statuses = inference.settleFeesWithTEE(items);

        uint256 paidA = a > 10 ether ? 10 ether : a;
        uint256 paidB = b > 10 ether - paidA ? 10 ether - paidA : b;
        _eq(statuses[0], a > paidA ? 1 : 0, "first");
        _eq(statuses[1], 4, "second");
        _eq(statuses[2], 5, "third");
        _eq(statuses[3], b > paidB ? 1 : 0, "fourth");
        _eq(provider.balance - before, paidA + paidB, "one payout");
    }

    function test_batchSizes() public {
        vm.expectRevert(abi.encodeWithSelector(InferenceServing.NoSettlementsProvided.selector));
        inference.settleFeesWithTEE(new TEESettlementData[](0));
        vm.expectRevert(abi.encodeWithSelector(InferenceServing.TooManySettlements.selector, 51, 50));
        inference.settleFeesWithTEE(new TEESettlementData[](51));
        _eq(inference.settleFeesWithTEE(new TEESettlementData[](50)).length, 50, "statuses");
    }

    /// Deleting and reopening a ledger must not bring an old signature back to life.
    function test_nonceSurvivesDeletion() public {
        _eq(_settle(_signed(TEE_KEY, user, provider, 10 ether, 9)), 0, "spent");
        vm.prank(user);
        ledger.refund(90 ether);
        require(!inference.accountExists(user, provider), "the pair is gone");
        _deposit(user, 10 ether);
        _transfer(user, provider, INFERENCE, 5 ether);
        _refused(_signed(TEE_KEY, user, provider, 10 ether, 9), SettlementStatus.INVALID_NONCE);
    }

    function test_aRejectedPayoutRevertsTheBatch() public {
        Puppet puppet = new Puppet();
        vm.deal(address(puppet), 100 ether);
        puppet.execute(
            address(inference),
            100 ether,
            abi.encodeCall(inference.addOrUpdateService, (_params(tee)))
        );
        inference.acknowledgeTEESignerByOwner(address(puppet));
        _transfer(user, address(puppet), INFERENCE, 5 ether);
        TEESettlementData[] memory items = new TEESettlementData[](1);
        items[0] = _signed(TEE_KEY, user, address(puppet), 1 ether, 1);
        bytes memory call = abi.encodeCall(inference.settleFeesWithTEE, (items));

        puppet.setRefuses(true);
        vm.expectRevert(abi.encodeWithSelector(InferenceServing.TransferFailed.selector));
        puppet.execute(address(inference), 0, call);
        vm.expectRevert(abi.encodeWithSelector(InferenceServing.TransferFailed.selector));
        puppet.execute(address(inference), 0, abi.encodeCall(inference.removeService, ()));

        puppet.setRefuses(false);
        puppet.setCallback(address(inference), call);
        puppet.execute(address(inference), 0, call);
        _eq(address(puppet).balance, 1 ether, "paid once");
        require(puppet.callbackResult().length > 4, "the second settlement was refused by the guard");
    }

    /// Only a change of what the owner looked at withdraws the acknowledgement.
    function testFuzz_acknowledgementSurvivesUrlAndPrices(string memory url, uint256 a, uint256 b) public {
        ServiceParams memory params = _params(tee);
        (params.url, params.inputPrice, params.outputPrice) = (url, a, b);
        vm.prank(provider);
        inference.addOrUpdateService(params);
        require(inference.getService(provider).teeSignerAcknowledged, "kept");
    }

    function testFuzz_acknowledgementFallsWithTrustedFields(uint8 field, string memory text, address signer) public {
        ServiceParams memory params = _params(tee);
        vm.assume(signer != tee && bytes(text).length <= 4096);
        bytes32 value = keccak256(bytes(text));
        vm.assume(value != keccak256("") && value != keccak256("chatbot"));
        vm.assume(value != keccak256("model") && value != keccak256("TeeML"));
        if (field % 5 == 0) params.serviceType = text;
        else if (field % 5 == 1) params.model = text;
        else if (field % 5 == 2) params.verifiability = text;
        else if (field % 5 == 3) params.additionalInfo = text;
        else params.teeSignerAddress = signer;
        vm.prank(provider);
        inference.addOrUpdateService(params);
        require(!inference.getService(provider).teeSignerAcknowledged, "withdrawn");
    }

    /// One payment of at least 100 0G, kept whole, returned whole, needed again.
    function testFuzz_stake(uint256 stake, uint256 topUp) public {
        address other = _person("other");
        stake = _between(stake, 0, 1000 ether);
        vm.deal(other, 5000 ether);
        if (stake < 100 ether) {
            vm.expectRevert(abi.encodeWithSignature("InsufficientStake(uint256,uint256)", stake, 100 ether));
            vm.prank(other);
            inference.addOrUpdateService{value: stake}(_params(tee));
            return;
        }
        vm.prank(other);
        inference.addOrUpdateService{value: stake}(_params(tee));
        vm.expectRevert(abi.encodeWithSignature("CannotAddStakeWhenUpdating()"));
        vm.prank(other);
        inference.addOrUpdateService{value: _between(topUp, 1, 100 ether)}(_params(tee));
        vm.prank(other);
        inference.removeService();
        _eq(other.balance, 5000 ether, "returned");
        vm.expectRevert(abi.encodeWithSignature("InsufficientStake(uint256,uint256)", 0, 100 ether));
        vm.prank(other);
        inference.addOrUpdateService(_params(tee));
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {BeaconProxy} from "@openzeppelin/contracts/proxy/beacon/BeaconProxy.sol";
import {UpgradeableBeacon} from "@openzeppelin/contracts/proxy/beacon/UpgradeableBeacon.sol";
import {FineTuningServing} from "../src/finetuning/FineTuningServing.sol";
import {Quota, VerifierInput} from "../src/finetuning/FineTuningTypes.sol";
import {InferenceServing} from "../src/inference/InferenceServing.sol";
import {ServiceParams, TEESettlementData} from "../src/inference/InferenceTypes.sol";
import {LedgerManager} from "../src/ledger/LedgerManager.sol";

/// The cheatcodes of forge that these tests use.
interface Vm {
    function addr(uint256 key) external pure returns (address);

    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);

    function deal(address who, uint256 balance) external;

    function prank(address sender) external;

    function warp(uint256 timestamp) external;

    function expectRevert(bytes calldata data) external;

    function assume(bool condition) external pure;

    function getCode(string calldata artifact) external view returns (bytes memory);
}

/// The three contracts behind beacon proxies, with helpers that act as people and sign as TEEs.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant TEE_KEY = 0x7ee;
    uint256 internal constant LOCK_TIME = 86_400;
    uint256 internal constant PENALTY = 30;
    string internal constant INFERENCE = "inference-v1.0";
    string internal constant TUNING = "fine-tuning-v1.0";

    LedgerManager internal ledger;
    InferenceServing internal inference;
    FineTuningServing internal tuning;
    address internal tee;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        tee = vm.addr(TEE_KEY);
        ledger = LedgerManager(payable(_proxy("LedgerManager")));
        ledger.initialize(address(this));
        inference = InferenceServing(payable(_proxy("InferenceServing")));
        inference.initialize(LOCK_TIME, address(ledger), address(this));
        tuning = FineTuningServing(payable(_proxy("FineTuningServing")));
        tuning.initialize(LOCK_TIME, address(ledger), address(this), PENALTY);
        ledger.registerService("inference", "v1.0", address(inference), "");
        ledger.registerService("fine-tuning", "v1.0", address(tuning), "");
    }

    /// The checked-in bytecode behind a fresh beacon: what is tested is what is deployed.
    function _proxy(string memory artifact) internal returns (address) {
        bytes memory code = vm.getCode(string.concat("artifacts/", artifact, ".json"));
        address implementation;
        assembly {
            implementation := create(0, add(code, 32), mload(code))
        }
        require(implementation != address(0), "not deployed");
        return address(new BeaconProxy(address(new UpgradeableBeacon(implementation)), ""));
    }

    // ---- people ------------------------------------------------------------------------------------------

    function _person(string memory name) internal pure returns (address) {
        return address(uint160(uint256(keccak256(bytes(name)))));
    }

    function _deposit(address user, uint256 amount) internal {
        vm.deal(user, user.balance + amount);
        vm.prank(user);
        ledger.depositFund{value: amount}();
    }

    function _transfer(address user, address provider, string memory name, uint256 amount) internal {
        vm.prank(user);
        ledger.transferFund(provider, name, amount);
    }

    function _retrieve(address user, address provider, string memory name) internal {
        address[] memory providers = new address[](1);
        providers[0] = provider;
        vm.prank(user);
        ledger.retrieveFund(providers, name);
    }

    function _serveInference(address provider) internal {
        vm.deal(provider, provider.balance + 100 ether);
        vm.prank(provider);
        inference.addOrUpdateService{value: 100 ether}(_params(tee));
        inference.acknowledgeTEESignerByOwner(provider);
    }

    function _params(address signer) internal pure returns (ServiceParams memory) {
        return ServiceParams("chatbot", "http://127.0.0.1", "model", "TeeML", 1, 2, "", signer);
    }

    function _serveTuning(address provider) internal {
        vm.deal(provider, provider.balance + 100 ether);
        vm.prank(provider);
        tuning.addOrUpdateService{value: 100 ether}("u", Quota(1, 1, 1, 1, "H100"), 1, false, new string[](0), tee);
        tuning.acknowledgeTEESignerByOwner(provider);
    }

    // ---- signatures, written out from contracts.md 7 -----------------------------------------------------

    function _signed(
        uint256 key,
        address user,
        address provider,
        uint256 fee,
        uint256 nonce
    ) internal view returns (TEESettlementData memory item) {
        item = TEESettlementData(user, provider, fee, keccak256(abi.encode(nonce)), nonce, "");
        bytes32 structHash = keccak256(
            abi.encode(
                bytes32(0x6e525043a6c7323bdf60ce222f35127cdd9d8e867ec6350c83fcc254ed18b756),
                item.requestsHash,
                nonce,
                provider,
                user,
                fee
            )
        );
        item.signature = _sign(key, _domain("0G Inference Serving", address(inference)), structHash);
    }

    function _verifier(
        address user,
        string memory id,
        bytes memory root,
        bytes memory secret,
        uint256 fee,
        uint256 nonce
    ) internal view returns (VerifierInput memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                bytes32(0x62159bda4585d49f24b8da323cfc70b1fbad40f51efbf45e18fe3bdfb409945e),
                keccak256(bytes(id)),
                keccak256(secret),
                keccak256(root),
                nonce,
                fee,
                user
            )
        );
        bytes memory signature = _sign(TEE_KEY, _domain("0G Fine-Tuning Serving", address(tuning)), structHash);
        return VerifierInput(id, secret, root, nonce, signature, fee, user);
    }

    function _domain(string memory name, address verifier) internal view returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    bytes32(0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f),
                    keccak256(bytes(name)),
                    keccak256("1"),
                    block.chainid,
                    verifier
                )
            );
    }

    function _sign(uint256 key, bytes32 domain, bytes32 structHash) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked(hex"1901", domain, structHash)));
        return abi.encodePacked(r, s, v);
    }

    // ---- assertions --------------------------------------------------------------------------------------

    error NotEqual(string what, uint256 actual, uint256 expected);

    function _eq(uint256 actual, uint256 expected, string memory what) internal pure {
        if (actual != expected) revert NotEqual(what, actual, expected);
    }

    function _between(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + (value % (high - low + 1));
    }
}

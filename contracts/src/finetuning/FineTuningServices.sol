// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {ServingProviders} from "../common/ServingProviders.sol";
import {ServingStorage} from "../common/ServingTypes.sol";
import {FineTuningStorage, Quota, Service} from "./FineTuningTypes.sol";

/// Registration of fine-tuning services, and the storage of the contract.
abstract contract FineTuningServices is ServingProviders {
    using EnumerableSet for EnumerableSet.Bytes32Set;

    /// keccak256(abi.encode(uint256(keccak256("0g.serving.finetuning.v1.0")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant FINE_TUNING_STORAGE = 0x5dcaaa00d1d3fae8cd5d66aceca789aec54970049ac35cb62a7adefca50a6800;

    event ServiceUpdated(
        address indexed provider,
        string url,
        Quota quota,
        uint256 pricePerToken,
        address teeSignerAddress,
        bool occupied
    );
    event ServiceRemoved(address indexed provider);

    function addOrUpdateService(
        string memory url,
        Quota memory quota,
        uint256 pricePerToken,
        bool occupied,
        string[] memory models,
        address teeSignerAddress
    ) external payable nonReentrant {
        _takeStake();
        bytes32 key = _serviceKey(msg.sender);
        bool isNew = _serving().serviceKeys.add(key);
        Service storage service = _fineTuning().services[key];
        // Only another signer withdraws the owner's acknowledgement here (contracts.md 6.6).
        if (isNew || service.teeSignerAddress != teeSignerAddress) service.teeSignerAcknowledged = false;
        service.provider = msg.sender;
        service.url = url;
        service.quota = quota;
        service.pricePerToken = pricePerToken;
        service.occupied = occupied;
        service.models = models;
        service.teeSignerAddress = teeSignerAddress;
        emit ServiceUpdated(msg.sender, url, quota, pricePerToken, teeSignerAddress, occupied);
    }

    function getService(address provider) external view returns (Service memory service) {
        _requireService(provider);
        service = _fineTuning().services[_serviceKey(provider)];
    }

    /// Not paged: that is the published shape of this view.
    function getAllServices() external view returns (Service[] memory services) {
        bytes32[] memory keys = _serving().serviceKeys.values();
        services = new Service[](keys.length);
        for (uint256 i; i < keys.length; i++) services[i] = _fineTuning().services[keys[i]];
    }

    // ---- internals ---------------------------------------------------------------------------------------

    function _fineTuning() internal pure returns (FineTuningStorage storage $) {
        assembly {
            $.slot := FINE_TUNING_STORAGE
        }
    }

    function _serving() internal view override returns (ServingStorage storage) {
        return _fineTuning().serving;
    }

    function _stakes() internal view override returns (mapping(address => uint256) storage) {
        return _fineTuning().providerStake;
    }

    function _setSignerAcknowledged(address provider, bool acknowledged) internal override returns (address) {
        Service storage service = _fineTuning().services[_serviceKey(provider)];
        service.teeSignerAcknowledged = acknowledged;
        return service.teeSignerAddress;
    }

    function _eraseService(address provider) internal override {
        delete _fineTuning().services[_serviceKey(provider)];
        emit ServiceRemoved(provider);
    }
}

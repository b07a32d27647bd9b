// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {ServingProviders} from "../common/ServingProviders.sol";
import {ServingStorage} from "../common/ServingTypes.sol";
import {InferenceStorage, Service, ServiceParams} from "./InferenceTypes.sol";

/// Registration of inference services, and the storage of the contract.
abstract contract InferenceServices is ServingProviders {
    using EnumerableSet for EnumerableSet.Bytes32Set;

    /// keccak256(abi.encode(uint256(keccak256("0g.serving.inference.v1.0")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant INFERENCE_STORAGE = 0xdfd123095cdedb1cecbc229b30f7cf8745fb3d3951645ac4a8fa4c0895f89500;

    /// `service` is the provider's address: the name is the published one.
    event ServiceUpdated(
        address indexed service,
        string serviceType,
        string url,
        uint256 inputPrice,
        uint256 outputPrice,
        uint256 updatedAt,
        string model,
        string verifiability
    );
    event ServiceRemoved(address indexed service);

    function addOrUpdateService(ServiceParams memory params) external payable nonReentrant {
        _takeStake();
        if (bytes(params.additionalInfo).length > MAX_INFO_LENGTH) revert AdditionalInfoTooLong();
        bytes32 key = _serviceKey(msg.sender);
        bool isNew = _serving().serviceKeys.add(key);
        Service storage service = _inference().services[key];
        if (isNew || _changesTrust(service, params)) service.teeSignerAcknowledged = false;
        _store(service, params);
        emit ServiceUpdated(
            msg.sender,
            params.serviceType,
            params.url,
            params.inputPrice,
            params.outputPrice,
            block.timestamp,
            params.model,
            params.verifiability
        );
    }

    function getService(address provider) external view returns (Service memory service) {
        _requireService(provider);
        service = _inference().services[_serviceKey(provider)];
    }

    function serviceExists(address provider) external view returns (bool) {
        return _hasService(provider);
    }

    function getAllServices(
        uint256 offset,
        uint256 limit
    ) external view returns (Service[] memory services, uint256 total) {
        bytes32[] memory keys;
        (keys, total) = _page(_serving().serviceKeys, offset, limit);
        services = new Service[](keys.length);
        for (uint256 i; i < keys.length; i++) services[i] = _inference().services[keys[i]];
    }

    // ---- internals ---------------------------------------------------------------------------------------

    function _inference() internal pure returns (InferenceStorage storage $) {
        assembly {
            $.slot := INFERENCE_STORAGE
        }
    }

    function _serving() internal view override returns (ServingStorage storage) {
        return _inference().serving;
    }

    function _stakes() internal view override returns (mapping(address => uint256) storage) {
        return _inference().providerStake;
    }

    function _setSignerAcknowledged(address provider, bool acknowledged) internal override returns (address) {
        Service storage service = _inference().services[_serviceKey(provider)];
        service.teeSignerAcknowledged = acknowledged;
        return service.teeSignerAddress;
    }

    function _eraseService(address provider) internal override {
        delete _inference().services[_serviceKey(provider)];
        emit ServiceRemoved(provider);
    }

    /// The owner acknowledged a signer for a model served in a certain way: a change of any of these
    /// withdraws the acknowledgement, a new URL or price does not (contracts.md 6.6).
    function _changesTrust(Service storage service, ServiceParams memory params) private view returns (bool) {
        return
            service.teeSignerAddress != params.teeSignerAddress ||
            _differs(service.serviceType, params.serviceType) ||
            _differs(service.model, params.model) ||
            _differs(service.verifiability, params.verifiability) ||
            _differs(service.additionalInfo, params.additionalInfo);
    }

    function _store(Service storage service, ServiceParams memory params) private {
        service.provider = msg.sender;
        service.serviceType = params.serviceType;
        service.url = params.url;
        service.inputPrice = params.inputPrice;
        service.outputPrice = params.outputPrice;
        service.updatedAt = block.timestamp;
        service.model = params.model;
        service.verifiability = params.verifiability;
        service.additionalInfo = params.additionalInfo;
        service.teeSignerAddress = params.teeSignerAddress;
    }

    function _differs(string memory a, string memory b) private pure returns (bool) {
        return keccak256(bytes(a)) != keccak256(bytes(b));
    }
}

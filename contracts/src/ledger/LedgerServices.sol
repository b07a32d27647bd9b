// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {ERC165Checker} from "@openzeppelin/contracts/utils/introspection/ERC165Checker.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {OwnedImplementation} from "../common/OwnedImplementation.sol";
import {IServing} from "../interfaces/IServing.sol";
import {LedgerStorage, ServiceInfo} from "./LedgerTypes.sol";

/// The registry of serving contracts: they can be added and recommended, never renamed or removed.
abstract contract LedgerServices is OwnedImplementation {
    using EnumerableSet for EnumerableSet.AddressSet;

    uint256 public constant MAX_SERVICES = 500;

    /// keccak256(abi.encode(uint256(keccak256("0g.serving.ledger")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant LEDGER_STORAGE = 0x0bb5d42557ea6926c17416c5b1c1c29c28d9006d6f713295a2d385f07156ed00;

    error CallerNotRegisteredService(address caller);
    error InvalidServiceAddress(address serviceAddress);
    error InvalidServiceType(string serviceType); // part of the published ABI, never thrown
    error NoRecommendedService(string serviceType);
    error ServiceAlreadyRegistered(address serviceAddress);
    error ServiceMustImplementIServing(address serviceAddress);
    error ServiceNameExists(string serviceName);
    error ServiceNotFound(address serviceAddress);
    error ServiceNotRegistered(address serviceAddress); // part of the published ABI, never thrown
    error ServiceRegistryLimitReached(uint256 limit);
    error ServiceTypeRequired();
    error VersionRequired();

    event ServiceRegistered(address indexed serviceAddress, string serviceName);
    event RecommendedServiceUpdated(string serviceType, string version, address serviceAddress);

    modifier onlyServing() {
        if (!_isServing(msg.sender)) revert CallerNotRegisteredService(msg.sender);
        _;
    }

    function registerService(
        string memory serviceType,
        string memory version,
        address serviceAddress,
        string memory description
    ) external onlyOwner {
        LedgerStorage storage $ = _ledgerStorage();
        string memory fullName = _fullName(serviceType, version);
        _checkRegistration(serviceType, version, serviceAddress, fullName);
        $.serviceAddresses.add(serviceAddress);
        $.addressByName[fullName] = serviceAddress;
        $.services[serviceAddress] = ServiceInfo({
            serviceAddress: serviceAddress,
            serviceContract: IServing(serviceAddress),
            serviceType: serviceType,
            version: version,
            fullName: fullName,
            description: description,
            isRecommended: false,
            registeredAt: block.timestamp
        });
        emit ServiceRegistered(serviceAddress, fullName);
    }

    /// Moves the recommendation inside its type; logs even when nothing changes.
    function setRecommendedService(string memory serviceType, string memory version) external onlyOwner {
        LedgerStorage storage $ = _ledgerStorage();
        address chosen = _serviceOfType(serviceType, version);
        if (chosen == address(0)) revert ServiceNotFound(address(0));
        address previous = $.recommendedByType[serviceType];
        if (previous != address(0)) $.services[previous].isRecommended = false;
        $.services[chosen].isRecommended = true;
        $.recommendedByType[serviceType] = chosen;
        emit RecommendedServiceUpdated(serviceType, version, chosen);
    }

    function getServiceInfo(address serviceAddress) external view returns (ServiceInfo memory) {
        return _ledgerStorage().services[serviceAddress];
    }

    function getServiceAddressByName(string memory serviceName) external view returns (address) {
        return _ledgerStorage().addressByName[serviceName];
    }

    function getAllActiveServices() external view returns (ServiceInfo[] memory) {
        LedgerStorage storage $ = _ledgerStorage();
        ServiceInfo[] memory all = new ServiceInfo[]($.serviceAddresses.length());
        for (uint256 i; i < all.length; i++) all[i] = $.services[$.serviceAddresses.at(i)];
        return all;
    }

    function getRecommendedService(
        string memory serviceType
    ) external view returns (string memory version, address serviceAddress) {
        LedgerStorage storage $ = _ledgerStorage();
        serviceAddress = $.recommendedByType[serviceType];
        if (serviceAddress == address(0)) revert NoRecommendedService(serviceType);
        version = $.services[serviceAddress].version;
    }

    function isRecommendedVersion(string memory serviceType, string memory version) external view returns (bool) {
        address found = _serviceOfType(serviceType, version);
        return found != address(0) && _ledgerStorage().services[found].isRecommended;
    }

    function getAllVersions(
        string memory serviceType
    )
        external
        view
        returns (string[] memory versions, address[] memory addresses, bool[] memory isRecommendedFlags)
    {
        addresses = _addressesOfType(serviceType);
        versions = new string[](addresses.length);
        isRecommendedFlags = new bool[](addresses.length);
        for (uint256 i; i < addresses.length; i++) {
            ServiceInfo storage info = _ledgerStorage().services[addresses[i]];
            versions[i] = info.version;
            isRecommendedFlags[i] = info.isRecommended;
        }
    }

    // ---- internals ---------------------------------------------------------------------------------------

    function _ledgerStorage() internal pure returns (LedgerStorage storage $) {
        assembly {
            $.slot := LEDGER_STORAGE
        }
    }

    function _isServing(address candidate) internal view returns (bool) {
        return _ledgerStorage().serviceAddresses.contains(candidate);
    }

    function _serviceByName(string memory serviceName) internal view returns (address serviceAddress) {
        serviceAddress = _ledgerStorage().addressByName[serviceName];
        if (serviceAddress == address(0)) revert ServiceNotFound(address(0));
    }

    /// "a-b" + "c" and "a" + "b-c" make the same full name, so the type is compared too.
    function _serviceOfType(string memory serviceType, string memory version) private view returns (address found) {
        LedgerStorage storage $ = _ledgerStorage();
        found = $.addressByName[_fullName(serviceType, version)];
        if (found != address(0) && !_same($.services[found].serviceType, serviceType)) found = address(0);
    }

    function _addressesOfType(string memory serviceType) private view returns (address[] memory matches) {
        LedgerStorage storage $ = _ledgerStorage();
        address[] memory all = $.serviceAddresses.values();
        uint256 count;
        for (uint256 i; i < all.length; i++) {
            if (_same($.services[all[i]].serviceType, serviceType)) all[count++] = all[i];
        }
        matches = new address[](count);
        for (uint256 i; i < count; i++) matches[i] = all[i];
    }

    function _checkRegistration(
        string memory serviceType,
        string memory version,
        address serviceAddress,
        string memory fullName
    ) private view {
        LedgerStorage storage $ = _ledgerStorage();
        if (serviceAddress == address(0)) revert InvalidServiceAddress(serviceAddress);
        if (bytes(serviceType).length == 0) revert ServiceTypeRequired();
        if (bytes(version).length == 0) revert VersionRequired();
        if ($.serviceAddresses.contains(serviceAddress)) revert ServiceAlreadyRegistered(serviceAddress);
        if ($.addressByName[fullName] != address(0)) revert ServiceNameExists(fullName);
        if (!ERC165Checker.supportsInterface(serviceAddress, type(IServing).interfaceId)) {
            revert ServiceMustImplementIServing(serviceAddress);
        }
        if ($.serviceAddresses.length() >= MAX_SERVICES) revert ServiceRegistryLimitReached(MAX_SERVICES);
    }

    function _fullName(string memory serviceType, string memory version) private pure returns (string memory) {
        return string.concat(serviceType, "-", version);
    }

    function _same(string memory a, string memory b) private pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {ServingAccounts} from "./ServingAccounts.sol";

/// What both serving contracts do with providers: the stake and the owner's word on their TEE signer.
abstract contract ServingProviders is ServingAccounts {
    using EnumerableSet for EnumerableSet.Bytes32Set;

    uint256 public constant MIN_PROVIDER_STAKE = 100 ether;

    error ServiceNotExist(address provider);
    error CannotAddStakeWhenUpdating();
    error InsufficientStake(uint256 provided, uint256 required);

    event ProviderStaked(address indexed provider, uint256 amount);
    event ProviderStakeReturned(address indexed provider, uint256 amount);
    event ProviderTEESignerAcknowledged(
        address indexed provider,
        address indexed teeSignerAddress,
        bool acknowledged
    );

    // ---- hooks -------------------------------------------------------------------------------------------

    function _stakes() internal view virtual returns (mapping(address => uint256) storage);

    /// Stores the owner's decision on an existing service and returns the signer on file.
    function _setSignerAcknowledged(address provider, bool acknowledged) internal virtual returns (address signer);

    function _eraseService(address provider) internal virtual;

    function _revertProviderPayoutFailed() internal pure virtual;

    // ---- provider and owner ------------------------------------------------------------------------------

    function removeService() external nonReentrant {
        _requireService(msg.sender);
        uint256 stake = _stakes()[msg.sender];
        _stakes()[msg.sender] = 0;
        _serving().serviceKeys.remove(_serviceKey(msg.sender));
        if (stake > 0) emit ProviderStakeReturned(msg.sender, stake);
        _eraseService(msg.sender);
        _payProvider(stake);
    }

    function acknowledgeTEESignerByOwner(address provider) external onlyOwner {
        _decideSigner(provider, true);
    }

    function revokeTEESignerAcknowledgement(address provider) external onlyOwner {
        _decideSigner(provider, false);
    }

    // ---- internals ---------------------------------------------------------------------------------------

    function _serviceKey(address provider) internal pure returns (bytes32) {
        return keccak256(abi.encode(provider));
    }

    function _hasService(address provider) internal view returns (bool) {
        return _serving().serviceKeys.contains(_serviceKey(provider));
    }

    function _requireService(address provider) internal view {
        if (!_hasService(provider)) revert ServiceNotExist(provider);
    }

    /// The stake is one payment at the first registration, kept whole; there is no top-up (contracts.md 6.7).
    function _takeStake() internal {
        mapping(address => uint256) storage stakes = _stakes();
        if (stakes[msg.sender] > 0) {
            if (msg.value != 0) revert CannotAddStakeWhenUpdating();
            return;
        }
        if (msg.value < MIN_PROVIDER_STAKE) revert InsufficientStake(msg.value, MIN_PROVIDER_STAKE);
        stakes[msg.sender] = msg.value;
        emit ProviderStaked(msg.sender, msg.value);
    }

    function _payProvider(uint256 amount) internal {
        if (!_pay(msg.sender, amount)) _revertProviderPayoutFailed();
    }

    function _decideSigner(address provider, bool acknowledged) private {
        _requireService(provider);
        emit ProviderTEESignerAcknowledged(provider, _setSignerAcknowledged(provider, acknowledged), acknowledged);
    }
}

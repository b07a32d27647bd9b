// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

/// A contract wallet for tests and the devnet: it makes any call it is told to, and when it is paid it
/// accepts, refuses, or calls back. It shows what calls from contracts do; it protects nothing.
contract Puppet {
    bool public refuses;
    address public callbackTarget;
    bytes public callbackData;
    bytes public callbackResult;

    receive() external payable {
        require(!refuses, "Puppet: refuses");
        if (callbackTarget == address(0)) return;
        (, callbackResult) = callbackTarget.call(callbackData);
    }

    function setRefuses(bool value) external {
        refuses = value;
    }

    /// What to call when paid; the zero address stops it. The answer is kept, a failure is not passed on.
    function setCallback(address target, bytes calldata data) external {
        callbackTarget = target;
        callbackData = data;
    }

    function execute(address target, uint256 value, bytes calldata data) external payable returns (bytes memory) {
        (bool ok, bytes memory result) = target.call{value: value}(data);
        if (ok) return result;
        assembly {
            revert(add(result, 32), mload(result))
        }
    }
}

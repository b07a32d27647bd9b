// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";

/// The public flag of the deployed contracts. It stands alone so that it occupies slot 0, byte 20,
/// between the owner and OpenZeppelin's own version byte (contracts.md 2, "Common plumbing").
abstract contract InitializedFlag {
    bool public initialized;
}

/// An implementation behind a beacon proxy: owned, initialised once through the proxy, and locked itself.
abstract contract OwnedImplementation is Ownable, InitializedFlag, Initializable {
    error AlreadyInitialized();

    constructor() {
        _disableInitializers();
    }

    /// Put before `initializer`, whose own revert is a string: the deployed contracts answer with an error.
    modifier onlyUninitialized() {
        if (initialized || _getInitializedVersion() != 0) revert AlreadyInitialized();
        initialized = true;
        _;
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

/// The (offset, limit) arithmetic of every list view (contracts.md 3.2, 4.2).
library Paging {
    uint256 internal constant DEFAULT_LIMIT = 50;

    /// The number of elements at `offset`; a limit of 0 means 50, an offset past the end gives 0.
    function size(uint256 total, uint256 offset, uint256 limit) internal pure returns (uint256) {
        if (offset >= total) return 0;
        uint256 rest = total - offset;
        uint256 wanted = limit == 0 ? DEFAULT_LIMIT : limit;
        return rest < wanted ? rest : wanted;
    }
}

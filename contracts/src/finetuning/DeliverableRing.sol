// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {Deliverable, Ring} from "./FineTuningTypes.sol";

error DeliverableNotExists(string id);
error DeliverableAlreadyExists(string id);
error PreviousDeliverableNotAcknowledged(string id);
error CannotEvictUnsettledDeliverable(string id);

/// The deliverables of one pair in insertion order, at most 20 (contracts.md 6.5).
library DeliverableRing {
    uint256 internal constant CAPACITY = 20;

    /// Adds a deliverable and returns the id of the settled one it pushed out, or "".
    function add(Ring storage ring, string memory id, bytes memory root) internal returns (string memory evicted) {
        if (exists(ring, id)) revert DeliverableAlreadyExists(id);
        uint256 count = ring.ids.length;
        if (count > 0) {
            string storage newest = at(ring, count - 1);
            if (!ring.byId[newest].acknowledged) revert PreviousDeliverableNotAcknowledged(newest);
        }
        if (count < CAPACITY) {
            ring.ids.push(id);
        } else {
            evicted = ring.ids[ring.head];
            if (!ring.byId[evicted].settled) revert CannotEvictUnsettledDeliverable(evicted);
            delete ring.byId[evicted];
            ring.ids[ring.head] = id;
            ring.head = (ring.head + 1) % CAPACITY;
        }
        Deliverable storage item = ring.byId[id];
        item.id = id;
        item.modelRootHash = root;
        item.timestamp = uint248(block.timestamp);
    }

    /// The id at an age: 0 is the oldest.
    function at(Ring storage ring, uint256 age) internal view returns (string storage) {
        return ring.ids[(ring.head + age) % CAPACITY];
    }

    /// Ids are never empty, so an empty one marks an absent entry.
    function exists(Ring storage ring, string memory id) internal view returns (bool) {
        return bytes(ring.byId[id].id).length > 0;
    }

    function get(Ring storage ring, string memory id) internal view returns (Deliverable storage) {
        if (!exists(ring, id)) revert DeliverableNotExists(id);
        return ring.byId[id];
    }

    function list(Ring storage ring) internal view returns (Deliverable[] memory all) {
        all = new Deliverable[](ring.ids.length);
        for (uint256 age; age < all.length; age++) all[age] = ring.byId[at(ring, age)];
    }

    function clear(Ring storage ring) internal {
        for (uint256 i; i < ring.ids.length; i++) delete ring.byId[ring.ids[i]];
        delete ring.ids;
        ring.head = 0;
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

/// One subtree of a file: its Merkle root, and log2 of its 256-byte sectors.
struct SubmissionNode {
    bytes32 root;
    uint256 height;
}

struct SubmissionData {
    uint256 length;
    bytes tags;
    SubmissionNode[] nodes;
}

struct Submission {
    SubmissionData data;
    address submitter;
}

error NotEnoughFee(uint256 price, uint256 amount, uint256 paid);
error InvalidSubmission();
error RefundFailed();

/// Where files of 0G storage are announced: a log of Merkle roots, paid by the sector (provider-protocol.md 7.2).
/// It is its own market, at one price for ever.
contract Flow {
    uint256 internal constant SECTOR_BYTES = 256;
    uint256 internal constant MAX_HEIGHT = 48;

    event Submit(
        address indexed sender,
        bytes32 indexed identity,
        uint256 submissionIndex,
        uint256 startPos,
        uint256 length,
        SubmissionData submission
    );

    uint256 public constant pricePerSector = 30733644962;

    uint256 public numSubmissions;
    uint256 internal position = 1;

    function market() external view returns (address) {
        return address(this);
    }

    /// Announces a file; what is paid too much comes back.
    function submit(Submission calldata submission)
        external
        payable
        returns (uint256 index, bytes32 digest, uint256 startIndex, uint256 length)
    {
        uint256 fee;
        (index, digest, startIndex, length, fee) = append(submission, msg.value);
        giveBack(msg.value - fee);
    }

    function batchSubmit(Submission[] calldata submissions)
        external
        payable
        returns (uint256[] memory indexes, bytes32[] memory digests, uint256[] memory starts, uint256[] memory lengths)
    {
        uint256 count = submissions.length;
        indexes = new uint256[](count);
        digests = new bytes32[](count);
        starts = new uint256[](count);
        lengths = new uint256[](count);
        uint256 left = msg.value;
        for (uint256 i; i < count; i++) {
            uint256 fee;
            (indexes[i], digests[i], starts[i], lengths[i], fee) = append(submissions[i], left);
            left -= fee;
        }
        giveBack(left);
    }

    function append(Submission calldata submission, uint256 paid)
        private
        returns (uint256 index, bytes32 digest, uint256 start, uint256 sectors, uint256 fee)
    {
        SubmissionData calldata data = submission.data;
        sectors = size(data);
        fee = sectors * pricePerSector;
        if (paid < fee) revert NotEnoughFee(pricePerSector, sectors, paid);
        bytes memory packed;
        for (uint256 i; i < data.nodes.length; i++) {
            packed = abi.encodePacked(packed, data.nodes[i].root, data.nodes[i].height);
        }
        digest = keccak256(abi.encodePacked(data.length, packed));
        // A subtree starts at a multiple of its own size.
        uint256 unit = 1 << data.nodes[0].height;
        start = ((position + unit - 1) / unit) * unit;
        position = start + sectors;
        index = numSubmissions++;
        emit Submit(submission.submitter, digest, index, start, data.length, data);
    }

    /// The sectors of a well-formed submission: subtrees from the largest to the smallest, which hold its length.
    function size(SubmissionData calldata data) private pure returns (uint256 sectors) {
        if (data.length == 0 || data.nodes.length == 0) revert InvalidSubmission();
        uint256 above = MAX_HEIGHT;
        for (uint256 i; i < data.nodes.length; i++) {
            uint256 height = data.nodes[i].height;
            if (height >= above) revert InvalidSubmission();
            above = height;
            sectors += 1 << height;
        }
        if (sectors * SECTOR_BYTES < data.length) revert InvalidSubmission();
    }

    function giveBack(uint256 amount) private {
        if (amount == 0) return;
        (bool paid,) = msg.sender.call{value: amount}("");
        if (!paid) revert RefundFailed();
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {Refund as StoredRefund, SubAccount} from "../common/ServingTypes.sol";
import {DeliverableRing} from "./DeliverableRing.sol";
import {FineTuningServices} from "./FineTuningServices.sol";
import {AccountDetails, AccountSummary, Deliverable, Refund, Ring} from "./FineTuningTypes.sol";

/// Deliverables and the account views that show them.
abstract contract FineTuningAccounts is FineTuningServices {
    using DeliverableRing for Ring;
    using EnumerableSet for EnumerableSet.Bytes32Set;

    uint256 private constant MAX_BATCH = 50;
    uint256 private constant MAX_ID_LENGTH = 256;

    error BatchSizeTooLarge(uint256 size, uint256 maxSize);
    error CannotAbandonSettledDeliverable(string id);
    error CannotAcknowledgeSettledDeliverable(string id);
    error DeliverableIdInvalidLength(uint256 length);

    event DeliverableAdded(
        address indexed user,
        address indexed provider,
        string deliverableId,
        bytes modelRootHash,
        uint256 timestamp
    );
    event DeliverableAcknowledged(
        address indexed user,
        address indexed provider,
        string deliverableId,
        uint256 timestamp
    );
    event DeliverableEvicted(
        address indexed provider,
        address indexed user,
        string evictedDeliverableId,
        string newDeliverableId,
        uint256 timestamp
    );
    event DeliverableAbandoned(address indexed user, address indexed provider, string deliverableId, uint256 timestamp);

    // ---- deliverables (contracts.md 5, 6.5) --------------------------------------------------------------

    /// For any address that `user` paired with as provider; no service is needed.
    function addDeliverable(address user, string memory id, bytes memory modelRootHash) external {
        uint256 length = bytes(id).length;
        if (length == 0 || length > MAX_ID_LENGTH) revert DeliverableIdInvalidLength(length);
        string memory evicted = _ring(user, msg.sender).add(id, modelRootHash);
        if (bytes(evicted).length > 0) emit DeliverableEvicted(msg.sender, user, evicted, id, block.timestamp);
        emit DeliverableAdded(user, msg.sender, id, modelRootHash, block.timestamp);
    }

    function acknowledgeDeliverable(address provider, string memory id) external {
        Deliverable storage item = _ring(msg.sender, provider).get(id);
        if (item.settled) revert CannotAcknowledgeSettledDeliverable(id);
        item.acknowledged = true;
        emit DeliverableAcknowledged(msg.sender, provider, id, block.timestamp);
    }

    /// The provider writes a task off: no fee, the nonce stays, the next deliverable may follow.
    function abandonDeliverable(address user, string memory id) external {
        Deliverable storage item = _ring(user, msg.sender).get(id);
        if (item.settled) revert CannotAbandonSettledDeliverable(id);
        item.acknowledged = true;
        item.settled = true;
        emit DeliverableAbandoned(user, msg.sender, id, block.timestamp);
    }

    function getDeliverable(
        address user,
        address provider,
        string memory id
    ) external view returns (Deliverable memory) {
        return _ring(user, provider).get(id);
    }

    function getDeliverables(address user, address provider) external view returns (Deliverable[] memory) {
        return _ring(user, provider).list();
    }

    // ---- account views -----------------------------------------------------------------------------------

    function getAccount(address user, address provider) external view returns (AccountDetails memory) {
        SubAccount storage account = _account(user, provider);
        Ring storage ring = _ring(user, provider);
        return
            AccountDetails({
                user: account.user,
                provider: account.provider,
                nonce: account.nonce,
                balance: account.balance,
                pendingRefund: account.pendingRefund,
                refunds: _refunds(account),
                additionalInfo: account.additionalInfo,
                deliverables: ring.list(),
                validRefundsLength: account.validRefundsLength,
                deliverablesHead: ring.head,
                deliverablesCount: ring.ids.length,
                acknowledged: account.acknowledged
            });
    }

    function getAllAccounts(
        uint256 offset,
        uint256 limit
    ) external view returns (AccountSummary[] memory accounts, uint256 total) {
        return _viewPage(_serving().accountKeys, offset, limit);
    }

    function getAccountsByProvider(
        address provider,
        uint256 offset,
        uint256 limit
    ) external view returns (AccountSummary[] memory accounts, uint256 total) {
        return _viewPage(_serving().keysByProvider[provider], offset, limit);
    }

    function getAccountsByUser(
        address user,
        uint256 offset,
        uint256 limit
    ) external view returns (AccountSummary[] memory accounts, uint256 total) {
        return _viewPage(_serving().keysByUser[user], offset, limit);
    }

    /// For a provider (the caller): its accounts of `users`, zeroed where there is none.
    function getBatchAccountsByUsers(
        address[] memory users
    ) external view returns (AccountSummary[] memory accounts) {
        if (users.length > MAX_BATCH) revert BatchSizeTooLarge(users.length, MAX_BATCH);
        accounts = new AccountSummary[](users.length);
        for (uint256 i; i < users.length; i++) {
            if (accountExists(users[i], msg.sender)) accounts[i] = _summary(_accountKey(users[i], msg.sender));
        }
    }

    // ---- internals ---------------------------------------------------------------------------------------

    function _ring(address user, address provider) internal view returns (Ring storage) {
        _account(user, provider);
        return _fineTuning().rings[_accountKey(user, provider)];
    }

    function _clearPair(bytes32 key) internal override {
        _fineTuning().rings[key].clear();
    }

    function _viewPage(
        EnumerableSet.Bytes32Set storage set,
        uint256 offset,
        uint256 limit
    ) private view returns (AccountSummary[] memory accounts, uint256 total) {
        bytes32[] memory keys;
        (keys, total) = _page(set, offset, limit);
        accounts = new AccountSummary[](keys.length);
        for (uint256 i; i < keys.length; i++) accounts[i] = _summary(keys[i]);
    }

    function _summary(bytes32 key) private view returns (AccountSummary memory) {
        SubAccount storage account = _serving().accounts[key];
        return
            AccountSummary({
                user: account.user,
                provider: account.provider,
                nonce: account.nonce,
                balance: account.balance,
                pendingRefund: account.pendingRefund,
                additionalInfo: account.additionalInfo,
                validRefundsLength: account.validRefundsLength,
                deliverablesCount: _fineTuning().rings[key].ids.length,
                acknowledged: account.acknowledged
            });
    }

    function _refunds(SubAccount storage account) private view returns (Refund[] memory refunds) {
        refunds = new Refund[](account.refunds.length);
        for (uint256 i; i < refunds.length; i++) {
            StoredRefund storage entry = account.refunds[i];
            refunds[i] = Refund(entry.index, entry.amount, entry.createdAt, entry.processed);
        }
    }
}

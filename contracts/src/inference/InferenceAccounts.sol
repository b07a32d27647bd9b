// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {SubAccount} from "../common/ServingTypes.sol";
import {InferenceServices} from "./InferenceServices.sol";
import {Account, TokenState} from "./InferenceTypes.sol";

/// Account views and the revocation of API tokens (contracts.md 4.4).
abstract contract InferenceAccounts is InferenceServices {
    using EnumerableSet for EnumerableSet.Bytes32Set;

    uint256 private constant MAX_BATCH = 500;

    error BatchSizeTooLarge(uint256 size, uint256 max);

    event TokenRevoked(address indexed user, address indexed provider, uint8 tokenId);
    event TokensRevoked(address indexed user, address indexed provider, uint8[] tokenIds);
    event AllTokensRevoked(address indexed user, address indexed provider, uint256 newGeneration);

    // ---- tokens ------------------------------------------------------------------------------------------

    function revokeToken(address provider, uint8 tokenId) external {
        _tokens(msg.sender, provider).revokedBitmap |= uint256(1) << tokenId;
        emit TokenRevoked(msg.sender, provider, tokenId);
    }

    function revokeTokens(address provider, uint8[] memory tokenIds) external {
        TokenState storage tokens = _tokens(msg.sender, provider);
        uint256 bitmap = tokens.revokedBitmap;
        for (uint256 i; i < tokenIds.length; i++) bitmap |= uint256(1) << tokenIds[i];
        tokens.revokedBitmap = bitmap;
        emit TokensRevoked(msg.sender, provider, tokenIds);
    }

    /// Every token of earlier generations is dead from here on, so the ids can be used again.
    function revokeAllTokens(address provider) external {
        TokenState storage tokens = _tokens(msg.sender, provider);
        tokens.generation++;
        tokens.revokedBitmap = 0;
        emit AllTokensRevoked(msg.sender, provider, tokens.generation);
    }

    /// The bit of the current generation only; the caller must compare generations itself.
    function isTokenRevoked(address user, address provider, uint8 tokenId) external view returns (bool) {
        return (_tokens(user, provider).revokedBitmap >> tokenId) & 1 == 1;
    }

    // ---- account views -----------------------------------------------------------------------------------

    function getAccount(address user, address provider) external view returns (Account memory) {
        _account(user, provider);
        return _view(_accountKey(user, provider));
    }

    function getAllAccounts(
        uint256 offset,
        uint256 limit
    ) external view returns (Account[] memory accounts, uint256 total) {
        return _viewPage(_serving().accountKeys, offset, limit);
    }

    function getAccountsByProvider(
        address provider,
        uint256 offset,
        uint256 limit
    ) external view returns (Account[] memory accounts, uint256 total) {
        return _viewPage(_serving().keysByProvider[provider], offset, limit);
    }

    function getAccountsByUser(
        address user,
        uint256 offset,
        uint256 limit
    ) external view returns (Account[] memory accounts, uint256 total) {
        return _viewPage(_serving().keysByUser[user], offset, limit);
    }

    /// For a provider (the caller): its accounts of `users`, zeroed where there is none.
    function getBatchAccountsByUsers(address[] memory users) external view returns (Account[] memory accounts) {
        if (users.length > MAX_BATCH) revert BatchSizeTooLarge(users.length, MAX_BATCH);
        accounts = new Account[](users.length);
        for (uint256 i; i < users.length; i++) {
            if (accountExists(users[i], msg.sender)) accounts[i] = _view(_accountKey(users[i], msg.sender));
        }
    }

    // ---- internals ---------------------------------------------------------------------------------------

    function _tokens(address user, address provider) private view returns (TokenState storage) {
        _account(user, provider);
        return _inference().tokens[_accountKey(user, provider)];
    }

    /// The generation stays: a key issued before the deletion must not come back to life.
    function _clearPair(bytes32 key) internal override {
        _inference().tokens[key].revokedBitmap = 0;
    }

    function _viewPage(
        EnumerableSet.Bytes32Set storage set,
        uint256 offset,
        uint256 limit
    ) private view returns (Account[] memory accounts, uint256 total) {
        bytes32[] memory keys;
        (keys, total) = _page(set, offset, limit);
        accounts = new Account[](keys.length);
        for (uint256 i; i < keys.length; i++) accounts[i] = _view(keys[i]);
    }

    function _view(bytes32 key) private view returns (Account memory) {
        SubAccount storage account = _serving().accounts[key];
        TokenState storage tokens = _inference().tokens[key];
        return
            Account({
                user: account.user,
                provider: account.provider,
                nonce: account.nonce,
                balance: account.balance,
                pendingRefund: account.pendingRefund,
                refunds: account.refunds,
                additionalInfo: account.additionalInfo,
                acknowledged: account.acknowledged,
                validRefundsLength: account.validRefundsLength,
                generation: tokens.generation,
                revokedBitmap: tokens.revokedBitmap
            });
    }
}

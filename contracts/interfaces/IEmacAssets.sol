// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {IEmac} from "./IEmac.sol";

/// @title Models, adapters and data sets whose use is sold
/// @notice An asset is a content address; its token (ERC-721) is the right to sell access to it.
/// Token id = keccak256(abi.encode(bytes32 asset, address publisher)): who copies somebody's
/// content address gets a token of his own, which no signed licence backs, and blocks nobody. The
/// terms are the signed licence object of the ledger, named by its digest.
///
/// There is no role and no pause: nobody but a token's owner has a say in it.
///
/// Money goes from buyer to owner and to the publisher's royalty receiver (ERC-2981) in one call;
/// this contract never holds any. Prices are units of 10^9 wei, as in the vault.
///
/// INV-1  A buyer pays exactly the price and gets exactly the terms that he named.
/// INV-2  A grant that was paid for ends by its time or by a full refund, in no other way.
/// INV-3  As the vault's: `sequence` numbers the events.
interface IEmacAssets is IEmac {
    /// @param terms digest of the licence object's CID; 0 when not on sale
    /// @param period seconds of access that a purchase gives, 0: without end
    struct Offer {
        bytes32 asset;
        bytes32 account;
        bytes32 terms;
        uint64 price;
        uint32 period;
    }

    /// @param until second at which the access ends; type(uint64).max: never; 0: none
    struct Access {
        bytes32 terms;
        address buyer;
        uint64 paid;
        uint64 until;
    }

    event Published(
        uint64 indexed seq,
        uint256 indexed id,
        bytes32 indexed asset,
        address publisher,
        bytes32 account,
        uint96 royaltyBps
    );
    event Offered(
        uint64 indexed seq, uint256 indexed id, bytes32 terms, uint64 price, uint32 period
    );
    event Closed(uint64 indexed seq, uint256 indexed id);
    event AccessGranted(
        uint64 indexed seq,
        uint256 indexed id,
        bytes32 indexed account,
        address buyer,
        bytes32 terms,
        uint64 paid,
        uint64 until
    );
    event AccessRevoked(
        uint64 indexed seq,
        uint256 indexed id,
        bytes32 indexed account,
        uint64 refunded,
        bytes32 reason
    );

    error BadToken(address token);
    error ZeroAsset();
    error ZeroAccount();
    error ZeroTerms();
    error TooExpensive(uint64 price);
    error RoyaltyTooHigh(uint96 bps);
    error NotOwner(uint256 id, address caller);
    error NotOnSale(uint256 id);
    /// The offer changed after the buyer had read it.
    error OfferChanged(bytes32 terms, uint64 price, uint32 period);
    error HasAccess(uint256 id, bytes32 account);
    error NoAccess(uint256 id, bytes32 account);
    error BadTime(uint64 until);

    function UNIT() external view returns (uint256);
    function token() external view returns (address);
    function idOf(bytes32 asset, address publisher) external pure returns (uint256);
    function offerOf(uint256 id) external view returns (Offer memory);
    function accessOf(uint256 id, bytes32 account) external view returns (Access memory);
    function hasAccess(uint256 id, bytes32 account) external view returns (bool);

    /// Anyone. `asset`: sha2-256 digest of the CID; `account`: the owner's ledger account;
    /// royaltyBps: hundredths of a percent of later owners' sales for the publisher, at most 5000.
    function publish(
        bytes32 asset,
        bytes32 account,
        bytes32 terms,
        uint64 price,
        uint32 period,
        uint96 royaltyBps
    ) external returns (uint256 id);
    /// The owner: new terms for future purchases; `account` is his ledger account.
    function setOffer(uint256 id, bytes32 account, bytes32 terms, uint64 price, uint32 period)
        external;
    /// The owner: no more purchases. Grants stay.
    function close(uint256 id) external;
    /// Anyone, for any account that has no access now.
    function buy(uint256 id, bytes32 account, bytes32 terms, uint64 price, uint32 period) external;
    /// The owner: access for nothing, until a second of his choice (type(uint64).max: without end).
    function grant(uint256 id, bytes32 account, uint64 until) external;
    /// The owner: ends an account's access and pays back all that was paid for it.
    function revoke(uint256 id, bytes32 account, bytes32 reason) external;
}

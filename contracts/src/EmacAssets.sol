// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC2981} from "@openzeppelin/contracts/token/common/ERC2981.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

import {IEmacAssets} from "../interfaces/IEmacAssets.sol";
import {Sequenced} from "./lib/Sequenced.sol";

/// @title Models, adapters and data sets whose use is sold; the manual is IEmacAssets
contract EmacAssets is IEmacAssets, ERC721, ERC2981, ReentrancyGuard, Sequenced {
    using SafeERC20 for IERC20;

    uint256 public constant UNIT = 1e9;
    uint64 public constant PRICE_MAX = uint64(type(int64).max);
    uint64 public constant FOREVER = type(uint64).max;
    uint96 public constant ROYALTY_MAX_BPS = 5000;

    IERC20 private immutable _token;
    mapping(uint256 id => Offer) private _offers;
    mapping(uint256 id => mapping(bytes32 account => Access)) private _access;

    modifier onlyOwnerOf(uint256 id) {
        require(_ownerOf(id) == msg.sender, NotOwner(id, msg.sender));
        _;
    }

    constructor(address token_) ERC721("EMAC Assets", "EMACA") {
        require(token_.code.length > 0, BadToken(token_));
        _token = IERC20(token_);
    }

    // ---- owners

    function publish(
        bytes32 asset,
        bytes32 account,
        bytes32 terms,
        uint64 price,
        uint32 period,
        uint96 royaltyBps
    ) external returns (uint256 id) {
        require(asset != 0, ZeroAsset());
        require(royaltyBps <= ROYALTY_MAX_BPS, RoyaltyTooHigh(royaltyBps));
        id = idOf(asset, msg.sender);
        _mint(msg.sender, id); // reverts when it exists
        _setTokenRoyalty(id, msg.sender, royaltyBps);
        _offers[id].asset = asset;
        emit Published(_next(), id, asset, msg.sender, account, royaltyBps);
        _setOffer(id, account, terms, price, period);
    }

    function setOffer(uint256 id, bytes32 account, bytes32 terms, uint64 price, uint32 period)
        external
        onlyOwnerOf(id)
    {
        _setOffer(id, account, terms, price, period);
    }

    function close(uint256 id) external onlyOwnerOf(id) {
        require(_offers[id].terms != 0, NotOnSale(id));
        _offers[id].terms = 0;
        emit Closed(_next(), id);
    }

    function grant(uint256 id, bytes32 account, uint64 until) external onlyOwnerOf(id) {
        require(until > block.timestamp, BadTime(until));
        _give(id, account, Access(_offers[id].terms, msg.sender, 0, until));
    }

    function revoke(uint256 id, bytes32 account, bytes32 reason)
        external
        nonReentrant
        onlyOwnerOf(id)
    {
        require(hasAccess(id, account), NoAccess(id, account));
        Access memory a = _access[id][account];
        delete _access[id][account];
        emit AccessRevoked(_next(), id, account, a.paid, reason);
        if (a.paid > 0) _token.safeTransferFrom(msg.sender, a.buyer, a.paid * UNIT);
    }

    // ---- buyers

    function buy(uint256 id, bytes32 account, bytes32 terms, uint64 price, uint32 period)
        external
        nonReentrant
    {
        Offer storage o = _offers[id];
        require(o.terms != 0, NotOnSale(id));
        require(
            o.terms == terms && o.price == price && o.period == period,
            OfferChanged(o.terms, o.price, o.period)
        );
        uint64 until = period == 0 ? FOREVER : uint64(block.timestamp) + period;
        _give(id, account, Access(terms, msg.sender, price, until));
        address owner = _requireOwned(id);
        uint256 due = price * UNIT;
        (address receiver, uint256 royalty) = royaltyInfo(id, due); // rounds down, for the owner
        if (receiver == owner) royalty = 0;
        if (royalty > 0) _token.safeTransferFrom(msg.sender, receiver, royalty);
        if (due > royalty) _token.safeTransferFrom(msg.sender, owner, due - royalty);
    }

    // ---- views

    function token() external view returns (address) {
        return address(_token);
    }

    function idOf(bytes32 asset, address publisher) public pure returns (uint256) {
        return uint256(keccak256(abi.encode(asset, publisher)));
    }

    function offerOf(uint256 id) external view returns (Offer memory) {
        return _offers[id];
    }

    function accessOf(uint256 id, bytes32 account) external view returns (Access memory) {
        return _access[id][account];
    }

    function hasAccess(uint256 id, bytes32 account) public view returns (bool) {
        return block.timestamp < _access[id][account].until;
    }

    function supportsInterface(bytes4 interfaceId)
        public
        view
        override(ERC721, ERC2981)
        returns (bool)
    {
        return super.supportsInterface(interfaceId);
    }

    // ---- inside

    function _setOffer(uint256 id, bytes32 account, bytes32 terms, uint64 price, uint32 period)
        private
    {
        require(account != 0, ZeroAccount());
        require(terms != 0, ZeroTerms());
        require(price <= PRICE_MAX, TooExpensive(price));
        Offer storage o = _offers[id];
        o.account = account;
        o.terms = terms;
        o.price = price;
        o.period = period;
        emit Offered(_next(), id, terms, price, period);
    }

    function _give(uint256 id, bytes32 account, Access memory a) private {
        require(account != 0, ZeroAccount());
        require(!hasAccess(id, account), HasAccess(id, account));
        _access[id][account] = a;
        emit AccessGranted(_next(), id, account, a.buyer, a.terms, a.paid, a.until);
    }
}

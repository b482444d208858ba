// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IEmacBindings} from "../interfaces/IEmacBindings.sol";
import {Delays} from "./lib/Delays.sol";
import {Sequenced} from "./lib/Sequenced.sol";

/// @title Which wallet is paid for an ed25519 key; the manual is IEmacBindings
contract EmacBindings is IEmacBindings, EIP712, Sequenced {
    bytes32 public constant BIND_TYPEHASH =
        keccak256("Bind(bytes32 account,address wallet,uint256 nonce,uint256 deadline)");
    bytes32 public constant CHANGE_TYPEHASH = keccak256(
        "Change(bytes32 account,address from,address to,uint256 nonce,uint256 deadline)"
    );
    uint256 public constant KEY_SIGNATURE_BYTES = 64;

    /// What is kept of a pair (account, wallet).
    struct Pair {
        State state;
        uint64 nonce;
        Change change;
    }

    uint64 public immutable changeDelay;
    mapping(bytes32 account => mapping(address wallet => Pair)) private _pairs;

    constructor(uint64 changeDelay_) EIP712("EMAC Bindings", "1") {
        changeDelay = Delays.check(changeDelay_);
    }

    function bind(
        bytes32 account,
        address wallet,
        uint256 deadline,
        bytes calldata walletSignature,
        bytes calldata keySignature
    ) external {
        Pair storage pair = _pairs[account][wallet];
        require(account != 0, ZeroAccount());
        require(wallet != address(0), ZeroWallet());
        require(pair.state == State.None, NotFree(account, wallet));
        bytes32 digest = bindDigest(account, wallet, deadline);
        _checkSigned(deadline, keySignature);
        _checkWallet(wallet, digest, walletSignature);
        pair.state = State.Bound;
        pair.nonce++;
        emit Bound(_next(), account, wallet, digest, keySignature);
    }

    function requestChange(
        bytes32 account,
        address from,
        address to,
        uint256 deadline,
        bytes calldata fromSignature,
        bytes calldata toSignature,
        bytes calldata keySignature
    ) external {
        Pair storage pair = _pairs[account][from];
        require(to != address(0), ZeroWallet());
        require(from != to, SameWallet());
        require(pair.state == State.Bound, NotBound(account, from));
        require(pair.change.to == address(0), ChangeUnderWay());
        bytes32 digest = changeDigest(account, from, to, deadline);
        _checkSigned(deadline, keySignature);
        _checkWallet(from, digest, fromSignature);
        _checkWallet(to, digest, toSignature);
        pair.nonce++;
        pair.change = Change({to: to, readyAt: Delays.from(changeDelay)});
        emit ChangeRequested(
            _next(), account, from, to, pair.change.readyAt, digest, keySignature
        );
    }

    function cancelChange(bytes32 account) external {
        Pair storage pair = _pairs[account][msg.sender];
        address to = pair.change.to;
        require(to != address(0), NoChange());
        delete pair.change;
        emit ChangeCancelled(_next(), account, msg.sender, to);
    }

    function applyChange(bytes32 account, address from) external {
        Pair storage pair = _pairs[account][from];
        address to = pair.change.to;
        require(to != address(0), NoChange());
        require(block.timestamp >= pair.change.readyAt, NotReady(pair.change.readyAt));
        delete pair.change;
        pair.state = State.Retired;
        _pairs[account][to].state = State.Bound;
        emit Changed(_next(), account, from, to);
    }

    function stateOf(bytes32 account, address wallet) external view returns (State) {
        return _pairs[account][wallet].state;
    }

    function isBound(bytes32 account, address wallet) external view returns (bool) {
        return _pairs[account][wallet].state == State.Bound;
    }

    function changeOf(bytes32 account, address from) external view returns (Change memory) {
        return _pairs[account][from].change;
    }

    function nonceOf(bytes32 account, address wallet) public view returns (uint256) {
        return _pairs[account][wallet].nonce;
    }

    function bindDigest(bytes32 account, address wallet, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        uint256 nonce = nonceOf(account, wallet);
        return _hashTypedDataV4(
            keccak256(abi.encode(BIND_TYPEHASH, account, wallet, nonce, deadline))
        );
    }

    function changeDigest(bytes32 account, address from, address to, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        uint256 nonce = nonceOf(account, from);
        return _hashTypedDataV4(
            keccak256(abi.encode(CHANGE_TYPEHASH, account, from, to, nonce, deadline))
        );
    }

    function _checkSigned(uint256 deadline, bytes calldata keySignature) private view {
        require(block.timestamp <= deadline, Expired(deadline));
        require(
            keySignature.length == KEY_SIGNATURE_BYTES, BadKeySignature(keySignature.length)
        );
    }

    function _checkWallet(address wallet, bytes32 digest, bytes calldata signature) private view {
        require(
            SignatureChecker.isValidSignatureNowCalldata(wallet, digest, signature),
            BadWalletSignature(wallet)
        );
    }
}

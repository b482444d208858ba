// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {IEmac} from "./IEmac.sol";

/// @title Which wallet is paid for an ed25519 key
/// @notice `account` is the raw ed25519 public key of a did:key. Checking an ed25519 signature here
/// would cost more than most payouts, so the two halves of a binding are checked in two places:
///   - the wallet's signature (EIP-712, or ERC-1271 for a contract wallet) is checked here;
///   - the key's ed25519 signature over the same 32-byte digest is carried in the event, and
///     checked by the ledger and by everyone who recomputes an epoch.
/// Anyone can therefore write a binding of a key that is not his; it has no valid key signature and
/// counts for nothing. That is why state is kept by the pair (account, wallet): a stranger's pair
/// never stands in the way of the owner's.
///
/// The ledger's rule: an account's wallet is that of its first `Bound` event whose key signature is
/// valid; from there it follows `Changed` events whose `ChangeRequested` had a valid key signature,
/// and nothing else. A second valid `Bound` of the same account is ignored: a thief of the ed25519
/// key alone cannot move the payouts.
///
/// INV-1  A pair is Bound only by its wallet's signature.
/// INV-2  A pair leaves Bound only by a change that its wallet signed, `changeDelay` seconds after
///        it was announced; the wallet can cancel until then.
/// INV-3  A Retired pair cannot be bound again by `bind`, only by a change to it.
/// INV-4  Each signature is used once (nonce of the pair), here and on this chain alone (domain).
/// INV-5  As the vault's: `sequence` numbers the events.
interface IEmacBindings is IEmac {
    enum State {
        None,
        Bound,
        Retired
    }

    /// @param to 0 when no change is under way
    struct Change {
        address to;
        uint64 readyAt;
    }

    event Bound(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed wallet,
        bytes32 digest,
        bytes keySignature
    );
    event ChangeRequested(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed from,
        address to,
        uint64 readyAt,
        bytes32 digest,
        bytes keySignature
    );
    event ChangeCancelled(
        uint64 indexed seq, bytes32 indexed account, address indexed from, address to
    );
    event Changed(uint64 indexed seq, bytes32 indexed account, address indexed from, address to);

    error ZeroAccount();
    error ZeroWallet();
    error Expired(uint256 deadline);
    /// Not 64 bytes.
    error BadKeySignature(uint256 length);
    error BadWalletSignature(address wallet);
    error NotFree(bytes32 account, address wallet);
    error NotBound(bytes32 account, address wallet);
    error SameWallet();
    error ChangeUnderWay();
    error NoChange();
    error NotReady(uint64 readyAt);
    error NotWallet(address caller);

    function changeDelay() external view returns (uint64);
    function stateOf(bytes32 account, address wallet) external view returns (State);
    function isBound(bytes32 account, address wallet) external view returns (bool);
    function changeOf(bytes32 account, address from) external view returns (Change memory);
    /// Next nonce to sign for the pair.
    function nonceOf(bytes32 account, address wallet) external view returns (uint256);
    /// What both the wallet and the key sign.
    /// Bind(bytes32 account,address wallet,uint256 nonce,uint256 deadline)
    function bindDigest(bytes32 account, address wallet, uint256 deadline)
        external
        view
        returns (bytes32);
    /// What both wallets and the key sign; the nonce is that of (account, from).
    /// Change(bytes32 account,address from,address to,uint256 nonce,uint256 deadline)
    function changeDigest(bytes32 account, address from, address to, uint256 deadline)
        external
        view
        returns (bytes32);

    /// Anyone who holds both signatures.
    function bind(
        bytes32 account,
        address wallet,
        uint256 deadline,
        bytes calldata walletSignature,
        bytes calldata keySignature
    ) external;
    /// Anyone who holds the three signatures.
    function requestChange(
        bytes32 account,
        address from,
        address to,
        uint256 deadline,
        bytes calldata fromSignature,
        bytes calldata toSignature,
        bytes calldata keySignature
    ) external;
    /// The old wallet alone.
    function cancelChange(bytes32 account) external;
    /// Anyone, from `readyAt`.
    function applyChange(bytes32 account, address from) external;
}

// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {IEmac} from "./IEmac.sol";

/// @title Allowances for data of value
/// @notice Notaries grant a client a number of bytes once; what is stored under it counts ten times
/// in the storage reward. There is no transfer: an allowance can only be spent, by its wallet, on
/// deals, each deal once.
///
/// A motion (a grant, a removal) passes when `quorum` notaries voted for it and falls when `quorum`
/// voted against it; either is for good. A notary votes once. Votes count while their notary holds
/// the role, and a motion expires MOTION_LIFETIME after its first vote.
///
/// INV-1  granted = spent + left for each allowance, and left only falls.
/// INV-2  A motion is decided once; a grant's id is its motion, so no motion grants twice.
/// INV-3  A deal spends once, over all allowances.
/// INV-4  As the vault's: `sequence` numbers the events.
interface IEmacDataCap is IEmac {
    enum Outcome {
        Open,
        Passed,
        Failed
    }

    /// @param left bytes that can still be spent
    /// @param expiresAt second from which nothing can be spent
    struct Allowance {
        bytes32 client;
        address wallet;
        uint64 granted;
        uint64 left;
        uint64 expiresAt;
    }

    event Voted(
        uint64 indexed seq, bytes32 indexed motion, address indexed notary, bool approve
    );
    event MotionFailed(uint64 indexed seq, bytes32 indexed motion);
    event Granted(
        uint64 indexed seq,
        bytes32 indexed id,
        bytes32 indexed client,
        address wallet,
        uint64 size,
        bytes32 evidence,
        uint64 expiresAt
    );
    event Removed(uint64 indexed seq, bytes32 indexed id, uint64 left, bytes32 evidence);
    event Spent(
        uint64 indexed seq,
        bytes32 indexed id,
        bytes32 indexed deal,
        bytes32 client,
        uint64 size,
        uint64 left
    );

    error ZeroAccount();
    error ZeroWallet();
    error ZeroAmount();
    error ZeroDeal();
    error BadQuorum(uint256 quorum);
    error BadLifetime(uint64 lifetime);
    error TooManyVotes(bytes32 motion);
    error AlreadyVoted(address notary);
    error AlreadyDecided(bytes32 motion);
    error MotionExpired(uint64 expiresAt);
    error NoAllowance(bytes32 id);
    error NotWallet(address caller);
    error AllowanceExpired(uint64 expiresAt);
    error ExceedsAllowance(uint64 size, uint64 left);
    error DealUsed(bytes32 deal);
    error SignatureExpired(uint256 deadline);
    error BadSignature(address wallet);

    function quorum() external view returns (uint256);
    /// Seconds that an allowance lives.
    function lifetime() external view returns (uint64);
    function outcomeOf(bytes32 motion) external view returns (Outcome);
    /// keccak256(abi.encode("grant", client, wallet, size, evidence)): also the allowance's id.
    function grantMotion(bytes32 client, address wallet, uint64 size, bytes32 evidence)
        external
        pure
        returns (bytes32);
    /// keccak256(abi.encode("removal", id, evidence)).
    function removalMotion(bytes32 id, bytes32 evidence) external pure returns (bytes32);
    function allowanceOf(bytes32 id) external view returns (Allowance memory);
    function dealUsed(bytes32 deal) external view returns (bool);
    /// What the wallet signs for `spendFor`:
    /// Spend(bytes32 id,uint64 size,bytes32 deal,uint256 deadline)
    function spendDigest(bytes32 id, uint64 size, bytes32 deal, uint256 deadline)
        external
        view
        returns (bytes32);

    /// NOTARY_ROLE. `evidence`: digest of the application; another evidence is another grant.
    function voteGrant(
        bytes32 client,
        address wallet,
        uint64 size,
        bytes32 evidence,
        bool approve
    ) external;
    /// NOTARY_ROLE: takes what is left of an abused allowance.
    function voteRemoval(bytes32 id, bytes32 evidence, bool approve) external;
    /// The allowance's wallet: `size` bytes on a deal (its CID's digest).
    function spend(bytes32 id, uint64 size, bytes32 deal) external;
    /// Anyone with the wallet's EIP-712 signature.
    function spendFor(
        bytes32 id,
        uint64 size,
        bytes32 deal,
        uint256 deadline,
        bytes calldata signature
    ) external;
}

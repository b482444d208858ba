// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {IEmac} from "./IEmac.sol";

/// @title Cumulative payouts: one Merkle root an epoch
/// @notice The root of an epoch says for each (account, wallet) how many units the ledger has paid
/// it in all, ever. A claim pays the difference to what was claimed before, to the wallet. A new
/// root replaces the old one; nothing is lost by not claiming.
///
/// leaf = keccak256(bytes.concat(keccak256(abi.encode(
///     uint256 chainId, address payouts, uint64 epoch, bytes32 account, address wallet,
///     uint64 cumulative))))
/// and inner nodes hash their two children in ascending order: OpenZeppelin's standard Merkle tree
/// over ["uint256","address","uint64","bytes32","address","uint64"].
///
/// A root is proposed, then stands open for `window` seconds. A guardian, or anyone who stakes
/// `challengeStake` units, can challenge it; then only the arbiter can let it through. The arbiter
/// is never the one who proposed it. Without the arbiter's word until `resolveBy` the root falls.
///
/// INV-1  claimed(account) never falls and never passes the account's leaf in the active root.
/// INV-2  paid = the sum of all claims <= total(active) <= vault.reserved. So a root whose leaves
///        are more than its total pays no more than that, and a pending one can always be dropped.
/// INV-3  Epoch numbers of proposals rise; the total of active roots never falls.
/// INV-4  While a proposal is pending, the active root can still be claimed from.
/// INV-5  As the vault's: `sequence` numbers the events.
interface IEmacPayouts is IEmac {
    struct Active {
        uint64 epoch;
        uint64 total;
        bytes32 root;
    }

    /// @param epoch 0 when nothing is pending
    /// @param readyAt second from which `finalize` works when nobody challenges
    /// @param resolveBy second until which the arbiter must speak, 0 without a challenge
    /// @param remaining seconds of the window that were left when it was challenged
    struct Pending {
        uint64 epoch;
        uint64 total;
        uint64 readyAt;
        uint64 resolveBy;
        uint64 remaining;
        bytes32 root;
        address proposer;
        address challenger;
        uint64 stake;
    }

    /// `leaves`: sha2-256 digest of the CID under which the list of leaves is published;
    /// `journal`: hash of the ledger's last posting in the epoch. With both anyone recomputes root.
    event Proposed(
        uint64 indexed seq,
        uint64 indexed epoch,
        bytes32 indexed root,
        uint64 total,
        bytes32 leaves,
        bytes32 journal,
        uint64 readyAt
    );
    event Challenged(
        uint64 indexed seq,
        uint64 indexed epoch,
        address indexed challenger,
        bytes32 reason,
        uint64 resolveBy
    );
    /// The challenge was overruled; the root can be finalized from `readyAt`.
    event Overruled(uint64 indexed seq, uint64 indexed epoch, uint64 readyAt);
    /// The proposal is gone: upheld challenge, retracted by its proposer, or no word in time.
    event Dropped(uint64 indexed seq, uint64 indexed epoch, bytes32 indexed root);
    event Finalized(uint64 indexed seq, uint64 indexed epoch, bytes32 indexed root, uint64 total);
    /// `cumulative` is now claimed in all; `units` were paid for it.
    event Claimed(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed wallet,
        uint64 epoch,
        uint64 units,
        uint64 cumulative
    );
    event EpochCapSet(uint64 indexed seq, uint64 units);

    error BadBindings(address bindings);
    /// Not within (last, last + EPOCH_STEP_MAX]. Without the upper bound a stolen proposer's key could
    /// use up all numbers at once.
    error BadEpoch(uint64 epoch, uint64 last);
    error NoStake();
    /// More than the ledger's int64 holds.
    error TooMuch(uint64 units);
    error ZeroRoot();
    error TotalFalls(uint64 total, uint64 active);
    error ExceedsEpochCap(uint64 units, uint64 cap);
    error ProposalPending(uint64 epoch);
    error NoSuchProposal(uint64 epoch);
    error AlreadyChallenged(address challenger);
    error NotChallenged();
    error WindowClosed(uint64 readyAt);
    error WindowOpen(uint64 readyAt);
    error NotProposer(address caller);
    /// The arbiter must be another than the proposer and the challenger.
    error OwnCause(address caller);
    error StillTime(uint64 resolveBy);
    error TimeIsUp(uint64 resolveBy);
    error BadProof();
    error WalletNotBound(bytes32 account, address wallet);
    error NothingToClaim(uint64 cumulative, uint64 claimed);
    /// The root's leaves are more than its total: it is wrong.
    error ExceedsTotal(uint64 units, uint64 left);

    function vault() external view returns (address);
    function bindings() external view returns (address);
    function window() external view returns (uint64);
    function resolveWindow() external view returns (uint64);
    function challengeStake() external view returns (uint64);
    /// Units by which the total may grow in an epoch.
    function epochCap() external view returns (uint64);
    /// Highest epoch ever proposed.
    function lastEpoch() external view returns (uint64);
    function active() external view returns (Active memory);
    function pending() external view returns (Pending memory);
    function claimed(bytes32 account) external view returns (uint64 units);
    /// Sum of `claimed` over all accounts.
    function paid() external view returns (uint64 units);
    function leafOf(uint64 epoch, bytes32 account, address wallet, uint64 cumulative)
        external
        view
        returns (bytes32);

    /// PROPOSER_ROLE, when nothing is pending: epoch > lastEpoch, by EPOCH_STEP_MAX at most, total >=
    /// the active total and within the cap, and the vault's funds cover it.
    function propose(uint64 epoch, bytes32 root, uint64 total, bytes32 leaves, bytes32 journal)
        external;
    /// Within the window. GUARDIAN_ROLE free of charge; anyone else stakes `challengeStake`, which
    /// comes back unless the arbiter overrules. Names the root, so that no other one is hit.
    function challenge(uint64 epoch, bytes32 root, bytes32 reason) external;
    /// ARBITER_ROLE until `resolveBy`. uphold: the root falls, the stake goes back. Else the stake
    /// goes to the pool (`vault.absorb`; after the pause, when the vault is paused) and the window
    /// goes on where it stopped.
    function resolve(uint64 epoch, bool uphold) external;
    /// Anyone after `resolveBy`: the root falls, the stake goes back.
    function lapse(uint64 epoch) external;
    /// The proposer, at any time before the root is final: the root falls, a stake goes back.
    function retract(uint64 epoch) external;
    /// Anyone after the window, when not challenged.
    function finalize(uint64 epoch) external;
    /// Anyone; the money goes to the wallet, which must be bound to the account. `epoch` is the
    /// active root's.
    function claim(bytes32 account, address wallet, uint64 cumulative, bytes32[] calldata proof)
        external
        returns (uint64 units);
    /// The admin, when nothing is pending.
    function setEpochCap(uint64 units) external;
}

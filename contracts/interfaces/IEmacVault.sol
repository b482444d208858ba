// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {IEmac} from "./IEmac.sol";

/// @title The vault: the one contract that holds money
/// @notice Deposits feed one pool, out of which settled payouts and withdrawals leave. Bonds are
/// kept beside it.
///
/// Units. Every amount is a `uint64` count of ledger units; 1 EMAC = 10^9 units on the ledger =
/// 10^18 wei of the token, so a unit is `UNIT` = 10^9 wei. A fraction of a unit (dust) cannot be
/// said in a call. All of the money ever funded stays below 2^63 units, as the ledger's int64.
///
/// `account` is the raw ed25519 public key of a did:key. `wallet` is an address of this chain. A
/// position is the pair of both: what a wallet paid in for an account, only that wallet can ask
/// back.
///
/// INV-1  paid <= reserved, and reserved + withdrawn <= funded. So paid <= funded, and a withdrawal
///        never takes what a settled epoch has promised.
/// INV-2  token.balanceOf(vault) >= (funded - paid - withdrawn + bonded) * UNIT.
/// INV-3  bonded = sum over positions of bond + unbonding.
/// INV-4  funded, paid and withdrawn never fall.
/// INV-5  `sequence` counts this contract's events 1, 2, ... without holes: each carries its number
///        as the first topic, so that a reader knows when a log is missing or came twice.
/// INV-6  A pause ends by itself after PAUSE_MAX and cannot return before PAUSE_REST has passed.
interface IEmacVault is IEmac {
    /// @param deposited units that this wallet paid in for the account and may still ask back
    /// @param withdrawing units of the withdrawal under way, 0 when there is none
    /// @param readyAt second from which `withdraw` pays it
    /// @param bond units bonded
    /// @param unbonding units on their way out of the bond; still slashable
    /// @param releaseAt second from which `unbond` pays them
    struct Position {
        uint64 deposited;
        uint64 withdrawing;
        uint64 readyAt;
        uint64 bond;
        uint64 unbonding;
        uint64 releaseAt;
    }

    /// @param units to take at most, 0 when no case is open
    /// @param executeAt second from which `executeSlash` takes them
    /// @param lapseAt second from which the case is void
    /// @param evidence digest of the proof's CID
    struct SlashCase {
        uint64 units;
        uint64 executeAt;
        uint64 lapseAt;
        bytes32 evidence;
    }

    /// Ledger: credit user:<account>. `from` is the wallet of the position.
    event Deposited(
        uint64 indexed seq, bytes32 indexed account, address indexed from, uint64 units
    );
    /// Ledger: credit fee. Money given to the pool by `donate`, `absorb` or a lost challenge.
    event Donated(uint64 indexed seq, address indexed from, uint64 units);
    /// Ledger: debit user:<account> by what it has, at most `units`; when it has less, the
    /// LEDGER_ROLE must call `reduceWithdrawal` before `readyAt`.
    event WithdrawalRequested(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed wallet,
        uint64 units,
        uint64 readyAt
    );
    /// The withdrawal now stands at `units`; 0 ends it.
    event WithdrawalReduced(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed wallet,
        uint64 units,
        bytes32 reason
    );
    /// Ledger: credit user:<account> again with `units`.
    event WithdrawalCancelled(
        uint64 indexed seq, bytes32 indexed account, address indexed wallet, uint64 units
    );
    event Withdrawn(
        uint64 indexed seq, bytes32 indexed account, address indexed wallet, uint64 units
    );
    /// The position's bond is now `total`.
    event Bonded(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed wallet,
        uint64 units,
        uint64 total
    );
    /// `units` left the bond and wait, with what was waiting already: `unbonding` in all.
    event UnbondRequested(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed wallet,
        uint64 units,
        uint64 unbonding,
        uint64 releaseAt
    );
    event Unbonded(
        uint64 indexed seq, bytes32 indexed account, address indexed wallet, uint64 units
    );
    event SlashOpened(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed wallet,
        uint64 units,
        bytes32 evidence,
        uint64 executeAt
    );
    event SlashCancelled(
        uint64 indexed seq, bytes32 indexed account, address indexed wallet, bytes32 evidence
    );
    /// Ledger: credit fee (or the harmed, by its own rule). The units moved from the bond to the
    /// pool.
    event Slashed(
        uint64 indexed seq,
        bytes32 indexed account,
        address indexed wallet,
        uint64 units,
        bytes32 evidence
    );
    /// The pool promises `total` units in all to the payouts.
    event Reserved(uint64 indexed seq, uint64 total);
    event PaidOut(uint64 indexed seq, address indexed wallet, uint64 units);
    event PayoutsSet(uint64 indexed seq, address payouts);

    error ZeroAccount();
    error ZeroAmount();
    /// More than the ledger's int64 holds, here or with what was funded before.
    error TooMuch(uint64 units);
    /// The token moved another amount than asked (a fee on transfers, a rebase).
    error WrongAmountMoved(uint256 moved, uint256 expected);
    error BadToken(address token);
    error NotPayouts(address caller);
    error PayoutsAlreadySet();
    error ExceedsDeposit(uint64 units, uint64 deposited);
    error ExceedsBond(uint64 units, uint64 bond);
    error ExceedsWithdrawal(uint64 units, uint64 withdrawing);
    /// reserved + withdrawn would pass funded.
    error ExceedsFunds(uint64 units, uint64 free);
    /// paid would pass reserved.
    error ExceedsReserve(uint64 units, uint64 left);
    error WithdrawalUnderWay();
    error NothingUnderWay();
    error NotReady(uint64 readyAt);
    /// After `readyAt` a withdrawal is certain: nobody can reduce it any more.
    error TooLate(uint64 readyAt);
    error SlashUnderWay();
    error EvidenceUsed(bytes32 evidence);
    error Lapsed(uint64 lapseAt);

    function UNIT() external view returns (uint256 weiPerUnit);
    function token() external view returns (address);
    function payouts() external view returns (address);
    /// Seconds between a request and the money.
    function withdrawDelay() external view returns (uint64);
    function unbondDelay() external view returns (uint64);
    /// Seconds in which a guardian can cancel a slash.
    function slashDelay() external view returns (uint64);
    /// Units, all cumulative but `bonded`.
    function pool()
        external
        view
        returns (uint64 funded, uint64 paid, uint64 withdrawn, uint64 reserved, uint64 bonded);
    function positionOf(bytes32 account, address wallet) external view returns (Position memory);
    function slashOf(bytes32 account, address wallet) external view returns (SlashCase memory);
    function evidenceUsed(bytes32 evidence) external view returns (bool);

    /// Anyone, while not paused. Takes units * UNIT wei from the caller, who approved them.
    function deposit(bytes32 account, uint64 units) external;
    /// The same with an EIP-2612 permit of the caller over exactly units * UNIT wei. A permit that
    /// somebody else has used already does no harm: the allowance it left is taken.
    function depositWithPermit(
        bytes32 account,
        uint64 units,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
    /// Anyone: gives money to the pool, for the ledger's fee account.
    function donate(uint64 units) external;
    /// Anyone: whole units that were sent to the vault without a call become a donation.
    function absorb() external returns (uint64 units);

    /// The position's wallet. One withdrawal of a position at a time.
    function requestWithdrawal(bytes32 account, uint64 units) external;
    /// LEDGER_ROLE, before `readyAt` or during a pause: the account held only `units` free units.
    /// What is cut off was spent on the ledger and cannot be asked back a second time.
    function reduceWithdrawal(bytes32 account, address wallet, uint64 units, bytes32 reason)
        external;
    /// The position's wallet, before the money has left.
    function cancelWithdrawal(bytes32 account) external;
    /// Anyone, from `readyAt`, while not paused. Pays the wallet.
    function withdraw(bytes32 account, address wallet) external;

    /// Anyone, for a position of its own.
    function bond(bytes32 account, uint64 units) external;
    /// The position's wallet. A second request adds to the first and restarts its clock.
    function requestUnbond(bytes32 account, uint64 units) external;
    /// Anyone, from `releaseAt`, unless a slash is open or the vault paused. Pays the wallet.
    function unbond(bytes32 account, address wallet) external;
    /// SLASHER_ROLE: announces the slash of a proven lie. One case of a position at a time, one
    /// case ever for an evidence.
    function openSlash(bytes32 account, address wallet, uint64 units, bytes32 evidence) external;
    /// GUARDIAN_ROLE, as long as the case is open: the proof did not hold.
    function cancelSlash(bytes32 account, address wallet) external;
    /// Anyone, from `executeAt` until `lapseAt`: takes min(units, bond + unbonding), first from
    /// what is unbonding, into the pool.
    function executeSlash(bytes32 account, address wallet) external;

    /// The payouts contract alone: promise `total` units in all.
    function reserve(uint64 total) external;
    /// The payouts contract alone: units to the wallet, out of the reserve. Not while paused.
    function pay(address wallet, uint64 units) external;
    /// The admin, once: names the payouts contract for good.
    function setPayouts(address payouts_) external;
    /// GUARDIAN_ROLE: no deposit, bond, withdrawal or payment for PAUSE_MAX at most.
    function pause() external;
    /// GUARDIAN_ROLE.
    function unpause() external;
}

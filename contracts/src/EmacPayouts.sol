// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

import {IEmacBindings} from "../interfaces/IEmacBindings.sol";
import {IEmacPayouts} from "../interfaces/IEmacPayouts.sol";
import {IEmacVault} from "../interfaces/IEmacVault.sol";
import {Delays} from "./lib/Delays.sol";
import {Sequenced} from "./lib/Sequenced.sol";

/// @title Cumulative payouts, one Merkle root an epoch; the manual is IEmacPayouts
/// @notice Holds no money but the stake of a challenge under way.
///
///     none --propose--> open --challenge--> challenged
///     open --finalize (after the window)--> none, active
///     open, challenged --retract--> none
///     challenged --resolve(true)--> none      --resolve(false)--> open, for the rest of the window
///     challenged --lapse (after resolveBy)--> none
contract EmacPayouts is IEmacPayouts, AccessControlDefaultAdminRules, ReentrancyGuard, Sequenced {
    using SafeERC20 for IERC20;

    uint48 public constant ADMIN_DELAY = 1 days;
    uint64 public constant EPOCH_STEP_MAX = 1000;
    uint64 public constant UNITS_MAX = uint64(type(int64).max);
    bytes32 public constant PROPOSER_ROLE = keccak256("PROPOSER_ROLE");
    bytes32 public constant GUARDIAN_ROLE = keccak256("GUARDIAN_ROLE");
    bytes32 public constant ARBITER_ROLE = keccak256("ARBITER_ROLE");

    IEmacVault private immutable _vault;
    IEmacBindings private immutable _bindings;
    IERC20 private immutable _token;
    uint256 private immutable _unit;
    uint64 public immutable window;
    uint64 public immutable resolveWindow;
    uint64 public immutable challengeStake;

    uint64 public epochCap;
    uint64 public lastEpoch;
    uint64 public paid;
    Active private _active;
    Pending private _pending;
    mapping(bytes32 account => uint64 units) public claimed;

    constructor(
        address vault_,
        address bindings_,
        address admin,
        uint64 window_,
        uint64 resolveWindow_,
        uint64 challengeStake_,
        uint64 epochCap_
    ) AccessControlDefaultAdminRules(ADMIN_DELAY, admin) {
        _vault = IEmacVault(vault_);
        require(bindings_.code.length > 0, BadBindings(bindings_));
        _bindings = IEmacBindings(bindings_);
        _token = IERC20(_vault.token());
        _unit = _vault.UNIT();
        window = Delays.check(window_);
        resolveWindow = Delays.check(resolveWindow_);
        // Without a stake anyone could hold up every epoch for nothing.
        require(challengeStake_ > 0, NoStake());
        challengeStake = challengeStake_;
        _setEpochCap(epochCap_);
    }

    // ---- the life of a root

    function propose(uint64 epoch, bytes32 root, uint64 total, bytes32 leaves, bytes32 journal)
        external
        onlyRole(PROPOSER_ROLE)
    {
        require(_pending.epoch == 0, ProposalPending(_pending.epoch));
        bool next = epoch > lastEpoch && epoch - lastEpoch <= EPOCH_STEP_MAX;
        require(next, BadEpoch(epoch, lastEpoch));
        require(root != 0, ZeroRoot());
        require(total >= _active.total, TotalFalls(total, _active.total));
        uint64 growth = total - _active.total;
        require(growth <= epochCap, ExceedsEpochCap(growth, epochCap));
        lastEpoch = epoch;
        _pending.epoch = epoch;
        _pending.total = total;
        _pending.readyAt = Delays.from(window);
        _pending.root = root;
        _pending.proposer = msg.sender;
        emit Proposed(_next(), epoch, root, total, leaves, journal, _pending.readyAt);
        _vault.reserve(total);
    }

    function challenge(uint64 epoch, bytes32 root, bytes32 reason) external nonReentrant {
        Pending storage p = _pendingOf(epoch);
        require(p.root == root, NoSuchProposal(epoch));
        require(p.challenger == address(0), AlreadyChallenged(p.challenger));
        require(block.timestamp < p.readyAt, WindowClosed(p.readyAt));
        uint64 stake = hasRole(GUARDIAN_ROLE, msg.sender) ? 0 : challengeStake;
        p.challenger = msg.sender;
        p.stake = stake;
        p.remaining = p.readyAt - uint64(block.timestamp);
        p.resolveBy = Delays.from(resolveWindow);
        emit Challenged(_next(), epoch, msg.sender, reason, p.resolveBy);
        if (stake > 0) _token.safeTransferFrom(msg.sender, address(this), stake * _unit);
    }

    function resolve(uint64 epoch, bool uphold) external onlyRole(ARBITER_ROLE) nonReentrant {
        Pending storage p = _challengedOf(epoch);
        require(msg.sender != p.proposer && msg.sender != p.challenger, OwnCause(msg.sender));
        require(block.timestamp < p.resolveBy, TimeIsUp(p.resolveBy));
        if (uphold) {
            _drop();
            return;
        }
        uint64 stake = p.stake;
        p.readyAt = Delays.from(p.remaining);
        p.challenger = address(0);
        p.stake = 0;
        p.resolveBy = 0;
        p.remaining = 0;
        emit Overruled(_next(), epoch, p.readyAt);
        if (stake == 0) return;
        _token.safeTransfer(address(_vault), stake * _unit);
        try _vault.absorb() {} catch {} // paused: the next who calls it books the stake
    }

    function lapse(uint64 epoch) external nonReentrant {
        Pending storage p = _challengedOf(epoch);
        require(block.timestamp >= p.resolveBy, StillTime(p.resolveBy));
        _drop();
    }

    function retract(uint64 epoch) external nonReentrant {
        Pending storage p = _pendingOf(epoch);
        require(msg.sender == p.proposer, NotProposer(msg.sender));
        _drop();
    }

    function finalize(uint64 epoch) external {
        Pending memory p = _pendingOf(epoch);
        require(p.challenger == address(0), AlreadyChallenged(p.challenger));
        require(block.timestamp >= p.readyAt, WindowOpen(p.readyAt));
        delete _pending;
        _active = Active({epoch: p.epoch, total: p.total, root: p.root});
        emit Finalized(_next(), p.epoch, p.root, p.total);
    }

    function setEpochCap(uint64 units) external onlyRole(DEFAULT_ADMIN_ROLE) {
        require(_pending.epoch == 0, ProposalPending(_pending.epoch));
        _setEpochCap(units);
    }

    // ---- claims

    function claim(bytes32 account, address wallet, uint64 cumulative, bytes32[] calldata proof)
        external
        nonReentrant
        returns (uint64 units)
    {
        uint64 before = claimed[account];
        uint64 epoch = _active.epoch;
        require(cumulative > before, NothingToClaim(cumulative, before));
        bytes32 leaf = leafOf(epoch, account, wallet, cumulative);
        require(MerkleProof.verifyCalldata(proof, _active.root, leaf), BadProof());
        require(_bindings.isBound(account, wallet), WalletNotBound(account, wallet));
        units = cumulative - before;
        uint64 left = _active.total - paid;
        require(units <= left, ExceedsTotal(units, left));
        paid += units;
        claimed[account] = cumulative;
        emit Claimed(_next(), account, wallet, epoch, units, cumulative);
        _vault.pay(wallet, units);
    }

    function leafOf(uint64 epoch, bytes32 account, address wallet, uint64 cumulative)
        public
        view
        returns (bytes32)
    {
        bytes memory text =
            abi.encode(block.chainid, address(this), epoch, account, wallet, cumulative);
        return keccak256(bytes.concat(keccak256(text)));
    }

    // ---- views

    function vault() external view returns (address) {
        return address(_vault);
    }

    function bindings() external view returns (address) {
        return address(_bindings);
    }

    function active() external view returns (Active memory) {
        return _active;
    }

    function pending() external view returns (Pending memory) {
        return _pending;
    }

    // ---- inside

    function _setEpochCap(uint64 units) private {
        require(units <= UNITS_MAX, TooMuch(units));
        epochCap = units;
        emit EpochCapSet(_next(), units);
    }

    function _pendingOf(uint64 epoch) private view returns (Pending storage p) {
        p = _pending;
        require(epoch != 0 && p.epoch == epoch, NoSuchProposal(epoch));
    }

    function _challengedOf(uint64 epoch) private view returns (Pending storage p) {
        p = _pendingOf(epoch);
        require(p.challenger != address(0), NotChallenged());
    }

    /// The proposal ends without effect; a stake goes back.
    function _drop() private {
        Pending memory p = _pending;
        delete _pending;
        emit Dropped(_next(), p.epoch, p.root);
        _vault.reserve(_active.total);
        if (p.stake > 0) _token.safeTransfer(p.challenger, p.stake * _unit);
    }
}

// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

import {IEmacVault} from "../interfaces/IEmacVault.sol";
import {Delays} from "./lib/Delays.sol";
import {Sequenced} from "./lib/Sequenced.sol";
import {TimedPause} from "./lib/TimedPause.sol";

/// @title The vault; the manual is IEmacVault
/// @notice Each function that moves money checks, then writes its books, then calls the token; all
/// of them are guarded against reentry, and no function loops.
contract EmacVault is
    IEmacVault,
    AccessControlDefaultAdminRules,
    TimedPause,
    ReentrancyGuard,
    Sequenced
{
    using SafeERC20 for IERC20;

    /// The four figures of the pool, one storage slot. All cumulative.
    struct Pool {
        uint64 funded;
        uint64 paid;
        uint64 withdrawn;
        uint64 reserved;
    }

    uint256 public constant UNIT = 1e9;
    uint64 public constant UNITS_MAX = uint64(type(int64).max);
    uint64 public constant SLASH_GRACE = 7 days;
    uint48 public constant ADMIN_DELAY = 1 days;
    bytes32 public constant GUARDIAN_ROLE = keccak256("GUARDIAN_ROLE");
    bytes32 public constant LEDGER_ROLE = keccak256("LEDGER_ROLE");
    bytes32 public constant SLASHER_ROLE = keccak256("SLASHER_ROLE");

    IERC20 private immutable _token;
    uint64 public immutable withdrawDelay;
    uint64 public immutable unbondDelay;
    uint64 public immutable slashDelay;

    address public payouts;
    Pool private _pool;
    uint64 private _bonded;
    mapping(bytes32 account => mapping(address wallet => Position)) private _positions;
    mapping(bytes32 account => mapping(address wallet => SlashCase)) private _slashes;
    mapping(bytes32 evidence => bool) public evidenceUsed;

    modifier onlyPayouts() {
        require(msg.sender == payouts, NotPayouts(msg.sender));
        _;
    }

    constructor(
        address token_,
        address admin,
        uint64 withdrawDelay_,
        uint64 unbondDelay_,
        uint64 slashDelay_
    ) AccessControlDefaultAdminRules(ADMIN_DELAY, admin) {
        bool sound = token_.code.length > 0 && IERC20Metadata(token_).decimals() == 18;
        require(sound, BadToken(token_));
        _token = IERC20(token_);
        withdrawDelay = Delays.check(withdrawDelay_);
        unbondDelay = Delays.check(unbondDelay_);
        slashDelay = Delays.check(slashDelay_);
        // Who asks for his bond while a proof is on its way must still be there when it arrives.
        require(unbondDelay_ > slashDelay_, BadDelay(unbondDelay_));
    }

    // ---- deposits

    function deposit(bytes32 account, uint64 units) external nonReentrant whenNotPaused {
        _deposit(account, units);
    }

    function depositWithPermit(
        bytes32 account,
        uint64 units,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant whenNotPaused {
        // Anyone may have sent the permit before us; what counts is the allowance it left.
        try IERC20Permit(address(_token)).permit(
            msg.sender, address(this), units * UNIT, deadline, v, r, s
        ) {} catch {}
        _deposit(account, units);
    }

    function donate(uint64 units) external nonReentrant whenNotPaused {
        _fund(units);
        emit Donated(_next(), msg.sender, units);
        _pull(units);
    }

    function absorb() external nonReentrant whenNotPaused returns (uint64 units) {
        Pool memory p = _pool;
        uint256 booked = (uint256(p.funded) - p.paid - p.withdrawn + _bonded) * UNIT;
        uint256 spare = (_token.balanceOf(address(this)) - booked) / UNIT;
        units = uint64(Math.min(spare, UNITS_MAX - _pool.funded - _bonded));
        _fund(units);
        emit Donated(_next(), msg.sender, units);
    }

    // ---- withdrawals

    function requestWithdrawal(bytes32 account, uint64 units) external {
        Position storage p = _positions[account][msg.sender];
        require(units > 0, ZeroAmount());
        require(p.withdrawing == 0, WithdrawalUnderWay());
        require(units <= p.deposited, ExceedsDeposit(units, p.deposited));
        p.deposited -= units;
        p.withdrawing = units;
        p.readyAt = Delays.from(withdrawDelay);
        emit WithdrawalRequested(_next(), account, msg.sender, units, p.readyAt);
    }

    function reduceWithdrawal(bytes32 account, address wallet, uint64 units, bytes32 reason)
        external
        onlyRole(LEDGER_ROLE)
    {
        Position storage p = _positions[account][wallet];
        require(p.withdrawing > 0, NothingUnderWay());
        require(block.timestamp < p.readyAt || paused(), TooLate(p.readyAt));
        require(units < p.withdrawing, ExceedsWithdrawal(units, p.withdrawing));
        p.withdrawing = units;
        emit WithdrawalReduced(_next(), account, wallet, units, reason);
    }

    function cancelWithdrawal(bytes32 account) external {
        Position storage p = _positions[account][msg.sender];
        uint64 units = p.withdrawing;
        require(units > 0, NothingUnderWay());
        p.withdrawing = 0;
        p.deposited += units;
        emit WithdrawalCancelled(_next(), account, msg.sender, units);
    }

    function withdraw(bytes32 account, address wallet) external nonReentrant whenNotPaused {
        Position storage p = _positions[account][wallet];
        uint64 units = p.withdrawing;
        require(units > 0, NothingUnderWay());
        require(block.timestamp >= p.readyAt, NotReady(p.readyAt));
        uint64 free = _pool.funded - _pool.reserved - _pool.withdrawn;
        require(units <= free, ExceedsFunds(units, free));
        p.withdrawing = 0;
        _pool.withdrawn += units;
        emit Withdrawn(_next(), account, wallet, units);
        _token.safeTransfer(wallet, units * UNIT);
    }

    // ---- bonds

    function bond(bytes32 account, uint64 units) external nonReentrant whenNotPaused {
        require(account != 0, ZeroAccount());
        require(units > 0, ZeroAmount());
        require(units <= UNITS_MAX - _pool.funded - _bonded, TooMuch(units));
        Position storage p = _positions[account][msg.sender];
        p.bond += units;
        _bonded += units;
        emit Bonded(_next(), account, msg.sender, units, p.bond);
        _pull(units);
    }

    function requestUnbond(bytes32 account, uint64 units) external {
        Position storage p = _positions[account][msg.sender];
        require(units > 0, ZeroAmount());
        require(units <= p.bond, ExceedsBond(units, p.bond));
        p.bond -= units;
        p.unbonding += units;
        p.releaseAt = Delays.from(unbondDelay);
        emit UnbondRequested(_next(), account, msg.sender, units, p.unbonding, p.releaseAt);
    }

    function unbond(bytes32 account, address wallet) external nonReentrant whenNotPaused {
        Position storage p = _positions[account][wallet];
        uint64 units = p.unbonding;
        require(units > 0, NothingUnderWay());
        require(block.timestamp >= p.releaseAt, NotReady(p.releaseAt));
        require(!_slashOpen(_slashes[account][wallet]), SlashUnderWay());
        p.unbonding = 0;
        _bonded -= units;
        emit Unbonded(_next(), account, wallet, units);
        _token.safeTransfer(wallet, units * UNIT);
    }

    function openSlash(bytes32 account, address wallet, uint64 units, bytes32 evidence)
        external
        onlyRole(SLASHER_ROLE)
    {
        SlashCase storage c = _slashes[account][wallet];
        Position storage p = _positions[account][wallet];
        require(units > 0, ZeroAmount());
        require(units <= UNITS_MAX, TooMuch(units)); // the ledger reads the event as an int64
        require(!_slashOpen(c), SlashUnderWay());
        require(!evidenceUsed[evidence], EvidenceUsed(evidence));
        require(p.bond + p.unbonding > 0, ExceedsBond(units, 0));
        evidenceUsed[evidence] = true;
        c.units = units;
        c.executeAt = Delays.from(slashDelay);
        c.lapseAt = c.executeAt + SLASH_GRACE;
        c.evidence = evidence;
        emit SlashOpened(_next(), account, wallet, units, evidence, c.executeAt);
    }

    function cancelSlash(bytes32 account, address wallet) external onlyRole(GUARDIAN_ROLE) {
        SlashCase storage c = _slashes[account][wallet];
        require(_slashOpen(c), NothingUnderWay());
        c.units = 0;
        emit SlashCancelled(_next(), account, wallet, c.evidence);
    }

    function executeSlash(bytes32 account, address wallet) external {
        SlashCase storage c = _slashes[account][wallet];
        Position storage p = _positions[account][wallet];
        require(c.units > 0, NothingUnderWay());
        require(block.timestamp >= c.executeAt, NotReady(c.executeAt));
        require(block.timestamp < c.lapseAt, Lapsed(c.lapseAt));
        uint64 leaving = uint64(Math.min(c.units, p.unbonding));
        uint64 staying = uint64(Math.min(c.units - leaving, p.bond));
        uint64 units = leaving + staying;
        c.units = 0;
        p.unbonding -= leaving;
        p.bond -= staying;
        _bonded -= units;
        _pool.funded += units;
        emit Slashed(_next(), account, wallet, units, c.evidence);
    }

    // ---- payouts

    function reserve(uint64 total) external onlyPayouts {
        Pool memory p = _pool;
        require(total >= p.paid, ExceedsReserve(p.paid, total));
        uint64 free = p.funded - p.withdrawn;
        require(total <= free, ExceedsFunds(total, free));
        _pool.reserved = total;
        emit Reserved(_next(), total);
    }

    function pay(address wallet, uint64 units) external onlyPayouts nonReentrant whenNotPaused {
        uint64 left = _pool.reserved - _pool.paid;
        require(units <= left, ExceedsReserve(units, left));
        _pool.paid += units;
        emit PaidOut(_next(), wallet, units);
        _token.safeTransfer(wallet, units * UNIT);
    }

    function setPayouts(address payouts_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        require(payouts == address(0), PayoutsAlreadySet());
        require(payouts_.code.length > 0, NotPayouts(payouts_));
        payouts = payouts_;
        emit PayoutsSet(_next(), payouts_);
    }

    // ---- pause

    function pause() external onlyRole(GUARDIAN_ROLE) {
        _pause();
    }

    function unpause() external onlyRole(GUARDIAN_ROLE) {
        _unpause();
    }

    // ---- views

    function token() external view returns (address) {
        return address(_token);
    }

    function pool()
        external
        view
        returns (uint64 funded, uint64 paid, uint64 withdrawn, uint64 reserved, uint64 bonded)
    {
        Pool memory p = _pool;
        return (p.funded, p.paid, p.withdrawn, p.reserved, _bonded);
    }

    function positionOf(bytes32 account, address wallet) external view returns (Position memory) {
        return _positions[account][wallet];
    }

    function slashOf(bytes32 account, address wallet) external view returns (SlashCase memory) {
        return _slashes[account][wallet];
    }

    // ---- inside

    function _deposit(bytes32 account, uint64 units) private {
        require(account != 0, ZeroAccount());
        _fund(units);
        _positions[account][msg.sender].deposited += units;
        emit Deposited(_next(), account, msg.sender, units);
        _pull(units);
    }

    /// Book `units` more in the pool.
    function _fund(uint64 units) private {
        require(units > 0, ZeroAmount());
        require(units <= UNITS_MAX - _pool.funded - _bonded, TooMuch(units));
        _pool.funded += units;
    }

    /// Take units from the caller, and no other amount than that (INV-2).
    function _pull(uint64 units) private {
        uint256 expected = units * UNIT;
        uint256 before = _token.balanceOf(address(this));
        _token.safeTransferFrom(msg.sender, address(this), expected);
        uint256 moved = _token.balanceOf(address(this)) - before;
        require(moved == expected, WrongAmountMoved(moved, expected));
    }

    function _slashOpen(SlashCase storage c) private view returns (bool) {
        return c.units > 0 && block.timestamp < c.lapseAt;
    }
}

// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {EmacBindings} from "../../src/EmacBindings.sol";
import {EmacPayouts} from "../../src/EmacPayouts.sol";
import {EmacToken} from "../../src/EmacToken.sol";
import {EmacVault} from "../../src/EmacVault.sol";
import {IEmacBindings} from "../../interfaces/IEmacBindings.sol";
import {IEmacPayouts} from "../../interfaces/IEmacPayouts.sol";
import {IEmacVault} from "../../interfaces/IEmacVault.sol";

/// A wallet that does what it is told and signs everything.
contract Hand {
    function exec(address target, bytes calldata data) external returns (bool, bytes memory) {
        return target.call(data);
    }

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0x1626ba7e;
    }
}

/// Random calls against the vault, the bindings and the payouts of many worlds at once, beside a
/// naive second version of their books. Before each call the model says whether it must succeed;
/// after it, the figures must be equal and the invariants of IEmacVault and IEmacPayouts hold. A
/// world is one deployment; `run` makes a few calls in each, and the driver (fuzz.mjs) moves the
/// time between.
///
/// It shares no code with what it tests. It knows nothing of events.
contract Fuzz {
    uint256 internal constant UNIT = 1e9;
    uint256 internal constant MOST = uint256(uint64(type(int64).max));
    uint256 internal constant PEOPLE = 3; // accounts, and as many wallets
    uint256 internal constant LEAVES = 4;
    uint256 internal constant OPS = 26;
    uint64 internal constant WITHDRAW = 6 hours;
    uint64 internal constant UNBOND = 12 hours;
    uint64 internal constant SLASH = 3 hours;
    uint64 internal constant CHANGE = 5 hours;
    uint64 internal constant WINDOW = 2 hours;
    uint64 internal constant RESOLVE = 4 hours;
    uint256 internal constant STAKE = 50;

    struct Spot {
        uint256 deposited;
        uint256 withdrawing;
        uint256 readyAt;
        uint256 bond;
        uint256 unbonding;
        uint256 releaseAt;
        uint256 slash;
        uint256 executeAt;
        uint256 lapseAt;
        uint256 state; // of the binding: 0 none, 1 bound, 2 retired
        uint256 changeTo; // wallet + 1, 0 when none
        uint256 changeAt;
    }

    struct Leaf {
        uint256 account;
        uint256 wallet;
        uint64 cumulative;
    }

    struct Round {
        uint256 epoch; // 0: none
        uint256 total;
        uint256 readyAt;
        uint256 resolveBy;
        uint256 remaining;
        uint256 challenger; // 0 none, wallet + 1, PEOPLE + 1 for the guardian
        uint256 stake;
        Leaf[LEAVES] leaf;
    }

    struct World {
        EmacToken token;
        EmacVault vault;
        EmacBindings bindings;
        EmacPayouts payouts;
        uint256 funded;
        uint256 paid;
        uint256 withdrawn;
        uint256 reserved;
        uint256 bonded;
        uint256 loose; // wei sent to the vault without a call
        uint256 pausedUntil;
        uint256 pauseAgainAt;
        uint256 lastEpoch;
        uint256 cap;
        uint256 evidence;
        Round active;
        Round pending;
        uint256[PEOPLE] claimed;
        uint256[PEOPLE] balance; // of the wallets, wei
        Spot[PEOPLE][PEOPLE] spot; // [account][wallet]
    }

    /// What the model and the contracts disagree about.
    error Mismatch(uint256 world, uint256 op, string what, uint256 model, uint256 real, bytes out);

    World[] private worlds;
    Hand[PEOPLE] private wallet;
    Hand private proposer = new Hand();
    Hand private arbiter = new Hand();
    uint256[OPS] public accepted;
    uint256[OPS] public refused;

    // The call under way.
    uint256 private rng;
    uint256 private nowWorld;
    uint256 private nowOp;

    constructor() {
        for (uint256 i = 0; i < PEOPLE; i++) wallet[i] = new Hand();
    }

    function counts() external view returns (uint256[OPS] memory, uint256[OPS] memory) {
        return (accepted, refused);
    }

    // ---- worlds

    /// Add a world. In every fourth the wallets own all that the ledger could ever hold.
    function make() external {
        World storage w = worlds.push();
        bool huge = worlds.length % 4 == 0;
        uint64 supply = huge ? uint64(MOST) : 3_000_000;
        w.token = new EmacToken("E", "E", address(this), supply);
        w.vault = new EmacVault(address(w.token), address(this), WITHDRAW, UNBOND, SLASH);
        w.bindings = new EmacBindings(CHANGE);
        w.cap = huge ? MOST : worlds.length % 2 == 0 ? 3_000_000 : 400_000;
        w.payouts = new EmacPayouts(
            address(w.vault), address(w.bindings), address(this), WINDOW, RESOLVE, uint64(STAKE),
            uint64(w.cap)
        );
        w.vault.setPayouts(address(w.payouts));
        w.vault.grantRole(w.vault.GUARDIAN_ROLE(), address(this));
        w.vault.grantRole(w.vault.LEDGER_ROLE(), address(this));
        w.vault.grantRole(w.vault.SLASHER_ROLE(), address(this));
        w.payouts.grantRole(w.payouts.GUARDIAN_ROLE(), address(this));
        w.payouts.grantRole(w.payouts.PROPOSER_ROLE(), address(proposer));
        w.payouts.grantRole(w.payouts.ARBITER_ROLE(), address(arbiter));
        for (uint256 i = 0; i < PEOPLE; i++) _settle(w, i, (supply / PEOPLE) * UNIT);
    }

    /// Wallet i gets money, lets the contracts take it, and is bound to account i.
    function _settle(World storage w, uint256 i, uint256 money) private {
        w.token.transfer(address(wallet[i]), money);
        w.balance[i] = money;
        bytes memory most = abi.encodeCall(w.token.approve, (address(w.vault), type(uint256).max));
        wallet[i].exec(address(w.token), most);
        most = abi.encodeCall(w.token.approve, (address(w.payouts), type(uint256).max));
        wallet[i].exec(address(w.token), most);
        w.bindings.bind(_account(i), address(wallet[i]), type(uint256).max, "", new bytes(64));
        w.spot[i][i].state = 1;
    }

    /// `calls` random calls in each world.
    function run(uint256 seed, uint256 calls) external {
        for (uint256 i = 0; i < worlds.length; i++) {
            rng = uint256(keccak256(abi.encode(seed, i)));
            nowWorld = i;
            for (uint256 k = 0; k < calls; k++) _one(worlds[i]);
            _compare(worlds[i]);
        }
    }

    function _one(World storage w) private {
        nowOp = _random(OPS);
        uint256 a = _random(PEOPLE);
        uint256 i = _random(4) == 0 ? _random(PEOPLE) : a;
        if (nowOp < 13) _vaultOp(w, a, i);
        else if (nowOp < 21) _payoutsOp(w, a, i);
        else _restOp(w, a, i);
        _comparePool(w);
        _compareSpot(w, a, i);
    }

    function _vaultOp(World storage w, uint256 a, uint256 i) private {
        if (nowOp < 2) _deposit(w, a, i); // twice as often
        else if (nowOp == 2) _requestWithdrawal(w, a, i);
        else if (nowOp == 3) _reduceWithdrawal(w, a, i);
        else if (nowOp == 4) _cancelWithdrawal(w, a, i);
        else if (nowOp == 5) _withdraw(w, a, i);
        else if (nowOp == 6) _bond(w, a, i);
        else if (nowOp == 7) _requestUnbond(w, a, i);
        else if (nowOp == 8) _unbond(w, a, i);
        else if (nowOp == 9) _openSlash(w, a, i);
        else if (nowOp == 10) _cancelSlash(w, a, i);
        else if (nowOp == 11) _executeSlash(w, a, i);
        else _donate(w, i);
    }

    function _payoutsOp(World storage w, uint256 a, uint256 i) private {
        if (nowOp == 13) _propose(w);
        else if (nowOp == 14) _challenge(w, i);
        else if (nowOp == 15) _resolve(w);
        else if (nowOp == 16) _lapse(w);
        else if (nowOp == 17) _retract(w, i);
        else if (nowOp == 18) _finalize(w);
        else _claim(w, a);
    }

    function _restOp(World storage w, uint256 a, uint256 i) private {
        if (nowOp == 21) _absorb(w, i);
        else if (nowOp == 22) _pause(w);
        else if (nowOp == 23) _theft(w, a, i);
        else if (nowOp == 24) _requestChange(w, a, i);
        else _endChange(w, a, i);
    }

    // ---- deposits and withdrawals

    function _deposit(World storage w, uint256 a, uint256 i) private {
        uint64 u = _amount(w.balance[i] / UNIT);
        bool ok = !_paused(w) && u > 0 && u <= MOST - w.funded - w.bonded
            && u * UNIT <= w.balance[i];
        bytes memory data = _random(2) == 0
            ? abi.encodeCall(IEmacVault.deposit, (_account(a), u))
            : abi.encodeCall(
                IEmacVault.depositWithPermit, (_account(a), u, 0, 27, bytes32(0), bytes32(0))
            );
        if (!_try(ok, wallet[i], address(w.vault), data)) return;
        w.funded += u;
        w.balance[i] -= u * UNIT;
        w.spot[a][i].deposited += u;
    }

    function _requestWithdrawal(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        uint64 u = _amount(p.deposited);
        bool ok = u > 0 && p.withdrawing == 0 && u <= p.deposited;
        bytes memory data = abi.encodeCall(IEmacVault.requestWithdrawal, (_account(a), u));
        if (!_try(ok, wallet[i], address(w.vault), data)) return;
        p.deposited -= u;
        p.withdrawing = u;
        p.readyAt = block.timestamp + WITHDRAW;
    }

    function _reduceWithdrawal(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        uint64 u = _amount(p.withdrawing);
        bool ok = p.withdrawing > 0 && u < p.withdrawing
            && (block.timestamp < p.readyAt || _paused(w));
        bytes memory data = abi.encodeCall(
            IEmacVault.reduceWithdrawal, (_account(a), address(wallet[i]), u, bytes32(0))
        );
        if (_tryHere(ok, address(w.vault), data)) p.withdrawing = u;
    }

    function _cancelWithdrawal(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        bytes memory data = abi.encodeCall(IEmacVault.cancelWithdrawal, (_account(a)));
        if (!_try(p.withdrawing > 0, wallet[i], address(w.vault), data)) return;
        p.deposited += p.withdrawing;
        p.withdrawing = 0;
    }

    function _withdraw(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        bool ok = !_paused(w) && p.withdrawing > 0 && block.timestamp >= p.readyAt
            && w.reserved + w.withdrawn + p.withdrawing <= w.funded;
        bytes memory data =
            abi.encodeCall(IEmacVault.withdraw, (_account(a), address(wallet[i])));
        if (!_try(ok, _anyone(), address(w.vault), data)) return;
        w.withdrawn += p.withdrawing;
        w.balance[i] += p.withdrawing * UNIT;
        p.withdrawing = 0;
    }

    function _donate(World storage w, uint256 i) private {
        uint64 u = uint64(_random(40));
        bool ok = !_paused(w) && u > 0 && u <= MOST - w.funded - w.bonded
            && u * UNIT <= w.balance[i];
        bytes memory data = abi.encodeCall(IEmacVault.donate, (u));
        if (!_try(ok, wallet[i], address(w.vault), data)) return;
        w.funded += u;
        w.balance[i] -= u * UNIT;
    }

    function _absorb(World storage w, uint256 i) private {
        uint256 sent = _random(3) * _random(2 * UNIT);
        if (_random(2) == 0 && sent <= w.balance[i]) {
            wallet[i].exec(
                address(w.token), abi.encodeCall(w.token.transfer, (address(w.vault), sent))
            );
            w.balance[i] -= sent;
            w.loose += sent;
        }
        bool ok = !_paused(w) && w.loose >= UNIT && w.funded + w.bonded < MOST;
        bytes memory data = abi.encodeCall(IEmacVault.absorb, ());
        if (_try(ok, _anyone(), address(w.vault), data)) _bookLoose(w);
    }

    /// Whole units that came without a call join the pool, as far as the ledger can hold them.
    function _bookLoose(World storage w) private {
        uint256 u = w.loose / UNIT;
        uint256 room = MOST - w.funded - w.bonded;
        if (u > room) u = room;
        w.funded += u;
        w.loose -= u * UNIT;
    }

    // ---- bonds

    function _bond(World storage w, uint256 a, uint256 i) private {
        uint64 u = _amount(w.balance[i] / UNIT / (_random(4) == 0 ? 1 : 8));
        bool ok = !_paused(w) && u > 0 && u <= MOST - w.funded - w.bonded
            && u * UNIT <= w.balance[i];
        bytes memory data = abi.encodeCall(IEmacVault.bond, (_account(a), u));
        if (!_try(ok, wallet[i], address(w.vault), data)) return;
        w.bonded += u;
        w.balance[i] -= u * UNIT;
        w.spot[a][i].bond += u;
    }

    function _requestUnbond(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        uint64 u = _amount(p.bond);
        bytes memory data = abi.encodeCall(IEmacVault.requestUnbond, (_account(a), u));
        if (!_try(u > 0 && u <= p.bond, wallet[i], address(w.vault), data)) return;
        p.bond -= u;
        p.unbonding += u;
        p.releaseAt = block.timestamp + UNBOND;
    }

    function _unbond(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        bool ok = !_paused(w) && p.unbonding > 0 && block.timestamp >= p.releaseAt && !_accused(p);
        bytes memory data = abi.encodeCall(IEmacVault.unbond, (_account(a), address(wallet[i])));
        if (!_try(ok, _anyone(), address(w.vault), data)) return;
        w.bonded -= p.unbonding;
        w.balance[i] += p.unbonding * UNIT;
        p.unbonding = 0;
    }

    function _openSlash(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        uint64 u = _amount(p.bond + p.unbonding);
        bool used = w.evidence > 0 && _random(4) == 0;
        uint256 evidence = used ? 1 + _random(w.evidence) : w.evidence + 1;
        bool ok = u > 0 && u <= MOST && !_accused(p) && !used && p.bond + p.unbonding > 0;
        bytes memory data = abi.encodeCall(
            IEmacVault.openSlash, (_account(a), address(wallet[i]), u, bytes32(evidence))
        );
        if (!_tryHere(ok, address(w.vault), data)) return;
        w.evidence++;
        p.slash = u;
        p.executeAt = block.timestamp + SLASH;
        p.lapseAt = p.executeAt + 7 days;
    }

    function _cancelSlash(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        bytes memory data =
            abi.encodeCall(IEmacVault.cancelSlash, (_account(a), address(wallet[i])));
        if (_tryHere(_accused(p), address(w.vault), data)) p.slash = 0;
    }

    function _executeSlash(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        bool ok = _accused(p) && block.timestamp >= p.executeAt;
        bytes memory data =
            abi.encodeCall(IEmacVault.executeSlash, (_account(a), address(wallet[i])));
        if (!_try(ok, _anyone(), address(w.vault), data)) return;
        uint256 left = p.slash;
        uint256 all = p.bond + p.unbonding;
        if (left > all) left = all;
        w.bonded -= left;
        w.funded += left;
        p.slash = 0;
        if (left > p.unbonding) {
            p.bond -= left - p.unbonding;
            p.unbonding = 0;
        } else {
            p.unbonding -= left;
        }
    }

    function _accused(Spot storage p) private view returns (bool) {
        return p.slash > 0 && block.timestamp < p.lapseAt;
    }

    // ---- epochs

    function _propose(World storage w) private {
        Round storage r = w.pending;
        Leaf[LEAVES] memory leaf = _randomLeaves(w);
        uint256 total = 0;
        for (uint256 k = 0; k < PEOPLE; k++) total += leaf[k].cumulative;
        // Now and then a total that is not the sum, or an epoch that is not the next.
        if (_random(4) == 0) total = _amount(w.funded - w.withdrawn);
        uint256 epoch = w.lastEpoch + 1 + _random(3);
        if (_random(8) == 0) epoch = w.lastEpoch + _random(2) * (1000 + _random(2));
        if (total > type(uint64).max) total = type(uint64).max;
        bool ok = r.epoch == 0 && epoch > w.lastEpoch && epoch <= w.lastEpoch + 1000
            && total >= w.active.total
            && total - w.active.total <= w.cap && total + w.withdrawn <= w.funded;
        bytes memory data = abi.encodeCall(
            IEmacPayouts.propose,
            (uint64(epoch), _root(w, epoch, leaf), uint64(total), bytes32(0), bytes32(0))
        );
        if (!_try(ok, proposer, address(w.payouts), data)) return;
        w.lastEpoch = epoch;
        w.reserved = total;
        r.epoch = epoch;
        r.total = total;
        r.readyAt = block.timestamp + WINDOW;
        for (uint256 k = 0; k < LEAVES; k++) r.leaf[k] = leaf[k];
    }

    /// Each account's sum grows by a part of what is free; at times it falls, or names a wallet
    /// that is not bound. The last leaf belongs to nobody.
    function _randomLeaves(World storage w) private returns (Leaf[LEAVES] memory leaf) {
        uint256 free = w.funded - w.withdrawn - w.active.total;
        for (uint256 k = 0; k < PEOPLE; k++) {
            uint256 was = w.active.leaf[k].cumulative;
            uint256 sum = was + _random(free / 2 + 2) / (1 + _random(4));
            if (_random(16) == 0) sum = _random(was + 1);
            if (sum > MOST) sum = MOST;
            uint256 to = k;
            while (to < PEOPLE - 1 && w.spot[k][to].state != 1) to++;
            leaf[k] = Leaf(k, _random(12) == 0 ? _random(PEOPLE) : to, uint64(sum));
        }
        leaf[PEOPLE] = Leaf(PEOPLE, 0, uint64(_random(1000)));
    }

    function _challenge(World storage w, uint256 i) private {
        Round storage r = w.pending;
        bool guardian = _random(3) == 0;
        bool wrong = _random(8) == 0;
        bool ok = r.epoch != 0 && !wrong && r.challenger == 0 && block.timestamp < r.readyAt
            && (guardian || STAKE * UNIT <= w.balance[i]);
        bytes32 root = wrong ? bytes32(uint256(1)) : _root(w, r.epoch, r.leaf);
        bytes memory data =
            abi.encodeCall(IEmacPayouts.challenge, (uint64(r.epoch), root, bytes32(0)));
        bool done = guardian
            ? _tryHere(ok, address(w.payouts), data)
            : _try(ok, wallet[i], address(w.payouts), data);
        if (!done) return;
        r.challenger = guardian ? PEOPLE + 1 : i + 1;
        r.stake = guardian ? 0 : STAKE;
        r.remaining = r.readyAt - block.timestamp;
        r.resolveBy = block.timestamp + RESOLVE;
        if (!guardian) w.balance[i] -= STAKE * UNIT;
    }

    function _resolve(World storage w) private {
        Round storage r = w.pending;
        bool uphold = _random(3) == 0;
        bool ok = r.epoch != 0 && r.challenger != 0 && block.timestamp < r.resolveBy;
        bytes memory data = abi.encodeCall(IEmacPayouts.resolve, (uint64(r.epoch), uphold));
        if (!_try(ok, arbiter, address(w.payouts), data)) return;
        if (uphold) return _drop(w);
        w.loose += r.stake * UNIT;
        if (r.stake > 0 && !_paused(w)) _bookLoose(w);
        r.readyAt = block.timestamp + r.remaining;
        r.challenger = 0;
        r.stake = 0;
        r.resolveBy = 0;
        r.remaining = 0;
    }

    function _lapse(World storage w) private {
        Round storage r = w.pending;
        bool ok = r.epoch != 0 && r.challenger != 0 && block.timestamp >= r.resolveBy;
        bytes memory data = abi.encodeCall(IEmacPayouts.lapse, (uint64(r.epoch)));
        if (_try(ok, _anyone(), address(w.payouts), data)) _drop(w);
    }

    function _retract(World storage w, uint256 i) private {
        bool stranger = _random(4) == 0;
        bool ok = w.pending.epoch != 0 && !stranger && _random(2) == 0;
        if (!stranger && !ok && w.pending.epoch != 0) return; // half of the time it is left alone
        bytes memory data = abi.encodeCall(IEmacPayouts.retract, (uint64(w.pending.epoch)));
        if (_try(ok, stranger ? wallet[i] : proposer, address(w.payouts), data)) _drop(w);
    }

    function _finalize(World storage w) private {
        Round storage r = w.pending;
        bool ok = r.epoch != 0 && r.challenger == 0 && block.timestamp >= r.readyAt;
        bytes memory data = abi.encodeCall(IEmacPayouts.finalize, (uint64(r.epoch)));
        if (!_try(ok, _anyone(), address(w.payouts), data)) return;
        w.active = r;
        delete w.pending;
    }

    function _drop(World storage w) private {
        Round storage r = w.pending;
        w.reserved = w.active.total;
        if (r.stake > 0) w.balance[r.challenger - 1] += r.stake * UNIT;
        delete w.pending;
    }

    /// A leaf of the active root; at times one of the pending root, or with a wrong sum or proof.
    function _claim(World storage w, uint256 a) private {
        Round storage r = _random(8) == 0 ? w.pending : w.active;
        Leaf memory leaf = r.leaf[a];
        uint256 spoil = _random(10);
        uint64 sum = leaf.cumulative;
        if (spoil == 0) sum++;
        if (spoil == 1 && sum > 0) sum--;
        bytes32[] memory proof = _proof(w, r.epoch, r.leaf, spoil == 2 ? (a + 1) % PEOPLE : a);
        bool real = r.epoch != 0 && r.epoch == w.active.epoch && sum == leaf.cumulative;
        bool ok = real && spoil != 2 && sum > w.claimed[a] && !_paused(w)
            && w.spot[a][leaf.wallet].state == 1
            && w.paid + sum - w.claimed[a] <= w.active.total;
        bytes memory data = abi.encodeCall(
            IEmacPayouts.claim, (_account(a), address(wallet[leaf.wallet]), sum, proof)
        );
        if (!_try(ok, _anyone(), address(w.payouts), data)) return;
        uint256 u = sum - w.claimed[a];
        w.claimed[a] = sum;
        w.paid += u;
        w.balance[leaf.wallet] += u * UNIT;
    }

    // ---- pause, theft, wallets

    function _pause(World storage w) private {
        if (_random(2) == 0) {
            bool rested = block.timestamp >= w.pauseAgainAt;
            if (!_tryHere(rested, address(w.vault), abi.encodeCall(IEmacVault.pause, ()))) return;
            w.pausedUntil = block.timestamp + 3 days;
            w.pauseAgainAt = w.pausedUntil + 7 days;
        } else {
            bytes memory data = abi.encodeCall(IEmacVault.unpause, ());
            if (_tryHere(_paused(w), address(w.vault), data)) w.pausedUntil = block.timestamp;
        }
    }

    /// A wallet without a role tries what needs one: always refused.
    function _theft(World storage w, uint256 a, uint256 i) private {
        address vault = address(w.vault);
        address payouts = address(w.payouts);
        bytes32 account = _account(a);
        address me = address(wallet[i]);
        bytes[8] memory data = [
            abi.encodeCall(IEmacVault.pay, (me, 1)),
            abi.encodeCall(IEmacVault.reserve, (0)),
            abi.encodeCall(IEmacVault.setPayouts, (me)),
            abi.encodeCall(IEmacVault.reduceWithdrawal, (account, me, 0, bytes32(0))),
            abi.encodeCall(IEmacVault.openSlash, (account, me, 1, bytes32(w.evidence + 1))),
            abi.encodeCall(IEmacVault.cancelSlash, (account, me)),
            abi.encodeCall(IEmacPayouts.propose, (uint64(w.lastEpoch + 1), account, 0, 0, 0)),
            abi.encodeCall(IEmacPayouts.resolve, (uint64(w.pending.epoch), true))
        ];
        uint256 k = _random(8);
        _try(false, wallet[i], k < 6 ? vault : payouts, data[k]);
    }

    function _requestChange(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        uint256 to = _random(PEOPLE);
        bool ok = p.state == 1 && p.changeTo == 0 && to != i;
        bytes memory data = abi.encodeCall(
            IEmacBindings.requestChange,
            (
                _account(a),
                address(wallet[i]),
                address(wallet[to]),
                type(uint256).max,
                "",
                "",
                new bytes(64)
            )
        );
        if (!_try(ok, _anyone(), address(w.bindings), data)) return;
        p.changeTo = to + 1;
        p.changeAt = block.timestamp + CHANGE;
    }

    function _endChange(World storage w, uint256 a, uint256 i) private {
        Spot storage p = w.spot[a][i];
        if (_random(4) == 0) {
            bytes memory stop = abi.encodeCall(IEmacBindings.cancelChange, (_account(a)));
            if (_try(p.changeTo != 0, wallet[i], address(w.bindings), stop)) p.changeTo = 0;
            return;
        }
        bool ok = p.changeTo != 0 && block.timestamp >= p.changeAt;
        bytes memory data =
            abi.encodeCall(IEmacBindings.applyChange, (_account(a), address(wallet[i])));
        if (!_try(ok, _anyone(), address(w.bindings), data)) return;
        p.state = 2;
        w.spot[a][p.changeTo - 1].state = 1;
        p.changeTo = 0;
    }

    // ---- comparing

    function _comparePool(World storage w) private view {
        (uint256 funded, uint256 paid, uint256 withdrawn, uint256 reserved, uint256 bonded) =
            w.vault.pool();
        _same("funded", w.funded, funded);
        _same("paid", w.paid, paid);
        _same("withdrawn", w.withdrawn, withdrawn);
        _same("reserved", w.reserved, reserved);
        _same("bonded", w.bonded, bonded);
        _holds("paid <= reserved", paid <= reserved);
        _holds("reserved + withdrawn <= funded", reserved + withdrawn <= funded);
        uint256 held = (funded - paid - withdrawn + bonded) * UNIT + w.loose;
        _same("money of the vault", held, w.token.balanceOf(address(w.vault)));
    }

    function _compare(World storage w) private view {
        _same("stake", w.pending.stake * UNIT, w.token.balanceOf(address(w.payouts)));
        _holds("paid <= total", w.paid <= w.active.total);
        _holds("total <= reserved", w.active.total <= w.reserved);
        IEmacPayouts.Pending memory p = w.payouts.pending();
        _same("pending epoch", w.pending.epoch, p.epoch);
        _same("pending ready", w.pending.readyAt, p.readyAt);
        IEmacPayouts.Active memory active = w.payouts.active();
        _same("active epoch", w.active.epoch, active.epoch);
        _same("active total", w.active.total, active.total);
        for (uint256 i = 0; i < PEOPLE; i++) {
            _same("wallet", w.balance[i], w.token.balanceOf(address(wallet[i])));
            _same("claimed", w.claimed[i], w.payouts.claimed(_account(i)));
        }
        _compareBonds(w);
    }

    function _compareSpot(World storage w, uint256 a, uint256 i) private view {
        Spot storage p = w.spot[a][i];
        IEmacVault.Position memory q = w.vault.positionOf(_account(a), address(wallet[i]));
        _same("deposited", p.deposited, q.deposited);
        _same("withdrawing", p.withdrawing, q.withdrawing);
        _same("readyAt", p.readyAt, q.readyAt);
        _same("bond", p.bond, q.bond);
        _same("unbonding", p.unbonding, q.unbonding);
        _same("releaseAt", p.releaseAt, q.releaseAt);
        _same("slash", p.slash, w.vault.slashOf(_account(a), address(wallet[i])).units);
        bool bound = w.bindings.isBound(_account(a), address(wallet[i]));
        _same("bound", p.state == 1 ? 1 : 0, bound ? 1 : 0);
    }

    function _compareBonds(World storage w) private view {
        uint256 sum = 0;
        for (uint256 k = 0; k < PEOPLE * PEOPLE; k++) {
            Spot storage s = w.spot[k / PEOPLE][k % PEOPLE];
            sum += s.bond + s.unbonding;
        }
        _same("sum of bonds", sum, w.bonded);
    }

    function _same(string memory what, uint256 model, uint256 real) private view {
        if (model != real) revert Mismatch(nowWorld, nowOp, what, model, real, "");
    }

    function _holds(string memory what, bool ok) private view {
        if (!ok) revert Mismatch(nowWorld, nowOp, what, 1, 0, "");
    }

    // ---- acting

    /// Let the hand call; the outcome must be the expected one. Returns it.
    function _try(bool expected, Hand hand, address target, bytes memory data)
        private
        returns (bool)
    {
        (bool ok, bytes memory out) = hand.exec(target, data);
        return _count(expected, ok, out);
    }

    /// The same with the roles of this contract.
    function _tryHere(bool expected, address target, bytes memory data) private returns (bool) {
        (bool ok, bytes memory out) = target.call(data);
        return _count(expected, ok, out);
    }

    function _count(bool expected, bool ok, bytes memory out) private returns (bool) {
        if (ok != expected) {
            revert Mismatch(nowWorld, nowOp, "outcome", expected ? 1 : 0, ok ? 1 : 0, out);
        }
        if (ok) accepted[nowOp]++;
        else refused[nowOp]++;
        return ok;
    }

    function _paused(World storage w) private view returns (bool) {
        return block.timestamp < w.pausedUntil;
    }

    function _account(uint256 a) private pure returns (bytes32) {
        return bytes32(a + 1);
    }

    // ---- chance

    function _random(uint256 n) private returns (uint256) {
        rng = uint256(keccak256(abi.encode(rng)));
        return rng % n;
    }

    function _anyone() private returns (Hand) {
        return wallet[_random(PEOPLE)];
    }

    /// Around a bound: 0, 1, just below, at, just above it, the most there is, or some part.
    function _amount(uint256 bound) private returns (uint64) {
        uint256 k = _random(16);
        uint256 u = 1 + _random(bound + 1) / (1 + _random(16));
        if (k == 0) u = 0;
        if (k == 1) u = 1;
        if (k == 2) u = bound > 0 ? bound - 1 : 0;
        if (k == 3) u = bound;
        if (k == 4) u = bound + 1;
        if (k == 5) u = type(uint64).max - _random(2);
        return uint64(u > type(uint64).max ? type(uint64).max : u);
    }

    // ---- trees of four leaves

    function _hash(World storage w, uint256 epoch, Leaf memory l) private view returns (bytes32) {
        address to = address(wallet[l.wallet]);
        return keccak256(
            bytes.concat(
                keccak256(
                    abi.encode(
                        block.chainid, address(w.payouts), epoch, _account(l.account), to,
                        l.cumulative
                    )
                )
            )
        );
    }

    function _pair(bytes32 a, bytes32 b) private pure returns (bytes32) {
        return a < b ? keccak256(bytes.concat(a, b)) : keccak256(bytes.concat(b, a));
    }

    function _root(World storage w, uint256 epoch, Leaf[LEAVES] memory l)
        private
        view
        returns (bytes32)
    {
        return _pair(
            _pair(_hash(w, epoch, l[0]), _hash(w, epoch, l[1])),
            _pair(_hash(w, epoch, l[2]), _hash(w, epoch, l[3]))
        );
    }

    function _proof(World storage w, uint256 epoch, Leaf[LEAVES] memory l, uint256 k)
        private
        view
        returns (bytes32[] memory proof)
    {
        proof = new bytes32[](2);
        uint256 other = k < 2 ? 2 : 0;
        proof[0] = _hash(w, epoch, l[k ^ 1]);
        proof[1] = _pair(_hash(w, epoch, l[other]), _hash(w, epoch, l[other + 1]));
    }
}

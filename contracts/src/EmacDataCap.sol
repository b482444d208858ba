// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IEmacDataCap} from "../interfaces/IEmacDataCap.sol";
import {Delays} from "./lib/Delays.sol";
import {Sequenced} from "./lib/Sequenced.sol";

/// @title Allowances for data of value; the manual is IEmacDataCap
/// @notice The only loop runs over the votes for one side of a motion, at most VOTES_MAX.
contract EmacDataCap is IEmacDataCap, AccessControlDefaultAdminRules, EIP712, Sequenced {
    /// @param expiresAt second from which no more votes count, 0 before the first
    struct Motion {
        Outcome outcome;
        uint64 expiresAt;
        address[] yes;
        address[] no;
    }

    uint48 public constant ADMIN_DELAY = 1 days;
    uint256 public constant QUORUM_MAX = 16;
    /// Votes of one side that are kept; more than QUORUM_MAX only when notaries lost their role.
    uint256 public constant VOTES_MAX = 32;
    uint64 public constant MOTION_LIFETIME = 30 days;
    uint64 public constant LIFETIME_MIN = 1 days;
    uint64 public constant LIFETIME_MAX = 1825 days;
    bytes32 public constant NOTARY_ROLE = keccak256("NOTARY_ROLE");
    bytes32 public constant SPEND_TYPEHASH =
        keccak256("Spend(bytes32 id,uint64 size,bytes32 deal,uint256 deadline)");

    uint256 public immutable quorum;
    uint64 public immutable lifetime;
    mapping(bytes32 motion => Motion) private _motions;
    mapping(bytes32 motion => mapping(address notary => bool)) private _voted;
    mapping(bytes32 id => Allowance) private _allowances;
    mapping(bytes32 deal => bool) public dealUsed;

    constructor(address admin, uint64 quorum_, uint64 lifetime_)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
        EIP712("EMAC DataCap", "1")
    {
        require(quorum_ > 0 && quorum_ <= QUORUM_MAX, BadQuorum(quorum_));
        require(lifetime_ >= LIFETIME_MIN && lifetime_ <= LIFETIME_MAX, BadLifetime(lifetime_));
        quorum = quorum_;
        lifetime = lifetime_;
    }

    // ---- notaries

    function voteGrant(
        bytes32 client,
        address wallet,
        uint64 size,
        bytes32 evidence,
        bool approve
    ) external onlyRole(NOTARY_ROLE) {
        require(client != 0, ZeroAccount());
        require(wallet != address(0), ZeroWallet());
        require(size > 0, ZeroAmount());
        bytes32 id = grantMotion(client, wallet, size, evidence);
        if (!_vote(id, approve)) return;
        Allowance storage a = _allowances[id];
        a.client = client;
        a.wallet = wallet;
        a.granted = size;
        a.left = size;
        a.expiresAt = Delays.from(lifetime);
        emit Granted(_next(), id, client, wallet, size, evidence, a.expiresAt);
    }

    function voteRemoval(bytes32 id, bytes32 evidence, bool approve)
        external
        onlyRole(NOTARY_ROLE)
    {
        Allowance storage a = _allowances[id];
        require(a.left > 0, NoAllowance(id));
        if (!_vote(removalMotion(id, evidence), approve)) return;
        uint64 left = a.left;
        a.left = 0;
        emit Removed(_next(), id, left, evidence);
    }

    // ---- clients

    function spend(bytes32 id, uint64 size, bytes32 deal) external {
        address wallet = _allowances[id].wallet;
        require(wallet != address(0), NoAllowance(id));
        require(msg.sender == wallet, NotWallet(msg.sender));
        _spend(id, size, deal);
    }

    function spendFor(
        bytes32 id,
        uint64 size,
        bytes32 deal,
        uint256 deadline,
        bytes calldata signature
    ) external {
        address wallet = _allowances[id].wallet;
        require(wallet != address(0), NoAllowance(id));
        require(block.timestamp <= deadline, SignatureExpired(deadline));
        bytes32 digest = spendDigest(id, size, deal, deadline);
        // No nonce: a deal spends once, so the signature is good for once.
        require(
            SignatureChecker.isValidSignatureNowCalldata(wallet, digest, signature),
            BadSignature(wallet)
        );
        _spend(id, size, deal);
    }

    // ---- views

    function outcomeOf(bytes32 motion) external view returns (Outcome) {
        return _motions[motion].outcome;
    }

    function allowanceOf(bytes32 id) external view returns (Allowance memory) {
        return _allowances[id];
    }

    function grantMotion(bytes32 client, address wallet, uint64 size, bytes32 evidence)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode("grant", client, wallet, size, evidence));
    }

    function removalMotion(bytes32 id, bytes32 evidence) public pure returns (bytes32) {
        return keccak256(abi.encode("removal", id, evidence));
    }

    function spendDigest(bytes32 id, uint64 size, bytes32 deal, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(SPEND_TYPEHASH, id, size, deal, deadline)));
    }

    // ---- inside

    /// Count the caller's vote. True when it makes the motion pass.
    function _vote(bytes32 id, bool approve) private returns (bool) {
        Motion storage m = _motions[id];
        require(m.outcome == Outcome.Open, AlreadyDecided(id));
        if (m.expiresAt == 0) m.expiresAt = Delays.from(MOTION_LIFETIME);
        require(block.timestamp < m.expiresAt, MotionExpired(m.expiresAt));
        require(!_voted[id][msg.sender], AlreadyVoted(msg.sender));
        address[] storage side = approve ? m.yes : m.no;
        require(side.length < VOTES_MAX, TooManyVotes(id));
        _voted[id][msg.sender] = true;
        side.push(msg.sender);
        emit Voted(_next(), id, msg.sender, approve);
        if (_standing(side) < quorum) return false;
        m.outcome = approve ? Outcome.Passed : Outcome.Failed;
        if (!approve) emit MotionFailed(_next(), id);
        return approve;
    }

    /// Votes of a side whose notaries still hold their role.
    function _standing(address[] storage side) private view returns (uint256 count) {
        uint256 n = side.length;
        for (uint256 i = 0; i < n; i++) {
            if (hasRole(NOTARY_ROLE, side[i])) count++;
        }
    }

    function _spend(bytes32 id, uint64 size, bytes32 deal) private {
        Allowance storage a = _allowances[id];
        require(size > 0, ZeroAmount());
        require(deal != 0, ZeroDeal());
        require(!dealUsed[deal], DealUsed(deal));
        require(block.timestamp < a.expiresAt, AllowanceExpired(a.expiresAt));
        require(size <= a.left, ExceedsAllowance(size, a.left));
        dealUsed[deal] = true;
        a.left -= size;
        emit Spent(_next(), id, deal, a.client, size, a.left);
    }
}

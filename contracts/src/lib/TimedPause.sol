// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

/// @title A pause that cannot last
/// @notice Holds for PAUSE_MAX at most and cannot be renewed before PAUSE_REST has passed since it
/// had to end, so that no key can lock the money of others in.
abstract contract TimedPause {
    uint64 public constant PAUSE_MAX = 3 days;
    uint64 public constant PAUSE_REST = 7 days;

    /// @notice Second at which the pause ends, or ended.
    uint64 public pausedUntil;
    /// @notice Second from which the next pause can begin.
    uint64 public pauseAgainAt;

    event Paused(address indexed guardian, uint64 until);
    event Unpaused(address indexed guardian);

    error IsPaused(uint64 until);
    error NotPaused();
    error PauseRests(uint64 again);

    modifier whenNotPaused() {
        require(!paused(), IsPaused(pausedUntil));
        _;
    }

    function paused() public view returns (bool) {
        return block.timestamp < pausedUntil;
    }

    function _pause() internal {
        require(block.timestamp >= pauseAgainAt, PauseRests(pauseAgainAt));
        pausedUntil = uint64(block.timestamp) + PAUSE_MAX;
        pauseAgainAt = pausedUntil + PAUSE_REST;
        emit Paused(msg.sender, pausedUntil);
    }

    function _unpause() internal {
        require(paused(), NotPaused());
        pausedUntil = uint64(block.timestamp);
        emit Unpaused(msg.sender);
    }
}

// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {IEmac} from "../../interfaces/IEmac.sol";

/// @title Bounds that all delays share
/// @notice Short enough never to lock money for good, long enough for somebody to look.
library Delays {
    uint64 internal constant MIN = 1 hours;
    uint64 internal constant MAX = 60 days;

    function check(uint64 delay) internal pure returns (uint64) {
        require(delay >= MIN && delay <= MAX, IEmac.BadDelay(delay));
        return delay;
    }

    /// @return the second `delay` from now.
    function from(uint64 delay) internal view returns (uint64) {
        return uint64(block.timestamp) + delay;
    }
}

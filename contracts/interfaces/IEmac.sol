// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

/// @title What all contracts share
/// @notice Each contract numbers the events of its interface 1, 2, ... without holes; the number is
/// the first topic (`seq`). Whoever reads logs from a node that he does not trust knows when one is
/// missing, doubled or out of order. (Events of OpenZeppelin's parts, which the ledger does not
/// read, have no number.) Delays are seconds, 1 hour to 60 days.
interface IEmac {
    /// A delay outside its bounds.
    error BadDelay(uint64 delay);

    /// @notice Number of the contract's last event.
    function sequence() external view returns (uint64);
}

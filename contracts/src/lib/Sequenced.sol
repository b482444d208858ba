// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {IEmac} from "../../interfaces/IEmac.sol";

/// @title Numbered events; see IEmac
abstract contract Sequenced is IEmac {
    uint64 public sequence;

    function _next() internal returns (uint64) {
        return ++sequence;
    }
}

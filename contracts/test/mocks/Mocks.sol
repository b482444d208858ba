// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// A token of any decimals, which keeps `feeBps` of each transfer and calls `hook` before it.
contract OddToken is ERC20 {
    uint8 private immutable _decimals;
    uint256 public feeBps;
    address public hookTarget;
    bytes public hookData;
    bytes public hookError;

    constructor(uint8 decimals_, uint256 feeBps_) ERC20("Odd", "ODD") {
        _decimals = decimals_;
        feeBps = feeBps_;
        _mint(msg.sender, 1e30);
    }

    function decimals() public view override returns (uint8) {
        return _decimals;
    }

    function setHook(address target, bytes calldata data) external {
        hookTarget = target;
        hookData = data;
    }

    function _update(address from, address to, uint256 value) internal override {
        uint256 fee = from == address(0) ? 0 : (value * feeBps) / 10_000;
        super._update(from, to, value - fee);
        if (hookTarget == address(0)) return;
        (bool ok, bytes memory out) = hookTarget.call(hookData);
        hookError = ok ? bytes("") : out;
    }
}

/// A wallet that does what it is told, and signs (ERC-1271) what it was told to sign.
contract Puppet {
    mapping(bytes32 digest => bool) public signs;

    function exec(address target, bytes calldata data) external returns (bytes memory) {
        (bool ok, bytes memory out) = target.call(data);
        if (!ok) {
            assembly {
                revert(add(out, 32), mload(out))
            }
        }
        return out;
    }

    function sign(bytes32 digest) external {
        signs[digest] = true;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return signs[digest] ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

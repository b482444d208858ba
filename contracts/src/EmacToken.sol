// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title A token for networks that have none
/// @notice ERC-20 with permit (EIP-2612). 18 decimals: 1 token = 10^18 wei = 10^9 ledger units, and
/// a ledger unit is 10^9 wei. The supply is fixed when it is made; nobody can mint, pause or seize.
///
/// INV-1  totalSupply = supplyUnits * 10^9 < 2^63 * 10^9 for ever, so the ledger's int64 holds it.
contract EmacToken is ERC20, ERC20Permit {
    uint256 public constant UNIT = 1e9;

    error BadSupply(uint64 units);

    constructor(string memory name_, string memory symbol_, address holder, uint64 supplyUnits)
        ERC20(name_, symbol_)
        ERC20Permit(name_)
    {
        require(
            supplyUnits > 0 && supplyUnits <= uint64(type(int64).max), BadSupply(supplyUnits)
        );
        _mint(holder, supplyUnits * UNIT);
    }
}

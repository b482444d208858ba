// Contracts of test/mocks, compiled when first asked for.
import { compile } from "../build.mjs";

let made = null;

export function mock(name) {
  made ??= compile(["test/mocks/Mocks.sol"]).contracts["test/mocks/Mocks.sol"];
  return { abi: made[name].abi, bytecode: `0x${made[name].evm.bytecode.object}` };
}

// The whole system, deployed as `emac chain deploy` does it, with a cast of accounts.
import { Chain, DAY, HOUR, UNIT, b32 } from "./chain.mjs";
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";
import { Signature, keccak256, toUtf8Bytes } from "ethers";

export const role = (name) => keccak256(toUtf8Bytes(`${name}_ROLE`));
export const ADMIN_ROLE = b32(0);
export const KEY_SIGNATURE = `0x${"5a".repeat(64)}`; // carried, not checked, by the contract
export const CAST = ["admin", "guardian", "ledger", "slasher", "proposer", "arbiter", "alice", "bob",
  "carol", "mallory"];
export const ACCOUNT = { alice: b32(0xa11ce), bob: b32(0xb0b), carol: b32(0xca401) };
export const DELAYS = { withdraw: 7 * DAY, unbond: 14 * DAY, slash: 2 * DAY, change: 3 * DAY,
  window: DAY, resolve: 5 * DAY };
export const STAKE = 1000n;
export const EPOCH_CAP = 1_000_000n;
export const SUPPLY = 1_000_000_000_000n; // units

export async function system(...flags) {
  const chain = await Chain.start(...flags);
  const s = { chain, who: Object.fromEntries(CAST.map((n, i) => [n, chain.accounts[i]])) };
  const { admin } = s.who;
  s.token = await chain.deploy("EmacToken", ["EMAC", "EMAC", admin, SUPPLY]);
  s.vault = await chain.deploy("EmacVault",
    [s.token.address, admin, DELAYS.withdraw, DELAYS.unbond, DELAYS.slash]);
  s.bindings = await chain.deploy("EmacBindings", [DELAYS.change]);
  s.payouts = await chain.deploy("EmacPayouts", [s.vault.address, s.bindings.address, admin,
    DELAYS.window, DELAYS.resolve, STAKE, EPOCH_CAP]);
  s.assets = await chain.deploy("EmacAssets", [s.token.address]);
  s.datacap = await chain.deploy("EmacDataCap", [admin, 2, 365 * DAY]);
  await s.vault.send("setPayouts", s.payouts.address);
  for (const [contract, name] of [["vault", "guardian"], ["vault", "ledger"], ["vault", "slasher"],
    ["payouts", "proposer"], ["payouts", "guardian"], ["payouts", "arbiter"]])
    await s[contract].send("grantRole", role(name.toUpperCase()), s.who[name]);
  for (const name of ["alice", "bob", "carol", "mallory"]) {
    await s.token.send("transfer", s.who[name], 10_000_000n * UNIT);
    for (const spender of [s.vault, s.payouts, s.assets])
      await s.token.as(s.who[name]).send("approve", spender.address, 10_000_000n * UNIT);
  }
  s.walletOf = (name) => chain.wallet(CAST.indexOf(name));
  return s;
}

/// EIP-712 signature of a cast member.
export async function sign(s, name, contract, domainName, types, value) {
  const domain = { name: domainName, version: "1", chainId: 314159,
    verifyingContract: contract.address };
  return s.walletOf(name).signTypedData(domain, types, value);
}

export const BIND = { Bind: [{ name: "account", type: "bytes32" }, { name: "wallet", type: "address" },
  { name: "nonce", type: "uint256" }, { name: "deadline", type: "uint256" }] };
export const CHANGE = { Change: [{ name: "account", type: "bytes32" },
  { name: "from", type: "address" }, { name: "to", type: "address" },
  { name: "nonce", type: "uint256" }, { name: "deadline", type: "uint256" }] };
export const FAR = 4_000_000_000n; // a deadline beyond the tests

/// Arguments of bind(): the member's wallet for an account.
export async function bindArgs(s, name, account = ACCOUNT[name], deadline = FAR) {
  const value = { account, wallet: s.who[name], nonce: 0n, deadline };
  const signature = await sign(s, name, s.bindings, "EMAC Bindings", BIND, value);
  return [account, s.who[name], deadline, signature, KEY_SIGNATURE];
}

/// Arguments of requestChange(): from one member's wallet to another's.
export async function changeArgs(s, account, from, to, nonce, deadline = FAR) {
  const value = { account, from: s.who[from], to: s.who[to], nonce, deadline };
  const by = (name) => sign(s, name, s.bindings, "EMAC Bindings", CHANGE, value);
  return [account, s.who[from], s.who[to], deadline, await by(from), await by(to), KEY_SIGNATURE];
}

export async function bind(s, name, account = ACCOUNT[name]) {
  return s.bindings.send("bind", ...await bindArgs(s, name, account));
}

/// The tree of an epoch over [account, wallet, cumulative] rows, by OpenZeppelin's library.
export function tree(s, epoch, rows, payouts = s.payouts.address, chainId = 314159n) {
  const made = StandardMerkleTree.of(
    rows.map(([account, wallet, cumulative]) => [chainId, payouts, epoch, account, wallet, cumulative]),
    ["uint256", "address", "uint64", "bytes32", "address", "uint64"]);
  return { root: made.root, total: rows.reduce((sum, r) => sum + r[2], 0n),
    leaf: (i) => made.leafHash([chainId, payouts, epoch, ...rows[i]]),
    proof: (i) => made.getProof(i),
    claim: (i) => [...rows[i], made.getProof(i)] };
}

/// Propose a tree and let its window pass.
export async function settle(s, epoch, rows) {
  const made = tree(s, epoch, rows);
  await s.payouts.as(s.who.proposer).send("propose", epoch, made.root, made.total, b32(1), b32(2));
  await s.chain.pass(DELAYS.window);
  await s.payouts.send("finalize", epoch);
  return made;
}

/// Pay in for each name's account, so that there is something to pay out.
export async function fund(s, name, units) {
  return s.vault.as(s.who[name]).send("deposit", ACCOUNT[name], units);
}

/// Token balance in wei.
export const balance = (s, address) => s.token.get("balanceOf", address);

/// deepEqual-able form of pool().
export async function pool(s) {
  const [funded, paid, withdrawn, reserved, bonded] = await s.vault.get("pool");
  return { funded, paid, withdrawn, reserved, bonded };
}

export const vrs = (signature) => Signature.from(signature);
export { HOUR, DAY, UNIT, b32 };

// EmacVault: deposits, withdrawals, bonds, slashes, pause. INV numbers are IEmacVault's.
import { test } from "node:test";
import assert from "node:assert/strict";
import { ACCOUNT, ADMIN_ROLE, DAY, DELAYS, FAR, HOUR, UNIT, b32, balance, fund, pool, role,
  sign, system, vrs } from "./system.mjs";
import { mock } from "./mocks.mjs";

const PERMIT = { Permit: [{ name: "owner", type: "address" }, { name: "spender", type: "address" },
  { name: "value", type: "uint256" }, { name: "nonce", type: "uint256" },
  { name: "deadline", type: "uint256" }] };
const REASON = b32(0x5e), EVIDENCE = b32(0xe1), OTHER = b32(0xe2);
const NOBODY = b32(0);

/// INV-1 and INV-2 at this moment.
async function sound(s) {
  const p = await pool(s);
  assert.ok(p.paid <= p.reserved, "INV-1: paid <= reserved");
  assert.ok(p.reserved + p.withdrawn <= p.funded, "INV-1: reserved + withdrawn <= funded");
  const held = await balance(s, s.vault.address);
  assert.ok(held >= (p.funded - p.paid - p.withdrawn + p.bonded) * UNIT, "INV-2");
  return p;
}

test("vault", async (t) => {
  const s = await system();
  t.after(() => s.chain.stop());
  const { vault, who, chain, token } = s;
  const alice = vault.as(who.alice), bob = vault.as(who.bob), mallory = vault.as(who.mallory);
  const ledger = vault.as(who.ledger), guardian = vault.as(who.guardian);
  const slasher = vault.as(who.slasher);
  const A = ACCOUNT.alice;
  const part = (name, run) => t.test(name, async (t) => {
    await chain.scoped(t);
    await run(t);
    await sound(s);
  });

  await part("what it is made of", async () => {
    assert.equal((await vault.get("token")).toLowerCase(), token.address);
    assert.equal((await vault.get("payouts")).toLowerCase(), s.payouts.address);
    assert.equal(await vault.get("UNIT"), UNIT);
    assert.equal(await vault.get("UNITS_MAX"), 2n ** 63n - 1n);
    assert.equal(await vault.get("withdrawDelay"), BigInt(DELAYS.withdraw));
    assert.equal(await vault.get("unbondDelay"), BigInt(DELAYS.unbond));
    assert.equal(await vault.get("slashDelay"), BigInt(DELAYS.slash));
    assert.equal(await vault.get("SLASH_GRACE"), BigInt(7 * DAY));
    assert.equal(await vault.get("ADMIN_DELAY"), BigInt(DAY));
    for (const name of ["GUARDIAN", "LEDGER", "SLASHER"])
      assert.equal(await vault.get(`${name}_ROLE`), role(name));
  });

  await part("a bad token or delay is refused when it is made", async () => {
    const six = await chain.deploy("OddToken", [6, 0], mock("OddToken"));
    const make = (token, ...delays) => chain.deploy("EmacVault", [token, who.admin, ...delays]);
    await assert.rejects(make(six.address, HOUR, 2 * HOUR, HOUR), { name: "BadToken" });
    await assert.rejects(make(who.alice, HOUR, 2 * HOUR, HOUR), { name: "BadToken" });
    for (const delays of [[HOUR - 1, 2 * HOUR, HOUR], [60 * DAY + 1, 2 * HOUR, HOUR],
      [HOUR, 60 * DAY + 1, HOUR], [HOUR, 2 * HOUR, HOUR - 1], [HOUR, 2 * HOUR, 2 * HOUR]])
      await assert.rejects(make(token.address, ...delays), { name: "BadDelay" });
    await make(token.address, HOUR, 60 * DAY, HOUR);
  });

  await part("the payouts contract is named once", async () => {
    await vault.refuses(["PayoutsAlreadySet"], "setPayouts", s.payouts.address);
    await mallory.refuses(["AccessControlUnauthorizedAccount"], "setPayouts", s.payouts.address);
    const fresh = await chain.deploy("EmacVault", [token.address, who.admin, HOUR, 2 * HOUR, HOUR]);
    await fresh.refuses(["NotPayouts", who.alice], "setPayouts", who.alice);
    await fresh.emits([["PayoutsSet", s.payouts.address]], "setPayouts", s.payouts.address);
  });

  await part("a deposit moves units * 10^9 wei and is numbered", async () => {
    const before = await balance(s, who.alice);
    await alice.emits([["Deposited", A, who.alice, 70n]], "deposit", A, 70n);
    await alice.emits([["Deposited", A, who.alice, 30n]], "deposit", A, 30n);
    assert.equal(before - await balance(s, who.alice), 100n * UNIT);
    assert.equal((await alice.get("positionOf", A, who.alice)).deposited, 100n);
    assert.equal((await pool(s)).funded, 100n);
  });

  await part("a deposit of nothing, for nobody, without money or beyond int64 is refused", async () => {
    await alice.refuses(["ZeroAmount"], "deposit", A, 0n);
    await alice.refuses(["ZeroAccount"], "deposit", NOBODY, 1n);
    await alice.refuses(["TooMuch", 2n ** 63n], "deposit", A, 2n ** 63n);
    await alice.refuses(["ERC20InsufficientAllowance"], "deposit", A, 10_000_001n);
    await ledger.refuses(["ERC20InsufficientAllowance"], "deposit", A, 1n);
    await assert.rejects(alice.send("deposit", A, 2n ** 64n), /out-of-bounds/);
  });

  await part("all that was ever funded stays below 2^63 units", async () => {
    const most = 2n ** 63n - 1n;
    const big = await chain.deploy("EmacToken", ["B", "B", who.admin, most]);
    const v = await chain.deploy("EmacVault", [big.address, who.admin, HOUR, 2 * HOUR, HOUR]);
    await big.send("approve", v.address, most * UNIT);
    await v.send("bond", A, 10n);
    await v.send("deposit", A, most - 10n);
    await v.send("requestWithdrawal", A, 100n);
    await chain.pass(HOUR);
    await v.send("withdraw", A, who.admin);
    await big.send("approve", v.address, most * UNIT);
    await v.refuses(["TooMuch", 1n], "deposit", A, 1n);
    await v.refuses(["TooMuch", 1n], "bond", A, 1n);
    await v.refuses(["TooMuch", 1n], "donate", 1n);
    await v.send("requestUnbond", A, 10n);
    await chain.pass(2 * HOUR);
    await v.send("unbond", A, who.admin);
    await v.send("deposit", A, 10n);
  });

  await part("a permit saves the approval; one used by somebody else does no harm", async () => {
    const permit = async (nonce) => vrs(await sign(s, "alice", token, "EMAC", PERMIT,
      { owner: who.alice, spender: vault.address, value: 40n * UNIT, nonce, deadline: FAR }));
    await token.as(who.alice).send("approve", vault.address, 0n);
    let p = await permit(0n);
    await alice.emits([["Deposited", A, who.alice, 40n]],
      "depositWithPermit", A, 40n, FAR, p.v, p.r, p.s);
    await alice.refuses(["ERC20InsufficientAllowance"],
      "depositWithPermit", A, 40n, FAR, p.v, p.r, p.s);
    p = await permit(1n);
    await token.as(who.mallory).send("permit", who.alice, vault.address, 40n * UNIT, FAR, p.v, p.r,
      p.s);
    await alice.send("depositWithPermit", A, 40n, FAR, p.v, p.r, p.s);
    p = await permit(2n);
    await mallory.send("depositWithPermit", A, 40n, FAR, p.v, p.r, p.s); // with money of his own
    assert.equal((await vault.get("positionOf", A, who.alice)).deposited, 80n);
    assert.equal((await vault.get("positionOf", A, who.mallory)).deposited, 40n);
  });

  await part("a token that takes a fee is refused, one that calls back finds the door shut", async () => {
    const odd = mock("OddToken");
    const fee = await chain.deploy("OddToken", [18, 100], odd);
    const make = (t) => chain.deploy("EmacVault", [t.address, who.admin, HOUR, 2 * HOUR, HOUR]);
    const v1 = await make(fee);
    await fee.send("approve", v1.address, 10n ** 30n);
    await v1.refuses(["WrongAmountMoved", 99n * 10n ** 7n, UNIT], "deposit", A, 1n);
    const hooked = await chain.deploy("OddToken", [18, 0], odd);
    const v2 = await make(hooked);
    await hooked.send("approve", v2.address, 10n ** 30n);
    await v2.send("deposit", A, 9n);
    await v2.send("requestWithdrawal", A, 9n);
    await chain.pass(HOUR);
    const again = [["withdraw", A, who.admin], ["deposit", A, 1n], ["bond", A, 1n], ["donate", 1n],
      ["absorb"], ["unbond", A, who.admin],
      ["depositWithPermit", A, 1n, FAR, 27, b32(1), b32(2)]];
    for (const call of again) {
      const id = await chain.rpc("evm_snapshot");
      await hooked.send("setHook", v2.address, v2.encode(...call));
      await v2.send("withdraw", A, who.admin);
      assert.equal(v2.refusal(await hooked.get("hookError")).name, "ReentrancyGuardReentrantCall");
      assert.deepEqual([...await v2.get("pool")].slice(0, 3), [9n, 0n, 9n]);
      await chain.rpc("evm_revert", id);
    }
  });

  await part("a donation and money sent by mistake go to the pool", async () => {
    await alice.emits([["Donated", who.alice, 5n]], "donate", 5n);
    await alice.refuses(["ZeroAmount"], "donate", 0n);
    await alice.send("bond", A, 9n);
    await mallory.refuses(["ZeroAmount"], "absorb");
    await token.as(who.bob).send("transfer", vault.address, 3n * UNIT + 7n);
    await mallory.emits([["Donated", who.mallory, 3n]], "absorb");
    await mallory.refuses(["ZeroAmount"], "absorb"); // the 7 wei of dust stay behind
    assert.deepEqual(await pool(s), { funded: 8n, paid: 0n, withdrawn: 0n, reserved: 0n, bonded: 9n });
  });

  await part("a withdrawal pays after its delay, once, to the depositor", async () => {
    await fund(s, "alice", 100n);
    await mallory.refuses(["ExceedsDeposit", 1n, 0n], "requestWithdrawal", A, 1n);
    await alice.refuses(["ZeroAmount"], "requestWithdrawal", A, 0n);
    await alice.refuses(["ExceedsDeposit", 101n, 100n], "requestWithdrawal", A, 101n);
    const [e] = await alice.send("requestWithdrawal", A, 60n);
    const readyAt = BigInt(await chain.now() + DELAYS.withdraw);
    assert.deepEqual([...e.args].slice(3), [60n, readyAt]);
    await alice.refuses(["WithdrawalUnderWay"], "requestWithdrawal", A, 1n);
    await mallory.refuses(["NotReady", readyAt], "withdraw", A, who.alice);
    await chain.at(Number(readyAt) - 2);
    await mallory.refuses(["NotReady", readyAt], "withdraw", A, who.alice);
    await chain.at(Number(readyAt));
    const before = await balance(s, who.alice);
    await mallory.emits([["Withdrawn", A, who.alice, 60n]], "withdraw", A, who.alice);
    assert.equal(await balance(s, who.alice) - before, 60n * UNIT);
    await mallory.refuses(["NothingUnderWay"], "withdraw", A, who.alice);
    await alice.refuses(["NothingUnderWay"], "cancelWithdrawal", A);
    assert.equal((await vault.get("positionOf", A, who.alice)).deposited, 40n);
    assert.equal((await pool(s)).withdrawn, 60n);
  });

  await part("the ledger cuts a withdrawal down to what is unspent, before it is ready", async () => {
    await fund(s, "alice", 100n);
    await ledger.refuses(["NothingUnderWay"], "reduceWithdrawal", A, who.alice, 0n, REASON);
    await alice.send("requestWithdrawal", A, 80n);
    await mallory.refuses(["AccessControlUnauthorizedAccount"],
      "reduceWithdrawal", A, who.alice, 0n, REASON);
    await ledger.refuses(["ExceedsWithdrawal", 80n, 80n],
      "reduceWithdrawal", A, who.alice, 80n, REASON);
    await ledger.emits([["WithdrawalReduced", A, who.alice, 50n, REASON]],
      "reduceWithdrawal", A, who.alice, 50n, REASON);
    await ledger.refuses(["ExceedsWithdrawal", 51n, 50n],
      "reduceWithdrawal", A, who.alice, 51n, REASON);
    await chain.pass(DELAYS.withdraw);
    await ledger.refuses(["TooLate"], "reduceWithdrawal", A, who.alice, 0n, REASON);
    await vault.emits([["Withdrawn", A, who.alice, 50n]], "withdraw", A, who.alice);
    // What was cut off was spent: 20 are left of 100.
    await alice.refuses(["ExceedsDeposit", 21n, 20n], "requestWithdrawal", A, 21n);
    await alice.send("requestWithdrawal", A, 20n);
    await ledger.send("reduceWithdrawal", A, who.alice, 0n, REASON);
    await alice.refuses(["NothingUnderWay"], "cancelWithdrawal", A);
    await vault.refuses(["NothingUnderWay"], "withdraw", A, who.alice);
  });

  await part("a cancelled withdrawal can be asked for again", async () => {
    await fund(s, "alice", 10n);
    await alice.send("requestWithdrawal", A, 10n);
    await mallory.refuses(["NothingUnderWay"], "cancelWithdrawal", A);
    await alice.emits([["WithdrawalCancelled", A, who.alice, 10n]], "cancelWithdrawal", A);
    await alice.send("requestWithdrawal", A, 10n);
  });

  await part("during a pause the ledger can still catch up with a withdrawal that is ready", async () => {
    await fund(s, "alice", 10n);
    await alice.send("requestWithdrawal", A, 10n);
    await chain.pass(DELAYS.withdraw);
    await guardian.send("pause");
    await ledger.send("reduceWithdrawal", A, who.alice, 4n, REASON);
    await guardian.send("unpause");
    await ledger.refuses(["TooLate"], "reduceWithdrawal", A, who.alice, 0n, REASON);
    await vault.emits([["Withdrawn", A, who.alice, 4n]], "withdraw", A, who.alice);
  });

  await part("a withdrawal never takes what an epoch has promised", async () => {
    await fund(s, "alice", 100n);
    await alice.send("requestWithdrawal", A, 60n);
    await s.payouts.as(who.proposer).send("propose", 1, b32(1), 50n, REASON, REASON);
    await chain.pass(DELAYS.withdraw);
    await vault.refuses(["ExceedsFunds", 60n, 50n], "withdraw", A, who.alice);
    await s.payouts.as(who.proposer).send("retract", 1);
    await vault.send("withdraw", A, who.alice);
    await s.payouts.as(who.proposer).refuses(["ExceedsFunds", 41n, 40n],
      "propose", 2, b32(1), 41n, REASON, REASON);
  });

  await part("a bond comes back to its wallet after its delay", async () => {
    await alice.refuses(["ZeroAmount"], "bond", A, 0n);
    await alice.refuses(["ZeroAccount"], "bond", NOBODY, 1n);
    await alice.emits([["Bonded", A, who.alice, 50n, 50n]], "bond", A, 50n);
    await alice.emits([["Bonded", A, who.alice, 10n, 60n]], "bond", A, 10n);
    await mallory.refuses(["ExceedsBond", 1n, 0n], "requestUnbond", A, 1n);
    await alice.refuses(["ZeroAmount"], "requestUnbond", A, 0n);
    await alice.refuses(["ExceedsBond", 61n, 60n], "requestUnbond", A, 61n);
    await alice.refuses(["NothingUnderWay"], "unbond", A, who.alice);
    await alice.send("requestUnbond", A, 20n);
    await chain.pass(DAY);
    const [e] = await alice.send("requestUnbond", A, 5n); // restarts the clock
    const releaseAt = BigInt(await chain.now() + DELAYS.unbond);
    assert.deepEqual([e.name, ...[...e.args].slice(3)], ["UnbondRequested", 5n, 25n, releaseAt]);
    await chain.pass(DELAYS.unbond - DAY);
    await alice.refuses(["NotReady", releaseAt], "unbond", A, who.alice);
    await chain.pass(DAY);
    const before = await balance(s, who.alice);
    await mallory.emits([["Unbonded", A, who.alice, 25n]], "unbond", A, who.alice);
    assert.equal(await balance(s, who.alice) - before, 25n * UNIT);
    assert.equal((await pool(s)).bonded, 35n);
    assert.equal((await pool(s)).funded, 0n); // a bond is not a deposit
    await alice.refuses(["ExceedsDeposit", 1n, 0n], "requestWithdrawal", A, 1n);
  });

  await part("a proven lie loses its bond, on its way out or not", async () => {
    await alice.send("bond", A, 50n);
    await bob.send("bond", A, 50n); // another wallet's bond for the same account is not touched
    await alice.send("requestUnbond", A, 20n);
    await mallory.refuses(["AccessControlUnauthorizedAccount"],
      "openSlash", A, who.alice, 30n, EVIDENCE);
    await slasher.refuses(["ZeroAmount"], "openSlash", A, who.alice, 0n, EVIDENCE);
    await slasher.refuses(["TooMuch", 2n ** 63n], "openSlash", A, who.alice, 2n ** 63n, EVIDENCE);
    await slasher.refuses(["ExceedsBond", 1n, 0n], "openSlash", A, who.carol, 1n, EVIDENCE);
    await mallory.refuses(["NothingUnderWay"], "executeSlash", A, who.alice);
    const [e] = await slasher.send("openSlash", A, who.alice, 30n, EVIDENCE);
    const executeAt = BigInt(await chain.now() + DELAYS.slash);
    assert.deepEqual([e.name, ...[...e.args].slice(3)], ["SlashOpened", 30n, EVIDENCE, executeAt]);
    assert.deepEqual([...await vault.get("slashOf", A, who.alice)],
      [30n, executeAt, executeAt + BigInt(7 * DAY), EVIDENCE]);
    assert.equal(await vault.get("evidenceUsed", EVIDENCE), true);
    await slasher.refuses(["SlashUnderWay"], "openSlash", A, who.alice, 1n, OTHER);
    await mallory.refuses(["NotReady", executeAt], "executeSlash", A, who.alice);
    await chain.pass(DELAYS.slash);
    await mallory.emits([["Slashed", A, who.alice, 30n, EVIDENCE]], "executeSlash", A, who.alice);
    await mallory.refuses(["NothingUnderWay"], "executeSlash", A, who.alice);
    await slasher.refuses(["EvidenceUsed", EVIDENCE], "openSlash", A, who.alice, 1n, EVIDENCE);
    const p = await vault.get("positionOf", A, who.alice);
    assert.deepEqual([p.bond, p.unbonding], [20n, 0n]);
    assert.deepEqual(await pool(s), { funded: 30n, paid: 0n, withdrawn: 0n, reserved: 0n, bonded: 70n });
  });

  await part("a slash takes no more than there is", async () => {
    await alice.send("bond", A, 50n);
    await alice.send("requestUnbond", A, 20n);
    await slasher.send("openSlash", A, who.alice, 2n ** 63n - 1n, EVIDENCE);
    await chain.pass(DELAYS.slash);
    await vault.emits([["Slashed", A, who.alice, 50n, EVIDENCE]], "executeSlash", A, who.alice);
  });

  await part("an open slash holds the bond; a guardian can end it, and so does time", async () => {
    await alice.send("bond", A, 50n);
    await alice.send("requestUnbond", A, 50n);
    await guardian.refuses(["NothingUnderWay"], "cancelSlash", A, who.alice);
    await chain.pass(DELAYS.unbond - DAY);
    await slasher.send("openSlash", A, who.alice, 50n, EVIDENCE);
    await chain.pass(DAY);
    await alice.refuses(["SlashUnderWay"], "unbond", A, who.alice);
    await mallory.refuses(["AccessControlUnauthorizedAccount"], "cancelSlash", A, who.alice);
    const id = await chain.rpc("evm_snapshot");
    await guardian.emits([["SlashCancelled", A, who.alice, EVIDENCE]], "cancelSlash", A, who.alice);
    await alice.emits([["Unbonded", A, who.alice, 50n]], "unbond", A, who.alice);
    await chain.rpc("evm_revert", id);
    await chain.pass(DELAYS.slash + 7 * DAY);
    await vault.refuses(["Lapsed"], "executeSlash", A, who.alice);
    await guardian.refuses(["NothingUnderWay"], "cancelSlash", A, who.alice);
    const id2 = await chain.rpc("evm_snapshot");
    await slasher.send("openSlash", A, who.alice, 1n, OTHER); // a new proof opens a new case
    await chain.rpc("evm_revert", id2);
    await alice.send("unbond", A, who.alice);
  });

  await part("a pause stops the money, and ends by itself", async () => {
    await fund(s, "alice", 10n);
    await alice.send("requestWithdrawal", A, 10n);
    await alice.send("bond", A, 10n);
    await alice.send("requestUnbond", A, 10n);
    await chain.pass(DELAYS.unbond);
    await mallory.refuses(["AccessControlUnauthorizedAccount"], "pause");
    await mallory.refuses(["AccessControlUnauthorizedAccount"], "unpause");
    await guardian.refuses(["NotPaused"], "unpause");
    const [e] = await guardian.send("pause");
    const until = BigInt(await chain.now() + 3 * DAY), again = until + BigInt(7 * DAY);
    assert.deepEqual([...e.args].slice(1), [until]);
    assert.equal(await vault.get("paused"), true);
    assert.equal(await vault.get("pausedUntil"), until);
    assert.equal(await vault.get("pauseAgainAt"), again);
    assert.equal(await vault.get("PAUSE_MAX") + await vault.get("PAUSE_REST"), BigInt(10 * DAY));
    const stopped = [["deposit", A, 1n], ["depositWithPermit", A, 1n, FAR, 27, b32(1), b32(2)],
      ["donate", 1n], ["absorb"], ["bond", A, 1n], ["withdraw", A, who.alice],
      ["unbond", A, who.alice]];
    for (const call of stopped) await alice.refuses(["IsPaused", until], ...call);
    await guardian.refuses(["PauseRests", again], "pause");
    await chain.pass(3 * DAY);
    assert.equal(await vault.get("paused"), false);
    await guardian.refuses(["PauseRests", again], "pause");
    await guardian.refuses(["NotPaused"], "unpause");
    await alice.send("withdraw", A, who.alice);
    await alice.send("unbond", A, who.alice);
    await chain.at(Number(again));
    await guardian.send("pause");
    const [u] = await guardian.send("unpause");
    assert.equal(u.name, "Unpaused");
    assert.equal(await vault.get("paused"), false);
  });

  await part("money leaves to payouts by the payouts contract alone", async () => {
    for (const caller of [vault, mallory, s.vault.as(who.proposer)]) {
      await caller.refuses(["NotPayouts", caller.sender], "reserve", 1n);
      await caller.refuses(["NotPayouts", caller.sender], "pay", who.mallory, 1n);
    }
    const puppet = await chain.deploy("Puppet", [], mock("Puppet"));
    const v = await chain.deploy("EmacVault", [token.address, who.admin, HOUR, 2 * HOUR, HOUR]);
    await v.send("setPayouts", puppet.address);
    await token.send("approve", v.address, 100n * UNIT);
    await v.send("deposit", A, 100n);
    const as = (...call) => ["exec", v.address, v.encode(...call)];
    await puppet.refuses(["ExceedsFunds", 101n, 100n], ...as("reserve", 101n));
    await puppet.refuses(["ExceedsReserve", 1n, 0n], ...as("pay", who.bob, 1n));
    await puppet.send(...as("reserve", 100n));
    await puppet.send(...as("reserve", 60n)); // falls back when a proposal is dropped
    await puppet.send(...as("pay", who.bob, 50n));
    await puppet.refuses(["ExceedsReserve", 11n, 10n], ...as("pay", who.bob, 11n));
    await puppet.refuses(["ExceedsReserve", 50n, 49n], ...as("reserve", 49n));
    await v.send("requestWithdrawal", A, 100n);
    await chain.pass(HOUR);
    await v.refuses(["ExceedsFunds", 100n, 40n], "withdraw", A, who.admin);
    await v.send("grantRole", role("GUARDIAN"), who.admin);
    await v.send("pause");
    await puppet.refuses(["IsPaused"], ...as("pay", who.bob, 1n));
  });

  await part("the admin is handed over in two steps with a day between", async () => {
    await mallory.refuses(["AccessControlUnauthorizedAccount"], "grantRole", role("LEDGER"),
      who.mallory);
    await vault.refuses(["AccessControlEnforcedDefaultAdminRules"], "grantRole", ADMIN_ROLE,
      who.mallory);
    await vault.send("beginDefaultAdminTransfer", who.bob);
    await bob.refuses(["AccessControlEnforcedDefaultAdminDelay"], "acceptDefaultAdminTransfer");
    await chain.pass(DAY + 1);
    await bob.send("acceptDefaultAdminTransfer");
    assert.equal((await vault.get("defaultAdmin")).toLowerCase(), who.bob);
    await vault.refuses(["AccessControlUnauthorizedAccount"], "grantRole", role("LEDGER"), who.bob);
  });

});

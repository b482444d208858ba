// EmacPayouts: the life of a root, and claims. INV numbers are IEmacPayouts's.
import { test } from "node:test";
import assert from "node:assert/strict";
import { ACCOUNT, DAY, DELAYS, EPOCH_CAP, HOUR, STAKE, UNIT, b32, balance, bind, bindArgs,
  changeArgs, fund, pool, role, settle, system, tree } from "./system.mjs";
import { mock } from "./mocks.mjs";

const LEAVES = b32(0x1ea), JOURNAL = b32(0x30), REASON = b32(0x5e), ROOT = b32(0x4007);

test("payouts", async (t) => {
  const s = await system();
  t.after(() => s.chain.stop());
  const { payouts, vault, who, chain } = s;
  const by = (name) => payouts.as(who[name]);
  const proposer = by("proposer"), arbiter = by("arbiter"), guardian = by("guardian");
  const mallory = by("mallory");
  const rows = (a, b, c) => [[ACCOUNT.alice, who.alice, a], [ACCOUNT.bob, who.bob, b],
    [ACCOUNT.carol, who.carol, c]].filter((r) => r[2] !== undefined);
  for (const name of ["alice", "bob"]) await bind(s, name);
  await fund(s, "carol", 1000n);
  const part = (name, run) => t.test(name, async (t) => {
    await chain.scoped(t);
    await run(t);
  });

  await part("what it is made of", async () => {
    assert.equal((await payouts.get("vault")).toLowerCase(), vault.address);
    assert.equal((await payouts.get("bindings")).toLowerCase(), s.bindings.address);
    assert.equal(await payouts.get("window"), BigInt(DELAYS.window));
    assert.equal(await payouts.get("resolveWindow"), BigInt(DELAYS.resolve));
    assert.equal(await payouts.get("challengeStake"), STAKE);
    assert.equal(await payouts.get("epochCap"), EPOCH_CAP);
    assert.equal(await payouts.get("ADMIN_DELAY"), BigInt(DAY));
    for (const name of ["PROPOSER", "GUARDIAN", "ARBITER"])
      assert.equal(await payouts.get(`${name}_ROLE`), role(name));
    const make = (...rest) => chain.deploy("EmacPayouts",
      [vault.address, s.bindings.address, who.admin, ...rest, 1n]);
    assert.equal(await payouts.get("EPOCH_STEP_MAX"), 1000n);
    await assert.rejects(chain.deploy("EmacPayouts",
      [vault.address, who.alice, who.admin, HOUR, HOUR, 1n, 1n]), { name: "BadBindings" });
    await assert.rejects(make(HOUR - 1, HOUR, 1n), { name: "BadDelay" });
    await assert.rejects(make(HOUR, 60 * DAY + 1, 1n), { name: "BadDelay" });
    await assert.rejects(make(HOUR, HOUR, 0n), { name: "NoStake" });
    assert.equal(await payouts.get("UNITS_MAX"), 2n ** 63n - 1n);
    await payouts.refuses(["TooMuch", 2n ** 63n], "setEpochCap", 2n ** 63n);
  });

  await part("a proposal by the proposer alone, one at a time, covered and within the cap", async () => {
    await mallory.refuses(["AccessControlUnauthorizedAccount"],
      "propose", 1, ROOT, 1n, LEAVES, JOURNAL);
    await proposer.refuses(["BadEpoch", 0n, 0n], "propose", 0, ROOT, 1n, LEAVES, JOURNAL);
    await proposer.refuses(["BadEpoch", 1001n, 0n], "propose", 1001, ROOT, 1n, LEAVES, JOURNAL);
    await proposer.refuses(["ZeroRoot"], "propose", 1, b32(0), 1n, LEAVES, JOURNAL);
    await proposer.refuses(["ExceedsFunds", 1001n, 1000n], "propose", 1, ROOT, 1001n, LEAVES, JOURNAL);
    await proposer.refuses(["ExceedsEpochCap", EPOCH_CAP + 1n, EPOCH_CAP],
      "propose", 1, ROOT, EPOCH_CAP + 1n, LEAVES, JOURNAL);
    const proposed = await proposer.send("propose", 5, ROOT, 10n, LEAVES, JOURNAL);
    const [name, readyAt] = [proposed[0].name, proposed[0].args[6]];
    assert.deepEqual([name, ...[...proposed[0].args].slice(1, 6)],
      ["Proposed", 5n, ROOT, 10n, LEAVES, JOURNAL]);
    const [reserved] = vault.events(proposed.logs);
    assert.deepEqual([reserved.name, reserved.args[1]], ["Reserved", 10n]);
    assert.equal(readyAt, BigInt(await chain.now() + DELAYS.window));
    assert.equal((await pool(s)).reserved, 10n);
    assert.equal(await payouts.get("lastEpoch"), 5n);
    await proposer.refuses(["ProposalPending", 5n], "propose", 6, ROOT, 10n, LEAVES, JOURNAL);
    await payouts.refuses(["ProposalPending", 5n], "setEpochCap", 1n);
    await payouts.refuses(["WindowOpen", readyAt], "finalize", 5);
    await payouts.refuses(["NoSuchProposal", 4n], "finalize", 4);
    await payouts.refuses(["NoSuchProposal", 0n], "finalize", 0);
    await chain.pass(DELAYS.window);
    await mallory.emits([["Finalized", 5n, ROOT, 10n]], "finalize", 5);
    await payouts.refuses(["NoSuchProposal", 5n], "finalize", 5);
    assert.deepEqual([...await payouts.get("active")], [5n, 10n, ROOT]);
    assert.equal((await payouts.get("pending")).epoch, 0n);
    await proposer.refuses(["BadEpoch", 5n, 5n], "propose", 5, ROOT, 10n, LEAVES, JOURNAL);
    await proposer.refuses(["TotalFalls", 9n, 10n], "propose", 6, ROOT, 9n, LEAVES, JOURNAL);
  });

  await part("the cap binds the growth of an epoch", async () => {
    await mallory.refuses(["AccessControlUnauthorizedAccount"], "setEpochCap", 1n);
    await payouts.emits([["EpochCapSet", 50n]], "setEpochCap", 50n);
    await settle(s, 1, rows(20n, 30n));
    await proposer.refuses(["ExceedsEpochCap", 51n, 50n], "propose", 2, ROOT, 101n, LEAVES, JOURNAL);
    await proposer.send("propose", 2, ROOT, 100n, LEAVES, JOURNAL);
  });

  await part("the tree is OpenZeppelin's standard one, of any size", async () => {
    for (const n of [1, 2, 3, 4, 5, 7, 8, 33]) {
      const many = Array.from({ length: n }, (_, i) => [b32(1000 + i), who.alice, BigInt(i + 1)]);
      const made = tree(s, 9, many);
      for (let i = 0; i < n; i++)
        assert.equal(made.leaf(i), await payouts.get("leafOf", 9, ...many[i]));
    }
  });

  await part("a claim pays what is new, once, to the bound wallet", async () => {
    const first = await settle(s, 1, rows(100n, 50n, 5n));
    const before = await balance(s, who.alice);
    const { logs } = await mallory.emits([["Claimed", ACCOUNT.alice, who.alice, 1n, 100n, 100n]],
      "claim", ...first.claim(0));
    const [paid] = vault.events(logs);
    assert.deepEqual([paid.name, paid.args[1].toLowerCase(), paid.args[2]],
      ["PaidOut", who.alice, 100n]);
    assert.equal(await balance(s, who.alice) - before, 100n * UNIT);
    await by("alice").refuses(["NothingToClaim", 100n, 100n], "claim", ...first.claim(0));
    await by("carol").refuses(["WalletNotBound", ACCOUNT.carol, who.carol], "claim", ...first.claim(2));
    const second = await settle(s, 2, rows(130n, 50n, 5n));
    await payouts.refuses(["BadProof"], "claim", ...first.claim(1)); // the root was replaced
    await payouts.emits([["Claimed", ACCOUNT.alice, who.alice, 2n, 30n, 130n]],
      "claim", ...second.claim(0));
    await payouts.emits([["Claimed", ACCOUNT.bob, who.bob, 2n, 50n, 50n]],
      "claim", ...second.claim(1)); // an epoch that was not claimed is not lost
    await bind(s, "carol");
    await payouts.send("claim", ...second.claim(2));
    assert.equal(await payouts.get("claimed", ACCOUNT.alice), 130n);
    assert.deepEqual(await pool(s),
      { funded: 1000n, paid: 185n, withdrawn: 0n, reserved: 185n, bonded: 0n });
  });

  await part("smaller, larger, foreign and forged claims are refused", async () => {
    const first = await settle(s, 1, rows(100n, 50n));
    await payouts.send("claim", ...first.claim(0));
    const less = await settle(s, 2, rows(90n, 60n)); // a wrong root, which took from alice
    await payouts.refuses(["NothingToClaim", 90n, 100n], "claim", ...less.claim(0));
    const good = less.claim(1);
    const change = (i, v) => good.map((x, j) => (i === j ? v : x));
    await payouts.refuses(["BadProof"], "claim", ...change(0, ACCOUNT.carol));
    await payouts.refuses(["BadProof"], "claim", ...change(1, who.mallory));
    await payouts.refuses(["BadProof"], "claim", ...change(2, 61n));
    await payouts.refuses(["BadProof"], "claim", ...change(2, 59n));
    await payouts.refuses(["BadProof"], "claim", ...change(3, []));
    await payouts.refuses(["BadProof"], "claim", ...change(3, [ROOT]));
    await payouts.refuses(["BadProof"], "claim", ...change(3, [...good[3], ROOT]));
    // An inner node offered as a leaf: its preimage is 64 bytes, a leaf's 32, hashed twice.
    await payouts.refuses(["BadProof"], "claim", less.leaf(0), who.alice, 1n, []);
  });

  await part("a leaf of another chain, contract or epoch is no leaf here", async () => {
    const leaf = rows(100n)[0];
    const strange = [tree(s, 1, [leaf], vault.address), tree(s, 1, [leaf], undefined, 1n),
      tree(s, 7, [leaf])];
    let epoch = 0;
    for (const made of strange) {
      await proposer.send("propose", ++epoch, made.root, 100n, LEAVES, JOURNAL);
      await chain.pass(DELAYS.window);
      await payouts.send("finalize", epoch);
      await payouts.refuses(["BadProof"], "claim", ...leaf, []);
    }
    const one = await settle(s, ++epoch, [leaf]); // a tree of one leaf has an empty proof
    await payouts.send("claim", ...one.claim(0));
  });

  await part("nothing can be claimed before the first root", async () => {
    await payouts.refuses(["BadProof"], "claim", ACCOUNT.alice, who.alice, 1n, []);
    await payouts.refuses(["NothingToClaim", 0n, 0n], "claim", ACCOUNT.alice, who.alice, 0n, []);
  });

  await part("a wrong root that promises more leaves than its total pays no more than the total", async () => {
    const made = tree(s, 1, rows(100n, 50n));
    await proposer.send("propose", 1, made.root, 120n, LEAVES, JOURNAL);
    await chain.pass(DELAYS.window);
    await payouts.send("finalize", 1);
    await payouts.send("claim", ...made.claim(0));
    await payouts.refuses(["ExceedsTotal", 50n, 20n], "claim", ...made.claim(1));
    assert.equal(await payouts.get("paid"), 100n);
    // A pending root reserves more, but what is active still pays its own total only; otherwise the
    // pending root could not fall any more.
    await proposer.send("propose", 2, ROOT, 500n, LEAVES, JOURNAL);
    await payouts.refuses(["ExceedsTotal", 50n, 20n], "claim", ...made.claim(1));
    await proposer.send("retract", 2);
  });

  await part("after a change of wallet the old one gets nothing, the new one the next epoch", async () => {
    const first = await settle(s, 1, rows(100n));
    await s.bindings.send("requestChange", ...await changeArgs(s, ACCOUNT.alice, "alice", "bob", 1n));
    await chain.pass(DELAYS.change);
    await s.bindings.send("applyChange", ACCOUNT.alice, who.alice);
    await payouts.refuses(["WalletNotBound", ACCOUNT.alice, who.alice], "claim", ...first.claim(0));
    await s.bindings.refuses(["NotFree"], "bind", ...await bindArgs(s, "alice"));
    const second = await settle(s, 2, [[ACCOUNT.alice, who.bob, 100n]]);
    await payouts.emits([["Claimed", ACCOUNT.alice, who.bob, 2n, 100n, 100n]],
      "claim", ...second.claim(0));
  });

  await part("the old root pays while a new one is pending", async () => {
    const first = await settle(s, 1, rows(100n));
    await proposer.send("propose", 2, ROOT, 150n, LEAVES, JOURNAL);
    await guardian.send("challenge", 2, ROOT, REASON);
    await payouts.send("claim", ...first.claim(0));
  });

  await part("anyone who stakes can challenge, a guardian without", async () => {
    await mallory.refuses(["NoSuchProposal", 1n], "challenge", 1, ROOT, REASON);
    await proposer.send("propose", 1, ROOT, 10n, LEAVES, JOURNAL);
    const { readyAt } = await payouts.get("pending");
    await mallory.refuses(["NoSuchProposal", 1n], "challenge", 1, b32(7), REASON);
    await mallory.refuses(["NoSuchProposal", 2n], "challenge", 2, ROOT, REASON);
    await by("ledger").refuses(["ERC20InsufficientAllowance"], "challenge", 1, ROOT, REASON);
    const id = await chain.rpc("evm_snapshot");
    const [g] = await guardian.send("challenge", 1, ROOT, REASON);
    assert.deepEqual([...g.args].slice(1, 4).map(String).map((x) => x.toLowerCase()),
      ["1", who.guardian, REASON]);
    assert.equal((await payouts.get("pending")).stake, 0n);
    await chain.rpc("evm_revert", id);
    const before = await balance(s, who.mallory);
    await mallory.send("challenge", 1, ROOT, REASON);
    assert.equal(before - await balance(s, who.mallory), STAKE * UNIT);
    await guardian.refuses(["AlreadyChallenged", who.mallory], "challenge", 1, ROOT, REASON);
    await chain.pass(DELAYS.window);
    await payouts.refuses(["AlreadyChallenged", who.mallory], "finalize", 1);
    assert.ok(readyAt <= BigInt(await chain.now()));
  });

  await part("the window closes", async () => {
    await proposer.send("propose", 1, ROOT, 10n, LEAVES, JOURNAL);
    const { readyAt } = await payouts.get("pending");
    await chain.at(Number(readyAt));
    await mallory.refuses(["WindowClosed", readyAt], "challenge", 1, ROOT, REASON);
    await guardian.refuses(["WindowClosed", readyAt], "challenge", 1, ROOT, REASON);
  });

  await part("upheld: the root falls, its number is used, the stake comes back", async () => {
    const first = await settle(s, 1, rows(100n));
    await proposer.send("propose", 2, ROOT, 900n, LEAVES, JOURNAL);
    const before = await balance(s, who.mallory);
    await mallory.send("challenge", 2, ROOT, REASON);
    await mallory.refuses(["AccessControlUnauthorizedAccount"], "resolve", 2, true);
    await arbiter.refuses(["NoSuchProposal", 1n], "resolve", 1, true);
    await arbiter.emits([["Dropped", 2n, ROOT]], "resolve", 2, true);
    assert.equal(await balance(s, who.mallory), before);
    assert.equal((await pool(s)).reserved, 100n);
    assert.deepEqual([...await payouts.get("active")].slice(0, 2), [1n, 100n]);
    await arbiter.refuses(["NoSuchProposal", 2n], "resolve", 2, true);
    await proposer.refuses(["BadEpoch", 2n, 2n], "propose", 2, ROOT, 900n, LEAVES, JOURNAL);
    await payouts.send("claim", ...first.claim(0));
  });

  await part("overruled: the stake goes to the pool, the window goes on where it stopped", async () => {
    await proposer.send("propose", 1, ROOT, 10n, LEAVES, JOURNAL);
    await arbiter.refuses(["NotChallenged"], "resolve", 1, false);
    await payouts.refuses(["NotChallenged"], "lapse", 1);
    await chain.pass(HOUR);
    await mallory.send("challenge", 1, ROOT, REASON);
    const { remaining } = await payouts.get("pending");
    await chain.pass(2 * DAY);
    const [e] = await arbiter.send("resolve", 1, false);
    assert.deepEqual([e.name, e.args[1], e.args[2]],
      ["Overruled", 1n, BigInt(await chain.now()) + remaining]);
    assert.ok(remaining > 22n * BigInt(HOUR) && remaining <= 23n * BigInt(HOUR));
    assert.equal((await pool(s)).funded, 1000n + STAKE);
    assert.equal(await balance(s, payouts.address), 0n);
    await payouts.refuses(["WindowOpen"], "finalize", 1);
    await guardian.send("challenge", 1, ROOT, REASON); // it can be challenged again
    await arbiter.send("resolve", 1, false);
    assert.equal((await pool(s)).funded, 1000n + STAKE);
    await chain.pass(Number(remaining));
    await payouts.send("finalize", 1);
  });

  await part("a pause does not silence the arbiter", async () => {
    await proposer.send("propose", 1, ROOT, 10n, LEAVES, JOURNAL);
    await mallory.send("challenge", 1, ROOT, REASON);
    await vault.as(who.guardian).send("pause");
    await arbiter.send("resolve", 1, false);
    assert.equal((await pool(s)).funded, 1000n);
    await vault.as(who.guardian).send("unpause");
    await vault.emits([["Donated", who.admin, STAKE]], "absorb");
    assert.equal((await pool(s)).funded, 1000n + STAKE);
  });

  await part("nobody judges his own cause", async () => {
    await payouts.send("grantRole", role("PROPOSER"), who.arbiter);
    await arbiter.send("propose", 1, ROOT, 10n, LEAVES, JOURNAL);
    await guardian.send("challenge", 1, ROOT, REASON);
    await arbiter.refuses(["OwnCause", who.arbiter], "resolve", 1, false);
    await arbiter.send("retract", 1);
    await payouts.send("grantRole", role("GUARDIAN"), who.arbiter);
    await proposer.send("propose", 2, ROOT, 10n, LEAVES, JOURNAL);
    await arbiter.send("challenge", 2, ROOT, REASON);
    await arbiter.refuses(["OwnCause", who.arbiter], "resolve", 2, true);
  });

  await part("without the arbiter's word in time the root falls", async () => {
    await proposer.send("propose", 1, ROOT, 10n, LEAVES, JOURNAL);
    const before = await balance(s, who.mallory);
    await mallory.send("challenge", 1, ROOT, REASON);
    const { resolveBy } = await payouts.get("pending");
    await payouts.refuses(["StillTime", resolveBy], "lapse", 1);
    await chain.at(Number(resolveBy));
    await arbiter.refuses(["TimeIsUp", resolveBy], "resolve", 1, false);
    await by("bob").emits([["Dropped", 1n, ROOT]], "lapse", 1);
    assert.equal(await balance(s, who.mallory), before);
    assert.equal((await pool(s)).reserved, 0n);
  });

  await part("a proposer takes back his mistake, challenged or not", async () => {
    await mallory.refuses(["NoSuchProposal", 1n], "retract", 1);
    await proposer.send("propose", 1, ROOT, 10n, LEAVES, JOURNAL);
    await mallory.refuses(["NotProposer", who.mallory], "retract", 1);
    await proposer.emits([["Dropped", 1n, ROOT]], "retract", 1);
    await proposer.send("propose", 2, ROOT, 10n, LEAVES, JOURNAL);
    const before = await balance(s, who.mallory);
    await mallory.send("challenge", 2, ROOT, REASON);
    await proposer.send("retract", 2);
    assert.equal(await balance(s, who.mallory), before);
  });

  await part("a paused vault pays no claim, for three days at most", async () => {
    const first = await settle(s, 1, rows(100n));
    await vault.as(who.guardian).send("pause");
    await payouts.refuses(["IsPaused"], "claim", ...first.claim(0));
    await chain.pass(3 * DAY);
    await payouts.send("claim", ...first.claim(0));
  });

  await part("a token that calls back during a claim finds the door shut", async () => {
    const hooked = await chain.deploy("OddToken", [18, 0], mock("OddToken"));
    const v = await chain.deploy("EmacVault", [hooked.address, who.admin, HOUR, 2 * HOUR, HOUR]);
    const p = await chain.deploy("EmacPayouts",
      [v.address, s.bindings.address, who.admin, HOUR, HOUR, 1n, EPOCH_CAP]);
    await v.send("setPayouts", p.address);
    await hooked.send("approve", v.address, 10n ** 30n);
    await v.send("deposit", ACCOUNT.carol, 1000n);
    await p.send("grantRole", role("PROPOSER"), who.admin);
    const made = tree(s, 1, rows(100n, 50n), p.address);
    await p.send("propose", 1, made.root, 150n, LEAVES, JOURNAL);
    await chain.pass(HOUR);
    await p.send("finalize", 1);
    for (const call of [["claim", ...made.claim(0)], ["claim", ...made.claim(1)]]) {
      const id = await chain.rpc("evm_snapshot");
      await hooked.send("setHook", p.address, p.encode(...call));
      await p.send("claim", ...made.claim(0));
      assert.equal(p.refusal(await hooked.get("hookError")).name, "ReentrancyGuardReentrantCall");
      assert.equal(await hooked.get("balanceOf", who.bob), 0n);
      await chain.rpc("evm_revert", id);
    }
  });
});

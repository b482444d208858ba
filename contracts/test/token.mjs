// EmacToken: fixed supply, ERC-20, permit.
import { test } from "node:test";
import assert from "node:assert/strict";
import { UNIT, balance, sign, system, vrs, FAR, SUPPLY } from "./system.mjs";

const PERMIT = { Permit: [{ name: "owner", type: "address" }, { name: "spender", type: "address" },
  { name: "value", type: "uint256" }, { name: "nonce", type: "uint256" },
  { name: "deadline", type: "uint256" }] };

test("token", async (t) => {
  const s = await system();
  t.after(() => s.chain.stop());
  const { token } = s;

  await t.test("one unit of the ledger is 10^9 wei, one token 10^9 units", async () => {
    assert.equal(await token.get("UNIT"), UNIT);
    assert.equal(await token.get("decimals"), 18n);
    assert.equal(await token.get("totalSupply"), SUPPLY * UNIT);
  });

  await t.test("no supply, or one that the ledger cannot hold, is refused", async () => {
    for (const units of [0n, 2n ** 63n])
      await assert.rejects(s.chain.deploy("EmacToken", ["E", "E", s.who.admin, units]),
        { name: "BadSupply" });
    const most = await s.chain.deploy("EmacToken", ["E", "E", s.who.admin, 2n ** 63n - 1n]);
    assert.equal(await most.get("totalSupply"), (2n ** 63n - 1n) * UNIT);
  });

  await t.test("nobody can mint, burn or take: there is no such function", async () => {
    const names = token.face.fragments.filter((f) => f.type === "function").map((f) => f.name);
    for (const n of names) assert.doesNotMatch(n, /mint|burn|owner$|role|pause|seize/i);
  });

  await t.test("a permit gives the allowance once", async (t) => {
    await s.chain.scoped(t);
    const value = { owner: s.who.alice, spender: s.who.mallory, value: 5n, nonce: 0n, deadline: FAR };
    const { v, r, s: ss } = vrs(await sign(s, "alice", token, "EMAC", PERMIT, value));
    const args = [s.who.alice, s.who.mallory, 5n, FAR, v, r, ss];
    await token.send("permit", ...args);
    assert.equal(await token.get("allowance", s.who.alice, s.who.mallory), 5n);
    await token.as(s.who.mallory).send("transferFrom", s.who.alice, s.who.mallory, 5n);
    await token.refuses(["ERC2612InvalidSigner"], "permit", ...args);
    assert.equal(await token.get("nonces", s.who.alice), 1n);
  });

  await t.test("transfers beyond balance or allowance are refused", async () => {
    const rich = await balance(s, s.who.alice);
    await token.as(s.who.alice).refuses(["ERC20InsufficientBalance", s.who.alice, rich, rich + 1n],
      "transfer", s.who.bob, rich + 1n);
    await token.as(s.who.mallory).refuses(["ERC20InsufficientAllowance"], "transferFrom",
      s.who.alice, s.who.mallory, 1n);
  });
});

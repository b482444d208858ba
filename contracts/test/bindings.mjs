// EmacBindings: who may bind and change a wallet. INV numbers are IEmacBindings's.
import { test } from "node:test";
import assert from "node:assert/strict";

import { TypedDataEncoder, keccak256, toUtf8Bytes } from "ethers";
import { ACCOUNT, BIND, CHANGE, DAY, DELAYS, FAR, HOUR, KEY_SIGNATURE, b32, bind, bindArgs,
  changeArgs, sign, system } from "./system.mjs";
import { mock } from "./mocks.mjs";

const NONE = 0n, BOUND = 1n, RETIRED = 2n;
const ZERO = `0x${"00".repeat(20)}`;

test("bindings", async (t) => {
  const s = await system();
  t.after(() => s.chain.stop());
  const { bindings, who, chain } = s;
  const A = ACCOUNT.alice;
  const mallory = bindings.as(who.mallory);
  const state = (name, account = A) => bindings.get("stateOf", account, who[name]);
  const part = (name, run) => t.test(name, async (t) => {
    await chain.scoped(t);
    await run(t);
  });
  const domain = { name: "EMAC Bindings", version: "1", chainId: 314159,
    verifyingContract: bindings.address };

  await part("what it is made of", async () => {
    assert.equal(await bindings.get("changeDelay"), BigInt(DELAYS.change));
    assert.equal(await bindings.get("KEY_SIGNATURE_BYTES"), 64n);
    const hash = (types) => keccak256(toUtf8Bytes(TypedDataEncoder.from(types).encodeType(
      Object.keys(types)[0])));
    assert.equal(await bindings.get("BIND_TYPEHASH"), hash(BIND));
    assert.equal(await bindings.get("CHANGE_TYPEHASH"), hash(CHANGE));
    const d = await bindings.get("eip712Domain");
    assert.deepEqual([d.name, d.version, d.chainId], ["EMAC Bindings", "1", 314159n]);
    await assert.rejects(chain.deploy("EmacBindings", [HOUR - 1]), { name: "BadDelay" });
  });

  await part("the digests are those of EIP-712", async () => {
    const value = { account: A, wallet: who.alice, nonce: 0n, deadline: FAR };
    assert.equal(await bindings.get("bindDigest", A, who.alice, FAR),
      TypedDataEncoder.hash(domain, BIND, value));
    await bind(s, "alice");
    const change = { account: A, from: who.alice, to: who.bob, nonce: 1n, deadline: FAR };
    assert.equal(await bindings.get("changeDigest", A, who.alice, who.bob, FAR),
      TypedDataEncoder.hash(domain, CHANGE, change));
  });

  await part("a wallet binds itself, through anybody, once", async () => {
    const args = await bindArgs(s, "alice");
    const digest = await bindings.get("bindDigest", A, who.alice, FAR);
    assert.equal(await state("alice"), NONE);
    await mallory.emits([["Bound", A, who.alice, digest, KEY_SIGNATURE]], "bind", ...args);
    assert.equal(await state("alice"), BOUND);
    assert.equal(await bindings.get("isBound", A, who.alice), true);
    assert.equal(await bindings.get("nonceOf", A, who.alice), 1n);
    await mallory.refuses(["NotFree", A, who.alice], "bind", ...args);
  });

  await part("a stranger's pair does not stand in the owner's way", async () => {
    await bind(s, "mallory", A); // without a valid key signature: the ledger ignores it
    await bind(s, "alice", A);
    assert.deepEqual([await state("mallory"), await state("alice")], [BOUND, BOUND]);
  });

  await part("a binding that the wallet did not sign as it stands is refused", async () => {
    const args = await bindArgs(s, "alice");
    const change = (i, v) => args.map((x, j) => (i === j ? v : x));
    const bad = ["BadWalletSignature"];
    await mallory.refuses(bad, "bind", ...change(0, ACCOUNT.bob));
    await mallory.refuses(bad, "bind", ...change(1, who.mallory));
    await mallory.refuses(bad, "bind", ...change(2, FAR - 1n));
    await mallory.refuses(bad, "bind", ...change(3, "0x"));
    await mallory.refuses(bad, "bind", ...change(3, `0x${"11".repeat(65)}`));
    await mallory.refuses(["ZeroAccount"], "bind", ...change(0, b32(0)));
    await mallory.refuses(["ZeroWallet"], "bind", ...change(1, ZERO));
    await mallory.refuses(["BadKeySignature", 0n], "bind", ...change(4, "0x"));
    await mallory.refuses(["BadKeySignature", 65n], "bind", ...change(4, `${KEY_SIGNATURE}00`));
    const late = await bindArgs(s, "alice", A, BigInt(await chain.now()));
    await chain.pass(1);
    await mallory.refuses(["Expired", late[2]], "bind", ...late);
    // Another contract's domain, and a malleable (high s) signature of the right one.
    const other = await chain.deploy("EmacBindings", [DAY]);
    const value = { account: A, wallet: who.alice, nonce: 0n, deadline: FAR };
    await mallory.refuses(bad, "bind",
      ...change(3, await sign(s, "alice", other, "EMAC Bindings", BIND, value)));
    const n = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
    const high = n - BigInt(`0x${args[3].slice(66, 130)}`);
    const v = args[3].endsWith("1b") ? "1c" : "1b";
    const twisted = `${args[3].slice(0, 66)}${high.toString(16).padStart(64, "0")}${v}`;
    await mallory.refuses(bad, "bind", ...change(3, twisted));
  });

  await part("a contract wallet signs by ERC-1271", async () => {
    const safe = await chain.deploy("Puppet", [], mock("Puppet"));
    const args = [A, safe.address, FAR, "0x", KEY_SIGNATURE];
    await mallory.refuses(["BadWalletSignature"], "bind", ...args);
    await safe.send("sign", await bindings.get("bindDigest", A, safe.address, FAR));
    await mallory.send("bind", ...args);
  });

  await part("a change needs both wallets, and time", async () => {
    await bindings.refuses(["NotBound", A, who.alice],
      "requestChange", ...await changeArgs(s, A, "alice", "bob", 0n));
    await bind(s, "alice");
    const args = await changeArgs(s, A, "alice", "bob", 1n);
    const digest = await bindings.get("changeDigest", A, who.alice, who.bob, FAR);
    const [e] = await mallory.send("requestChange", ...args);
    const readyAt = BigInt(await chain.now() + DELAYS.change);
    assert.deepEqual([...e.args].slice(4), [readyAt, digest, KEY_SIGNATURE]);
    assert.deepEqual([...await bindings.get("changeOf", A, who.alice)].map(String)
      .map((x) => x.toLowerCase()), [who.bob, String(readyAt)]);
    await mallory.refuses(["ChangeUnderWay"], "requestChange", ...args);
    await mallory.refuses(["NotReady", readyAt], "applyChange", A, who.alice);
    assert.deepEqual([await state("alice"), await state("bob")], [BOUND, NONE]);
    await chain.at(Number(readyAt));
    await mallory.emits([["Changed", A, who.alice, who.bob]], "applyChange", A, who.alice);
    assert.deepEqual([await state("alice"), await state("bob")], [RETIRED, BOUND]);
    await mallory.refuses(["NoChange"], "applyChange", A, who.alice);
    await mallory.refuses(["NotFree", A, who.alice], "bind", ...await bindArgs(s, "alice"));
    await bindings.send("requestChange", ...await changeArgs(s, A, "bob", "alice", 0n));
    await chain.pass(DELAYS.change);
    await bindings.send("applyChange", A, who.bob); // back, with bob's consent
    assert.deepEqual([await state("alice"), await state("bob")], [BOUND, RETIRED]);
  });

  await part("the old wallet can stop a change; its signature is then used up", async () => {
    await bind(s, "alice");
    const args = await changeArgs(s, A, "alice", "bob", 1n);
    await bindings.send("requestChange", ...args);
    await bindings.as(who.bob).refuses(["NoChange"], "cancelChange", A);
    await bindings.as(who.alice).emits([["ChangeCancelled", A, who.alice, who.bob]],
      "cancelChange", A);
    await bindings.as(who.alice).refuses(["NoChange"], "cancelChange", A);
    await mallory.refuses(["BadWalletSignature", who.alice], "requestChange", ...args);
    await bindings.send("requestChange", ...await changeArgs(s, A, "alice", "bob", 2n));
  });

  await part("a change that somebody did not sign is refused", async () => {
    await bind(s, "alice");
    const args = await changeArgs(s, A, "alice", "mallory", 1n);
    const change = (i, v) => args.map((x, j) => (i === j ? v : x));
    await mallory.refuses(["BadWalletSignature", who.alice], "requestChange", ...change(4, args[5]));
    await mallory.refuses(["BadWalletSignature", who.mallory], "requestChange", ...change(5, args[4]));
    await mallory.refuses(["BadWalletSignature", who.alice], "requestChange", ...change(2, who.bob));
    await mallory.refuses(["ZeroWallet"], "requestChange", ...change(2, ZERO));
    await mallory.refuses(["SameWallet"], "requestChange", ...change(2, who.alice));
    await mallory.refuses(["NotBound", A, who.bob], "requestChange", ...change(1, who.bob));
    await mallory.refuses(["BadKeySignature", 1n], "requestChange", ...change(6, "0x00"));
    const late = await changeArgs(s, A, "alice", "mallory", 1n, BigInt(await chain.now()));
    await chain.pass(1);
    await mallory.refuses(["Expired"], "requestChange", ...late);
  });
});

// EmacAssets: publishing, selling, revoking. INV numbers are IEmacAssets's.
import { test } from "node:test";
import assert from "node:assert/strict";
import { keccak256 } from "ethers";
import { abiEncode } from "./chain.mjs";
import { ACCOUNT, DAY, UNIT, b32, balance, system } from "./system.mjs";
import { mock } from "./mocks.mjs";

const ASSET = b32(0xa55e7), TERMS = b32(0x7e), NEW_TERMS = b32(0x7f), REASON = b32(0x5e);
const FOREVER = 2n ** 64n - 1n;
const OF_ASSET = { asset: ASSET, terms: TERMS, price: 1000n, period: 0, royalty: 1000 };

test("assets", async (t) => {
  const s = await system();
  t.after(() => s.chain.stop());
  const { assets, who, chain, token } = s;
  const by = (name) => assets.as(who[name]);
  const A = ACCOUNT.alice, B = ACCOUNT.bob, C = ACCOUNT.carol;
  const publish = (name, o = {}) => {
    const { asset, terms, price, period, royalty } = { ...OF_ASSET, ...o };
    return by(name).send("publish", asset, ACCOUNT[name] ?? A, terms, price, period, royalty);
  };
  const id = BigInt(keccak256(abiEncode(["bytes32", "address"], [ASSET, who.alice])));
  const gains = async (names, run) => {
    const before = await Promise.all(names.map((n) => balance(s, who[n])));
    await run();
    const after = await Promise.all(names.map((n) => balance(s, who[n])));
    return after.map((b, i) => b - before[i]);
  };
  const part = (name, run) => t.test(name, async (t) => {
    await chain.scoped(t);
    await run(t);
    assert.equal(await balance(s, assets.address), 0n); // it never holds money
  });

  await part("what it is made of", async () => {
    assert.equal((await assets.get("token")).toLowerCase(), token.address);
    assert.equal(await assets.get("UNIT"), UNIT);
    assert.equal(await assets.get("PRICE_MAX"), 2n ** 63n - 1n);
    assert.equal(await assets.get("FOREVER"), FOREVER);
    assert.equal(await assets.get("ROYALTY_MAX_BPS"), 5000n);
    assert.equal(await assets.get("supportsInterface", "0x80ac58cd"), true); // ERC-721
    assert.equal(await assets.get("supportsInterface", "0x2a55205a"), true); // ERC-2981
    assert.equal(await assets.get("supportsInterface", "0xffffffff"), false);
    await assert.rejects(chain.deploy("EmacAssets", [who.alice]), { name: "BadToken" });
    const names = assets.face.fragments.filter((f) => f.type === "function").map((f) => f.name);
    for (const n of names) assert.doesNotMatch(n, /role|pause|admin|upgrade/i);
  });

  await part("publishing names the content, the owner's account and the terms", async () => {
    await by("alice").refuses(["NotOwner", id, who.alice], "setOffer", id, A, TERMS, 1n, 0);
    const events = await publish("alice");
    assert.deepEqual(events.map((e) => e.name), ["Transfer", "Published", "Offered"]);
    assert.deepEqual([...events[1].args].map(String).map((x) => x.toLowerCase()),
      ["1", String(id), ASSET, who.alice, A, "1000"]);
    assert.deepEqual([...events[2].args], [2n, id, TERMS, 1000n, 0n]);
    assert.equal(await assets.get("idOf", ASSET, who.alice), id);
    assert.deepEqual([...await assets.get("offerOf", id)], [ASSET, A, TERMS, 1000n, 0n]);
    assert.equal((await assets.get("ownerOf", id)).toLowerCase(), who.alice);
    assert.deepEqual([...await assets.get("royaltyInfo", id, 1000n)].map(String)
      .map((x) => x.toLowerCase()), [who.alice, "100"]);
  });

  await part("a bad publication is refused, a copy of somebody's content is a token of its own", async () => {
    const put = (...args) => ["publish", ...args];
    const alice = by("alice");
    await alice.refuses(["ZeroAsset"], ...put(b32(0), A, TERMS, 1n, 0, 0));
    await alice.refuses(["ZeroAccount"], ...put(ASSET, b32(0), TERMS, 1n, 0, 0));
    await alice.refuses(["ZeroTerms"], ...put(ASSET, A, b32(0), 1n, 0, 0));
    await alice.refuses(["TooExpensive", 2n ** 63n], ...put(ASSET, A, TERMS, 2n ** 63n, 0, 0));
    await alice.refuses(["RoyaltyTooHigh", 5001n], ...put(ASSET, A, TERMS, 1n, 0, 5001));
    await publish("alice");
    await alice.refuses(["ERC721InvalidSender"], ...put(ASSET, A, TERMS, 1n, 0, 0));
    await publish("mallory");
    assert.notEqual(await assets.get("idOf", ASSET, who.mallory), id);
  });

  await part("a purchase pays the owner and gives access", async () => {
    await publish("alice");
    assert.equal(await assets.get("hasAccess", id, B), false);
    const moved = await gains(["alice", "bob"], () => by("bob").emits(
      [["AccessGranted", id, B, who.bob, TERMS, 1000n, FOREVER]], "buy", id, B, TERMS, 1000n, 0));
    assert.deepEqual(moved, [1000n * UNIT, -1000n * UNIT]);
    assert.equal(await assets.get("hasAccess", id, B), true);
    const a = await assets.get("accessOf", id, B);
    assert.deepEqual([a.terms, a.buyer.toLowerCase(), a.paid, a.until],
      [TERMS, who.bob, 1000n, FOREVER]);
    await by("bob").refuses(["HasAccess", id, B], "buy", id, B, TERMS, 1000n, 0);
    await by("bob").send("buy", id, C, TERMS, 1000n, 0); // for somebody else
  });

  await part("a buyer pays the price and gets the terms that he named", async () => {
    await by("bob").refuses(["NotOnSale", id], "buy", id, B, TERMS, 1000n, 0);
    await publish("alice");
    await by("alice").emits([["Offered", id, NEW_TERMS, 2000n, 60n]],
      "setOffer", id, A, NEW_TERMS, 2000n, 60);
    const changed = ["OfferChanged", NEW_TERMS, 2000n, 60n];
    await by("bob").refuses(changed, "buy", id, B, TERMS, 2000n, 60);
    await by("bob").refuses(changed, "buy", id, B, NEW_TERMS, 1000n, 60);
    await by("bob").refuses(changed, "buy", id, B, NEW_TERMS, 2000n, 0);
    await by("bob").refuses(["ZeroAccount"], "buy", id, b32(0), NEW_TERMS, 2000n, 60);
    await by("ledger").refuses(["ERC20InsufficientAllowance"], "buy", id, B, NEW_TERMS, 2000n, 60);
    await by("bob").send("buy", id, B, NEW_TERMS, 2000n, 60);
  });

  await part("access for a time ends, and can be bought again", async () => {
    await publish("alice", { period: DAY });
    await by("bob").send("buy", id, B, TERMS, 1000n, DAY);
    const { until } = await assets.get("accessOf", id, B);
    assert.equal(until, BigInt(await chain.now() + DAY));
    await chain.at(Number(until));
    assert.equal(await assets.get("hasAccess", id, B), false);
    await by("alice").refuses(["NoAccess", id, B], "revoke", id, B, REASON);
    await by("bob").send("buy", id, B, TERMS, 1000n, DAY);
  });

  await part("after a sale of the token its publisher keeps the royalty", async () => {
    await publish("alice");
    await by("alice").send("transferFrom", who.alice, who.carol, id);
    await by("alice").refuses(["NotOwner", id, who.alice], "setOffer", id, A, TERMS, 1n, 0);
    await by("carol").send("setOffer", id, C, TERMS, 1001n, 0);
    const moved = await gains(["alice", "bob", "carol"],
      () => by("bob").send("buy", id, B, TERMS, 1001n, 0));
    assert.deepEqual(moved, [1001n * UNIT / 10n, -1001n * UNIT, 1001n * UNIT - 1001n * UNIT / 10n]);
  });

  await part("what is free costs nothing, and needs no approval", async () => {
    await publish("alice", { price: 0n });
    await by("ledger").send("buy", id, B, TERMS, 0n, 0);
    await by("alice").emits([["AccessRevoked", id, B, 0n, REASON]], "revoke", id, B, REASON);
  });

  await part("the owner gives access for nothing, to whom and until when he likes", async () => {
    await publish("alice");
    const until = BigInt(await chain.now() + DAY);
    await by("mallory").refuses(["NotOwner", id, who.mallory], "grant", id, C, until);
    await by("alice").refuses(["BadTime", 1n], "grant", id, C, 1n);
    await by("alice").refuses(["ZeroAccount"], "grant", id, b32(0), until);
    await by("alice").emits([["AccessGranted", id, C, who.alice, TERMS, 0n, until]],
      "grant", id, C, until);
    await by("alice").refuses(["HasAccess", id, C], "grant", id, C, FOREVER);
  });

  await part("access that was paid for is revoked by paying it back", async () => {
    await publish("alice");
    await by("bob").send("buy", id, C, TERMS, 1000n, 0);
    await by("mallory").refuses(["NotOwner", id, who.mallory], "revoke", id, C, REASON);
    await by("alice").refuses(["NoAccess", id, B], "revoke", id, B, REASON);
    const moved = await gains(["alice", "bob"], () => by("alice").emits(
      [["AccessRevoked", id, C, 1000n, REASON]], "revoke", id, C, REASON));
    assert.deepEqual(moved, [-1000n * UNIT, 1000n * UNIT]);
    assert.equal(await assets.get("hasAccess", id, C), false);
    await by("alice").refuses(["NoAccess", id, C], "revoke", id, C, REASON);
    await by("bob").send("buy", id, B, TERMS, 1000n, 0);
    await token.as(who.alice).send("approve", assets.address, 0n);
    await by("alice").refuses(["ERC20InsufficientAllowance"], "revoke", id, B, REASON);
    assert.equal(await assets.get("hasAccess", id, B), true);
  });

  await part("a closed offer sells no more; what was bought stays", async () => {
    await publish("alice");
    await by("bob").send("buy", id, B, TERMS, 1000n, 0);
    await by("mallory").refuses(["NotOwner", id, who.mallory], "close", id);
    await by("alice").emits([["Closed", id]], "close", id);
    await by("alice").refuses(["NotOnSale", id], "close", id);
    await by("bob").refuses(["NotOnSale", id], "buy", id, C, TERMS, 1000n, 0);
    assert.equal(await assets.get("hasAccess", id, B), true);
    await by("alice").send("setOffer", id, A, TERMS, 1000n, 0);
    await by("bob").send("buy", id, C, TERMS, 1000n, 0);
  });

  await part("a token that calls back during a purchase finds the door shut", async () => {
    const hooked = await chain.deploy("OddToken", [18, 0], mock("OddToken"));
    const a = await chain.deploy("EmacAssets", [hooked.address]);
    await hooked.send("approve", a.address, 10n ** 30n);
    await a.as(who.alice).send("publish", ASSET, A, TERMS, 5n, 0, 0);
    for (const call of [["buy", id, C, TERMS, 5n, 0], ["revoke", id, B, REASON]]) {
      const snapshot = await chain.rpc("evm_snapshot");
      await hooked.send("setHook", a.address, a.encode(...call));
      await a.send("buy", id, B, TERMS, 5n, 0);
      assert.equal(a.refusal(await hooked.get("hookError")).name, "ReentrancyGuardReentrantCall");
      await chain.rpc("evm_revert", snapshot);
    }
  });
});

// EmacDataCap: motions of notaries, allowances, spending. INV numbers are IEmacDataCap's.
import { test } from "node:test";
import assert from "node:assert/strict";
import { TypedDataEncoder, keccak256, toUtf8Bytes } from "ethers";
import { abiEncode } from "./chain.mjs";
import { ACCOUNT, ADMIN_ROLE, DAY, FAR, b32, role, sign, system } from "./system.mjs";

const EVIDENCE = b32(0xe1), OTHER = b32(0xe2), DEAL = b32(0xdea1), DEAL2 = b32(0xdea2);
const TIB = 2n ** 40n;
const OPEN = 0n, PASSED = 1n, FAILED = 2n;
const ZERO = `0x${"00".repeat(20)}`;
const SPEND = { Spend: [{ name: "id", type: "bytes32" }, { name: "size", type: "uint64" },
  { name: "deal", type: "bytes32" }, { name: "deadline", type: "uint256" }] };

test("data cap", async (t) => {
  const s = await system();
  t.after(() => s.chain.stop());
  const { datacap, who, chain } = s;
  const by = (name) => datacap.as(who[name]);
  const A = ACCOUNT.alice;
  const NOTARIES = ["guardian", "ledger", "arbiter"]; // two of three decide
  for (const n of NOTARIES) await datacap.send("grantRole", role("NOTARY"), who[n]);
  const [one, two, three] = NOTARIES.map(by);
  const motion = [A, who.alice, TIB, EVIDENCE];
  const id = keccak256(abiEncode(["string", "bytes32", "address", "uint64", "bytes32"],
    ["grant", ...motion]));
  const granted = async () => {
    await one.send("voteGrant", ...motion, true);
    return two.send("voteGrant", ...motion, true);
  };
  const part = (name, run) => t.test(name, async (t) => {
    await chain.scoped(t);
    await run(t);
  });

  await part("what it is made of", async () => {
    assert.equal(await datacap.get("quorum"), 2n);
    assert.equal(await datacap.get("lifetime"), BigInt(365 * DAY));
    assert.equal(await datacap.get("NOTARY_ROLE"), role("NOTARY"));
    assert.equal(await datacap.get("MOTION_LIFETIME"), BigInt(30 * DAY));
    assert.equal(await datacap.get("ADMIN_DELAY"), BigInt(DAY));
    assert.equal(await datacap.get("QUORUM_MAX"), 16n);
    assert.equal(await datacap.get("VOTES_MAX"), 32n);
    assert.equal(await datacap.get("grantMotion", ...motion), id);
    assert.equal(await datacap.get("removalMotion", id, OTHER), keccak256(
      abiEncode(["string", "bytes32", "bytes32"], ["removal", id, OTHER])));
    assert.equal(await datacap.get("SPEND_TYPEHASH"), keccak256(toUtf8Bytes(
      TypedDataEncoder.from(SPEND).encodeType("Spend"))));
    const min = Number(await datacap.get("LIFETIME_MIN")), max = Number(await datacap.get("LIFETIME_MAX"));
    for (const quorum of [0, 17])
      await assert.rejects(chain.deploy("EmacDataCap", [who.admin, quorum, DAY]), { name: "BadQuorum" });
    for (const life of [min - 1, max + 1])
      await assert.rejects(chain.deploy("EmacDataCap", [who.admin, 1, life]), { name: "BadLifetime" });
    await chain.deploy("EmacDataCap", [who.admin, 16, max]);
  });

  await part("a quorum of notaries grants an allowance, once", async () => {
    await by("mallory").refuses(["AccessControlUnauthorizedAccount"], "voteGrant", ...motion, true);
    await one.refuses(["ZeroAccount"], "voteGrant", b32(0), who.alice, TIB, EVIDENCE, true);
    await one.refuses(["ZeroWallet"], "voteGrant", A, ZERO, TIB, EVIDENCE, true);
    await one.refuses(["ZeroAmount"], "voteGrant", A, who.alice, 0n, EVIDENCE, true);
    await one.emits([["Voted", id, who.guardian, true]], "voteGrant", ...motion, true);
    await one.refuses(["AlreadyVoted", who.guardian], "voteGrant", ...motion, true);
    await one.refuses(["AlreadyVoted", who.guardian], "voteGrant", ...motion, false);
    assert.equal(await datacap.get("outcomeOf", id), OPEN);
    const events = await two.send("voteGrant", ...motion, true);
    const expiresAt = BigInt(await chain.now() + 365 * DAY);
    assert.deepEqual(events.map((e) => e.name), ["Voted", "Granted"]);
    assert.deepEqual([...events[1].args].slice(4), [TIB, EVIDENCE, expiresAt].map((x) => x));
    assert.equal(await datacap.get("outcomeOf", id), PASSED);
    await three.refuses(["AlreadyDecided", id], "voteGrant", ...motion, true);
    assert.deepEqual([...await datacap.get("allowanceOf", id)].map(String).map((x) => x.toLowerCase()),
      [A, who.alice, TIB, TIB, expiresAt].map(String));
  });

  await part("notaries that disagree: the quorum against ends the motion for good", async () => {
    await one.send("voteGrant", ...motion, true);
    await two.send("voteGrant", ...motion, false);
    assert.equal(await datacap.get("outcomeOf", id), OPEN);
    await three.emits([["Voted", id, who.arbiter, false], ["MotionFailed", id]],
      "voteGrant", ...motion, false);
    assert.equal(await datacap.get("outcomeOf", id), FAILED);
    await datacap.send("grantRole", role("NOTARY"), who.bob);
    await by("bob").refuses(["AlreadyDecided", id], "voteGrant", ...motion, true);
    await by("alice").refuses(["NoAllowance", id], "spend", id, 1n, DEAL);
  });

  await part("the vote of a notary who lost the role does not count", async () => {
    await one.send("voteGrant", ...motion, true);
    await datacap.send("revokeRole", role("NOTARY"), who.guardian);
    await two.emits([["Voted", id, who.ledger, true]], "voteGrant", ...motion, true);
    assert.equal(await datacap.get("outcomeOf", id), OPEN);
    await three.send("voteGrant", ...motion, true);
    assert.equal(await datacap.get("outcomeOf", id), PASSED);
  });

  await part("a motion dies of age", async () => {
    await one.send("voteGrant", ...motion, true);
    await chain.pass(30 * DAY);
    await two.refuses(["MotionExpired"], "voteGrant", ...motion, true);
    await two.send("voteGrant", A, who.alice, TIB, OTHER, true); // a new application
  });

  await part("the list of votes has an end", async () => {
    const c = await chain.deploy("EmacDataCap", [who.admin, 16, 365 * DAY]);
    const voters = Array.from({ length: 33 }, (_, i) => `0x${String(i + 1).padStart(40, "7")}`);
    for (const v of voters) {
      await chain.rpc("anvil_impersonateAccount", v);
      await c.send("grantRole", role("NOTARY"), v);
      const vote = () => c.as(v).send("voteGrant", ...motion, true);
      if (v === voters[32]) await assert.rejects(vote, { name: "TooManyVotes" });
      else await vote();
      await c.send("revokeRole", role("NOTARY"), v);
    }
  });

  await part("an allowance is spent by its wallet, a deal once, never beyond", async () => {
    await by("alice").refuses(["NoAllowance", id], "spend", id, 1n, DEAL);
    await by("mallory").refuses(["NoAllowance", id], "spendFor", id, 1n, DEAL, FAR, "0x");
    await granted();
    await by("mallory").refuses(["NotWallet", who.mallory], "spend", id, 1n, DEAL);
    await by("alice").refuses(["ZeroAmount"], "spend", id, 0n, DEAL);
    await by("alice").refuses(["ZeroDeal"], "spend", id, 1n, b32(0));
    await by("alice").refuses(["ExceedsAllowance", TIB + 1n, TIB], "spend", id, TIB + 1n, DEAL);
    await by("alice").emits([["Spent", id, DEAL, A, 5n, TIB - 5n]], "spend", id, 5n, DEAL);
    assert.equal(await datacap.get("dealUsed", DEAL), true);
    await by("alice").refuses(["DealUsed", DEAL], "spend", id, 5n, DEAL);
    await by("alice").send("spend", id, TIB - 5n, DEAL2);
    await by("alice").refuses(["ExceedsAllowance", 1n, 0n], "spend", id, 1n, b32(3));
    await one.refuses(["NoAllowance", id], "voteRemoval", id, EVIDENCE, true);
  });

  await part("a signed spend can be sent by anybody, once", async () => {
    await granted();
    const value = { id, size: 9n, deal: DEAL, deadline: FAR };
    const signature = await sign(s, "alice", datacap, "EMAC DataCap", SPEND, value);
    const domain = { name: "EMAC DataCap", version: "1", chainId: 314159,
      verifyingContract: datacap.address };
    assert.equal((await datacap.get("eip712Domain")).name, "EMAC DataCap");
    assert.equal(await datacap.get("spendDigest", id, 9n, DEAL, FAR),
      TypedDataEncoder.hash(domain, SPEND, value));
    const mallory = by("mallory");
    await mallory.refuses(["BadSignature", who.alice], "spendFor", id, 10n, DEAL, FAR, signature);
    await mallory.refuses(["BadSignature", who.alice], "spendFor", id, 9n, DEAL2, FAR, signature);
    await mallory.refuses(["BadSignature", who.alice], "spendFor", id, 9n, DEAL, FAR - 1n, signature);
    const late = BigInt(await chain.now());
    await chain.pass(1);
    await mallory.refuses(["SignatureExpired", late], "spendFor", id, 9n, DEAL, late, signature);
    await mallory.emits([["Spent", id, DEAL, A, 9n, TIB - 9n]],
      "spendFor", id, 9n, DEAL, FAR, signature);
    await mallory.refuses(["DealUsed", DEAL], "spendFor", id, 9n, DEAL, FAR, signature);
  });

  await part("an allowance expires", async () => {
    await granted();
    await chain.pass(365 * DAY);
    await by("alice").refuses(["AllowanceExpired"], "spend", id, 1n, DEAL);
  });

  await part("a quorum removes what is left of an abused allowance", async () => {
    await granted();
    await by("alice").send("spend", id, 5n, DEAL);
    await by("mallory").refuses(["AccessControlUnauthorizedAccount"], "voteRemoval", id, OTHER, true);
    await one.send("voteRemoval", id, OTHER, true);
    const events = await three.send("voteRemoval", id, OTHER, true);
    assert.deepEqual([...events[1].args].slice(1), [id, TIB - 5n, OTHER]);
    await by("alice").refuses(["ExceedsAllowance", 1n, 0n], "spend", id, 1n, DEAL2);
    await one.refuses(["AlreadyDecided", id], "voteGrant", ...motion, true);
  });

  await part("there is no transfer, and notaries come and go by the admin", async () => {
    const names = datacap.face.fragments.filter((f) => f.type === "function").map((f) => f.name);
    for (const n of names) assert.doesNotMatch(n, /^transfer|approve$|^mint/i);
    await by("guardian").refuses(["AccessControlUnauthorizedAccount"], "grantRole", role("NOTARY"),
      who.mallory);
    await datacap.refuses(["AccessControlEnforcedDefaultAdminRules"], "grantRole", ADMIN_ROLE, who.bob);
  });
});

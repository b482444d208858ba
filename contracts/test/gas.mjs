// Gas of each action, as a table in docs/chain.md: node test/gas.mjs --write. Loaded by
// all.test.mjs, it checks that the table is true. "first" means that the slots it writes were empty before.
import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./chain.mjs";
import { ACCOUNT, DAY, DELAYS, FAR, UNIT, b32, bindArgs, changeArgs, role, settle, sign,
  system, tree, vrs } from "./system.mjs";

const DOC = join(ROOT, "../docs/chain.md");
const BEGIN = "<!-- gas: node contracts/test/gas.mjs --write -->", END = "<!-- end of gas -->";
const A = ACCOUNT.alice, B = ACCOUNT.bob;
const LEAVES = 1000; // in the tree that is claimed from: a proof of 10 hashes
const PERMIT = { Permit: [{ name: "owner", type: "address" }, { name: "spender", type: "address" },
  { name: "value", type: "uint256" }, { name: "nonce", type: "uint256" },
  { name: "deadline", type: "uint256" }] };

async function measureVault(s, row) {
  const { vault, who, chain } = s;
  const alice = vault.as(who.alice);
  row("deposit, first", await alice.send("deposit", A, 10_000n));
  row("deposit", await alice.send("deposit", A, 10_000n));
  const value = { owner: who.bob, spender: vault.address, value: 100n * UNIT, nonce: 0n, deadline: FAR };
  const { v, r, s: ss } = vrs(await sign(s, "bob", s.token, "EMAC", PERMIT, value));
  row("deposit with permit, first",
    await vault.as(who.bob).send("depositWithPermit", B, 100n, FAR, v, r, ss));
  row("request a withdrawal", await alice.send("requestWithdrawal", A, 100n));
  row("reduce it", await vault.as(who.ledger).send("reduceWithdrawal", A, who.alice, 50n, b32(1)));
  await chain.pass(DELAYS.withdraw);
  row("withdraw", await vault.send("withdraw", A, who.alice));
  row("bond, first", await alice.send("bond", A, 1000n));
  row("request a bond back", await alice.send("requestUnbond", A, 100n));
  row("open a slash", await vault.as(who.slasher).send("openSlash", A, who.alice, 10n, b32(9)));
  await chain.pass(DELAYS.slash);
  row("execute a slash", await vault.send("executeSlash", A, who.alice));
  await chain.pass(DELAYS.unbond);
  row("take a bond back", await vault.send("unbond", A, who.alice));
}

async function measurePayouts(s, row) {
  const { bindings, payouts, who, chain } = s;
  row("bind a wallet", await bindings.send("bind", ...await bindArgs(s, "alice")));
  await settle(s, 1, [[B, who.bob, 1n]]);
  const rows = [[A, who.alice, 50n], ...Array.from({ length: LEAVES - 1 },
    (_, i) => [b32(i + 1), who.bob, 1n])];
  const made = tree(s, 2, rows);
  row("propose an epoch", await payouts.as(who.proposer).send("propose", 2, made.root, made.total,
    b32(1), b32(2)));
  row("challenge it with a stake", await payouts.as(who.mallory).send("challenge", 2, made.root, b32(3)));
  row("overrule the challenge", await payouts.as(who.arbiter).send("resolve", 2, false));
  await chain.pass(DELAYS.window);
  row("finalize an epoch", await payouts.send("finalize", 2));
  row(`claim, first, of ${LEAVES} accounts`, await payouts.send("claim", ...made.claim(0)));
  rows[0][2] = 80n;
  const next = await settle(s, 3, rows);
  row(`claim, of ${LEAVES} accounts`, await payouts.send("claim", ...next.claim(0)));
  row("request a change of wallet",
    await bindings.send("requestChange", ...await changeArgs(s, A, "alice", "carol", 1n)));
  await chain.pass(DELAYS.change);
  row("apply a change of wallet", await bindings.send("applyChange", A, who.alice));
}

async function measureRest(s, row) {
  const { assets, datacap, who } = s;
  const published = await assets.as(who.alice).send("publish", b32(7), A, b32(8), 10n, 0, 1000);
  row("publish an asset", published);
  const id = published[1].args[1];
  row("buy access", await assets.as(who.bob).send("buy", id, B, b32(8), 10n, 0));
  row("revoke access, paying back", await assets.as(who.alice).send("revoke", id, B, b32(1)));
  row("change an offer", await assets.as(who.alice).send("setOffer", id, A, b32(9), 10n, DAY));
  for (const n of ["guardian", "ledger"]) await datacap.send("grantRole", role("NOTARY"), who[n]);
  const motion = [A, who.alice, 1n << 40n, b32(1)];
  const grant = await datacap.get("grantMotion", ...motion);
  row("vote on a grant, first", await datacap.as(who.guardian).send("voteGrant", ...motion, true));
  row("vote that grants (2 of 2)", await datacap.as(who.ledger).send("voteGrant", ...motion, true));
  row("spend an allowance", await datacap.as(who.alice).send("spend", grant, 5n, b32(2)));
}

export async function table() {
  const s = await system();
  const lines = ["| action | gas |", "|---|---|"];
  const row = (action, { gas }) =>
    lines.push(`| ${action} | ${String(gas).replace(/(\d)(?=(\d{3})+$)/g, "$1,")} |`);
  try {
    for (const name of ["token", "vault", "bindings", "payouts", "assets", "datacap"])
      row(`deploy ${s[name].name}`, s[name]);
    await measureVault(s, row);
    await measurePayouts(s, row);
    await measureRest(s, row);
  } finally {
    s.chain.stop();
  }
  return lines.join("\n");
}

function split(doc) {
  const from = doc.indexOf(BEGIN) + BEGIN.length, to = doc.indexOf(END);
  if (from < BEGIN.length || to < from) throw new Error("docs/chain.md has no place for the gas table");
  return [doc.slice(0, from), doc.slice(from, to), doc.slice(to)];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const made = await table();
  const [head, , tail] = split(readFileSync(DOC, "utf8"));
  if (process.argv.includes("--write")) writeFileSync(DOC, `${head}\n${made}\n${tail}`);
  else console.log(made);
} else {
  test("the gas table of docs/chain.md is true", async () => {
    const [, said] = split(readFileSync(DOC, "utf8"));
    assert.equal(said.trim(), await table(), "run node contracts/test/gas.mjs --write");
  });
}

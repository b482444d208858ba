// Random sequences of calls against a model (test/fuzz/Fuzz.sol), on anvil.
//
//   node test/fuzz.mjs                          2,000 sequences
//   SEQUENCES=1000000 SEED=1 node test/fuzz.mjs (SECONDS=170: stop then, and tell how many)
//   node test/fuzz.mjs mutants [TEXT]           each planted bug (with TEXT in it) must be found
//
// A sequence is 12 calls in one deployment, with a jump in time before each third. It starts where
// up to 15 others of the same deployment have ended; then all begin afresh. The limit on the size of
// a contract is lifted, for the driver.
import { test } from "node:test";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Interface, keccak256 } from "ethers";
import { compile } from "../build.mjs";
import { Chain, ROOT, abiEncode } from "./chain.mjs";
import { MUTANTS } from "./fuzz/mutants.mjs";

const SOURCE = "test/fuzz/Fuzz.sol";
const WORLDS = 64, AGE = 16; // deployments side by side; sequences until they begin afresh
const STEPS = 4, CALLS = 3; // of a sequence
const JUMPS = [1, 600, 3600, 7200, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 4 * 86400, 8 * 86400];
const MUTANT_SEQUENCES = 8192; // in which a planted bug must show
const GAS = "0xe8d4a51000"; // 10^12

/// Numbers that follow from the seed alone.
function* chance(seed) {
  for (let n = 0; ; n++) yield BigInt(keccak256(abiEncode(["uint256", "uint256"], [seed, n])));
}

export class Found extends Error {}

class Campaign {
  static async start(instead = {}) {
    const c = new Campaign();
    const { Fuzz } = compile([SOURCE], { instead, lenient: true }).contracts[SOURCE];
    c.face = new Interface(Fuzz.abi);
    c.chain = await Chain.start("--gas-limit", "1000000000000", "--disable-code-size-limit",
      "--prune-history");
    const receipt = await c.send({ data: `0x${Fuzz.evm.bytecode.object}` });
    c.address = receipt.contractAddress;
    for (let i = 0; i < WORLDS; i++) await c.call("make");
    c.counts = null;
    return c;
  }

  async send(tx) {
    const from = this.chain.accounts[0];
    return this.chain.transact({ from, gas: GAS, ...tx });
  }

  async call(fn, ...args) {
    try {
      await this.send({ to: this.address, data: this.face.encodeFunctionData(fn, args) });
    } catch (e) {
      if (typeof e.data !== "string") throw e;
      const error = this.face.parseError(e.data);
      throw new Found(error ? `${error.name}(${[...error.args].join(", ")})` : e.data);
    }
  }

  /// Add up what was accepted and refused, by operation.
  async tally() {
    const data = this.face.encodeFunctionData("counts");
    const out = await this.chain.rpc("eth_call", { to: this.address, data }, "latest");
    const [accepted, refused] = this.face.decodeFunctionResult("counts", out);
    this.counts ??= accepted.map(() => [0n, 0n]);
    accepted.forEach((n, op) => {
      this.counts[op][0] += n;
      this.counts[op][1] += refused[op];
    });
  }

  /// At least this many sequences. Found says the seed and the time at which it happened.
  async run(sequences, seed, progress = () => true) {
    let done = 0, more = true;
    while (more && done < sequences) {
      const id = await this.chain.rpc("evm_snapshot");
      const life = BigInt(seed) * 1_000_000_000n + BigInt(done);
      const rng = chance(life);
      for (let round = 0; round < AGE && done < sequences; round++, done += WORLDS)
        for (let step = 0; step < STEPS; step++) {
          const r = rng.next().value;
          const time = await this.chain.now() + JUMPS[Number(r % BigInt(JUMPS.length))];
          await this.chain.rpc("evm_setNextBlockTimestamp", `0x${time.toString(16)}`);
          await this.call("run", r, CALLS).catch((e) => {
            throw new Found(`SEED=${seed}, sequence ${done}: ${e.message}`);
          });
        }
      await this.tally();
      await this.chain.rpc("evm_revert", id);
      more = progress(done);
    }
    return done;
  }
}

/// The sources with one mutant's text in place of the right one.
function mutated({ file, find, put }) {
  const path = `src/${file}.sol`;
  const text = readFileSync(join(ROOT, path), "utf8");
  assert.equal(text.split(find).length, 2, `mutant "${put}" fits ${path} in one place`);
  return { [path]: text.replace(find, () => put) };
}

async function fuzz(sequences, seed, progress) {
  const c = await Campaign.start();
  try {
    const done = await c.run(sequences, seed, progress);
    return { done, counts: c.counts };
  } finally {
    c.chain.stop();
  }
}

async function hunt(mutant, sequences) {
  const c = await Campaign.start(mutated(mutant));
  try {
    await c.run(sequences, 1);
    return null;
  } catch (e) {
    if (!(e instanceof Found)) throw e;
    return e.message;
  } finally {
    c.chain.stop();
  }
}

async function main() {
  if (process.argv[2] === "mutants") {
    const chosen = MUTANTS.filter((m) => m.find.includes(process.argv[3] ?? ""));
    let missed = 0;
    for (const m of chosen) {
      const how = await hunt(m, MUTANT_SEQUENCES);
      if (!how) missed++;
      const bug = m.put || `without ${m.find}`;
      console.log(`${how ? "found " : "MISSED"} ${m.file}: ${bug}: ${how}`);
    }
    console.log(`${chosen.length - missed} of ${chosen.length} planted bugs found`);
    process.exit(missed ? 1 : 0);
  }
  const sequences = Number(process.env.SEQUENCES ?? 2000), seed = Number(process.env.SEED ?? 1);
  const start = Date.now(), end = start + 1000 * Number(process.env.SECONDS ?? Infinity);
  const { done, counts } = await fuzz(sequences, seed, (n) => {
    if (n % (WORLDS * AGE * 50) === 0) console.log(`${n} sequences`);
    return Date.now() < end;
  });
  const [yes, no] = [0, 1].map((k) => counts.reduce((sum, c) => sum + c[k], 0n));
  console.log(`seed ${seed}: ${done} sequences, ${yes} calls accepted, ${no} refused, as the model said;`
    + ` paid <= funded throughout; ${Math.round((Date.now() - start) / 1000)} s`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
else
  test("random calls do what the model says, and paid stays within funded", async () => {
    const { counts } = await fuzz(2000, 1);
    for (const [op, [yes, no]] of counts.entries()) {
      assert.ok(no > 0n, `operation ${op} was never refused`);
      assert.ok(yes > 0n || op === 23, `operation ${op} was never accepted`); // 23 is theft
    }
  });

// Every function, event and error that is EMAC's own must have been touched by the tests before.
import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Interface } from "ethers";
import { compile } from "../build.mjs";
import { ROOT, artefact, seen } from "./chain.mjs";

const CONTRACTS = ["Vault", "Bindings", "Payouts", "Assets", "DataCap"];

test("every function of every contract is called", () => {
  const missed = [];
  for (const name of ["Token", ...CONTRACTS].map((n) => `Emac${n}`)) {
    const own = ownNames(name);
    new Interface(artefact(name).abi).forEachFunction((f) => {
      const sig = `${name}.${f.format("sighash")}`;
      if (own.has(f.name) && !seen.functions.has(sig)) missed.push(sig);
    });
  }
  assert.deepEqual(missed, []);
});

test("every event is seen, every error is provoked", () => {
  const paths = CONTRACTS.map((n) => `interfaces/IEmac${n}.sol`);
  const { contracts } = compile(paths);
  const missed = [];
  for (const [i, n] of CONTRACTS.entries()) {
    const face = new Interface(contracts[paths[i]][`IEmac${n}`].abi);
    face.forEachEvent((e) => {
      const sig = `Emac${n}.${e.format("sighash")}`;
      if (!seen.events.has(sig)) missed.push(sig);
    });
    face.forEachError((e) => {
      if (!seen.errors.has(e.format("sighash"))) missed.push(e.format("sighash"));
    });
  }
  assert.deepEqual(missed, []);
});

/// Names declared in a contract's own source and the parts of src/lib.
function ownNames(name) {
  const lib = join(ROOT, "src/lib");
  const texts = [join(ROOT, "src", `${name}.sol`), ...readdirSync(lib).map((f) => join(lib, f))]
    .map((p) => readFileSync(p, "utf8")).join("\n");
  const names = [...texts.matchAll(/function (\w+)|(?:public|constant|immutable) (?:immutable )?(\w+)/g)];
  return new Set(names.map((m) => m[1] ?? m[2]));
}

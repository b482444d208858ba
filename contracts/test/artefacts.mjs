// The committed artefacts are what the sources give, and say what the README says.
import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { build } from "../build.mjs";
import { ROOT } from "./chain.mjs";

test("compiling again gives abi/ byte for byte", async () => {
  const made = await build();
  const files = readdirSync(join(ROOT, "abi")).sort();
  assert.deepEqual(files, Object.keys(made).map((n) => `${n}.json`).sort());
  for (const f of files) {
    const text = readFileSync(join(ROOT, "abi", f), "utf8");
    assert.ok(text === made[f.replace(/\.json$/, "")], `abi/${f} is stale: run node build.mjs`);
    JSON.parse(text);
  }
});

test("the README has every contract's constructor as it is", () => {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  for (const f of readdirSync(join(ROOT, "abi"))) {
    const { contract, abi } = JSON.parse(readFileSync(join(ROOT, "abi", f), "utf8"));
    const inputs = abi.find((x) => x.type === "constructor").inputs;
    const line = readme.split("\n").find((l) => l.startsWith(`| \`${contract}\``));
    const types = [...line.split("|")[2].matchAll(/(string|address|uint64) /g)].map((m) => m[1]);
    assert.deepEqual(types, inputs.map((i) => i.type), contract);
  }
});

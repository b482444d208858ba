// Compiles src/ with solc-js and OpenZeppelin from node_modules into abi/<Name>.json.
//
//   node build.mjs            write abi/
//   node build.mjs --check    write nothing; exit 1 unless abi/ is byte for byte the same
//
// The artefacts are committed, because building EMAC must not need npm. So the output may depend on
// nothing but the sources and the locked versions: settings are fixed here, paths are relative, and
// the metadata hash, which would change with any comment, is left out of the code.
import { readFileSync, writeFileSync, readdirSync, existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";

const ROOT = dirname(fileURLToPath(import.meta.url));
const CODE_MAX = 24576; // EIP-170
const SETTINGS = {
  optimizer: { enabled: true, runs: 1000 },
  evmVersion: "cancun",
  viaIR: false,
  metadata: { bytecodeHash: "none", appendCBOR: false },
};

function load(path) {
  const local = path.startsWith("@") ? join(ROOT, "node_modules", path) : join(ROOT, path);
  return readFileSync(local, "utf8");
}

/// Compile the paths and what they import; throws with all errors and warnings. The fuzzer can replace
/// the text of files (`instead`: {path: text}), and is lenient: warnings do not count.
export function compile(sources, { instead = {}, lenient = false } = {}) {
  const solc = createRequire(import.meta.url)("solc");
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(sources.map((p) => [p, { content: instead[p] ?? load(p) }])),
    settings: {
      ...SETTINGS,
      outputSelection: {
        "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object",
          "evm.methodIdentifiers"] },
      },
    },
  };
  const find = (path) => {
    try {
      return { contents: instead[path] ?? load(path) };
    } catch (e) {
      return { error: e.message };
    }
  };
  const out = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
  const findings = (out.errors ?? []).filter((e) => e.severity === "error" || !lenient)
    .map((e) => e.formattedMessage);
  if (findings.length) throw new Error(findings.join("\n"));
  return { version: solc.version(), contracts: out.contracts };
}

/// The committed form of one contract.
async function artefact(name, version, c) {
  const { Interface } = await import("ethers");
  const face = new Interface(c.abi);
  const sorted = (pairs) => Object.fromEntries(pairs.sort(([a], [b]) => (a < b ? -1 : 1)));
  const events = [], errors = [];
  face.forEachEvent((e) => events.push([e.format("sighash"), e.topicHash]));
  face.forEachError((e) => errors.push([e.format("sighash"), e.selector]));
  const selectors = Object.entries(c.evm.methodIdentifiers).map(([s, id]) => [s, `0x${id}`]);
  const compiler = `solc ${version}, optimizer ${SETTINGS.optimizer.runs} runs, ${SETTINGS.evmVersion}`;
  const table = (pairs) => JSON.stringify(sorted(pairs), null, 2).replace(/}$/, " }");
  const abi = c.abi.map((item) => `  ${JSON.stringify(item)}`).join(",\n");
  return `{
 "contract": "${name}",
 "compiler": "${compiler}",
 "selectors": ${table(selectors)},
 "topics": ${table(events)},
 "errors": ${table(errors)},
 "bytecode": "0x${c.evm.bytecode.object}",
 "abi": [
${abi}
 ]
}
`;
}

/// All of src/ as {name: text of abi/name.json}.
export async function build() {
  const files = readdirSync(join(ROOT, "src")).filter((f) => f.endsWith(".sol")).sort();
  const { version, contracts } = compile(files.map((f) => `src/${f}`));
  const out = {};
  for (const f of files) {
    const name = f.replace(/\.sol$/, "");
    const c = contracts[`src/${f}`][name];
    const size = c.evm.deployedBytecode.object.length / 2;
    if (size > CODE_MAX) throw new Error(`${name}: ${size} bytes of code, limit ${CODE_MAX}`);
    out[name] = await artefact(name, version, c);
  }
  return out;
}

async function main() {
  const check = process.argv.includes("--check");
  const dir = join(ROOT, "abi");
  mkdirSync(dir, { recursive: true });
  const made = await build();
  const stale = [];
  for (const [name, text] of Object.entries(made)) {
    const path = join(dir, `${name}.json`);
    if (existsSync(path) && readFileSync(path, "utf8") === text) continue;
    if (check) stale.push(name);
    else writeFileSync(path, text);
  }
  const strangers = readdirSync(dir).filter((f) => !(f.replace(/\.json$/, "") in made));
  for (const f of [...stale.map((n) => `${n}.json differs`), ...strangers.map((f) => `${f} has no source`)])
    console.error(`abi/${f}: run node build.mjs`);
  if (stale.length + strangers.length) process.exit(1);
  console.log(`${Object.keys(made).length} contracts ${check ? "are" : "written"} in abi/`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();

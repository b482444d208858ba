// A local chain for the tests: anvil as a child process, and contracts whose calls, errors and
// events are remembered, so that coverage.mjs can say what no test has touched.
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AbiCoder, HDNodeWallet, Interface, Mnemonic } from "ethers";
import assert from "node:assert/strict";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
export const UNIT = 10n ** 9n;
export const HOUR = 3600;
export const DAY = 24 * HOUR;
// npm has it for 64-bit PCs with Linux; elsewhere name one that is installed.
const ANVIL = process.env.ANVIL
  ?? join(ROOT, "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
const MNEMONIC = "test test test test test test test test test test test junk"; // anvil's

/// What the tests have touched: "Contract.signature".
export const seen = { functions: new Set(), errors: new Set(), events: new Set() };

export function artefact(name) {
  return JSON.parse(readFileSync(join(ROOT, "abi", `${name}.json`), "utf8"));
}

async function freePort() {
  return new Promise((resolve) => {
    const s = createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}

/// A call that the chain refused: `name` of the error, and its arguments.
export class Refused extends Error {
  constructor(name, args, text) {
    super(text);
    this.name = name;
    this.args = args;
  }
}

export class Chain {
  static async start(...flags) {
    const chain = new Chain();
    const port = await freePort();
    chain.url = `http://127.0.0.1:${port}`;
    chain.process = spawn(ANVIL,
      ["--port", String(port), "--silent", "--hardfork", "cancun", "--chain-id", "314159",
        "--timestamp", "1700000000", "--base-fee", "0", ...flags],
      { stdio: "ignore" });
    chain.process.unref();
    const exited = new Promise((_, fail) =>
      chain.process.once("exit", (code) => fail(new Error(`anvil ended with ${code}`))));
    exited.catch(() => {});
    process.once("exit", chain.onExit = () => chain.stop());
    await Promise.race([chain.ready(), exited]);
    chain.accounts = (await chain.rpc("eth_accounts")).map((a) => a.toLowerCase());
    return chain;
  }

  async ready() {
    while (true) {
      try {
        return await this.rpc("eth_chainId");
      } catch (e) {
        if (e.cause?.code !== "ECONNREFUSED") throw e;
      }
    }
  }

  stop() {
    if (!this.process) return;
    process.removeListener("exit", this.onExit);
    this.process.removeAllListeners("exit");
    this.process.kill("SIGKILL");
    this.process = null;
  }

  async rpc(method, ...params) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const headers = { "content-type": "application/json" };
    const reply = await (await fetch(this.url, { method: "POST", body, headers })).json();
    if (!reply.error) return reply.result;
    const e = new Error(reply.error.message);
    e.data = reply.error.data;
    throw e;
  }

  /// Time of the last block.
  async now() {
    return Number((await this.rpc("eth_getBlockByNumber", "latest", false)).timestamp);
  }

  /// The next block comes at this second.
  async at(second) {
    await this.rpc("evm_setNextBlockTimestamp", `0x${second.toString(16)}`);
    await this.rpc("evm_mine");
  }

  async pass(seconds) {
    await this.at(await this.now() + seconds);
  }

  /// State that is undone when the test `t` ends.
  async scoped(t) {
    const id = await this.rpc("evm_snapshot");
    t.after(() => this.rpc("evm_revert", id));
  }

  wallet(i) {
    return HDNodeWallet.fromMnemonic(Mnemonic.fromPhrase(MNEMONIC), `m/44'/60'/0'/0/${i}`);
  }

  async transact(tx) {
    const receipt = await this.rpc("eth_sendTransactionSync",
      { gas: "0x1c9c380", gasPrice: "0x0", ...tx });
    if (receipt.status !== "0x1") await this.rpc("eth_call", tx, "latest");
    return receipt;
  }

  async deploy(name, args = [], made = artefact(name)) {
    const face = new Interface(made.abi);
    const data = made.bytecode + face.encodeDeploy(args).slice(2);
    const c = new Contract(this, name, face, null);
    const receipt = await c.explain(() => this.transact({ from: this.accounts[0], data }));
    c.address = receipt.contractAddress.toLowerCase();
    c.gas = BigInt(receipt.gasUsed);
    seen.functions.add(`${name}.constructor`);
    c.events(receipt.logs);
    return c;
  }
}

export class Contract {
  constructor(chain, name, face, address) {
    Object.assign(this, { chain, name, face, address, sender: chain.accounts[0] });
  }

  /// The same contract, called by another account.
  as(sender) {
    return Object.assign(Object.create(Contract.prototype), this, { sender });
  }

  encode(fn, ...args) {
    seen.functions.add(`${this.name}.${this.face.getFunction(fn).format("sighash")}`);
    return this.face.encodeFunctionData(fn, args);
  }

  /// A view: one value, or the list of them.
  async get(fn, ...args) {
    const tx = { from: this.sender, to: this.address, data: this.encode(fn, ...args) };
    const out = await this.explain(() => this.chain.rpc("eth_call", tx, "latest"));
    const values = this.face.decodeFunctionResult(fn, out);
    return values.length === 1 ? values[0] : values;
  }

  /// A transaction: its events as {name, args}, with gas.
  async send(fn, ...args) {
    const tx = { from: this.sender, to: this.address, data: this.encode(fn, ...args) };
    const receipt = await this.explain(() => this.chain.transact(tx));
    const events = this.events(receipt.logs);
    events.gas = BigInt(receipt.gasUsed);
    events.logs = receipt.logs; // of other contracts too
    return events;
  }

  /// A transaction that must emit exactly these events of this contract: [name, ...arguments],
  /// without the number that comes first, which must go on from the last one.
  async emits(expected, fn, ...args) {
    const before = await this.get("sequence");
    const events = await this.send(fn, ...args);
    const plain = events.map((e) => [e.name, ...[...e.args].slice(1).map(flat)]);
    assert.deepEqual(plain, expected.map((e) => e.map(flat)));
    assert.deepEqual(events.map((e) => e.args[0]), expected.map((_, i) => before + BigInt(i) + 1n));
    return events;
  }

  /// A transaction that must be refused with this error and, where given, these arguments.
  async refuses([error, ...expected], fn, ...args) {
    try {
      await this.send(fn, ...args);
    } catch (e) {
      assert.ok(e instanceof Refused, e.stack);
      assert.equal(e.name, error, e.message);
      if (expected.length) assert.deepEqual([...e.args].map(flat), expected.map(flat));
      return;
    }
    assert.fail(`${this.name}.${fn} was not refused with ${error}`);
  }

  events(logs) {
    const out = [];
    for (const log of logs) {
      if (this.address && log.address.toLowerCase() !== this.address) continue;
      const e = this.face.parseLog(log);
      if (!e) continue;
      seen.events.add(`${this.name}.${e.signature}`);
      out.push({ name: e.name, args: e.args });
    }
    return out;
  }

  async explain(run) {
    try {
      return await run();
    } catch (e) {
      if (typeof e.data !== "string") throw e;
      throw this.refusal(e.data);
    }
  }

  refusal(data) {
    for (const face of [this.face, ...faces()]) {
      const e = face.parseError(data);
      if (!e) continue;
      seen.errors.add(e.signature);
      return new Refused(e.name, e.args, `${e.name}(${[...e.args].join(", ")})`);
    }
    return new Refused(data, [], `unknown error ${data}`);
  }
}

let known = null;
function faces() {
  known ??= ["EmacVault", "EmacPayouts", "EmacBindings", "EmacToken", "EmacAssets", "EmacDataCap"]
    .map((name) => new Interface(artefact(name).abi));
  return known;
}

/// Comparable form of ABI values: integers as BigInt, addresses and bytes lower case.
function flat(v) {
  if (typeof v === "number") return BigInt(v);
  if (typeof v === "string") return v.startsWith("0x") ? v.toLowerCase() : v;
  return v;
}

export const b32 = (n) => `0x${BigInt(n).toString(16).padStart(64, "0")}`;
export const abiEncode = (types, values) => AbiCoder.defaultAbiCoder().encode(types, values);

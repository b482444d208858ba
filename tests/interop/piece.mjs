// Piece commitments against @web3-storage/data-segment, and our CARs read by @ipld/car:
// node piece.mjs EMAC WORK. Sizes around every edge of padding, and some by a fixed generator.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { Piece } from '@web3-storage/data-segment'
import * as Hasher from '@web3-storage/data-segment/multihash'
import { CarReader } from '@ipld/car'
import * as Link from 'multiformats/link'
import * as Raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'

const [emac, work] = process.argv.slice(2)
const run = (...args) => JSON.parse(execFileSync(emac, [...args, '--json']).toString().trim().split('\n').pop())
let state = 1n
const next = () => Number((state = (state * 6364136223846793005n + 1442695040888963407n) & (2n ** 64n - 1n)) >> 33n)
const fill = n => Uint8Array.from({ length: n }, () => next() & 255)

// Version 2 through the streaming multihash, which takes payloads of any size as FRC-0069 does.
function theirs(bytes) {
  const hasher = Hasher.create()
  hasher.write(bytes)
  return { v2: Link.create(Raw.code, hasher.digest()).toString(), v1: Piece.fromDigest(hasher.digest()).toInfo().link.toString() }
}

function compare(path, bytes, what) {
  const a = run('data', 'piece', path), b = theirs(bytes)
  if (a.piece !== b.v2 || a.commp !== b.v1 || a.size !== bytes.length)
    throw new Error(`${what}: ${JSON.stringify(a)} here, ${JSON.stringify(b)} there`)
}

const sizes = [0, 1, 64, 65, 126, 127, 128, 253, 254, 255, 508, 65023, 65024, 65025, 130049, 1 << 20, 3000000]
for (let i = 0; i < 10; i++) sizes.push(next() % 200000)
for (const n of sizes) {
  const bytes = fill(n)
  writeFileSync(`${work}/piece`, bytes)
  compare(`${work}/piece`, bytes, `${n} bytes`)
}
console.log(`${sizes.length} files have the commitments that data-segment gives`)

// A DAG: our CAR is read, every block hashes to its CID, and the CID's piece is that of the CAR's bytes.
writeFileSync(`${work}/piece`, fill(3500000))
const { cid } = run('data', 'add', `${work}/piece`)
run('data', 'export', cid, '-o', `${work}/piece.car`)
const car = readFileSync(`${work}/piece.car`)
const reader = await CarReader.fromBytes(car)
const roots = (await reader.getRoots()).map(String)
if (roots.length !== 1 || roots[0] !== cid) throw new Error(`roots ${roots}, not ${cid}`)
let blocks = 0
for await (const block of reader.blocks()) {
  const digest = await sha256.digest(block.bytes)
  if (Buffer.compare(digest.digest, block.cid.multihash.digest) !== 0) throw new Error(`block ${block.cid}`)
  blocks++
}
const a = run('data', 'piece', cid), b = theirs(car)
if (a.piece !== b.v2 || a.commp !== b.v1) throw new Error(`the CAR: ${a.piece} here, ${b.v2} there`)
console.log(`a CAR of ${blocks} blocks is read by @ipld/car and has the commitment that data-segment gives`)

// gateway.mjs BASE_URL CID SHA256 [TIMEOUT_S]: is our gateway one to IPFS's own software?
// Fetches the file CID (more than one block) with helia over its trustless-gateway client, as a CAR
// read by @ipld/car, and by hand where the protocol leaves choices. Prints PASS and FAIL lines; exits
// with 1 when any failed. Needs @helia/http@2, @helia/unixfs@5, @ipld/car@5, multiformats@13.
import { createHash } from 'node:crypto'

// The packages use it, Node 20 lacks it.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((a, b) => { resolve = a; reject = b })
  return { promise, resolve, reject }
}

const { CarReader, CarBlockIterator } = await import('@ipld/car')
const { createHeliaHTTP } = await import('@helia/http')
const { trustlessGateway } = await import('@helia/block-brokers')
const { httpGatewayRouting } = await import('@helia/routers')
const { unixfs } = await import('@helia/unixfs')
const { CID } = await import('multiformats/cid')
const { sha256 } = await import('multiformats/hashes/sha2')

const [base, text, want, seconds = '60'] = process.argv.slice(2)
if (want === undefined) {
  console.error('usage: gateway.mjs BASE_URL CID SHA256 [TIMEOUT_S]')
  process.exit(2)
}
const root = CID.parse(text)
const CAR = 'application/vnd.ipld.car'
const RAW = 'application/vnd.ipld.raw'
let failed = false

async function check (what, fn) {
  try {
    const bad = await fn()
    if (bad) throw new Error(bad)
    console.log(`PASS ${what}`)
  } catch (e) {
    failed = true
    console.log(`FAIL ${what}: ${e.message}`)
  }
}
const ask = (query, options = {}) =>
  fetch(`${base}/ipfs/${options.cid ?? text}${query}`, { method: options.method ?? 'GET', headers: options.headers ?? {} })

async function digest (pieces) {
  const h = createHash('sha256')
  for await (const p of pieces) h.update(p)
  return h.digest('hex')
}
// A node that knows these gateways and nobody else.
const light = gateways => createHeliaHTTP({
  blockBrokers: gateways.length > 0 ? [trustlessGateway({ allowInsecure: true, allowLocal: true })] : [],
  routers: gateways.length > 0 ? [httpGatewayRouting({ gateways })] : []
})
const signal = () => AbortSignal.timeout(1000 * Number(seconds))

async function carBlocks (response) {
  const blocks = []
  for await (const { cid, bytes } of await CarBlockIterator.fromIterable(response.body)) {
    const { digest } = await sha256.digest(bytes)
    if (Buffer.compare(digest, cid.multihash.digest) !== 0) throw new Error(`block ${cid} has other bytes`)
    blocks.push({ cid, bytes })
  }
  return blocks
}

await check('helia fetches and verifies the file, block by block', async () => {
  const node = await light([base])
  const got = await digest(unixfs(node).cat(root, { signal: signal() }))
  await node.stop()
  return got === want ? '' : `the file is ${got}`
})

await check('helia reads the file from the blocks of our CAR', async () => {
  const response = await ask('?format=car', { headers: { accept: `${CAR}; version=1; order=dfs; dups=n` } })
  if (response.status !== 200) return `status ${response.status}`
  const type = response.headers.get('content-type')
  if (type !== `${CAR}; version=1; order=dfs; dups=n`) return `content-type ${type}`
  const blocks = await carBlocks(response)
  if (!blocks[0].cid.equals(root)) return `the first block is ${blocks[0].cid}, not the root`
  if (new Set(blocks.map(b => b.cid.toString())).size !== blocks.length) return 'a block comes twice'
  const node = await light([])
  for (const b of blocks) await node.blockstore.put(b.cid, b.bytes)
  const got = await digest(unixfs(node).cat(root, { offline: true, signal: signal() }))
  await node.stop()
  return got === want ? '' : `the file is ${got}`
})

await check('the CAR names its root', async () => {
  const response = await ask('?format=car')
  const reader = await CarReader.fromBytes(new Uint8Array(await response.arrayBuffer()))
  const roots = await reader.getRoots()
  return roots.length === 1 && roots[0].equals(root) ? '' : `roots ${roots}`
})

await check('dag-scope=block is the root alone', async () => {
  const blocks = await carBlocks(await ask('?format=car&dag-scope=block'))
  return blocks.length === 1 && blocks[0].cid.equals(root) ? '' : `${blocks.length} blocks`
})

await check('entity-bytes=0:0 is the way to the first leaf', async () => {
  const blocks = await carBlocks(await ask('?format=car&entity-bytes=0:0'))
  return blocks.length === 2 ? '' : `${blocks.length} blocks`
})

await check('a raw block has the protocol\'s headers', async () => {
  const response = await ask('', { headers: { accept: RAW } })
  const bytes = new Uint8Array(await response.arrayBuffer())
  const { digest } = await sha256.digest(bytes)
  if (Buffer.compare(digest, root.multihash.digest) !== 0) return 'other bytes'
  const h = response.headers
  if (h.get('content-type') !== RAW) return `content-type ${h.get('content-type')}`
  if (!h.get('content-disposition')?.startsWith('attachment')) return 'no attachment'
  if (h.get('x-content-type-options') !== 'nosniff') return 'no nosniff'
  if (!h.get('cache-control')?.includes('immutable')) return 'not immutable'
  const again = await ask('', { headers: { accept: RAW, 'if-none-match': h.get('etag') } })
  return again.status === 304 ? '' : `status ${again.status} for a known etag`
})

await check('HEAD says the length', async () => {
  const response = await ask('?format=raw', { method: 'HEAD' })
  return response.status === 200 && Number(response.headers.get('content-length')) > 0 ? '' : `status ${response.status}`
})

await check('the probe', async () => {
  const raw = await ask('?format=raw', { cid: 'bafkqaaa' })
  if (raw.status !== 200 || (await raw.arrayBuffer()).byteLength !== 0) return `status ${raw.status}`
  const car = await ask('?format=car', { cid: 'bafkqaaa' })
  const roots = await (await CarReader.fromBytes(new Uint8Array(await car.arrayBuffer()))).getRoots()
  return roots.length === 1 && roots[0].toString() === 'bafkqaaa' ? '' : `roots ${roots}`
})

await check('refusals', async () => {
  const absent = CID.createV1(0x55, await sha256.digest(new TextEncoder().encode('nobody has this')))
  const statuses = [
    [404, await ask('?format=raw', { cid: absent.toString() })],
    [404, await ask('?format=car', { cid: absent.toString() })],
    [412, await ask('?format=raw', { cid: absent.toString(), headers: { 'cache-control': 'only-if-cached' } })],
    [400, await ask('')],
    [400, await ask('?format=raw', { cid: 'nonsense' })]
  ]
  return statuses.filter(([status, r]) => r.status !== status).map(([status, r]) => `${r.status} for ${status}`).join(', ')
})

process.exit(failed ? 1 : 0)

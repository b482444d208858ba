// signature.mjs PEER [COORDINATOR_URL]: do http-message-signatures and EMAC read each other's RFC 9421
// signatures over RFC 9530 digests? PEER is build/tests/interop/signature-peer. Each way by a real
// request over a socket; defects must be refused.
import { spawn } from 'node:child_process'
import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto'
import http from 'node:http'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import sig from 'http-message-signatures'

const [peer, coordinator] = process.argv.slice(2)
let failures = 0
function check (name, ok, more = '') {
  console.log(`${ok ? 'PASS' : 'FAIL'} ${name}${ok ? '' : ' ' + more}`)
  if (!ok) failures++
}

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
function base58 (bytes) {
  let n = BigInt('0x' + Buffer.from(bytes).toString('hex')); let out = ''
  for (; n > 0n; n /= 58n) out = ALPHABET[Number(n % 58n)] + out
  return out
}
function unbase58 (text) {
  let n = 0n
  for (const c of text) n = n * 58n + BigInt(ALPHABET.indexOf(c))
  return Buffer.from(n.toString(16).padStart(68, '0'), 'hex')
}
const digestOf = body => `sha-256=:${createHash('sha256').update(body).digest('base64')}:`

// ---- theirs to ours ----
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url')
const did = 'did:key:z' + base58(Buffer.concat([Buffer.from([0xed, 0x01]), raw]))

async function signed (method, url, body, change = {}) {
  const headers = {}
  const fields = ['@method', '@target-uri', '@authority']
  if (body) {
    headers['Content-Digest'] = digestOf(body)
    headers['Content-Length'] = String(body.length)
    fields.push('content-digest', 'content-length')
  }
  const now = Date.now() + (change.shift ?? 0)
  const out = await sig.httpbis.signMessage({
    key: { id: did, alg: 'ed25519', sign: async data => sign(null, data, privateKey) },
    name: 'theirs',
    fields: change.fields ?? fields,
    params: ['created', 'expires', 'nonce', 'keyid', 'alg'],
    paramValues: { created: new Date(now), expires: new Date(now + (change.life ?? 60_000)), nonce: randomBytes(16).toString('base64') }
  }, { method, url, headers })
  return { method, url, headers: out.headers, body }
}
async function send ({ method, url, headers, body }) {
  const req = http.request(url, { method, headers, agent: false })
  req.end(body)
  const [res] = await once(req, 'response')
  let text = ''
  for await (const chunk of res) text += chunk
  return { status: res.statusCode, text }
}

const serve = spawn(peer, ['serve'], { stdio: ['pipe', 'pipe', 'inherit'] })
const [port] = await once(createInterface({ input: serve.stdout }), 'line')
const base = `http://127.0.0.1:${port}`
const body = Buffer.from('{"hello": "wörld"}')
async function expect (name, request, status) {
  const r = await send(request)
  check(name, r.status === status && (status !== 200 || JSON.parse(r.text).did === did), `${r.status} ${r.text}`)
}
await expect('their GET', await signed('GET', base + '/v1/x?a=b%20c&d'), 200)
const post = await signed('POST', base + '/v1/x', body)
await expect('their POST', post, 200)
await expect('the same again is refused', post, 401)
await expect('another body is refused', { ...await signed('POST', base + '/v1/x', body), body: Buffer.from('{"hello": "wörlD"}') }, 401)
await expect('another path is refused', { ...await signed('GET', base + '/v1/x'), url: base + '/v1/y' }, 401)
await expect('another method is refused', { ...await signed('GET', base + '/v1/x'), method: 'POST' }, 401)
await expect('an old one is refused', await signed('GET', base + '/v1/x', null, { shift: -61_000 }), 401)
await expect('one from the future is refused', await signed('GET', base + '/v1/x', null, { shift: 65_000 }), 401)
await expect('a long life is refused', await signed('GET', base + '/v1/x', null, { life: 400_000 }), 401)
await expect('an uncovered body is refused', await signed('POST', base + '/v1/x', body, { fields: ['@method', '@target-uri', '@authority'] }), 401)
await expect('more components are taken', await signed('GET', base + '/v1/x?q', null, { fields: ['@path', '@query', '@authority', '@target-uri', '@method'] }), 200)
serve.stdin.end()
if (coordinator) {
  const r = await send(await signed('POST', coordinator + '/v1/faucet', Buffer.from('{}')))
  check('a coordinator takes their POST', r.status === 200, `${r.status} ${r.text}`)
}

// ---- ours to theirs ----
const seen = []
const server = http.createServer(async (req, res) => {
  const chunks = []
  for await (const c of req) chunks.push(c)
  const got = Buffer.concat(chunks)
  const url = `http://${req.headers.host}${req.url}`
  const required = ['@method', '@target-uri', '@authority', ...(got.length ? ['content-digest', 'content-length'] : [])]
  let keyid = null
  const ok = await sig.httpbis.verifyMessage({
    requiredFields: required,
    requiredParams: ['created', 'expires', 'nonce', 'keyid', 'alg'],
    tolerance: 1,
    keyLookup: async p => {
      keyid = p.keyid
      const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: unbase58(keyid.slice(9)).subarray(2).toString('base64url') } })
      return { id: keyid, algs: ['ed25519'], verify: async (data, signature) => verify(null, data, key, signature) }
    }
  }, { method: req.method, url, headers: req.headers }).catch(e => e.message)
  const digest = got.length === 0 || req.headers['content-digest'] === digestOf(got)
  seen.push({ method: req.method, ok: ok === true && digest, why: ok, keyid })
  res.end('{}')
}).listen(0, '127.0.0.1')
await once(server, 'listening')
const call = spawn(peer, ['call', `http://127.0.0.1:${server.address().port}/v1/y?z=%2F1`], { stdio: ['ignore', 'pipe', 'inherit'] })
const [ours] = await once(createInterface({ input: call.stdout }), 'line')
for (const method of ['GET', 'POST']) {
  const s = seen.find(s => s.method === method)
  check(`our ${method}`, s?.ok === true && s.keyid === ours, JSON.stringify(s))
}
server.close()
process.exit(failures ? 1 : 0)

// The peer of bench_generate, llama.cpp: peer_llamacpp.mjs PACKAGES THREADS FILE.gguf
//
// PACKAGES is the folder whose node_modules has node-llama-cpp (tests/interop/run installs it). Answers the commands
// `prefill N` and `decode N` on standard input as bench_generate does, a sequence of at most 2,048 tokens.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [packages, threads, file] = process.argv.slice(2)
const { getLlama } = await import(pathToFileURL(createRequire(`${packages}/`).resolve('node-llama-cpp')).href)
const llama = await getLlama({ build: 'never', gpu: false, logLevel: 'error', maxThreads: Number(threads) })
const model = await llama.loadModel({ modelPath: file })
const vocab = model.fileInfo.metadata.llama.vocab_size
const context = await model.createContext({ contextSize: 2048, batchSize: 512, threads: Number(threads) })
const sequence = context.getSequence()
// With one thread its own time, as bench_time of bench.h.
const clock = () => {
  const cpu = process.cpuUsage()
  return threads === '1' ? (cpu.user + cpu.system) / 1e6 : performance.now() / 1e3
}

async function feed(ids) {
  const out = await sequence.controlledEvaluate(ids.map((t, i) =>
    (i + 1 < ids.length ? t : [t, { generateNext: { token: true, options: { temperature: 0 } } }])))
  return out[ids.length - 1].next.token
}

let token = 0
for await (const line of createInterface({ input: process.stdin })) {
  const [what, n] = line.split(' ')
  if (what === 'prefill') await sequence.clearHistory()
  const start = clock()
  if (what === 'prefill') token = await feed(Array.from({ length: Number(n) }, (_, i) => (i * 7919 + 17) % vocab))
  else for (let i = 0; i < Number(n); i++) token = await feed([token])
  console.log(`${(clock() - start).toFixed(9)} ${token}`)
}
process.exit(0)

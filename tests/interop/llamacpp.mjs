// llama.cpp (its prebuilt binaries in npm's node-llama-cpp) on what `emac model export FILE.gguf` writes:
// llamacpp.mjs EMAC PEERS WORK TRAINED WORDS [TEXTS]. PEERS is the folder of dump-model and tokenizer-peer, TRAINED a model of
// bytes whose matrices each block fits, WORDS tokenizers of `emac tokenizer train`, with commas between them.
//
// Logits of the same tokens against those that EMAC's graphs give; greedy texts of `emac generate`, each of whose tokens
// llama.cpp must choose as well, or nearly; ids of many texts.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import llama3 from 'llama3-tokenizer-js'
import { getLlama } from 'node-llama-cpp'
import { LLAMA3, Ours, byteLevel, llama2Json, mergesOf, ranksJson, text, vocabOf } from './vocabularies.mjs'

const [EMAC, PEERS, WORK, TRAINED, WORDS, TEXTS = '1000'] = process.argv.slice(2)
const llama = await getLlama({ build: 'never', gpu: false, logLevel: 'error', maxThreads: 1 })
const emac = (...args) => execFileSync(EMAC, args, { maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'inherit'] })
// All bytes of a text that a model of bytes goes on with; the most probable ones where t is '0'.
const said = (dir, prompt, n, t) => [...emac('generate', dir, '-p', prompt, '-n', String(n), '-t', t).subarray(0, -1)]
const assert = (ok, what) => { if (!ok) throw new Error(what) }

let files = 0
async function exported(dir, ...options) {
  const path = `${WORK}/llamacpp-${files++}.gguf`
  emac('model', 'export', dir, path, ...options, '--quiet')
  return await llama.loadModel({ modelPath: path })
}

// -- logits ----------------------------------------------------------------------------------------------

// Of each position of `tokens`, [vocab] numbers.
async function logits(model, tokens, from = 0) {
  const context = await model.createContext({ contextSize: Math.max(256, tokens.length + 8), batchSize: 512, flashAttention: false, threads: 1,
    experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32' })
  const sequence = context.getSequence()
  const wanted = { generateNext: { logits: true, options: { temperature: 0 } } }
  const out = await sequence.controlledEvaluate(tokens.map((t, i) => (i < from ? t : [t, wanted])))
  const rows = out.slice(from).map((o) => {
    const row = new Float64Array(model.fileInfo.metadata[model.fileInfo.metadata.general.architecture].vocab_size)
    for (const [id, v] of o.next.logits) row[id] = v
    return row
  })
  await context.dispose()
  return rows
}

const spread = (row) => {
  const mean = row.reduce((a, b) => a + b, 0) / row.length
  return Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length)
}
// The mean distance of two lists of logits, by the spread of the first.
const distance = (a, b) => {
  let sum = 0
  a.forEach((row, i) => { sum += Math.sqrt(row.reduce((s, v, k) => s + (v - b[i][k]) ** 2, 0) / row.length) / spread(row) })
  return sum / a.length
}

function safetensors(path) {
  const data = readFileSync(path), n = Number(data.readBigUInt64LE())
  const out = {}
  for (const [k, v] of Object.entries(JSON.parse(data.subarray(8, 8 + n)))) {
    if (k === '__metadata__') continue
    const bytes = Uint8Array.from(data.subarray(8 + n + v.data_offsets[0], 8 + n + v.data_offsets[1])).buffer
    out[k] = { shape: v.shape, data: v.dtype === 'I32' ? new Int32Array(bytes) : new Float32Array(bytes) }
  }
  return out
}

async function logitsCheck(kind) {
  const dir = `${WORK}/llamacpp-dump-${kind}`
  mkdirSync(dir, { recursive: true })
  execFileSync(`${PEERS}/dump-model`, kind === 'tied' ? [dir] : [dir, kind])
  const model = await exported(dir), want = safetensors(`${dir}/expected.safetensors`)
  const [batch, seq] = want.tokens.shape, vocab = want.logits.shape[1]
  let worst = 0
  for (let b = 0; b < batch; b++) {
    const rows = await logits(model, Array.from(want.tokens.data.subarray(b * seq, (b + 1) * seq)))
    rows.forEach((row, t) => row.forEach((v, k) => {
      worst = Math.max(worst, Math.abs(v - want.logits.data[(b * seq + t) * vocab + k]) / spread(row))
    }))
  }
  await model.dispose()
  console.log(`${kind}: ${batch * seq} x ${vocab} logits, the largest difference ${worst.toExponential(1)} of their spread`)
  assert(worst < 2e-4, `${kind}: logits differ by ${worst} of their spread`)
  return dir
}

// -- greedy texts ----------------------------------------------------------------------------------------

// How many of the tokens that `emac generate` took llama.cpp takes as well, and by how much the others are behind, in
// logits by their spread. Byte models: a text is its tokens.
async function greedyCheck(name, dir, model, prompt, count, near) {
  const ids = said(dir, prompt, count, '0'), begin = Buffer.byteLength(prompt)
  const rows = await logits(model, ids.slice(0, -1), begin - 1)
  let same = 0, behind = 0
  rows.forEach((row, i) => {
    const best = row.indexOf(Math.max(...row)), ours = ids[begin + i]
    same += best === ours
    behind = Math.max(behind, (row[best] - row[ours]) / spread(row))
  })
  assert(rows.length === count && behind <= near, `${name}: a token of '${Buffer.from(ids)}' is ${behind} behind`)
  console.log(`${name}: ${same} of ${count} greedy tokens the same, the others at most ${behind.toExponential(1)} behind`)
}

// With each scaling of the rotary positions; and llama.cpp must see it.
async function ropeCheck(from) {
  const dir = `${WORK}/llamacpp-rope`, prompt = 'In the beginning God created the heaven and the earth'
  cpSync(from, dir, { recursive: true })
  const config = JSON.parse(readFileSync(`${dir}/config.json`)), plain = await exported(dir)
  const ids = said(dir, prompt, 60, '1'), want = await logits(plain, ids)
  await plain.dispose()
  for (const scaling of [{ rope_type: 'linear', factor: 3 },
    { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 }]) {
    writeFileSync(`${dir}/config.json`, JSON.stringify({ ...config, rope_scaling: scaling }))
    const model = await exported(dir), far = distance(want, await logits(model, ids))
    assert(far > 0.01, `${scaling.rope_type} is as good as no scaling: ${far}`)
    for (const p of [prompt, 'And the LORD', 'zxq 0123456789', 'one two three four five six seven eight'])
      await greedyCheck(`rotary positions ${scaling.rope_type}, ${far.toFixed(2)} from plain ones`, dir, model, p, 40, 1e-3)
    await model.dispose()
  }
}

async function formatsCheck() {
  const ids = said(TRAINED, 'one', 57, '1')
  const plain = await exported(TRAINED), want = await logits(plain, ids)
  await greedyCheck('trained, f32', TRAINED, plain, 'one', 60, 1e-3)
  await plain.dispose()
  for (const [format, most] of [['f16', 0.001], ['bf16', 0.005], ['q8_0', 0.01], ['q6_k', 0.03], ['q4_1', 0.1], ['q4_0', 0.1]]) {
    const model = await exported(TRAINED, '--format', format), far = distance(want, await logits(model, ids))
    console.log(`${format}: logits ${far.toExponential(1)} of their spread from f32's`)
    assert(far > 0 && far < most, `${format} is ${far} from f32`)
    if (format[0] === 'q') {
      const dir = `${WORK}/llamacpp-${format}`
      emac('model', 'quantise', TRAINED, dir, '--format', format, '--quiet')
      await greedyCheck(`trained, ${format}`, dir, model, 'one', 60, 0.1)
    }
    await model.dispose()
  }
}

// -- ids -------------------------------------------------------------------------------------------------

let seed = 7
const below = (n) => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor(seed / 4294967296 * n)
}

// A model of one small layer, of random weights, with this tokenizer.
function modelOf(name, vocab, tokenizer, config) {
  const dir = `${WORK}/llamacpp-${name}`
  mkdirSync(dir, { recursive: true })
  writeFileSync(`${dir}/config.json`, JSON.stringify({
    model_type: 'llama', vocab_size: vocab, hidden_size: 32, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2,
    max_position_embeddings: 256, tie_word_embeddings: true,
  }))
  const shapes = { 'model.embed_tokens.weight': [vocab, 32], 'model.norm.weight': [32] }
  for (const n of ['input_layernorm', 'post_attention_layernorm']) shapes[`model.layers.0.${n}.weight`] = [32]
  for (const n of ['mlp.down', 'mlp.gate', 'mlp.up', 'self_attn.k', 'self_attn.o', 'self_attn.q', 'self_attn.v'])
    shapes[`model.layers.0.${n}_proj.weight`] = [32, 32]
  const header = {}
  let at = 0
  for (const [n, shape] of Object.entries(shapes)) {
    const end = at + 4 * shape.reduce((a, b) => a * b)
    header[n] = { dtype: 'F32', shape, data_offsets: [at, end] }
    at = end
  }
  const head = Buffer.from(JSON.stringify(header)), size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(head.length))
  const data = Float32Array.from({ length: at / 4 }, () => (below(65536) - 32768) / 131072)
  writeFileSync(`${dir}/model.safetensors`, Buffer.concat([size, head, Buffer.from(data.buffer)]))
  writeFileSync(`${dir}/tokenizer.json`, JSON.stringify(tokenizer))
  writeFileSync(`${dir}/tokenizer_config.json`, JSON.stringify(config))
  return dir
}

// With these names llama.cpp takes away spaces before punctuation when it makes a text of ids at once.
const CLEANS = ['llama-bpe', 'gpt-2', 'smaug-bpe', 'stablelm2']
// With and without special tokens that are written in the texts.
async function idsCheck(name, dir, extra = []) {
  const model = await exported(dir), ours = new Ours(`${PEERS}/tokenizer-peer`, `${dir}/tokenizer.json`)
  let ids = 0
  for (let i = 0; i < Number(TEXTS); i++) {
    const t = text() + (i % 4 === 0 && extra.length > 0 ? extra[i / 4 % extra.length] + text() : '')
    for (const special of [false, true]) {
      const theirs = model.tokenize(t, special), [want] = await ours.ask(t, special)
      ids += want.length
      assert(JSON.stringify([...theirs]) === JSON.stringify(want),
        `${name}: ${JSON.stringify(t)}, special ${special}\nllama.cpp ${theirs}\nours      ${want}`)
      if (special || CLEANS.includes(model.fileInfo.metadata.tokenizer.ggml.pre)) continue
      const back = model.detokenize(theirs)
      assert(back === t || ` ${back}` === ` ${t}`, `${name}: ${JSON.stringify(t)} comes back as ${JSON.stringify(back)}`)
    }
  }
  ours.end()
  await model.dispose()
  console.log(`${name}: ${TEXTS} texts, the same ${ids} ids`)
}

// Texts of a model of words, up to the first character that is not whole, and without spaces (see CLEANS).
async function wordsCheck(name, dir) {
  const model = await exported(dir)
  let chars = 0
  for (const prompt of ['In the beginning', 'And God said, Let there be', 'x', 'the 12 tribes\n', '  and']) {
    const context = await model.createContext({ contextSize: 256, flashAttention: false, threads: 1,
      experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32' })
    const ids = []
    for await (const id of context.getSequence().evaluate(model.tokenize(prompt), { temperature: 0 }))
      if (ids.push(id) === 40) break
    await context.dispose()
    const [ours, theirs] = [said(dir, prompt, 40, '0'), prompt + model.detokenize(ids)].map((t) => Buffer.from(t).toString().replaceAll(' ', ''))
    const least = Math.min(...[ours, theirs].map((t) => `${t}\ufffd`.indexOf('\ufffd')))
    assert(ours.slice(0, least) === theirs.slice(0, least), `${name}: ${JSON.stringify(ours)} and ${JSON.stringify(theirs)}`)
    chars += least - prompt.length
  }
  await model.dispose()
  assert(chars > 200, `${name}: only ${chars} characters could be compared`)
  console.log(`${name}: 5 greedy texts, the same ${chars} characters`)
}

const added = (id, content, special) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special })
const whole = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }

async function realVocabularies() {
  const two = llama2Json()
  two.added_tokens = [added(0, '<unk>', true), added(1, '<s>', true), added(2, '</s>', true)]
  await idsCheck('Llama 2', modelOf('llama2', 32000, two, { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' }), ['</s>', ' <s>'])
  const three = byteLevel(LLAMA3, vocabOf(llama3.vocabById.slice(0, 128000)), mergesOf(llama3))
  three.added_tokens = [added(128000, '<|begin_of_text|>', true), added(128001, '<|end_of_text|>', true), added(128009, '<tool>', false)]
  await idsCheck('Llama 3', modelOf('llama3', 128256, three, { eos_token: '<|end_of_text|>' }), ['<|end_of_text|>', '<tool>'])
  const data = `${dirname(createRequire(import.meta.url).resolve('gpt-tokenizer'))}/../data`
  const gpt2 = ranksJson('', readFileSync(`${data}/r50k_base.tiktoken`, 'utf8'))
  gpt2.added_tokens = [added(50256, '<|endoftext|>', true)]
  gpt2.model.ignore_merges = false
  gpt2.pre_tokenizer = whole
  await idsCheck('GPT-2', modelOf('gpt2', 50304, gpt2, { eos_token: '<|endoftext|>' }), ['<|endoftext|>'])
  gpt2.pre_tokenizer = { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, whole] }
  await idsCheck('its merges with SmolLM\'s cut', modelOf('smollm', 50304, gpt2, { eos_token: '<|endoftext|>' }))
  const qwen = ranksJson(LLAMA3.replace('{1,3}', ''), readFileSync(`${data}/cl100k_base.tiktoken`, 'utf8'))
  qwen.model.ignore_merges = false
  qwen.added_tokens = [added(100257, '<|endoftext|>', true), added(100264, '<|im_start|>', true)]
  await idsCheck('cl100k with Qwen 2\'s cut', modelOf('qwen2', 100480, qwen, { eos_token: '<|endoftext|>' }), ['<|im_start|>user'])
}

// -- all of it -------------------------------------------------------------------------------------------

const tied = await logitsCheck('tied')
await logitsCheck('untied')
await logitsCheck('biased')
await ropeCheck(tied)
await formatsCheck()
await idsCheck('bytes', tied)
for (const from of WORDS.split(',')) {
  const name = from.split('/').pop(), [json, config] = ['', '_config'].map((s) => JSON.parse(readFileSync(`${from}/tokenizer${s}.json`)))
  const dir = modelOf(name, Object.keys(json.model.vocab).length + 3, json, config)
  await idsCheck(`trained here, ${name}`, dir, ['<|endoftext|>'])
  await wordsCheck(`trained here, ${name}`, dir)
}
await realVocabularies()
process.exit(0)

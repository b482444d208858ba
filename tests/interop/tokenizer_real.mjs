// The real vocabularies of Llama 2, Llama 3, GPT-2 and later OpenAI models, which npm packages carry:
// tokenizer_real.mjs PEER WORK [TEXTS]. Each becomes a tokenizer.json, which our half (PEER) reads; the ids of many
// texts must be those of the package. White space that JavaScript's expressions see otherwise is left out.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import llama2 from 'llama-tokenizer-js'
import llama3 from 'llama3-tokenizer-js'
import { GPT2, LLAMA3, O200K, Ours, byteLevel, llama2Json, mergesOf, ranksJson, text, vocabOf } from './vocabularies.mjs'

const [PEER, WORK, COUNT = '3000'] = process.argv.slice(2)
const require = createRequire(import.meta.url)

async function compare(name, json, theirs) {
  writeFileSync(`${WORK}/real.json`, JSON.stringify(json))
  const ours = new Ours(PEER, `${WORK}/real.json`)
  for (let i = 0; i < Number(COUNT); i++) {
    const t = text(), want = Array.from(theirs(t))
    const [got, back] = await ours.ask(t)
    if (JSON.stringify(got) !== JSON.stringify(want))
      throw new Error(`${name}: ${JSON.stringify(t)}\ntheirs ${want}\nours   ${got}`)
    if (back !== t) throw new Error(`${name}: ${JSON.stringify(t)} comes back as ${JSON.stringify(back)}`)
  }
  ours.end()
  console.log(`${name}: ${Object.keys(json.model.vocab).length} tokens, ${COUNT} texts, the same ids`)
}

await compare('Llama 2', llama2Json(), (t) => llama2.encode(t, false, true))
const plain3 = llama3.vocabById.slice(0, 128000)
await compare('Llama 3', byteLevel(LLAMA3, vocabOf(plain3), mergesOf(llama3)), (t) => llama3.encode(t, { bos: false, eos: false }))
const data = dirname(require.resolve('gpt-tokenizer')) + '/../data'
for (const [name, pattern] of [['r50k_base', GPT2], ['cl100k_base', LLAMA3], ['o200k_base', O200K]]) {
  const { encode } = await import(`gpt-tokenizer/encoding/${name}`)
  await compare(name, ranksJson(pattern, readFileSync(`${data}/${name}.tiktoken`, 'utf8')), (t) => encode(t, { disallowedSpecial: new Set() }))
}

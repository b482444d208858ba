// Shared by tokenizer_real.mjs and llamacpp.mjs: our half of a comparison of tokenizers, tokenizer.json out of npm packages
// that carry real vocabularies, and random texts.
import { spawn } from 'node:child_process'
import llama2 from 'llama-tokenizer-js'

// -- our half ------------------------------------------------------------------------------------------

export class Ours {
  constructor(peer, path) {
    this.p = spawn(peer, [path], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.chunks = this.p.stdout[Symbol.asyncIterator]()
    this.rest = Buffer.alloc(0)
  }
  async read(n) {
    while (this.rest.length < n) {
      const { value, done } = await this.chunks.next()
      if (done) throw new Error('our half has ended')
      this.rest = Buffer.concat([this.rest, value])
    }
    const out = this.rest.subarray(0, n)
    this.rest = this.rest.subarray(n)
    return out
  }
  async ask(text, special = false) {
    const bytes = Buffer.from(text)
    const head = Buffer.alloc(5)
    head.writeUInt32LE(bytes.length)
    head[4] = special ? 1 : 0
    this.p.stdin.write(Buffer.concat([head, bytes]))
    const n = (await this.read(4)).readUInt32LE()
    const ids = n === 0xffffffff ? null : Array.from({ length: n }, () => 0)
    const raw = ids ? await this.read(4 * n) : null
    for (let i = 0; ids && i < n; i++) ids[i] = raw.readInt32LE(4 * i)
    const back = await this.read((await this.read(4)).readUInt32LE())
    return [ids, back.toString()]
  }
  end() {
    this.p.stdin.end()
  }
}

// -- tokenizer.json out of each package ----------------------------------------------------------------

const NUMBER3 = '\\p{N}{1,3}'
export const LLAMA3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${NUMBER3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
export const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const UPPER = '\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}', LOWER = '\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}', SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
export const O200K = `[^\\r\\n\\p{L}\\p{N}]?[${UPPER}]*[${LOWER}]+${SHORT}|[^\\r\\n\\p{L}\\p{N}]?[${UPPER}]+[${LOWER}]*${SHORT}|${NUMBER3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`

export const byteLevel = (pattern, vocab, merges) => ({
  version: '1.0', added_tokens: [], normalizer: null, post_processor: null, decoder: { type: 'ByteLevel' },
  pre_tokenizer: { type: 'Sequence', pretokenizers: [
    { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
    { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }] },
  model: { type: 'BPE', ignore_merges: true, vocab, merges },
})

export const vocabOf = (tokens) => Object.fromEntries(tokens.map((t, i) => [t, i]))
export const mergesOf = (tok) => [...tok.merges.entries()].sort((a, b) => a[1] - b[1]).map(([pair]) => {
  const at = pair.indexOf(' ')
  return [pair.slice(0, at), pair.slice(at + 1)]
})

export function llama2Json() {
  return {
    version: '1.0', added_tokens: [], pre_tokenizer: null, post_processor: null,
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '\u2581' },
      { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' }] },
    decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
      { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }] },
    model: { type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: true, vocab: vocabOf(llama2.vocabById), merges: mergesOf(llama2) },
  }
}

const visible = (() => {
  const out = []
  let hidden = 256
  for (let b = 0; b < 256; b++) out[b] = String.fromCodePoint((b >= 33 && b <= 126) || (b >= 161 && b !== 173) ? b : hidden++)
  return out
})()

// A list of ranks has no merges: the merge of a token is where its two last parts meet, when it is made of earlier ones.
export function ranksJson(pattern, text) {
  const rank = new Map()
  for (const line of text.trim().split('\n')) {
    const [token, r] = line.split(' ')
    rank.set(Buffer.from(token, 'base64').toString('latin1'), Number(r))
  }
  const written = (t) => [...t].map((c) => visible[c.charCodeAt(0)]).join('')
  const merges = []
  for (const [token, r] of [...rank].sort((a, b) => a[1] - b[1])) {
    if (token.length === 1) continue
    let parts = [...token]
    while (parts.length > 2) {
      let best = -1, least = r
      for (let i = 0; i + 1 < parts.length; i++) {
        const v = rank.get(parts[i] + parts[i + 1])
        if (v !== undefined && v < least) [best, least] = [i, v]
      }
      if (best < 0) break
      parts.splice(best, 2, parts[best] + parts[best + 1])
    }
    if (parts.length === 2) merges.push(parts.map(written))
  }
  return byteLevel(pattern, Object.fromEntries([...rank].map(([t, r]) => [written(t), r])), merges)
}

// -- texts ---------------------------------------------------------------------------------------------

let seed = 12345
const below = (n) => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor(seed / 4294967296 * n)
}
const WORDS = ['the', 'The', 'THE', 'beginning', "don't", "I'LL", "we've", 'tokenization', '123', '1234567', '3.14', 'foo_bar', 'camelCaseName',
  'HTTPServer', 'http://example.org/a?b=c', '\u00fcber', 'na\u00efve', '\u041f\u0440\u0438\u0432\u0435\u0442', '\u03b1\u03b2\u03b3', '\u05e9\u05dc\u05d5\u05dd', '\u0645\u0631\u062d\u0628\u0627', '\u4f60\u597d\u4e16\u754c', '\u3053\u3093\u306b\u3061\u306f', '\uc548\ub155', '\u0939\u093f\u0928\u094d\u0926\u0940',
  '\u{1f600}', '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}', '\u{1f1e9}\u{1f1ea}', '!?', '...', '--', '=>', '{', '}', '();', '\n', '\n\n', '\r\n', '\t', '    ', '  ', ' ', '\u00a0', '\u3000', '\u2003', 'e\u0301', '\u{1d400}', '\u{10348}',
  '</s>', '<s>', 'supercalifragilistic', 'antidisestablishmentarianism', '#include <stdio.h>', 'for (int i = 0; i < n; i++)', '\u2019s', '\u201cquoted\u201d', 'a', 'b', 'aaaaaaaaaaaaaaaa', '0x1f', '$12,345.67']
export const text = () => Array.from({ length: 1 + below(20) }, () => WORDS[below(WORDS.length)] + ['', ' ', ' ', ' '][below(4)]).join('')

// evm_vectors.mjs: what ethers makes of fixed inputs, as the C header tests/unit/evm_vectors.h.
// tests/interop/run regenerates it and compares, so that the committed vectors are ethers' own.
import { StandardMerkleTree } from '@openzeppelin/merkle-tree'
import { AbiCoder, Interface, SigningKey, Transaction, TypedDataEncoder, Wallet, encodeRlp, keccak256 } from 'ethers'

const hex = text => text.slice(2)
// A C string literal of hex digits, in pieces that fit a line.
const literal = digits => (digits.match(/.{1,80}/g) ?? ['']).map(s => `"${s}"`).join('\n     ')
const rows = (type, name, list) => {
  console.log(`static const struct ${type} ${name}[] __attribute__((unused)) = {`)
  for (const row of list) {
    console.log(`    {${row.map(v => typeof v === 'string' ? literal(v) : String(v)).join(',\n     ')}},`)
  }
  console.log('};\n')
}

const KEYS = [
  '0x' + '00'.repeat(31) + '01',
  '0x' + '46'.repeat(32),
  '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80',
  '0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140'
]
const TO = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266'

console.log(`/* Made by tests/interop/evm_vectors.mjs with ethers; do not edit. */
/* clang-format off */
#ifndef EMAC_TESTS_EVM_VECTORS_H
#define EMAC_TESTS_EVM_VECTORS_H

#include <stddef.h>
#include <stdint.h>

/* Keccak-256 of n bytes, byte i = 7 * i + n. */
struct keccak_vector {
    size_t n;
    const char *hash;
};
struct key_vector {
    const char *secret, *address;
};
/* Signatures r ‖ s ‖ parity of keccak256(text). */
struct signature_vector {
    const char *secret, *text, *signature;
};
/* RLP of one item. */
struct rlp_vector {
    const char *name, *encoding;
};
struct abi_vector {
    const char *name, *encoding;
};
/* EIP-1559; to is "" for a creation. */
struct tx_vector {
    uint64_t chain_id, nonce, tip, max_fee, gas;
    const char *to, *value, *data, *signing_hash, *hash, *raw;
};
/* EIP-712 digests of EMAC's typed data; the arguments are in the test. */
struct typed_vector {
    const char *name, *digest;
};
/* Motions of the data cap registry; the arguments are in the test. */
struct motion_vector {
    const char *name, *id;
};
/* OpenZeppelin's standard tree over n leaves; the leaves are in the test, the proof is that of leaf
 * n / 2. */
struct tree_vector {
    size_t n;
    const char *root, *proof;
};
`)
rows('keccak_vector', 'KECCAK_VECTORS', [0, 1, 31, 135, 136, 137, 272, 1000].map(n =>
  [n, hex(keccak256(Uint8Array.from({ length: n }, (_, i) => (i * 7 + n) & 255)))]))
rows('key_vector', 'KEY_VECTORS', KEYS.map(k => [hex(k), new Wallet(k).address]))
rows('signature_vector', 'SIGNATURE_VECTORS', KEYS.flatMap(k => ['', 'emac', 'emac 2'].map(text => {
  const s = new SigningKey(k).sign(keccak256(Buffer.from(text)))
  return [hex(k), text, hex(s.r) + hex(s.s) + (s.yParity ? '01' : '00')]
})))
rows('rlp_vector', 'RLP_VECTORS', [
  ['empty list', []], ['empty string', '0x'], ['zero byte', '0x00'], ['0x7f', '0x7f'], ['0x80', '0x80'],
  ['list of an empty string', ['0x']], ['nested', [[], [[]], [[], [[]]]]],
  ['55 bytes ab', '0x' + 'ab'.repeat(55)], ['56 bytes ab', '0x' + 'ab'.repeat(56)],
  ['list of 30 cd, 30 ef', ['0x' + 'cd'.repeat(30), '0x' + 'ef'.repeat(30)]],
  ['300 bytes 01', '0x' + '01'.repeat(300)]
].map(([name, v]) => [name, hex(encodeRlp(v))]))
const abi = AbiCoder.defaultAbiCoder()
rows('abi_vector', 'ABI_VECTORS', [
  ['static', hex(abi.encode(['uint256', 'address', 'bool', 'bytes32'], [2n ** 255n + 5n, TO, true, '0x' + '11'.repeat(32)]))],
  ['dynamic', hex(abi.encode(['uint64', 'bytes', 'bytes32[]', 'string'],
    [7, '0x' + 'ab'.repeat(33), ['0x' + '22'.repeat(32), '0x' + '33'.repeat(32)], '']))],
  ['transfer(address,uint256)', hex(new Interface(['function transfer(address to, uint256 amount)'])
    .encodeFunctionData('transfer', [TO, 10n ** 18n]))]
])
rows('tx_vector', 'TX_VECTORS', [
  [314159, 0, 0n, '', TO], [314, 300, 10n ** 21n, 'a9059cbb' + '00'.repeat(64), TO], [1, 5, 0n, '60' + '5b'.repeat(100), null]
].map(([chainId, nonce, value, data, to]) => {
  const t = Transaction.from({ type: 2, chainId, nonce, to, value, data: '0x' + data, gasLimit: 21000 + nonce, maxFeePerGas: 30000000000n, maxPriorityFeePerGas: 1500000000n })
  const signing = t.unsignedHash
  t.signature = new SigningKey(KEYS[2]).sign(signing)
  return [chainId, nonce, 1500000000, 30000000000, 21000 + nonce, to ?? '', String(value), data, hex(signing), hex(t.hash), hex(t.serialized)]
}))
const ACCOUNT = '0x' + 'ac'.repeat(32)
const OTHER = '0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F'
const domain = name => ({ name, version: '1', chainId: 314159, verifyingContract: '0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf' })
const fields = text => text.split(',').map(f => ({ type: f.split(' ')[0], name: f.split(' ')[1] }))
const typed = (name, type, args, value) => [type, hex(TypedDataEncoder.hash(domain(name), { [type]: fields(args) }, value))]
rows('typed_vector', 'TYPED_VECTORS', [
  typed('EMAC Bindings', 'Bind', 'bytes32 account,address wallet,uint256 nonce,uint256 deadline',
    { account: ACCOUNT, wallet: TO, nonce: 3, deadline: 1800000000 }),
  typed('EMAC Bindings', 'Change', 'bytes32 account,address from,address to,uint256 nonce,uint256 deadline',
    { account: ACCOUNT, from: TO, to: OTHER, nonce: 4, deadline: 1800000001 }),
  typed('EMAC', 'Permit', 'address owner,address spender,uint256 value,uint256 nonce,uint256 deadline',
    { owner: TO, spender: OTHER, value: 10n ** 20n, nonce: 0, deadline: 1800000002 })
])
const EVIDENCE = '0x' + '5e'.repeat(32)
rows('motion_vector', 'MOTION_VECTORS', [
  ['grant', ['string', 'bytes32', 'address', 'uint64', 'bytes32'], ['grant', ACCOUNT, TO, 34359738368n, EVIDENCE]],
  ['removal', ['string', 'bytes32', 'bytes32'], ['removal', ACCOUNT, EVIDENCE]]
].map(([name, types, values]) => [name, hex(keccak256(abi.encode(types, values)))]))
rows('tree_vector', 'TREE_VECTORS', [1, 2, 3, 4, 5, 7, 8, 33, 100].map(n => {
  const address = i => '0x' + (0x1000 + i).toString(16).padStart(40, '0')
  const leaves = Array.from({ length: n }, (_, i) => [314159, OTHER, 9, '0x' + (i + 1).toString(16).padStart(64, '0'), address(i), 1000000007 * (i + 1)])
  const tree = StandardMerkleTree.of(leaves, ['uint256', 'address', 'uint64', 'bytes32', 'address', 'uint64'])
  return [n, hex(tree.root), tree.getProof(n >> 1).map(hex).join('')]
}))
console.log('#endif')

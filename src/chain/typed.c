#include "chain/typed.h"

#include <string.h>

#include "base/assert.h"
#include "codec/abi.h"

#define WORDS_MAX (8 * ABI_WORD)

static void hash_buf(uint8_t out[KECCAK256_BYTES], struct emac_buf *buf, enum emac_status st)
{
    EMAC_ASSERT(st == EMAC_OK); /* some words of fixed size */
    crypto_keccak256(out, buf->data, buf->len);
    emac_buf_release(buf);
}

static void domain_hash(uint8_t out[KECCAK256_BYTES], const struct chain_domain *d)
{
    uint8_t type[KECCAK256_BYTES], name[KECCAK256_BYTES], version[KECCAK256_BYTES];
    struct emac_buf buf;
    emac_buf_init(&buf, WORDS_MAX);
    abi_topic(type, "EIP712Domain(string name,string version,uint256 chainId,"
                    "address verifyingContract)");
    abi_topic(name, d->name);
    abi_topic(version, "1");
    hash_buf(out, &buf,
             abi_encode(&buf, NULL, "bbbna", type, name, version, d->chain_id, d->contract));
}

static void digest_of(uint8_t out[KECCAK256_BYTES], const struct chain_domain *d,
                      const uint8_t fields[KECCAK256_BYTES])
{
    uint8_t all[2 + 2 * KECCAK256_BYTES] = {0x19, 0x01};
    domain_hash(all + 2, d);
    memcpy(all + 2 + KECCAK256_BYTES, fields, KECCAK256_BYTES);
    crypto_keccak256(out, all, sizeof(all));
}

void chain_typed_bind(uint8_t digest[KECCAK256_BYTES], const struct chain_domain *domain,
                      const uint8_t account[32], const uint8_t wallet[EVM_ADDRESS_BYTES],
                      const struct u256 *nonce, uint64_t deadline_s)
{
    uint8_t type[KECCAK256_BYTES], fields[KECCAK256_BYTES];
    struct emac_buf buf;
    emac_buf_init(&buf, WORDS_MAX);
    abi_topic(type, "Bind(bytes32 account,address wallet,uint256 nonce,uint256 deadline)");
    hash_buf(fields, &buf,
             abi_encode(&buf, NULL, "bbaun", type, account, wallet, nonce, deadline_s));
    digest_of(digest, domain, fields);
}

void chain_typed_change(uint8_t digest[KECCAK256_BYTES], const struct chain_domain *domain,
                        const uint8_t account[32], const uint8_t from[EVM_ADDRESS_BYTES],
                        const uint8_t to[EVM_ADDRESS_BYTES], const struct u256 *nonce,
                        uint64_t deadline_s)
{
    uint8_t type[KECCAK256_BYTES], fields[KECCAK256_BYTES];
    struct emac_buf buf;
    emac_buf_init(&buf, WORDS_MAX);
    abi_topic(type, "Change(bytes32 account,address from,address to,uint256 nonce,"
                    "uint256 deadline)");
    hash_buf(fields, &buf,
             abi_encode(&buf, NULL, "bbaaun", type, account, from, to, nonce, deadline_s));
    digest_of(digest, domain, fields);
}

void chain_typed_permit(uint8_t digest[KECCAK256_BYTES], const struct chain_domain *domain,
                        const uint8_t owner[EVM_ADDRESS_BYTES],
                        const uint8_t spender[EVM_ADDRESS_BYTES], const struct u256 *value,
                        const struct u256 *nonce, uint64_t deadline_s)
{
    uint8_t type[KECCAK256_BYTES], fields[KECCAK256_BYTES];
    struct emac_buf buf;
    emac_buf_init(&buf, WORDS_MAX);
    abi_topic(type, "Permit(address owner,address spender,uint256 value,uint256 nonce,"
                    "uint256 deadline)");
    hash_buf(fields, &buf,
             abi_encode(&buf, NULL, "baauun", type, owner, spender, value, nonce, deadline_s));
    digest_of(digest, domain, fields);
}

void chain_typed_sign(uint8_t sig[EVM_SIGNATURE_BYTES], const uint8_t digest[KECCAK256_BYTES],
                      const uint8_t secret[EVM_SECRET_BYTES])
{
    crypto_evm_sign(sig, digest, secret);
    sig[EVM_SIGNATURE_BYTES - 1] = (uint8_t)(sig[EVM_SIGNATURE_BYTES - 1] + 27);
}

#include "chain/tx.h"

#include <string.h>

#include "base/assert.h"
#include "codec/rlp.h"

#define TYPE_2 0x02

static void write_fields(struct rlp_writer *w, const struct chain_tx *tx)
{
    rlp_u64(w, tx->chain_id);
    rlp_u64(w, tx->nonce);
    rlp_u256(w, &tx->tip);
    rlp_u256(w, &tx->max_fee);
    rlp_u64(w, tx->gas);
    rlp_bytes(w, tx->to, tx->creates ? 0 : EVM_ADDRESS_BYTES);
    rlp_u256(w, &tx->value);
    rlp_bytes(w, tx->data.data, tx->data.len);
    rlp_list_begin(w);
    rlp_list_end(w);
}

/* sig NULL: what is signed. */
static enum emac_status write_tx(const struct chain_tx *tx, const uint8_t *sig,
                                 struct emac_buf *out, struct emac_err *err)
{
    struct rlp_writer w;
    const uint8_t type = TYPE_2;
    enum emac_status st = emac_buf_append(out, &type, 1, err);
    rlp_writer_init(&w, out);
    rlp_list_begin(&w);
    write_fields(&w, tx);
    if (sig != NULL) {
        struct u256 r = u256_from_bytes(sig), s = u256_from_bytes(sig + 32);
        rlp_u64(&w, sig[64]);
        rlp_u256(&w, &r);
        rlp_u256(&w, &s);
    }
    rlp_list_end(&w);
    enum emac_status end = rlp_writer_end(&w, err);
    return st != EMAC_OK ? st : end;
}

static enum emac_status hash_to_sign(const struct chain_tx *tx, uint8_t hash[KECCAK256_BYTES],
                                     struct emac_err *err)
{
    struct emac_buf buf;
    emac_buf_init(&buf, CHAIN_TX_MAX);
    enum emac_status st = write_tx(tx, NULL, &buf, err);
    if (st == EMAC_OK)
        crypto_keccak256(hash, buf.data, buf.len);
    emac_buf_release(&buf);
    return st;
}

enum emac_status chain_tx_sign(const struct chain_tx *tx, const uint8_t secret[EVM_SECRET_BYTES],
                               struct emac_buf *out, uint8_t hash[KECCAK256_BYTES],
                               struct emac_err *err)
{
    uint8_t sig[EVM_SIGNATURE_BYTES], digest[KECCAK256_BYTES];
    EMAC_ASSERT(out->len == 0);
    enum emac_status st = hash_to_sign(tx, digest, err);
    if (st != EMAC_OK)
        return st;
    crypto_evm_sign(sig, digest, secret);
    st = write_tx(tx, sig, out, err);
    if (st == EMAC_OK)
        crypto_keccak256(hash, out->data, out->len);
    return st;
}

void chain_create_address(uint8_t out[EVM_ADDRESS_BYTES], const uint8_t creator[EVM_ADDRESS_BYTES],
                          uint64_t nonce)
{
    struct emac_buf buf;
    struct rlp_writer w;
    uint8_t hash[KECCAK256_BYTES];
    emac_buf_init(&buf, 64);
    rlp_writer_init(&w, &buf);
    rlp_list_begin(&w);
    rlp_bytes(&w, creator, EVM_ADDRESS_BYTES);
    rlp_u64(&w, nonce);
    rlp_list_end(&w);
    enum emac_status st = rlp_writer_end(&w, NULL);
    EMAC_ASSERT(st == EMAC_OK);
    crypto_keccak256(hash, buf.data, buf.len);
    memcpy(out, hash + KECCAK256_BYTES - EVM_ADDRESS_BYTES, EVM_ADDRESS_BYTES);
    emac_buf_release(&buf);
}

/* ---- reading ---- */

static enum emac_status read_to(struct emac_slice *in, struct chain_tx *out, struct emac_err *err)
{
    struct rlp_item item;
    enum emac_status st = rlp_next(in, &item, err);
    if (st != EMAC_OK)
        return st;
    out->creates = item.body.len == 0;
    if (item.list || (!out->creates && item.body.len != EVM_ADDRESS_BYTES))
        return emac_fail(err, EMAC_CORRUPT, "the receiver of a transaction is no address");
    memcpy(out->to, item.body.data, item.body.len);
    return EMAC_OK;
}

static enum emac_status read_fields(struct emac_slice *in, struct chain_tx *out,
                                    struct emac_err *err)
{
    enum emac_status st;
    struct rlp_item data;
    struct emac_slice access;
    EMAC_TRY(st, rlp_next_u64(in, &out->chain_id, err));
    EMAC_TRY(st, rlp_next_u64(in, &out->nonce, err));
    EMAC_TRY(st, rlp_next_u256(in, &out->tip, err));
    EMAC_TRY(st, rlp_next_u256(in, &out->max_fee, err));
    EMAC_TRY(st, rlp_next_u64(in, &out->gas, err));
    EMAC_TRY(st, read_to(in, out, err));
    EMAC_TRY(st, rlp_next_u256(in, &out->value, err));
    EMAC_TRY(st, rlp_next(in, &data, err));
    EMAC_TRY(st, rlp_next_list(in, &access, err));
    if (data.list || access.len > 0)
        st = emac_fail(err, EMAC_CORRUPT,
                       "a transaction's data is a list, or its access list is "
                       "not empty");
    out->data = data.body;
out:
    return st;
}

static enum emac_status read_signature(struct emac_slice *in, uint8_t sig[EVM_SIGNATURE_BYTES],
                                       struct emac_err *err)
{
    struct u256 r, s;
    uint64_t parity;
    enum emac_status st;
    EMAC_TRY(st, rlp_next_u64(in, &parity, err));
    EMAC_TRY(st, rlp_next_u256(in, &r, err));
    EMAC_TRY(st, rlp_next_u256(in, &s, err));
    if (parity > 1 || in->len > 0)
        st = emac_fail(err, EMAC_CORRUPT,
                       "a transaction has no sound signature, or too many "
                       "fields");
    u256_to_bytes(sig, &r);
    u256_to_bytes(sig + 32, &s);
    sig[64] = (uint8_t)parity;
out:
    return st;
}

enum emac_status chain_tx_read(struct emac_slice raw, struct chain_tx *out,
                               uint8_t sender[EVM_ADDRESS_BYTES], struct emac_err *err)
{
    enum emac_status st;
    struct emac_slice body, in;
    uint8_t sig[EVM_SIGNATURE_BYTES], hash[KECCAK256_BYTES];
    memset(out, 0, sizeof(*out));
    if (raw.len < 2 || raw.len > CHAIN_TX_MAX || raw.data[0] != TYPE_2)
        return emac_fail(err, EMAC_CORRUPT, "these are not the bytes of a transaction of type 2");
    in = EMAC_SLICE(raw.data + 1, raw.len - 1);
    EMAC_TRY(st, rlp_check(in, err));
    EMAC_TRY(st, rlp_next_list(&in, &body, err));
    EMAC_TRY(st, read_fields(&body, out, err));
    EMAC_TRY(st, read_signature(&body, sig, err));
    EMAC_TRY(st, hash_to_sign(out, hash, err));
    if (!crypto_evm_recover(sender, sig, hash))
        st = emac_fail(err, EMAC_CORRUPT, "nobody can have signed this transaction");
out:
    return st;
}

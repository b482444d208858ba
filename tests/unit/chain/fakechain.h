/* A scripted chain: blocks with events of the vault and of the data cap registry, whose state is
 * that of the chain it is asked on, and how a node says them in JSON (fakenode.h). Everything
 * follows from the choices handed in. */
#ifndef EMAC_TEST_CHAIN_FAKECHAIN_H
#define EMAC_TEST_CHAIN_FAKECHAIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "chain/book.h"
#include "codec/abi.h"

#define FAKE_BLOCKS_MAX 2000
#define FAKE_EVENTS_MAX 3 /* a block */
#define FAKE_CHAIN_ID   314159
#define FAKE_ACCOUNTS   4
#define FAKE_CAPS       6 /* allowances that the registry may grant, 0 the first's client */

struct fake_event {
    enum chain_event_kind kind;
    uint32_t account, cap; /* cap: which allowance, of client `account` */
    uint64_t units, seq, left, deal;
};

/* What the registry holds after a block. */
struct fake_registry {
    uint64_t granted[FAKE_CAPS], left[FAKE_CAPS], deals;
};

struct fake_block {
    uint64_t number;
    uint8_t hash[CHAIN_HASH_BYTES], parent[CHAIN_HASH_BYTES];
    size_t events;
    struct fake_event event[FAKE_EVENTS_MAX];
    uint64_t seq[CHAIN_CONTRACTS]; /* last event's number, this block included */
    struct fake_registry registry;
};

struct fake_chain {
    struct fake_block block[FAKE_BLOCKS_MAX];
    size_t count;  /* blocks; numbers need not follow on each other */
    size_t final;  /* index of the last final block */
    uint64_t salt; /* makes every block another one */
    uint8_t address[CHAIN_CONTRACTS][EVM_ADDRESS_BYTES];
};

static inline const struct fake_block *fake_top(const struct fake_chain *c)
{
    return &c->block[c->count - 1];
}

static inline void fake_account(uint8_t account[CHAIN_ACCOUNT_BYTES], uint32_t i)
{
    memset(account, (int)(0x40 + i), CHAIN_ACCOUNT_BYTES);
}

/* A block on top, `step` heights above. */
static inline struct fake_block *fake_mine(struct fake_chain *c, uint64_t step)
{
    EMAC_ASSERT(c->count < FAKE_BLOCKS_MAX);
    struct fake_block *b = &c->block[c->count];
    memset(b, 0, sizeof(*b));
    if (c->count > 0) {
        b->number = fake_top(c)->number + step;
        memcpy(b->seq, fake_top(c)->seq, sizeof(b->seq));
        b->registry = fake_top(c)->registry;
        memcpy(b->parent, fake_top(c)->hash, CHAIN_HASH_BYTES);
    }
    uint8_t seed[16 + CHAIN_HASH_BYTES] = {0};
    c->salt++;
    memcpy(seed, &c->salt, 8);
    memcpy(seed + 8, &b->number, 8);
    memcpy(seed + 16, b->parent, CHAIN_HASH_BYTES);
    crypto_keccak256(b->hash, seed, sizeof(seed));
    c->count++;
    return b;
}

static inline void fake_deposit(struct fake_block *b, uint32_t account, uint64_t units)
{
    if (b->events < FAKE_EVENTS_MAX)
        b->event[b->events++] = (struct fake_event){.kind = CHAIN_EVENT_Deposited,
                                                    .account = account,
                                                    .units = units,
                                                    .seq = ++b->seq[CHAIN_VAULT]};
}

/* What the registry does when it is asked about this allowance: grants it if it has not, else
 * spends some of it on a deal of its own, or removes the rest. `bytes` > 0. */
static inline void fake_registry_act(struct fake_block *b, uint32_t cap, uint64_t bytes,
                                     bool removal)
{
    struct fake_registry *r = &b->registry;
    struct fake_event e = {.account = cap % FAKE_ACCOUNTS, .cap = cap, .units = bytes};
    if (b->events == FAKE_EVENTS_MAX || (r->granted[cap] > 0 && r->left[cap] == 0))
        return;
    if (r->granted[cap] == 0) {
        e.kind = CHAIN_EVENT_Granted;
        r->granted[cap] = r->left[cap] = bytes;
    } else if (removal) {
        e.kind = CHAIN_EVENT_Removed;
        e.units = r->left[cap];
        r->left[cap] = 0;
    } else {
        e.kind = CHAIN_EVENT_Spent;
        e.units = bytes < r->left[cap] ? bytes : r->left[cap];
        e.left = r->left[cap] -= e.units;
        e.deal = ++r->deals;
    }
    e.seq = ++b->seq[CHAIN_DATACAP];
    b->event[b->events++] = e;
}

/* The id of an allowance, and the name of a deal: a word. */
static inline void fake_cap_id(uint8_t id[CHAIN_HASH_BYTES], uint32_t cap)
{
    memset(id, (int)(0xc0 + cap), CHAIN_HASH_BYTES);
}

static inline void fake_chain_init(struct fake_chain *c)
{
    memset(c, 0, sizeof(*c));
    for (int i = 0; i < CHAIN_CONTRACTS; i++)
        memset(c->address[i], 0xa0 + i, EVM_ADDRESS_BYTES);
    fake_mine(c, 1);
}

/* ---- JSON ---- */

static inline json_t *fake_block_json(const struct fake_block *b)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:s}", "number", chain_json_quantity(b->number), "hash",
                     chain_json_bytes(b->hash, CHAIN_HASH_BYTES), "parentHash",
                     chain_json_bytes(b->parent, CHAIN_HASH_BYTES), "timestamp",
                     chain_json_quantity(1000 + b->number), "baseFeePerGas", "0x7");
}

static inline json_t *fake_word(uint64_t v)
{
    uint8_t word[ABI_WORD];
    struct u256 big = u256_from_u64(v);
    u256_to_bytes(word, &big);
    return chain_json_bytes(word, ABI_WORD);
}

static inline json_t *fake_bytes(const uint8_t bytes[CHAIN_HASH_BYTES])
{
    return chain_json_bytes(bytes, CHAIN_HASH_BYTES);
}

/* Words of the event's data. */
static inline json_t *fake_data(const struct fake_event *e)
{
    uint8_t data[4 * ABI_WORD] = {0}, account[CHAIN_ACCOUNT_BYTES];
    uint64_t word[4] = {e->units};
    size_t n = 1;
    fake_account(account, e->account);
    if (e->kind == CHAIN_EVENT_Granted) { /* wallet, size, evidence, expiry */
        n = 4;
        word[0] = 7;
        word[1] = e->units;
        word[3] = UINT64_C(4000000000);
    } else if (e->kind == CHAIN_EVENT_Removed) { /* left, evidence */
        n = 2;
    } else if (e->kind == CHAIN_EVENT_Spent) { /* client, size, left */
        n = 3;
        word[1] = e->units;
        word[2] = e->left;
    }
    for (size_t i = 0; i < n; i++) {
        struct u256 big = u256_from_u64(word[i]);
        u256_to_bytes(data + i * ABI_WORD, &big);
    }
    if (e->kind == CHAIN_EVENT_Spent)
        memcpy(data, account, sizeof(account));
    return chain_json_bytes(data, n * ABI_WORD);
}

/* The number, and the indexed fields. */
static inline json_t *fake_topics(const struct fake_event *e)
{
    char signature[128];
    uint8_t topic[CHAIN_HASH_BYTES], account[CHAIN_ACCOUNT_BYTES], id[CHAIN_HASH_BYTES];
    chain_event_signature(signature, e->kind);
    abi_topic(topic, signature);
    fake_account(account, e->account);
    fake_cap_id(id, e->cap);
    json_t *list = json_pack("[o, o]", fake_bytes(topic), fake_word(e->seq));
    if (e->kind == CHAIN_EVENT_Deposited) {
        json_array_append_new(list, fake_bytes(account));
        json_array_append_new(list, fake_word(7));
        return list;
    }
    json_array_append_new(list, fake_bytes(id));
    if (e->kind == CHAIN_EVENT_Granted)
        json_array_append_new(list, fake_bytes(account));
    else if (e->kind == CHAIN_EVENT_Spent)
        json_array_append_new(list, fake_word(e->deal));
    return list;
}

static inline json_t *fake_log_json(const struct fake_chain *c, const struct fake_block *b,
                                    size_t i)
{
    const struct fake_event *e = &b->event[i];
    enum chain_contract contract = e->kind == CHAIN_EVENT_Deposited ? CHAIN_VAULT : CHAIN_DATACAP;
    uint64_t transaction[2] = {contract, e->seq};
    uint8_t tx[CHAIN_HASH_BYTES];
    crypto_keccak256(tx, transaction, sizeof(transaction));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "address",
                     chain_json_bytes(c->address[contract], EVM_ADDRESS_BYTES), "topics",
                     fake_topics(e), "data", fake_data(e), "blockNumber",
                     chain_json_quantity(b->number), "blockHash", fake_bytes(b->hash),
                     "transactionHash", fake_bytes(tx), "logIndex", chain_json_quantity(10 * i),
                     "removed", 0);
}

#endif

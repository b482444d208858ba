#include "chain/follow.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"

/* The chain from the cursor (not in it) to the top, newest first. */
struct path {
    struct chain_block block[CHAIN_BLOCKS_A_GO];
    size_t count;
};

void chain_batch_release(struct chain_batch *b)
{
    free(b->event);
    chain_logs_release(&b->logs);
    *b = (struct chain_batch){0};
}

static bool same_hash(const uint8_t a[CHAIN_HASH_BYTES], const uint8_t b[CHAIN_HASH_BYTES])
{
    return memcmp(a, b, CHAIN_HASH_BYTES) == 0;
}

static enum emac_status rewritten(struct emac_err *err, const struct chain_node *n,
                                  const struct chain_cursor *from)
{
    char hash[2 * CHAIN_HASH_BYTES + 1];
    emac_hex(hash, from->hash, CHAIN_HASH_BYTES);
    return emac_fail(err, EMAC_CONFLICT,
                     "the chain of node '%s' no longer holds the final block %llu (0x%s) up to "
                     "which events were taken: it was rewritten, or the node lies; nothing more is "
                     "taken from it",
                     n->name, (unsigned long long)from->number, hash);
}

static enum emac_status check_ids(const struct chain_source *src, struct emac_err *err)
{
    for (size_t i = 0; i < src->nodes; i++) {
        uint64_t id = 0;
        enum emac_status st = chain_node_id(src->node[i], &id, err);
        if (st != EMAC_OK)
            return st;
        if (id != src->chain_id)
            return emac_fail(
                err, EMAC_CONFLICT, "node '%s' is on chain %llu, the configuration says %llu",
                src->node[i]->name, (unsigned long long)id, (unsigned long long)src->chain_id);
    }
    return EMAC_OK;
}

/* FOLLOW-1: the lowest of what the nodes call final. */
static enum emac_status final_height(const struct chain_source *src, uint64_t *out,
                                     struct emac_err *err)
{
    *out = UINT64_MAX;
    for (size_t i = 0; i < src->nodes; i++) {
        struct chain_block b;
        enum emac_status st =
            chain_node_block(src->node[i], src->confirmations ? "latest" : "finalized", &b, err);
        if (st != EMAC_OK)
            return st;
        uint64_t height = b.number > src->confirmations ? b.number - src->confirmations : 0;
        *out = height < *out ? height : *out;
    }
    return EMAC_OK;
}

/* FOLLOW-2, on each node. */
static enum emac_status check_cursor(const struct chain_source *src,
                                     const struct chain_cursor *from, struct emac_err *err)
{
    for (size_t i = 0; i < src->nodes; i++) {
        struct chain_block b;
        enum emac_status st = chain_node_block_at(src->node[i], from->number, &b, err);
        if (st == EMAC_NOT_FOUND || (st == EMAC_OK && !same_hash(b.hash, from->hash)))
            return rewritten(err, src->node[i], from);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* The highest block at or below `height`, above the cursor; heights may be empty. All nodes must
 * agree on it. *found is false when there is none. */
static enum emac_status find_top(const struct chain_source *src, const struct chain_cursor *from,
                                 uint64_t height, struct chain_block *top, bool *found,
                                 struct emac_err *err)
{
    enum emac_status st = EMAC_NOT_FOUND;
    *found = false;
    for (int i = 0; i < CHAIN_EMPTY_IN_ROW && height > from->number && st == EMAC_NOT_FOUND; i++)
        st = chain_node_block_at(src->node[0], height--, top, err);
    if (st == EMAC_NOT_FOUND)
        return EMAC_OK;
    *found = st == EMAC_OK;
    for (size_t i = 1; i < src->nodes && st == EMAC_OK; i++) {
        struct chain_block other;
        st = chain_node_block_at(src->node[i], top->number, &other, err);
        if (st == EMAC_NOT_FOUND || (st == EMAC_OK && !same_hash(other.hash, top->hash)))
            return emac_fail(err, EMAC_CONFLICT,
                             "nodes '%s' and '%s' disagree on block %llu: nothing is taken until "
                             "they agree",
                             src->node[0]->name, src->node[i]->name,
                             (unsigned long long)top->number);
    }
    return st;
}

/* Parent by parent from the top to the cursor. */
static enum emac_status walk_back(struct chain_node *n, const struct chain_cursor *from,
                                  const struct chain_block *top, struct path *path,
                                  struct emac_err *err)
{
    path->block[0] = *top;
    path->count = 1;
    while (!same_hash(path->block[path->count - 1].parent, from->hash)) {
        const struct chain_block *child = &path->block[path->count - 1];
        if (child->number <= from->number + 1 || path->count == CHAIN_BLOCKS_A_GO)
            return rewritten(err, n, from);
        struct chain_block *b = &path->block[path->count];
        enum emac_status st = chain_node_block_by_hash(n, child->parent, b, err);
        if (st == EMAC_NOT_FOUND)
            return rewritten(err, n, from);
        if (st != EMAC_OK)
            return st;
        if (b->number >= child->number || b->number <= from->number)
            return rewritten(err, n, from);
        path->count++;
    }
    return EMAC_OK;
}

static bool in_path(const struct path *path, const struct chain_log *log)
{
    for (size_t i = 0; i < path->count; i++) {
        if (path->block[i].number == log->block_number)
            return same_hash(path->block[i].hash, log->block_hash);
    }
    return false;
}

static bool contract_of(const struct chain_source *src, const struct chain_log *log,
                        enum chain_contract *out)
{
    for (int i = 0; i < CHAIN_CONTRACTS; i++) {
        *out = (enum chain_contract)i;
        if (memcmp(src->address[i], log->address, EVM_ADDRESS_BYTES) == 0)
            return true;
    }
    return false;
}

/* FOLLOW-3 */
static enum emac_status check_logs(const struct chain_source *src, const struct chain_node *n,
                                   const struct path *path, const struct chain_logs *logs,
                                   struct emac_err *err)
{
    for (size_t i = 0; i < logs->count; i++) {
        const struct chain_log *log = &logs->at[i], *before = i > 0 ? log - 1 : NULL;
        enum chain_contract contract;
        const char *why = NULL;
        if (log->removed)
            why = "is marked as removed";
        else if (!contract_of(src, log, &contract))
            why = "is of another contract";
        else if (!in_path(path, log))
            why = "is in no block of the chain that was asked for";
        else if (before != NULL &&
                 (log->block_number < before->block_number ||
                  (log->block_number == before->block_number && log->index <= before->index)))
            why = "is out of order or comes twice";
        if (why != NULL)
            return emac_fail(err, EMAC_CORRUPT, "log %llu of block %llu by node '%s' %s",
                             (unsigned long long)log->index, (unsigned long long)log->block_number,
                             n->name, why);
    }
    return EMAC_OK;
}

static bool logs_equal(const struct chain_logs *a, const struct chain_logs *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; equal && i < a->count; i++) {
        const struct chain_log *x = &a->at[i], *y = &b->at[i];
        equal = x->block_number == y->block_number && x->index == y->index &&
                same_hash(x->block_hash, y->block_hash) && same_hash(x->tx_hash, y->tx_hash) &&
                memcmp(x->address, y->address, EVM_ADDRESS_BYTES) == 0 &&
                x->topic_count == y->topic_count &&
                memcmp(x->topic, y->topic, x->topic_count * CHAIN_HASH_BYTES) == 0 &&
                x->data_len == y->data_len && memcmp(x->data, y->data, x->data_len) == 0;
    }
    return equal;
}

/* Logs of the first node, which all others must give too (FOLLOW-5). */
static enum emac_status fetch_logs(const struct chain_source *src, const struct chain_cursor *from,
                                   const struct path *path, struct chain_logs *out,
                                   struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < src->nodes && st == EMAC_OK; i++) {
        struct chain_logs logs;
        struct chain_node *n = src->node[i];
        st = chain_node_logs(n, from->number + 1, path->block[0].number, src->address,
                             CHAIN_CONTRACTS, &logs, err);
        if (st != EMAC_OK)
            return st;
        st = check_logs(src, n, path, &logs, err);
        if (i == 0) {
            *out = logs;
            continue;
        }
        if (st == EMAC_OK && !logs_equal(out, &logs))
            st = emac_fail(err, EMAC_CONFLICT,
                           "nodes '%s' and '%s' disagree on the logs of blocks %llu to %llu: "
                           "nothing is taken until they agree",
                           src->node[0]->name, n->name, (unsigned long long)from->number + 1,
                           (unsigned long long)path->block[0].number);
        chain_logs_release(&logs);
    }
    return st;
}

/* FOLLOW-4 */
static enum emac_status read_events(const struct chain_source *src, struct chain_batch *b,
                                    struct emac_err *err)
{
    enum emac_status st = emac_alloc(&b->event, b->logs.count + 1, sizeof(*b->event), err);
    for (size_t i = 0; i < b->logs.count && st == EMAC_OK; i++) {
        struct chain_event *e = &b->event[b->count];
        enum chain_contract contract;
        bool known = contract_of(src, &b->logs.at[i], &contract);
        EMAC_ASSERT(known);
        st = chain_event_read(&b->logs.at[i], contract, e, &known, err);
        if (st != EMAC_OK || !known)
            continue;
        uint64_t due = b->next.seq[contract] + 1;
        if (e->seq != due)
            return emac_fail(err, EMAC_CORRUPT,
                             "event '%s' of block %llu has number %llu where %llu is due: the node "
                             "withholds or repeats logs",
                             chain_event_name(e->kind), (unsigned long long)e->block_number,
                             (unsigned long long)e->seq, (unsigned long long)due);
        b->next.seq[contract] = due;
        b->count++;
    }
    return st;
}

static enum emac_status take(const struct chain_source *src, const struct chain_cursor *from,
                             const struct chain_block *top, struct chain_batch *out,
                             struct emac_err *err)
{
    struct path *path;
    enum emac_status st = emac_alloc(&path, 1, sizeof(*path), err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, walk_back(src->node[0], from, top, path, err));
    EMAC_TRY(st, fetch_logs(src, from, path, &out->logs, err));
    EMAC_TRY(st, read_events(src, out, err));
    out->next.number = top->number;
    memcpy(out->next.hash, top->hash, CHAIN_HASH_BYTES);
out:
    free(path);
    return st;
}

enum emac_status chain_follow(const struct chain_source *src, const struct chain_cursor *from,
                              struct chain_batch *out, struct emac_err *err)
{
    struct chain_block top;
    bool found = false;
    enum emac_status st;
    EMAC_ASSERT(src->nodes > 0 && src->nodes <= CHAIN_NODES_MAX);
    *out = (struct chain_batch){.next = *from};
    EMAC_TRY(st, check_ids(src, err));
    EMAC_TRY(st, final_height(src, &out->final, err));
    if (out->final < from->number)
        return EMAC_OK; /* a node that is behind: it will come */
    EMAC_TRY(st, check_cursor(src, from, err));
    uint64_t height = out->final;
    if (height - from->number > CHAIN_BLOCKS_A_GO)
        height = from->number + CHAIN_BLOCKS_A_GO;
    EMAC_TRY(st, find_top(src, from, height, &top, &found, err));
    if (found)
        st = take(src, from, &top, out, err);
out:
    return st;
}

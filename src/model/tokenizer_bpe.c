/* Byte-pair encoding of a word: its symbols are a linked list, possible merges lie in a heap by
 * (rank, place), so a word of n symbols takes O(n log n). Words that were met before in the same
 * text are copied from where their ids are. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_internal.h"

#define CACHE_WORD_MAX  255u /* bytes of a word that is remembered */
#define CACHE_SLOTS_MIN 1024u
#define CACHE_SLOTS_MAX (1u << 18) /* both are powers of two */
#define CACHE_PROBES    8u /* so a text of colliding words is slow at worst, never endless */

struct tok_symbol {
    int32_t id;
    uint32_t next, previous; /* UINT32_MAX: none */
    bool gone;
};

struct tok_heap_item {
    uint32_t rank, at;
    int32_t id;
};

/* -- words met before ---------------------------------------------------------------------- */

struct cache_slot {
    uint64_t hash;
    size_t key, ids; /* where in `keys`, and in the output */
    uint32_t len, count;
    bool used;
};

struct tok_cache {
    struct cache_slot *slot;
    uint32_t mask, used;
    struct emac_buf keys;
};

static uint64_t word_hash(struct emac_slice w)
{
    uint64_t h = w.len * 0x9e3779b97f4a7c15u, v;
    size_t i = 0;

    for (; i + 8 <= w.len; i += 8) {
        memcpy(&v, w.data + i, 8);
        h = (h ^ v) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    v = 0;
    if (i < w.len)
        memcpy(&v, w.data + i, w.len - i);
    h = (h ^ v) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 29;
}

static struct tok_cache *cache_new(uint32_t slots)
{
    struct tok_cache *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->slot = calloc(slots, sizeof(*c->slot));
    c->mask = slots - 1;
    emac_buf_init(&c->keys, (size_t)CACHE_SLOTS_MAX * CACHE_WORD_MAX);
    if (c->slot != NULL)
        return c;
    free(c);
    return NULL;
}

static void cache_free(struct tok_cache *c)
{
    if (c == NULL)
        return;
    emac_buf_release(&c->keys);
    free(c->slot);
    free(c);
}

/* The slot that has the word, or one that it may have; NULL when there is neither. */
static struct cache_slot *cache_find(struct tok_cache *c, struct emac_slice w, uint64_t hash)
{
    for (uint32_t i = 0; i < CACHE_PROBES; i++) {
        struct cache_slot *s = &c->slot[(hash + i) & c->mask];

        if (!s->used)
            return s;
        if (s->hash == hash && s->len == w.len && memcmp(c->keys.data + s->key, w.data, w.len) == 0)
            return s;
    }
    return NULL;
}

/* Four times the slots; without memory for them the cache just stays as it is. */
static void cache_grow(struct tok_cache *c)
{
    uint32_t slots = (c->mask + 1) * 4;
    struct cache_slot *old = c->slot, *grown = calloc(slots, sizeof(*grown));
    uint32_t count = c->mask + 1;

    if (grown == NULL)
        return;
    c->slot = grown;
    c->mask = slots - 1;
    c->used = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct cache_slot *s =
            old[i].used
                ? cache_find(c, EMAC_SLICE(c->keys.data + old[i].key, old[i].len), old[i].hash)
                : NULL;

        if (s != NULL) {
            *s = old[i];
            c->used++;
        }
    }
    free(old);
}

static void cache_add(struct tok_cache *c, struct cache_slot *s, struct emac_slice w, uint64_t hash,
                      size_t ids, size_t count)
{
    if (emac_buf_append(&c->keys, w.data, w.len, NULL) != EMAC_OK)
        return;
    *s = (struct cache_slot){.hash = hash,
                             .key = c->keys.len - w.len,
                             .ids = ids,
                             .len = (uint32_t)w.len,
                             .count = (uint32_t)count,
                             .used = true};
    if (++c->used > c->mask / 2 && c->mask + 1 < CACHE_SLOTS_MAX)
        cache_grow(c);
}

/* -- symbols ------------------------------------------------------------------------------- */

static enum emac_status symbols_room(struct tok_run *r, size_t n)
{
    size_t room = r->symbols < 64 ? 64 : r->symbols;
    struct tok_symbol *symbol;
    struct tok_heap_item *heap;

    if (n <= r->symbols)
        return EMAC_OK;
    while (room < n)
        room *= 2;
    /* each merge adds at most two to the heap and takes a symbol away */
    symbol = malloc(room * sizeof(*symbol));
    heap = malloc(3 * room * sizeof(*heap));
    if (symbol == NULL || heap == NULL) {
        free(symbol);
        free(heap);
        return emac_fail(r->err, EMAC_NO_MEMORY, "no memory for a word of %zu bytes", n);
    }
    free(r->symbol);
    free(r->heap);
    r->symbol = symbol;
    r->heap = heap;
    r->symbols = room;
    return EMAC_OK;
}

static void symbol_add(struct tok_run *r, uint32_t *n, int32_t id)
{
    r->symbol[*n] =
        (struct tok_symbol){.id = id, .next = UINT32_MAX, .previous = *n > 0 ? *n - 1 : UINT32_MAX};
    if (*n > 0)
        r->symbol[*n - 1].next = *n;
    (*n)++;
}

static bool has_all_bytes(const struct tokenizer *t, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (t->byte_id[p[i]] < 0)
            return false;
    return true;
}

/* The symbols that a word begins with: a character that is a token is itself, else its bytes if all
 * of them are tokens, else the unknown token. An unknown one waits until something known comes:
 * that is how several become one, and why it stands behind bytes that came in between. */
static uint32_t symbols_make(struct tok_run *r, struct emac_slice w)
{
    const struct tokenizer *t = r->t;
    bool waits = false;
    uint32_t n = 0;

    for (size_t i = 0, len; i < w.len; i += len) {
        uint32_t c = 0;
        int32_t id;

        len = emac_utf8_next(w.data + i, w.len - i, &c);
        EMAC_ASSERT(len > 0);
        id = c < EMAC_COUNT(t->low_id) ? t->low_id[c]
                                       : tok_vocab_find(&t->vocab, EMAC_SLICE(w.data + i, len));
        if (id < 0 && t->byte_fallback && has_all_bytes(t, w.data + i, len)) {
            for (size_t k = 0; k < len; k++)
                symbol_add(r, &n, t->byte_id[w.data[i + k]]);
            continue;
        }
        if (waits && (id >= 0 || (t->unk >= 0 && !t->fuse_unk))) {
            symbol_add(r, &n, t->unk);
            waits = false;
        }
        if (id >= 0)
            symbol_add(r, &n, id);
        else
            waits = waits || t->unk >= 0;
    }
    if (waits)
        symbol_add(r, &n, t->unk);
    return n;
}

/* -- the heap ------------------------------------------------------------------------------ */

static bool comes_before(const struct tok_heap_item *a, const struct tok_heap_item *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct tok_run *r, struct tok_heap_item item)
{
    size_t i = r->heap_count++;

    while (i > 0 && comes_before(&item, &r->heap[(i - 1) / 2])) {
        r->heap[i] = r->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    r->heap[i] = item;
}

static struct tok_heap_item heap_pop(struct tok_run *r)
{
    struct tok_heap_item top = r->heap[0], item = r->heap[--r->heap_count];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= r->heap_count)
            break;
        if (child + 1 < r->heap_count && comes_before(&r->heap[child + 1], &r->heap[child]))
            child++;
        if (!comes_before(&r->heap[child], &item))
            break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = item;
    return top;
}

static const struct tok_merge *merge_find(const struct tokenizer *t, int32_t left, int32_t right)
{
    uint32_t low = t->merge_begin[left], high = t->merge_begin[left + 1];

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (t->merge[middle].right == (uint32_t)right)
            return &t->merge[middle];
        if (t->merge[middle].right < (uint32_t)right)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* If the symbols at `at` and behind it can be merged, that is put into the heap. */
static void consider(struct tok_run *r, uint32_t at)
{
    const struct tok_symbol *s = &r->symbol[at];
    const struct tok_merge *m;

    if (s->next == UINT32_MAX)
        return;
    m = merge_find(r->t, s->id, r->symbol[s->next].id);
    if (m != NULL)
        heap_push(r, (struct tok_heap_item){m->rank, at, (int32_t)m->id});
}

static void merge_all(struct tok_run *r, uint32_t n)
{
    r->heap_count = 0;
    for (uint32_t i = 0; i + 1 < n; i++)
        consider(r, i);
    while (r->heap_count > 0) {
        struct tok_heap_item top = heap_pop(r);
        struct tok_symbol *s = &r->symbol[top.at];
        const struct tok_merge *m;

        if (s->gone || s->next == UINT32_MAX)
            continue;
        /* the symbols may have changed since; what counts is that the same token comes of them */
        m = merge_find(r->t, s->id, r->symbol[s->next].id);
        if (m == NULL || (int32_t)m->id != top.id)
            continue;
        s->id = top.id;
        r->symbol[s->next].gone = true;
        s->next = r->symbol[s->next].next;
        if (s->next != UINT32_MAX)
            r->symbol[s->next].previous = top.at;
        if (s->previous != UINT32_MAX)
            consider(r, s->previous);
        consider(r, top.at);
    }
}

/* -- words --------------------------------------------------------------------------------- */

static enum emac_status id_add(struct tok_run *r, int32_t id)
{
    return emac_buf_append(r->out, &id, sizeof(id), r->err);
}

static enum emac_status word_merge(struct tok_run *r, struct emac_slice w)
{
    enum emac_status st = EMAC_OK;
    int32_t whole;
    uint32_t n;

    if (r->t->maps_words) {
        struct tok_step map = {.kind = TOK_STEP_MAP};

        emac_buf_clear(&r->word);
        EMAC_TRY(st, tok_step_apply(&map, w, false, &r->word, r->err));
        w = emac_buf_slice(&r->word);
    }
    whole = r->t->ignore_merges ? tok_vocab_find(&r->t->vocab, w) : -1;
    if (whole >= 0)
        return id_add(r, whole);
    EMAC_TRY(st, symbols_room(r, w.len + 1));
    n = symbols_make(r, w);
    merge_all(r, n);
    for (uint32_t i = 0; i < n; i = r->symbol[i].next == UINT32_MAX ? n : r->symbol[i].next)
        EMAC_TRY(st, id_add(r, r->symbol[i].id));
out:
    return st;
}

enum emac_status tok_word(struct tok_run *r, struct emac_slice w)
{
    struct cache_slot *s = NULL;
    uint64_t hash = 0;
    size_t ids = r->out->len;
    enum emac_status st;

    if (r->caches && w.len <= CACHE_WORD_MAX) {
        if (r->cache == NULL)
            r->cache = cache_new(CACHE_SLOTS_MIN);
        hash = word_hash(w);
        s = r->cache != NULL ? cache_find(r->cache, w, hash) : NULL;
    }
    if (s != NULL && s->used) {
        size_t bytes = s->count * sizeof(int32_t);

        EMAC_TRY(st, emac_buf_reserve(r->out, bytes, r->err));
        memcpy(r->out->data + ids, r->out->data + s->ids, bytes);
        r->out->len += bytes;
        r->out->data[r->out->len] = 0;
        return EMAC_OK;
    }
    st = word_merge(r, w);
    if (st == EMAC_OK && s != NULL)
        cache_add(r->cache, s, w, hash, ids, (r->out->len - ids) / sizeof(int32_t));
out:
    return st;
}

void tok_word_release(struct tok_run *r)
{
    cache_free(r->cache);
    free(r->symbol);
    free(r->heap);
    emac_buf_release(&r->word);
}

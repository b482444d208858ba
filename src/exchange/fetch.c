/* Bringing a DAG here from peers nobody trusts.
 *
 * FET-1  No byte is kept that was not hashed against a CID we asked for, directly or through a
 *        verified block above it. Other blocks are thrown away and counted as waste.
 * FET-2  Each pass over the sources must bring a new block, or it is the last: so a fetch ends.
 * FET-3  A source that sent something false is not asked again. One that broke off is.
 * FET-4  A failure that is ours (disk, memory, limits) or lies in the DAG itself (its verified
 *        blocks contradict each other) ends the fetch; no other source could help.
 * FET-5  Of blocks that are here already each is looked into once an answer, however often others
 *        link to it: a few blocks can spell a DAG of 2^60 paths.
 *
 * A source is first asked for a CAR of the first run of missing bytes; one that knows no CARs, or
 * does not have the root, block by block. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "codec/car.h"
#include "exchange/internal.h"
#include "store/assembly.h"
#include "store/cid_map.h"
#include "store/walk.h"

#define WASTE_MAX      (8u << 20) /* bytes nobody asked for in one answer, plus a quarter */
#define SLACK_BYTES    (4u << 20) /* inner blocks of a small DAG */
#define REPLY_MAX      (SIZE_MAX / 4)
#define RAW_BATCH      64
#define RAW_ABSENT_MAX 8 /* blocks a source may lack in a row before it is left */
#define DESCEND_MAX    64

static char WANTED, SEEN;

struct fetch {
    struct store *s;
    struct http_client *http;
    struct cid root;
    uint64_t max_size;
    uint64_t *bytes;
    struct store_assembly *assembly; /* to memory; NULL: to disk */
    struct cid_map wanted;           /* to disk: what may come */
    struct cid_map seen;             /* inner blocks looked into since `wanted` was begun */
    uint64_t kept;                   /* bytes of blocks kept */
    size_t fresh;                    /* blocks kept since it was set to 0 */
    bool ours;                       /* FET-4 */
    uint32_t depth;                  /* of want_link */
    /* One answer. */
    const char *url;
    struct car_reader *reader;
    uint64_t received, used;
};

/* ---- what is wanted: to disk ---- */

static enum emac_status want_link(void *ctx, const struct cid *cid, uint64_t offset, uint64_t size,
                                  struct emac_err *err)
{
    struct fetch *f = ctx;
    struct emac_buf block;
    if (!store_block_has(f->s, cid, NULL))
        return cid_map_put(&f->wanted, cid, &WANTED, err);
    if (cid->codec == CID_RAW || f->depth == DESCEND_MAX || cid_map_get(&f->seen, cid) != NULL)
        return EMAC_OK;
    enum emac_status st = cid_map_put(&f->seen, cid, &SEEN, err);
    if (st != EMAC_OK)
        return st;
    /* An inner block that is here already: what is missing below it may come in this answer, too.
     * What is overlooked (damaged, too deep) the next walk finds. */
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    st = store_block_get(f->s, cid, &block, NULL);
    f->depth++;
    if (st == EMAC_OK)
        st = store_block_links(cid, block.data, block.len, want_link, f, err);
    else
        st = cid_map_put(&f->wanted, cid, &WANTED, err);
    f->depth--;
    emac_buf_release(&block);
    return st;
}

static enum emac_status size_check(struct fetch *f, const struct cid *cid, struct emac_err *err)
{
    uint64_t size, cap = f->max_size;
    bool file = cid_equal(cid, &f->root) && store_file_size(f->s, cid, &size, NULL) == EMAC_OK;
    if (file && size > f->max_size)
        return emac_fail(err, EMAC_TOO_LARGE, "'%s' has %llu bytes, more than the %llu allowed",
                         exchange_name_of(cid).text, (unsigned long long)size,
                         (unsigned long long)f->max_size);
    if (__builtin_add_overflow(cap, cap / 8 + SLACK_BYTES, &cap))
        cap = UINT64_MAX;
    if (f->kept > cap)
        return emac_fail(err, EMAC_TOO_LARGE, "the blocks under '%s' pass the %llu bytes allowed",
                         exchange_name_of(&f->root).text, (unsigned long long)f->max_size);
    return EMAC_OK;
}

static enum emac_status take_to_disk(struct fetch *f, const struct cid *cid, const void *data,
                                     size_t n, bool *used, struct emac_err *err)
{
    *used = cid_map_remove(&f->wanted, cid) != NULL;
    if (!*used)
        return EMAC_OK;
    enum emac_status st = store_block_put_checked(f->s, cid, data, n, err);
    if (st == EMAC_OK)
        st = size_check(f, cid, err);
    return st == EMAC_OK ? store_block_links(cid, data, n, want_link, f, err) : st;
}

/* ---- one verified block ---- */

static enum emac_status take_to_memory(struct fetch *f, const struct cid *cid, const void *data,
                                       size_t n, bool *used, struct emac_err *err)
{
    enum emac_status st = store_assembly_offer(f->assembly, cid, data, n, used, err);
    if (st != EMAC_INVALID)
        return st;
    /* The root turned out to be a directory: that is kept as blocks. */
    store_assembly_free(f->assembly);
    f->assembly = NULL;
    st = cid_map_put(&f->wanted, &f->root, &WANTED, err);
    return st == EMAC_OK ? take_to_disk(f, cid, data, n, used, err) : st;
}

static enum emac_status on_block(void *ctx, const struct cid *cid, const void *data, size_t n,
                                 struct emac_err *err)
{
    struct fetch *f = ctx;
    bool used = false;
    enum emac_status st = f->assembly != NULL ? take_to_memory(f, cid, data, n, &used, err)
                                              : take_to_disk(f, cid, data, n, &used, err);
    if (st != EMAC_OK) {
        f->ours = true;
        return st;
    }
    if (used) {
        f->fresh++;
        f->used += n;
        f->kept += n;
    }
    return EMAC_OK;
}

/* ---- one answer ---- */

static enum emac_status waste_check(struct fetch *f, struct emac_err *err)
{
    /* A block on its way is not waste yet. */
    uint64_t allowed = f->used + f->used / 4 + WASTE_MAX;
    if (f->received <= allowed)
        return EMAC_OK;
    return emac_fail(err, EMAC_CORRUPT, "'%.200s' sends %llu bytes nobody asked for: it is left",
                     f->url, (unsigned long long)(f->received - f->used));
}

static enum emac_status on_car_bytes(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    struct fetch *f = ctx;
    f->received += n;
    *f->bytes += n;
    enum emac_status st = waste_check(f, err);
    return st == EMAC_OK ? car_reader_push(f->reader, data, n, err) : st;
}

static enum emac_status call(struct fetch *f, const char *accept, size_t reply_max,
                             enum emac_status (*receive)(void *ctx, const void *data, size_t n,
                                                         struct emac_err *err),
                             struct http_reply *reply, struct emac_err *err)
{
    struct http_call c = {.method = "GET",
                          .url = f->url,
                          .receive = receive,
                          .receive_ctx = f,
                          .reply_max = reply_max};
    http_header_add(&c.headers, "Accept", accept);
    f->received = f->used = 0;
    return http_client_call(f->http, &c, reply, err);
}

static char *url_make(const struct exchange_source *source, const struct cid *cid,
                      const char *query)
{
    const char *base = source->base_url;
    size_t n = strlen(base);
    while (n > 0 && base[n - 1] == '/')
        n--;
    return emac_asprintf("%.*s/ipfs/%s?%s", (int)n, base, exchange_name_of(cid).text, query);
}

static enum emac_status car_fetch(struct fetch *f, const struct exchange_source *source,
                                  const struct cid *cid, const char *query, struct emac_err *err)
{
    struct http_reply reply;
    enum emac_status st = car_reader_new(&f->reader, on_block, f, err);
    if (st != EMAC_OK) {
        f->ours = true;
        return st;
    }
    char *url = url_make(source, cid, query);
    f->url = url;
    st = call(f, CAR_TYPE "; version=1; order=dfs; dups=n", REPLY_MAX, on_car_bytes, &reply, err);
    if (st == EMAC_OK && strncmp(reply.content_type, CAR_TYPE, strlen(CAR_TYPE)) != 0)
        st = emac_fail(err, EMAC_UNSUPPORTED, "'%.200s' answers with '%.60s', not with a CAR", url,
                       reply.content_type);
    if (st != EMAC_OK)
        car_reader_free(f->reader);
    else if ((st = car_reader_end(f->reader, err)) == EMAC_CORRUPT) /* cut, which is no lie */
        st = emac_fail(err, EMAC_UNAVAILABLE, "the answer of '%.200s' ends in mid-block", url);
    f->reader = NULL;
    http_reply_release(&reply);
    free(url);
    return st;
}

static enum emac_status raw_fetch(struct fetch *f, const struct exchange_source *source,
                                  const struct cid *cid, struct emac_err *err)
{
    struct http_reply reply;
    char *url = url_make(source, cid, "format=raw");
    f->url = url;
    enum emac_status st = call(f, RAW_TYPE, UNIXFS_BLOCK_MAX, NULL, &reply, err);
    if (st == EMAC_OK) {
        struct cid is = cid_of((enum cid_codec)cid->codec, reply.body.data, reply.body.len);
        *f->bytes += reply.body.len;
        st = cid_equal(&is, cid)
                 ? on_block(f, cid, reply.body.data, reply.body.len, err)
                 : emac_fail(err, EMAC_CORRUPT, "'%.200s' sent bytes that are not that block", url);
    }
    http_reply_release(&reply);
    free(url);
    return st;
}

/* ---- what to ask for next ---- */

struct next {
    bool whole;  /* nothing is missing */
    bool ranged; /* from, to of the root, which is a file */
    uint64_t from, to;
    struct cid cid[RAW_BATCH]; /* missing blocks, in order */
    size_t count;
};

static enum emac_status next_in_memory(struct fetch *f, struct next *out)
{
    out->whole = store_assembly_complete(f->assembly);
    out->count = store_assembly_missing(f->assembly, out->cid, RAW_BATCH);
    out->ranged = store_assembly_gap(f->assembly, &out->from, &out->to) && out->from < out->to;
    return EMAC_OK;
}

/* Walk what is here: note what is missing, and the first run of missing bytes. */
static enum emac_status next_on_disk(struct fetch *f, struct next *out, struct emac_err *err)
{
    struct store_walk_options all = {.scope = STORE_SCOPE_ALL, .to = UINT64_MAX};
    struct store_walk_item item;
    struct store_walk *w;
    bool run = true;
    enum emac_status st = store_walk_new(f->s, &f->root, &all, &w, err);
    if (st != EMAC_OK)
        return st;
    cid_map_release(&f->wanted);
    cid_map_release(&f->seen);
    for (;;) {
        EMAC_TRY(st, store_walk_next(w, &item, err));
        if (cid_is_none(&item.cid))
            break;
        if (item.present) {
            /* An inner block that is here breaks no run: its own bytes are none. */
            run = run && (out->count == 0 || item.cid.codec != CID_RAW);
            continue;
        }
        EMAC_TRY(st, cid_map_put(&f->wanted, &item.cid, &WANTED, err));
        if (out->count == 0 && item.in_file) {
            out->from = item.offset;
            out->ranged = item.size > 0;
        }
        if (run && item.in_file)
            out->to = item.offset + item.size;
        if (out->count < RAW_BATCH)
            out->cid[out->count++] = item.cid;
    }
    out->whole = out->count == 0;
out:
    store_walk_free(w);
    return st;
}

static enum emac_status next_plan(struct fetch *f, struct next *out, struct emac_err *err)
{
    *out = (struct next){.whole = false};
    enum emac_status st = f->assembly != NULL ? next_in_memory(f, out) : next_on_disk(f, out, err);
    f->ours = f->ours || st != EMAC_OK;
    return st;
}

/* ---- one source ---- */

static enum emac_status car_next(struct fetch *f, const struct exchange_source *source,
                                 const struct next *next, struct emac_err *err)
{
    char query[128] = "format=car&dag-scope=all";
    if (next->ranged)
        snprintf(query, sizeof query, "format=car&dag-scope=entity&entity-bytes=%llu:%llu",
                 (unsigned long long)next->from, (unsigned long long)next->to - 1);
    return car_fetch(f, source, next->ranged ? &f->root : &next->cid[0], query, err);
}

/* Block by block, skipping those the source lacks. */
static enum emac_status raw_next(struct fetch *f, const struct exchange_source *source,
                                 const struct next *next, struct emac_err *err)
{
    enum emac_status st = EMAC_OK, result = EMAC_OK;
    size_t absent = 0;
    for (size_t i = 0; i < next->count && absent < RAW_ABSENT_MAX; i++) {
        st = raw_fetch(f, source, &next->cid[i], err);
        if (st != EMAC_OK && st != EMAC_NOT_FOUND)
            return st;
        absent = st == EMAC_OK ? 0 : absent + 1;
        result = st != EMAC_OK ? st : result;
    }
    return f->fresh > 0 ? EMAC_OK : result;
}

/* Can the same source still be of use, asked for single blocks? It may speak no CAR, or not have
 * the root. */
static bool raw_may_help(enum emac_status st)
{
    return st == EMAC_OK || st == EMAC_NOT_FOUND || st == EMAC_INVALID || st == EMAC_UNSUPPORTED;
}

/* Ask until nothing is missing (OK, *whole) or the source is of no more use (its failure). */
static enum emac_status source_drain(struct fetch *f, const struct exchange_source *source,
                                     bool *whole, struct emac_err *err)
{
    struct next next;
    bool raw = f->root.codec == CID_RAW;
    for (;;) {
        enum emac_status st = next_plan(f, &next, err);
        *whole = st == EMAC_OK && next.whole;
        if (st != EMAC_OK || next.whole)
            return st;
        f->fresh = 0;
        st = raw ? raw_next(f, source, &next, err) : car_next(f, source, &next, err);
        if (f->ours || (st != EMAC_OK && (raw || !raw_may_help(st))))
            return st;
        if (f->fresh > 0)
            continue;
        if (raw)
            return emac_fail(err, EMAC_NOT_FOUND, "'%.200s' sends nothing new of '%s'",
                             source->base_url, exchange_name_of(&f->root).text);
        raw = true;
    }
}

/* ---- all sources ---- */

/* One pass; *fresh: it brought something. Liars are struck off. */
static enum emac_status pass(struct fetch *f, const struct exchange_source *source, size_t count,
                             bool *dead, bool *whole, bool *fresh, struct emac_err *err)
{
    enum emac_status st = EMAC_UNAVAILABLE;
    uint64_t kept = f->kept;
    for (size_t i = 0; i < count && !*whole; i++) {
        if (dead[i])
            continue;
        st = source_drain(f, &source[i], whole, err);
        dead[i] = st == EMAC_CORRUPT || st == EMAC_TOO_LARGE || st == EMAC_NOT_FOUND;
        if (f->ours || st == EMAC_CANCELLED)
            break;
        if (st == EMAC_OK)
            continue;
        if (strstr(err->text, source[i].base_url) == NULL)
            emac_wrap(err, "'%.200s'", source[i].base_url);
        LOG_I("exchange", "left a peer: %s", err->text);
    }
    *fresh = f->kept > kept;
    return st;
}

static enum emac_status whole_check(struct fetch *f, bool *whole, struct emac_err *err)
{
    struct next next;
    enum emac_status st = next_plan(f, &next, err);
    *whole = st == EMAC_OK && next.whole;
    return st;
}

static enum emac_status sources_drain(struct fetch *f, const struct exchange_source *source,
                                      size_t count, struct emac_err *err)
{
    bool *dead, whole = false, fresh = true;
    struct emac_err why;
    enum emac_status st = emac_alloc(&dead, count, sizeof *dead, err);
    if (st != EMAC_OK)
        return st;
    emac_fail(&why, EMAC_UNAVAILABLE, "nobody is known who has it");
    if (count == 0 || f->assembly != NULL)
        st = whole_check(f, &whole, err);
    while (st == EMAC_OK && !whole && fresh && !f->ours && why.status != EMAC_CANCELLED) {
        enum emac_status now = pass(f, source, count, dead, &whole, &fresh, &why);
        why.status = now;
    }
    free(dead);
    if (whole || st != EMAC_OK)
        return st;
    st = why.status;
    if (f->ours || st == EMAC_CANCELLED)
        return emac_fail(err, st, "%s", why.text);
    /* That a peer lied does not make the data bad: they are just not to be had here. */
    st = st == EMAC_TIMEOUT     ? EMAC_TIMEOUT
         : st == EMAC_NOT_FOUND ? EMAC_NOT_FOUND
                                : EMAC_UNAVAILABLE;
    return emac_fail(err, st, "cannot get '%s' from any of %zu peers, last: %s",
                     exchange_name_of(&f->root).text, count, why.text);
}

/* ---- the public forms ---- */

static enum emac_status memory_begin(struct fetch *f, struct emac_err *err)
{
    enum emac_status st = store_assembly_new(f->s, &f->root, f->max_size, &f->assembly, err);
    if (st == EMAC_OK)
        st = store_assembly_fill(f->assembly, err);
    if (st != EMAC_INVALID)
        return st;
    store_assembly_free(f->assembly); /* a directory that is here already */
    f->assembly = NULL;
    return EMAC_OK;
}

static enum emac_status run(struct fetch *f, const struct exchange_source *source, size_t count,
                            bool to_memory, const struct store_value **out, struct emac_err *err)
{
    struct store_building building;
    enum emac_status st = EMAC_OK;
    /* Where this call's stack lies is hard to guess from outside. */
    cid_map_init(&f->wanted, (uint64_t)(uintptr_t)f * 0x9e3779b97f4a7c15u);
    cid_map_init(&f->seen, f->wanted.secret);
    *out = to_memory ? store_value_find(f->s, &f->root) : NULL;
    if (*out != NULL && (*out)->size > f->max_size) {
        st = emac_fail(err, EMAC_TOO_LARGE, "'%s' has %zu bytes, more than the %llu allowed",
                       exchange_name_of(&f->root).text, (*out)->size,
                       (unsigned long long)f->max_size);
        store_value_drop(f->s, *out);
        *out = NULL;
        return st;
    }
    if (*out != NULL)
        return EMAC_OK;
    if (to_memory && f->root.codec != CID_DAG_CBOR)
        st = memory_begin(f, err);
    store_building_begin(f->s, &building);
    if (st == EMAC_OK)
        st = sources_drain(f, source, count, err);
    store_building_end(f->s, &building);
    if (f->assembly != NULL && st == EMAC_OK)
        st = store_assembly_end(f->assembly, out, err);
    else
        store_assembly_free(f->assembly);
    cid_map_release(&f->wanted);
    cid_map_release(&f->seen);
    return st;
}

enum emac_status exchange_fetch(struct store *s, struct http_client *http, const struct cid *root,
                                const struct exchange_source *source, size_t count, bool to_memory,
                                uint64_t max_size, uint64_t *bytes, struct emac_err *err)
{
    struct fetch f = {.s = s, .http = http, .root = *root, .max_size = max_size, .bytes = bytes};
    const struct store_value *v;
    enum emac_status st = run(&f, source, count, to_memory, &v, err);
    store_value_drop(s, v);
    return st;
}

enum emac_status exchange_fetch_value(struct store *s, struct http_client *http,
                                      const struct cid *root, const struct exchange_source *source,
                                      size_t count, uint64_t max_size,
                                      const struct store_value **out, uint64_t *bytes,
                                      struct emac_err *err)
{
    struct fetch f = {.s = s, .http = http, .root = *root, .max_size = max_size, .bytes = bytes};
    enum emac_status st = run(&f, source, count, true, out, err);
    if (st == EMAC_OK && *out == NULL)
        st = emac_fail(err, EMAC_INVALID, "'%s' is not a file", exchange_name_of(root).text);
    return st;
}

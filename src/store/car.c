#include "store/car.h"

#include <stdlib.h>

#include "base/assert.h"
#include "codec/car.h"
#include "store/internal.h"
#include "store/walk.h"

#define PREFIX_MAX (64u << 10)
#define FILE_STEP  (1u << 20)

/* ---- reading ---- */

struct car_read {
    struct store *s;
    uint64_t at, from, to; /* at: of the next byte of the stream */
    store_bytes_fn *sink;
    void *ctx;
    struct emac_buf prefix, block;
};

/* The part of data, which lies at r->at, that is asked for. */
static enum emac_status give(struct car_read *r, const uint8_t *data, size_t n,
                             struct emac_err *err)
{
    uint64_t begin = r->at, end = r->at + n;
    r->at = end;
    if (end <= r->from || begin >= r->to)
        return EMAC_OK;
    uint64_t from = begin > r->from ? begin : r->from, to = end < r->to ? end : r->to;
    return r->sink(r->ctx, data + (from - begin), (size_t)(to - from), err);
}

static enum emac_status section(struct car_read *r, const struct store_walk_item *item,
                                struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    uint64_t size = item->block_size;
    if (!item->present)
        return emac_fail(err, EMAC_NOT_FOUND, "block '%s' is not here",
                         store_name_of(&item->cid).text);
    emac_buf_clear(&r->prefix);
    EMAC_TRY(st, car_section_prefix(&r->prefix, &item->cid, (size_t)size, err));
    EMAC_TRY(st, give(r, r->prefix.data, r->prefix.len, err));
    if (r->at + size <= r->from || r->at >= r->to) {
        r->at += size;
        return EMAC_OK;
    }
    EMAC_TRY(st, store_block_get(r->s, &item->cid, &r->block, err));
    if (r->block.len != size) /* torn before, put back since */
        st = emac_fail(err, EMAC_CORRUPT, "block '%s' changed its size while it was read",
                       store_name_of(&item->cid).text);
    else
        st = give(r, r->block.data, r->block.len, err);
out:
    return st;
}

static enum emac_status sections(struct car_read *r, const struct cid *root, struct emac_err *err)
{
    struct store_walk_options all = {.scope = STORE_SCOPE_ALL, .to = UINT64_MAX};
    struct store_walk_item item;
    struct store_walk *w;
    enum emac_status st = store_walk_new(r->s, root, &all, &w, err);
    if (st != EMAC_OK)
        return st;
    while (r->at < r->to) {
        EMAC_TRY(st, store_walk_next(w, &item, err));
        if (cid_is_none(&item.cid))
            break;
        EMAC_TRY(st, section(r, &item, err));
    }
    if (r->to != UINT64_MAX && r->at < r->to)
        st = emac_fail(err, EMAC_INVALID, "the CAR of '%s' ends at byte %llu, before %llu",
                       store_name_of(root).text, (unsigned long long)r->at,
                       (unsigned long long)r->to);
out:
    store_walk_free(w);
    return st;
}

enum emac_status store_car_read(struct store *s, const struct cid *root, uint64_t from, uint64_t to,
                                store_bytes_fn *sink, void *ctx, struct emac_err *err)
{
    struct car_read r = {.s = s, .from = from, .to = to, .sink = sink, .ctx = ctx};
    EMAC_ASSERT(from <= to);
    emac_buf_init(&r.prefix, PREFIX_MAX);
    emac_buf_init(&r.block, UNIXFS_BLOCK_MAX);
    enum emac_status st = car_header(&r.prefix, root, err);
    if (st == EMAC_OK)
        st = give(&r, r.prefix.data, r.prefix.len, err);
    if (st == EMAC_OK)
        st = sections(&r, root, err);
    emac_buf_release(&r.prefix);
    emac_buf_release(&r.block);
    return st;
}

/* No block is read for its size: all lie before a part that begins at the end. */
enum emac_status store_car_size(struct store *s, const struct cid *root, uint64_t *size,
                                struct emac_err *err)
{
    struct car_read r = {.s = s, .from = UINT64_MAX, .to = UINT64_MAX};
    emac_buf_init(&r.prefix, PREFIX_MAX);
    emac_buf_init(&r.block, UNIXFS_BLOCK_MAX);
    enum emac_status st = car_header(&r.prefix, root, err);
    r.at = r.prefix.len;
    if (st == EMAC_OK)
        st = sections(&r, root, err);
    *size = r.at;
    emac_buf_release(&r.prefix);
    emac_buf_release(&r.block);
    return st;
}

/* ---- the commitment ---- */

static enum emac_status sink_commit(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return commp_builder_write(ctx, data, n, err);
}

enum emac_status store_car_commit(struct store *s, const struct cid *root, struct commp *out,
                                  uint8_t **chunk, struct emac_err *err)
{
    struct commp_builder *b;
    enum emac_status st = commp_builder_new(chunk != NULL, &b, err);
    if (st != EMAC_OK)
        return st;
    st = store_car_read(s, root, 0, UINT64_MAX, sink_commit, b, err);
    if (st == EMAC_OK)
        return commp_builder_end(b, out, chunk, err);
    commp_builder_free(b);
    return st;
}

/* ---- files ---- */

struct car_file {
    struct os *os;
    const char *path;
    uint64_t size;
};

static enum emac_status sink_file(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    struct car_file *f = ctx;
    f->size += n;
    return f->os->file_append(f->os, f->path, data, n, 0600, err);
}

enum emac_status store_car_export(struct store *s, const struct cid *root, const char *path,
                                  uint64_t *size, struct emac_err *err)
{
    char tmp[OS_PATH_MAX];
    struct os *os = s->os;
    struct car_file f = {.os = os, .path = tmp};
    enum emac_status st = os_beside(os, path, tmp, err);
    if (st != EMAC_OK)
        return st;
    st = store_car_read(s, root, 0, UINT64_MAX, sink_file, &f, err);
    *size = f.size;
    return os_beside_end(os, st, tmp, path, err);
}

static enum emac_status keep_block(void *ctx, const struct cid *cid, const void *data, size_t n,
                                   struct emac_err *err)
{
    return store_block_put_checked(ctx, cid, data, n, err);
}

static enum emac_status file_push(struct store *s, const char *path, struct car_reader *r,
                                  struct emac_err *err)
{
    uint64_t size;
    uint8_t *step;
    enum emac_status st = s->os->file_size(s->os, path, &size, err);
    if (st == EMAC_OK)
        st = emac_alloc(&step, FILE_STEP, 1, err);
    if (st != EMAC_OK)
        return st;
    for (uint64_t at = 0; at < size && st == EMAC_OK;) {
        size_t n = size - at < FILE_STEP ? (size_t)(size - at) : FILE_STEP;
        st = s->os->file_pread(s->os, path, at, step, n, err);
        if (st == EMAC_OK)
            st = car_reader_push(r, step, n, err);
        at += n;
    }
    free(step);
    return st;
}

static enum emac_status car_take(struct store *s, const char *path, struct cid *root,
                                 struct emac_err *err)
{
    struct car_reader *r;
    enum emac_status st = car_reader_new(&r, keep_block, s, err);
    if (st != EMAC_OK)
        return st;
    st = file_push(s, path, r, err);
    if (st != EMAC_OK) {
        car_reader_free(r);
        return emac_wrap(err, "'%s'", path);
    }
    size_t roots = car_reader_roots(r, root);
    st = car_reader_end(r, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "'%s'", path);
    if (roots != 1)
        st = emac_fail(err, EMAC_INVALID, "'%s' names %zu roots: a CAR of one DAG is wanted", path,
                       roots);
    return st;
}

enum emac_status store_car_import(struct store *s, const char *path, const char *pin,
                                  struct cid *root, struct emac_err *err)
{
    struct store_building building;
    struct cid missing;
    size_t count = 0;
    store_building_begin(s, &building);
    enum emac_status st = car_take(s, path, root, err);
    if (st == EMAC_OK)
        st = store_dag_missing(s, root, &missing, 1, &count, err);
    if (st == EMAC_OK && count > 0)
        st = emac_fail(err, EMAC_INVALID, "'%s' is not all of '%s': block '%s' is missing", path,
                       store_name_of(root).text, store_name_of(&missing).text);
    if (st == EMAC_OK)
        st = store_pin(s, pin, root, err);
    store_building_end(s, &building);
    return st;
}

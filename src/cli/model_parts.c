#include "cli/model_parts.h"

#include <stdlib.h>

#include "base/assert.h"
#include "codec/st_parts.h"
#include "work/model_tree.h"

#define COPY_BYTES ((size_t)4 << 20)
#define PART_MAX   ((size_t)1 << 36)

/* Receives the joined file in order. */
typedef enum emac_status sink_fn(void *ctx, const void *data, size_t n, struct emac_err *err);

struct model_joined {
    struct cli *c;
    const char *dir;
    struct st_parts parts;
    struct st_index *index; /* [parts.count] */
    struct st_index bundle;
    struct st_piece *piece; /* [bundle.count] */
    struct emac_buf header;
};

static enum emac_status index_file_read(struct model_joined *j)
{
    struct cli *c = j->c;
    struct emac_buf text;
    char *path = emac_asprintf("%s/%s", j->dir, ST_PARTS_FILE);
    emac_buf_init(&text, ST_PARTS_JSON_MAX);
    enum emac_status st = c->os->file_read(c->os, path, &text, &c->err);
    if (st == EMAC_OK)
        st = st_parts_parse(&j->parts, text.data, text.len, &c->err);
    emac_buf_release(&text);
    free(path);
    return st;
}

struct os_file {
    struct os *os;
    const char *path;
};

static enum emac_status os_bytes(void *ctx, uint64_t at, void *out, size_t n, struct emac_err *err)
{
    const struct os_file *f = ctx;
    return f->os->file_pread(f->os, f->path, at, out, n, err);
}

enum emac_status model_parts_header(struct cli *c, const char *path, struct st_index *out)
{
    struct os_file f = {c->os, path};
    uint64_t size = 0;
    enum emac_status st = c->os->file_size(c->os, path, &size, &c->err);
    return st == EMAC_OK ? st_index_read(out, os_bytes, &f, size, size, &c->err) : st;
}

static enum emac_status headers_read(struct model_joined *j)
{
    struct cli *c = j->c;
    enum emac_status st = emac_alloc(&j->index, j->parts.count, sizeof *j->index, &c->err);
    for (size_t i = 0; i < j->parts.count && st == EMAC_OK; i++) {
        char *path = emac_asprintf("%s/%s", j->dir, j->parts.name[i]);
        st = model_parts_header(c, path, &j->index[i]);
        free(path);
        if (st == EMAC_NOT_FOUND)
            st = emac_fail(&c->err, EMAC_INVALID,
                           "the part '%s' of the model is not there: " ST_PARTS_FILE
                           " names it; fetch all parts",
                           j->parts.name[i]);
        else if (st != EMAC_OK)
            emac_wrap(&c->err, "'%s'", j->parts.name[i]);
    }
    return st;
}

static void joining_close(struct model_joined *j)
{
    for (size_t i = 0; j->index != NULL && i < j->parts.count; i++)
        st_index_release(&j->index[i]);
    free(j->index);
    free(j->piece);
    st_index_release(&j->bundle);
    st_parts_release(&j->parts);
    emac_buf_release(&j->header);
}

/* Close in any case. */
static enum emac_status joining_open(struct model_joined *j, struct cli *c, const char *dir)
{
    enum emac_status st;
    *j = (struct model_joined){.c = c, .dir = dir};
    emac_buf_init(&j->header, (size_t)ST_HEADER_MAX + 64);
    EMAC_TRY(st, index_file_read(j));
    EMAC_TRY(st, headers_read(j));
    st = st_parts_join(&j->parts, j->index, &j->bundle, &j->piece, &j->header, &c->err);
out:
    return st == EMAC_OK ? st : emac_wrap(&c->err, "'%s'", dir);
}

/* Tensor `i` of the bundle. */
static enum emac_status tensor_copy(struct model_joined *j, size_t i, uint8_t *room, sink_fn *sink,
                                    void *ctx)
{
    struct cli *c = j->c;
    const struct st_piece *piece = &j->piece[i];
    uint64_t left = st_tensor_bytes(&j->bundle.tensor[i]), at = piece->begin;
    char *path = emac_asprintf("%s/%s", j->dir, j->parts.name[piece->part]);
    enum emac_status st = EMAC_OK;
    while (left > 0 && st == EMAC_OK) {
        size_t n = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        st = c->os->file_pread(c->os, path, at, room, n, &c->err);
        if (st == EMAC_OK)
            st = sink(ctx, room, n, &c->err);
        at += n;
        left -= n;
    }
    free(path);
    return st;
}

static enum emac_status joined_copy(struct model_joined *j, sink_fn *sink, void *ctx)
{
    uint8_t *room;
    enum emac_status st = emac_alloc_aligned(&room, COPY_BYTES, &j->c->err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, sink(ctx, j->header.data, j->header.len, &j->c->err));
    for (size_t i = 0; i < j->bundle.count; i++)
        EMAC_TRY(st, tensor_copy(j, i, room, sink, ctx));
out:
    free(room);
    return st;
}

bool model_parts_there(struct cli *c, const char *dir)
{
    char *path = emac_asprintf("%s/%s", dir, ST_PARTS_FILE);
    uint64_t size;
    bool there = c->os->file_size(c->os, path, &size, NULL) == EMAC_OK;
    free(path);
    return there;
}

/* ---- in pieces ---- */

enum emac_status model_joined_open(struct cli *c, const char *dir, struct model_joined **out,
                                   struct st_index *idx)
{
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(out, 1, sizeof **out, &c->err));
    EMAC_TRY(st, joining_open(*out, c, dir));
    const struct emac_buf *head = &(*out)->header;
    st = st_index_parse(idx, head->data, head->len, (*out)->bundle.file_size, &c->err);
out:
    return st;
}

void model_joined_close(struct model_joined *j)
{
    if (j == NULL)
        return;
    joining_close(j);
    free(j);
}

enum emac_status model_joined_read(struct model_joined *j, uint64_t offset, void *out, size_t n)
{
    struct cli *c = j->c;
    uint64_t at = offset - j->bundle.data_offset;
    size_t low = 0, high = j->bundle.count;
    while (high - low > 1) { /* the last tensor that does not begin behind it */
        size_t middle = low + (high - low) / 2;
        *(j->bundle.tensor[middle].begin <= at ? &low : &high) = middle;
    }
    const struct st_tensor *t = &j->bundle.tensor[low];
    EMAC_ASSERT(offset >= j->bundle.data_offset && at >= t->begin && n <= t->end - at);
    char *path = emac_asprintf("%s/%s", j->dir, j->parts.name[j->piece[low].part]);
    enum emac_status st =
        c->os->file_pread(c->os, path, j->piece[low].begin + at - t->begin, out, n, &c->err);
    free(path);
    return st;
}

static enum emac_status to_buf(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return emac_buf_append(ctx, data, n, err);
}

enum emac_status model_parts_read(struct cli *c, const char *dir, struct emac_buf *out)
{
    struct model_joined j;
    enum emac_status st = joining_open(&j, c, dir);
    emac_buf_clear(out);
    if (st == EMAC_OK)
        st = emac_buf_reserve(out, j.bundle.file_size, &c->err);
    if (st == EMAC_OK)
        st = joined_copy(&j, to_buf, out);
    joining_close(&j);
    return st;
}

static enum emac_status to_builder(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return unixfs_builder_write(ctx, data, n, err);
}

enum emac_status model_parts_import(struct cli *c, struct store *s, const char *dir,
                                    struct unixfs_link *link)
{
    struct model_joined j;
    struct unixfs_builder *b = NULL;
    enum emac_status st;
    EMAC_TRY(st, joining_open(&j, c, dir));
    EMAC_TRY(st, unixfs_builder_new(&b, store_block_emit, s, &c->err));
    EMAC_TRY(st, joined_copy(&j, to_builder, b));
    st = unixfs_builder_end(b, &link->cid, &link->size, &link->tsize, &c->err);
    b = NULL;
out:
    unixfs_builder_free(b);
    joining_close(&j);
    return st;
}

/* ---- writing ---- */

struct cutting {
    struct cli *c;
    struct store *s;
    const struct cid *file;
    const char *dir;
    struct st_index whole;
    struct st_parts parts;
};

/* The tensors of part `at`, laid out. */
static enum emac_status part_layout(const struct cutting *k, uint32_t at, struct st_index *out,
                                    struct emac_buf *header)
{
    struct emac_err *err = &k->c->err;
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < k->whole.count && st == EMAC_OK; i++) {
        const struct st_tensor *t = &k->whole.tensor[i];
        if (st_parts_of(&k->parts, t->name) == at)
            st = st_index_add(out, t->name, t->dtype, t->rank, t->dim, err);
    }
    return st == EMAC_OK ? st_bundle_layout(out, header, err) : st;
}

static enum emac_status part_write(const struct cutting *k, uint32_t at)
{
    struct cli *c = k->c;
    struct st_index part = {0};
    struct emac_buf bytes;
    enum emac_status st;
    emac_buf_init(&bytes, PART_MAX);
    EMAC_TRY(st, part_layout(k, at, &part, &bytes));
    EMAC_TRY(st, emac_buf_reserve(&bytes, part.file_size - part.data_offset, &c->err));
    for (size_t i = 0; i < part.count; i++) {
        const struct st_tensor *t = &part.tensor[i], *from = st_index_find(&k->whole, t->name);
        EMAC_TRY(st, store_file_read(k->s, k->file, k->whole.data_offset + from->begin,
                                     bytes.data + part.data_offset + t->begin,
                                     (size_t)(t->end - t->begin), &c->err));
    }
    bytes.len = part.file_size;
    st = cli_file_put(c, k->dir, k->parts.name[at], &bytes);
out:
    st_index_release(&part);
    emac_buf_release(&bytes);
    return st;
}

static enum emac_status one_file_remove(struct cli *c, const char *dir)
{
    char *path = emac_asprintf("%s/%s", dir, model_file_name(MODEL_WEIGHTS));
    enum emac_status st = c->os->file_remove(c->os, path, &c->err);
    free(path);
    return st == EMAC_NOT_FOUND ? EMAC_OK : st;
}

enum emac_status model_parts_export(struct cli *c, struct store *s, const struct cid *file,
                                    uint64_t most, const char *dir)
{
    struct cutting k = {.c = c, .s = s, .file = file, .dir = dir};
    struct emac_buf text;
    enum emac_status st;
    emac_buf_init(&text, ST_PARTS_JSON_MAX);
    EMAC_TRY(st, model_tree_index(s, file, &k.whole, &c->err));
    EMAC_TRY(st, st_parts_cut(&k.whole, most, &k.parts, &c->err));
    for (uint32_t i = 0; i < k.parts.count; i++)
        EMAC_TRY(st, part_write(&k, i));
    EMAC_TRY(st, st_parts_write(&k.parts, k.whole.file_size - k.whole.data_offset, &text, &c->err));
    EMAC_TRY(st, cli_file_put(c, dir, ST_PARTS_FILE, &text));
    st = one_file_remove(c, dir);
out:
    emac_buf_release(&text);
    st_index_release(&k.whole);
    st_parts_release(&k.parts);
    return st;
}

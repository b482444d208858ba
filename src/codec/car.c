/* A CAR is a sequence of records, each a varint length and that many bytes; the first is the
 * header. CAR-1: between pushes `prefix` holds a part of a length, or `body_len` is known and
 * `body` holds fewer than `body_len` bytes. */
#include "codec/car.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"

#define CAR_HEADER_MAX  (64u << 10)
#define CAR_SECTION_MAX (CID_BYTES + UNIXFS_BLOCK_MAX)
#define CAR_ARENA_MAX   (1u << 20)

enum emac_status car_header(struct emac_buf *out, const struct cid *root, struct emac_err *err)
{
    struct emac_buf body;
    struct dagcbor_writer w;
    uint8_t prefix[10];
    emac_buf_init(&body, CAR_HEADER_MAX);
    dagcbor_writer_init(&w, &body);
    dagcbor_map(&w, 2);
    dagcbor_key(&w, "roots");
    dagcbor_list(&w, 1);
    dagcbor_cid(&w, root);
    dagcbor_key(&w, "version");
    dagcbor_u64(&w, 1);
    enum emac_status st = EMAC_OK;
    EMAC_TRY(st, dagcbor_writer_end(&w, err));
    EMAC_TRY(st, emac_buf_append(out, prefix, varint_write(prefix, body.len), err));
    st = emac_buf_append(out, body.data, body.len, err);
out:
    emac_buf_release(&body);
    return st;
}

enum emac_status car_section_prefix(struct emac_buf *out, const struct cid *cid, size_t block_len,
                                    struct emac_err *err)
{
    uint8_t prefix[10 + CID_BYTES];
    if (block_len > UNIXFS_BLOCK_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a block of %zu bytes is over the limit of %u",
                         block_len, UNIXFS_BLOCK_MAX);
    size_t n = varint_write(prefix, CID_BYTES + block_len);
    cid_bytes(prefix + n, cid);
    return emac_buf_append(out, prefix, n + CID_BYTES, err);
}

struct car_reader {
    unixfs_block_fn *emit;
    void *ctx;
    bool in_body, header_read, failed;
    uint8_t prefix[10];
    size_t prefix_len;
    size_t body_len;
    struct emac_buf body;
    uint64_t at; /* bytes of the stream consumed, for messages */
    size_t roots;
    struct cid root; /* the first */
};

enum emac_status car_reader_new(struct car_reader **out, unixfs_block_fn *emit, void *ctx,
                                struct emac_err *err)
{
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->emit = emit;
    (*out)->ctx = ctx;
    emac_buf_init(&(*out)->body, CAR_SECTION_MAX);
    return EMAC_OK;
}

void car_reader_free(struct car_reader *r)
{
    if (r == NULL)
        return;
    emac_buf_release(&r->body);
    free(r);
}

static enum emac_status check_roots(const struct dagcbor_node *roots, struct emac_err *err)
{
    for (size_t i = 0; i < roots->seq.count; i++) {
        if (roots->seq.items[i].type != DAGCBOR_CID)
            return emac_fail(err, EMAC_CORRUPT, "a root of a CAR is not a CID");
    }
    return EMAC_OK;
}

static enum emac_status read_header(struct car_reader *r, const void *data, size_t n,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {"roots", "version", NULL};
    const struct dagcbor_node *root, *roots;
    struct arena arena;
    uint64_t version;
    enum emac_status st = EMAC_OK;
    arena_init(&arena, CAR_ARENA_MAX);
    EMAC_TRY(st, dagcbor_parse(&arena, data, n, &root, err));
    EMAC_TRY(st, dagcbor_get_u64(root, "version", UINT64_MAX, &version, err));
    if (version != 1) {
        st = emac_fail(err, EMAC_UNSUPPORTED, "CAR version %llu is not supported: send version 1",
                       (unsigned long long)version);
        goto out;
    }
    EMAC_TRY(st, dagcbor_only(root, KEYS, err));
    EMAC_TRY(st, dagcbor_get(root, "roots", DAGCBOR_LIST, &roots, err));
    EMAC_TRY(st, check_roots(roots, err));
    r->roots = roots->seq.count;
    if (r->roots > 0)
        r->root = roots->seq.items[0].cid;
out:
    arena_release(&arena);
    if (st == EMAC_INVALID)
        st = emac_fail(err, EMAC_CORRUPT, "bad CAR header: %s", err != NULL ? err->text : "");
    return st;
}

static enum emac_status read_section(struct car_reader *r, const uint8_t *data, size_t n,
                                     struct emac_err *err)
{
    struct cid cid;
    size_t used;
    char name[CID_TEXT_MAX];
    enum emac_status st = cid_from_bytes(&cid, data, n, &used, err);
    if (st != EMAC_OK)
        return st;
    if (n - used > UNIXFS_BLOCK_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a block of %zu bytes is over the limit of %u",
                         n - used, UNIXFS_BLOCK_MAX);
    struct cid real = cid_of((enum cid_codec)cid.codec, data + used, n - used);
    if (!cid_equal(&real, &cid)) {
        cid_text(name, &cid);
        return emac_fail(err, EMAC_CORRUPT, "a block does not match its CID '%s'", name);
    }
    return r->emit(r->ctx, &cid, data + used, n - used, err);
}

static enum emac_status read_body(struct car_reader *r, const uint8_t *data, size_t n,
                                  struct emac_err *err)
{
    r->in_body = false;
    r->prefix_len = 0;
    if (r->header_read)
        return read_section(r, data, n, err);
    r->header_read = true;
    return read_header(r, data, n, err);
}

/* One more byte of a length. */
static enum emac_status take_prefix(struct car_reader *r, uint8_t byte, struct emac_err *err)
{
    uint64_t len, max = r->header_read ? CAR_SECTION_MAX : CAR_HEADER_MAX;
    r->prefix[r->prefix_len++] = byte;
    if (byte >= 0x80 && r->prefix_len < 9)
        return EMAC_OK;
    if (varint_read(&len, r->prefix, r->prefix_len) == 0 || len == 0)
        return emac_fail(err, EMAC_CORRUPT, "bad CAR: the length before byte %llu is malformed",
                         (unsigned long long)r->at);
    if (len > max)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "bad CAR: a part of %llu bytes at byte %llu is over the limit of %llu",
                         (unsigned long long)len, (unsigned long long)r->at,
                         (unsigned long long)max);
    r->body_len = (size_t)len;
    r->in_body = true;
    emac_buf_clear(&r->body);
    return EMAC_OK;
}

/* Some bytes of a body; *used says how many were taken. A body that lies whole in the input is not
 * copied. */
static enum emac_status take_body(struct car_reader *r, const uint8_t *data, size_t n, size_t *used,
                                  struct emac_err *err)
{
    EMAC_ASSERT(r->body.len < r->body_len);
    size_t need = r->body_len - r->body.len;
    *used = n < need ? n : need;
    if (r->body.len == 0 && n >= need)
        return read_body(r, data, need, err);
    enum emac_status st = emac_buf_append(&r->body, data, *used, err);
    if (st != EMAC_OK || r->body.len < r->body_len)
        return st;
    return read_body(r, r->body.data, r->body.len, err);
}

enum emac_status car_reader_push(struct car_reader *r, const void *data, size_t n,
                                 struct emac_err *err)
{
    const uint8_t *p = data;
    enum emac_status st = EMAC_OK;
    EMAC_ASSERT(!r->failed); /* nothing can be read after a failure */
    while (n > 0 && st == EMAC_OK) {
        size_t used = 1;
        if (r->in_body)
            st = take_body(r, p, n, &used, err);
        else
            st = take_prefix(r, *p, err);
        p += used;
        n -= used;
        r->at += used;
    }
    r->failed = st != EMAC_OK;
    return st;
}

size_t car_reader_roots(const struct car_reader *r, struct cid *first)
{
    *first = r->root;
    return r->roots;
}

enum emac_status car_reader_end(struct car_reader *r, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (r->failed)
        st = emac_fail(err, EMAC_CORRUPT, "the CAR could not be read");
    else if (r->in_body || r->prefix_len > 0 || !r->header_read)
        st = emac_fail(err, EMAC_CORRUPT, "the CAR is cut after %llu bytes: fetch it again",
                       (unsigned long long)r->at);
    car_reader_free(r);
    return st;
}

#include "work/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define RECEIPT_ARENA_MAX (1u << 20)

/* Texts travel into logs and signatures: printable ASCII without spaces. */
static enum emac_status text_check(const char *what, const char *text, size_t cap,
                                   struct emac_err *err)
{
    size_t n = strnlen(text, cap);
    bool ok = n > 0 && n < cap;
    for (size_t i = 0; ok && i < n; i++)
        ok = text[i] > ' ' && text[i] <= '~';
    if (ok)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "the %s of a receipt must be 1 to %zu printable characters",
                     what, cap - 1);
}

static enum emac_status receipt_check(const struct receipt *r, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, text_check("lease", r->lease, sizeof r->lease, err));
    EMAC_TRY(st, text_check("node", r->node, sizeof r->node, err));
    if (cid_is_none(&r->task))
        return emac_fail(err, EMAC_INVALID, "a receipt names no task");
    if (r->started_ms > INT64_MAX || r->ended_ms > INT64_MAX)
        return emac_fail(err, EMAC_INVALID, "a receipt's times are not Unix milliseconds");
    if (r->output_count == 0 || r->output_count > TASK_OUTPUTS_MAX)
        return emac_fail(err, EMAC_INVALID, "a receipt has %u outputs; 1 to %d are allowed",
                         r->output_count, TASK_OUTPUTS_MAX);
    for (uint32_t i = 0; i < r->output_count; i++) {
        const struct task_output *o = &r->output[i];
        if (!task_name_ok(o->name) || cid_is_none(&o->cid) ||
            (i > 0 && strcmp(o[-1].name, o->name) >= 0))
            return emac_fail(err, EMAC_INVALID,
                             "output %u of a receipt has a bad name, no CID, or is out of order",
                             i);
    }
out:
    return st;
}

static bool key_before(const char *a, const char *b)
{
    size_t m = strlen(a), n = strlen(b);
    return m != n ? m < n : strcmp(a, b) < 0;
}

static void outputs_write(struct dagcbor_writer *w, const struct receipt *r)
{
    bool written[TASK_OUTPUTS_MAX] = {false};
    dagcbor_key(w, "outputs");
    dagcbor_map(w, r->output_count);
    for (uint32_t n = 0; n < r->output_count; n++) {
        uint32_t next = TASK_OUTPUTS_MAX;
        for (uint32_t i = 0; i < r->output_count; i++) {
            if (!written[i] &&
                (next == TASK_OUTPUTS_MAX || key_before(r->output[i].name, r->output[next].name)))
                next = i;
        }
        EMAC_ASSERT(next < r->output_count);
        written[next] = true;
        dagcbor_key(w, r->output[next].name);
        dagcbor_cid(w, &r->output[next].cid);
    }
}

enum emac_status receipt_encode(const struct receipt *r, struct emac_buf *out, struct cid *cid,
                                struct emac_err *err)
{
    enum emac_status st = receipt_check(r, err);
    if (st != EMAC_OK)
        return st;
    size_t start = out->len;
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 6);
    dagcbor_key(&w, "node");
    dagcbor_str(&w, r->node);
    dagcbor_key(&w, "task");
    dagcbor_cid(&w, &r->task);
    dagcbor_key(&w, "ended");
    dagcbor_u64(&w, r->ended_ms);
    dagcbor_key(&w, "lease");
    dagcbor_str(&w, r->lease);
    outputs_write(&w, r);
    dagcbor_key(&w, "started");
    dagcbor_u64(&w, r->started_ms);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

static int output_order(const void *a, const void *b)
{
    return strcmp(((const struct task_output *)a)->name, ((const struct task_output *)b)->name);
}

static enum emac_status outputs_read(struct receipt *r, const struct dagcbor_node *root,
                                     struct emac_err *err)
{
    const struct dagcbor_node *map;
    enum emac_status st = dagcbor_get(root, "outputs", DAGCBOR_MAP, &map, err);
    if (st != EMAC_OK)
        return st;
    if (map->seq.count > TASK_OUTPUTS_MAX)
        return emac_fail(err, EMAC_INVALID, "a receipt has %zu outputs; at most %d", map->seq.count,
                         TASK_OUTPUTS_MAX);
    for (size_t i = 0; i < map->seq.count; i++) {
        const struct dagcbor_node *key = &map->seq.items[2 * i], *v = key + 1;
        if (v->type != DAGCBOR_CID || key->str.len != strlen(key->str.data) ||
            !emac_strcpy(r->output[i].name, TASK_NAME_MAX, key->str.data))
            return emac_fail(err, EMAC_INVALID, "output %zu of a receipt has a bad name or no CID",
                             i);
        r->output[i].cid = v->cid;
    }
    r->output_count = (uint32_t)map->seq.count;
    qsort(r->output, r->output_count, sizeof r->output[0], output_order);
    return EMAC_OK;
}

static enum emac_status receipt_read(struct receipt *r, const struct dagcbor_node *root,
                                     struct emac_err *err)
{
    static const char *const KEYS[] = {"node",    "task",    "ended", "lease",
                                       "outputs", "started", NULL};
    enum emac_status st;
    if (root->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a receipt must be a map");
    EMAC_TRY(st, dagcbor_only(root, KEYS, err));
    EMAC_TRY(st, dagcbor_get_cid(root, "task", &r->task, err));
    EMAC_TRY(st, dagcbor_get_text(root, "node", r->node, sizeof r->node, err));
    EMAC_TRY(st, dagcbor_get_text(root, "lease", r->lease, sizeof r->lease, err));
    EMAC_TRY(st, dagcbor_get_u64(root, "started", INT64_MAX, &r->started_ms, err));
    EMAC_TRY(st, dagcbor_get_u64(root, "ended", INT64_MAX, &r->ended_ms, err));
    EMAC_TRY(st, outputs_read(r, root, err));
    st = receipt_check(r, err);
out:
    return st;
}

enum emac_status receipt_decode(struct receipt *out, const void *data, size_t n,
                                struct emac_err *err)
{
    struct arena a;
    const struct dagcbor_node *root;
    *out = (struct receipt){0};
    if (n > RECEIPT_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a receipt of %zu bytes; at most %d", n,
                         RECEIPT_BYTES_MAX);
    arena_init(&a, RECEIPT_ARENA_MAX);
    enum emac_status st = dagcbor_parse(&a, data, n, &root, err);
    if (st == EMAC_OK)
        st = receipt_read(out, root, err);
    arena_release(&a);
    return st;
}

bool receipt_agrees(const struct receipt *a, const struct receipt *b)
{
    if (a->output_count != b->output_count)
        return false;
    for (uint32_t i = 0; i < a->output_count; i++) {
        if (strcmp(a->output[i].name, b->output[i].name) != 0 ||
            !cid_equal(&a->output[i].cid, &b->output[i].cid))
            return false;
    }
    return true;
}

#include "work/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define TASK_ARENA_MAX (64u << 20)

bool task_name_ok(const char *name)
{
    size_t n = strnlen(name, TASK_NAME_MAX);
    return n > 0 && n < TASK_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

bool task_input_on_disk(const char *name)
{
    return strcmp(name, "data") == 0 || strcmp(name, TASK_WHOLE) == 0;
}

const struct cid *task_input_find(const struct task *t, const char *name)
{
    for (uint32_t i = 0; i < t->input_count; i++) {
        if (strcmp(t->input[i].name, name) == 0)
            return &t->input[i].cid;
    }
    return NULL;
}

const struct task_arg *task_arg_find(const struct task *t, const char *name)
{
    for (uint32_t i = 0; i < t->arg_count; i++) {
        if (strcmp(t->arg[i].name, name) == 0)
            return &t->arg[i];
    }
    return NULL;
}

void task_release(struct task *t)
{
    free(t->part);
    t->part = NULL;
    t->part_count = 0;
}

enum emac_status task_copy(struct task *out, const struct task *t, struct emac_err *err)
{
    struct task_part *part = NULL;
    if (t->part_count > 0) {
        enum emac_status st = emac_alloc(&part, t->part_count, sizeof *part, err);
        if (st != EMAC_OK)
            return st;
        memcpy(part, t->part, t->part_count * sizeof *part);
    }
    *out = *t;
    out->part = part;
    return EMAC_OK;
}

/* ---- what a task must satisfy ---- */

static enum emac_status names_check(const char *what, const char *name, const char *before,
                                    struct emac_err *err)
{
    if (!task_name_ok(name))
        return emac_fail(err, EMAC_INVALID,
                         "an %s has a bad name; allowed are 1 to %d of [a-z0-9_.-]", what,
                         TASK_NAME_MAX - 1);
    if (before != NULL && strcmp(before, name) >= 0)
        return emac_fail(err, EMAC_INVALID, "%s '%s' does not come before '%s'; sort them by name",
                         what, before, name);
    return EMAC_OK;
}

static bool is_finite(float v)
{
    return v - v == 0;
}

static enum emac_status args_check(const struct task *t, struct emac_err *err)
{
    if (t->arg_count > TASK_ARGS_MAX)
        return emac_fail(err, EMAC_INVALID, "a task has %u args; at most %d", t->arg_count,
                         TASK_ARGS_MAX);
    for (uint32_t i = 0; i < t->arg_count; i++) {
        const struct task_arg *a = &t->arg[i];
        enum emac_status st = names_check("arg", a->name, i > 0 ? a[-1].name : NULL, err);
        if (st != EMAC_OK)
            return st;
        if (a->width == 0 || a->width > TASK_ARG_WIDTH_MAX)
            return emac_fail(err, EMAC_INVALID, "arg '%s' has %u numbers; 1 to %d are allowed",
                             a->name, a->width, TASK_ARG_WIDTH_MAX);
        for (uint32_t k = 0; k < a->width; k++) {
            if (!is_finite(a->value[k]))
                return emac_fail(err, EMAC_INVALID, "number %u of arg '%s' is not finite", k,
                                 a->name);
        }
    }
    return EMAC_OK;
}

static enum emac_status parts_check(const struct task *t, struct emac_err *err)
{
    if (t->part_count > TASK_PARTS_MAX)
        return emac_fail(err, EMAC_INVALID, "a task has %u parts; at most %d", t->part_count,
                         TASK_PARTS_MAX);
    uint64_t at = 0;
    for (uint32_t i = 0; i < t->part_count; i++) {
        const struct task_part *p = &t->part[i];
        if (p->count == 0 || p->first < at || (uint64_t)p->first + p->count > UINT32_MAX)
            return emac_fail(
                err, EMAC_INVALID,
                "part %u+%u overlaps the one before or is empty; sort parts by 'first'", p->first,
                p->count);
        at = (uint64_t)p->first + p->count;
    }
    return EMAC_OK;
}

enum emac_status task_check(const struct task *t, struct emac_err *err)
{
    enum emac_status st;
    if (t->program.codec != CID_DAG_CBOR)
        return emac_fail(err, EMAC_INVALID, "a task's program must be a dag-cbor block");
    if ((uint64_t)t->first + t->count > UINT32_MAX)
        return emac_fail(err, EMAC_INVALID, "the range %u+%u of a task is too large", t->first,
                         t->count);
    if (t->input_count > TASK_INPUTS_MAX)
        return emac_fail(err, EMAC_INVALID, "a task has %u inputs; at most %d", t->input_count,
                         TASK_INPUTS_MAX);
    for (uint32_t i = 0; i < t->input_count; i++) {
        const struct task_input *in = &t->input[i];
        EMAC_TRY(st, names_check("input", in->name, i > 0 ? in[-1].name : NULL, err));
        if (cid_is_none(&in->cid))
            return emac_fail(err, EMAC_INVALID, "input '%s' has no CID", in->name);
    }
    EMAC_TRY(st, args_check(t, err));
    st = parts_check(t, err);
out:
    return st;
}

/* ---- writing ---- */

/* Canonical order of map keys is by length, then bytes; ours is by bytes. */
static int key_order(const char *a, const char *b)
{
    size_t m = strlen(a), n = strlen(b);
    if (m != n)
        return m < n ? -1 : 1;
    return strcmp(a, b);
}

/* order[] = places of `count` (<= 8) names, `stride` bytes apart, in canonical order. */
static void order_keys(const char *name, size_t stride, uint32_t count, uint32_t order[8])
{
    EMAC_ASSERT(count <= 8);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0 && key_order(name + order[at - 1] * stride, name + i * stride) > 0; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

static void args_write(struct dagcbor_writer *w, const struct task *t)
{
    uint32_t order[8];
    order_keys(t->arg[0].name, sizeof t->arg[0], t->arg_count, order);
    dagcbor_key(w, "args");
    dagcbor_map(w, t->arg_count);
    for (uint32_t i = 0; i < t->arg_count; i++) {
        const struct task_arg *a = &t->arg[order[i]];
        dagcbor_key(w, a->name);
        dagcbor_list(w, a->width);
        for (uint32_t k = 0; k < a->width; k++)
            dagcbor_f64(w, (double)a->value[k]);
    }
}

static void parts_write(struct dagcbor_writer *w, const struct task *t)
{
    dagcbor_key(w, "parts");
    dagcbor_list(w, t->part_count);
    for (uint32_t i = 0; i < t->part_count; i++) {
        dagcbor_map(w, 3);
        dagcbor_key(w, "cid");
        dagcbor_cid(w, &t->part[i].cid);
        dagcbor_key(w, "count");
        dagcbor_u64(w, t->part[i].count);
        dagcbor_key(w, "first");
        dagcbor_u64(w, t->part[i].first);
    }
}

static void inputs_write(struct dagcbor_writer *w, const struct task *t)
{
    uint32_t order[8];
    order_keys(t->input[0].name, sizeof t->input[0], t->input_count, order);
    dagcbor_key(w, "inputs");
    dagcbor_map(w, t->input_count);
    for (uint32_t i = 0; i < t->input_count; i++) {
        dagcbor_key(w, t->input[order[i]].name);
        dagcbor_cid(w, &t->input[order[i]].cid);
    }
}

enum emac_status task_encode(const struct task *t, struct emac_buf *out, struct cid *cid,
                             struct emac_err *err)
{
    enum emac_status st = task_check(t, err);
    if (st != EMAC_OK)
        return st;
    size_t start = out->len;
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 8);
    args_write(&w, t);
    dagcbor_key(&w, "step");
    dagcbor_u64(&w, t->step);
    dagcbor_key(&w, "count");
    dagcbor_u64(&w, t->count);
    dagcbor_key(&w, "first");
    dagcbor_u64(&w, t->first);
    parts_write(&w, t);
    dagcbor_key(&w, "total");
    dagcbor_u64(&w, t->total);
    inputs_write(&w, t);
    dagcbor_key(&w, "program");
    dagcbor_cid(&w, &t->program);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

/* ---- reading ---- */

static enum emac_status name_read(char out[TASK_NAME_MAX], const struct dagcbor_node *key,
                                  struct emac_err *err)
{
    if (key->str.len != strlen(key->str.data) || !task_name_ok(key->str.data))
        return emac_fail(err, EMAC_INVALID,
                         "a task has a bad name; allowed are 1 to %d of [a-z0-9_.-]",
                         TASK_NAME_MAX - 1);
    bool fits = emac_strcpy(out, TASK_NAME_MAX, key->str.data);
    EMAC_ASSERT(fits);
    return EMAC_OK;
}

static int arg_order(const void *a, const void *b)
{
    return strcmp(((const struct task_arg *)a)->name, ((const struct task_arg *)b)->name);
}

static int input_order(const void *a, const void *b)
{
    return strcmp(((const struct task_input *)a)->name, ((const struct task_input *)b)->name);
}

static enum emac_status arg_read(struct task_arg *a, const struct dagcbor_node *list,
                                 struct emac_err *err)
{
    if (list->type != DAGCBOR_LIST || list->seq.count == 0 || list->seq.count > TASK_ARG_WIDTH_MAX)
        return emac_fail(err, EMAC_INVALID, "arg '%s' must be a list of 1 to %d numbers", a->name,
                         TASK_ARG_WIDTH_MAX);
    a->width = (uint32_t)list->seq.count;
    for (uint32_t k = 0; k < a->width; k++) {
        const struct dagcbor_node *v = &list->seq.items[k];
        if (v->type != DAGCBOR_F64 || (double)(float)v->f64 != v->f64)
            return emac_fail(err, EMAC_INVALID,
                             "number %u of arg '%s' is not a binary32 value in "
                             "binary64 form",
                             k, a->name);
        a->value[k] = (float)v->f64;
    }
    return EMAC_OK;
}

static enum emac_status args_read(struct task *t, const struct dagcbor_node *root,
                                  struct emac_err *err)
{
    const struct dagcbor_node *map;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_get(root, "args", DAGCBOR_MAP, &map, err));
    if (map->seq.count > TASK_ARGS_MAX)
        return emac_fail(err, EMAC_INVALID, "a task has %zu args; at most %d", map->seq.count,
                         TASK_ARGS_MAX);
    for (size_t i = 0; i < map->seq.count; i++) {
        EMAC_TRY(st, name_read(t->arg[i].name, &map->seq.items[2 * i], err));
        EMAC_TRY(st, arg_read(&t->arg[i], &map->seq.items[2 * i + 1], err));
    }
    t->arg_count = (uint32_t)map->seq.count;
    qsort(t->arg, t->arg_count, sizeof t->arg[0], arg_order);
out:
    return st;
}

static enum emac_status inputs_read(struct task *t, const struct dagcbor_node *root,
                                    struct emac_err *err)
{
    const struct dagcbor_node *map;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_get(root, "inputs", DAGCBOR_MAP, &map, err));
    if (map->seq.count > TASK_INPUTS_MAX)
        return emac_fail(err, EMAC_INVALID, "a task has %zu inputs; at most %d", map->seq.count,
                         TASK_INPUTS_MAX);
    for (size_t i = 0; i < map->seq.count; i++) {
        const struct dagcbor_node *v = &map->seq.items[2 * i + 1];
        EMAC_TRY(st, name_read(t->input[i].name, &map->seq.items[2 * i], err));
        if (v->type != DAGCBOR_CID)
            return emac_fail(err, EMAC_INVALID, "input '%s' must be a CID", t->input[i].name);
        t->input[i].cid = v->cid;
    }
    t->input_count = (uint32_t)map->seq.count;
    qsort(t->input, t->input_count, sizeof t->input[0], input_order);
out:
    return st;
}

static enum emac_status u32_read(const struct dagcbor_node *map, const char *key, uint32_t *out,
                                 struct emac_err *err)
{
    uint64_t v = 0;
    enum emac_status st = dagcbor_get_u64(map, key, UINT32_MAX, &v, err);
    *out = (uint32_t)v;
    return st;
}

static enum emac_status part_read(struct task_part *p, const struct dagcbor_node *map,
                                  struct emac_err *err)
{
    static const char *const KEYS[] = {"cid", "count", "first", NULL};
    enum emac_status st;
    if (map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a part must be a map {cid, count, first}");
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "cid", &p->cid, err));
    EMAC_TRY(st, u32_read(map, "count", &p->count, err));
    st = u32_read(map, "first", &p->first, err);
out:
    return st;
}

static enum emac_status parts_read(struct task *t, const struct dagcbor_node *root,
                                   struct emac_err *err)
{
    const struct dagcbor_node *list;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_get(root, "parts", DAGCBOR_LIST, &list, err));
    if (list->seq.count > TASK_PARTS_MAX)
        return emac_fail(err, EMAC_INVALID, "a task has %zu parts; at most %d", list->seq.count,
                         TASK_PARTS_MAX);
    if (list->seq.count > 0)
        EMAC_TRY(st, emac_alloc(&t->part, list->seq.count, sizeof *t->part, err));
    t->part_count = (uint32_t)list->seq.count;
    for (uint32_t i = 0; i < t->part_count; i++)
        EMAC_TRY(st, part_read(&t->part[i], &list->seq.items[i], err));
out:
    return st;
}

static enum emac_status task_read(struct task *t, const struct dagcbor_node *root,
                                  struct emac_err *err)
{
    static const char *const KEYS[] = {"args",  "step",   "count",   "first", "parts",
                                       "total", "inputs", "program", NULL};
    enum emac_status st;
    if (root->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a task must be a map");
    EMAC_TRY(st, dagcbor_only(root, KEYS, err));
    EMAC_TRY(st, dagcbor_get_cid(root, "program", &t->program, err));
    EMAC_TRY(st, u32_read(root, "first", &t->first, err));
    EMAC_TRY(st, u32_read(root, "count", &t->count, err));
    EMAC_TRY(st, u32_read(root, "total", &t->total, err));
    EMAC_TRY(st, u32_read(root, "step", &t->step, err));
    EMAC_TRY(st, args_read(t, root, err));
    EMAC_TRY(st, inputs_read(t, root, err));
    EMAC_TRY(st, parts_read(t, root, err));
    st = task_check(t, err);
out:
    return st;
}

enum emac_status task_decode(struct task *out, const void *data, size_t n, struct emac_err *err)
{
    struct arena a;
    const struct dagcbor_node *root;
    *out = (struct task){0};
    if (n > TASK_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a task of %zu bytes; at most %u", n, TASK_BYTES_MAX);
    arena_init(&a, TASK_ARENA_MAX);
    enum emac_status st = dagcbor_parse(&a, data, n, &root, err);
    if (st == EMAC_OK)
        st = task_read(out, root, err);
    arena_release(&a);
    if (st != EMAC_OK)
        task_release(out);
    return st;
}

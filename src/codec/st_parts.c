#include "codec/st_parts.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define PART_NAME_MAX 255
#define PART_SUFFIX   ".safetensors"

void st_parts_release(struct st_parts *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->name[i]);
    for (size_t i = 0; i < p->tensors; i++)
        free(p->tensor[i].name);
    free(p->name);
    free(p->tensor);
    *p = (struct st_parts){0};
}

static int order_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int order_tensors(const void *a, const void *b)
{
    const struct st_parts_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The place of a part's name, or p->count. */
static size_t part_find(const struct st_parts *p, const char *name)
{
    char *const *found = bsearch(&name, p->name, p->count, sizeof *p->name, order_names);
    return found == NULL ? p->count : (size_t)(found - p->name);
}

static const struct st_parts_tensor *tensor_find(const struct st_parts *p, const char *name)
{
    const struct st_parts_tensor key = {.name = (char *)(uintptr_t)name};
    return bsearch(&key, p->tensor, p->tensors, sizeof key, order_tensors);
}

uint32_t st_parts_of(const struct st_parts *p, const char *tensor)
{
    const struct st_parts_tensor *t = tensor_find(p, tensor);
    EMAC_ASSERT(t != NULL);
    return t->part;
}

/* ---- reading ---- */

static bool name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static enum emac_status part_name_check(const char *tensor, const json_t *v, struct emac_err *err)
{
    const char *name = json_string_value(v);
    size_t n = name == NULL ? 0 : json_string_length(v), suffix = sizeof PART_SUFFIX - 1;
    bool ok = n > suffix && n <= PART_NAME_MAX && name[0] != '.' &&
              strcmp(name + n - suffix, PART_SUFFIX) == 0;
    for (size_t i = 0; ok && i < n; i++)
        ok = name_byte(name[i]);
    if (ok)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "the index names '%.100s' as the part that holds '%.100s': a part is a "
                     "file beside the index, of letters, digits, '.', '_' and '-', ending in "
                     "'" PART_SUFFIX "'",
                     name == NULL ? "?" : name, tensor);
}

static enum emac_status map_check(const json_t *map, struct emac_err *err)
{
    const char *tensor;
    const json_t *part;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return emac_fail(err, EMAC_INVALID, "'weight_map' of the index names no tensor");
    if (json_object_size(map) > ST_TENSORS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "the index names %zu tensors; the limit is %d",
                         json_object_size(map), ST_TENSORS_MAX);
    json_object_foreach((json_t *)(uintptr_t)map, tensor, part)
    {
        enum emac_status st = part_name_check(tensor, part, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* The parts' names, each once. `map` has been checked. */
static enum emac_status names_take(struct st_parts *p, json_t *map, struct emac_err *err)
{
    const char **all, *tensor;
    const json_t *part;
    size_t n = 0;
    enum emac_status st = emac_alloc(&all, json_object_size(map), sizeof *all, err);
    if (st != EMAC_OK)
        return st;
    json_object_foreach(map, tensor, part) all[n++] = json_string_value(part);
    qsort(all, n, sizeof *all, order_names);
    size_t different = 1;
    for (size_t i = 1; i < n; i++)
        different += strcmp(all[i - 1], all[i]) != 0;
    if (different > ST_PARTS_MAX)
        st = emac_fail(err, EMAC_TOO_LARGE, "the index names %zu parts; the limit is %d", different,
                       ST_PARTS_MAX);
    if (st == EMAC_OK)
        st = emac_alloc(&p->name, different, sizeof *p->name, err);
    for (size_t i = 0; st == EMAC_OK && i < n; i++)
        if (i == 0 || strcmp(all[i - 1], all[i]) != 0)
            p->name[p->count++] = emac_strdup(all[i]);
    free(all);
    return st;
}

static enum emac_status map_take(struct st_parts *p, json_t *map, struct emac_err *err)
{
    const char *tensor;
    const json_t *part;
    enum emac_status st;
    EMAC_TRY(st, map_check(map, err));
    EMAC_TRY(st, names_take(p, map, err));
    EMAC_TRY(st, emac_alloc(&p->tensor, json_object_size(map), sizeof *p->tensor, err));
    json_object_foreach(map, tensor, part)
    {
        size_t at = part_find(p, json_string_value(part));
        p->tensor[p->tensors++] =
            (struct st_parts_tensor){.name = emac_strdup(tensor), .part = (uint32_t)at};
    }
    qsort(p->tensor, p->tensors, sizeof *p->tensor, order_tensors);
out:
    return st;
}

enum emac_status st_parts_parse(struct st_parts *out, const void *json, size_t n,
                                struct emac_err *err)
{
    json_error_t why;
    *out = (struct st_parts){0};
    if (n > ST_PARTS_JSON_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "an index of %zu bytes; the limit is %u", n,
                         ST_PARTS_JSON_MAX);
    json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return emac_fail(err, EMAC_INVALID,
                         "the index is not JSON, or names a tensor twice: "
                         "line %d: %s",
                         why.line, why.text);
    enum emac_status st = json_is_object(root)
                              ? map_take(out, json_object_get(root, "weight_map"), err)
                              : emac_fail(err, EMAC_INVALID, "the index is not a JSON object");
    json_decref(root);
    if (st != EMAC_OK)
        st_parts_release(out);
    return st;
}

/* ---- writing ---- */

enum emac_status st_parts_write(const struct st_parts *p, uint64_t total_size, struct emac_buf *out,
                                struct emac_err *err)
{
    json_t *map = json_object();
    for (size_t i = 0; i < p->tensors; i++)
        json_object_set_new(map, p->tensor[i].name, json_string(p->name[p->tensor[i].part]));
    json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total_size,
                             "weight_map", map);
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(root);
    if (text == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for an index of parts");
    enum emac_status st = emac_buf_printf(out, err, "%s\n", text);
    free(text);
    return st;
}

/* ---- joining ---- */

/* What part `at` holds must be what the index says it does. */
static enum emac_status part_check(const struct st_parts *p, uint32_t at,
                                   const struct st_index *index, struct emac_err *err)
{
    for (size_t i = 0; i < index->count; i++) {
        const char *name = index->tensor[i].name;
        const struct st_parts_tensor *t = tensor_find(p, name);
        if (t == NULL)
            return emac_fail(err, EMAC_INVALID,
                             "'%s' holds the tensor '%s', which the index does not name",
                             p->name[at], name);
        if (t->part != at)
            return emac_fail(err, EMAC_INVALID,
                             "the tensor '%s' is in '%s', and the index says it is in '%s': it "
                             "must be in one part alone",
                             name, p->name[at], p->name[t->part]);
    }
    return EMAC_OK;
}

static enum emac_status tensors_collect(const struct st_parts *p, const struct st_index *index,
                                        struct st_index *bundle, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < p->tensors && st == EMAC_OK; i++) {
        const struct st_parts_tensor *want = &p->tensor[i];
        const struct st_tensor *t = st_index_find(&index[want->part], want->name);
        if (t == NULL)
            return emac_fail(err, EMAC_INVALID,
                             "the index says that '%s' holds the tensor '%s', and it does not",
                             p->name[want->part], want->name);
        st = st_index_add(bundle, t->name, t->dtype, t->rank, t->dim, err);
    }
    return st;
}

enum emac_status st_parts_join(const struct st_parts *p, const struct st_index *index,
                               struct st_index *bundle, struct st_piece **piece,
                               struct emac_buf *header, struct emac_err *err)
{
    enum emac_status st;
    *bundle = (struct st_index){0};
    *piece = NULL;
    for (uint32_t i = 0; i < p->count; i++)
        EMAC_TRY(st, part_check(p, i, &index[i], err));
    EMAC_TRY(st, tensors_collect(p, index, bundle, err));
    EMAC_TRY(st, st_bundle_layout(bundle, header, err));
    EMAC_TRY(st, emac_alloc(piece, bundle->count, sizeof **piece, err));
    for (size_t i = 0; i < bundle->count; i++) {
        const struct st_index *from;
        (*piece)[i].part = st_parts_of(p, bundle->tensor[i].name);
        from = &index[(*piece)[i].part];
        (*piece)[i].begin = from->data_offset + st_index_find(from, bundle->tensor[i].name)->begin;
    }
out:
    return st;
}

/* ---- cutting ---- */

static enum emac_status parts_name(struct st_parts *out, struct emac_err *err)
{
    enum emac_status st = emac_alloc(&out->name, out->count, sizeof *out->name, err);
    for (size_t i = 0; st == EMAC_OK && i < out->count; i++)
        out->name[i] = emac_asprintf("model-%05zu-of-%05zu" PART_SUFFIX, i + 1, out->count);
    if (st != EMAC_OK)
        out->count = 0;
    return st;
}

enum emac_status st_parts_cut(const struct st_index *whole, uint64_t most, struct st_parts *out,
                              struct emac_err *err)
{
    uint64_t bytes = 0;
    size_t count = 1;
    enum emac_status st;
    *out = (struct st_parts){0};
    EMAC_TRY(st, emac_alloc(&out->tensor, whole->count, sizeof *out->tensor, err));
    for (size_t i = 0; i < whole->count; i++) {
        uint64_t n = st_tensor_bytes(&whole->tensor[i]);
        if (bytes > 0 && (n > most || bytes > most - n)) {
            count++;
            bytes = 0;
        }
        bytes += n;
        out->tensor[out->tensors++] = (struct st_parts_tensor){
            .name = emac_strdup(whole->tensor[i].name), .part = (uint32_t)(count - 1)};
    }
    if (count > ST_PARTS_MAX) {
        st =
            emac_fail(err, EMAC_TOO_LARGE, "the model would be cut into %zu parts; the limit is %d",
                      count, ST_PARTS_MAX);
        goto out;
    }
    out->count = count;
    EMAC_TRY(st, parts_name(out, err));
    qsort(out->tensor, out->tensors, sizeof *out->tensor, order_tensors);
out:
    if (st != EMAC_OK)
        st_parts_release(out);
    return st;
}

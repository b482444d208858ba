/* Private weights: inputs that are sealed files (work/sealed.h). They are opened into memory of the
 * task, which no store knows, so nothing of them can be served or written; when the task ends zeros
 * are written over it, on the device, too. */
#include <stdlib.h>

#include "base/assert.h"
#include "node/exec_internal.h"

#define ZEROS ((size_t)1 << 20)

enum emac_status exec_keys_add(struct exec *x, const struct sealed_ring *keys, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < keys->count && st == EMAC_OK; i++)
        st = sealed_ring_add(&x->keys, &keys->at[i].asset, keys->at[i].key, err);
    return st;
}

enum emac_status exec_sealed_find(struct exec *x, const struct cid *asset, struct sealed *out,
                                  const uint8_t **key, struct emac_err *err)
{
    enum emac_status st = sealed_load(x->cfg.store, asset, out, err);
    if (exec_fetched(x, asset, false, &st, err))
        st = sealed_load(x->cfg.store, asset, out, err);
    return st == EMAC_OK && key != NULL ? sealed_ring_get(&x->keys, asset, key, err) : st;
}

static enum emac_status opened_read(struct exec *x, const struct cid *asset, struct exec_opened *o,
                                    uint64_t most, struct emac_err *err)
{
    struct sealed s;
    const uint8_t *key;
    uint8_t *data = NULL;
    enum emac_status st;
    EMAC_TRY(st, exec_sealed_find(x, asset, &s, &key, err));
    if (s.size > most)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "it has %llu bytes, and a task may use %llu more here: take a larger "
                         "machine",
                         (unsigned long long)s.size, (unsigned long long)most);
    EMAC_TRY(st, emac_alloc_aligned(&data, s.size, err));
    st = sealed_read(x->cfg.store, &s, key, data, err);
    if (exec_fetched(x, asset, false, &st, err))
        st = sealed_read(x->cfg.store, &s, key, data, err);
out:
    if (st != EMAC_OK) {
        free(data);
        return st;
    }
    o->data = data;
    o->value = (struct store_value){
        .cid = *asset, .size = s.size, .head = data, .head_size = s.size, .data = data};
    return EMAC_OK;
}

enum emac_status exec_private_get(struct exec_run *r, const char *what, const struct cid *asset,
                                  uint64_t most, struct exec_value *out, struct emac_err *err)
{
    struct exec *x = r->x;
    struct exec_opened *o = &r->opened[r->opened_count];
    enum emac_status st;
    EMAC_ASSERT(r->opened_count < EMAC_COUNT(r->opened));
    *o = (struct exec_opened){0};
    st = opened_read(x, asset, o, most, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "input '%s'", what);
    r->opened_count++;
    *out = (struct exec_value){&o->value, o->data};
    if (device_is_host(x->cfg.dev))
        return EMAC_OK;
    EMAC_TRY(st, resident_alloc(&x->resident, o->value.size, &o->copy, err));
    EMAC_TRY(st, device_write(x->cfg.dev, o->copy, o->data, o->value.size, err));
    out->at = o->copy;
out:
    return st;
}

/* A device that is lost has nothing left to wipe. */
static void copy_wipe(struct exec *x, uint8_t *copy, size_t n)
{
    uint8_t *zeros = NULL;
    if (copy != NULL && emac_alloc(&zeros, 1, ZEROS, NULL) == EMAC_OK)
        for (size_t at = 0; at < n; at += ZEROS)
            if (device_write(x->cfg.dev, copy + at, zeros, n - at < ZEROS ? n - at : ZEROS, NULL) !=
                EMAC_OK)
                break;
    free(zeros);
    device_free(x->cfg.dev, copy);
}

void exec_private_drop(struct exec_run *r)
{
    while (r->opened_count > 0) {
        struct exec_opened *o = &r->opened[--r->opened_count];
        copy_wipe(r->x, o->copy, o->value.size);
        sealed_wipe(o->data, o->value.size);
    }
}

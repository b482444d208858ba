#include "cli/tensorboard.h"

#include <stdio.h>
#include <string.h>

#include "codec/tfevents.h"

#define WAITING_MAX   (1u << 20)
#define WAITING_FLUSH (WAITING_MAX / 2)

enum emac_status tensorboard_open(struct tensorboard *t, struct os *os, const char *dir,
                                  const char *run, uint64_t began_ms, struct emac_err *err)
{
    char name[TFEVENTS_NAME_MAX];
    *t = (struct tensorboard){.os = os};
    emac_buf_init(&t->waiting, WAITING_MAX);
    if (dir == NULL)
        return EMAC_OK;
    int n = snprintf(t->path, sizeof t->path, "%s/%s", dir, run);
    if (n < 0 || (size_t)n >= sizeof t->path - sizeof name)
        return emac_fail(err, EMAC_INVALID, "the path '%s' is too long", dir);
    enum emac_status st = os->dir_make(os, t->path, err);
    if (st != EMAC_OK)
        return st;
    tfevents_name(name, began_ms, run);
    snprintf(t->path + n, sizeof t->path - (size_t)n, "/%s", name);
    st = os->file_remove(os, t->path, err);
    if (st == EMAC_OK || st == EMAC_NOT_FOUND)
        st = tfevents_begin(&t->waiting, began_ms, err);
    return st;
}

enum emac_status tensorboard_flush(struct tensorboard *t, struct emac_err *err)
{
    if (t->waiting.len == 0)
        return EMAC_OK;
    enum emac_status st =
        t->os->file_append(t->os, t->path, t->waiting.data, t->waiting.len, 0644, err);
    if (st == EMAC_OK)
        emac_buf_clear(&t->waiting);
    return st;
}

enum emac_status tensorboard_restart(struct tensorboard *t, uint64_t at_ms, uint64_t step,
                                     struct emac_err *err)
{
    return t->path[0] ? tfevents_restart(&t->waiting, at_ms, step, err) : EMAC_OK;
}

enum emac_status tensorboard_add(struct tensorboard *t, const char *name, uint64_t step,
                                 double value, uint64_t at_ms, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (t->path[0] == 0)
        return EMAC_OK;
    /* Evaluations come beside later steps; a loss of an earlier step means that the job went back.
     */
    if (strcmp(name, "loss") == 0) {
        if (step <= t->last_step)
            st = tensorboard_restart(t, at_ms, step, err);
        t->last_step = step;
    }
    if (st == EMAC_OK)
        st = tfevents_scalar(&t->waiting, at_ms, step, name, (float)value, err);
    return st == EMAC_OK && t->waiting.len > WAITING_FLUSH ? tensorboard_flush(t, err) : st;
}

void tensorboard_release(struct tensorboard *t)
{
    emac_buf_release(&t->waiting);
}

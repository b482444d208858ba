#include "cli/series.h"

#include <stdlib.h>
#include <string.h>

const struct series *series_find(const struct series_set *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->at[i].name, name) == 0)
            return &set->at[i];
    return NULL;
}

bool series_last(const struct series_set *set, const char *name, double *value)
{
    const struct series *s = series_find(set, name);
    if (s == NULL || s->count == 0)
        return false;
    *value = s->point[s->count - 1].y;
    return true;
}

static enum emac_status series_get(struct series_set *set, const char *name, struct series **out,
                                   struct emac_err *err)
{
    *out = NULL;
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->at[i].name, name) == 0)
            *out = &set->at[i];
    if (*out != NULL || set->count == SERIES_MAX)
        return EMAC_OK;
    struct series *s = &set->at[set->count];
    enum emac_status st = emac_alloc(&s->point, SERIES_POINTS_MAX, sizeof *s->point, err);
    if (st != EMAC_OK)
        return st;
    s->stride = 1;
    emac_strcpy(s->name, sizeof s->name, name);
    set->count++;
    *out = s;
    return EMAC_OK;
}

static bool stays(const struct series *s, const struct plot_point *at)
{
    return (uint64_t)at->x % s->stride == 0;
}

static void thin(struct series *s)
{
    size_t kept = 0;
    s->stride *= 2;
    for (size_t i = 0; i < s->count; i++)
        if (stays(s, &s->point[i]))
            s->point[kept++] = s->point[i];
    s->count = kept;
}

enum emac_status series_add(struct series_set *set, const char *name, uint64_t step, double value,
                            struct emac_err *err)
{
    struct series *s;
    enum emac_status st = series_get(set, name, &s, err);
    if (st != EMAC_OK || s == NULL)
        return st;
    while (s->count > 0 && s->point[s->count - 1].x >= (double)step)
        s->count--;
    if (s->count > 0 && !stays(s, &s->point[s->count - 1]))
        s->count--; /* it was there as the newest only */
    while (s->count == SERIES_POINTS_MAX)
        thin(s);
    s->point[s->count++] = (struct plot_point){(double)step, value};
    return EMAC_OK;
}

void series_release(struct series_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        free(set->at[i].point);
    *set = (struct series_set){0};
}

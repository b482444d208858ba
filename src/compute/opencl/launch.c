/* Calls of kernels by the operators: their arguments and how work is cut for the device. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "compute/opencl/ops.h"

#define TEAM_MAX       256
#define TEAM_MIN       16   /* rule 4's lanes */
#define CHUNK_MIN      1024 /* elements that are worth an item of their own, where wide */
#define CHUNKS_A_UNIT  4    /* so that a unit that is late costs little */
#define ITEMS_MAX_TEAM 4096 /* teams walking over long vectors */

bool cl_is_wide(const struct cl *cl)
{
    const struct cl_limits *limits = cl_limits(cl);
    return limits->is_cpu || limits->group_max < TEAM_MIN;
}

size_t cl_count(const struct tensor *t)
{
    size_t n = 0;
    bool ok = shape_count(&t->shape, &n);
    EMAC_ASSERT(ok);
    return n;
}

size_t cl_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t cl_div_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

size_t cl_vec(const struct cl *cl)
{
    uint32_t likes = cl_limits(cl)->vector;
    return !cl_is_wide(cl) ? 1 : likes >= 16 ? 16 : likes >= 8 ? 8 : 4;
}

size_t cl_team(const struct cl *cl)
{
    size_t team = TEAM_MAX;
    if (cl_is_wide(cl))
        return 1;
    while (team > cl_limits(cl)->group_max)
        team /= 2;
    return team;
}

void launch_begin(struct launch *l, struct cl *cl, const char *program, const char *kernel)
{
    *l = (struct launch){.cl = cl, .call = {.program = program, .kernel = kernel, .dims = 1}};
    launch_define(l, "WIDE", cl_is_wide(cl));
    launch_define(l, cl_is_wide(cl) ? "VEC" : "TEAM", cl_is_wide(cl) ? cl_vec(cl) : cl_team(cl));
}

void launch_define(struct launch *l, const char *name, size_t value)
{
    size_t at = strlen(l->defines);
    int n = snprintf(l->defines + at, sizeof l->defines - at, "-D%s=%zu ", name, value);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof l->defines - at);
}

static void add(struct launch *l, struct cl_arg arg)
{
    EMAC_ASSERT(l->call.args < CL_ARGS_MAX);
    l->arg[l->call.args++] = arg;
}

void launch_memory(struct launch *l, const void *ptr)
{
    add(l, cl_memory_arg(ptr));
}

void launch_number(struct launch *l, size_t n)
{
    add(l, cl_u64_arg(n));
}

void launch_word(struct launch *l, uint32_t n)
{
    add(l, cl_u32_arg(n));
}

void launch_float(struct launch *l, float v)
{
    add(l, cl_f32_arg(v));
}

void launch_fault(struct launch *l)
{
    add(l, cl_fault_arg(l->cl));
}

void launch_local(struct launch *l, size_t bytes)
{
    add(l, cl_local_arg(bytes));
}

void launch_team(struct launch *l)
{
    launch_local(l, cl_team(l->cl) * sizeof(float));
}

void launch_each(struct launch *l, size_t n, size_t whole)
{
    size_t team = cl_team(l->cl), items = cl_min(cl_div_up(n, team), ITEMS_MAX_TEAM) * team;
    size_t chunk = whole;
    if (team == 1) {
        items = cl_min(cl_div_up(n, CHUNK_MIN), cl_limits(l->cl)->units * CHUNKS_A_UNIT);
        chunk = cl_div_up(cl_div_up(n, items), whole) * whole;
        items = cl_div_up(n, chunk);
    }
    launch_number(l, n);
    launch_number(l, chunk);
    l->call.global[0] = items;
    l->call.local[0] = team;
}

static enum emac_status run(struct launch *l, struct emac_err *err)
{
    l->call.arg = l->arg;
    l->call.defines = l->defines;
    return cl_call(l->cl, &l->call, err);
}

enum emac_status launch_items(struct launch *l, struct emac_err *err)
{
    EMAC_ASSERT(l->call.local[0] != 0);
    return run(l, err);
}

enum emac_status launch_groups(struct launch *l, const size_t local[2], size_t x, size_t y,
                               size_t z, struct emac_err *err)
{
    const size_t global[3] = {x * local[0], y * local[1], z}, item[3] = {local[0], local[1], 1};
    l->call.dims = 3;
    memcpy(l->call.global, global, sizeof global);
    memcpy(l->call.local, item, sizeof item);
    return run(l, err);
}

enum emac_status launch_rows(struct launch *l, size_t x, size_t y, struct emac_err *err)
{
    const size_t local[2] = {cl_team(l->cl), 1};
    return launch_groups(l, local, x, y, 1, err);
}

enum emac_status launch_pointwise(struct cl *cl, const char *kernel, const void *const *ptr,
                                  uint32_t count, size_t n, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "pointwise", kernel);
    for (uint32_t i = 0; i < count; i++)
        launch_memory(&l, ptr[i]);
    launch_each(&l, n, 1);
    return launch_items(&l, err);
}

enum emac_status cl_fill(struct cl *cl, float *y, size_t n, float value, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "pointwise", "fill");
    launch_memory(&l, y);
    launch_each(&l, n, 1);
    launch_float(&l, value);
    return launch_items(&l, err);
}

enum emac_status cl_add_rows(struct cl *cl, float *out, const float *block, size_t blocks, size_t n,
                             struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "sum", "add_rows");
    launch_define(&l, "SQUARE", 0);
    launch_memory(&l, block);
    launch_memory(&l, out);
    launch_each(&l, n, 1);
    launch_number(&l, blocks);
    return launch_items(&l, err);
}

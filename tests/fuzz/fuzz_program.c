/* A stranger's program. The bytes are read as a program block, which must have this one encoding;
 * and as a graph, which the task runner gets as a map and as an apply program with inputs of the
 * shapes it asks for: it must run it or say in a sentence why not. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec.h"
#include "work/bundle.h"

#define RUN_BYTES_MAX (1u << 20)
#define RUN_FLOPS_MAX 10000000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct store *store;
static struct exec *exec;
static struct cid corpus, records;

#define RECORDS 8 /* of 2 x 2 x 1 bytes, all zero */

static void records_setup(void)
{
    static const uint8_t BYTES[RECORDS * 6];
    static const char *names[] = {"a", "b"};
    float one = 1;
    struct dataset d = {.height = 2,
                        .width = 2,
                        .channels = 1,
                        .class_count = 2,
                        .class_name = names,
                        .norm_count = 1,
                        .scale = &one,
                        .shift = &one};
    struct emac_buf manifest;

    emac_buf_init(&manifest, DATASET_BYTES_MAX);
    d.split[DATASET_TRAIN].records = RECORDS;
    EMAC_ASSERT(store_block_put(store, CID_RAW, BYTES, sizeof BYTES, &d.split[DATASET_TRAIN].file,
                                NULL) == EMAC_OK);
    EMAC_ASSERT(dataset_encode(&d, &manifest, &records, NULL) == EMAC_OK);
    EMAC_ASSERT(store_block_put_as(store, &records, manifest.data, manifest.len, NULL) == EMAC_OK);
    emac_buf_release(&manifest);
}

static void setup(void)
{
    static const struct exec_config EMPTY;
    const struct store_config sc = {.os = os_real(), .memory_quota = 4 << 20, .hash_threads = 1};
    struct exec_config xc = EMPTY;
    uint8_t text[600];

    EMAC_ASSERT(store_open(&sc, &store, NULL) == EMAC_OK);
    EMAC_ASSERT(device_cpu_open(ISA_BEST, 1, &xc.dev, NULL) == EMAC_OK);
    xc.os = os_real();
    xc.store = store;
    xc.memory_max = 4 * RUN_BYTES_MAX;
    EMAC_ASSERT(exec_new(&xc, &exec, NULL) == EMAC_OK);
    memset(text, 1, sizeof text);
    EMAC_ASSERT(store_block_put(store, CID_RAW, text, sizeof text, &corpus, NULL) == EMAC_OK);
    records_setup();
}

static void check_program_block(const uint8_t *data, size_t n)
{
    struct emac_buf again;
    struct emac_err err = {0};
    struct program p;

    if (program_decode(&p, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return;
    }
    emac_buf_init(&again, PROGRAM_BYTES_MAX);
    EMAC_ASSERT(program_encode(&p, &again, NULL, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    emac_buf_release(&again);
}

/* A bundle as the graph's inputs `name` want it, all zero; false when it is too large to make. */
static bool bundle_put(const struct graph *g, const char *name, struct cid *out)
{
    struct bundle b;
    const struct store_value *v;
    uint8_t *file;
    struct emac_err err;
    bool ok = bundle_layout(g, false, name, &b, &err) == EMAC_OK && b.size <= RUN_BYTES_MAX;

    if (ok) {
        EMAC_ASSERT(emac_alloc_aligned(&file, b.size + 1, NULL) == EMAC_OK);
        memset(file, 0, b.size);
        if (b.size > 0)
            memcpy(file, b.header.data, b.header.len);
        EMAC_ASSERT(store_value_adopt(store, file, b.size, &v, NULL) == EMAC_OK);
        *out = v->cid;
        store_value_drop(store, v);
    }
    bundle_release(&b);
    return ok;
}

static int input_order(const void *a, const void *b)
{
    return strcmp(((const struct task_input *)a)->name, ((const struct task_input *)b)->name);
}

static int arg_order(const void *a, const void *b)
{
    return strcmp(((const struct task_arg *)a)->name, ((const struct task_arg *)b)->name);
}

static void arg_give(struct task *t, const char *name, size_t width)
{
    if (t->arg_count == TASK_ARGS_MAX || strlen(name) >= TASK_NAME_MAX)
        return;
    struct task_arg *a = &t->arg[t->arg_count++];
    emac_strcpy(a->name, sizeof a->name, name);
    a->width = width <= TASK_ARG_WIDTH_MAX ? (uint32_t)width : TASK_ARG_WIDTH_MAX;
}

static void input_give(struct task *t, const char *name, const struct cid *cid)
{
    if (t->input_count == TASK_INPUTS_MAX || task_input_find(t, name) != NULL)
        return;
    struct task_input *in = &t->input[t->input_count++];
    emac_strcpy(in->name, sizeof in->name, name);
    in->cid = *cid;
}

/* A task that gives all that the ports name. */
static void task_make(const struct graph *g, bool map, bool on_records, struct task *t,
                      struct task_part *part)
{
    for (uint32_t i = 0; i < graph_input_count(g); i++) {
        struct graph_port port = graph_input_at(g, i);
        const char *slash = strchr(port.name, '/'), *arg;
        char name[TASK_NAME_MAX] = "";
        struct cid cid;

        if ((size_t)(slash - port.name) >= sizeof name)
            continue;
        memcpy(name, port.name, (size_t)(slash - port.name));
        if (bundle_of(port.name, "args", &arg)) {
            arg_give(t, arg, port.shape.dim[0]);
        } else if (strcmp(name, "sum") == 0 && bundle_put(g, name, &part->cid)) {
            *part = (struct task_part){0, 1, part->cid};
            t->part = part;
            t->part_count = t->total = 1;
        } else if (strcmp(name, "batch") != 0 && bundle_put(g, name, &cid)) {
            input_give(t, name, &cid);
        }
    }
    if (map)
        input_give(t, "data", on_records ? &records : &corpus);
    qsort(t->input, t->input_count, sizeof t->input[0], input_order);
    qsort(t->arg, t->arg_count, sizeof t->arg[0], arg_order);
}

/* The sampler draws what the graph's tokens or records want, so that such graphs get to run. */
static struct sampler sampler_for(const struct graph *g)
{
    struct sampler s = {SAMPLER_RANDOM, 1, 8, 0, 600, 1};

    for (uint32_t i = 0; i < graph_input_count(g); i++) {
        struct graph_port port = graph_input_at(g, i);

        if (strcmp(port.name, "batch/inputs") == 0 && port.shape.dim[0] <= RECORDS)
            return (struct sampler){
                .kind = SAMPLER_LISTED, .batch = (uint32_t)port.shape.dim[0], .end = RECORDS};
        if (bundle_of(port.name, "batch", NULL) && port.shape.dim[0] < 500)
            s.seq = (uint32_t)port.shape.dim[0];
    }
    return s;
}

static void run_as(const struct graph *g, const struct cid *graph, bool map)
{
    struct program p = {.kind = map ? PROGRAM_MAP : PROGRAM_APPLY, .graph = *graph};
    struct task t = {.count = map ? 2 : 0};
    struct task_part part = {0};
    struct exec_result r;
    struct emac_err err = {0};
    struct emac_buf buf;

    p.has_sampler = map;
    if (map)
        p.sampler = sampler_for(g);
    emac_buf_init(&buf, PROGRAM_BYTES_MAX);
    EMAC_ASSERT(program_encode(&p, &buf, &t.program, NULL) == EMAC_OK);
    EMAC_ASSERT(store_block_put_as(store, &t.program, buf.data, buf.len, NULL) == EMAC_OK);
    task_make(g, map, map && sampler_on_records(&p.sampler), &t, &part);
    if (exec_run(exec, &t, &r, &err) == EMAC_OK)
        exec_result_release(exec, &r);
    else
        EMAC_ASSERT(err.text[0] != '\0' && err.status != EMAC_INTERNAL);
    emac_buf_release(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_err err;
    struct graph *g;
    struct cid cid;

    if (store == NULL)
        setup();
    check_program_block(data, n);
    if (n > UNIXFS_BLOCK_MAX || graph_decode(&g, data, n, &err) != EMAC_OK)
        return 0;
    if (graph_flops(g) <= RUN_FLOPS_MAX) {
        EMAC_ASSERT(store_block_put(store, CID_DAG_CBOR, data, n, &cid, NULL) == EMAC_OK);
        run_as(g, &cid, false);
        run_as(g, &cid, true);
    }
    graph_free(g);
    return 0;
}

/* Speed of a training step: bench_train [--isa NAME] [--threads N] [--device opencl:WHICH] MODEL
 * BATCHxSEQ
 *
 * The model's own graphs, run as a rig runs them: gradients of one micro-batch, then AdamW with
 * clipping, whose new state takes the place of the old. MODEL: one of bench/models.h. Commands are
 * read from standard input, one a line, and answered by one line each:
 *     init FILE   the parameters are written to FILE, binary32, in order of their names
 *     step        one step; "SECONDS LOSS", with one thread its own seconds, else the wall's
 *     memory      "BYTES", the largest this process has been
 *     profile     one step; a table of seconds by operator, and an empty line */
#include <sys/resource.h>

#include "bench.h"
#include "models.h"
#include "graph/plan_internal.h"
#include "model/llama.h"
#include "model/optimiser.h"

#define LINE_MAX 256
#define SEED     7

static const struct optimiser_recipe recipe = {.lr = 6e-4,
                                               .min_lr = 6e-4,
                                               .steps = 1000,
                                               .beta1 = 0.9,
                                               .beta2 = 0.95,
                                               .eps = 1e-8,
                                               .weight_decay = 0.1,
                                               .clip_norm = 1.0};

/* What is written before a step and read after it. */
struct numbers {
    float loss, count_inv, hyper[8], hyper_nodecay[8], clip, mean_loss, grad_norm;
};

/* State and gradients: each bundle is one run of the device's memory, parameter after parameter. */
static struct {
    struct device *dev;
    const struct llama_config *c;
    uint32_t batch, seq, step;
    struct graph *train, *adamw;
    struct graph_plan *train_plan, *adamw_plan;
    float *param, *m, *v, *grad, *cos, *sin;
    int32_t *tokens, *targets; /* the device's, like all before */
    int32_t *tokens_host, *targets_host;
    struct numbers *numbers, numbers_host;
} t;

static void must(enum emac_status st, const struct emac_err *err)
{
    if (st != EMAC_OK) {
        fprintf(stderr, "%s\n", err->text);
        exit(1);
    }
}

/* Where parameter `name` begins in a bundle. */
static size_t offset_of(const char *name)
{
    size_t at = 0, n;
    for (uint32_t i = 0; i < llama_param_count(t.c); i++, at += n) {
        struct model_param p;
        llama_param_at(t.c, NULL, i, &p);
        if (strcmp(p.name, name) == 0)
            return at;
        n = 0;
        shape_count(&p.shape, &n);
    }
    fprintf(stderr, "no parameter '%s'\n", name);
    exit(1);
}

/* The memory of an input or output. */
static void *data_of(const char *port)
{
    const struct {
        const char *bundle;
        float *data;
    } bundle[] = {{"params/", t.param}, {"opt/m.", t.m}, {"opt/v.", t.v}, {"sum/grad.", t.grad}};
    const struct {
        const char *name;
        void *data;
    } single[] = {{"sum/loss", &t.numbers->loss},
                  {"tables/cos", t.cos},
                  {"tables/sin", t.sin},
                  {"batch/tokens", t.tokens},
                  {"batch/targets", t.targets},
                  {"args/count_inv", &t.numbers->count_inv},
                  {"args/hyper", t.numbers->hyper},
                  {"args/hyper_nodecay", t.numbers->hyper_nodecay},
                  {"args/clip", &t.numbers->clip},
                  {"metrics/loss", &t.numbers->mean_loss},
                  {"metrics/grad_norm", &t.numbers->grad_norm}};
    for (size_t i = 0; i < EMAC_COUNT(bundle); i++) {
        size_t n = strlen(bundle[i].bundle);
        if (strncmp(port, bundle[i].bundle, n) == 0)
            return bundle[i].data + offset_of(port + n);
    }
    for (size_t i = 0; i < EMAC_COUNT(single); i++)
        if (strcmp(port, single[i].name) == 0)
            return single[i].data;
    fprintf(stderr, "no memory for '%s'\n", port);
    exit(1);
}

static struct graph_plan *plan_make(const struct graph *g)
{
    struct graph_plan *p;
    struct emac_err err;
    must(graph_plan_new(g, &p, &err), &err);
    for (uint32_t i = 0; i < graph_input_count(g); i++)
        graph_bind_input(p, i, data_of(graph_input_at(g, i).name));
    for (uint32_t i = 0; i < graph_output_count(g); i++)
        graph_bind_output(p, i, data_of(graph_output_at(g, i).name));
    return p;
}

static void *memory(size_t count, size_t size)
{
    void *p = NULL;
    struct emac_err err;
    must(device_alloc(t.dev, count * size, &p, &err), &err);
    return p;
}

static void put(void *dst, const void *src, size_t n)
{
    struct emac_err err;
    must(device_write(t.dev, dst, src, n, &err), &err);
}

static void *host_memory(size_t n)
{
    void *p = malloc(n);
    EMAC_ASSERT(p != NULL);
    return p;
}

static void rope_init(void)
{
    size_t n = (size_t)t.seq * t.c->head_dim / 2;
    float *cos = host_memory(n * sizeof *cos), *sin = host_memory(n * sizeof *sin);
    llama_rope_tables(t.c, t.seq, cos, sin);
    put(t.cos, cos, n * sizeof *cos);
    put(t.sin, sin, n * sizeof *sin);
    free(cos);
    free(sin);
}

/* The initial state, by its own graph. */
static void state_init(void)
{
    const struct llama_init init = {.embed_std = 0.02, .linear_std = 0.02};
    struct graph *g;
    struct graph_plan *p;
    struct emac_err err;
    must(llama_graph_init(t.c, &init, SEED, &recipe, &g, &err), &err);
    p = plan_make(g);
    must(graph_run(p, t.dev, &err), &err);
    graph_plan_free(p);
    graph_free(g);
}

static void make(void)
{
    size_t n = (size_t)llama_param_elements(t.c), tokens = (size_t)t.batch * t.seq;
    size_t half = (size_t)t.seq * t.c->head_dim / 2;
    struct emac_err err;
    t.param = memory(n, sizeof *t.param);
    t.m = memory(n, sizeof *t.m);
    t.v = memory(n, sizeof *t.v);
    t.grad = memory(n, sizeof *t.grad);
    t.cos = memory(half, sizeof *t.cos);
    t.sin = memory(half, sizeof *t.sin);
    t.tokens = memory(tokens, sizeof *t.tokens);
    t.targets = memory(tokens, sizeof *t.targets);
    t.tokens_host = host_memory(tokens * sizeof *t.tokens);
    t.targets_host = host_memory(tokens * sizeof *t.targets);
    t.numbers = memory(1, sizeof *t.numbers);
    rope_init();
    state_init();
    must(llama_graph_train(t.c, t.batch, t.seq, &t.train, &err), &err);
    const struct llama_model model = {t.c, NULL};
    const struct model_params params = llama_params(&model);
    must(optimiser_graph(&params, &recipe, &t.adamw, &err), &err);
    t.train_plan = plan_make(t.train);
    t.adamw_plan = plan_make(t.adamw);
}

static void args_fill(void)
{
    struct optimiser_args args;
    struct numbers *n = &t.numbers_host;
    float *const to[] = {&n->clip, &n->count_inv, n->hyper, n->hyper_nodecay};
    optimiser_args(&recipe, t.step, 1, &args);
    for (uint32_t i = 0; i < args.count; i++)
        memcpy(to[i], args.arg[i].value, args.arg[i].width * sizeof(float));
}

/* Sequence b of step s is a window of an endless row of scattered ids; peer_torch.py has the same.
 */
static void batch_fill(void)
{
    for (uint32_t b = 0; b < t.batch; b++)
        for (uint32_t i = 0; i <= t.seq; i++) {
            uint64_t at = ((uint64_t)t.step * t.batch + b) * (t.seq + 1) + i;
            int32_t id = (int32_t)((at * 2654435761u & 0xffffffff) >> 8) % (int32_t)t.c->vocab_size;
            if (i < t.seq)
                t.tokens_host[b * t.seq + i] = id;
            if (i > 0)
                t.targets_host[b * t.seq + i - 1] = id;
        }
    args_fill();
    t.step++;
    put(t.tokens, t.tokens_host, (size_t)t.batch * t.seq * sizeof *t.tokens);
    put(t.targets, t.targets_host, (size_t)t.batch * t.seq * sizeof *t.targets);
    put(t.numbers, &t.numbers_host, sizeof *t.numbers);
}

static void command_step(void)
{
    struct emac_err err;
    double start;
    batch_fill();
    start = bench_time(t.dev);
    must(graph_run(t.train_plan, t.dev, &err), &err);
    must(graph_run(t.adamw_plan, t.dev, &err), &err);
    must(device_read(t.dev, &t.numbers_host, t.numbers, sizeof *t.numbers, &err), &err);
    printf("%.6f %.6f\n", bench_time(t.dev) - start, t.numbers_host.mean_loss);
}

static void command_init(const char *path)
{
    FILE *f = fopen(path, "wb");
    size_t n = (size_t)llama_param_elements(t.c);
    float *param = host_memory(n * sizeof *param);
    struct emac_err err;
    must(device_read(t.dev, param, t.param, n * sizeof *param, &err), &err);
    if (f == NULL || fwrite(param, sizeof *param, n, f) != n || fclose(f) != 0) {
        fprintf(stderr, "cannot write '%s'\n", path);
        exit(1);
    }
    free(param);
    printf("%zu\n", n);
}

static void command_memory(void)
{
    struct rusage use;
    int rc = getrusage(RUSAGE_SELF, &use);
    EMAC_ASSERT(rc == 0);
    printf("%lld\n", (long long)use.ru_maxrss * 1024);
}

/* Seconds and flops of each operator; products by their sizes and what is stored transposed. */
struct profile {
    char what[40];
    double seconds, flops;
    uint32_t calls;
};
#define PROFILE_MAX 64

static void profile_name(char what[40], const struct graph_node *n, const struct tensor *in,
                         const struct tensor *out)
{
    size_t k = in[0].shape.dim[n->attrs.at[0].i ? 0 : 1];
    if (n->op != OP_MATMUL)
        snprintf(what, 40, "%s", op_info(n->op)->name);
    else
        snprintf(what, 40, "%zux%zux%zu,%d,%d", out[0].shape.dim[0], out[0].shape.dim[1], k,
                 n->attrs.at[0].i != 0, n->attrs.at[1].i != 0);
}

static struct profile *profile_row(struct profile *table, const char *what)
{
    for (size_t i = 0; i < PROFILE_MAX; i++) {
        if (table[i].calls == 0)
            snprintf(table[i].what, sizeof table[i].what, "%s", what);
        if (strcmp(table[i].what, what) == 0)
            return &table[i];
    }
    EMAC_ASSERT(false); /* more kinds of products than any model here has */
    return NULL;
}

static void profile_plan(struct graph_plan *p, struct profile *table)
{
    struct emac_err err;
    must(plan_ready(p, t.dev, &err), &err);
    for (uint32_t s = 0; s < p->steps; s++) {
        const struct graph_node *n = &p->g->node[p->step[s]];
        struct tensor in[OP_IN_MAX], out[OP_OUT_MAX];
        struct profile *row;
        char what[40];
        double start;
        for (uint32_t k = 0; k < op_info(n->op)->inputs; k++)
            in[k] = p->value[n->in[k]].tensor;
        for (uint32_t k = 0; k < op_info(n->op)->outputs; k++)
            out[k] = p->value[n->out + k].tensor;
        profile_name(what, n, in, out);
        row = profile_row(table, what);
        start = bench_time(t.dev);
        must(plan_step(p, t.dev, s, &err), &err);
        must(device_finish(t.dev, &err), &err);
        row->seconds += bench_time(t.dev) - start;
        row->flops += (double)op_flops(n->op, &n->attrs, in, out);
        row->calls++;
    }
}

static void command_profile(void)
{
    static struct profile table[PROFILE_MAX];
    memset(table, 0, sizeof table);
    batch_fill();
    profile_plan(t.train_plan, table);
    profile_plan(t.adamw_plan, table);
    for (size_t i = 0; i < PROFILE_MAX && table[i].calls > 0; i++)
        printf("%-20s %5u calls %9.3f ms %8.1f GFLOP/s\n", table[i].what, table[i].calls,
               table[i].seconds * 1e3, table[i].flops / table[i].seconds * 1e-9);
    printf("blocks of memory: %.1f MB and %.1f MB\n\n",
           (double)graph_plan_bytes(t.train_plan) / 1e6,
           (double)graph_plan_bytes(t.adamw_plan) / 1e6);
}

static void usage(void)
{
    fprintf(stderr, "usage: bench_train [--isa NAME] [--threads N] [--device opencl:WHICH] "
                    "10m|124m|1b BATCHxSEQ\n");
    exit(2);
}

int main(int argc, char **argv)
{
    char line[LINE_MAX];
    t.dev = bench_device(&argc, &argv);
    t.c = argc == 3 ? bench_model(argv[1]) : NULL;
    if (t.c == NULL || sscanf(argv[2], "%ux%u", &t.batch, &t.seq) != 2)
        usage();
    make();
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "init ", 5) == 0)
            command_init(line + 5);
        else if (strcmp(line, "step") == 0)
            command_step();
        else if (strcmp(line, "memory") == 0)
            command_memory();
        else if (strcmp(line, "profile") == 0)
            command_profile();
        else
            usage();
        fflush(stdout);
    }
    return 0;
}

/* Micro-batches of a map task, as its sampler draws them: windows of a corpus, or records of a data
 * set. */
#include <stdlib.h>

#include "base/assert.h"
#include "node/exec_internal.h"

/* ---- windows ---- */

static enum emac_status token_past(const struct exec_feed *f, int32_t id, uint64_t at,
                                   struct emac_err *err)
{
    return emac_fail(err, EMAC_INVALID, "token %llu is %d, past its vocabulary of %u",
                     (unsigned long long)at, id, f->corpus.vocab);
}

static enum emac_status windows_read(struct exec_feed *f, uint32_t index, struct emac_err *err)
{
    const struct sampler *s = &f->r->p->program.sampler;
    const struct corpus *c = &f->corpus;
    int32_t *tokens = f->inputs.host, *targets = f->targets.host;
    size_t window = ((size_t)s->seq + 1) * c->width;
    for (uint32_t row = 0; row < s->batch; row++) {
        uint64_t first = sampler_offset(s, f->r->task->step, index, row);
        enum emac_status st =
            exec_data_read(f->r->x, &c->file, f->size, first * c->width, f->bytes, window, err);
        if (st != EMAC_OK)
            return st;
        size_t at = (size_t)row * s->seq;
        for (uint32_t i = 0; i <= s->seq; i++) {
            int32_t id = corpus_token(f->bytes, c->width, i);
            if ((uint32_t)id >= c->vocab)
                return token_past(f, id, first + i, err);
            if (i < s->seq)
                tokens[at + i] = id;
            if (i > 0)
                targets[at + i - 1] = id;
        }
    }
    return EMAC_OK;
}

/* What is read, fetched if need be. */
static enum emac_status corpus_find(struct exec_feed *f, const struct cid *data,
                                    struct emac_err *err)
{
    struct exec *x = f->r->x;
    enum emac_status st = corpus_load(x->cfg.store, data, &f->corpus, err);
    return exec_fetched(x, data, false, &st, err) ? corpus_load(x->cfg.store, data, &f->corpus, err)
                                                  : st;
}

static enum emac_status corpus_open(struct exec_feed *f, const struct cid *data,
                                    struct emac_err *err)
{
    const struct sampler *s = &f->r->p->program.sampler;
    const struct corpus *c = &f->corpus;
    enum emac_status st = corpus_find(f, data, err);
    if (st == EMAC_OK)
        st = exec_data_size(f->r->x, &c->file, &f->size, err);
    if (st != EMAC_OK)
        return st;
    if (c->width != (s->width == 0 ? 1 : s->width))
        return emac_fail(err, EMAC_INVALID, "the corpus has tokens of %u bytes, not of %u",
                         c->width, s->width);
    if (f->size != corpus_bytes(c) || c->tokens < s->end)
        return emac_fail(err, EMAC_INVALID,
                         "the corpus has %llu tokens; the sampler reads up to %llu",
                         (unsigned long long)c->tokens, (unsigned long long)s->end);
    return EMAC_OK;
}

static enum emac_status windows_open(struct exec_feed *f, const struct cid *data,
                                     struct emac_err *err)
{
    const struct sampler *s = &f->r->p->program.sampler;
    size_t tokens = (size_t)s->batch * s->seq;
    enum emac_status st = corpus_open(f, data, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "input 'data'");
    EMAC_TRY(st, emac_alloc(&f->bytes, (size_t)s->seq + 1, f->corpus.width, err));
    EMAC_TRY(st, exec_staged_new(f->r->x, tokens * sizeof(int32_t), &f->inputs, err));
    st = exec_staged_new(f->r->x, tokens * sizeof(int32_t), &f->targets, err);
out:
    return st;
}

/* ---- records ---- */

static enum emac_status records_read(struct exec_feed *f, uint32_t index, struct emac_err *err)
{
    const struct sampler *s = &f->r->p->program.sampler;
    size_t bytes = dataset_record_bytes(&f->set), features = dataset_features(&f->set);
    float *inputs = f->inputs.host;
    int32_t *targets = f->targets.host;
    for (uint32_t row = 0; row < s->batch; row++) {
        uint64_t record = sampler_record(s, f->r->task->step, index, row);
        enum emac_status st =
            exec_data_read(f->r->x, &f->file, f->size, record * bytes, f->bytes, bytes, err);
        if (st == EMAC_OK)
            st = dataset_record(&f->set, f->bytes, inputs + row * features, &targets[row], err);
        if (st != EMAC_OK)
            return emac_wrap(err, "record %llu", (unsigned long long)record);
    }
    return EMAC_OK;
}

static enum emac_status features_check(const struct exec_feed *f, struct emac_err *err)
{
    const struct exec_program *p = f->r->p;
    size_t numbers = 0, have = dataset_features(&f->set);
    if (p->inputs_port == PORT_NONE)
        return emac_fail(err, EMAC_INVALID, "a program on records must take 'batch/inputs'");
    struct graph_port port = graph_input_at(p->graph, p->inputs_port);
    bool ok = shape_count(&port.shape, &numbers);
    EMAC_ASSERT(ok);
    numbers /= p->program.sampler.batch;
    if (numbers != have)
        return emac_fail(err, EMAC_INVALID,
                         "a record has %zu features and port 'batch/inputs' takes %zu", have,
                         numbers);
    return EMAC_OK;
}

/* The manifest, and that it has what the program reads. */
static enum emac_status set_load(struct exec_feed *f, const struct cid *data, struct emac_err *err)
{
    struct exec *x = f->r->x;
    const struct sampler *s = &f->r->p->program.sampler;
    enum emac_status st = dataset_load(x->cfg.store, data, &f->set, err);
    if (exec_fetched(x, data, false, &st, err)) {
        dataset_release(&f->set);
        st = dataset_load(x->cfg.store, data, &f->set, err);
    }
    if (st != EMAC_OK)
        return st;
    const struct dataset_split *split = &f->set.split[s->split];
    if (split->records < s->end)
        return emac_fail(err, EMAC_INVALID,
                         "split '%s' has %llu records; the sampler reads up to %llu",
                         dataset_part_name(s->split), (unsigned long long)split->records,
                         (unsigned long long)s->end);
    st = features_check(f, err);
    if (st != EMAC_OK)
        return st;
    f->file = split->file;
    st = exec_data_size(x, &f->file, &f->size, err);
    if (st == EMAC_OK && f->size != split->records * dataset_record_bytes(&f->set))
        st = emac_fail(err, EMAC_INVALID, "the file of split '%s' is not of its records' size",
                       dataset_part_name(s->split));
    return st;
}

static enum emac_status records_open(struct exec_feed *f, const struct cid *data,
                                     struct emac_err *err)
{
    uint32_t batch = f->r->p->program.sampler.batch;
    enum emac_status st = set_load(f, data, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "input 'data'");
    size_t features = dataset_features(&f->set), bytes = dataset_record_bytes(&f->set);
    EMAC_TRY(st, emac_alloc(&f->bytes, bytes, 1, err));
    EMAC_TRY(st, exec_staged_new(f->r->x, batch * features * sizeof(float), &f->inputs, err));
    st = exec_staged_new(f->r->x, batch * sizeof(int32_t), &f->targets, err);
out:
    return st;
}

/* ---- both ---- */

enum emac_status exec_feed_open(struct exec_feed *f, struct exec_run *r, struct emac_err *err)
{
    const struct cid *data = task_input_find(r->task, "data");
    *f = (struct exec_feed){.r = r};
    dataset_init(&f->set);
    enum emac_status st = sampler_on_records(&r->p->program.sampler) ? records_open(f, data, err)
                                                                     : windows_open(f, data, err);
    if (st != EMAC_OK)
        return st;
    if (r->p->inputs_port != PORT_NONE)
        graph_bind_input(r->p->plan, r->p->inputs_port, f->inputs.device);
    if (r->p->targets_port != PORT_NONE)
        graph_bind_input(r->p->plan, r->p->targets_port, f->targets.device);
    return EMAC_OK;
}

enum emac_status exec_feed_batch(struct exec_feed *f, uint32_t index, struct emac_err *err)
{
    bool records = sampler_on_records(&f->r->p->program.sampler);
    enum emac_status st = records ? records_read(f, index, err) : windows_read(f, index, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "input 'data'");
    st = exec_staged_send(f->r->x, &f->inputs, err);
    return st == EMAC_OK ? exec_staged_send(f->r->x, &f->targets, err) : st;
}

void exec_feed_release(struct exec_feed *f)
{
    if (f->r == NULL)
        return; /* never opened */
    dataset_release(&f->set);
    free(f->bytes);
    exec_staged_release(f->r->x, &f->inputs);
    exec_staged_release(f->r->x, &f->targets);
}

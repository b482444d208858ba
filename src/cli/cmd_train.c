#include <stdlib.h>
#include <string.h>

#include "cli/data_sealed.h"
#include "cli/job_file.h"
#include "cli/train_watch.h"
#include "os/process.h"

struct train_args {
    bool local, restart, watch;
    const char *tensorboard, *results;
    int values; /* enum exec_values */
    struct cli_device device;
};

/* Also when what is to be written of the run cannot be. */
static bool cancelled(void *ctx)
{
    const struct train_watch *w = ctx;
    return os_stop_requested() || w->st != EMAC_OK;
}

static void show(struct cli *c, const struct local_result *r, const char *unit, double seconds)
{
    char model[CID_TEXT_MAX], took[24];
    cid_text(model, &r->model);
    human_duration(took, seconds);
    for (uint32_t i = 0; i < r->checkpoint_count; i++) {
        char text[CID_TEXT_MAX];
        cid_text(text, &r->checkpoint[i].model);
        cli_say(c, "checkpoint step %-6u %s", r->checkpoint[i].step, text);
    }
    if (r->has_accuracy)
        cli_say(c, "test       %.2f %% right (loss %.4f nats)", 100 * r->accuracy, r->heldout_loss);
    else if (r->has_heldout)
        cli_say(c, "held out   %.4f bits per byte (%.4f nats)", r->heldout_bits_per_byte,
                r->heldout_loss);
    cli_say(c, "model      %s", model);
    cli_say(c, "%llu %s in %s", (unsigned long long)r->units, unit, took);
}

static json_t *checkpoint_json(const struct local_checkpoint *k)
{
    char params[CID_TEXT_MAX], opt[CID_TEXT_MAX], model[CID_TEXT_MAX];
    bool has_opt = !cid_is_none(&k->opt);
    cid_text(params, &k->params);
    cid_text(model, &k->model);
    if (has_opt)
        cid_text(opt, &k->opt);
    return json_pack("{s:I,s:s,s:s*,s:s}", "step", (json_int_t)k->step, "params", params, "opt",
                     has_opt ? opt : NULL, "model", model);
}

static json_t *device_json(const struct device *dev, const struct local_result *r)
{
    struct device_memory m;
    device_memory(dev, &m);
    return json_pack("{s:s,s:I,s:I,s:I,s:I}", "name", device_name(dev), "memory_peak",
                     (json_int_t)m.peak, "bus_written", (json_int_t)r->bus_written, "bus_read",
                     (json_int_t)r->bus_read, "bus_asked", (json_int_t)m.viewed);
}

static json_t *number_or_null(bool known, double v)
{
    return known ? json_real(v) : json_null();
}

static json_t *result_json(const struct local_result *r, const struct job *job,
                           const struct device *dev, double seconds, double units_per_second)
{
    char model[CID_TEXT_MAX], params[CID_TEXT_MAX], rate[40];
    cid_text(model, &r->model);
    cid_text(params, &r->params);
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->checkpoint_count; i++)
        json_array_append_new(list, checkpoint_json(&r->checkpoint[i]));
    bool bits = r->has_heldout && !r->has_accuracy;
    snprintf(rate, sizeof rate, "%s_per_second", job_unit(job));
    return json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:I,s:I,s:I,s:f,s:f,s:f,s:o}", "id", r->id, "model",
                     model, "params", params, "checkpoints", list, "loss_bits_per_byte",
                     number_or_null(bits, r->heldout_bits_per_byte), "accuracy",
                     number_or_null(r->has_accuracy, r->accuracy), "steps", (json_int_t)r->steps,
                     "resumed_at", (json_int_t)r->resumed_at, job_unit(job), (json_int_t)r->units,
                     "seconds", seconds, rate, units_per_second, "loss", r->loss, "device",
                     device_json(dev, r));
}

static enum emac_status train(struct cli *c, const struct train_args *a, const char *path)
{
    struct store *s = NULL;
    struct device *dev = NULL;
    struct job job;
    struct local_result r = {0};
    char dir[OS_PATH_MAX];
    struct train_watch w = {0};
    struct sealed_ring keys = {0};
    enum emac_status st;
    EMAC_TRY(st, cli_store(c, &s));
    EMAC_TRY(st, cli_home_path(c, "train", dir, sizeof(dir)));
    EMAC_TRY(st, c->os->dir_make(c->os, dir, &c->err));
    EMAC_TRY(st, job_file_load(c, s, path, &job));
    if (job.kind == JOB_EVALUATE) {
        st = emac_fail(&c->err, EMAC_INVALID,
                       "'%s' trains nothing: run it by 'emac eval %s --local'", path, path);
        goto out;
    }
    EMAC_TRY(st, data_job_keys(c, s, &job, &keys));
    EMAC_TRY(st, cli_device_open(c, &a->device, &dev));
    EMAC_TRY(st, train_watch_open(&w, c, &job, a->watch, a->tensorboard));
    const struct local_config cfg = {.os = c->os,
                                     .store = s,
                                     .dev = dev,
                                     .job = &job,
                                     .dir = dir,
                                     .restart = a->restart,
                                     .values = (enum exec_values)a->values,
                                     .keys = &keys,
                                     .progress = train_watch_progress,
                                     .cancelled = cancelled,
                                     .ctx = &w};
    uint64_t start = c->os->mono_ns(c->os);
    st = local_train(&cfg, &r, &c->err);
    if (w.st == EMAC_OK && st != EMAC_OK)
        goto out;
    double seconds = (double)(c->os->mono_ns(c->os) - start) * 1e-9;
    EMAC_TRY(st, train_watch_finish(&w, &r));
    show(c, &r, job_unit(&job), seconds);
    cli_result(c, result_json(&r, &job, dev, seconds, w.units_per_second));
out:
    sealed_ring_wipe(&keys);
    train_watch_release(&w);
    local_result_release(&r);
    device_close(dev);
    store_close(s);
    return st;
}

enum emac_status cmd_train(struct cli *c, int argc, char **argv)
{
    struct train_args a = {0};
    const struct cli_option options[] = {
        {"local", 0, OPT_FLAG, &a.local},     {"restart", 0, OPT_FLAG, &a.restart},
        {"watch", 'w', OPT_FLAG, &a.watch},   {"tensorboard", 0, OPT_TEXT, &a.tensorboard},
        {"results", 0, OPT_TEXT, &a.results}, CLI_DEVICE_OPTIONS(&a.device)};
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 1, 1);
    if (st != EMAC_OK)
        return st;
    if (!a.local)
        return emac_fail(&c->err, EMAC_INVALID,
                         "say --local to train in this process; for a network: emac job submit "
                         "'%s'",
                         pos[0]);
    st = cli_device_check(c, &a.device);
    if (st == EMAC_OK)
        st = cli_results_parse(c, a.results, &a.values);
    return st == EMAC_OK ? train(c, &a, pos[0]) : st;
}

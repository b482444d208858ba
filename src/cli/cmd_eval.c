#include <stdlib.h>
#include <string.h>

#include "cli/data_sealed.h"
#include "cli/job_file.h"
#include "cli/job_follow.h"
#include "cli/model_dir.h"
#include "codec/unixfs.h"
#include "node/local.h"
#include "os/process.h"
#include "work/base.h"
#include "work/evaluate.h"

#define TOKENS_USUAL  4096 /* of a micro-batch */
#define RECORDS_USUAL 256

struct eval_args {
    bool local, research;
    const char *name, *split;
    double heldout;
    uint64_t seq_len, micro_batch, batches;
    struct cli_device device;
};

/* ---- the job ---- */

/* A directory comes into the store. */
static enum emac_status model_name(struct cli *c, struct store *s, const char *model,
                                   char out[CID_TEXT_MAX])
{
    struct cid cid;
    enum emac_status st = EMAC_OK;
    if (cid_parse(&cid, model, NULL) != EMAC_OK)
        st = model_dir_import(c, s, model, NULL, false, &cid);
    if (st == EMAC_OK)
        cid_text(out, &cid);
    return st;
}

static void set(json_t *root, const char *section, const char *key, json_t *value)
{
    json_t *map = json_object_get(root, section);
    if (map == NULL) {
        map = json_object();
        json_object_set_new(root, section, map);
    }
    json_object_set_new(map, key, value);
}

static json_t *job_file(const struct eval_args *a, const char *model, const char *data)
{
    struct cid cid;
    bool is_cid = cid_parse(&cid, data, NULL) == EMAC_OK;
    json_t *root = json_pack("{s:s,s:s}", "name", a->name, "kind", "evaluate");
    set(root, "model", "cid", json_string(model));
    set(root, "data", is_cid ? "cid" : "file", json_string(data));
    if (a->heldout > 0)
        set(root, "data", "heldout", json_real(a->heldout));
    if (a->split != NULL)
        set(root, "data", "split", json_string(a->split));
    if (a->seq_len > 0)
        set(root, "recipe", "seq_len", json_integer((json_int_t)a->seq_len));
    /* One row, until it is known how many there are. */
    set(root, "recipe", "micro_batch", json_integer(1));
    set(root, "recipe", "eval_batches", json_integer(1));
    if (a->research)
        set(root, "policy", "purpose", json_string("research"));
    return root;
}

static enum emac_status batches_take(struct cli *c, const struct eval_args *a, struct job *job)
{
    uint32_t most = RECORDS_USUAL;
    if (a->micro_batch > UINT32_MAX || a->batches > UINT32_MAX)
        return emac_fail(&c->err, EMAC_INVALID, "--micro-batch and --batches are small numbers");
    if (!job_on_records(job))
        most = job->seq_len < TOKENS_USUAL ? TOKENS_USUAL / job->seq_len : 1;
    job->micro_batch = a->micro_batch > 0 ? (uint32_t)a->micro_batch
                                          : evaluate_micro_batch(job_eval_rows(job), most);
    job->eval_batches = (uint32_t)a->batches;
    return job_check(job, &c->err);
}

static enum emac_status job_make(struct cli *c, struct store *s, const struct eval_args *a,
                                 const char *model, const char *data, struct job *job)
{
    char cid[CID_TEXT_MAX];
    json_t *root = NULL;
    enum emac_status st;
    EMAC_TRY(st, model_name(c, s, model, cid));
    root = job_file(a, cid, data);
    EMAC_TRY(st, job_file_take(c, s, "eval", root, job));
    st = batches_take(c, a, job);
out:
    json_decref(root);
    return st;
}

/* ---- here ---- */

static bool cancelled(void *ctx)
{
    return os_stop_requested();
}

static json_t *result_json(const struct local_result *r, const struct job *job)
{
    char cid[CID_TEXT_MAX];
    bool records = job_on_records(job);
    cid_text(cid, &r->evaluation);
    return json_pack("{s:s,s:s,s:f,s:o,s:o,s:I,s:f}", "id", r->id, "evaluation", cid, "loss",
                     r->heldout_loss, "loss_bits_per_byte",
                     records ? json_null() : json_real(r->heldout_bits_per_byte), "accuracy",
                     r->has_accuracy ? json_real(r->accuracy) : json_null(), job_unit(job),
                     (json_int_t)r->units, "seconds", (double)r->wall_ns * 1e-9);
}

static void result_say(struct cli *c, const struct local_result *r, const struct job *job)
{
    char cid[CID_TEXT_MAX], took[HUMAN_MAX];
    cid_text(cid, &r->evaluation);
    human_duration(took, (double)r->wall_ns * 1e-9);
    if (r->has_accuracy)
        cli_say(c, "accuracy   %.2f %% right (loss %.4f nats)", 100 * r->accuracy, r->heldout_loss);
    else
        cli_say(c, "loss       %.4f bits per byte (%.4f nats)", r->heldout_bits_per_byte,
                r->heldout_loss);
    cli_say(c, "on         %llu %s", (unsigned long long)r->units, job_unit(job));
    cli_say(c, "evaluation %s", cid);
    cli_say(c, "took %s", took);
}

static enum emac_status eval_here(struct cli *c, struct store *s, const struct eval_args *a,
                                  const struct job *job)
{
    struct sealed_ring keys = {0};
    struct device *dev = NULL;
    struct local_result r = {0};
    enum emac_status st;
    EMAC_TRY(st, data_job_keys(c, s, job, &keys));
    EMAC_TRY(st, cli_device_open(c, &a->device, &dev));
    const struct local_config cfg = {
        .os = c->os, .store = s, .dev = dev, .job = job, .keys = &keys, .cancelled = cancelled};
    EMAC_TRY(st, local_train(&cfg, &r, &c->err));
    result_say(c, &r, job);
    cli_result(c, result_json(&r, job));
out:
    sealed_ring_wipe(&keys);
    local_result_release(&r);
    device_close(dev);
    return st;
}

/* ---- a result ---- */

static enum emac_status result_read(struct cli *c, struct store *s, const struct cid *cid,
                                    struct evaluation *out)
{
    struct emac_buf block;
    enum emac_status st;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    EMAC_TRY(st, cli_fetch(c, s, cid));
    EMAC_TRY(st, store_block_get(s, cid, &block, &c->err));
    st = evaluation_decode(out, block.data, block.len, &c->err);
out:
    emac_buf_release(&block);
    return st;
}

static enum emac_status result_show(struct cli *c, struct store *s, const struct cid *cid)
{
    struct evaluation e;
    char model[CID_TEXT_MAX], data[CID_TEXT_MAX];
    enum emac_status st = result_read(c, s, cid, &e);
    if (st != EMAC_OK)
        return st;
    cid_text(model, &e.model);
    cid_text(data, &e.data);
    cli_say(c, "model      %s", model);
    cli_say(c, "data       %s, %s %llu to %llu", data, e.on_records ? "records" : "tokens",
            (unsigned long long)e.begin, (unsigned long long)e.end);
    if (e.on_records)
        cli_say(c, "accuracy   %.2f %% right (loss %.4f nats)", 100 * e.accuracy, e.loss);
    else
        cli_say(c, "loss       %.4f bits per byte (%.4f nats)", e.bits_per_byte, e.loss);
    cli_result(c, json_pack("{s:s,s:s,s:s*,s:I,s:I,s:I,s:i,s:i,s:f,s:o*,s:o*}", "model", model,
                            "data", data, "split", e.on_records ? dataset_part_name(e.split) : NULL,
                            "begin", (json_int_t)e.begin, "end", (json_int_t)e.end, "units",
                            (json_int_t)e.units, "micro_batch", (int)e.micro_batch, "batches",
                            (int)e.batches, "loss", e.loss, "bits_per_byte",
                            e.on_records ? NULL : json_real(e.bits_per_byte), "accuracy",
                            e.on_records ? json_real(e.accuracy) : NULL));
    return EMAC_OK;
}

static enum emac_status eval(struct cli *c, const struct eval_args *a, const char *const *pos,
                             int count)
{
    struct store *s = NULL;
    struct job job;
    struct cid cid;
    enum emac_status st;
    EMAC_TRY(st, cli_store(c, &s));
    if (count == 1 && cid_parse(&cid, pos[0], NULL) == EMAC_OK) {
        st = result_show(c, s, &cid);
        goto out;
    }
    EMAC_TRY(st, count == 1 ? job_file_load(c, s, pos[0], &job)
                            : job_make(c, s, a, pos[0], pos[1], &job));
    if (job.kind != JOB_EVALUATE)
        st = emac_fail(&c->err, EMAC_INVALID,
                       "'%s' is a job that trains: run it by 'emac train' or 'emac job submit'",
                       pos[0]);
    else if (a->local)
        st = eval_here(c, s, a, &job);
    else
        st = job_send(c, s, &job, true);
out:
    store_close(s);
    return st;
}

enum emac_status cmd_eval(struct cli *c, int argc, char **argv)
{
    struct eval_args a = {.name = "eval"};
    const struct cli_option options[] = {{"local", 0, OPT_FLAG, &a.local},
                                         {"research", 0, OPT_FLAG, &a.research},
                                         {"name", 0, OPT_TEXT, &a.name},
                                         {"split", 0, OPT_TEXT, &a.split},
                                         {"heldout", 0, OPT_F64, &a.heldout},
                                         {"seq-len", 0, OPT_U64, &a.seq_len},
                                         {"micro-batch", 0, OPT_U64, &a.micro_batch},
                                         {"batches", 0, OPT_U64, &a.batches},
                                         CLI_DEVICE_OPTIONS(&a.device)};
    const char *pos[CLI_POSITIONALS_MAX] = {0};
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 1, 2);
    if (st == EMAC_OK)
        st = cli_device_check(c, &a.device);
    return st == EMAC_OK ? eval(c, &a, pos, pos[1] == NULL ? 1 : 2) : st;
}

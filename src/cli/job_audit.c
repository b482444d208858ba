#include "cli/job_audit.h"

#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "cli/verify_run.h"

#define PAGE        1000
#define FALSE_SHARE 100 /* odds are told for one receipt in so many being false */

/* ---- which there are ---- */

static enum emac_status page_read(struct cli *c, const char *job, json_t *last, json_t **out)
{
    char *path = last == NULL ? emac_asprintf("/v1/jobs/%.100s/receipts?limit=%d", job, PAGE)
                              : emac_asprintf("/v1/jobs/%.100s/receipts?limit=%d&after=%s/%s", job,
                                              PAGE, cli_str(last, "task"), cli_str(last, "node"));
    enum emac_status st = cli_call(c, "GET", path, NULL, false, out);
    free(path);
    return st;
}

/* All receipts of the job into *out. */
static enum emac_status receipts_read(struct cli *c, const char *job, json_t **out)
{
    json_t *all = json_array(), *reply = NULL, *last = NULL;
    enum emac_status st;
    char *path = emac_asprintf("/v1/jobs/%.100s", job);
    st = cli_call(c, "GET", path, NULL, false, &reply); /* that there is such a job */
    free(path);
    while (st == EMAC_OK) {
        json_decref(reply);
        st = page_read(c, job, last, &reply);
        json_t *page = json_object_get(reply, "receipts");
        if (st != EMAC_OK || json_array_size(page) == 0)
            break;
        json_array_extend(all, page);
        last = json_array_get(all, json_array_size(all) - 1);
    }
    json_decref(reply);
    if (st != EMAC_OK) {
        json_decref(all);
        return st;
    }
    *out = all;
    return EMAC_OK;
}

enum emac_status job_receipts(struct cli *c, const char *job)
{
    json_t *all, *r;
    size_t i;
    enum emac_status st = receipts_read(c, job, &all);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(all, i, r)
        cli_say(c, "%s  %-8s %-24s %s", cli_str(r, "receipt"), cli_str(r, "state"),
                cli_str(r, "slot"), cli_str(r, "node"));
    cli_result(c, json_pack("{s:o}", "receipts", all));
    return EMAC_OK;
}

/* ---- the sample ---- */

/* Those that the job's result rests on, one a task. */
static json_t *audited(json_t *all)
{
    json_t *out = json_array(), *r;
    const char *task = "";
    size_t i;
    json_array_foreach(all, i, r)
    {
        bool counts =
            json_is_true(json_object_get(r, "counts")) && strcmp(cli_str(r, "state"), "void") != 0;
        if (!counts || strcmp(task, cli_str(r, "task")) == 0)
            continue; /* a task's receipts lie together */
        task = cli_str(r, "task");
        json_array_append(out, r);
    }
    return out;
}

/* Item k of a random order of n. */
static uint32_t drawn(uint64_t seed, uint32_t n, uint32_t k)
{
    return (uint32_t)philox_order(seed, PHILOX_TEST, 0, n, k);
}

/* How likely it is that a sample of `n` out of `total` has one of the `false_ones` in it: one minus
 * the odds of drawing right ones alone, without putting back. */
static double odds(uint64_t total, uint64_t n, uint64_t false_ones)
{
    double none = 1;
    for (uint64_t i = 0; i < n && none > 0; i++)
        none *= total - i > false_ones ? (double)(total - i - false_ones) / (double)(total - i) : 0;
    return 1 - none;
}

struct tally {
    uint64_t total, sample, equal, failed;
    uint64_t sealed; /* of those that failed: on private data */
    json_t *wrong;   /* that differ */
};

static void tell(struct cli *c, const struct tally *t)
{
    uint64_t one = (t->total + FALSE_SHARE - 1) / FALSE_SHARE, checked = t->sample - t->failed;
    double chance = odds(t->total, checked, one);
    cli_say(c,
            "%llu of %llu results were computed again: %llu are equal, %zu differ, %llu could "
            "not be checked",
            (unsigned long long)t->sample, (unsigned long long)t->total,
            (unsigned long long)t->equal, json_array_size(t->wrong), (unsigned long long)t->failed);
    if (t->sealed > 0)
        cli_say(c,
                "%llu of them were computed on private data or models: their owner can audit them",
                (unsigned long long)t->sealed);
    if (json_array_size(t->wrong) == 0)
        cli_say(c,
                "if 1 %% of the results were false (%llu of them), this sample would have seen "
                "one with %.4g %%; if only one were, with %.4g %%",
                (unsigned long long)one, 100 * chance, 100 * odds(t->total, checked, 1));
}

static enum emac_status check_one(struct cli *c, struct verify *v, json_t *r, struct tally *t)
{
    struct verified out;
    enum emac_status st = verify_receipt(v, cli_str(r, "receipt"), &out);
    if (st == EMAC_OK) {
        verified_say(c, &out);
        t->equal += out.equal;
        if (!out.equal)
            json_array_append_new(t->wrong, verified_json(&out));
    } else if (st != EMAC_CANCELLED) {
        t->failed++;
        t->sealed += st == EMAC_FORBIDDEN;
        cli_say(c, "unchecked  %s of %s: %s", cli_str(r, "slot"), cli_str(r, "node"), c->err.text);
        c->err = (struct emac_err){0};
        st = EMAC_OK;
    }
    verified_release(&out);
    return st;
}

static enum emac_status sample_check(struct cli *c, json_t *list, struct job_audit_args *a,
                                     struct tally *t)
{
    struct verify *v;
    enum emac_status st = verify_open(c, &a->device, &v);
    for (uint32_t k = 0; k < t->sample && st == EMAC_OK; k++) {
        cli_progress(c, "result %u of %llu", k + 1, (unsigned long long)t->sample);
        st = check_one(c, v, json_array_get(list, drawn(a->seed, (uint32_t)t->total, k)), t);
    }
    cli_progress_end(c);
    if (v != NULL)
        verify_close(v);
    return st;
}

static void result(struct cli *c, const char *job, const struct job_audit_args *a,
                   const struct tally *t)
{
    uint64_t one = (t->total + FALSE_SHARE - 1) / FALSE_SHARE;
    cli_result(c,
               json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:f}", "job", job, "results",
                         (json_int_t)t->total, "sample", (json_int_t)t->sample, "seed",
                         (json_int_t)a->seed, "equal", (json_int_t)t->equal, "unchecked",
                         (json_int_t)t->failed, "private", (json_int_t)t->sealed, "wrong", t->wrong,
                         "chance_of_one_percent", odds(t->total, t->sample - t->failed, one)));
}

enum emac_status job_audit(struct cli *c, const char *job, const struct job_audit_args *args)
{
    struct job_audit_args a = *args;
    struct tally t = {.wrong = json_array()};
    json_t *all = NULL, *list = NULL;
    enum emac_status st;
    EMAC_TRY(st, receipts_read(c, job, &all));
    list = audited(all);
    t.total = json_array_size(list);
    if (t.total == 0) {
        st = emac_fail(&c->err, EMAC_NOT_FOUND, "job '%.100s' has no results yet", job);
        goto out;
    }
    if (a.seed == JOB_AUDIT_UNSEEDED) {
        c->os->entropy(c->os, &a.seed, sizeof a.seed);
        a.seed >>= 16; /* short enough to be typed again */
    }
    t.sample = a.sample < t.total ? a.sample : t.total;
    cli_say(c, "seed %llu", (unsigned long long)a.seed);
    EMAC_TRY(st, sample_check(c, list, &a, &t));
    tell(c, &t);
    result(c, job, &a, &t);
    if (json_array_size(t.wrong) > 0)
        st = emac_fail(&c->err, EMAC_FAILED, "%zu results of the job are wrong",
                       json_array_size(t.wrong));
    else if (t.equal == 0 && t.sealed > 0)
        st = emac_fail(&c->err, EMAC_FORBIDDEN,
                       "the job works on private data or models: their owner, who has the key, can "
                       "audit it");
    else if (t.equal == 0)
        st = emac_fail(&c->err, EMAC_UNAVAILABLE, "none of the sample could be checked");
out:
    json_decref(t.wrong);
    json_decref(list);
    json_decref(all);
    return st;
}

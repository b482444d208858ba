/* What a job owes the owners of what it trains with, and how income is shared out. */
#include <stdio.h>
#include <string.h>

#include "coordinator/assets/assets.h"
#include "coordinator/assets/private.h"

#define KEY_MAX 256

/* ---- terms of a job ---- */

/* Tokens or samples that `rounds` rounds train on. */
static enum emac_status amount_of(const struct job *job, uint32_t rounds, uint64_t *out,
                                  struct emac_err *err)
{
    if (__builtin_mul_overflow(job_units_per_step(job), (uint64_t)plan_steps(job, rounds), out))
        return emac_fail(err, EMAC_TOO_LARGE, "the job trains on too much to be counted");
    return EMAC_OK;
}

static enum emac_status term_add(struct coordinator *c, const struct job *job,
                                 const struct cid *cid, struct job_terms *out, struct emac_err *err)
{
    struct asset a;
    uint64_t amount;
    enum emac_status st;
    if (cid_is_none(cid))
        return EMAC_OK;
    st = asset_find(c, cid, &a, err);
    if (st == EMAC_NOT_FOUND)
        return EMAC_OK; /* nobody claims it */
    if (st == EMAC_OK && a.revoked)
        st = emac_fail(err, EMAC_FORBIDDEN, "the licence of '%s' was revoked by its owner",
                       a.licence.name);
    if (st != EMAC_OK)
        return st;
    const struct licence_use use = {.did = job->owner,
                                    .commercial = job->purpose == PURPOSE_COMMERCIAL,
                                    .bought = asset_was_bought(c, cid, job->owner),
                                    .at_ms = wall_ms(c)};
    EMAC_TRY(st, licence_permits(&a.licence, &use, err));
    EMAC_TRY(st, amount_of(job, plan_rounds(job), &amount, err));
    EMAC_ASSERT(out->count < JOB_ASSETS_MAX);
    struct job_term *t = &out->at[out->count++];
    bool own = strcmp(a.licence.owner, job->owner) == 0;
    *t = (struct job_term){*cid, a.licence_cid, own ? 0 : a.licence.train_units,
                           a.licence.share_ppm, 0};
    if (!own)
        EMAC_TRY(st, licence_cost(&a.licence, amount, &t->reserve_units, err));
    if (__builtin_add_overflow(out->reserve_units, t->reserve_units, &out->reserve_units))
        st = emac_fail(err, EMAC_TOO_LARGE, "the job's royalties are too large to be paid");
out:
    return st;
}

/* An adapter or a head that is evaluated runs on its base, whose terms hold, too. */
static enum emac_status below_add(struct coordinator *c, const struct job *job,
                                  struct job_terms *out, struct emac_err *err)
{
    struct model_tree m;
    if (job->kind != JOB_EVALUATE)
        return EMAC_OK;
    enum emac_status st = model_tree_read(c->depot, &job->base, &m, err);
    if (st != EMAC_OK || model_tree_has(&m, MODEL_WEIGHTS) || !model_tree_has(&m, MODEL_BASE))
        return st;
    return term_add(c, job, &m.file[MODEL_BASE], out, err);
}

enum emac_status assets_terms(struct coordinator *c, const struct job *job, struct job_terms *out,
                              struct emac_err *err)
{
    *out = (struct job_terms){0};
    enum emac_status st = private_job_check(c, job, err);
    if (st == EMAC_OK)
        st = term_add(c, job, &job->data, out, err);
    if (st == EMAC_OK)
        st = term_add(c, job, &job->base, out, err);
    return st == EMAC_OK ? below_add(c, job, out, err) : st;
}

enum emac_status assets_terms_write(struct coordinator *c, const char *job,
                                    const struct job_terms *terms, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < terms->count && st == EMAC_OK; i++) {
        const struct job_term *t = &terms->at[i];
        char asset[CID_TEXT_MAX], licence[CID_TEXT_MAX];
        cid_text(asset, &t->asset);
        cid_text(licence, &t->licence);
        st = db_exec(c->db, err,
                     "INSERT INTO job_assets (job, asset, licence, train_units, share_ppm,"
                     " reserve_units) VALUES (?, ?, ?, ?, ?, ?)",
                     "tttiii", job, asset, licence, t->train_units, (int64_t)t->share_ppm,
                     t->reserve_units);
    }
    return st;
}

enum emac_status assets_reserve(struct coordinator *c, const char *job, int64_t *units,
                                struct emac_err *err)
{
    return db_one_i64(c->db, units, err,
                      "SELECT COALESCE(SUM(reserve_units), 0) FROM job_assets WHERE job = ?", "t",
                      job);
}

static enum emac_status terms_read(struct coordinator *c, const char *job, struct job_terms *out,
                                   struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    *out = (struct job_terms){0};
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT asset, licence, train_units FROM job_assets"
                                   " WHERE job = ? ORDER BY asset",
                                   "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        EMAC_ASSERT(out->count < JOB_ASSETS_MAX);
        out->at[out->count++] = (struct job_term){.asset = cid_from_text(db_text(q, 0)),
                                                  .licence = cid_from_text(db_text(q, 1)),
                                                  .train_units = db_i64(q, 2)};
    }
    return st;
}

enum emac_status assets_pay(struct coordinator *c, const char *job, const struct job *spec,
                            uint32_t rounds, struct emac_err *err)
{
    struct job_terms terms;
    uint64_t amount;
    enum emac_status st;
    EMAC_ASSERT(db_in_transaction(c->db));
    EMAC_TRY(st, terms_read(c, job, &terms, err));
    EMAC_TRY(st, amount_of(spec, rounds, &amount, err));
    for (uint32_t i = 0; i < terms.count; i++) {
        const struct licence l = {.train_units = terms.at[i].train_units};
        char from[LEDGER_ACCOUNT_MAX], key[KEY_MAX], detail[CID_TEXT_MAX], asset[CID_TEXT_MAX];
        int64_t units;
        EMAC_TRY(st, licence_cost(&l, amount, &units, err));
        cid_text(asset, &terms.at[i].asset);
        cid_text(detail, &terms.at[i].licence);
        snprintf(from, sizeof(from), "escrow:%s", job);
        snprintf(key, sizeof(key), "royalty:%s:%s", job, asset);
        EMAC_TRY(st, asset_income(c, &terms.at[i].asset, from, units, key, job, detail, err));
    }
out:
    return st;
}

/* ---- income ---- */

/* One posting a level: to the owner, to the pools of the parents, and what rounding leaves. */
struct income {
    struct coordinator *c;
    const char *key, *job, *detail;
    uint32_t number; /* of postings so far: ends their keys */
};

static enum emac_status level_post(struct income *in, const struct asset *a, const char *from,
                                   int64_t units, const struct asset_parents *parents,
                                   int64_t parent[ASSET_PARENTS_MAX], struct emac_err *err)
{
    struct coordinator *c = in->c;
    char key[KEY_MAX], asset[CID_TEXT_MAX];
    int64_t own, dust;
    licence_split(units, parents->share_ppm, parents->count, parent, &own, &dust);
    int n = snprintf(key, sizeof(key), "%s:%u", in->key, in->number++);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(key));
    struct ledger_posting p = {
        .key = key, .cause = "royalty", .job = in->job, .detail = in->detail, .at_ms = wall_ms(c)};
    ledger_entry_add(&p, -units, "%s", from);
    ledger_entry_add(&p, own, "user:%s", a->licence.owner);
    ledger_entry_add(&p, dust, "fee");
    for (uint32_t i = 0; i < parents->count; i++) {
        cid_text(asset, &parents->cid[i]);
        ledger_entry_add(&p, parent[i], "royalty:%s", asset);
    }
    enum emac_status st = ledger_post(c->db, &p, NULL, err);
    cid_text(asset, &a->cid);
    return st == EMAC_OK
               ? db_exec(c->db, err, "UPDATE assets SET income = income + ? WHERE cid = ?", "it",
                         own, asset)
               : st;
}

static enum emac_status level(struct income *in, const struct cid *cid, const char *from,
                              int64_t units, uint32_t depth, struct emac_err *err)
{
    struct asset a;
    struct asset_parents parents;
    int64_t parent[ASSET_PARENTS_MAX];
    enum emac_status st;
    EMAC_TRY(st, asset_find(in->c, cid, &a, err));
    EMAC_TRY(st, asset_parents(in->c, cid, a.licence.owner, &parents, err));
    if (depth == ASSET_DEPTH_MAX)
        parents.count = 0;
    EMAC_TRY(st, level_post(in, &a, from, units, &parents, parent, err));
    for (uint32_t i = 0; i < parents.count && st == EMAC_OK; i++) {
        char pool[LEDGER_ACCOUNT_MAX], text[CID_TEXT_MAX];
        cid_text(text, &parents.cid[i]);
        snprintf(pool, sizeof(pool), "royalty:%s", text);
        if (parent[i] > 0)
            st = level(in, &parents.cid[i], pool, parent[i], depth + 1, err);
    }
out:
    return st;
}

enum emac_status asset_income(struct coordinator *c, const struct cid *cid, const char *from,
                              int64_t units, const char *key, const char *job, const char *detail,
                              struct emac_err *err)
{
    struct income in = {.c = c, .key = key, .job = job, .detail = detail};
    EMAC_ASSERT(units >= 0 && db_in_transaction(c->db));
    return units == 0 ? EMAC_OK : level(&in, cid, from, units, 0, err);
}

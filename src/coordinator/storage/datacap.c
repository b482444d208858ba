/* What jobs, deals and epochs do about data of value. */
#include "coordinator/storage/datacap.h"

#include <stdlib.h>
#include <string.h>

#define PROOFS_BYTES_MAX (256u << 20)

static struct datacap_book book_of(const struct coordinator *c)
{
    return (struct datacap_book){c->db, c->cfg.datacap};
}

/* ---- jobs ---- */

int64_t datacap_fee_of(const struct coordinator *c, int64_t units)
{
    return c->cfg.datacap != NULL ? datacap_fee(c->cfg.datacap, units) : 0;
}

enum emac_status datacap_fees_note(struct coordinator *c, const char *job, int64_t units,
                                   struct emac_err *err)
{
    const struct datacap_book b = book_of(c);
    return c->cfg.datacap != NULL ? datacap_book_fees(&b, job, units, err) : EMAC_OK;
}

/* The data that the job trained on, where somebody published them. */
struct used {
    char asset[CID_TEXT_MAX], client[DID_KEY_MAX], owner[DID_KEY_MAX];
    bool found;
};

static enum emac_status used_find(struct coordinator *c, const char *job, struct used *u,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st =
        db_first(c->db, &q, err,
                 "SELECT a.cid, a.owner, j.owner FROM job_assets t JOIN assets a ON a.cid = t.asset"
                 " JOIN jobs j ON j.id = t.job WHERE t.job = ? AND a.kind = 'data'"
                 " AND j.state = 'succeeded' AND a.owner <> j.owner",
                 "t", job);
    u->found = q != NULL;
    if (q == NULL)
        return st;
    bool fits = emac_strcpy(u->asset, sizeof(u->asset), db_text(q, 0)) &&
                emac_strcpy(u->client, sizeof(u->client), db_text(q, 1)) &&
                emac_strcpy(u->owner, sizeof(u->owner), db_text(q, 2));
    EMAC_ASSERT(fits);
    db_done(q);
    return EMAC_OK;
}

static bool names(struct emac_slice object, const struct cid *cid)
{
    struct task t;
    bool found = false;
    if (task_decode(&t, object.data, object.len, NULL) != EMAC_OK)
        return false;
    for (uint32_t i = 0; i < t.input_count && !found; i++)
        found = cid_equal(&t.input[i].cid, cid);
    task_release(&t);
    return found;
}

/* Paid for accepted tasks that name the data and were executed by two rigs or more. */
static enum emac_status checked_units(struct coordinator *c, const char *job, const char *asset,
                                      int64_t *out, struct emac_err *err)
{
    struct db_stmt *q;
    struct cid cid = cid_from_text(asset);
    bool row = false;
    *out = 0;
    enum emac_status st =
        db_query(c->db, &q, err,
                 "SELECT t.object, SUM(r.units) FROM tasks t JOIN receipts r ON r.job = t.job"
                 " AND r.step = t.step AND r.task = t.cid WHERE t.job = ? AND t.state = 'accepted'"
                 " AND r.state = 'settled' GROUP BY t.cid, t.object HAVING COUNT(*) > 1",
                 "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        bool fits = !names(db_blob(q, 0), &cid) || !__builtin_add_overflow(*out, db_i64(q, 1), out);
        EMAC_ASSERT(fits); /* one escrow paid it all */
    }
    return st;
}

enum emac_status datacap_use_note(struct coordinator *c, const char *job, struct emac_err *err)
{
    const struct datacap_book b = book_of(c);
    struct used u;
    struct datacap_job j = {job, u.asset, u.client, u.owner, 0};
    enum emac_status st;
    if (c->cfg.datacap == NULL)
        return EMAC_OK;
    EMAC_TRY(st, used_find(c, job, &u, err));
    if (!u.found)
        return EMAC_OK;
    EMAC_TRY(st, checked_units(c, job, u.asset, &j.checked_units, err));
    st = datacap_book_use(&b, &j, wall_ms(c), err);
out:
    return st;
}

/* ---- deals and epochs ---- */

enum emac_status datacap_deal_end(struct coordinator *c, const char *deal, struct emac_err *err)
{
    const struct datacap_book b = book_of(c);
    return datacap_book_end(&b, deal, wall_ms(c), err);
}

static enum emac_status proof_add(void *ctx, const struct deal_proven *p, struct emac_err *err)
{
    struct datacap_proof proof = {.replica = p->replica, .bytes = p->bytes};
    bool fits = emac_strcpy(proof.deal, sizeof(proof.deal), p->deal) &&
                emac_strcpy(proof.client, sizeof(proof.client), p->client) &&
                emac_strcpy(proof.node, sizeof(proof.node), p->node);
    EMAC_ASSERT(fits);
    return emac_buf_append(ctx, &proof, sizeof(proof), err);
}

enum emac_status datacap_epoch_end(struct coordinator *c, uint64_t epoch, struct emac_err *err)
{
    const struct datacap_book b = book_of(c);
    struct datacap_epoch e = {0};
    struct emac_buf proofs;
    char paid[32];
    enum emac_status st;
    if (c->cfg.datacap == NULL)
        return EMAC_OK;
    emac_buf_init(&proofs, PROOFS_BYTES_MAX);
    EMAC_TRY(st, deals_proven_each(c, epoch, proof_add, &proofs, err));
    EMAC_TRY(st,
             datacap_book_epoch(&b, epoch, (struct datacap_proof *)(void *)proofs.data,
                                proofs.len / sizeof(struct datacap_proof), wall_ms(c), &e, err));
    ledger_amount_text(paid, e.taken_units);
    if (e.taken_units > 0)
        LOG_I("coordinator", "epoch %llu of storage: %s EMAC of reward", (unsigned long long)epoch,
              paid);
out:
    emac_buf_release(&proofs);
    return st;
}

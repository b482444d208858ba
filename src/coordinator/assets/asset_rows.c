/* Rows of the catalogue, and of what was made from what. */
#include <string.h>

#include "coordinator/assets/assets.h"

enum emac_status asset_find(struct coordinator *c, const struct cid *cid, struct asset *out,
                            struct emac_err *err)
{
    struct db_stmt *q;
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    *out = (struct asset){.cid = *cid};
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT licence, object, state, income FROM assets WHERE cid = ?",
                 "t", text);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "the catalogue has no asset '%s'", text);
    struct emac_slice object = db_blob(q, 1);
    out->licence_cid = cid_from_text(db_text(q, 0));
    out->revoked = strcmp(db_text(q, 2), "revoked") == 0;
    out->income_units = db_i64(q, 3);
    st = licence_decode(&out->licence, object.data, object.len, err);
    db_done(q);
    return st;
}

bool asset_was_bought(struct coordinator *c, const struct cid *cid, const char *buyer)
{
    char text[CID_TEXT_MAX];
    int64_t count = 0;
    cid_text(text, cid);
    return db_one_i64(c->db, &count, NULL,
                      "SELECT COUNT(*) FROM asset_sales WHERE asset = ? AND buyer = ?", "tt", text,
                      buyer) == EMAC_OK &&
           count > 0;
}

static enum emac_status maker_find(struct coordinator *c, const char *model, const char *owner,
                                   char job[JOB_ID_MAX], struct emac_err *err)
{
    struct db_stmt *q;
    job[0] = 0;
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT id FROM jobs WHERE model = ? AND state = 'succeeded'"
                                   " AND (? = '' OR owner = ?) ORDER BY seq LIMIT 1",
                                   "ttt", model, owner, owner);
    if (q != NULL) {
        emac_strcpy(job, JOB_ID_MAX, db_text(q, 0));
        db_done(q);
    }
    return st;
}

enum emac_status asset_parents(struct coordinator *c, const struct cid *cid, const char *owner,
                               struct asset_parents *out, struct emac_err *err)
{
    struct db_stmt *q;
    char text[CID_TEXT_MAX];
    bool row = false;
    enum emac_status st;
    cid_text(text, cid);
    *out = (struct asset_parents){0};
    EMAC_TRY(st, maker_find(c, text, owner == NULL ? "" : owner, out->job, err));
    if (out->job[0] == 0)
        return EMAC_OK;
    st = db_query(c->db, &q, err,
                  "SELECT asset, share_ppm FROM job_assets WHERE job = ? ORDER BY asset", "t",
                  out->job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        EMAC_ASSERT(out->count < ASSET_PARENTS_MAX); /* assets_terms_write wrote them */
        out->cid[out->count] = cid_from_text(db_text(q, 0));
        out->share_ppm[out->count++] = (uint32_t)db_i64(q, 1);
    }
out:
    return st;
}

/* Motions of notaries: signed votes in, allowances made or removed. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "coordinator/storage/datacap_book.h"

static enum datacap_outcome outcome_find(const char *name)
{
    for (int i = DATACAP_OPEN; i <= DATACAP_CLOSED; i++) {
        if (strcmp(datacap_outcome_name((enum datacap_outcome)i), name) == 0)
            return (enum datacap_outcome)i;
    }
    return DATACAP_OPEN;
}

#define COLUMNS                                                                                    \
    "m.id, m.kind, m.outcome, m.client, m.application, m.first_ms, m.bytes,"                       \
    " (SELECT COUNT(*) FROM datacap_votes v WHERE v.motion = m.id)"

/* An open motion closes by itself when its time is over. */
static void row_read(struct db_stmt *q, uint64_t at_ms, struct datacap_motion_row *m)
{
    *m = (struct datacap_motion_row){.outcome = outcome_find(db_text(q, 2)),
                                     .first_ms = (uint64_t)db_i64(q, 5),
                                     .bytes = db_i64(q, 6),
                                     .votes = (uint32_t)db_i64(q, 7)};
    bool fits = emac_strcpy(m->id, sizeof m->id, db_text(q, 0)) &&
                emac_strcpy(m->client, sizeof m->client, db_text(q, 3)) &&
                emac_strcpy(m->application, sizeof m->application, db_text(q, 4));
    EMAC_ASSERT(fits);
    m->kind = strcmp(db_text(q, 1), datacap_kind_name(DATACAP_GRANT)) == 0 ? DATACAP_GRANT
                                                                           : DATACAP_REMOVAL;
    if (m->outcome == DATACAP_OPEN && at_ms >= m->first_ms + DATACAP_MOTION_MS)
        m->outcome = DATACAP_CLOSED;
}

static enum emac_status motion_get(const struct datacap_book *b, const char *id, uint64_t at_ms,
                                   struct datacap_motion_row *m, bool *found, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(
        b->db, &q, err, "SELECT " COLUMNS " FROM datacap_motions m WHERE m.id = ?", "t", id);
    *found = q != NULL;
    if (q != NULL) {
        row_read(q, at_ms, m);
        db_done(q);
    }
    return st;
}

enum emac_status datacap_book_motions(const struct datacap_book *b, uint32_t limit, uint64_t at_ms,
                                      void (*each)(void *ctx, const struct datacap_motion_row *m),
                                      void *ctx, struct emac_err *err)
{
    struct db_stmt *q;
    struct datacap_motion_row m;
    bool row = false;
    enum emac_status st = db_query(b->db, &q, err,
                                   "SELECT " COLUMNS " FROM datacap_motions m"
                                   " ORDER BY m.first_ms DESC, m.id LIMIT ?",
                                   "i", (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        row_read(q, at_ms, &m);
        each(ctx, &m);
    }
    return st;
}

/* ---- one vote ---- */

struct voting {
    const struct datacap_book *b;
    struct datacap_vote v;
    struct emac_slice object, signature;
    uint64_t at_ms;
    struct datacap_motion_row *m;
};

static enum emac_status vote_read(struct voting *x, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    struct cid motion;
    enum emac_status st;
    EMAC_TRY(st, datacap_vote_decode(&x->v, x->object.data, x->object.len, err));
    if (x->signature.len != ED25519_SIGNATURE_BYTES || !crypto_did_key_parse(key, x->v.notary) ||
        !crypto_ed25519_verify(x->signature.data, x->object.data, x->object.len, key))
        return emac_fail(err, EMAC_UNAUTHORIZED, "the vote's signature does not hold for '%s'",
                         x->v.notary);
    EMAC_TRY(st, datacap_vote_admit(x->b->rules, &x->v, x->at_ms, err));
    EMAC_TRY(st, datacap_motion(&x->v, &motion, err));
    cid_text(x->m->id, &motion);
out:
    return st;
}

/* What is to be removed must be there, be the client's, and not be a chain's. */
static enum emac_status removable(const struct voting *x, struct emac_err *err)
{
    struct allowance a;
    enum emac_status st = allowance_get(x->b->db, x->v.application, &a, err);
    if (st == EMAC_OK && strcmp(a.client, x->v.client) != 0)
        return emac_fail(err, EMAC_CONFLICT, "allowance '%s' is not of client '%s'", a.id,
                         x->v.client);
    if (st == EMAC_OK && a.origin == ALLOWANCE_CHAIN)
        return emac_fail(err, EMAC_FORBIDDEN, "allowance '%s' is removed in its chain's registry",
                         a.id);
    return st;
}

static enum emac_status motion_open(const struct voting *x, struct emac_err *err)
{
    enum emac_status st = x->v.kind == DATACAP_REMOVAL ? removable(x, err) : EMAC_OK;
    if (st == EMAC_OK)
        st = db_exec(x->b->db, err,
                     "INSERT INTO datacap_motions (id, kind, client, application, outcome,"
                     " first_ms, bytes) VALUES (?, ?, ?, ?, 'open', ?, 0)",
                     "tttti", x->m->id, datacap_kind_name(x->v.kind), x->v.client, x->v.application,
                     (int64_t)x->at_ms);
    return st;
}

/* *known: this very vote is there. CONFLICT when a newer one of the notary is. */
static enum emac_status vote_before(const struct voting *x, bool *known, struct emac_err *err)
{
    struct db_stmt *q;
    *known = false;
    enum emac_status st =
        db_first(x->b->db, &q, err,
                 "SELECT issued_ms, object FROM datacap_votes WHERE motion = ? AND notary = ?",
                 "tt", x->m->id, x->v.notary);
    if (q == NULL)
        return st;
    struct emac_slice old = db_blob(q, 1);
    *known = old.len == x->object.len && memcmp(old.data, x->object.data, old.len) == 0;
    if (!*known && (uint64_t)db_i64(q, 0) >= x->v.issued_ms)
        st = emac_fail(err, EMAC_CONFLICT, "'%s' voted later than this already", x->v.notary);
    db_done(q);
    return st;
}

static enum emac_status vote_write(const struct voting *x, struct emac_err *err)
{
    return db_exec(x->b->db, err,
                   "INSERT INTO datacap_votes (motion, notary, approve, bytes, issued_ms, object,"
                   " signature) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (motion, notary) DO UPDATE"
                   " SET approve = excluded.approve, bytes = excluded.bytes,"
                   " issued_ms = excluded.issued_ms, object = excluded.object,"
                   " signature = excluded.signature",
                   "ttiiibb", x->m->id, x->v.notary, (int64_t)x->v.approve, x->v.bytes,
                   (int64_t)x->v.issued_ms, (const void *)x->object.data, x->object.len,
                   (const void *)x->signature.data, x->signature.len);
}

/* Ballots of those who are notaries now: there are no more of them than notaries. */
static enum emac_status ballots_read(const struct voting *x,
                                     struct datacap_ballot out[DATACAP_NOTARIES_MAX], size_t *count,
                                     struct emac_err *err)
{
    const struct datacap_rules *r = x->b->rules;
    *count = 0;
    for (uint32_t i = 0; i < r->notary_count; i++) {
        struct db_stmt *q;
        enum emac_status st =
            db_first(x->b->db, &q, err,
                     "SELECT approve, bytes FROM datacap_votes WHERE motion = ? AND notary = ?",
                     "tt", x->m->id, r->notary[i]);
        if (st != EMAC_OK)
            return st;
        if (q == NULL)
            continue;
        struct datacap_ballot *b = &out[(*count)++];
        *b = (struct datacap_ballot){.approve = db_i64(q, 0) != 0, .bytes = db_i64(q, 1)};
        emac_strcpy(b->notary, sizeof b->notary, r->notary[i]);
        db_done(q);
    }
    return EMAC_OK;
}

static enum emac_status pass(const struct voting *x, int64_t *bytes, struct emac_err *err)
{
    if (x->v.kind == DATACAP_REMOVAL)
        return allowance_remove(x->b->db, x->v.application, x->at_ms, bytes, err);
    struct allowance a = {.origin = ALLOWANCE_NOTARIES,
                          .granted = *bytes,
                          .granted_ms = x->at_ms,
                          .expires_ms = x->at_ms + x->b->rules->lifetime_ms};
    emac_strcpy(a.id, sizeof a.id, x->m->id);
    emac_strcpy(a.client, sizeof a.client, x->v.client);
    return allowance_grant(x->b->db, &a, NULL, err);
}

static enum emac_status decide(const struct voting *x, struct emac_err *err)
{
    struct datacap_ballot ballot[DATACAP_NOTARIES_MAX];
    size_t count;
    int64_t bytes = 0;
    enum emac_status st;
    EMAC_TRY(st, ballots_read(x, ballot, &count, err));
    enum datacap_outcome got =
        datacap_decide(x->b->rules, ballot, count, x->m->first_ms, x->at_ms, &bytes);
    if (got == DATACAP_PASSED)
        EMAC_TRY(st, pass(x, &bytes, err));
    if (got != DATACAP_OPEN)
        EMAC_TRY(st, db_exec(x->b->db, err,
                             "UPDATE datacap_motions SET outcome = ?, bytes = ? WHERE id = ?",
                             "tit", datacap_outcome_name(got), bytes, x->m->id));
out:
    return st;
}

enum emac_status datacap_book_vote(const struct datacap_book *b, struct emac_slice object,
                                   struct emac_slice signature, uint64_t at_ms,
                                   struct datacap_motion_row *out, struct emac_err *err)
{
    char id[CID_TEXT_MAX];
    bool found = false, known = false;
    enum emac_status st;
    *out = (struct datacap_motion_row){0};
    struct voting x = {.b = b, .object = object, .signature = signature, .at_ms = at_ms, .m = out};
    EMAC_ASSERT(db_in_transaction(b->db));
    EMAC_TRY(st, vote_read(&x, err));
    emac_strcpy(id, sizeof id, out->id);
    EMAC_TRY(st, motion_get(b, id, at_ms, out, &found, err));
    if (!found) {
        EMAC_TRY(st, motion_open(&x, err));
        EMAC_TRY(st, motion_get(b, id, at_ms, out, &found, err));
    }
    EMAC_TRY(st, vote_before(&x, &known, err));
    if (known)
        goto out;
    if (out->outcome != DATACAP_OPEN) {
        st = emac_fail(err, EMAC_CONFLICT, "motion '%s' is %s: a new application makes a new one",
                       out->id, datacap_outcome_name(out->outcome));
        goto out;
    }
    EMAC_TRY(st, vote_write(&x, err));
    EMAC_TRY(st, decide(&x, err));
    st = motion_get(b, id, at_ms, out, &found, err);
out:
    return st;
}

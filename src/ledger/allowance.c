#include "ledger/allowance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define KEY_MAX    LEDGER_TEXT_MAX
#define PIECES_MAX 4096 /* allowances that one deal can draw on */

static const char *const ORIGINS[] = {
    [ALLOWANCE_NOTARIES] = "notaries", [ALLOWANCE_CHAIN] = "chain", [ALLOWANCE_USE] = "use"};

const char *allowance_origin_name(enum allowance_origin origin)
{
    EMAC_ASSERT(origin < ALLOWANCE_ORIGINS);
    return ORIGINS[origin];
}

/* A part of an account's name. */
static bool name_ok(const char *s, size_t cap)
{
    size_t n = strnlen(s, cap);
    for (size_t i = 0; i < n; i++) {
        if (s[i] <= ' ' || s[i] >= 0x7f)
            return false;
    }
    return n > 0 && n < cap;
}

/* ---- rows ---- */

#define COLUMNS                                                                                    \
    "a.id, a.client, a.origin, a.granted, a.burnt, a.granted_ms, a.expires_ms, a.removed,"         \
    " COALESCE((SELECT b.units FROM accounts b WHERE b.account = 'bytes:left:' || a.id), 0),"      \
    " COALESCE((SELECT SUM(s.bytes) FROM allowance_spends s WHERE s.allowance = a.id"              \
    " AND s.state = 'bound'), 0)"

static void row_read(struct db_stmt *q, struct allowance *out)
{
    *out = (struct allowance){.granted = db_i64(q, 3),
                              .burnt = db_i64(q, 4),
                              .granted_ms = (uint64_t)db_i64(q, 5),
                              .expires_ms = (uint64_t)db_i64(q, 6),
                              .removed = db_i64(q, 7) != 0,
                              .left = db_i64(q, 8),
                              .bound = db_i64(q, 9)};
    bool fits = emac_strcpy(out->id, sizeof out->id, db_text(q, 0)) &&
                emac_strcpy(out->client, sizeof out->client, db_text(q, 1));
    EMAC_ASSERT(fits);
    for (unsigned i = 0; i < EMAC_COUNT(ORIGINS); i++) {
        if (strcmp(ORIGINS[i], db_text(q, 2)) == 0)
            out->origin = (enum allowance_origin)i;
    }
}

static enum emac_status find(struct db *db, const char *id, struct allowance *out, bool *found,
                             struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st =
        db_first(db, &q, err, "SELECT " COLUMNS " FROM allowances a WHERE a.id = ?", "t", id);
    *found = q != NULL;
    if (q != NULL) {
        row_read(q, out);
        db_done(q);
    }
    return st;
}

enum emac_status allowance_get(struct db *db, const char *id, struct allowance *out,
                               struct emac_err *err)
{
    bool found;
    enum emac_status st = find(db, id, out, &found, err);
    if (st == EMAC_OK && !found)
        st = emac_fail(err, EMAC_NOT_FOUND, "there is no allowance '%.*s'", ALLOWANCE_ID_MAX, id);
    return st;
}

enum emac_status allowance_each(struct db *db, const char *client, const char *after,
                                uint32_t limit, void (*each)(void *ctx, const struct allowance *a),
                                void *ctx, struct emac_err *err)
{
    struct db_stmt *q;
    struct allowance a;
    bool row = false;
    enum emac_status st =
        db_query(db, &q, err,
                 "SELECT " COLUMNS " FROM allowances a"
                 " WHERE (? = '' OR a.client = ?) AND a.id > ?"
                 " ORDER BY a.id LIMIT ?",
                 "ttti", client ? client : "", client ? client : "", after, (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        row_read(q, &a);
        each(ctx, &a);
    }
    return st;
}

enum emac_status allowance_of_deal(struct db *db, const char *deal, int64_t *bytes,
                                   struct emac_err *err)
{
    char account[LEDGER_ACCOUNT_MAX];
    if (!name_ok(deal, ALLOWANCE_DEAL_MAX))
        return emac_fail(err, EMAC_INVALID, "'%.80s' is no name of a deal", deal);
    snprintf(account, sizeof account, "bytes:deal:%s", deal);
    return ledger_balance(db, account, bytes, err);
}

enum emac_status allowance_of_deal_by(struct db *db, const char *deal, const char *client,
                                      int64_t *bytes, struct emac_err *err)
{
    return db_one_i64(db, bytes, err,
                      "SELECT COALESCE(SUM(s.bytes), 0) FROM allowance_spends s"
                      " JOIN allowances a ON a.id = s.allowance"
                      " WHERE s.deal = ? AND s.state = 'bound' AND a.client = ?",
                      "tt", deal, client);
}

/* ---- what must hold of what was written ---- */

/* CAP-1 */
static enum emac_status allowance_holds(struct db *db, const char *id, struct emac_err *err)
{
    struct allowance a;
    enum emac_status st = allowance_get(db, id, &a, err);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(a.left >= 0 && a.bound >= 0 && a.burnt >= 0);
    EMAC_ASSERT(a.granted == a.left + a.bound + a.burnt);
    EMAC_ASSERT(!a.removed || a.left == 0);
    return EMAC_OK;
}

/* CAP-5 */
static enum emac_status deal_holds(struct db *db, const char *deal, struct emac_err *err)
{
    int64_t rows = 0, balance = 0;
    enum emac_status st = db_one_i64(db, &rows, err,
                                     "SELECT COALESCE(SUM(bytes), 0) FROM allowance_spends"
                                     " WHERE deal = ? AND state = 'bound'",
                                     "t", deal);
    if (st == EMAC_OK)
        st = allowance_of_deal(db, deal, &balance, err);
    EMAC_ASSERT(st != EMAC_OK || rows == balance);
    return st;
}

/* A posting of bytes that was not there before. */
static enum emac_status post(struct db *db, const char *cause, const char *key, const char *detail,
                             uint64_t at_ms, struct ledger_posting *p, struct emac_err *err)
{
    bool posted = false;
    p->key = key;
    p->cause = cause;
    p->job = "";
    p->detail = detail;
    p->at_ms = at_ms;
    enum emac_status st = ledger_post(db, p, &posted, err);
    EMAC_ASSERT(st != EMAC_OK || posted); /* rows say it is the first time */
    return st;
}

/* ---- granting ---- */

static enum emac_status grant_check(const struct allowance *a, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    if (!name_ok(a->id, ALLOWANCE_ID_MAX) || a->origin >= ALLOWANCE_ORIGINS)
        return emac_fail(err, EMAC_INVALID, "an allowance needs an id of printable characters");
    if (!crypto_did_key_parse(key, a->client))
        return emac_fail(err, EMAC_INVALID, "the client of an allowance is a did:key");
    if (a->granted < 1 || a->granted > ALLOWANCE_BYTES_MAX)
        return emac_fail(err, EMAC_INVALID, "an allowance is of 1 byte to 1 PiB");
    if (a->granted_ms > INT64_MAX || a->expires_ms > INT64_MAX || a->expires_ms <= a->granted_ms)
        return emac_fail(err, EMAC_INVALID, "an allowance must expire after it is granted");
    return EMAC_OK;
}

static enum emac_status grant_write(struct db *db, const struct allowance *a, struct emac_err *err)
{
    char key[KEY_MAX];
    int64_t granted = 0;
    enum emac_status st;
    EMAC_TRY(st, ledger_balance(db, "bytes:granted", &granted, err));
    if (granted < -INT64_MAX + a->granted) {
        st = emac_fail(err, EMAC_TOO_LARGE, "all allowances together pass the largest number");
        goto out;
    }
    EMAC_TRY(st, db_exec(db, err,
                         "INSERT INTO allowances (id, client, origin, granted, burnt, granted_ms,"
                         " expires_ms, removed) VALUES (?, ?, ?, ?, 0, ?, ?, 0)",
                         "tttiii", a->id, a->client, ORIGINS[a->origin], a->granted,
                         (int64_t)a->granted_ms, (int64_t)a->expires_ms));
    snprintf(key, sizeof key, "allow:%s", a->id);
    struct ledger_posting p = {.count = 0};
    ledger_entry_add(&p, -a->granted, "bytes:granted");
    ledger_entry_add(&p, a->granted, "bytes:left:%s", a->id);
    EMAC_TRY(st, post(db, "allow", key, a->client, a->granted_ms, &p, err));
    st = allowance_holds(db, a->id, err);
out:
    return st;
}

enum emac_status allowance_grant(struct db *db, const struct allowance *a, bool *fresh,
                                 struct emac_err *err)
{
    struct allowance old;
    bool found = false;
    EMAC_ASSERT(db_in_transaction(db));
    enum emac_status st = grant_check(a, err);
    if (st == EMAC_OK)
        st = find(db, a->id, &old, &found, err);
    if (st != EMAC_OK)
        return st;
    if (fresh != NULL)
        *fresh = !found;
    if (!found)
        return grant_write(db, a, err);
    if (strcmp(old.client, a->client) != 0 || old.granted != a->granted ||
        old.origin != a->origin || old.expires_ms != a->expires_ms)
        return emac_fail(err, EMAC_CONFLICT, "allowance '%s' was granted before on other terms",
                         a->id);
    return EMAC_OK;
}

/* ---- binding ---- */

static enum emac_status deal_is_new(struct db *db, const char *deal, int64_t bytes,
                                    struct emac_err *err)
{
    int64_t rows = 0;
    if (!name_ok(deal, ALLOWANCE_DEAL_MAX))
        return emac_fail(err, EMAC_INVALID, "'%.80s' is no name of a deal", deal);
    if (bytes < 1 || bytes > ALLOWANCE_BYTES_MAX)
        return emac_fail(err, EMAC_INVALID, "a deal takes 1 byte to 1 PiB out of allowances");
    enum emac_status st = db_one_i64(
        db, &rows, err, "SELECT COUNT(*) FROM allowance_spends WHERE deal = ?", "t", deal);
    if (st == EMAC_OK && rows != 0)
        st = emac_fail(err, EMAC_CONFLICT, "deal '%s' was bound to an allowance before", deal);
    return st;
}

/* One piece of a deal. */
static enum emac_status bind_write(struct db *db, const char *id, const char *deal, int64_t bytes,
                                   uint64_t at_ms, struct emac_err *err)
{
    char key[KEY_MAX];
    enum emac_status st;
    EMAC_TRY(st, db_exec(db, err,
                         "INSERT INTO allowance_spends (deal, allowance, bytes, state, at_ms)"
                         " VALUES (?, ?, ?, 'bound', ?)",
                         "ttii", deal, id, bytes, (int64_t)at_ms));
    snprintf(key, sizeof key, "bind:%s:%s", deal, id);
    struct ledger_posting p = {.count = 0};
    ledger_entry_add(&p, -bytes, "bytes:left:%s", id);
    ledger_entry_add(&p, bytes, "bytes:deal:%s", deal);
    EMAC_TRY(st, post(db, "bind", key, deal, at_ms, &p, err));
    EMAC_TRY(st, allowance_holds(db, id, err));
    st = deal_holds(db, deal, err);
out:
    return st;
}

/* A piece of an allowance: what a deal takes of it, or what comes back. */
struct piece {
    char id[ALLOWANCE_ID_MAX];
    int64_t bytes;
    bool returns;
};

struct pieces {
    struct emac_buf buf;
    size_t count;
};

static enum emac_status piece_add(struct pieces *list, const struct piece *p, struct emac_err *err)
{
    list->count++;
    return emac_buf_append(&list->buf, p, sizeof *p, err);
}

static const struct piece *piece_at(const struct pieces *list, size_t i)
{
    return (const struct piece *)(const void *)list->buf.data + i;
}

/* Collected first: postings between the rows of an open query would disturb it. */
static enum emac_status draw(struct db *db, const char *client, int64_t bytes, uint64_t at_ms,
                             struct pieces *out, int64_t *missing, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    *missing = bytes;
    enum emac_status st =
        db_query(db, &q, err,
                 "SELECT a.id, b.units FROM allowances a JOIN accounts b"
                 " ON b.account = 'bytes:left:' || a.id"
                 " WHERE a.client = ? AND a.origin <> 'chain' AND a.removed = 0"
                 " AND a.expires_ms > ? AND b.units > 0 ORDER BY a.expires_ms, a.id",
                 "ti", client, (int64_t)at_ms);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct piece p = {.bytes = db_i64(q, 1)};
        bool fits = emac_strcpy(p.id, sizeof p.id, db_text(q, 0));
        EMAC_ASSERT(fits && p.bytes > 0);
        p.bytes = p.bytes < *missing ? p.bytes : *missing;
        *missing -= p.bytes;
        st = piece_add(out, &p, err);
        if (st != EMAC_OK || *missing == 0) {
            db_done(q);
            break;
        }
    }
    return st;
}

enum emac_status allowance_bind(struct db *db, const char *client, const char *deal, int64_t bytes,
                                uint64_t at_ms, struct emac_err *err)
{
    struct pieces list = {.count = 0};
    int64_t missing = 0;
    enum emac_status st;
    EMAC_ASSERT(db_in_transaction(db));
    emac_buf_init(&list.buf, PIECES_MAX * sizeof(struct piece));
    EMAC_TRY(st, deal_is_new(db, deal, bytes, err));
    EMAC_TRY(st, draw(db, client, bytes, at_ms, &list, &missing, err));
    if (missing > 0)
        st = emac_fail(err, EMAC_PAYMENT,
                       "'%s' has %lld bytes of allowance left and the deal needs %lld: store it "
                       "without, or ask notaries for more",
                       client, (long long)(bytes - missing), (long long)bytes);
    for (size_t i = 0; i < list.count && st == EMAC_OK; i++) {
        struct piece p = *piece_at(&list, i);
        st = bind_write(db, p.id, deal, p.bytes, at_ms, err);
    }
out:
    emac_buf_release(&list.buf);
    return st;
}

enum emac_status allowance_bind_one(struct db *db, const char *id, const char *deal, int64_t bytes,
                                    uint64_t at_ms, struct emac_err *err)
{
    struct allowance a;
    enum emac_status st;
    EMAC_ASSERT(db_in_transaction(db));
    EMAC_TRY(st, deal_is_new(db, deal, bytes, err));
    EMAC_TRY(st, allowance_get(db, id, &a, err));
    if (a.left < bytes)
        st = emac_fail(err, EMAC_PAYMENT, "allowance '%s' has %lld bytes left, not %lld", id,
                       (long long)a.left, (long long)bytes);
    else
        st = bind_write(db, id, deal, bytes, at_ms, err);
out:
    return st;
}

/* ---- ends ---- */

static enum emac_status bound_list(struct db *db, const char *deal, bool counted, uint64_t at_ms,
                                   struct pieces *out, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(db, &q, err,
                 "SELECT s.allowance, s.bytes, a.removed = 0 AND a.expires_ms > ?"
                 " AND a.origin <> 'chain' FROM allowance_spends s JOIN allowances a"
                 " ON a.id = s.allowance WHERE s.deal = ? AND s.state = 'bound'"
                 " ORDER BY s.allowance",
                 "it", (int64_t)at_ms, deal);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct piece p = {.bytes = db_i64(q, 1), .returns = !counted && db_i64(q, 2) != 0};
        bool fits = emac_strcpy(p.id, sizeof p.id, db_text(q, 0));
        EMAC_ASSERT(fits);
        st = piece_add(out, &p, err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

static enum emac_status end_piece(struct db *db, const char *deal, const struct piece *e,
                                  uint64_t at_ms, struct emac_err *err)
{
    char key[KEY_MAX];
    enum emac_status st;
    EMAC_TRY(st, db_exec(db, err,
                         "UPDATE allowance_spends SET state = ? WHERE deal = ? AND allowance = ?",
                         "ttt", e->returns ? "returned" : "burnt", deal, e->id));
    EMAC_TRY(st, db_exec(db, err, "UPDATE allowances SET burnt = burnt + ? WHERE id = ?", "it",
                         e->returns ? INT64_C(0) : e->bytes, e->id));
    snprintf(key, sizeof key, "unbind:%s:%s", deal, e->id);
    struct ledger_posting p = {.count = 0};
    ledger_entry_add(&p, -e->bytes, "bytes:deal:%s", deal);
    if (e->returns)
        ledger_entry_add(&p, e->bytes, "bytes:left:%s", e->id);
    else
        ledger_entry_add(&p, e->bytes, "bytes:burnt");
    EMAC_TRY(st, post(db, e->returns ? "return" : "burn", key, deal, at_ms, &p, err));
    EMAC_TRY(st, allowance_holds(db, e->id, err));
    st = deal_holds(db, deal, err);
out:
    return st;
}

enum emac_status allowance_end(struct db *db, const char *deal, bool counted, uint64_t at_ms,
                               struct emac_err *err)
{
    struct pieces list = {.count = 0};
    EMAC_ASSERT(db_in_transaction(db));
    emac_buf_init(&list.buf, PIECES_MAX * sizeof(struct piece));
    enum emac_status st = bound_list(db, deal, counted, at_ms, &list, err);
    for (size_t i = 0; i < list.count && st == EMAC_OK; i++)
        st = end_piece(db, deal, piece_at(&list, i), at_ms, err);
    emac_buf_release(&list.buf);
    return st;
}

static enum emac_status burn_left(struct db *db, const struct allowance *a, const char *cause,
                                  uint64_t at_ms, struct emac_err *err)
{
    char key[KEY_MAX];
    enum emac_status st;
    EMAC_TRY(st,
             db_exec(db, err, "UPDATE allowances SET burnt = burnt + ?, removed = 1 WHERE id = ?",
                     "it", a->left, a->id));
    if (a->left > 0) {
        snprintf(key, sizeof key, "%s:%s", cause, a->id);
        struct ledger_posting p = {.count = 0};
        ledger_entry_add(&p, -a->left, "bytes:left:%s", a->id);
        ledger_entry_add(&p, a->left, "bytes:burnt");
        EMAC_TRY(st, post(db, cause, key, a->client, at_ms, &p, err));
    }
    st = allowance_holds(db, a->id, err);
out:
    return st;
}

enum emac_status allowance_remove(struct db *db, const char *id, uint64_t at_ms, int64_t *bytes,
                                  struct emac_err *err)
{
    struct allowance a;
    EMAC_ASSERT(db_in_transaction(db));
    *bytes = 0;
    enum emac_status st = allowance_get(db, id, &a, err);
    if (st != EMAC_OK || a.removed)
        return st;
    *bytes = a.left;
    return burn_left(db, &a, "remove", at_ms, err);
}

enum emac_status allowance_expire(struct db *db, uint64_t at_ms, struct emac_err *err)
{
    struct db_stmt *q;
    struct allowance a;
    EMAC_ASSERT(db_in_transaction(db));
    /* One at a time: few expire at once, and each is no longer among them afterwards. */
    for (;;) {
        enum emac_status st = db_first(db, &q, err,
                                       "SELECT " COLUMNS " FROM allowances a WHERE a.removed = 0"
                                       " AND a.origin <> 'chain' AND a.expires_ms <= ?"
                                       " ORDER BY a.expires_ms, a.id LIMIT 1",
                                       "i", (int64_t)at_ms);
        if (q == NULL)
            return st;
        row_read(q, &a);
        db_done(q);
        st = burn_left(db, &a, "expire", at_ms, err);
        if (st != EMAC_OK)
            return st;
    }
}

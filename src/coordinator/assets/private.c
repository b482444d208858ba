#include "coordinator/assets/private.h"

#include <string.h>

#include "coordinator/assets/assets.h"
#include "work/base.h"

#define BROKER_LABEL "emac broker 1"

/* ---- the broker's key ---- */

static void broker_key(const struct coordinator *c, uint8_t public_key[ED25519_PUBLIC_BYTES],
                       uint8_t secret_key[ED25519_SECRET_BYTES])
{
    uint8_t seed[SHA256_BYTES];
    crypto_hmac_sha256(seed, c->secret, sizeof(c->secret), BROKER_LABEL, strlen(BROKER_LABEL));
    crypto_ed25519_keypair(public_key, secret_key, seed);
    crypto_wipe(seed, sizeof(seed));
}

void private_broker_did(const struct coordinator *c, char did[DID_KEY_MAX])
{
    uint8_t public_key[ED25519_PUBLIC_BYTES], secret_key[ED25519_SECRET_BYTES];
    broker_key(c, public_key, secret_key);
    crypto_did_key(did, public_key);
    crypto_wipe(secret_key, sizeof(secret_key));
}

static enum emac_status box_open(struct coordinator *c, const struct cid *asset,
                                 struct emac_slice box, struct sealed_key *out,
                                 struct emac_err *err)
{
    uint8_t public_key[ED25519_PUBLIC_BYTES], secret_key[ED25519_SECRET_BYTES];
    broker_key(c, public_key, secret_key);
    enum emac_status st =
        sealed_key_open(out, box.data, box.len, secret_key, asset, SEALED_FOR_BROKER, err);
    crypto_wipe(secret_key, sizeof(secret_key));
    return st;
}

/* ---- publishing ---- */

/* What a model rests on is not published with it. */
enum emac_status private_publish_check(struct coordinator *c, const struct cid *asset,
                                       const char *did, struct emac_err *err)
{
    struct sealed_parts parts;
    enum emac_status st = sealed_parts(c->depot, asset, &parts, err);
    for (uint32_t i = 0; i < parts.count && st == EMAC_OK; i++)
        if (cid_equal(&parts.at[i].of, asset) && strcmp(parts.at[i].sealed.owner, did) != 0)
            st = emac_fail(err, EMAC_FORBIDDEN, "it is private and belongs to '%s'",
                           parts.at[i].sealed.owner);
    return st;
}

/* ---- jobs ---- */

static enum emac_status key_read(struct coordinator *c, const struct cid *asset,
                                 struct sealed_key *out, struct emac_err *err)
{
    struct db_stmt *q;
    char text[CID_TEXT_MAX];
    cid_text(text, asset);
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT box FROM private_keys WHERE asset = ?"
                                   " AND state = 'granted'",
                                   "t", text);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND,
                         "'%s' is private and its key is not granted: its owner does so by 'emac "
                         "data keys grant'",
                         text);
    st = box_open(c, asset, db_blob(q, 0), out, err);
    db_done(q);
    return st;
}

/* PRIVATE-2, PRIVATE-4 for a part of what `did` wants to work with. */
static enum emac_status part_check(struct coordinator *c, const struct sealed_part *p,
                                   const char *did, bool trains, struct emac_err *err)
{
    const char *owner = p->sealed.owner;
    struct sealed_key key;
    struct asset a;
    if (strcmp(owner, did) != 0) {
        if (asset_find(c, &p->of, &a, NULL) != EMAC_OK || strcmp(a.licence.owner, owner) != 0)
            return emac_fail(err, EMAC_FORBIDDEN,
                             "%s private and '%s' has published no licence for %s",
                             sealed_is(&p->of) ? "the data are" : "the model is", owner,
                             sealed_is(&p->of) ? "them" : "it");
        if (trains && !a.licence.adapters)
            return emac_fail(err, EMAC_FORBIDDEN,
                             "the licence of '%s' allows no adapters: they would be public, and "
                             "the model is private",
                             a.licence.name);
    }
    enum emac_status st = key_read(c, &p->cid, &key, err);
    crypto_wipe(&key, sizeof(key));
    return st;
}

static enum emac_status parts_check(struct coordinator *c, const struct sealed_parts *parts,
                                    const char *did, bool trains, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < parts->count && st == EMAC_OK; i++)
        st = part_check(c, &parts->at[i], did, trains, err);
    return st;
}

static enum emac_status job_parts(struct coordinator *c, const struct job *job,
                                  struct sealed_parts *data, struct sealed_parts *model,
                                  struct emac_err *err)
{
    *model = (struct sealed_parts){0};
    enum emac_status st = sealed_parts_data(c->depot, &job->data, data, err);
    return st == EMAC_OK && job_has_base(job) ? sealed_parts_model(c->depot, &job->base, model, err)
                                              : st;
}

enum emac_status private_job_check(struct coordinator *c, const struct job *job,
                                   struct emac_err *err)
{
    struct sealed_parts data, model;
    enum emac_status st = job_parts(c, job, &data, &model, err);
    if (st == EMAC_OK)
        st = parts_check(c, &data, job->owner, false, err);
    return st == EMAC_OK ? parts_check(c, &model, job->owner, job->kind == JOB_TRAIN, err) : st;
}

static enum emac_status parts_write(struct coordinator *c, const char *id, const char *reads,
                                    const struct sealed_parts *parts, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < parts->count && st == EMAC_OK; i++) {
        char text[CID_TEXT_MAX];
        struct sealed_key key;
        cid_text(text, &parts->at[i].cid);
        st = key_read(c, &parts->at[i].cid, &key, err); /* it may have been taken back meanwhile */
        crypto_wipe(&key, sizeof(key));
        if (st == EMAC_OK)
            st = db_exec(c->db, err,
                         "INSERT INTO job_private (job, asset, reads) VALUES (?, ?, ?)"
                         " ON CONFLICT DO NOTHING",
                         "ttt", id, text, reads);
    }
    return st;
}

enum emac_status private_job_write(struct coordinator *c, const char *id, const struct job *job,
                                   struct emac_err *err)
{
    struct sealed_parts data, model;
    enum emac_status st = job_parts(c, job, &data, &model, err);
    if (st == EMAC_OK)
        st = parts_write(c, id, "data", &data, err);
    return st == EMAC_OK ? parts_write(c, id, "model", &model, err) : st;
}

/* ---- leases ---- */

static enum emac_status key_box(struct coordinator *c, const char *node, const char *lease,
                                const struct cid *asset, json_t *out, struct emac_err *err)
{
    struct sealed_key key = {0};
    struct emac_buf box;
    char text[CID_TEXT_MAX];
    enum emac_status st;
    emac_buf_init(&box, SEALED_BOX_MAX);
    EMAC_TRY(st, key_read(c, asset, &key, err));
    emac_strcpy(key.purpose, sizeof(key.purpose), lease);
    EMAC_TRY(st, sealed_key_box(&key, node, &box, err));
    cid_text(text, asset);
    json_object_set_new(out, text, api_base64(box.data, box.len));
out:
    crypto_wipe(&key, sizeof(key));
    emac_buf_release(&box);
    return st;
}

/* Weights are named by the task; data are behind the name of its input "data". */
static bool task_reads(const struct task *t, const struct cid *asset, bool is_data)
{
    for (uint32_t i = 0; i < t->input_count; i++)
        if (cid_equal(&t->input[i].cid, asset) ||
            (is_data && strcmp(t->input[i].name, "data") == 0))
            return true;
    return false;
}

/* What is private of what the task reads. */
static enum emac_status task_assets(struct coordinator *c, const char *job, const struct task *t,
                                    struct cid asset[PRIVATE_ASSETS_MAX], uint32_t *count,
                                    struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    *count = 0;
    enum emac_status st =
        db_query(c->db, &q, err,
                 "SELECT asset, reads FROM job_private WHERE job = ? ORDER BY asset", "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        const struct cid cid = cid_from_text(db_text(q, 0));
        EMAC_ASSERT(*count < PRIVATE_ASSETS_MAX); /* private_job_write wrote them */
        if (task_reads(t, &cid, strcmp(db_text(q, 1), "data") == 0))
            asset[(*count)++] = cid;
    }
    return st;
}

bool private_task(struct coordinator *c, const char *job, const struct task *t)
{
    struct cid asset[PRIVATE_ASSETS_MAX];
    uint32_t count;
    return task_assets(c, job, t, asset, &count, NULL) == EMAC_OK && count > 0;
}

enum emac_status private_lease_keys(struct coordinator *c, const struct lease *l, json_t **out,
                                    struct emac_err *err)
{
    struct cid asset[PRIVATE_ASSETS_MAX];
    struct cjob *j = l->job;
    uint32_t count;
    int64_t any = 0;
    enum emac_status st = EMAC_OK;
    *out = NULL;
    /* The rows come with the job and stay: most jobs have none, and are asked once. */
    if (!j->nothing_private) {
        st = db_one_i64(c->db, &any, err, "SELECT COUNT(*) FROM job_private WHERE job = ?", "t",
                        j->id);
        j->nothing_private = st == EMAC_OK && any == 0;
    }
    if (st != EMAC_OK || j->nothing_private)
        return st;
    st = task_assets(c, j->id, &l->task->task, asset, &count, err);
    if (st != EMAC_OK || count == 0)
        return st;
    *out = json_object();
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++)
        st = key_box(c, l->node->did, l->id, &asset[i], *out, err);
    return st;
}

/* ---- requests for text ---- */

enum emac_status private_model_check(struct coordinator *c, const struct cid *model,
                                     const char *did, bool *is_private, struct emac_err *err)
{
    struct sealed_parts parts;
    enum emac_status st = sealed_parts_model(c->depot, model, &parts, err);
    *is_private = st == EMAC_OK && parts.count > 0;
    if (st == EMAC_NOT_FOUND) /* nobody gets a key to what is not here */
        return EMAC_OK;
    return st == EMAC_OK ? parts_check(c, &parts, did, false, err) : st;
}

enum emac_status private_model_keys(struct coordinator *c, const struct cid *model,
                                    const char *node, const char *lease, json_t **out,
                                    struct emac_err *err)
{
    struct sealed_parts parts;
    *out = NULL;
    enum emac_status st = sealed_parts_model(c->depot, model, &parts, err);
    if (st != EMAC_OK || parts.count == 0)
        return st;
    *out = json_object();
    for (uint32_t i = 0; i < parts.count && st == EMAC_OK; i++)
        st = key_box(c, node, lease, &parts.at[i].cid, *out, err);
    return st;
}

/* ---- the owner's side ---- */

static enum emac_status grant_read(struct coordinator *c, const struct http_request *req,
                                   char did[DID_KEY_MAX], struct cid *asset, struct emac_slice *box,
                                   struct emac_err *err)
{
    struct sealed s;
    struct sealed_key key = {0};
    json_t *root = NULL;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, cid_parse(asset, http_path_param(req, "cid"), err));
    EMAC_TRY(st, api_bytes(req, root, "box", SEALED_BOX_MAX, box, err));
    EMAC_TRY(st, sealed_load(c->depot, asset, &s, err));
    if (strcmp(s.owner, did) != 0)
        st = emac_fail(err, EMAC_FORBIDDEN, "the file is private and belongs to '%s'", s.owner);
    if (st == EMAC_OK)
        st = box_open(c, asset, *box, &key, err);
    if (st == EMAC_OK && !sealed_key_fits(&s, key.key))
        st = emac_fail(err, EMAC_INVALID, "the key is not that of the file");
    if (st == EMAC_OK)
        st = sealed_probe(c->depot, asset, key.key, err);
out:
    crypto_wipe(&key, sizeof(key));
    json_decref(root);
    return st;
}

static enum emac_status key_reply(struct http_response *res, const struct cid *asset,
                                  const char *state, struct emac_err *err)
{
    return api_reply(res, 200, json_pack("{s:o, s:s}", "asset", api_cid(asset), "state", state),
                     err);
}

enum emac_status private_post(void *ctx, const struct http_request *req, struct http_response *res,
                              struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX], text[CID_TEXT_MAX];
    struct emac_slice box;
    struct cid asset;
    enum emac_status st = grant_read(c, req, did, &asset, &box, err);
    if (st != EMAC_OK)
        return st;
    cid_text(text, &asset);
    st = db_exec(c->db, err,
                 "INSERT INTO private_keys (asset, owner, box, state, at_ms)"
                 " VALUES (?, ?, ?, 'granted', ?) ON CONFLICT (asset) DO UPDATE SET"
                 " box = excluded.box, state = 'granted', at_ms = excluded.at_ms",
                 "ttbi", text, did, (const void *)box.data, box.len, (int64_t)wall_ms(c));
    return st == EMAC_OK ? key_reply(res, &asset, "granted", err) : st;
}

enum emac_status private_get(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct db_stmt *q;
    char did[DID_KEY_MAX], broker[DID_KEY_MAX];
    bool row = false;
    json_t *list = json_array();
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    st = db_query(c->db, &q, err,
                  "SELECT asset, state FROM private_keys WHERE owner = ? ORDER BY asset", "t", did);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "asset", db_text(q, 0), "state", db_text(q, 1)));
    private_broker_did(c, broker);
    if (st == EMAC_OK)
        st = api_reply(res, 200, json_pack("{s:s, s:O}", "broker", broker, "keys", list), err);
out:
    json_decref(list);
    return st;
}

static struct cjob *job_reading(struct coordinator *c, const char *asset)
{
    for (uint32_t i = 0; i < c->job_count; i++) {
        int64_t reads = 0;
        if (db_one_i64(c->db, &reads, NULL,
                       "SELECT COUNT(*) FROM job_private WHERE job = ? AND asset = ?", "tt",
                       c->job[i]->id, asset) == EMAC_OK &&
            reads > 0)
            return c->job[i];
    }
    return NULL;
}

static enum emac_status revoke(struct coordinator *c, const char *asset, const char *did,
                               struct emac_err *err)
{
    struct cjob *j;
    int64_t changed = 0;
    enum emac_status st = db_change(c->db, &changed, err,
                                    "UPDATE private_keys SET state = 'revoked', box = ?"
                                    " WHERE asset = ? AND owner = ?",
                                    "btt", (const void *)"", (size_t)0, asset, did);
    if (st == EMAC_OK && changed == 0)
        return emac_fail(err, EMAC_NOT_FOUND, "you have granted no key to '%s'", asset);
    while (st == EMAC_OK && (j = job_reading(c, asset)) != NULL)
        st = job_end(c, j, JOB_CANCELLED, "the owner of what it reads took back the key", err);
    return st;
}

enum emac_status private_revoke_post(void *ctx, const struct http_request *req,
                                     struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX], text[CID_TEXT_MAX];
    struct cid asset;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    EMAC_TRY(st, cid_parse(&asset, http_path_param(req, "cid"), err));
    cid_text(text, &asset);
    os_mutex_lock(&c->lock);
    st = revoke(c, text, did, err);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = key_reply(res, &asset, "revoked", err);
out:
    return st;
}

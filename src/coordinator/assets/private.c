#include "coordinator/assets/private.h"

#include <string.h>

#include "coordinator/assets/assets.h"
#include "work/corpus.h"
#include "work/dataset.h"

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

/* ---- what is private ---- */

static enum emac_status list_add(struct coordinator *c, const struct cid *cid,
                                 struct private_list *out, struct emac_err *err)
{
    EMAC_ASSERT(out->count < PRIVATE_ASSETS_MAX);
    enum emac_status st = sealed_load(c->depot, cid, &out->sealed[out->count], err);
    out->cid[out->count] = *cid;
    out->count += st == EMAC_OK;
    return st;
}

enum emac_status private_list(struct coordinator *c, const struct cid *data,
                              struct private_list *out, struct emac_err *err)
{
    struct dataset d;
    struct corpus corpus;
    *out = (struct private_list){0};
    if (!sealed_is(data))
        return EMAC_OK;
    if (corpus_load(c->depot, data, &corpus, NULL) == EMAC_OK)
        return sealed_is(&corpus.file) ? list_add(c, &corpus.file, out, err) : EMAC_OK;
    enum emac_status st = EMAC_OK;
    if (dataset_load(c->depot, data, &d, NULL) == EMAC_OK) {
        for (int i = 0; i < DATASET_PARTS && st == EMAC_OK; i++)
            if (d.split[i].records > 0 && sealed_is(&d.split[i].file))
                st = list_add(c, &d.split[i].file, out, err);
    }
    dataset_release(&d);
    return st;
}

enum emac_status private_publish_check(struct coordinator *c, const struct cid *data,
                                       const char *did, struct emac_err *err)
{
    struct private_list list;
    enum emac_status st = private_list(c, data, &list, err);
    for (uint32_t i = 0; i < list.count && st == EMAC_OK; i++)
        if (strcmp(list.sealed[i].owner, did) != 0)
            st = emac_fail(err, EMAC_FORBIDDEN, "the data are private and belong to '%s'",
                           list.sealed[i].owner);
    return st;
}

/* ---- jobs ---- */

static enum emac_status key_read(struct coordinator *c, const struct cid *asset,
                                 struct sealed_key *out, struct emac_err *err)
{
    struct db_stmt *q;
    char text[CID_TEXT_MAX];
    bool row = false;
    cid_text(text, asset);
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT box FROM private_keys WHERE asset = ?"
                                   " AND state = 'granted'",
                                   "t", text);
    if (st == EMAC_OK)
        st = db_next(q, &row, err);
    if (st != EMAC_OK)
        return st;
    if (!row)
        return emac_fail(err, EMAC_NOT_FOUND,
                         "the data '%s' are private and their key is not granted: their owner does "
                         "so by 'emac data keys grant'",
                         text);
    st = box_open(c, asset, db_blob(q, 0), out, err);
    db_done(q);
    return st;
}

static bool is_licensed(struct coordinator *c, const struct cid *data, const char *owner)
{
    struct asset a;
    return asset_find(c, data, &a, NULL) == EMAC_OK && strcmp(a.licence.owner, owner) == 0;
}

enum emac_status private_job_check(struct coordinator *c, const struct job *job,
                                   struct emac_err *err)
{
    struct private_list list;
    struct sealed_key key;
    enum emac_status st = private_list(c, &job->data, &list, err);
    for (uint32_t i = 0; i < list.count && st == EMAC_OK; i++) {
        const char *owner = list.sealed[i].owner;
        if (strcmp(owner, job->owner) != 0 && !is_licensed(c, &job->data, owner))
            return emac_fail(err, EMAC_FORBIDDEN,
                             "the data are private and '%s' has published no licence for them",
                             owner);
        st = key_read(c, &list.cid[i], &key, err);
        crypto_wipe(&key, sizeof(key));
    }
    return st;
}

enum emac_status private_job_write(struct coordinator *c, const char *id, const struct job *job,
                                   struct emac_err *err)
{
    struct private_list list;
    enum emac_status st = private_list(c, &job->data, &list, err);
    for (uint32_t i = 0; i < list.count && st == EMAC_OK; i++) {
        char text[CID_TEXT_MAX];
        struct sealed_key key;
        cid_text(text, &list.cid[i]);
        st = key_read(c, &list.cid[i], &key, err); /* it may have been taken back meanwhile */
        crypto_wipe(&key, sizeof(key));
        if (st != EMAC_OK)
            return st;
        st = db_exec(c->db, err,
                     "INSERT INTO job_private (job, asset) VALUES (?, ?) ON CONFLICT DO NOTHING",
                     "tt", id, text);
    }
    return st;
}

static enum emac_status key_box(struct coordinator *c, const struct lease *l,
                                const struct cid *asset, json_t *out, struct emac_err *err)
{
    struct sealed_key key = {0};
    struct emac_buf box;
    char text[CID_TEXT_MAX];
    enum emac_status st;
    emac_buf_init(&box, SEALED_BOX_MAX);
    EMAC_TRY(st, key_read(c, asset, &key, err));
    emac_strcpy(key.purpose, sizeof(key.purpose), l->id);
    EMAC_TRY(st, sealed_key_box(&key, l->node->did, &box, err));
    cid_text(text, asset);
    json_object_set_new(out, text, api_base64(box.data, box.len));
out:
    crypto_wipe(&key, sizeof(key));
    emac_buf_release(&box);
    return st;
}

bool private_task(struct coordinator *c, const char *job, const struct task *t)
{
    int64_t count = 0;
    return task_input_find(t, "data") != NULL &&
           db_one_i64(c->db, &count, NULL, "SELECT COUNT(*) FROM job_private WHERE job = ?", "t",
                      job) == EMAC_OK &&
           count > 0;
}

enum emac_status private_lease_keys(struct coordinator *c, const struct lease *l, json_t **out,
                                    struct emac_err *err)
{
    struct db_stmt *q;
    struct cid asset[PRIVATE_ASSETS_MAX];
    uint32_t count = 0;
    bool row = false;
    *out = NULL;
    if (task_input_find(&l->task->task, "data") == NULL)
        return EMAC_OK;
    enum emac_status st =
        db_query(c->db, &q, err, "SELECT asset FROM job_private WHERE job = ? ORDER BY asset", "t",
                 l->job->id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        EMAC_ASSERT(count < PRIVATE_ASSETS_MAX); /* private_job_write wrote them */
        asset[count++] = cid_from_text(db_text(q, 0));
    }
    if (st != EMAC_OK || count == 0)
        return st;
    *out = json_object();
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++)
        st = key_box(c, l, &asset[i], *out, err);
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
        st = emac_fail(err, EMAC_FORBIDDEN, "the data are private and belong to '%s'", s.owner);
    if (st == EMAC_OK)
        st = box_open(c, asset, *box, &key, err);
    if (st == EMAC_OK && !sealed_key_fits(&s, key.key))
        st = emac_fail(err, EMAC_INVALID, "the key is not that of the data");
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
        st = job_end(c, j, JOB_CANCELLED, "the owner of its data took back their key", err);
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

#include "cli/data_sealed.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "work/base.h"

#define KEY_FILE_MAX 256

/* ---- keys at home ---- */

enum emac_status data_private_path(struct cli *c, const char *name, char out[OS_PATH_MAX])
{
    char dir[OS_PATH_MAX];
    enum emac_status st = cli_home_path(c, "private", dir, sizeof dir);
    if (st == EMAC_OK)
        st = c->os->dir_make(c->os, dir, &c->err);
    if (st == EMAC_OK && snprintf(out, OS_PATH_MAX, "%s/%s", dir, name) >= OS_PATH_MAX)
        st = emac_fail(&c->err, EMAC_INVALID, "the path '%.100s...' is too long", dir);
    return st;
}

static enum emac_status key_save(struct cli *c, const struct cid *cid,
                                 const uint8_t key[SEAL_KEY_BYTES])
{
    char name[CID_TEXT_MAX], path[OS_PATH_MAX], hex[2 * SEAL_KEY_BYTES + 1];
    cid_text(name, cid);
    enum emac_status st = data_private_path(c, name, path);
    if (st != EMAC_OK)
        return st;
    emac_hex(hex, key, SEAL_KEY_BYTES);
    st = c->os->file_write(c->os, path, hex, strlen(hex), 0600, &c->err);
    crypto_wipe(hex, sizeof hex);
    return st;
}

static enum emac_status key_load(struct cli *c, const struct cid *cid, uint8_t key[SEAL_KEY_BYTES])
{
    char name[CID_TEXT_MAX], path[OS_PATH_MAX];
    struct emac_buf text;
    cid_text(name, cid);
    enum emac_status st = data_private_path(c, name, path);
    if (st != EMAC_OK)
        return st;
    emac_buf_init(&text, KEY_FILE_MAX);
    st = c->os->file_read(c->os, path, &text, &c->err);
    if (st == EMAC_NOT_FOUND) {
        st = emac_fail(&c->err, EMAC_FORBIDDEN,
                       "'%s' is private and its key is not here: it would be '%s'", name, path);
    } else if (st == EMAC_OK) {
        char *hex = (char *)text.data;
        hex[strcspn(hex, "\n")] = 0;
        if (!emac_unhex(key, SEAL_KEY_BYTES, hex))
            st = emac_fail(&c->err, EMAC_CORRUPT, "'%s' is not a key of private data", path);
    }
    if (text.len > 0)
        crypto_wipe(text.data, text.len);
    emac_buf_release(&text);
    return st;
}

/* The sealed file and the key to it. */
static enum emac_status both_load(struct cli *c, struct store *s, const struct cid *cid,
                                  struct sealed *out, uint8_t key[SEAL_KEY_BYTES])
{
    char name[CID_TEXT_MAX];
    enum emac_status st = sealed_load(s, cid, out, &c->err);
    if (st == EMAC_OK)
        st = key_load(c, cid, key);
    if (st != EMAC_OK || sealed_key_fits(out, key))
        return st;
    cid_text(name, cid);
    return emac_fail(&c->err, EMAC_CORRUPT, "the key kept for '%s' is another one's", name);
}

/* ---- sealing and opening ---- */

enum emac_status data_seal(struct cli *c, struct store *s, const struct sealed_source *from,
                           struct cid *cid, uint64_t *size)
{
    uint8_t key[SEAL_KEY_BYTES];
    enum emac_status st = cli_identity(c);
    if (st != EMAC_OK)
        return st;
    c->os->entropy(c->os, key, sizeof key);
    st = sealed_add(s, from, c->identity.did, key, cid, size, &c->err);
    if (st == EMAC_OK)
        st = key_save(c, cid, key);
    if (st == EMAC_OK)
        st = store_pin(s, "data", cid, &c->err);
    crypto_wipe(key, sizeof key);
    return st;
}

enum emac_status data_unseal(struct cli *c, struct store *s, const struct cid *cid,
                             const char *path)
{
    struct sealed sealed;
    uint8_t key[SEAL_KEY_BYTES];
    enum emac_status st = both_load(c, s, cid, &sealed, key);
    if (st == EMAC_OK)
        st = sealed_file_export(s, c->os, cid, key, path, &c->err);
    crypto_wipe(key, sizeof key);
    return st;
}

/* ---- for tasks ---- */

static enum emac_status parts_keys(struct cli *c, struct store *s, const struct sealed_parts *parts,
                                   struct sealed_ring *keys)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < parts->count && st == EMAC_OK; i++) {
        struct sealed sealed;
        uint8_t key[SEAL_KEY_BYTES];
        st = both_load(c, s, &parts->at[i].cid, &sealed, key);
        if (st == EMAC_OK)
            st = sealed_ring_add(keys, &parts->at[i].cid, key, &c->err);
        crypto_wipe(key, sizeof key);
    }
    return st;
}

enum emac_status data_model_keys(struct cli *c, struct store *s, const struct cid *model,
                                 struct sealed_ring *keys)
{
    struct sealed_parts parts;
    enum emac_status st = sealed_parts_model(s, model, &parts, &c->err);
    return st == EMAC_OK ? parts_keys(c, s, &parts, keys) : st;
}

enum emac_status data_job_keys(struct cli *c, struct store *s, const struct job *job,
                               struct sealed_ring *keys)
{
    struct sealed_parts parts;
    enum emac_status st = sealed_parts_data(s, &job->data, &parts, &c->err);
    if (st == EMAC_OK)
        st = parts_keys(c, s, &parts, keys);
    return st == EMAC_OK && job_has_base(job) ? data_model_keys(c, s, &job->base, keys) : st;
}

enum emac_status data_task_keys(struct cli *c, struct store *s, const struct task *t,
                                struct sealed_ring *keys)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < t->input_count && st == EMAC_OK; i++) {
        struct sealed_parts parts;
        st = sealed_parts_data(s, &t->input[i].cid, &parts, &c->err);
        if (st == EMAC_OK)
            st = parts_keys(c, s, &parts, keys);
    }
    return st;
}

/* ---- emac data keys ---- */

struct listing {
    struct cli *c;
    json_t *list, *there; /* there: what the coordinator says, NULL when it was not asked */
};

static const char *state_of(json_t *there, const char *name)
{
    json_t *k;
    size_t i;
    json_array_foreach(json_object_get(there, "keys"), i, k)
    {
        if (strcmp(cli_str(k, "asset"), name) == 0)
            return cli_str(k, "state");
    }
    return there == NULL ? "here" : "not granted";
}

static enum emac_status key_say(void *ctx, const char *name)
{
    struct listing *l = ctx;
    struct cid cid;
    if (cid_parse(&cid, name, NULL) != EMAC_OK)
        return EMAC_OK;
    const char *state = state_of(l->there, name);
    cli_say(l->c, "%s %s", name, state);
    json_array_append_new(l->list, json_pack("{s:s,s:s}", "cid", name, "state", state));
    return EMAC_OK;
}

static enum emac_status keys_list(struct cli *c)
{
    struct listing l = {.c = c, .list = json_array()};
    char dir[OS_PATH_MAX];
    enum emac_status st = cli_home_path(c, "private", dir, sizeof dir);
    if (st == EMAC_OK && c->url_given)
        st = cli_call(c, "GET", "/v1/private", NULL, true, &l.there);
    if (st == EMAC_OK)
        st = c->os->dir_list(c->os, dir, key_say, &l, &c->err);
    if (st == EMAC_NOT_FOUND)
        st = EMAC_OK;
    if (json_array_size(l.list) == 0 && st == EMAC_OK)
        cli_say(c, "no private data: 'emac data add FILE --private' makes some");
    json_decref(l.there);
    if (st == EMAC_OK)
        cli_result(c, json_pack("{s:O}", "keys", l.list));
    json_decref(l.list);
    return st;
}

static enum emac_status key_send(struct cli *c, const char *name, const struct emac_buf *box,
                                 json_t **reply)
{
    char path[CID_TEXT_MAX + 16], text[EMAC_BASE64_LEN(SEALED_BOX_MAX) + 1];
    snprintf(path, sizeof path, "/v1/private/%s", name);
    emac_base64(text, box->data, box->len);
    return cli_post(c, path, json_pack("{s:s}", "box", text), reply);
}

/* The sealed files that belong to an asset: not those of a base it rests on. */
static enum emac_status own_parts(struct cli *c, struct store *s, const struct cid *asset,
                                  const char *name, struct sealed_parts *out)
{
    uint32_t own = 0;
    enum emac_status st = sealed_parts(s, asset, out, &c->err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < out->count; i++)
        if (cid_equal(&out->at[i].of, asset))
            out->at[own++] = out->at[i];
    out->count = own;
    return own > 0 ? EMAC_OK : emac_fail(&c->err, EMAC_INVALID, "nothing of '%s' is private", name);
}

static enum emac_status part_grant(struct cli *c, struct store *s, const struct cid *cid,
                                   const char *broker)
{
    struct sealed_key k = {.purpose = SEALED_FOR_BROKER, .asset = *cid};
    struct sealed sealed;
    struct emac_buf box;
    json_t *reply = NULL;
    char name[CID_TEXT_MAX];
    enum emac_status st;
    cid_text(name, cid);
    emac_buf_init(&box, SEALED_BOX_MAX);
    EMAC_TRY(st, both_load(c, s, &k.asset, &sealed, k.key));
    EMAC_TRY(st, sealed_key_box(&k, broker, &box, &c->err));
    st = key_send(c, name, &box, &reply);
out:
    crypto_wipe(&k, sizeof k);
    emac_buf_release(&box);
    json_decref(reply);
    return st;
}

static enum emac_status key_grant(struct cli *c, struct store *s, const char *name)
{
    struct sealed_parts parts;
    struct cid asset;
    json_t *broker = NULL;
    enum emac_status st;
    EMAC_TRY(st, cid_parse(&asset, name, &c->err));
    EMAC_TRY(st, own_parts(c, s, &asset, name, &parts));
    EMAC_TRY(st, cli_push(c, s, &asset));
    EMAC_TRY(st, cli_call(c, "GET", "/v1/private", NULL, true, &broker));
    for (uint32_t i = 0; i < parts.count; i++)
        EMAC_TRY(st, part_grant(c, s, &parts.at[i].cid, cli_str(broker, "broker")));
    cli_say(c, "the coordinator may hand the key of '%s' to rigs with a lease", name);
    cli_result(c, json_pack("{s:s,s:s}", "asset", name, "state", "granted"));
out:
    json_decref(broker);
    return st;
}

static enum emac_status part_revoke(struct cli *c, const struct cid *cid)
{
    char name[CID_TEXT_MAX], path[CID_TEXT_MAX + 32];
    json_t *reply = NULL;
    cid_text(name, cid);
    snprintf(path, sizeof path, "/v1/private/%s/revoke", name);
    enum emac_status st = cli_call(c, "POST", path, json_object(), true, &reply);
    json_decref(reply);
    return st;
}

static enum emac_status key_revoke(struct cli *c, struct store *s, const char *name)
{
    struct sealed_parts parts;
    struct cid asset;
    enum emac_status st;
    EMAC_TRY(st, cid_parse(&asset, name, &c->err));
    if (!sealed_is(&asset) || store_block_has(s, &asset, NULL)) {
        EMAC_TRY(st, own_parts(c, s, &asset, name, &parts));
    } else { /* its block is not needed */
        parts.count = 1;
        parts.at[0].cid = asset;
    }
    for (uint32_t i = 0; i < parts.count; i++)
        EMAC_TRY(st, part_revoke(c, &parts.at[i].cid));
    cli_say(c, "the coordinator has no key of '%s' any more; jobs that ran on it are ended", name);
    cli_result(c, json_pack("{s:s,s:s}", "asset", name, "state", "revoked"));
out:
    return st;
}

enum emac_status data_keys(struct cli *c, struct store *s, const char *action, const char *name)
{
    if (action == NULL || strcmp(action, "list") == 0)
        return keys_list(c);
    bool grant = strcmp(action, "grant") == 0;
    if (!grant && strcmp(action, "revoke") != 0)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': data keys knows list, grant and revoke", action);
    if (name == NULL)
        return emac_fail(&c->err, EMAC_INVALID, "data keys %s takes the CID of private data",
                         action);
    return grant ? key_grant(c, s, name) : key_revoke(c, s, name);
}

#include "cli/data_sealed.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "work/corpus.h"
#include "work/dataset.h"

#define KEY_FILE_MAX 256

/* ---- keys at home ---- */

static enum emac_status key_path(struct cli *c, const char *name, char out[OS_PATH_MAX])
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
    enum emac_status st = key_path(c, name, path);
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
    enum emac_status st = key_path(c, name, path);
    if (st != EMAC_OK)
        return st;
    emac_buf_init(&text, KEY_FILE_MAX);
    st = c->os->file_read(c->os, path, &text, &c->err);
    if (st == EMAC_NOT_FOUND) {
        st = emac_fail(&c->err, EMAC_FORBIDDEN,
                       "'%s' is private and its key is not in '%s/private'", name, c->home);
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

static enum emac_status job_key_add(struct cli *c, struct store *s, const struct cid *cid,
                                    struct exec_key key[EXEC_KEYS_MAX], uint32_t *count)
{
    struct sealed sealed;
    EMAC_ASSERT(*count < EXEC_KEYS_MAX);
    key[*count].asset = *cid;
    return both_load(c, s, cid, &sealed, key[(*count)++].key);
}

static enum emac_status dataset_keys(struct cli *c, struct store *s, const struct dataset *d,
                                     struct exec_key key[EXEC_KEYS_MAX], uint32_t *count)
{
    enum emac_status st = EMAC_OK;
    for (int i = 0; i < DATASET_PARTS && st == EMAC_OK; i++)
        if (d->split[i].records > 0 && sealed_is(&d->split[i].file))
            st = job_key_add(c, s, &d->split[i].file, key, count);
    return st;
}

enum emac_status data_job_keys(struct cli *c, struct store *s, const struct job *job,
                               struct exec_key key[EXEC_KEYS_MAX], uint32_t *count)
{
    struct dataset d;
    *count = 0;
    if (!job_on_records(job)) {
        struct corpus corpus;
        enum emac_status found = corpus_load(s, &job->data, &corpus, &c->err);
        if (found == EMAC_OK && sealed_is(&corpus.file))
            found = job_key_add(c, s, &corpus.file, key, count);
        return found;
    }
    enum emac_status st = dataset_load(s, &job->data, &d, &c->err);
    if (st == EMAC_OK)
        st = dataset_keys(c, s, &d, key, count);
    dataset_release(&d);
    return st;
}

enum emac_status data_task_keys(struct cli *c, struct store *s, const struct task *t,
                                struct exec_key key[EXEC_KEYS_MAX], uint32_t *count)
{
    const struct cid *data = task_input_find(t, "data");
    struct sealed sealed;
    struct dataset d;
    enum emac_status st = EMAC_OK;
    *count = 0;
    if (data == NULL || !sealed_is(data))
        return EMAC_OK;
    if (sealed_load(s, data, &sealed, NULL) == EMAC_OK)
        return job_key_add(c, s, data, key, count);
    if (dataset_load(s, data, &d, NULL) == EMAC_OK)
        st = dataset_keys(c, s, &d, key, count);
    dataset_release(&d);
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

static enum emac_status key_grant(struct cli *c, struct store *s, const char *name)
{
    struct sealed_key k = {.purpose = SEALED_FOR_BROKER};
    struct sealed sealed;
    struct emac_buf box;
    json_t *broker = NULL, *reply = NULL;
    enum emac_status st;
    emac_buf_init(&box, SEALED_BOX_MAX);
    EMAC_TRY(st, cid_parse(&k.asset, name, &c->err));
    EMAC_TRY(st, both_load(c, s, &k.asset, &sealed, k.key));
    EMAC_TRY(st, cli_push(c, s, &k.asset));
    EMAC_TRY(st, cli_call(c, "GET", "/v1/private", NULL, true, &broker));
    EMAC_TRY(st, sealed_key_box(&k, cli_str(broker, "broker"), &box, &c->err));
    EMAC_TRY(st, key_send(c, name, &box, &reply));
    cli_say(c, "the coordinator may hand the key of '%s' to rigs with a lease", name);
    cli_result(c, reply);
out:
    crypto_wipe(&k, sizeof k);
    emac_buf_release(&box);
    json_decref(broker);
    return st;
}

static enum emac_status key_revoke(struct cli *c, const char *name)
{
    struct cid cid;
    char path[CID_TEXT_MAX + 32];
    json_t *reply = NULL;
    enum emac_status st = cid_parse(&cid, name, &c->err);
    if (st != EMAC_OK)
        return st;
    snprintf(path, sizeof path, "/v1/private/%s/revoke", name);
    st = cli_call(c, "POST", path, json_object(), true, &reply);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "the coordinator has no key of '%s' any more; jobs that ran on it are ended", name);
    cli_result(c, reply);
    return EMAC_OK;
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
    return grant ? key_grant(c, s, name) : key_revoke(c, name);
}

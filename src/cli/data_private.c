#include "cli/data_private.h"

#include <stdlib.h>
#include <string.h>

#include "cli/data_tokens.h"
#include "node/private.h"
#include "os/process.h"
#include "work/shards.h"

#define KEEP_MEMORY (64u << 20)

static enum emac_status rig_store(struct cli *c, const char *dir, struct store **out)
{
    char *path = emac_asprintf("%s/store", dir);
    const struct store_config cfg = {
        .os = c->os, .dir = path, .memory_quota = KEEP_MEMORY, .hash_threads = os_cpu_count()};
    enum emac_status st = store_open(&cfg, out, &c->err);
    free(path);
    return st;
}

/* Its key is made on first use, so that data may be kept before the rig ever runs. */
static enum emac_status rig_did(struct cli *c, const char *dir, char did[DID_KEY_MAX])
{
    struct identity id;
    char *path = emac_asprintf("%s/node.key", dir);
    enum emac_status st = identity_load_or_create(c->os, path, &id, &c->err);
    if (st == EMAC_OK) {
        memcpy(did, id.did, DID_KEY_MAX);
        identity_release(&id);
    }
    free(path);
    return st;
}

/* What a line of a manifest says of it. Only the ids of a token set are the owner's own: its
 * tokenizer is everybody's. */
static enum emac_status shard_keep(struct cli *c, struct store *s, const char *dir,
                                   const char *path, const char *tokenizer, struct shard *out)
{
    struct corpus corpus;
    enum emac_status st;
    if (tokenizer == NULL)
        return private_keep(c->os, dir, s, path, &out->cid, &out->size, &c->err);
    EMAC_TRY(st, data_tokenize(c, s, path, tokenizer, false, &corpus, &out->cid));
    out->size = corpus_bytes(&corpus);
    out->tokenizer = corpus.tokenizer;
    st = private_note(c->os, dir, s, &corpus.file, &out->cid, &c->err);
out:
    return st;
}

static void shard_say(struct cli *c, const struct shard *shard)
{
    char cid[CID_TEXT_MAX], tokenizer[CID_TEXT_MAX] = "";
    bool tokens = !cid_is_none(&shard->tokenizer);
    cid_text(cid, &shard->cid);
    if (tokens)
        cid_text(tokenizer, &shard->tokenizer);
    cli_say(c, "%s,%llu,%s%s%s", cid, (unsigned long long)shard->size, shard->owner,
            tokens ? "," : "", tokenizer);
    json_t *o = json_pack("{s:s,s:I,s:s}", "cid", cid, "size", (json_int_t)shard->size, "owner",
                          shard->owner);
    if (tokens)
        json_object_set_new(o, "tokenizer", json_string(tokenizer));
    cli_result(c, o);
}

enum emac_status data_keep(struct cli *c, const char *given, const char *path,
                           const char *tokenizer)
{
    struct store *s = NULL;
    struct shard shard = {0};
    char dir[OS_PATH_MAX];
    enum emac_status st;
    if (given == NULL)
        EMAC_TRY(st, cli_home_path(c, "node", dir, sizeof dir));
    else if (!emac_strcpy(dir, sizeof dir, given))
        return emac_fail(&c->err, EMAC_INVALID, "the path '%s' is too long", given);
    EMAC_TRY(st, c->os->dir_make(c->os, dir, &c->err));
    EMAC_TRY(st, rig_did(c, dir, shard.owner));
    EMAC_TRY(st, rig_store(c, dir, &s));
    EMAC_TRY(st, shard_keep(c, s, dir, path, tokenizer, &shard));
    shard_say(c, &shard);
out:
    if (s != NULL)
        store_close(s);
    return st;
}

static enum emac_status line_take(struct cli *c, struct shards *list, const char *line)
{
    if (list->count == SHARDS_MAX)
        return emac_fail(&c->err, EMAC_INVALID, "more than %u shards", SHARDS_MAX);
    return shard_parse(&list->at[list->count++], line, &c->err);
}

enum emac_status data_shards(struct cli *c, struct store *s, const char *path, struct cid *cid,
                             uint64_t *size)
{
    struct shards list = {0};
    struct emac_buf text, block;
    char *all = NULL, *save = NULL;
    enum emac_status st;
    emac_buf_init(&text, SHARDS_BYTES_MAX);
    emac_buf_init(&block, SHARDS_BYTES_MAX);
    EMAC_TRY(st, c->os->file_read(c->os, path, &text, &c->err));
    all = emac_strndup(emac_buf_str(&text), text.len);
    for (char *line = strtok_r(all, " \t\r\n", &save); line != NULL;
         line = strtok_r(NULL, " \t\r\n", &save))
        EMAC_TRY(st, line_take(c, &list, line));
    EMAC_TRY(st, shards_encode(&list, &block, NULL, &c->err));
    EMAC_TRY(st, store_block_put(s, CID_DAG_CBOR, block.data, block.len, cid, &c->err));
    EMAC_TRY(st, store_pin(s, "data", cid, &c->err));
    *size = shards_size(&list);
out:
    free(all);
    emac_buf_release(&text);
    emac_buf_release(&block);
    return st;
}

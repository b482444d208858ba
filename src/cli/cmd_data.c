#include <string.h>

#include "cli/cli.h"
#include "cli/data_car.h"
#include "cli/data_import.h"
#include "cli/data_private.h"
#include "cli/data_sealed.h"
#include "cli/data_tokens.h"
#include "work/dataset.h"

/* The end of add and import: pushed when a coordinator is named, and said. */
static enum emac_status added(struct cli *c, struct store *s, const struct cid *cid, uint64_t size)
{
    char text[CID_TEXT_MAX];
    if (c->url_given) {
        enum emac_status st = cli_push(c, s, cid);
        if (st != EMAC_OK)
            return st;
    }
    cid_text(text, cid);
    cli_say(c, "%s", text);
    cli_result(c, json_pack("{s:s,s:I,s:b}", "cid", text, "size", (json_int_t)size, "pushed",
                            c->url_given));
    return EMAC_OK;
}

static enum emac_status data_add(struct cli *c, struct store *s, const char *path, bool is_private)
{
    struct cid cid;
    uint64_t size = 0;
    enum emac_status st;
    if (is_private) {
        const struct sealed_source from = {.os = c->os, .path = path};
        st = data_seal(c, s, &from, &cid, &size);
        return st == EMAC_OK ? added(c, s, &cid, size) : st;
    }
    st = store_file_add(s, path, &cid, &size, &c->err);
    if (st == EMAC_OK)
        st = store_pin(s, "data", &cid, &c->err);
    return st == EMAC_OK ? added(c, s, &cid, size) : st;
}

static enum emac_status data_get(struct cli *c, struct store *s, const char *name, const char *path)
{
    struct cid cid;
    uint64_t size = 0;
    enum emac_status st = cid_parse(&cid, name, &c->err);
    if (st == EMAC_OK && !path)
        st = emac_fail(&c->err, EMAC_INVALID, "where to? add -o FILE");
    if (st == EMAC_OK)
        st = cli_fetch(c, s, &cid);
    if (st == EMAC_OK)
        st = sealed_file_size(s, &cid, &size, &c->err);
    if (st == EMAC_OK)
        st = sealed_is(&cid) ? data_unseal(c, s, &cid, path)
                             : store_file_export(s, &cid, path, &c->err);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "wrote %llu bytes to %s", (unsigned long long)size, path);
    cli_result(c, json_pack("{s:s,s:I,s:s}", "cid", name, "size", (json_int_t)size, "path", path));
    return EMAC_OK;
}

static enum emac_status shards(struct cli *c, struct store *s, const char *path)
{
    struct cid cid;
    uint64_t size = 0;
    enum emac_status st = data_shards(c, s, path, &cid, &size);
    return st == EMAC_OK ? added(c, s, &cid, size) : st;
}

static enum emac_status import(struct cli *c, struct store *s, const struct import_args *a,
                               const char *car)
{
    struct cid cid;
    struct dataset d;
    uint64_t size = 0;
    enum emac_status st;
    if (car != NULL) {
        st = data_import_car(c, s, car, &cid, &size);
        return st == EMAC_OK ? added(c, s, &cid, size) : st;
    }
    st = data_import(c, s, a, &cid);
    if (st != EMAC_OK)
        return st;
    st = dataset_load(s, &cid, &d, &c->err);
    if (st == EMAC_OK)
        st = added(c, s, &cid, dataset_bytes(&d));
    dataset_release(&d);
    return st;
}

static enum emac_status tokenize(struct cli *c, struct store *s, const char *path,
                                 const char *tokenizer, bool is_private)
{
    struct corpus corpus;
    struct cid cid;
    enum emac_status st = data_tokenize(c, s, path, tokenizer, is_private, &corpus, &cid);
    if (st != EMAC_OK)
        return st;
    cli_progress(c, "%llu tokens of a text of %llu bytes", (unsigned long long)corpus.tokens,
                 (unsigned long long)corpus.text);
    return added(c, s, &cid, corpus_bytes(&corpus));
}

static enum emac_status show(struct cli *c, struct store *s, const char *name)
{
    struct corpus corpus;
    struct cid cid;
    enum emac_status st;
    EMAC_TRY(st, cid_parse(&cid, name, &c->err));
    if (cid.codec == CID_DAG_CBOR && !store_block_has(s, &cid, NULL))
        EMAC_TRY(st, cli_fetch(c, s, &cid));
    if (corpus_load(s, &cid, &corpus, NULL) == EMAC_OK && corpus.width > 1)
        data_tokens_show(c, &corpus);
    else
        st = data_show(c, s, &cid);
out:
    return st;
}

enum data_action {
    ADD,
    GET,
    IMPORT,
    TOKENIZE,
    SHOW,
    KEEP,
    SHARDS,
    PIECE,
    EXPORT,
    KEYS,
    DATA_ACTIONS
};
static const char *const ACTIONS[DATA_ACTIONS] = {"add",  "get",    "import", "tokenize", "show",
                                                  "keep", "shards", "piece",  "export",   "keys"};

/* The action, and that it has what it takes. */
static enum emac_status action_find(struct cli *c, const char *const *pos, enum data_action *out)
{
    unsigned action = 0;
    while (action < DATA_ACTIONS && strcmp(pos[0], ACTIONS[action]) != 0)
        action++;
    *out = (enum data_action)action;
    if (action == DATA_ACTIONS)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': data knows add, get, import, tokenize, show, keep, "
                         "shards, piece, export and keys",
                         pos[0]);
    if (pos[2] != NULL && action != KEYS)
        return emac_fail(&c->err, EMAC_INVALID,
                         "too many arguments at '%s'; where a file goes is said by -o", pos[2]);
    if (action != KEYS && (pos[1] == NULL) != (action == IMPORT))
        return emac_fail(&c->err, EMAC_INVALID,
                         action == IMPORT
                             ? "import takes its files as options: --csv FILE, --car FILE, or "
                               "--images FILE --labels FILE"
                             : "'emac data %s' needs a file or a CID",
                         pos[0]);
    return EMAC_OK;
}

enum emac_status cmd_data(struct cli *c, int argc, char **argv)
{
    const char *out = NULL, *dir = NULL, *car = NULL, *tokenizer = NULL;
    struct import_args a = {0};
    const struct cli_option options[] = {
        {"output", 'o', OPT_TEXT, &out},
        {"dir", 0, OPT_TEXT, &dir},
        {"car", 0, OPT_TEXT, &car},
        {"tokenizer", 0, OPT_TEXT, &tokenizer},
        {"images", 0, OPT_TEXT, &a.images},
        {"labels", 0, OPT_TEXT, &a.labels},
        {"test-images", 0, OPT_TEXT, &a.test_images},
        {"test-labels", 0, OPT_TEXT, &a.test_labels},
        {"classes", 0, OPT_TEXT, &a.classes},
        {"only", 0, OPT_TEXT, &a.only},
        {"per-class", 0, OPT_U64, &a.per_class},
        {"csv", 0, OPT_TEXT, &a.csv},
        {"test-csv", 0, OPT_TEXT, &a.test_csv},
        {"test-share", 0, OPT_F64, &a.test_share},
        {"label", 0, OPT_TEXT, &a.label},
        {"skip", 0, OPT_TEXT, &a.skip},
        {"private", 0, OPT_FLAG, &a.is_private},
    };
    const char *pos[CLI_POSITIONALS_MAX] = {0};
    enum data_action action;
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 1, 3);
    if (st != EMAC_OK)
        return st;
    st = action_find(c, pos, &action);
    if (st == EMAC_OK && a.is_private &&
        (car != NULL || (action != ADD && action != IMPORT && action != TOKENIZE)))
        st = emac_fail(&c->err, EMAC_INVALID,
                       "--private goes with add, tokenize, and with import of images or tables");
    if (st != EMAC_OK)
        return st;
    if (action == KEEP) /* in a rig's store, not in the user's */
        return data_keep(c, dir, pos[1], tokenizer);
    struct store *s = NULL;
    st = cli_store(c, &s);
    if (st != EMAC_OK)
        return st;
    switch (action) {
    case ADD:
        st = data_add(c, s, pos[1], a.is_private);
        break;
    case GET:
        st = data_get(c, s, pos[1], out);
        break;
    case IMPORT:
        st = import(c, s, &a, car);
        break;
    case TOKENIZE:
        st = tokenize(c, s, pos[1], tokenizer, a.is_private);
        break;
    case SHOW:
        st = show(c, s, pos[1]);
        break;
    case SHARDS:
        st = shards(c, s, pos[1]);
        break;
    case KEYS:
        st = data_keys(c, s, pos[1], pos[2]);
        break;
    case PIECE:
        st = data_piece(c, s, pos[1]);
        break;
    default:
        st = data_export(c, s, pos[1], out);
        break;
    }
    store_close(s);
    return st;
}

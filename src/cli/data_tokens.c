#include "cli/data_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cli/data_sealed.h"
#include "cli/model_dir.h"
#include "model/model_config.h"

/* ---- the tokenizer ---- */

static enum emac_status texts_load(struct cli *c, struct store *s, const char *name,
                                   struct model_texts *out)
{
    struct cid cid;
    enum emac_status st;
    if (cid_parse(&cid, name, NULL) != EMAC_OK) {
        st = model_dir_texts(c, name, out);
    } else {
        EMAC_TRY(st, cli_fetch(c, s, &cid));
        st = model_texts_read(s, &cid, out, &c->err);
    }
    if (st == EMAC_OK && model_text(out, MODEL_TOKENIZER)->len == 0)
        st = emac_fail(&c->err, EMAC_INVALID, "'%s' holds no '%s'", name,
                       model_file_name(MODEL_TOKENIZER));
out:
    return st;
}

/* A directory of the texts alone, so that the set does not carry a model with it. */
static enum emac_status texts_put(struct cli *c, struct store *s, struct model_texts *texts,
                                  struct cid *out)
{
    struct unixfs_link link[MODEL_TEXTS];
    struct emac_buf block;
    size_t count = 0;
    uint64_t tree;
    enum emac_status st = EMAC_OK;
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    for (int f = MODEL_TOKENIZER; f < MODEL_FILE_COUNT; f++) {
        const struct emac_buf *text = model_text(texts, (enum model_file)f);
        if (text->len == 0)
            continue;
        link[count].name = model_file_name((enum model_file)f);
        EMAC_TRY(st, store_bytes_add(s, emac_buf_slice(text), &link[count++], &c->err));
    }
    EMAC_TRY(st, unixfs_directory(link, count, &block, out, &tree, &c->err));
    st = store_block_put_as(s, out, block.data, block.len, &c->err);
out:
    emac_buf_release(&block);
    return st;
}

/* ---- the text ---- */

struct file_text {
    struct os *os;
    const char *path;
    uint64_t at, size;
};

static enum emac_status text_read(void *ctx, uint8_t *to, size_t cap, size_t *n,
                                  struct emac_err *err)
{
    struct file_text *f = ctx;
    *n = f->size - f->at < cap ? (size_t)(f->size - f->at) : cap;
    enum emac_status st = *n == 0 ? EMAC_OK : f->os->file_pread(f->os, f->path, f->at, to, *n, err);
    f->at += *n;
    return st;
}

static enum emac_status text_cut(struct cli *c, struct store *s, const char *path,
                                 struct corpus_source *from, struct corpus *out, struct cid *cid)
{
    struct file_text text = {.os = c->os, .path = path};
    enum emac_status st;
    EMAC_TRY(st, c->os->file_size(c->os, path, &text.size, &c->err));
    from->read = text_read;
    from->ctx = &text;
    st = corpus_tokenize(s, from, out, cid, &c->err);
out:
    return st == EMAC_OK ? st : emac_wrap(&c->err, "'%s'", path);
}

/* ---- private ids ---- */

/* How many there are is sealed with them, so they are written down first. */
struct private_ids {
    struct cli *c;
    struct store *s;
    char path[OS_PATH_MAX];
};

static enum emac_status ids_write(void *ctx, const uint8_t *ids, size_t n, struct emac_err *err)
{
    struct private_ids *p = ctx;
    return p->c->os->file_append(p->c->os, p->path, ids, n, 0600, err);
}

static enum emac_status ids_end(void *ctx, struct cid *file, struct emac_err *err)
{
    struct private_ids *p = ctx;
    const struct sealed_source from = {.os = p->c->os, .path = p->path};
    uint64_t size;
    EMAC_ASSERT(err == &p->c->err); /* where data_seal says what is wrong */
    return data_seal(p->c, p->s, &from, file, &size);
}

static enum emac_status text_cut_private(struct cli *c, struct store *s, const char *path,
                                         struct corpus_source *from, struct corpus *out,
                                         struct cid *cid)
{
    struct private_ids ids = {.c = c, .s = s};
    const struct corpus_sink sink = {ids_write, ids_end, &ids};
    enum emac_status st;
    EMAC_TRY(st, data_private_path(c, "tokens.part", ids.path));
    EMAC_TRY(st, c->os->file_write_fast(c->os, ids.path, "", 0, 0600, &c->err));
    from->sink = &sink;
    st = text_cut(c, s, path, from, out, cid);
    (void)c->os->file_remove(c->os, ids.path, NULL);
out:
    return st;
}

enum emac_status data_tokenize(struct cli *c, struct store *s, const char *path,
                               const char *tokenizer, bool is_private, struct corpus *out,
                               struct cid *cid)
{
    struct corpus_source from = {0};
    struct store_building building;
    struct model_texts texts;
    struct tokenizer *t = NULL;
    enum emac_status st;
    if (tokenizer == NULL)
        return emac_fail(&c->err, EMAC_INVALID,
                         "by which tokenizer? add --tokenizer DIR, or the CID of a model");
    model_texts_init(&texts);
    store_building_begin(s, &building);
    EMAC_TRY(st, texts_load(c, s, tokenizer, &texts));
    EMAC_TRY(st, tokenizer_read(emac_buf_slice(model_text(&texts, MODEL_TOKENIZER)), &t, &c->err));
    EMAC_TRY(st, texts_put(c, s, &texts, &from.directory));
    from.tokenizer = t;
    EMAC_TRY(st, is_private ? text_cut_private(c, s, path, &from, out, cid)
                            : text_cut(c, s, path, &from, out, cid));
    st = store_pin(s, "data", cid, &c->err);
out:
    store_building_end(s, &building);
    tokenizer_free(t);
    model_texts_release(&texts);
    return st;
}

enum emac_status data_tokens_bytes(struct cli *c, struct store *s, const struct cid *model,
                                   bool *bytes)
{
    struct model_config config;
    struct model_tree tree;
    struct emac_buf text;
    enum emac_status st;
    emac_buf_init(&text, MODEL_TEXT_MAX);
    EMAC_TRY(st, cli_fetch(c, s, model));
    EMAC_TRY(st, model_texts_find(s, model, &tree, &c->err));
    EMAC_TRY(st, model_tree_file(s, &tree, MODEL_CONFIG, &text, &c->err));
    EMAC_TRY(st, model_config_read(&config, emac_buf_slice(&text), &c->err));
    *bytes = config.is_classifier || config.llama.vocab_size == TOKENIZER_BYTES ||
             !model_tree_has(&tree, MODEL_TOKENIZER);
out:
    emac_buf_release(&text);
    return st;
}

/* ---- showing ---- */

void data_tokens_show(struct cli *c, const struct corpus *corpus)
{
    char file[CID_TEXT_MAX], tokenizer[CID_TEXT_MAX];
    cid_text(file, &corpus->file);
    cid_text(tokenizer, &corpus->tokenizer);
    cli_say(c, "tokens     %llu of %u bytes, vocabulary %u", (unsigned long long)corpus->tokens,
            corpus->width, corpus->vocab);
    cli_say(c, "text       %llu bytes, %.3f a token", (unsigned long long)corpus->text,
            (double)corpus->text / (double)corpus->tokens);
    cli_say(c, "file       %s", file);
    cli_say(c, "tokenizer  %s", tokenizer);
    cli_result(c, json_pack("{s:s,s:s,s:s,s:I,s:I,s:i,s:i}", "kind", "tokens", "file", file,
                            "tokenizer", tokenizer, "tokens", (json_int_t)corpus->tokens, "text",
                            (json_int_t)corpus->text, "vocab", (int)corpus->vocab, "width",
                            (int)corpus->width));
}

#include "cli/model_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/model_dir.h"
#include "cli/model_parts.h"
#include "model/language.h"
#include "model/to_gguf.h"
#include "model/tokenizer_to_gguf.h"
#include "os/process.h"

#define PIECE_BYTES ((size_t)4 << 20)

/* ---- where the weights are ---- */

/* One of: a file of the store, a file, a directory of parts, memory. */
struct origin {
    struct cli *c;
    struct model_files m; /* its weights are empty but where they are in memory */
    struct st_index idx;
    struct store *store;
    struct cid file;
    char *path;
    struct model_joined *joined;
};

static enum emac_status read_store(void *ctx, uint64_t offset, void *out, size_t n,
                                   struct emac_err *err)
{
    struct origin *o = ctx;
    return store_file_read(o->store, &o->file, offset, out, n, err);
}

static enum emac_status read_file(void *ctx, uint64_t offset, void *out, size_t n,
                                  struct emac_err *err)
{
    struct origin *o = ctx;
    return o->c->os->file_pread(o->c->os, o->path, offset, out, n, err);
}

static enum emac_status read_parts(void *ctx, uint64_t offset, void *out, size_t n,
                                   struct emac_err *err)
{
    struct origin *o = ctx;
    (void)err; /* the program's own, which the parts fill */
    return model_joined_read(o->joined, offset, out, n);
}

static enum emac_status read_memory(void *ctx, uint64_t offset, void *out, size_t n,
                                    struct emac_err *err)
{
    struct origin *o = ctx;
    (void)err;
    memcpy(out, o->m.weights.data + offset, n); /* what the index says is in the file */
    return EMAC_OK;
}

static struct weights_reader reader_of(struct origin *o)
{
    return (struct weights_reader){o->store != NULL    ? read_store
                                   : o->path != NULL   ? read_file
                                   : o->joined != NULL ? read_parts
                                                       : read_memory,
                                   o};
}

static void origin_close(struct origin *o)
{
    model_files_release(&o->m);
    st_index_release(&o->idx);
    store_close(o->store);
    free(o->path);
    model_joined_close(o->joined);
}

/* A whole public model of the store; `*is` false, and nothing opened, for another. */
static enum emac_status open_store(struct origin *o, const struct cid *cid, bool *is)
{
    struct emac_err *err = &o->c->err;
    struct model_tree m;
    struct store *s = NULL;
    enum emac_status st;
    EMAC_TRY(st, cli_store(o->c, &s));
    EMAC_TRY(st, cli_fetch(o->c, s, cid));
    EMAC_TRY(st, model_tree_read(s, cid, &m, err));
    *is = model_tree_has(&m, MODEL_WEIGHTS) && !model_tree_is_private(&m);
    if (!*is)
        goto out;
    EMAC_TRY(st, model_tree_file(s, &m, MODEL_CONFIG, &o->m.config, err));
    EMAC_TRY(st, model_texts_read(s, cid, &o->m.texts, err));
    o->file = m.file[MODEL_WEIGHTS];
    EMAC_TRY(st, model_tree_index(s, &o->file, &o->idx, err));
    o->store = s;
    s = NULL;
out:
    store_close(s);
    return st;
}

static enum emac_status open_dir(struct origin *o, const char *dir, bool *is)
{
    struct cli *c = o->c;
    char *weights = emac_asprintf("%s/%s", dir, model_file_name(MODEL_WEIGHTS));
    char *config = emac_asprintf("%s/%s", dir, model_file_name(MODEL_CONFIG));
    uint64_t size;
    enum emac_status st = EMAC_OK;
    bool one = c->os->file_size(c->os, weights, &size, NULL) == EMAC_OK;
    *is = one || model_parts_there(c, dir);
    if (!*is)
        goto out;
    EMAC_TRY(st, c->os->file_read(c->os, config, &o->m.config, &c->err));
    EMAC_TRY(st, model_dir_texts(c, dir, &o->m.texts));
    if (one) {
        EMAC_TRY(st, model_parts_header(c, weights, &o->idx));
        o->path = weights;
        weights = NULL;
    } else {
        st = model_joined_open(c, dir, &o->joined, &o->idx);
    }
out:
    free(weights);
    free(config);
    return st;
}

/* Close in any case. */
static enum emac_status origin_open(struct origin *o, struct cli *c, const char *name)
{
    struct cid cid;
    bool is_whole = false;
    enum emac_status st;
    *o = (struct origin){.c = c};
    emac_buf_init(&o->m.config, MODEL_TEXT_MAX);
    model_texts_init(&o->m.texts);
    st = cid_parse(&cid, name, NULL) == EMAC_OK ? open_store(o, &cid, &is_whole)
                                                : open_dir(o, name, &is_whole);
    if (st != EMAC_OK || is_whole)
        return st;
    model_files_release(&o->m);
    EMAC_TRY(st, model_files_load(c, name, &o->m));
    st = st_index_parse(&o->idx, o->m.weights.data, o->m.weights.len, o->m.weights.len, &c->err);
out:
    return st;
}

/* ---- the file ---- */

struct target {
    struct cli *c;
    char tmp[OS_PATH_MAX];
    struct emac_buf piece; /* what is not in the file yet */
    uint64_t bytes;
};

static enum emac_status piece_flush(struct target *t)
{
    struct os *os = t->c->os;
    enum emac_status st =
        os->file_append(os, t->tmp, t->piece.data, t->piece.len, 0600, &t->c->err);
    t->bytes += t->piece.len;
    emac_buf_clear(&t->piece);
    return st;
}

static enum emac_status to_target(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    struct target *t = ctx;
    enum emac_status st = EMAC_OK;
    if (os_stop_requested())
        return emac_fail(err, EMAC_CANCELLED, "stopped; no file was written");
    for (size_t at = 0; at < n && st == EMAC_OK;) {
        size_t room = PIECE_BYTES - t->piece.len, part = n - at < room ? n - at : room;
        st = emac_buf_append(&t->piece, (const uint8_t *)data + at, part, err);
        at += part;
        if (st == EMAC_OK && t->piece.len == PIECE_BYTES)
            st = piece_flush(t);
    }
    return st;
}

/* The last part of a path or a CID, with no slash behind it. The caller's. */
static char *name_of(const char *name)
{
    size_t end = strlen(name), at;
    while (end > 1 && name[end - 1] == '/')
        end--;
    for (at = end; at > 0 && name[at - 1] != '/';)
        at--;
    return emac_strndup(name + at, end - at);
}

static enum emac_status contents_write(struct target *t, struct origin *o, const char *name,
                                       int type)
{
    struct emac_err *err = &t->c->err;
    struct llama_config config;
    struct gguf_writer w;
    const struct language_files files = {
        .config = emac_buf_slice(&o->m.config),
        .generation = emac_buf_slice(model_text(&o->m.texts, MODEL_GENERATION)),
        .tokenizer = emac_buf_slice(model_text(&o->m.texts, MODEL_TOKENIZER)),
        .tokenizer_config = emac_buf_slice(model_text(&o->m.texts, MODEL_TOKENIZER_CONFIG))};
    char *called = name_of(name);
    enum emac_status st;
    gguf_writer_init(&w);
    EMAC_TRY(st, llama_config_read(&config, emac_buf_str(&o->m.config), o->m.config.len, err));
    EMAC_TRY(st, llama_to_gguf(&w, &config, &o->idx, type, called, err));
    EMAC_TRY(st, tokenizer_to_gguf(&w, &files, config.vocab_size, err));
    EMAC_TRY(st, gguf_write_begin(&w, (struct gguf_sink){to_target, t}, err));
    EMAC_TRY(st, llama_to_gguf_data(&w, &config, &o->idx, type, reader_of(o), err));
    st = piece_flush(t);
out:
    gguf_writer_release(&w);
    free(called);
    return st;
}

bool model_gguf_named(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".gguf") == 0;
}

enum emac_status model_gguf_export(struct cli *c, const char *name, const char *format,
                                   const char *path)
{
    int type = format != NULL ? gguf_type_find(format) : GGUF_AS_IT_IS;
    struct target t = {.c = c};
    struct origin o;
    enum emac_status st = os_beside(c->os, path, t.tmp, &c->err);
    if (st != EMAC_OK)
        return st;
    emac_buf_init(&t.piece, PIECE_BYTES);
    st = origin_open(&o, c, name);
    if (st == EMAC_OK)
        st = contents_write(&t, &o, name, type);
    st = os_beside_end(c->os, st, t.tmp, path, &c->err);
    origin_close(&o);
    emac_buf_release(&t.piece);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "wrote the model to %s: %llu bytes; llama.cpp and its kin read it", path,
            (unsigned long long)t.bytes);
    cli_result(
        c, json_pack("{s:s,s:s,s:I}", "model", name, "path", path, "bytes", (json_int_t)t.bytes));
    return EMAC_OK;
}

/* A model that was read from a GGUF file is written as one, which gives the same model back. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/gguf.h"
#include "model/convert.h"
#include "model/to_gguf.h"
#include "model/tokenizer_gguf.h"
#include "model/tokenizer_to_gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define BYTES_MAX ((size_t)1 << 24)

/* A model as its files. */
struct files {
    struct emac_buf weights, config, tokenizer, tokenizer_config, generation;
    struct llama_config c;
    bool has_tokenizer;
};

static void files_init(struct files *f)
{
    struct emac_buf *all[] = {&f->weights, &f->config, &f->tokenizer, &f->tokenizer_config,
                              &f->generation};
    for (size_t i = 0; i < EMAC_COUNT(all); i++)
        emac_buf_init(all[i], BYTES_MAX);
    f->has_tokenizer = false;
}

static void files_release(struct files *f)
{
    emac_buf_release(&f->weights);
    emac_buf_release(&f->config);
    emac_buf_release(&f->tokenizer);
    emac_buf_release(&f->tokenizer_config);
    emac_buf_release(&f->generation);
}

/* What `emac model import` makes of a file. */
static enum emac_status read_in(const void *data, size_t n, struct files *out)
{
    struct gguf g;
    struct llama_source *source = NULL;
    enum emac_status st = gguf_parse(&g, data, n, NULL);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, llama_from_gguf(&g, &out->c, &source, NULL));
    EMAC_TRY(st, llama_convert(&out->c, source, NULL, &out->weights, NULL));
    EMAC_TRY(st, llama_config_write(&out->c, &out->config, NULL));
    EMAC_TRY(st, generation_from_gguf(&g, &out->generation, NULL));
    out->has_tokenizer =
        tokenizer_from_gguf(&g, &out->tokenizer, &out->tokenizer_config, NULL) == EMAC_OK;
out:
    free(source);
    gguf_release(&g);
    return st;
}

static enum emac_status sink(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return emac_buf_append(ctx, data, n, err);
}

static enum emac_status weights_read(void *ctx, uint64_t offset, void *out, size_t n,
                                     struct emac_err *err)
{
    const struct files *f = ctx;
    EMAC_ASSERT(offset <= f->weights.len && n <= f->weights.len - offset);
    memcpy(out, f->weights.data + offset, n);
    return EMAC_OK;
}

/* What `emac model export` makes of it; without its tokenizer when that cannot be said. */
static enum emac_status write_out(struct files *f, int type, bool *tokenizer, struct emac_buf *out)
{
    const struct language_files texts = {.config = emac_buf_slice(&f->config),
                                         .generation = emac_buf_slice(&f->generation),
                                         .tokenizer = emac_buf_slice(&f->tokenizer),
                                         .tokenizer_config = emac_buf_slice(&f->tokenizer_config)};
    struct st_index idx = {0};
    struct gguf_writer w;
    enum emac_status st;
    gguf_writer_init(&w);
    EMAC_TRY(st, st_index_parse(&idx, f->weights.data, f->weights.len, f->weights.len, NULL));
    EMAC_TRY(st, llama_to_gguf(&w, &f->c, &idx, type, "fuzz", NULL));
    if (*tokenizer)
        EMAC_TRY(st, tokenizer_to_gguf(&w, &texts, f->c.vocab_size, NULL));
    EMAC_TRY(st, gguf_write_begin(&w, (struct gguf_sink){sink, out}, NULL));
    st = llama_to_gguf_data(&w, &f->c, &idx, type, (struct weights_reader){weights_read, f}, NULL);
out:
    st_index_release(&idx);
    gguf_writer_release(&w);
    return st;
}

static void check_same(const struct emac_buf *a, const struct emac_buf *b)
{
    EMAC_ASSERT(a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct files f, back;
    struct emac_buf out;
    files_init(&f);
    files_init(&back);
    emac_buf_init(&out, BYTES_MAX);
    if (read_in(data, n, &f) == EMAC_OK) {
        bool tokenizer = f.has_tokenizer;
        enum emac_status st = write_out(&f, GGUF_AS_IT_IS, &tokenizer, &out);
        if (st != EMAC_OK && tokenizer) { /* it may be of a kind that is only read */
            emac_buf_clear(&out);
            tokenizer = false;
            st = write_out(&f, GGUF_AS_IT_IS, &tokenizer, &out);
        }
        if (st == EMAC_OK) {
            EMAC_ASSERT(read_in(out.data, out.len, &back) == EMAC_OK);
            EMAC_ASSERT(back.has_tokenizer == tokenizer);
            check_same(&f.config, &back.config);
            check_same(&f.weights, &back.weights);
        } else {
            EMAC_ASSERT(st == EMAC_UNSUPPORTED);
        }
        emac_buf_clear(&out);
        tokenizer = false;
        st = write_out(&f, GGUF_Q8_0, &tokenizer, &out); /* NUMERIC for what is not finite */
        EMAC_ASSERT(st == EMAC_OK || st == EMAC_NUMERIC || st == EMAC_UNSUPPORTED);
    }
    emac_buf_release(&out);
    files_release(&back);
    files_release(&f);
    return 0;
}

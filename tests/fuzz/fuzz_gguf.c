/* What is accepted lies inside the file, is found by its name, and makes a model or a sentence. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/gguf.h"
#include "model/convert.h"
#include "model/tokenizer_gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define NAME_MAX_BYTES 512

static void check_tensor(const struct gguf *g, const struct gguf_tensor *t, const uint8_t *data,
                         size_t n)
{
    char name[GGUF_NAME_MAX + 1] = "";
    memcpy(name, t->name.p, t->name.n);
    EMAC_ASSERT(strlen(name) < t->name.n || gguf_tensor_find(g, name) == t);
    EMAC_ASSERT(t->data >= data && t->bytes <= n && (size_t)(t->data - data) <= n - t->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gguf g;
    struct llama_config c;
    struct llama_source *source = NULL;
    struct emac_buf out, other;
    if (gguf_parse(&g, data, n, NULL) != EMAC_OK) {
        EMAC_ASSERT(g.value == NULL && g.tensor == NULL);
        return 0;
    }
    for (size_t i = 0; i < g.tensors; i++)
        check_tensor(&g, &g.tensor[i], data, n);
    emac_buf_init(&out, (size_t)1 << 24);
    if (llama_from_gguf(&g, &c, &source, NULL) == EMAC_OK)
        (void)llama_convert(&c, source, NULL, &out, NULL);
    emac_buf_clear(&out);
    emac_buf_init(&other, (size_t)1 << 24);
    (void)tokenizer_from_gguf(&g, &out, &other, NULL);
    emac_buf_clear(&out);
    (void)generation_from_gguf(&g, &out, NULL);
    free(source);
    emac_buf_release(&other);
    emac_buf_release(&out);
    gguf_release(&g);
    return 0;
}

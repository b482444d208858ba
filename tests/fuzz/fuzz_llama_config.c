/* A stranger's config.json: what is read is within the limits, and is read back from what we write.
 */
#include <string.h>

#include "base/assert.h"
#include "model/llama.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct llama_config c, back;
    struct emac_buf text;
    struct emac_err err;

    if (llama_config_read(&c, (const char *)data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    EMAC_ASSERT(llama_config_check(&c, &err) == EMAC_OK);
    emac_buf_init(&text, LLAMA_CONFIG_BYTES_MAX);
    EMAC_ASSERT(llama_config_write(&c, &text, &err) == EMAC_OK);
    EMAC_ASSERT(llama_config_read(&back, emac_buf_str(&text), text.len, &err) == EMAC_OK);
    EMAC_ASSERT(c.layers == back.layers && c.head_dim == back.head_dim &&
                c.max_positions == back.max_positions && c.rope_theta == back.rope_theta &&
                c.norm_eps == back.norm_eps && c.tie_embeddings == back.tie_embeddings &&
                c.qkv_bias == back.qkv_bias);
    emac_buf_release(&text);
    return 0;
}

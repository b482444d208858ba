/* The models that training and generation are measured on, by name. */
#ifndef EMAC_BENCH_MODELS_H
#define EMAC_BENCH_MODELS_H

#include <string.h>

#include "base/assert.h"
#include "model/llama.h"

static const struct bench_model {
    const char *name;
    struct llama_config config;
} BENCH_MODELS[] = {
    {"10m",
     {.vocab_size = 256,
      .hidden_size = 320,
      .intermediate_size = 864,
      .layers = 8,
      .heads = 5,
      .kv_heads = 5,
      .head_dim = 64,
      .max_positions = 4096,
      .rope_theta = 10000,
      .norm_eps = 1e-5,
      .tie_embeddings = true}},
    {"124m", /* GPT-2 small's size */
     {.vocab_size = 50304,
      .hidden_size = 768,
      .intermediate_size = 2048,
      .layers = 12,
      .heads = 12,
      .kv_heads = 12,
      .head_dim = 64,
      .max_positions = 4096,
      .rope_theta = 10000,
      .norm_eps = 1e-5,
      .tie_embeddings = true}},
    {"1b", /* TinyLlama's */
     {.vocab_size = 32000,
      .hidden_size = 2048,
      .intermediate_size = 5632,
      .layers = 22,
      .heads = 32,
      .kv_heads = 4,
      .head_dim = 64,
      .max_positions = 2048,
      .rope_theta = 10000,
      .norm_eps = 1e-5}},
};

/* NULL when there is none of that name. */
static inline const struct llama_config *bench_model(const char *name)
{
    for (size_t i = 0; i < EMAC_COUNT(BENCH_MODELS); i++)
        if (strcmp(BENCH_MODELS[i].name, name) == 0)
            return &BENCH_MODELS[i].config;
    return NULL;
}

#endif

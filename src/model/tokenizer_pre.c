/* Pre-tokenizers by the names of the models that brought them. */
#include <string.h>

#include "base/assert.h"
#include "model/tokenizer_internal.h"

#define BYTE_LEVEL(regex)                                                                          \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "              \
    "\"use_regex\": " regex "}"
#define SEQUENCE(steps) "{\"type\": \"Sequence\", \"pretokenizers\": [" steps "]}"
#define SPLIT(regex)                                                                               \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex "\"}, \"behavior\": \"Isolated\", "  \
    "\"invert\": false}, "
#define LLAMA3(number)                                                                             \
    SPLIT("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" number           \
          "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+")

static const struct {
    const char *name, *json;
} PRE[] = {
    {"gpt2", BYTE_LEVEL("true")},
    {"llama3", SEQUENCE(LLAMA3("\\\\p{N}{1,3}") BYTE_LEVEL("false"))},
    {"qwen2", SEQUENCE(LLAMA3("\\\\p{N}") BYTE_LEVEL("false"))},
    {"digits",
     SEQUENCE("{\"type\": \"Digits\", \"individual_digits\": true}, " BYTE_LEVEL("true"))},
    {"bytes", SEQUENCE("{\"type\": \"Split\", \"pattern\": {\"String\": \"\\n\"}, \"behavior\": "
                       "\"MergedWithPrevious\", \"invert\": false}, " BYTE_LEVEL("false"))},
};

const char *tok_pre_json(const char *name)
{
    for (size_t i = 0; i < EMAC_COUNT(PRE); i++)
        if (strcmp(name, PRE[i].name) == 0)
            return PRE[i].json;
    return NULL;
}

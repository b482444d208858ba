/* Strict YAML 1.2 (core schema) to JSON, for job files and settings written by people. One
 * document; no anchors, aliases, tags; no key twice in a map. Plain scalars are null, true/false,
 * int64, finite float, else text; quoted and block scalars are text; keys are always text. JSON
 * files are read by the same function, except that surrogate escapes (\ud83d\ude00) are refused. */
#ifndef EMAC_CODEC_YAML_H
#define EMAC_CODEC_YAML_H

#include <jansson.h>
#include <stddef.h>

#include "base/status.h"

#define YAML_TEXT_MAX  (1u << 20)
#define YAML_DEPTH_MAX 16
#define YAML_NODES_MAX 10000

/* The caller owns *out (json_decref). INVALID, TOO_LARGE with line and column. */
enum emac_status yaml_to_json(const char *text, size_t n, json_t **out, struct emac_err *err);
/* `map`, which is called `of` in the sentence, is a map, and all its keys are among `known`, a list
 * that ends with NULL; else INVALID. */
enum emac_status yaml_only_known(json_t *map, const char *of, const char *const *known,
                                 struct emac_err *err);

#endif

/* DAG-CBOR, strict (ipld.io spec): shortest integers, definite lengths, map
 * keys are unique strings ordered by length then bytes, floats are binary64
 * and finite, one tag only (42, a CID). So a value has exactly one encoding
 * and its CID is its identity; the reader refuses every other form.
 *
 * Writer: appends to a buffer; keys of a map must be written in canonical
 * order (asserted), as must the number of items announced. The writer is
 * sticky: the first failure (buffer full, text not UTF-8, float not finite,
 * too deep) is kept and returned by dagcbor_writer_end.
 * Reader: parses a whole value into an arena tree. Depth at most 32; the arena
 * bounds memory. */
#ifndef EMAC_CODEC_DAGCBOR_H
#define EMAC_CODEC_DAGCBOR_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/cid.h"

#define DAGCBOR_DEPTH_MAX 32

struct dagcbor_writer {
    struct emac_buf *buf;
    enum emac_status status;
    struct emac_err err;
    uint32_t depth;
    struct {
        uint64_t left;          /* items still due at this level (map: keys + values) */
        size_t key_at, key_len; /* last key written: offset in buf */
        bool is_map;
    } level[DAGCBOR_DEPTH_MAX];
    bool done; /* the one root value is complete */
};

void dagcbor_writer_init(struct dagcbor_writer *w, struct emac_buf *buf);
void dagcbor_map(struct dagcbor_writer *w, uint64_t pairs);
void dagcbor_list(struct dagcbor_writer *w, uint64_t items);
void dagcbor_key(struct dagcbor_writer *w, const char *key);
void dagcbor_u64(struct dagcbor_writer *w, uint64_t v);
void dagcbor_i64(struct dagcbor_writer *w, int64_t v);
void dagcbor_f64(struct dagcbor_writer *w, double v);
void dagcbor_bool(struct dagcbor_writer *w, bool v);
void dagcbor_null(struct dagcbor_writer *w);
void dagcbor_str(struct dagcbor_writer *w, const char *s);
void dagcbor_bytes(struct dagcbor_writer *w, const void *data, size_t n);
void dagcbor_cid(struct dagcbor_writer *w, const struct cid *c);
/* The same for text of n bytes, which may hold NUL. */
void dagcbor_key_n(struct dagcbor_writer *w, const char *key, size_t n);
void dagcbor_str_n(struct dagcbor_writer *w, const char *s, size_t n);
/* OK when everything due was written and nothing failed. */
enum emac_status dagcbor_writer_end(struct dagcbor_writer *w, struct emac_err *err);

enum dagcbor_type {
    DAGCBOR_U64, /* >= 0 */
    DAGCBOR_NEG, /* negative: i64 */
    DAGCBOR_F64,
    DAGCBOR_BOOL,
    DAGCBOR_NULL,
    DAGCBOR_STR,
    DAGCBOR_BYTES,
    DAGCBOR_CID,
    DAGCBOR_LIST,
    DAGCBOR_MAP
};

struct dagcbor_node {
    enum dagcbor_type type;
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
        bool boolean;
        struct cid cid;
        struct {
            const char *data; /* in the arena, NUL-terminated; STR is valid UTF-8 */
            size_t len;
        } str;
        struct {
            size_t count;               /* list: items; map: pairs */
            struct dagcbor_node *items; /* map: key, value, key, value, ... */
        } seq;
    };
};

/* The whole of data must be one value. Errors name the byte offset. */
enum emac_status dagcbor_parse(struct arena *a, const void *data, size_t n,
                               const struct dagcbor_node **out, struct emac_err *err);

/* The same for a map, called `what` in sentences ("a licence"): TOO_LARGE over `most` bytes. */
enum emac_status dagcbor_parse_map(struct arena *a, const void *data, size_t n, size_t most,
                                   const char *what, const struct dagcbor_node **out,
                                   struct emac_err *err);

/* Write a parsed tree again: gives the very bytes it was parsed from. */
void dagcbor_node(struct dagcbor_writer *w, const struct dagcbor_node *node);

/* Map access. The _get functions fail with "field 'x' is missing" / "... must be a ...". */
const struct dagcbor_node *dagcbor_find(const struct dagcbor_node *map, const char *key);
enum emac_status dagcbor_get(const struct dagcbor_node *map, const char *key,
                             enum dagcbor_type type, const struct dagcbor_node **out,
                             struct emac_err *err);
enum emac_status dagcbor_get_u64(const struct dagcbor_node *map, const char *key, uint64_t max,
                                 uint64_t *out, struct emac_err *err);
enum emac_status dagcbor_get_u32(const struct dagcbor_node *map, const char *key, uint32_t *out,
                                 struct emac_err *err);
/* Exactly n bytes, copied. */
enum emac_status dagcbor_get_bytes(const struct dagcbor_node *map, const char *key, void *out,
                                   size_t n, struct emac_err *err);
enum emac_status dagcbor_get_f64(const struct dagcbor_node *map, const char *key, double *out,
                                 struct emac_err *err);
enum emac_status dagcbor_get_str(const struct dagcbor_node *map, const char *key, const char **out,
                                 struct emac_err *err);
/* A copy of it, that fits `cap` with its NUL. */
enum emac_status dagcbor_get_text(const struct dagcbor_node *map, const char *key, char *out,
                                  size_t cap, struct emac_err *err);
enum emac_status dagcbor_get_cid(const struct dagcbor_node *map, const char *key, struct cid *out,
                                 struct emac_err *err);
/* As dagcbor_get_u64 for a signed integer of either sign. */
enum emac_status dagcbor_get_i64(const struct dagcbor_node *map, const char *key, int64_t *out,
                                 struct emac_err *err);
/* INVALID when the map holds a key that is not in the NULL-terminated list. */
enum emac_status dagcbor_only(const struct dagcbor_node *map, const char *const *keys,
                              struct emac_err *err);

#endif

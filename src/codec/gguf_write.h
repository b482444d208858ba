/* Writing GGUF (codec/gguf.h), version 3, little-endian, as llama.cpp and its kin read it:
 *
 * "GGUF", u32 version, u64 tensors, u64 values; the values (key, type, value); of each tensor its
 * name, dimensions, type and place; padding to the alignment, which is 32 and is said by
 * "general.alignment"; the tensors' data, each from a multiple of the alignment on, so padded.
 *
 * Rules of the format and of its readers that are kept here: a key is there once; a name has at
 * most 63 bytes (GGUF_NAME_MAX - 1: ggml's names end with a NUL); a row is whole blocks of its
 * type.
 *
 * Life cycle: init; the values and tensors are told, in any order, each by a call; begin, which
 * gives the whole head to the sink; the tensors' bytes in the order in which they were told, in
 * pieces of any size; end; release, at any time. Only the head is held in memory. After a failure
 * the writer can only be released. */
#ifndef EMAC_CODEC_GGUF_WRITE_H
#define EMAC_CODEC_GGUF_WRITE_H

#include "codec/gguf.h"

#define GGUF_ALIGNMENT   32
#define GGUF_WRITTEN_MAX 64 /* values of a file */

/* Receives the file from its first byte to its last. */
struct gguf_sink {
    enum emac_status (*write)(void *ctx, const void *data, size_t n, struct emac_err *err);
    void *ctx;
};

struct gguf_planned;
struct gguf_writer {
    struct gguf_sink sink;
    struct emac_buf head;            /* the values */
    size_t key_at[GGUF_WRITTEN_MAX]; /* where in `head` each key's length is */
    size_t values;
    struct gguf_planned *tensor;
    size_t tensors, room;
    uint64_t array_left; /* elements of the array of texts that was begun and is not complete */
    /* while data are written */
    size_t at;     /* the tensor */
    uint64_t left; /* bytes of it that are to come */
};

void gguf_writer_init(struct gguf_writer *w);
void gguf_writer_release(struct gguf_writer *w);

/* Values. The keys are the caller's constants: one that is told twice is a breach. */
enum emac_status gguf_add_u32(struct gguf_writer *w, const char *key, uint32_t v,
                              struct emac_err *err);
enum emac_status gguf_add_f32(struct gguf_writer *w, const char *key, float v,
                              struct emac_err *err);
enum emac_status gguf_add_bool(struct gguf_writer *w, const char *key, bool v,
                               struct emac_err *err);
enum emac_status gguf_add_text(struct gguf_writer *w, const char *key, struct emac_slice v,
                               struct emac_err *err);
/* `element` is GGUF_I32 or GGUF_REAL; v has n of them. */
enum emac_status gguf_add_words(struct gguf_writer *w, const char *key, uint32_t element,
                                const void *v, size_t n, struct emac_err *err);
/* An array of n texts, each of which is then told by gguf_add_element before anything else is. */
enum emac_status gguf_add_texts(struct gguf_writer *w, const char *key, uint64_t n,
                                struct emac_err *err);
enum emac_status gguf_add_element(struct gguf_writer *w, struct emac_slice v, struct emac_err *err);

/* dim[0] varies fastest, as the file says it. INVALID for a name that is too long, or there
 * already, and for a row that is not whole blocks. */
enum emac_status gguf_add_tensor(struct gguf_writer *w, const char *name, enum gguf_type type,
                                 uint32_t rank, const uint64_t *dim, struct emac_err *err);

enum emac_status gguf_write_begin(struct gguf_writer *w, struct gguf_sink sink,
                                  struct emac_err *err);
/* More bytes than the tensors have is a breach, as is an end before they all came. */
enum emac_status gguf_write_data(struct gguf_writer *w, const void *data, size_t n,
                                 struct emac_err *err);
void gguf_write_end(const struct gguf_writer *w);

/* Bytes of a row of n elements; false when they are not whole blocks, or too many. */
bool gguf_row_bytes(enum gguf_type type, uint64_t n, uint64_t *bytes);

#endif

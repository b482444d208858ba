/* What a kind of device gives device.c: one table of functions. Arguments were checked by device.c;
 * the words of device.h hold. */
#ifndef EMAC_COMPUTE_DEVICE_IMPL_H
#define EMAC_COMPUTE_DEVICE_IMPL_H

#include <stdatomic.h>

#include "compute/device.h"

#define DEVICE_NAME_MAX 160

struct attention_decode {
    const float *q, *k, *v;
    float *o;
    size_t len, rows, heads, kv_heads, head_dim;
    float scale;
};

struct device_class {
    bool is_host; /* its memory is the process's: the functions from `alloc` on are NULL */
    void (*close)(struct device *dev);
    bool (*lost)(const struct device *dev); /* NULL: never */
    enum emac_status (*run)(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err);
    enum emac_status (*add)(struct device *dev, float *dst, const float *a, const float *b,
                            size_t n, struct emac_err *err);
    /* Of tensors that are not f32 or bf16 nothing is asked. */
    enum emac_status (*finite)(struct device *dev, size_t count, const struct tensor *x, bool *out,
                               struct emac_err *err);
    /* Rule 8, between the storage of bf16 and binary32. */
    enum emac_status (*widen)(struct device *dev, float *dst, const uint16_t *src, size_t n,
                              struct emac_err *err);
    enum emac_status (*narrow)(struct device *dev, uint16_t *dst, const float *src, size_t n,
                               struct emac_err *err);
    enum emac_status (*decode)(struct device *dev, const struct attention_decode *d,
                               struct emac_err *err);
    /* NULL where the device has no faster way than the two operators. */
    enum emac_status (*embed_grad_add)(struct device *dev, const struct tensor *ids,
                                       const struct tensor *dy, struct tensor *table,
                                       struct emac_err *err);
    enum emac_status (*alloc)(struct device *dev, size_t bytes, void **out, struct emac_err *err);
    void (*free)(struct device *dev, void *ptr);
    enum emac_status (*write)(struct device *dev, void *dst, const void *src, size_t n,
                              struct emac_err *err);
    enum emac_status (*read)(struct device *dev, void *dst, const void *src, size_t n,
                             struct emac_err *err);
    enum emac_status (*copy)(struct device *dev, void *dst, const void *src, size_t n,
                             struct emac_err *err);
    enum emac_status (*finish)(struct device *dev, struct emac_err *err);
    enum emac_status (*view)(struct device *dev, const void *src, size_t n, struct device_view *out,
                             struct emac_err *err);
    enum emac_status (*view_read)(const struct device_view *v, void *dst, struct emac_err *err);
    enum emac_status (*sha256)(struct device *dev, const void *src, size_t n, size_t piece,
                               uint8_t (*digest)[32], struct emac_err *err);
    enum emac_status (*hashing)(struct device *dev, struct os *os, struct device_hashing *out,
                                struct emac_err *err);
    enum emac_status (*tune)(struct device *dev, struct os *os, const char *path,
                             struct emac_err *err);
};

/* Begins every kind's own struct. */
struct device {
    const struct device_class *class;
    const char *kind;
    uint32_t threads;
    char name[DEVICE_NAME_MAX];
    float *wide; /* the f32 form of bf16 inputs and output of the operator under way */
    size_t wide_floats;
    bool ran_finite;             /* set by `run`, for device_ran_finite */
    struct device_memory memory; /* the kind sets total and alloc_max, and counts the rest */
    atomic_uint_fast64_t viewed; /* memory.viewed, from any thread */
    struct device_hashing hashing;
};

void device_memory_host(struct device *dev); /* the process's memory is the device's */
void device_memory_count(struct device *dev, size_t bytes); /* `bytes` more are in use */
/* The sentence for `bytes` that cannot be had. */
enum emac_status device_no_memory(const struct device *dev, size_t bytes, struct emac_err *err);

#endif

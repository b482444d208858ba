/* A directory of its own for each test, random bytes, stores. */
#ifndef EMAC_TESTS_STORE_FIXTURE_H
#define EMAC_TESTS_STORE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/philox.h"
#include "store/store.h"
#include "../asserts.h"
#include "../remove_tree.h"

/* ---- random bytes and directories ---- */

static inline void random_fill(void *out, size_t n, uint64_t seed)
{
    uint8_t *p = out;
    uint32_t word[4];
    for (size_t i = 0; i < n; i += sizeof word) {
        philox_at(seed, PHILOX_TEST, 0, i, word);
        memcpy(p + i, word, n - i < sizeof word ? n - i : sizeof word);
    }
}

static inline uint8_t *random_bytes(size_t n, uint64_t seed)
{
    uint8_t *p;
    assert_int_equal(emac_alloc_aligned(&p, n, NULL), EMAC_OK);
    random_fill(p, n, seed);
    return p;
}

static inline void dir_fresh(char out[64])
{
    strcpy(out, "/tmp/emac-test-XXXXXX");
    assert_non_null(mkdtemp(out));
}

/* ---- stores ---- */

static inline struct store *open_store(struct os *os, const char *dir, uint64_t disk_quota,
                                       uint64_t memory_quota, uint32_t threads)
{
    struct store_config cfg = {.os = os,
                               .dir = dir,
                               .disk_quota = disk_quota,
                               .memory_quota = memory_quota,
                               .hash_threads = threads};
    struct emac_err err;
    struct store *s;
    if (store_open(&cfg, &s, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    return s;
}

#endif

/* What the files of the store share. Nothing outside src/store includes this.
 *
 * Locks, outer first:
 *   pin_lock  the pins, the mark phase and the sweep of a collection;
 *   lock      the index of blocks, values and parts. Never held over file I/O,
 *             hashing or copying of contents.
 * A `busy` block belongs to one thread that works on its file without `lock`;
 * others wait on `changed` and look it up again. Whoever makes a block busy
 * takes no other lock than `lock` until it is done, so the waits end. */
#ifndef EMAC_STORE_INTERNAL_H
#define EMAC_STORE_INTERNAL_H

#include "os/thread.h"
#include "store/cid_map.h"
#include "store/store.h"

#define STORE_DIRS         1024       /* blocks/aa .. blocks/77 */
#define STORE_ITEMS_MAX    (1u << 24) /* blocks of one DAG */
#define STORE_PIN_NAME_MAX 80 /* each byte may take 3 in a file's name, which has at most 255 */
#define STORE_PIN_FILE_MAX (256u << 20)

struct store_block {
    struct cid cid;
    uint32_t size;
    bool busy;
    uint64_t put;  /* when it was put last, by the store's clock */
    bool durable;  /* its file was synced by this process */
    bool checked;  /* its file was written, or read and hashed, by this process */
    uint8_t *data; /* contents, in a store without a directory; else NULL */
    struct store_block *newer, *older;
};

struct store_held;

/* One block of a value: a leaf (bytes inside the value's data) or an inner block (own memory). The
 * same block may occur several times, in one value or in many: they hang in one list. */
struct store_part {
    struct cid cid;
    uint32_t size;
    bool owned;
    const uint8_t *data;
    struct store_held *value;
    struct store_part *prev, *next;
};

enum store_where { VALUE_HERE, VALUE_AWAY, VALUE_COMING, VALUE_LOST };

struct store_held {
    struct store_value pub; /* first: callers hold a pointer to it */
    uint32_t holds;
    bool forget;                /* goes with its last hold */
    enum store_where where;     /* under lock */
    struct store_origin origin; /* release NULL: none. Of whoever is bringing it while COMING */
    uint8_t *head;              /* own memory, of a value that was away */
    uint8_t *data;
    struct store_part *part;
    size_t count, cap;
    struct store_held *newer, *older; /* among those nobody holds */
};

struct store_pin_name {
    char *name;
    struct cid_map root; /* a set */
    bool unread;         /* its file could not be read at the start; it is left as it is */
};

struct store {
    struct os *os;
    char *dir; /* NULL: memory only */
    struct os_lock *dir_lock;
    uint64_t disk_quota, memory_quota;
    uint64_t secret;

    struct os_mutex lock;
    struct os_cond changed;
    struct cid_map block; /* struct store_block * */
    struct store_block *block_newest, *block_oldest;
    uint64_t disk_bytes, clock;
    struct store_building *building_newest, *building_oldest;
    uint8_t dir_state[STORE_DIRS]; /* enum dir_state of blocks.c */

    struct cid_map value; /* root -> struct store_held * */
    struct cid_map part;  /* block -> first struct store_part * */
    struct store_held *value_newest, *value_oldest;
    uint64_t memory_bytes, unheld_bytes;

    struct os_pool *pool;
    bool pool_busy; /* under lock */

    struct os_mutex pin_lock;
    struct store_pin_name *pin;
    size_t pin_count, pin_cap;
    bool pin_unread;       /* some name is: no collection may run */
    struct cid_map marked; /* blocks of pinned DAGs */
    bool marked_valid;
};

/* ---- store.c ---- */
/* Make room for one more in *array (element size `size`). TOO_LARGE at `max`. */
enum emac_status store_array_grow(void *array, size_t count, size_t *cap, size_t size, size_t max,
                                  struct emac_err *err);
/* fn(ctx, i) for each i < count, on the pool when it is free, else on this thread. */
void store_parallel(struct store *s, size_t count, void (*fn)(void *ctx, size_t i), void *ctx);
/* "'bafy...'" as every sentence needs it. */
struct store_name {
    char text[CID_TEXT_MAX];
};
struct store_name store_name_of(const struct cid *cid);

/* ---- blocks.c ---- */
enum emac_status store_blocks_open(struct store *s, struct emac_err *err);
void store_blocks_release(struct store *s);
/* Keep bytes that are known to hash to cid. durable: synced when this returns. */
enum emac_status store_blocks_put(struct store *s, const struct cid *cid, const void *data,
                                  size_t n, bool durable, struct emac_err *err);
/* Read and verify a block of exactly `n` bytes. */
enum emac_status store_blocks_read(struct store *s, const struct cid *cid, void *out, size_t n,
                                   struct emac_err *err);
/* As if a block that is here were put once more; false when it is absent. */
bool store_blocks_put_again(struct store *s, const struct cid *cid);
bool store_blocks_has(struct store *s, const struct cid *cid, uint64_t *size);
enum emac_status store_blocks_sync(struct store *s, const struct cid *cid, struct emac_err *err);
/* Remove unmarked blocks that no building protects, oldest first, until `bytes` are freed or none
 * is left. pin_lock is held and the marks are valid. */
uint64_t store_blocks_sweep(struct store *s, uint64_t bytes);

/* ---- values.c ---- */
void store_values_release(struct store *s);
/* A value under construction: takes data on success. Parts are added, then it is registered, which
 * consumes it and returns it, or the one that was there already, held. */
enum emac_status store_held_new(uint8_t *data, size_t size, struct store_held **out,
                                struct emac_err *err);
enum emac_status store_held_add(struct store_held *v, const struct cid *cid, const uint8_t *data,
                                size_t size, bool owned, struct emac_err *err);
enum emac_status store_held_register(struct store *s, struct store_held *v, const struct cid *root,
                                     uint64_t tree_size, const struct store_value **out,
                                     struct emac_err *err);
void store_held_free(struct store_held *v);
/* The leaves, of v's data if it is here, and what is above them become parts of v. */
enum emac_status store_held_tree(struct store_held *v, const struct cid *leaf, size_t count,
                                 struct cid *root, uint64_t *tree_size, struct emac_err *err);
/* A part of some value by its CID, its data here; the value is held until store_value_drop. NULL
 * when there is none. NO_MEMORY. */
enum emac_status store_part_hold(struct store *s, const struct cid *cid,
                                 const struct store_part **out, struct emac_err *err);
bool store_part_has(struct store *s, const struct cid *cid, uint64_t *size);
/* Under lock, out of the index: a value that is lost, and one that nobody holds, which is freed
 * after the lock is gone. */
void store_held_unlist(struct store *s, struct store_held *v);
void store_held_hold(struct store *s, struct store_held *v);
void store_held_remove(struct store *s, struct store_held *v);

/* ---- away.c ---- */
/* Under lock: its bytes are here, `*data`, which is taken. What is returned is to be released after
 * the lock is gone. */
struct store_origin store_held_land(struct store_held *v, uint8_t **data);
/* Leaves of a file of `size` bytes: how many, and the size of one. */
size_t store_leaves(size_t size);
size_t store_leaf_size(size_t size, size_t i);

/* ---- gc.c ---- */
/* Free at least `bytes` beyond what is free under the quota now, if unpinned blocks allow. */
enum emac_status store_room_make(struct store *s, uint64_t bytes, uint64_t *freed,
                                 struct emac_err *err);

/* ---- pins.c ---- */
enum emac_status store_pins_open(struct store *s, struct emac_err *err);
void store_pins_release(struct store *s);
/* Write what is in memory only, and sync what is on disk, of the whole DAG. */
enum emac_status store_dag_sync(struct store *s, const struct cid *root, struct emac_err *err);

#endif

/* The block store: bytes by CID, on disk and in memory, thread-safe.
 *
 * INV-1  A block that is handed out has been hashed against its CID since it
 *        was last outside our memory (verify on read); one that fails is
 *        deleted and reported CORRUPT, as if never there.
 * INV-2  A block file appears whole or not at all (temporary file, rename).
 * INV-3  Bytes on disk never pass the quota; a put that would fails with
 *        NO_SPACE after garbage collection could not make room.
 * INV-4  A pinned root's whole DAG survives garbage collection, and what of it
 *        was there when store_pin returned survives a loss of power. Unpinned
 *        blocks may vanish at any gc, oldest use first.
 *
 * One process at a time has a store's directory open. Files in it that are not
 * ours are left alone; leftovers of a crash are removed at the start.
 *
 * Two kinds of content:
 *   blocks  at most 2 MiB, on disk under blocks/<2 chars>/<base32 cid>;
 *   values  whole UnixFS files (tensor bundles) held in memory as one
 *           contiguous piece, addressed by the root CID; their leaf blocks are
 *           served out of it. Short-lived values never touch a disk.
 *           A value is reference-counted and immutable.
 * A file may be on disk as blocks, in memory as a value, or both; the
 * functions below find it in either. */
#ifndef EMAC_STORE_STORE_H
#define EMAC_STORE_STORE_H

#include "codec/cid.h"
#include "codec/unixfs.h"
#include "os/os.h"

struct store;
struct store_config {
    struct os *os;
    const char *dir;       /* NULL: memory only */
    uint64_t disk_quota;   /* bytes; 0: 1 TiB, or memory_quota without a directory */
    uint64_t memory_quota; /* bytes of unheld values kept; 0: a quarter of physical memory */
    uint32_t hash_threads; /* >= 1: leaves of one file are hashed in parallel */
};

/* CONFLICT when another process has the directory open and keeps it for 10 s more. */
enum emac_status store_open(const struct store_config *cfg, struct store **out,
                            struct emac_err *err);
/* Every value was given back before (asserted). */
void store_close(struct store *s);

/* ---- blocks ---- */
enum emac_status store_block_put(struct store *s, enum cid_codec codec, const void *data, size_t n,
                                 struct cid *out, struct emac_err *err);
/* Refuses data whose hash is not `cid` (CORRUPT). */
enum emac_status store_block_put_as(struct store *s, const struct cid *cid, const void *data,
                                    size_t n, struct emac_err *err);
/* The same for bytes that the caller has hashed against `cid` himself (a CAR reader has). */
enum emac_status store_block_put_checked(struct store *s, const struct cid *cid, const void *data,
                                         size_t n, struct emac_err *err);
/* Replaces the contents of out. NOT_FOUND, CORRUPT. Finds leaves and inner blocks of values. */
enum emac_status store_block_get(struct store *s, const struct cid *cid, struct emac_buf *out,
                                 struct emac_err *err);
/* The same, added to what is in out. */
enum emac_status store_block_append(struct store *s, const struct cid *cid, struct emac_buf *out,
                                    struct emac_err *err);
bool store_block_has(struct store *s, const struct cid *cid, uint64_t *size /* may be NULL */);

/* ---- values: files in memory ---- */
struct store_value {
    struct cid cid;
    uint64_t tree_size; /* Tsize of a link to it */
    size_t size;
    const uint8_t *head; /* its first bytes, always here: all of it, or what store_away said */
    size_t head_size;
    /* 64-byte aligned, read-only; NULL while the value is away. Whoever did not get it from
     * store_value_get or store_value_adopt asks store_value_bytes instead. */
    const uint8_t *data;
};
/* Take ownership of `data` (from emac_alloc_aligned), hash it, and keep it in memory. The returned
 * value is held: give it back with store_value_drop. When the store has it already, data is freed
 * and the old one returned; on failure data is freed, too. */
enum emac_status store_value_adopt(struct store *s, uint8_t *data, size_t size,
                                   const struct store_value **out, struct emac_err *err);
/* The value if it is in memory or away, held; NULL when it is not. */
const struct store_value *store_value_find(struct store *s, const struct cid *cid);
/* Is it in memory or away? Asking does not count as use. */
bool store_value_has(struct store *s, const struct cid *cid);
/* Find in memory (one that is away is brought), else assemble (and verify) from blocks on disk.
 * NOT_FOUND names the first missing block. TOO_LARGE over max_size. Held. */
enum emac_status store_value_get(struct store *s, const struct cid *cid, uint64_t max_size,
                                 const struct store_value **out, struct emac_err *err);
/* The same, but what is away stays so. */
enum emac_status store_value_get_away(struct store *s, const struct cid *cid, uint64_t max_size,
                                      const struct store_value **out, struct emac_err *err);
const struct store_value *store_value_hold(struct store *s, const struct store_value *v);
void store_value_drop(struct store *s, const struct store_value *v);
/* As store_value_drop, for a value that is not wanted any more: its memory goes when the last
 * holder gives it back, instead of being kept under memory_quota. One that is adopted or fetched
 * anew meanwhile is kept as usual. */
void store_value_forget(struct store *s, const struct store_value *v);
/* Make the whole DAG under cid durable on disk (checkpoints, models): blocks of values are written,
 * blocks on disk synced. NOT_FOUND names the first missing block. Does not pin. */
enum emac_status store_value_persist(struct store *s, const struct cid *cid, struct emac_err *err);

/* ---- values that are away ----
 * A value's bytes may lie elsewhere, in the memory of a device. It has its CID, for the digests of
 * its leaves are known, and is held, found, named, walked and counted as any other. The first who
 * wants its bytes (store_value_get, store_value_bytes, a leaf block) has all of them brought and
 * hashed against its leaves (INV-1); from then on it is a value in memory. One that cannot be
 * brought is lost: nobody finds it any more, and who holds it gets UNAVAILABLE for its bytes.
 * It counts against memory_quota as if it were here, because it may have to come at any time. */
struct store_origin {
    /* All `size` bytes. From any thread, one call at a time, under no lock of the store. NO_MEMORY
     * may pass; any other failure means that the value is lost. */
    enum emac_status (*read)(void *ctx, uint8_t *out, size_t size, struct emac_err *err);
    void (*release)(void *ctx); /* nobody will read again; from any thread */
    void *ctx;
};
struct store_away {
    size_t size;
    const void *head; /* copied; what readers of the file's beginning need not bring it for */
    size_t head_size;
    const uint8_t (*leaf)[32]; /* SHA-256 of each UNIXFS_CHUNK bytes, the last of what is left */
    struct store_origin origin;
};
/* As store_value_adopt. The origin is released on failure, and when the store has the value. */
enum emac_status store_value_adopt_away(struct store *s, const struct store_away *a,
                                        const struct store_value **out, struct emac_err *err);
/* The bytes of a value that the caller holds. NO_MEMORY; UNAVAILABLE when it is lost. */
enum emac_status store_value_bytes(struct store *s, const struct store_value *v,
                                   const uint8_t **out, struct emac_err *err);
bool store_value_is_away(struct store *s, const struct cid *cid);
/* Its origin is about to end: a value that is away and held is brought, one that nobody holds is
 * let go. NO_MEMORY: it is as it was. */
enum emac_status store_value_land(struct store *s, const struct cid *cid, struct emac_err *err);
/* Its origin has ended: a value that is away is lost. Any other stays. */
void store_value_lose(struct store *s, const struct cid *cid);
uint32_t store_hash_threads(const struct store *s);

/* ---- files and DAGs ---- */
/* Where a unixfs_builder puts its blocks: `ctx` is the store. */
unixfs_block_fn store_block_emit;
/* Add bytes as a UnixFS file; out->name is left as it is. */
enum emac_status store_bytes_add(struct store *s, struct emac_slice bytes, struct unixfs_link *out,
                                 struct emac_err *err);
/* Add a file of the file system as UnixFS blocks, streaming. */
enum emac_status store_file_add(struct store *s, const char *path, struct cid *root, uint64_t *size,
                                struct emac_err *err);
/* Write the file `root` to `path` (atomically: a failed export leaves nothing). */
enum emac_status store_file_export(struct store *s, const struct cid *root, const char *path,
                                   struct emac_err *err);
/* Bytes [offset, offset+n) of a file, reading only the blocks needed. */
enum emac_status store_file_read(struct store *s, const struct cid *root, uint64_t offset,
                                 void *out, size_t n, struct emac_err *err);
enum emac_status store_file_size(struct store *s, const struct cid *root, uint64_t *size,
                                 struct emac_err *err);
/* Visit the blocks of the DAG under root depth-first, each once (present ones: present=true).
 * Follows dag-pb links, and CIDs inside dag-cbor. A failure of `each` stops the walk and is
 * returned. */
enum emac_status store_dag_walk(struct store *s, const struct cid *root,
                                enum emac_status (*each)(void *ctx, const struct cid *cid,
                                                         bool present),
                                void *ctx, struct emac_err *err);
/* First missing blocks, at most `cap`; *count = 0 means complete. */
enum emac_status store_dag_missing(struct store *s, const struct cid *root, struct cid *out,
                                   size_t cap, size_t *count, struct emac_err *err);

/* ---- pins, gc, figures ---- */
/* A DAG comes together block by block: from begin to end no block that is put is collected, so its
 * first blocks do not make room for its last ones. Pin it before the end, or let it go. The struct
 * is the caller's and need not be set up. */
struct store_building {
    uint64_t since;
    struct store_building *newer, *older;
};
void store_building_begin(struct store *s, struct store_building *b);
void store_building_end(struct store *s, struct store_building *b);
/* Pins are named (job id, "data", ...), persist with the store, and nest: a root stays pinned while
 * any name pins it. A name has 1 to 80 bytes; pinning the same root twice by one name is one pin.
 * The DAG need not be complete: what is there is kept, and what arrives later, too. NO_SPACE when
 * what was in memory only does not fit. */
enum emac_status store_pin(struct store *s, const char *name, const struct cid *root,
                           struct emac_err *err);
/* NOT_FOUND when there is no such pin. */
enum emac_status store_unpin(struct store *s, const char *name, const struct cid *root,
                             struct emac_err *err);
/* Remove unpinned blocks until the disk holds at most target_bytes, or only pinned ones remain. */
enum emac_status store_gc(struct store *s, uint64_t target_bytes, uint64_t *freed,
                          struct emac_err *err);
/* Is root itself pinned, by any name? */
bool store_pinned(struct store *s, const struct cid *root);
struct store_stats {
    uint64_t disk_bytes, disk_blocks, disk_quota, memory_bytes, values;
};
void store_stats(struct store *s, struct store_stats *out);

#endif

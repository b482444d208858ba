/* Blocks on disk: one file each, and an index of them in memory.
 *
 * BLK-1  A block in the index that is not busy has a whole file (or `data`), written by us or found
 *        at the start; its bytes are believed only after hashing (INV-1).
 * BLK-2  disk_bytes is the sum of the sizes in the index. A put adds its size before it writes, so
 *        the quota holds at every moment (INV-3).
 * BLK-3  The list runs from the block used last to the one used longest ago. `put` is the time of
 *        the last put, by a clock that counts them; a building protects what was put since it
 *        began.
 * BLK-4  Only the thread that set `busy` touches the file and clears or removes the entry.
 *
 *   absent  --put-->            busy  --written--> present, --failed--> absent
 *   present --bad, swept-->     busy  --removed--> absent,  --sound after all--> present */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "store/internal.h"

#define PUT_TRIES 3

enum dir_state { DIR_UNKNOWN, DIR_MADE, DIR_SYNCED };

/* ---- paths: blocks/<the 2 letters before the last>/<cid>, for the first letters of a CID are the
 * same in all and the last holds 3 bits only ---- */

static size_t letter(char c)
{
    return c >= 'a' && c <= 'z' ? (size_t)(c - 'a') : (size_t)(c - '2') + 26;
}

static size_t dir_of(const char *text, char dir[3])
{
    size_t n = strlen(text);
    EMAC_ASSERT(n > 3);
    dir[0] = text[n - 3];
    dir[1] = text[n - 2];
    dir[2] = '\0';
    size_t i = letter(dir[0]) * 32 + letter(dir[1]);
    EMAC_ASSERT(i < STORE_DIRS);
    return i;
}

static size_t block_path(const struct store *s, const struct cid *cid, char path[OS_PATH_MAX])
{
    char text[CID_TEXT_MAX], dir[3];
    cid_text(text, cid);
    size_t i = dir_of(text, dir);
    int n = snprintf(path, OS_PATH_MAX, "%s/blocks/%s/%s", s->dir, dir, text);
    EMAC_ASSERT(n > 0 && n < OS_PATH_MAX);
    return i;
}

/* ---- the list by use; under lock ---- */

static void list_unlink(struct store *s, struct store_block *b)
{
    if (b->newer != NULL)
        b->newer->older = b->older;
    else
        s->block_newest = b->older;
    if (b->older != NULL)
        b->older->newer = b->newer;
    else
        s->block_oldest = b->newer;
    b->newer = b->older = NULL;
}

static void list_push(struct store *s, struct store_block *b)
{
    b->newer = NULL;
    b->older = s->block_newest;
    if (b->older != NULL)
        b->older->newer = b;
    else
        s->block_oldest = b;
    s->block_newest = b;
}

static enum emac_status index_add(struct store *s, const struct cid *cid, size_t n, bool busy,
                                  struct store_block **out, struct emac_err *err)
{
    struct store_block *b;
    enum emac_status st = emac_alloc(&b, 1, sizeof *b, err);
    if (st != EMAC_OK)
        return st;
    b->cid = *cid;
    b->size = (uint32_t)n;
    b->busy = busy;
    st = cid_map_put(&s->block, cid, b, err);
    if (st != EMAC_OK) {
        free(b);
        return st;
    }
    list_push(s, b);
    b->put = ++s->clock;
    s->disk_bytes += n;
    *out = b;
    return EMAC_OK;
}

static void index_drop(struct store *s, struct store_block *b)
{
    cid_map_remove(&s->block, &b->cid);
    list_unlink(s, b);
    s->disk_bytes -= b->size;
    free(b->data);
    free(b);
}

/* The entry once nobody is busy with it; NULL when absent. */
static struct store_block *lookup(struct store *s, const struct cid *cid)
{
    struct store_block *b;
    while ((b = cid_map_get(&s->block, cid)) != NULL && b->busy)
        os_cond_wait(&s->changed, &s->lock);
    return b;
}

static void touch(struct store *s, struct store_block *b)
{
    list_unlink(s, b);
    list_push(s, b);
}

/* ---- start ---- */

struct scan {
    struct store *s;
    const char *dir;
    size_t ignored;
};

static enum emac_status scan_file(void *ctx, const char *name)
{
    struct scan *scan = ctx;
    struct store *s = scan->s;
    char path[OS_PATH_MAX], text[CID_TEXT_MAX] = "", dir[3];
    struct cid cid;
    uint64_t size;
    struct store_block *b;
    int n = snprintf(path, sizeof path, "%s/blocks/%s/%s", s->dir, scan->dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return EMAC_OK;
    if (strncmp(name, OS_TMP_PREFIX, strlen(OS_TMP_PREFIX)) == 0) {
        s->os->file_remove(s->os, path, NULL);
        return EMAC_OK;
    }
    if (cid_parse(&cid, name, NULL) == EMAC_OK)
        cid_text(text, &cid);
    /* Only the one right name in the one right directory is a block of ours. */
    bool ours = strcmp(text, name) == 0 && (dir_of(text, dir), strcmp(dir, scan->dir) == 0);
    if (!ours || s->os->file_size(s->os, path, &size, NULL) != EMAC_OK || size > UNIXFS_BLOCK_MAX) {
        scan->ignored++;
        return EMAC_OK;
    }
    return index_add(s, &cid, (size_t)size, false, &b, NULL);
}

static enum emac_status scan_dir(void *ctx, const char *name)
{
    struct scan *scan = ctx;
    struct store *s = scan->s;
    char path[OS_PATH_MAX];
    struct emac_err err;
    if (strlen(name) != 2 || strspn(name, "abcdefghijklmnopqrstuvwxyz234567") != 2) {
        scan->ignored++;
        return EMAC_OK;
    }
    snprintf(path, sizeof path, "%s/blocks/%s", s->dir, name);
    scan->dir = name;
    enum emac_status st = s->os->dir_list(s->os, path, scan_file, scan, &err);
    if (st == EMAC_NO_MEMORY)
        return st;
    if (st != EMAC_OK) {
        LOG_W("store", "blocks under '%s' are left out: %s", path, err.text);
        return EMAC_OK;
    }
    s->dir_state[letter(name[0]) * 32 + letter(name[1])] = DIR_MADE;
    return EMAC_OK;
}

enum emac_status store_blocks_open(struct store *s, struct emac_err *err)
{
    char path[OS_PATH_MAX];
    struct scan scan = {.s = s};
    snprintf(path, sizeof path, "%s/blocks", s->dir);
    enum emac_status st = s->os->dir_make(s->os, path, err);
    if (st == EMAC_OK)
        st = s->os->dir_list(s->os, path, scan_dir, &scan, err);
    if (scan.ignored > 0)
        LOG_W("store", "%zu files under '%s' are no blocks and were ignored", scan.ignored, path);
    return st;
}

void store_blocks_release(struct store *s)
{
    while (s->block_newest != NULL)
        index_drop(s, s->block_newest);
    cid_map_release(&s->block);
}

/* ---- put ---- */

static enum emac_status dir_ready(struct store *s, size_t i, const char *file, bool durable,
                                  struct emac_err *err)
{
    enum dir_state want = durable ? DIR_SYNCED : DIR_MADE;
    os_mutex_lock(&s->lock);
    enum dir_state is = (enum dir_state)s->dir_state[i];
    os_mutex_unlock(&s->lock);
    if (is >= want)
        return EMAC_OK;
    char dir[OS_PATH_MAX];
    emac_strcpy(dir, sizeof dir, file);
    *strrchr(dir, '/') = '\0';
    enum emac_status st = s->os->dir_make(s->os, dir, err);
    if (st == EMAC_OK && durable)
        st = s->os->file_sync(s->os, dir, err);
    if (st == EMAC_OK) {
        os_mutex_lock(&s->lock);
        if ((enum dir_state)s->dir_state[i] < want)
            s->dir_state[i] = (uint8_t)want;
        os_mutex_unlock(&s->lock);
    }
    return st;
}

/* Write the contents of a busy entry. */
static enum emac_status contents_write(struct store *s, struct store_block *b, const void *data,
                                       bool durable, struct emac_err *err)
{
    if (s->dir == NULL) {
        enum emac_status st = emac_alloc(&b->data, 1, b->size, err);
        if (st == EMAC_OK && b->size > 0)
            memcpy(b->data, data, b->size);
        return st;
    }
    char path[OS_PATH_MAX];
    size_t i = block_path(s, &b->cid, path);
    enum emac_status st = dir_ready(s, i, path, durable, err);
    if (st != EMAC_OK)
        return st;
    if (durable)
        st = s->os->file_write(s->os, path, data, b->size, 0600, err);
    else
        st = s->os->file_write_fast(s->os, path, data, b->size, 0600, err);
    /* The file may be there when only the last sync failed; the index will not know it. */
    if (st != EMAC_OK)
        s->os->file_remove(s->os, path, NULL);
    return st;
}

/* Reserve an entry to write, or find the one there is (*found). NO_SPACE when over quota. */
static enum emac_status put_begin(struct store *s, const struct cid *cid, size_t n,
                                  struct store_block **out, bool *found, bool *synced,
                                  struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    os_mutex_lock(&s->lock);
    struct store_block *b = lookup(s, cid);
    *found = b != NULL;
    if (b != NULL) {
        *synced = b->durable;
        touch(s, b);
        b->put = ++s->clock;
    } else if (n > s->disk_quota || s->disk_bytes > s->disk_quota - n) {
        st = emac_fail(err, EMAC_NO_SPACE,
                       "the store holds %llu of %llu bytes and all of it is pinned or being "
                       "written: unpin data or raise the quota to keep %zu more",
                       (unsigned long long)s->disk_bytes, (unsigned long long)s->disk_quota, n);
    } else {
        st = index_add(s, cid, n, true, out, err);
    }
    os_mutex_unlock(&s->lock);
    return st;
}

static void put_end(struct store *s, struct store_block *b, bool written, bool durable)
{
    os_mutex_lock(&s->lock);
    if (written) {
        b->busy = false;
        b->checked = true;
        b->durable = durable;
    } else {
        index_drop(s, b);
    }
    os_cond_broadcast(&s->changed);
    os_mutex_unlock(&s->lock);
}

static enum emac_status put_once(struct store *s, const struct cid *cid, const void *data, size_t n,
                                 bool durable, struct emac_err *err)
{
    struct store_block *b = NULL;
    bool found, synced = false;
    enum emac_status st = put_begin(s, cid, n, &b, &found, &synced, err);
    if (st != EMAC_OK)
        return st;
    if (found)
        return durable && !synced ? store_blocks_sync(s, cid, err) : EMAC_OK;
    st = contents_write(s, b, data, durable, err);
    put_end(s, b, st == EMAC_OK, durable);
    return st;
}

enum emac_status store_blocks_put(struct store *s, const struct cid *cid, const void *data,
                                  size_t n, bool durable, struct emac_err *err)
{
    EMAC_ASSERT(n <= UNIXFS_BLOCK_MAX);
    for (int tries = 0;; tries++) {
        enum emac_status st = put_once(s, cid, data, n, durable, err);
        uint64_t freed;
        if (st != EMAC_NO_SPACE || tries == PUT_TRIES)
            return st;
        /* Other threads may take the room that was made, so there is more than one try. */
        if (store_room_make(s, n, &freed, NULL) != EMAC_OK || freed == 0)
            return st;
    }
}

/* ---- get ---- */

static enum emac_status contents_read(struct store *s, const struct cid *cid, void *out, size_t n,
                                      struct emac_err *err)
{
    char path[OS_PATH_MAX];
    block_path(s, cid, path);
    enum emac_status st = s->os->file_pread(s->os, path, 0, out, n, err);
    if (st != EMAC_OK)
        return st;
    struct cid is = cid_of((enum cid_codec)cid->codec, out, n);
    if (!cid_equal(&is, cid))
        return emac_fail(err, EMAC_CORRUPT, "the file of a block was changed or cut");
    return EMAC_OK;
}

/* A read found the block bad, or its file gone. It is read once more while it is ours alone, for it
 * may have been replaced since; then it goes. */
static void condemn(struct store *s, const struct cid *cid)
{
    char path[OS_PATH_MAX];
    uint8_t *again = NULL;
    os_mutex_lock(&s->lock);
    struct store_block *b = lookup(s, cid);
    if (b != NULL)
        b->busy = true;
    os_mutex_unlock(&s->lock);
    if (b == NULL)
        return;
    enum emac_status st = emac_alloc_aligned(&again, b->size, NULL);
    if (st == EMAC_OK)
        st = contents_read(s, cid, again, b->size, NULL);
    free(again);
    bool bad = st == EMAC_CORRUPT || st == EMAC_NOT_FOUND;
    if (bad) {
        block_path(s, cid, path);
        s->os->file_remove(s->os, path, NULL);
        LOG_W("store", "block '%s' was damaged on disk and is removed", store_name_of(cid).text);
    }
    os_mutex_lock(&s->lock);
    b->busy = false;
    if (bad)
        index_drop(s, b);
    os_cond_broadcast(&s->changed);
    os_mutex_unlock(&s->lock);
}

static enum emac_status fail_absent(const struct cid *cid, struct emac_err *err)
{
    return emac_fail(err, EMAC_NOT_FOUND, "block '%s' is not here: fetch it from a peer",
                     store_name_of(cid).text);
}

static void mark_checked(struct store *s, const struct cid *cid)
{
    os_mutex_lock(&s->lock);
    struct store_block *b = cid_map_get(&s->block, cid);
    if (b != NULL)
        b->checked = true;
    os_mutex_unlock(&s->lock);
}

/* true: served from memory, or absent; *st says which. */
static bool read_index(struct store *s, const struct cid *cid, void *out, size_t n,
                       enum emac_status *st, struct emac_err *err)
{
    bool done = true;
    *st = EMAC_OK;
    os_mutex_lock(&s->lock);
    struct store_block *b = lookup(s, cid);
    if (b == NULL || b->size != n) {
        *st = fail_absent(cid, err);
    } else {
        touch(s, b);
        done = b->data != NULL;
        if (done && n > 0)
            memcpy(out, b->data, n);
    }
    os_mutex_unlock(&s->lock);
    return done;
}

enum emac_status store_blocks_read(struct store *s, const struct cid *cid, void *out, size_t n,
                                   struct emac_err *err)
{
    enum emac_status st;
    if (read_index(s, cid, out, n, &st, err))
        return st;
    st = contents_read(s, cid, out, n, err);
    if (st == EMAC_OK)
        mark_checked(s, cid);
    if (st == EMAC_NOT_FOUND) {
        /* Collected a moment ago, or its file was taken away. */
        condemn(s, cid);
        return fail_absent(cid, err);
    }
    if (st == EMAC_CORRUPT) {
        condemn(s, cid);
        return emac_fail(err, EMAC_CORRUPT,
                         "block '%s' was damaged on disk and is removed: fetch it again",
                         store_name_of(cid).text);
    }
    return st;
}

bool store_blocks_has(struct store *s, const struct cid *cid, uint64_t *size)
{
    os_mutex_lock(&s->lock);
    /* Waits: one that is made durable just now, or proves sound, is there all the same. */
    const struct store_block *b = lookup(s, cid);
    bool has = b != NULL;
    if (has && size != NULL)
        *size = b->size;
    os_mutex_unlock(&s->lock);
    return has;
}

/* A file left by an earlier process may have been torn by a loss of power: read it before it is
 * promised to last. */
static enum emac_status recheck(struct store *s, const struct cid *cid, size_t size,
                                struct emac_err *err)
{
    uint8_t *data;
    enum emac_status st = emac_alloc_aligned(&data, size, err);
    if (st == EMAC_OK)
        st = store_blocks_read(s, cid, data, size, err);
    free(data);
    return st;
}

enum emac_status store_blocks_sync(struct store *s, const struct cid *cid, struct emac_err *err)
{
    char path[OS_PATH_MAX];
    os_mutex_lock(&s->lock);
    struct store_block *b = lookup(s, cid);
    bool needed = b != NULL && !b->durable && s->dir != NULL;
    bool checked = b == NULL || b->checked;
    size_t size = b != NULL ? b->size : 0;
    if (needed && checked)
        b->busy = true;
    os_mutex_unlock(&s->lock);
    if (b == NULL)
        return fail_absent(cid, err);
    if (!needed)
        return EMAC_OK;
    if (!checked) {
        enum emac_status st = recheck(s, cid, size, err);
        return st == EMAC_OK ? store_blocks_sync(s, cid, err) : st;
    }
    enum emac_status st = dir_ready(s, block_path(s, cid, path), path, true, err);
    if (st == EMAC_OK)
        st = s->os->file_sync(s->os, path, err);
    os_mutex_lock(&s->lock);
    b->busy = false;
    b->durable = st == EMAC_OK;
    os_cond_broadcast(&s->changed);
    os_mutex_unlock(&s->lock);
    return st;
}

bool store_blocks_put_again(struct store *s, const struct cid *cid)
{
    os_mutex_lock(&s->lock);
    struct store_block *b = lookup(s, cid);
    if (b != NULL) {
        touch(s, b);
        b->put = ++s->clock;
    }
    os_mutex_unlock(&s->lock);
    return b != NULL;
}

/* ---- removal ---- */

void store_building_begin(struct store *s, struct store_building *b)
{
    os_mutex_lock(&s->lock);
    *b = (struct store_building){.since = s->clock, .older = s->building_newest};
    if (b->older != NULL)
        b->older->newer = b;
    else
        s->building_oldest = b;
    s->building_newest = b;
    os_mutex_unlock(&s->lock);
}

void store_building_end(struct store *s, struct store_building *b)
{
    os_mutex_lock(&s->lock);
    if (b->newer != NULL)
        b->newer->older = b->older;
    else
        s->building_newest = b->older;
    if (b->older != NULL)
        b->older->newer = b->newer;
    else
        s->building_oldest = b->newer;
    os_mutex_unlock(&s->lock);
}

/* Under lock: choose victims and make them busy. */
static size_t sweep_choose(struct store *s, uint64_t bytes, struct store_block **victim, size_t cap)
{
    uint64_t chosen = 0;
    uint64_t limit = s->building_oldest != NULL ? s->building_oldest->since : UINT64_MAX;
    size_t count = 0;
    for (struct store_block *b = s->block_oldest; b != NULL && chosen < bytes && count < cap;
         b = b->newer) {
        if (b->busy || b->put > limit || cid_map_get(&s->marked, &b->cid) != NULL)
            continue;
        b->busy = true;
        chosen += b->size > 0 ? b->size : 1; /* so that empty blocks go too, and the loop ends */
        victim[count++] = b;
    }
    return count;
}

/* Returns bytes freed; a file that cannot be removed stays in the index. */
static uint64_t sweep_remove(struct store *s, struct store_block **victim, size_t count)
{
    char path[OS_PATH_MAX];
    uint64_t freed = 0;
    for (size_t i = 0; i < count; i++) {
        struct store_block *b = victim[i];
        enum emac_status st = EMAC_OK;
        if (s->dir != NULL) {
            block_path(s, &b->cid, path);
            st = s->os->file_remove(s->os, path, NULL);
        }
        bool gone = st == EMAC_OK || st == EMAC_NOT_FOUND;
        os_mutex_lock(&s->lock);
        b->busy = false;
        if (gone) {
            freed += b->size;
            index_drop(s, b);
        }
        os_cond_broadcast(&s->changed);
        os_mutex_unlock(&s->lock);
    }
    return freed;
}

uint64_t store_blocks_sweep(struct store *s, uint64_t bytes)
{
    struct store_block *victim[256];
    uint64_t freed = 0;
    while (freed < bytes) {
        os_mutex_lock(&s->lock);
        size_t count = sweep_choose(s, bytes - freed, victim, EMAC_COUNT(victim));
        os_mutex_unlock(&s->lock);
        uint64_t now = sweep_remove(s, victim, count);
        freed += now;
        if (now == 0)
            break;
    }
    return freed;
}

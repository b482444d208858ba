/* Pins: one file per name under pins/, its name percent-encoded, one CID a line, written whole and
 * durably each time. Order of a pin: the DAG is made durable, as a store_building so that no
 * collection takes a part of it meanwhile; then the list and the file, in one hold of pin_lock. So
 * a pin that was granted survives a loss of power with its DAG, and one that failed leaves no
 * trace. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "store/internal.h"
#include "store/walk.h"

#define PIN_ROOTS_MAX (1u << 22)
#define PIN_NAMES_MAX (1u << 20)

static char PINNED; /* what the sets of roots map to */

/* ---- names as file names ---- */

static bool plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static void file_of(const struct store *s, const char *name, char path[OS_PATH_MAX])
{
    int n = snprintf(path, OS_PATH_MAX, "%s/pins/", s->dir);
    EMAC_ASSERT(n > 0 && n + 3 * STORE_PIN_NAME_MAX < OS_PATH_MAX);
    char *p = path + n;
    for (; *name != '\0'; name++) {
        if (plain(*name))
            *p++ = *name;
        else
            p += snprintf(p, 4, "%%%02x", (unsigned char)*name);
    }
    *p = '\0';
}

/* The name a file stands for; false when it is no file of ours. */
static bool name_of(const char *file, char name[STORE_PIN_NAME_MAX + 1])
{
    size_t n = 0;
    for (; *file != '\0' && n < STORE_PIN_NAME_MAX; file++) {
        unsigned byte;
        if (plain(*file)) {
            name[n++] = *file;
        } else if (*file == '%' && strlen(file) >= 3 && sscanf(file + 1, "%2x", &byte) == 1 &&
                   byte != 0) {
            name[n++] = (char)byte;
            file += 2;
        } else {
            return false;
        }
    }
    name[n] = '\0';
    return *file == '\0' && n > 0;
}

static enum emac_status name_check(const char *name, struct emac_err *err)
{
    size_t n = strlen(name);
    if (n == 0 || n > STORE_PIN_NAME_MAX)
        return emac_fail(err, EMAC_INVALID, "the name of a pin has 1 to %d bytes, not %zu",
                         STORE_PIN_NAME_MAX, n);
    return EMAC_OK;
}

/* ---- the list; under pin_lock ---- */

static struct store_pin_name *find_name(struct store *s, const char *name)
{
    for (size_t i = 0; i < s->pin_count; i++)
        if (strcmp(s->pin[i].name, name) == 0)
            return &s->pin[i];
    return NULL;
}

static enum emac_status add_name(struct store *s, const char *name, struct store_pin_name **out,
                                 struct emac_err *err)
{
    enum emac_status st =
        store_array_grow(&s->pin, s->pin_count, &s->pin_cap, sizeof *s->pin, PIN_NAMES_MAX, err);
    if (st != EMAC_OK)
        return st;
    *out = &s->pin[s->pin_count++];
    **out = (struct store_pin_name){.name = emac_strdup(name)};
    cid_map_init(&(*out)->root, s->secret);
    return EMAC_OK;
}

static enum emac_status list_add(struct store *s, const char *name, const struct cid *root,
                                 struct emac_err *err)
{
    struct store_pin_name *p = find_name(s, name);
    enum emac_status st = EMAC_OK;
    if (p == NULL)
        st = add_name(s, name, &p, err);
    if (st == EMAC_OK && p->unread)
        st = emac_fail(err, EMAC_CONFLICT,
                       "the pins of '%s' could not be read at the start: repair the file and "
                       "start again",
                       name);
    if (st != EMAC_OK || cid_map_get(&p->root, root) != NULL)
        return st;
    if (p->root.count >= PIN_ROOTS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "'%s' pins %u roots already, the most there can be",
                         name, PIN_ROOTS_MAX);
    st = cid_map_put(&p->root, root, &PINNED, err);
    if (st == EMAC_OK)
        s->marked_valid = false;
    return st;
}

static bool list_remove(struct store *s, const char *name, const struct cid *root)
{
    struct store_pin_name *p = find_name(s, name);
    if (p == NULL || cid_map_remove(&p->root, root) == NULL)
        return false;
    s->marked_valid = false;
    return true;
}

/* ---- the file of one name ---- */

static enum emac_status name_write(struct store *s, const char *name, struct emac_err *err)
{
    const struct store_pin_name *p = find_name(s, name);
    const struct cid_slot *slot;
    char path[OS_PATH_MAX];
    struct emac_buf text;
    enum emac_status st = EMAC_OK;
    if (s->dir == NULL)
        return EMAC_OK;
    file_of(s, name, path);
    emac_buf_init(&text, STORE_PIN_FILE_MAX);
    for (size_t at = 0; (slot = cid_map_next(&p->root, &at)) != NULL;)
        EMAC_TRY(st, emac_buf_printf(&text, err, "%s\n", store_name_of(&slot->cid).text));
    if (text.len > 0)
        st = s->os->file_write(s->os, path, text.data, text.len, 0600, err);
    else if ((st = s->os->file_remove(s->os, path, err)) == EMAC_NOT_FOUND)
        st = EMAC_OK;
out:
    emac_buf_release(&text);
    return st;
}

/* Each line that is a CID counts, whatever became of the others: to pin too much is safe. */
static void lines_read(struct store *s, const char *name, char *text)
{
    for (char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        bool last = line[n] == '\0';
        line[n] = '\0';
        struct cid cid;
        if (cid_parse(&cid, line, NULL) != EMAC_OK || list_add(s, name, &cid, NULL) != EMAC_OK)
            LOG_W("store", "a line of the pins of '%s' is damaged and was ignored", name);
        line += n + (last ? 0 : 1);
    }
}

/* The start must not fail for one bad file, and a collection that does not know all pins would
 * destroy data: so this store starts, and collects nothing. */
static enum emac_status name_unread(struct store *s, const char *name, const struct emac_err *why)
{
    struct store_pin_name *p = find_name(s, name);
    LOG_E("store", "nothing will be collected, for the pins of '%s' cannot be read: %s", name,
          why->text);
    if (p == NULL && add_name(s, name, &p, NULL) != EMAC_OK)
        return EMAC_NO_MEMORY;
    p->unread = true;
    s->pin_unread = true;
    return EMAC_OK;
}

static enum emac_status pin_file(void *ctx, const char *file)
{
    struct store *s = ctx;
    char path[OS_PATH_MAX], name[STORE_PIN_NAME_MAX + 1];
    struct emac_buf text;
    struct emac_err err;
    int n = snprintf(path, sizeof path, "%s/pins/%s", s->dir, file);
    if (n < 0 || (size_t)n >= sizeof path)
        return EMAC_OK;
    if (strncmp(file, OS_TMP_PREFIX, strlen(OS_TMP_PREFIX)) == 0) {
        s->os->file_remove(s->os, path, NULL);
        return EMAC_OK;
    }
    bool ours = name_of(file, name);
    char again[OS_PATH_MAX];
    if (ours)
        file_of(s, name, again);
    if (!ours || strcmp(again, path) != 0) {
        LOG_W("store", "'%s' is no list of pins and was ignored", path);
        return EMAC_OK;
    }
    emac_buf_init(&text, STORE_PIN_FILE_MAX);
    enum emac_status st = s->os->file_read(s->os, path, &text, &err);
    if (st != EMAC_OK)
        st = name_unread(s, name, &err);
    else if (text.len > 0)
        lines_read(s, name, (char *)text.data);
    emac_buf_release(&text);
    return st;
}

enum emac_status store_pins_open(struct store *s, struct emac_err *err)
{
    char path[OS_PATH_MAX];
    snprintf(path, sizeof path, "%s/pins", s->dir);
    enum emac_status st = s->os->dir_make(s->os, path, err);
    /* So that the first pin cannot be lost with its directory. */
    if (st == EMAC_OK)
        st = s->os->file_sync(s->os, path, err);
    return st == EMAC_OK ? s->os->dir_list(s->os, path, pin_file, s, err) : st;
}

void store_pins_release(struct store *s)
{
    for (size_t i = 0; i < s->pin_count; i++) {
        free(s->pin[i].name);
        cid_map_release(&s->pin[i].root);
    }
    free(s->pin);
}

/* ---- making a DAG durable ---- */

struct sync {
    struct store *s;
    struct cid *cid;
    size_t count, cap;
    struct os_mutex lock; /* guards what follows */
    enum emac_status st;
    struct emac_err err;
};

static enum emac_status sync_block(struct store *s, const struct cid *cid, struct emac_err *err)
{
    const struct store_part *part;
    enum emac_status st = store_part_hold(s, cid, &part, err);
    if (st != EMAC_OK || part == NULL)
        return st != EMAC_OK ? st : store_blocks_sync(s, cid, err);
    st = store_blocks_put(s, cid, part->data, part->size, true, err);
    store_value_drop(s, &part->value->pub);
    return st;
}

static void sync_one(void *ctx, size_t i)
{
    struct sync *y = ctx;
    struct emac_err err;
    os_mutex_lock(&y->lock);
    bool go = y->st == EMAC_OK;
    os_mutex_unlock(&y->lock);
    enum emac_status st = go ? sync_block(y->s, &y->cid[i], &err) : EMAC_OK;
    if (st == EMAC_OK)
        return;
    os_mutex_lock(&y->lock);
    y->st = st;
    y->err = err;
    os_mutex_unlock(&y->lock);
}

enum emac_status store_dag_sync(struct store *s, const struct cid *root, struct emac_err *err)
{
    struct store_walk_options all = {.scope = STORE_SCOPE_ALL, .to = UINT64_MAX};
    struct sync y = {.s = s};
    const struct store_value *v = store_value_find(s, root);
    struct store_walk *w = NULL;
    struct store_walk_item item;
    enum emac_status st;
    os_mutex_init(&y.lock);
    EMAC_TRY(st, store_walk_new(s, root, &all, &w, err));
    for (;;) {
        EMAC_TRY(st, store_walk_next(w, &item, err));
        if (cid_is_none(&item.cid))
            break;
        bool on_disk = item.present && store_blocks_put_again(s, &item.cid);
        if (!on_disk && !store_part_has(s, &item.cid, NULL))
            continue;
        EMAC_TRY(st,
                 store_array_grow(&y.cid, y.count, &y.cap, sizeof *y.cid, STORE_ITEMS_MAX, err));
        y.cid[y.count++] = item.cid;
    }
    store_parallel(s, y.count, sync_one, &y);
    st = y.st;
    if (st != EMAC_OK && err != NULL)
        *err = y.err;
out:
    store_walk_free(w);
    store_value_drop(s, v);
    free(y.cid);
    os_mutex_release(&y.lock);
    return st;
}

enum emac_status store_value_persist(struct store *s, const struct cid *cid, struct emac_err *err)
{
    struct store_building building;
    struct cid missing;
    size_t count;
    store_building_begin(s, &building);
    enum emac_status st = store_dag_sync(s, cid, err);
    if (st == EMAC_OK)
        st = store_dag_missing(s, cid, &missing, 1, &count, err);
    if (st == EMAC_OK && count > 0)
        st = emac_fail(err, EMAC_NOT_FOUND, "'%s' cannot be kept, its block '%s' is not here",
                       store_name_of(cid).text, store_name_of(&missing).text);
    store_building_end(s, &building);
    return st;
}

/* ---- pin and unpin ---- */

static bool pinned_by(struct store *s, const char *name, const struct cid *root)
{
    const struct store_pin_name *p = find_name(s, name);
    return p != NULL && cid_map_get(&p->root, root) != NULL;
}

/* Into the list and the file, or neither. */
static enum emac_status pin_note(struct store *s, const char *name, const struct cid *root,
                                 struct emac_err *err)
{
    if (pinned_by(s, name, root))
        return EMAC_OK;
    enum emac_status st = list_add(s, name, root, err);
    if (st != EMAC_OK)
        return st;
    st = name_write(s, name, err);
    if (st != EMAC_OK)
        list_remove(s, name, root);
    return st;
}

enum emac_status store_pin(struct store *s, const char *name, const struct cid *root,
                           struct emac_err *err)
{
    struct store_building building;
    enum emac_status st = name_check(name, err);
    if (st != EMAC_OK)
        return st;
    store_building_begin(s, &building);
    st = store_dag_sync(s, root, err);
    if (st == EMAC_OK) {
        os_mutex_lock(&s->pin_lock);
        st = pin_note(s, name, root, err);
        os_mutex_unlock(&s->pin_lock);
    }
    store_building_end(s, &building);
    return st;
}

enum emac_status store_unpin(struct store *s, const char *name, const struct cid *root,
                             struct emac_err *err)
{
    enum emac_status st = name_check(name, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&s->pin_lock);
    if (!list_remove(s, name, root)) {
        st = emac_fail(err, EMAC_NOT_FOUND, "'%s' is not pinned by '%s'", store_name_of(root).text,
                       name);
    } else {
        st = name_write(s, name, err);
        /* What the file still says must stay true. */
        if (st != EMAC_OK)
            (void)list_add(s, name, root, NULL);
    }
    os_mutex_unlock(&s->pin_lock);
    return st;
}

bool store_pinned(struct store *s, const struct cid *root)
{
    bool pinned = false;
    os_mutex_lock(&s->pin_lock);
    for (size_t i = 0; i < s->pin_count && !pinned; i++)
        pinned = cid_map_get(&s->pin[i].root, root) != NULL;
    os_mutex_unlock(&s->pin_lock);
    return pinned;
}

#include "node/private.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define PRIVATE_BYTES_MAX (1u << 20)
#define PRIVATE_PIN       "private"

static char *list_path(const char *dir)
{
    return emac_asprintf("%s/private", dir);
}

/* ---- which blocks ---- */

static enum emac_status block_note(void *ctx, const struct cid *cid, bool present)
{
    struct private_data *p = ctx;
    return cid_map_put(&p->block, cid, p, NULL);
}

static enum emac_status line_take(struct private_data *p, struct store *s, const char *line,
                                  struct emac_err *err)
{
    struct cid cid;
    enum emac_status st = cid_parse(&cid, line, err);
    return st == EMAC_OK ? store_dag_walk(s, &cid, block_note, p, err) : st;
}

enum emac_status private_open(struct private_data *p, struct os *os, const char *dir,
                              struct store *s, struct emac_err *err)
{
    struct emac_buf text;
    uint64_t secret;
    char *path = list_path(dir), *save = NULL;
    os->entropy(os, &secret, sizeof secret);
    cid_map_init(&p->block, secret);
    emac_buf_init(&text, PRIVATE_BYTES_MAX);
    enum emac_status st = os->file_read(os, path, &text, err);
    if (st == EMAC_OK) {
        char *all = emac_strndup(emac_buf_str(&text), text.len);
        for (char *line = strtok_r(all, "\n", &save); line != NULL && st == EMAC_OK;
             line = strtok_r(NULL, "\n", &save))
            st = line_take(p, s, line, err);
        free(all);
        if (st != EMAC_OK) /* better no rig than one that tells what it should keep */
            emac_wrap(err, "'%s'", path);
    } else if (st == EMAC_NOT_FOUND) {
        st = EMAC_OK;
    }
    emac_buf_release(&text);
    free(path);
    return st;
}

void private_release(struct private_data *p)
{
    cid_map_release(&p->block);
}

static enum emac_status block_refuse(void *ctx, const struct cid *cid, bool present)
{
    const struct private_data *p = ctx;
    return cid_map_get(&p->block, cid) != NULL ? EMAC_FORBIDDEN : EMAC_OK;
}

/* What cannot be walked to its end may hold some behind it. */
bool private_holds(const struct private_data *p, struct store *s, const struct cid *root)
{
    return p->block.count > 0 &&
           store_dag_walk(s, root, block_refuse, (void *)(uintptr_t)p, NULL) != EMAC_OK;
}

/* ---- keeping one more ---- */

enum emac_status private_note(struct os *os, const char *dir, struct store *s,
                              const struct cid *file, const struct cid *root, struct emac_err *err)
{
    struct emac_buf text;
    char *list = list_path(dir), name[CID_TEXT_MAX];
    emac_buf_init(&text, PRIVATE_BYTES_MAX);
    enum emac_status st = os->file_read(os, list, &text, err);
    EMAC_TRY(st, st == EMAC_NOT_FOUND ? EMAC_OK : st);
    EMAC_TRY(st, store_pin(s, PRIVATE_PIN, root, err));
    cid_text(name, file);
    if (text.len > 0 && strstr(emac_buf_str(&text), name) != NULL)
        goto out;
    EMAC_TRY(st, emac_buf_append(&text, name, strlen(name), err));
    EMAC_TRY(st, emac_buf_append(&text, "\n", 1, err));
    st = os->file_write(os, list, text.data, text.len, 0600, err);
out:
    emac_buf_release(&text);
    free(list);
    return st;
}

enum emac_status private_keep(struct os *os, const char *dir, struct store *s, const char *path,
                              struct cid *cid, uint64_t *size, struct emac_err *err)
{
    enum emac_status st = store_file_add(s, path, cid, size, err);
    return st == EMAC_OK ? private_note(os, dir, s, cid, cid, err) : st;
}

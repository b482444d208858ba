/* The home directory ($EMAC_HOME, ~/.emac): wallet.key, store/; and files that users name. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "codec/yaml.h"

static enum emac_status home_dir(struct cli *c, char *out, size_t cap)
{
    const char *user = getenv("HOME");
    int n = c->home && *c->home ? snprintf(out, cap, "%s", c->home)
                                : snprintf(out, cap, "%s/.emac", user && *user ? user : ".");
    if (n < 0 || (size_t)n >= cap)
        return emac_fail(&c->err, EMAC_INVALID, "the home directory's path is too long");
    return c->os->dir_make(c->os, out, &c->err);
}

enum emac_status cli_home_path(struct cli *c, const char *name, char *out, size_t cap)
{
    char dir[OS_PATH_MAX];
    enum emac_status st = home_dir(c, dir, sizeof(dir));
    if (st != EMAC_OK)
        return st;
    int n = snprintf(out, cap, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= cap)
        return emac_fail(&c->err, EMAC_INVALID, "the path of '%s' is too long", name);
    return EMAC_OK;
}

enum emac_status cli_store(struct cli *c, struct store **out)
{
    char dir[OS_PATH_MAX];
    enum emac_status st = cli_home_path(c, "store", dir, sizeof(dir));
    if (st != EMAC_OK)
        return st;
    struct store_config cfg = {.os = c->os, .dir = dir, .hash_threads = 1};
    return store_open(&cfg, out, &c->err);
}

enum emac_status cli_identity(struct cli *c)
{
    if (c->has_identity)
        return EMAC_OK;
    char path[OS_PATH_MAX];
    enum emac_status st = cli_home_path(c, "wallet.key", path, sizeof(path));
    if (st != EMAC_OK)
        return st;
    st = identity_load(c->os, path, &c->identity, &c->err);
    if (st == EMAC_NOT_FOUND) {
        st = identity_create(c->os, path, &c->identity, &c->err);
        if (st == EMAC_OK && !c->quiet)
            fprintf(stderr, "emac: made a new wallet %s in '%s'; keep a copy of that file\n",
                    c->identity.did, path);
    }
    c->has_identity = st == EMAC_OK;
    return st;
}

enum emac_status cli_http(struct cli *c, struct http_client **out)
{
    enum emac_status st = EMAC_OK;
    if (!c->http)
        st = http_client_new(&c->http, &c->err);
    *out = c->http;
    return st;
}

enum emac_status cli_file_put(struct cli *c, const char *dir, const char *name,
                              const struct emac_buf *content)
{
    char *path = emac_asprintf("%s/%s", dir, name);
    enum emac_status st =
        c->os->file_write(c->os, path, content->data, content->len, 0644, &c->err);
    free(path);
    return st;
}

enum emac_status cli_beside(struct cli *c, const char *path, const char *file, char *out,
                            size_t cap)
{
    const char *slash = strrchr(path, '/');
    int n = file[0] == '/' || !slash
                ? snprintf(out, cap, "%s", file)
                : snprintf(out, cap, "%.*s/%s", (int)(slash - path), path, file);
    if (n < 0 || (size_t)n >= cap)
        return emac_fail(&c->err, EMAC_INVALID, "the path of '%s' is too long", file);
    return EMAC_OK;
}

enum emac_status cli_yaml_file(struct cli *c, const char *path, size_t max, json_t **out)
{
    struct emac_buf text;
    emac_buf_init(&text, max);
    *out = NULL;
    enum emac_status st = c->os->file_read(c->os, path, &text, &c->err);
    if (st == EMAC_OK)
        st = yaml_to_json(emac_buf_str(&text), text.len, out, &c->err);
    emac_buf_release(&text);
    return st;
}

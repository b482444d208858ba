/* Calls to the coordinator, and files from it. */
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/cli.h"
#include "cli/data_tokens.h"
#include "codec/yaml.h"
#include "exchange/exchange.h"
#include "os/process.h"

#include "work/base.h"
#include "work/corpus.h"

#define FETCH_MAX       (UINT64_C(1) << 44)
#define PROVIDERS_MAX   16
#define CALL_TIMEOUT_MS 60000
#define RANDOM_MAX      32
#define PAUSE_SHARE     20
#define PAUSE_LEAST_MS  20
#define PAUSE_MOST_MS   500
#define POST_TRIES      5
#define POST_AGAIN_MS   500 /* doubled each time */

static bool stop_asked(void *ctx)
{
    return os_stop_requested();
}

void cli_pause(struct cli *c, uint64_t since_ns)
{
    uint64_t ms = (c->os->mono_ns(c->os) - since_ns) / 1000000 / PAUSE_SHARE;
    if (ms < PAUSE_LEAST_MS)
        ms = PAUSE_LEAST_MS;
    os_stop_wait(ms < PAUSE_MOST_MS ? (uint32_t)ms : PAUSE_MOST_MS);
}

char *cli_encoded(const char *text)
{
    static const char PLAIN[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:";
    char *out = malloc(3 * strlen(text) + 1), *to = out;
    EMAC_ASSERT(out != NULL);
    for (; *text != '\0'; text++) {
        if (strchr(PLAIN, *text) != NULL)
            *to++ = *text;
        else
            to += snprintf(to, 4, "%%%02X", (unsigned char)*text);
    }
    *to = '\0';
    return out;
}

void cli_random_hex(struct cli *c, char *out, size_t bytes)
{
    uint8_t random[RANDOM_MAX];
    EMAC_ASSERT(bytes <= sizeof random);
    c->os->entropy(c->os, random, bytes);
    emac_hex(out, random, bytes);
    crypto_wipe(random, sizeof random);
}

/* The usual address is one that nobody has named. */
static enum emac_status called(struct cli *c, enum emac_status st)
{
    if (st == EMAC_UNAVAILABLE && !c->url_given)
        emac_wrap(&c->err, "no coordinator at the default address; name one by --url or EMAC_URL, "
                           "or start one by 'emac up'");
    return st;
}

static enum emac_status parse_reply(struct cli *c, const char *url, struct http_reply *r,
                                    json_t **reply)
{
    if (!reply)
        return EMAC_OK;
    json_error_t e;
    *reply = json_loadb((const char *)r->body.data, r->body.len, JSON_REJECT_DUPLICATES, &e);
    if (*reply)
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_CORRUPT,
                     "the answer of '%s' is not JSON (%s): is this an EMAC coordinator?", url,
                     e.text);
}

enum emac_status cli_call(struct cli *c, const char *method, const char *path, json_t *body,
                          bool sign, json_t **reply)
{
    if (reply)
        *reply = NULL;
    struct http_client *http;
    char *url = emac_asprintf("%s%s", c->url, path);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct http_reply r = {0};
    enum emac_status st;
    EMAC_TRY(st, cli_http(c, &http));
    if (sign)
        EMAC_TRY(st, cli_identity(c));
    struct http_call call = {.method = method,
                             .url = url,
                             .body = EMAC_SLICE(text, text ? strlen(text) : 0),
                             .timeout_ms = CALL_TIMEOUT_MS,
                             .signer = sign ? &c->identity.signer : NULL,
                             .cancelled = stop_asked};
    st = http_client_call(http, &call, &r, &c->err);
    if (st == EMAC_OK)
        st = parse_reply(c, url, &r, reply);
    http_reply_release(&r);
    st = called(c, st);
out:
    json_decref(body);
    free(text);
    free(url);
    return st;
}

enum emac_status cli_post(struct cli *c, const char *path, json_t *body, json_t **reply)
{
    enum emac_status st = EMAC_OK;
    for (int attempt = 0; attempt < POST_TRIES; attempt++) {
        st = cli_call(c, "POST", path, json_incref(body), true, reply);
        if (st != EMAC_UNAVAILABLE || os_stop_requested())
            break;
        c->os->sleep_ms(c->os, POST_AGAIN_MS << attempt);
    }
    json_decref(body);
    return st;
}

/* What the depot lacks rigs may have, which are paid to keep it. Keeps the first error if not. */
static enum emac_status fetch_from_rigs(struct cli *c, struct store *s, struct http_client *http,
                                        const struct cid *cid, enum emac_status failed)
{
    struct emac_err first = c->err;
    struct exchange_source source[PROVIDERS_MAX];
    char text[CID_TEXT_MAX];
    json_t *reply = NULL, *p;
    size_t count = 0, i;
    uint64_t bytes = 0;
    cid_text(text, cid);
    char *path = emac_asprintf("/v1/providers/%s", text);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    free(path);
    json_array_foreach(json_object_get(reply, "providers"), i, p)
    {
        if (count < PROVIDERS_MAX && strcmp(cli_str(p, "node"), "depot") != 0)
            source[count++].base_url = cli_str(p, "url");
    }
    if (st == EMAC_OK && count > 0)
        st = exchange_fetch(s, http, cid, source, count, false, FETCH_MAX, &bytes, &c->err);
    json_decref(reply);
    if (st == EMAC_OK && count > 0)
        return EMAC_OK;
    c->err = first;
    return failed;
}

enum emac_status cli_fetch(struct cli *c, struct store *s, const struct cid *cid)
{
    struct cid missing;
    size_t count = 0;
    enum emac_status st = store_dag_missing(s, cid, &missing, 1, &count, &c->err);
    if (st != EMAC_OK || count == 0)
        return st;
    struct http_client *http;
    st = cli_http(c, &http);
    if (st != EMAC_OK)
        return st;
    uint64_t bytes = 0;
    struct exchange_source source = {.base_url = c->url};
    st = exchange_fetch(s, http, cid, &source, 1, false, FETCH_MAX, &bytes, &c->err);
    if (st != EMAC_OK)
        st = fetch_from_rigs(c, s, http, cid, st);
    return called(c, st);
}

enum emac_status cli_push(struct cli *c, struct store *s, const struct cid *cid)
{
    struct http_client *http;
    uint64_t bytes = 0;
    enum emac_status st = cli_identity(c);
    if (st == EMAC_OK)
        st = cli_http(c, &http);
    if (st == EMAC_OK)
        st = exchange_push(s, http, cid, c->url, &c->identity.signer, &bytes, &c->err);
    return called(c, st);
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

/* Bytes as they are, or cut by the tokenizer of the model that the job begins with. */
static enum emac_status text_add(struct cli *c, struct store *s, const char *path, struct job *job)
{
    char model[CID_TEXT_MAX];
    struct corpus corpus;
    bool bytes = true;
    enum emac_status st;
    if (!cid_is_none(&job->base) && !job_on_records(job))
        EMAC_TRY(st, data_tokens_bytes(c, s, &job->base, &bytes));
    if (!bytes) {
        cid_text(model, &job->base);
        EMAC_TRY(st, data_tokenize(c, s, path, model, false, &corpus, &job->data));
        return job_take_corpus(job, &corpus, &c->err);
    }
    EMAC_TRY(st, store_file_add(s, path, &job->data, &job->data_size, &c->err));
    st = store_pin(s, "data", &job->data, &c->err);
out:
    return st;
}

static enum emac_status add_data(struct cli *c, struct store *s, const char *job_path,
                                 const char *file, struct job *job)
{
    char path[OS_PATH_MAX];
    enum emac_status st = cli_beside(c, job_path, file, path, sizeof(path));
    if (st == EMAC_OK)
        st = text_add(c, s, path, job);
    return st == EMAC_OK ? st : emac_wrap(&c->err, "data.file of '%s'", job_path);
}

/* The job's data into the store, and what follows from them into the job. */
static enum emac_status take_data(struct cli *c, struct store *s, const char *path,
                                  const char *file, struct job *job)
{
    struct corpus corpus;
    struct dataset d;
    enum emac_status st;
    if (cid_is_none(&job->data))
        return add_data(c, s, path, file, job);
    st = cli_fetch(c, s, &job->data);
    if (st != EMAC_OK)
        return emac_wrap(&c->err, "data.cid of '%s'", path);
    if (!job_on_records(job)) {
        st = corpus_load(s, &job->data, &corpus, &c->err);
        return st == EMAC_OK ? job_take_corpus(job, &corpus, &c->err) : st;
    }
    st = dataset_load(s, &job->data, &d, &c->err);
    if (st == EMAC_OK)
        st = job_take_dataset(job, &d, &c->err);
    dataset_release(&d);
    return st;
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

/* The base into the store, and what follows from it into the job file. */
static enum emac_status take_base(struct cli *c, struct store *s, json_t *root)
{
    const struct cid cid = base_cid(root);
    if (cid_is_none(&cid))
        return EMAC_OK;
    enum emac_status st = cli_fetch(c, s, &cid);
    return st == EMAC_OK ? base_complete(root, s, &c->err) : emac_wrap(&c->err, "base.cid");
}

enum emac_status cli_job_json(struct cli *c, struct store *s, const char *path, json_t *root,
                              struct job *out)
{
    char file[OS_PATH_MAX];
    enum emac_status st = take_base(c, s, root);
    if (st == EMAC_OK)
        st = job_from_json(out, root, file, sizeof(file), &c->err);
    if (st != EMAC_OK)
        return emac_wrap(&c->err, "job file '%s'", path);
    st = take_data(c, s, path, file, out);
    if (st != EMAC_OK)
        return st;
    st = job_check(out, &c->err);
    return st == EMAC_OK ? st : emac_wrap(&c->err, "job file '%s'", path);
}

enum emac_status cli_job_file(struct cli *c, struct store *s, const char *path, struct job *out)
{
    json_t *root = NULL;
    enum emac_status st = cli_yaml_file(c, path, JOB_FILE_MAX, &root);
    if (st == EMAC_OK)
        st = cli_job_json(c, s, path, root, out);
    else
        emac_wrap(&c->err, "job file '%s'", path);
    json_decref(root);
    return st;
}

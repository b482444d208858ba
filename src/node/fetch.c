/* Getting inputs: from the rigs that the lease names, else from those the coordinator knows of now,
 * else from its depot. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define PLACES_MAX    16
#define FETCHERS      4 /* bundles fetched at once */
#define DISK_FILE_MAX (UINT64_C(1) << 50)

struct places {
    size_t count;
    struct exchange_source at[PLACES_MAX];
};

/* Never ourselves: we would wait for what we do not have. */
static void place_add(const struct node *n, struct places *p, const char *url)
{
    if (url == NULL || p->count == PLACES_MAX ||
        (n->cfg.public_url != NULL && strcmp(url, n->cfg.public_url) == 0))
        return;
    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->at[i].base_url, url) == 0)
            return;
    }
    p->at[p->count++].base_url = url;
}

/* A failure of this machine or of the request: other places cannot help. */
static bool is_ours(enum emac_status st)
{
    return st == EMAC_CANCELLED || st == EMAC_NO_SPACE || st == EMAC_NO_MEMORY || st == EMAC_IO ||
           st == EMAC_TOO_LARGE;
}

/* value: to memory, and held; NULL: to disk */
static enum emac_status try(struct node *n, const struct cid *cid, const struct places *p,
                            const struct store_value **value, struct emac_err *err)
{
    uint64_t bytes = 0;
    if (p->count == 0)
        return emac_fail(err, EMAC_UNAVAILABLE, "no other rig is known to have it");
    if (value == NULL)
        return exchange_fetch(n->store, n->bulk, cid, p->at, p->count, false, DISK_FILE_MAX, &bytes,
                              err);
    return exchange_fetch_value(n->store, n->bulk, cid, p->at, p->count, n->file_max, value, &bytes,
                                err);
}

static enum emac_status try_leased(struct node *n, const struct leased *l, const struct cid *cid,
                                   const char *text, const struct store_value **value,
                                   struct emac_err *err)
{
    struct places p = {0};
    const json_t *sources = l != NULL ? json_object_get(l->reply, "sources") : NULL;
    const json_t *urls = json_object_get(sources, text);
    for (size_t i = 0; i < json_array_size(urls); i++)
        place_add(n, &p, json_string_value(json_array_get(urls, i)));
    return try(n, cid, &p, value, err);
}

static enum emac_status try_known(struct node *n, const struct cid *cid, const char *text,
                                  const struct store_value **value, struct emac_err *err)
{
    struct places p = {0};
    char path[sizeof "/v1/providers/" + CID_TEXT_MAX] = "/v1/providers/";
    json_t *reply = NULL;
    strncat(path, text, CID_TEXT_MAX);
    if (agent_get(n, path, &reply, NULL) == EMAC_OK) {
        const json_t *list = json_object_get(reply, "providers");
        for (size_t i = 0; i < json_array_size(list); i++)
            place_add(n, &p, json_string_value(json_object_get(json_array_get(list, i), "url")));
    }
    place_add(n, &p, n->cfg.coordinator);
    enum emac_status st = try(n, cid, &p, value, err);
    json_decref(reply);
    return st;
}

static void missing_add(struct node *n, struct leased *l, const struct cid *cid)
{
    bool known = false;
    os_mutex_lock(&n->lock);
    for (uint32_t i = 0; i < l->missing_count; i++)
        known = known || cid_equal(&l->missing[i], cid);
    if (!known && l->missing_count < NODE_MISSING_MAX)
        l->missing[l->missing_count++] = *cid;
    os_mutex_unlock(&n->lock);
}

/* ---- each value once ---- */

/* Two tasks may need the same: the second waits for what the first brings. */
struct fetch_mark {
    struct fetch_mark *next;
    const struct cid *cid;
};

static bool is_coming(const struct node *n, const struct cid *cid)
{
    for (const struct fetch_mark *m = n->fetch; m != NULL; m = m->next)
        if (cid_equal(m->cid, cid))
            return true;
    return false;
}

/* True when it had to wait. */
static bool mark_enter(struct node *n, struct fetch_mark *mine, const struct cid *cid)
{
    bool waited = false;
    os_mutex_lock(&n->lock);
    for (; is_coming(n, cid); waited = true)
        os_cond_wait(&n->wake, &n->lock);
    *mine = (struct fetch_mark){n->fetch, cid};
    n->fetch = mine;
    os_mutex_unlock(&n->lock);
    return waited;
}

static void mark_leave(struct node *n, const struct fetch_mark *mine)
{
    struct fetch_mark **at = &n->fetch;
    os_mutex_lock(&n->lock);
    while (*at != mine)
        at = &(*at)->next;
    *at = mine->next;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

static enum emac_status try_places(struct node *n, struct leased *l, const struct cid *cid,
                                   const struct store_value **value, struct emac_err *err)
{
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    enum emac_status st = try_leased(n, l, cid, text, value, err);
    if (st != EMAC_OK && !is_ours(st) && !agent_over(n))
        st = try_known(n, cid, text, value, err);
    return st;
}

/* To memory, unless it came there meanwhile. */
static enum emac_status try_once(struct node *n, struct leased *l, const struct cid *cid,
                                 const struct store_value **value, struct emac_err *err)
{
    struct fetch_mark mine;
    enum emac_status st = EMAC_NOT_FOUND;
    if (mark_enter(n, &mine, cid))
        st = store_value_get_away(n->store, cid, n->file_max, value, err);
    if (st != EMAC_OK)
        st = try_places(n, l, cid, value, err);
    mark_leave(n, &mine);
    return st;
}

/* l: the lease it is for; NULL: none. */
static enum emac_status fetch(struct node *n, struct leased *l, const struct cid *cid,
                              const struct store_value **value, struct emac_err *err)
{
    struct emac_err e = {.status = EMAC_OK};
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    enum emac_status st =
        value != NULL ? try_once(n, l, cid, value, &e) : try_places(n, l, cid, NULL, &e);
    if (st == EMAC_OK)
        return EMAC_OK;
    if (agent_over(n))
        return emac_fail(err, EMAC_CANCELLED, "the rig is stopping");
    if (is_ours(st))
        return emac_fail(err, st, "%s", e.text);
    if (l != NULL)
        missing_add(n, l, cid);
    return emac_fail(err, EMAC_UNAVAILABLE, "cannot get '%s': %s", text, e.text);
}

enum emac_status agent_fetch(void *node, const struct cid *cid, bool to_memory,
                             struct emac_err *err)
{
    struct node *n = node;
    const struct store_value *v = NULL;
    enum emac_status st = fetch(n, n->running, cid, to_memory ? &v : NULL, err);
    store_value_drop(n->store, v);
    return st;
}

/* ---- a task's bundles ---- */

struct wanted {
    const char *name;
    const struct cid *cid;
    const struct store_value *value; /* held once it is here */
    bool kept;                       /* retained for the task */
    struct emac_err err;
};

struct fetching {
    struct node *n;
    struct leased *l;
    struct wanted *want;
    size_t count;
    atomic_size_t next;
};

static bool is_absent(enum emac_status st)
{
    return st == EMAC_NOT_FOUND || st == EMAC_CORRUPT;
}

static void *fetcher(void *arg)
{
    struct fetching *f = arg;
    for (;;) {
        size_t i = atomic_fetch_add(&f->next, 1);
        if (i >= f->count)
            return NULL;
        if (f->want[i].value == NULL)
            fetch(f->n, f->l, f->want[i].cid, &f->want[i].value, &f->want[i].err);
    }
}

/* All of them are tried, also after one failed: the report shall name all that are missing, and
 * what was fetched is of use when the task comes again. */
static void fetch_all(struct node *n, struct leased *l, struct wanted *want, size_t count,
                      size_t absent)
{
    struct fetching f = {.n = n, .l = l, .want = want, .count = count};
    struct os_thread thread[FETCHERS - 1];
    size_t helpers = absent < FETCHERS ? absent : FETCHERS;
    helpers = helpers > 0 ? helpers - 1 : 0;
    for (size_t i = 0; i < helpers; i++)
        os_thread_start(&thread[i], fetcher, &f);
    if (absent > 0)
        fetcher(&f);
    for (size_t i = 0; i < helpers; i++)
        os_thread_join(&thread[i]);
}

/* What is read from disk as the task goes comes when it is read; what is private is ciphertext. */
static size_t list(const struct task *t, struct wanted *want)
{
    size_t count = 0;
    for (uint32_t i = 0; i < t->input_count; i++) {
        if (!task_input_on_disk(t->input[i].name) && !sealed_is(&t->input[i].cid))
            want[count++] = (struct wanted){.name = t->input[i].name, .cid = &t->input[i].cid};
    }
    for (uint32_t i = 0; i < t->part_count; i++)
        want[count++] = (struct wanted){.name = "sum", .cid = &t->part[i].cid};
    return count;
}

/* Hold for this round what is here: before the fetch what the store has, after it what came. */
static enum emac_status keep(struct node *n, const struct leased *l, struct wanted *want,
                             size_t count, bool fetched, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < count && st == EMAC_OK; i++) {
        struct wanted *w = &want[i];
        if (w->value == NULL && !fetched) {
            st = store_value_get_away(n->store, w->cid, n->file_max, &w->value, err);
            if (is_absent(st)) {
                st = EMAC_OK;
                continue;
            }
        }
        if (st == EMAC_OK && w->value != NULL) {
            st = agent_retain_add(n, w->value, l->job, l->round, w->name, !w->kept, err);
            w->kept = w->kept || st == EMAC_OK;
        }
    }
    return st;
}

static enum emac_status bring(struct node *n, struct leased *l, struct wanted *want, size_t count,
                              struct emac_err *err)
{
    size_t absent = 0;
    enum emac_status st;
    EMAC_TRY(st, keep(n, l, want, count, false, err));
    agent_retain_round(n, l->job, l->round, l->keep);
    for (size_t i = 0; i < count; i++)
        absent += want[i].value == NULL;
    fetch_all(n, l, want, count, absent);
    EMAC_TRY(st, keep(n, l, want, count, true, err));
    for (size_t i = 0; i < count && st == EMAC_OK; i++) {
        if (want[i].value == NULL)
            st = emac_fail(err, want[i].err.status, "input '%s': %s", want[i].name,
                           want[i].err.text);
    }
out:
    return st;
}

static void let_go(struct node *n, const struct leased *l, const struct store_value *v, bool kept)
{
    if (kept)
        agent_retain_leave(n, v, l->job);
    store_value_drop(n->store, v);
}

void agent_inputs_drop(struct node *n, struct leased *l)
{
    for (size_t i = 0; i < l->input_count; i++)
        let_go(n, l, l->input[i], true);
    free(l->input);
    l->input = NULL;
    l->input_count = 0;
    l->fetched = false;
}

enum emac_status agent_fetch_inputs(struct node *n, struct leased *l, struct emac_err *err)
{
    struct wanted *want = NULL;
    size_t most = (size_t)l->task.input_count + l->task.part_count + 1, count = 0;
    uint64_t began = n->os->mono_ns(n->os);
    enum emac_status st;
    EMAC_ASSERT(!l->fetched && l->input == NULL);
    EMAC_TRY(st, emac_alloc(&want, most, sizeof *want, err));
    EMAC_TRY(st, emac_alloc(&l->input, most, sizeof *l->input, err));
    count = list(&l->task, want);
    EMAC_TRY(st, bring(n, l, want, count, err));
    for (; l->input_count < count; l->input_count++)
        l->input[l->input_count] = want[l->input_count].value;
    l->fetched = true;
    l->fetch_ns = n->os->mono_ns(n->os) - began;
out:
    for (size_t i = 0; i < count && !l->fetched; i++)
        let_go(n, l, want[i].value, want[i].kept);
    if (!l->fetched)
        agent_inputs_drop(n, l);
    free(want);
    return st;
}

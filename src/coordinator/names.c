#include "coordinator/internal.h"

#include <stdio.h>
#include <string.h>

static const char *const JOB_STATES[] = {"running", "paused", "succeeded", "failed", "cancelled"};
static const char *const RESULT_STATES[] = {"open", "accepted", "disputed", "withdrawn"};
static const char *const ROLES[] = {"work", "check", "referee"};
static const char *const NODE_STATES[] = {"challenge", "admitted", "quarantined"};

/* Index of `name`; asserts that the database holds only what we wrote. */
static uint32_t index_of(const char *const *names, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (name && strcmp(names[i], name) == 0)
            return i;
    EMAC_ASSERT(!"a state that this program never wrote");
    return 0;
}

const char *job_state_name(enum job_state s)
{
    EMAC_ASSERT((unsigned)s < EMAC_COUNT(JOB_STATES));
    return JOB_STATES[s];
}

bool job_state_find(const char *name, enum job_state *out)
{
    for (uint32_t i = 0; i < EMAC_COUNT(JOB_STATES); i++)
        if (strcmp(JOB_STATES[i], name) == 0) {
            *out = (enum job_state)i;
            return true;
        }
    return false;
}

const char *result_state_name(enum result_state s)
{
    EMAC_ASSERT((unsigned)s < EMAC_COUNT(RESULT_STATES));
    return RESULT_STATES[s];
}

enum result_state result_state_find(const char *name)
{
    return (enum result_state)index_of(RESULT_STATES, EMAC_COUNT(RESULT_STATES), name);
}

const char *lease_role_name(enum lease_role r)
{
    EMAC_ASSERT((unsigned)r < EMAC_COUNT(ROLES));
    return ROLES[r];
}

enum lease_role lease_role_find(const char *name)
{
    return (enum lease_role)index_of(ROLES, EMAC_COUNT(ROLES), name);
}

const char *node_state_name(enum node_state s)
{
    EMAC_ASSERT((unsigned)s < EMAC_COUNT(NODE_STATES));
    return NODE_STATES[s];
}

void outputs_text(char out[OUTPUTS_TEXT_MAX], const struct outputs *o)
{
    size_t at = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < o->count; i++) {
        char cid[CID_TEXT_MAX];
        cid_text(cid, &o->at[i].cid);
        int n =
            snprintf(out + at, OUTPUTS_TEXT_MAX - at, "%s%s=%s", i ? " " : "", o->at[i].name, cid);
        EMAC_ASSERT(n > 0 && (size_t)n < OUTPUTS_TEXT_MAX - at);
        at += (size_t)n;
    }
}

static bool output_parse(struct task_output *out, const char *text, size_t n)
{
    const char *eq = memchr(text, '=', n);
    char cid[CID_TEXT_MAX];
    if (eq == NULL || (size_t)(eq - text) >= sizeof(out->name))
        return false;
    size_t name_len = (size_t)(eq - text), cid_len = n - name_len - 1;
    if (name_len == 0 || cid_len >= sizeof(cid))
        return false;
    memcpy(out->name, text, name_len);
    out->name[name_len] = 0;
    memcpy(cid, eq + 1, cid_len);
    cid[cid_len] = 0;
    return cid_parse(&out->cid, cid, NULL) == EMAC_OK;
}

bool outputs_parse(struct outputs *out, const char *text)
{
    *out = (struct outputs){0};
    while (*text) {
        size_t n = strcspn(text, " ");
        if (out->count == TASK_OUTPUTS_MAX || !output_parse(&out->at[out->count], text, n))
            return false;
        out->count++;
        text += n + (text[n] == ' ');
    }
    return true;
}

bool outputs_equal(const struct outputs *a, const struct outputs *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (strcmp(a->at[i].name, b->at[i].name) != 0 || !cid_equal(&a->at[i].cid, &b->at[i].cid))
            return false;
    return true;
}

const struct cid *outputs_find(const struct outputs *o, const char *name)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (strcmp(o->at[i].name, name) == 0)
            return &o->at[i].cid;
    return NULL;
}

enum emac_status outputs_fit(const struct outputs *o, const struct job_plan *p,
                             const struct ctask *t, struct emac_err *err)
{
    const struct plan_program *program = plan_program_find(p, &t->task.program);
    EMAC_ASSERT(program != NULL);
    bool fits = o->count == program->output_count;
    for (uint32_t i = 0; fits && i < o->count; i++)
        fits = strcmp(o->at[i].name, program->output[i].name) == 0;
    if (fits)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "the receipt's outputs are not those of a task of kind '%s'",
                     task_kind_name(t->kind));
}

const char *cid_or_empty(char out[CID_TEXT_MAX], const struct cid *cid)
{
    out[0] = 0;
    if (!cid_is_none(cid))
        cid_text(out, cid);
    return out;
}

struct cid cid_from_text(const char *text)
{
    struct cid cid = {0};
    if (text && text[0]) {
        enum emac_status st = cid_parse(&cid, text, NULL);
        EMAC_ASSERT(st == EMAC_OK); /* we wrote it */
    }
    return cid;
}

const char *did_short(const char *did)
{
    size_t n = strlen(did);
    return n > 8 ? did + n - 8 : did;
}

bool text_printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

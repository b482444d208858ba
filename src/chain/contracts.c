#include "chain/contracts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/embed.h"
#include "base/hex.h"
#include "codec/abi.h"

extern const struct embedded EMBEDDED_CONTRACTS[]; /* contracts/abi, made by tools/embed */

#define DATA_FIELDS_MAX 4

struct event_row {
    const char *name;
    enum chain_contract contract;
    const char *types, *indexed, *data;
};

static const struct event_row EVENTS[] = {
#define X(name, contract, types, indexed, data) {#name, CHAIN_##contract, types, indexed, data},
    CHAIN_EVENTS(X)
#undef X
};

const char *chain_event_name(enum chain_event_kind kind)
{
    EMAC_ASSERT(kind < CHAIN_EVENT_KINDS);
    return EVENTS[kind].name;
}

void chain_event_signature(char out[128], enum chain_event_kind kind)
{
    EMAC_ASSERT(kind < CHAIN_EVENT_KINDS);
    int n = snprintf(out, 128, "%s(uint64,%s)", EVENTS[kind].name, EVENTS[kind].types);
    EMAC_ASSERT(n > 0 && n < 128);
}

/* Where a field goes, and its ABI type. */
static void *field_place(struct chain_event *e, char field, char *type,
                         uint8_t ignored[CHAIN_HASH_BYTES])
{
    static const char FIELDS[] = "AWTutreRDK.", TYPES[] = "baannnnbbBb";
    const char *at = strchr(FIELDS, field);
    EMAC_ASSERT(field != '\0' && at != NULL);
    void *const place[] = {e->account, e->wallet,         e->to,     &e->units,
                           &e->total,  &e->time_s,        &e->epoch, e->root,
                           e->digest,  &e->key_signature, ignored};
    *type = TYPES[at - FIELDS];
    return place[at - FIELDS];
}

static bool read_topics(const struct chain_log *log, const char *indexed, struct chain_event *e)
{
    uint8_t ignored[CHAIN_HASH_BYTES];
    char type[2] = "";
    if (log->topic_count != 2 + strlen(indexed) ||
        abi_decode(EMAC_SLICE(log->topic[1], ABI_WORD), NULL, "n", &e->seq) != EMAC_OK)
        return false;
    for (size_t i = 0; indexed[i] != '\0'; i++) {
        void *place = field_place(e, indexed[i], type, ignored);
        if (abi_decode(EMAC_SLICE(log->topic[2 + i], ABI_WORD), NULL, type, place) != EMAC_OK)
            return false;
    }
    return true;
}

static bool read_data(const struct chain_log *log, const char *fields, struct chain_event *e)
{
    uint8_t ignored[CHAIN_HASH_BYTES];
    char types[DATA_FIELDS_MAX + 1] = "";
    void *place[DATA_FIELDS_MAX] = {0};
    EMAC_ASSERT(strlen(fields) <= DATA_FIELDS_MAX);
    for (size_t i = 0; fields[i] != '\0'; i++)
        place[i] = field_place(e, fields[i], &types[i], ignored);
    return abi_decode(EMAC_SLICE(log->data, log->data_len), NULL, types, place[0], place[1],
                      place[2], place[3]) == EMAC_OK;
}

static bool find_kind(const struct chain_log *log, enum chain_contract contract,
                      enum chain_event_kind *kind)
{
    char signature[128];
    uint8_t topic[CHAIN_HASH_BYTES];
    for (int i = 0; log->topic_count > 0 && i < CHAIN_EVENT_KINDS; i++) {
        if (EVENTS[i].contract != contract)
            continue;
        chain_event_signature(signature, (enum chain_event_kind)i);
        abi_topic(topic, signature);
        if (memcmp(topic, log->topic[0], sizeof(topic)) == 0) {
            *kind = (enum chain_event_kind)i;
            return true;
        }
    }
    return false;
}

enum emac_status chain_event_read(const struct chain_log *log, enum chain_contract contract,
                                  struct chain_event *out, bool *known, struct emac_err *err)
{
    memset(out, 0, sizeof(*out));
    *known = find_kind(log, contract, &out->kind);
    if (!*known)
        return EMAC_OK;
    const struct event_row *row = &EVENTS[out->kind];
    if (!read_topics(log, row->indexed, out) || !read_data(log, row->data, out))
        return emac_fail(err, EMAC_CORRUPT,
                         "the log %llu of block %llu is no sound event '%s': the node or the "
                         "contract's address is wrong",
                         (unsigned long long)log->index, (unsigned long long)log->block_number,
                         row->name);
    out->contract = contract;
    out->block_number = log->block_number;
    out->log_index = log->index;
    memcpy(out->block_hash, log->block_hash, CHAIN_HASH_BYTES);
    memcpy(out->tx_hash, log->tx_hash, CHAIN_HASH_BYTES);
    return EMAC_OK;
}

/* ---- what is embedded ---- */

enum emac_status chain_contract_code(const char *name, struct emac_buf *out, struct emac_err *err)
{
    for (const struct embedded *e = EMBEDDED_CONTRACTS; e->name != NULL; e++) {
        if (strcmp(e->name, name) != 0)
            continue;
        json_t *o = json_loads(e->text, 0, NULL);
        const char *code = json_string_value(json_object_get(o, "bytecode"));
        EMAC_ASSERT(code != NULL && code[0] == '0' && code[1] == 'x');
        size_t n = strlen(code + 2) / 2;
        enum emac_status st = emac_buf_reserve(out, n, err);
        if (st == EMAC_OK) {
            bool sound = emac_unhex(out->data + out->len, n, code + 2);
            EMAC_ASSERT(sound);
            out->len += n;
        }
        json_decref(o);
        return st;
    }
    return emac_fail(err, EMAC_NOT_FOUND, "there is no contract '%s'", name);
}

/* {"NothingToClaim(uint64,uint64)": "0x12345678", ...} of one contract. */
static bool find_error(char out[CHAIN_ERROR_NAME_MAX], const char *abi_text, const char *data)
{
    const char *signature;
    json_t *selector, *o = json_loads(abi_text, 0, NULL);
    bool found = false;
    json_object_foreach(json_object_get(o, "errors"), signature, selector)
    {
        const char *s = json_string_value(selector);
        if (s != NULL && strncmp(s, data, 10) == 0) {
            snprintf(out, CHAIN_ERROR_NAME_MAX, "%.*s", (int)strcspn(signature, "("), signature);
            found = true;
        }
    }
    json_decref(o);
    return found;
}

bool chain_error_name(char out[CHAIN_ERROR_NAME_MAX], const char *data)
{
    if (data == NULL || strlen(data) < 10)
        return false;
    for (const struct embedded *e = EMBEDDED_CONTRACTS; e->name != NULL; e++) {
        if (find_error(out, e->text, data))
            return true;
    }
    return false;
}

/* Storage deals: where replicas go, and how a deal ends. */
#include "coordinator/storage/datacap.h"

#include "chain/book.h"
#include "sched/draw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUBNET_MAX 64

/* ---- the end ---- */

enum emac_status deal_end(struct coordinator *c, const struct deal *d, enum deal_state state,
                          struct emac_err *err)
{
    struct deal_holding *list = NULL;
    size_t count = 0;
    enum emac_status st;
    EMAC_ASSERT(db_in_transaction(c->db) && d->state == DEALS_OPEN);
    EMAC_TRY(st, deal_holdings(c, d->id, NULL, true, &list, &count, err));
    for (size_t i = 0; i < count; i++) {
        list[i].r.state = DEAL_ENDED;
        EMAC_TRY(st, deal_money_back(c, &list[i], err));
        EMAC_TRY(st, deal_holding_update(c, &list[i], err));
    }
    EMAC_TRY(st, deal_money_refund(c, d, err));
    EMAC_TRY(st, datacap_deal_end(c, d->id, err));
    EMAC_TRY(st, deal_close(c, d->id, state, err));
    unpin_later(c, d->id, &d->terms.cid);
out:
    free(list);
    return st;
}

/* ---- who could take a replica ---- */

/* Who stands behind a rig, as far as is known: the wallet that its pay goes to, and where it is. */
struct party {
    char owner[EVM_ADDRESS_MAX], subnet[SUBNET_MAX];
};

/* A rig that offers disk, with room for as long as deals_place runs. */
struct offer {
    struct deal_candidate as;
    struct party party;
};

/* The host of a URL; what is no address stands for itself. */
static void subnet_of(const char *url, char out[SUBNET_MAX])
{
    char host[SUBNET_MAX], subnet[DRAW_SUBNET_MAX];
    const char *at = strstr(url, "://");
    at = at ? at + 3 : url;
    bool v6 = *at == '[';
    at += v6;
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(at, v6 ? "]" : ":/"), at);
    draw_subnet(subnet, host);
    emac_strcpy(out, SUBNET_MAX, subnet[0] ? subnet : host);
}

static void party_find(struct coordinator *c, const char *did, const char *url, struct party *out)
{
    const struct chain_book book = {.db = c->db};
    subnet_of(url, out->subnet);
    if (chain_book_wallet(&book, did, out->owner, NULL) != EMAC_OK)
        out->owner[0] = '\0';
}

static enum emac_status balance_of(struct coordinator *c, const char *kind, const char *did,
                                   int64_t *units, struct emac_err *err)
{
    char account[LEDGER_ACCOUNT_MAX];
    snprintf(account, sizeof(account), "%s:%s", kind, did);
    return ledger_balance(c->db, account, units, err);
}

static enum emac_status offer_make(struct coordinator *c, const struct node *n, struct offer *o,
                                   struct emac_err *err)
{
    int64_t promised = 0, own = 0;
    enum emac_status st;
    *o = (struct offer){.as = {.did = n->did, .ask_units = n->offer_units}};
    party_find(c, n->did, n->url, &o->party);
    EMAC_TRY(st, db_one_i64(c->db, &promised, err,
                            "SELECT COALESCE(SUM(d.bytes), 0) FROM deal_replicas r"
                            " JOIN deals d ON d.id = r.deal"
                            " WHERE r.node = ? AND r.state IN ('placed', 'active')",
                            "t", n->did));
    EMAC_TRY(st, balance_of(c, "rig", n->did, &o->as.balance_units, err));
    EMAC_TRY(st, balance_of(c, "user", n->did, &own, err));
    if (!__builtin_add_overflow(o->as.balance_units, own, &own))
        o->as.balance_units = own;
    o->as.room_bytes =
        n->offer_bytes > (uint64_t)promised ? n->offer_bytes - (uint64_t)promised : 0;
out:
    return st;
}

/* The rigs that live, can be fetched from, and have room left. */
static enum emac_status offers_list(struct coordinator *c, struct offer **out, size_t *count,
                                    struct emac_err *err)
{
    struct map_entry e;
    uint64_t now = now_ms(c);
    *count = 0;
    enum emac_status st = emac_alloc(out, c->nodes.count + 1, sizeof(**out), err);
    for (size_t at = 0; st == EMAC_OK && map_next(&c->nodes, &at, &e);) {
        const struct node *n = e.value;
        if (n->offer_bytes == 0 || !n->reachable || !node_is_live(c, n, now))
            continue;
        struct offer *o = &(*out)[*count];
        st = offer_make(c, n, o, err);
        *count += st == EMAC_OK && o->as.room_bytes > 0;
    }
    return st;
}

/* ---- placing ---- */

struct placing {
    struct coordinator *c;
    struct offer *offer;
    size_t offers;
    struct deal_candidate *candidate; /* one for each offer */
    struct deal_candidate holder[DEAL_REPLICAS_MAX];
    struct party party[DEAL_REPLICAS_MAX]; /* of the holders */
    size_t holders;
};

/* Who has the deal, who had it, and the next replica's number. */
static uint32_t parties_fill(struct placing *p, const struct deal_holding *list, size_t count)
{
    uint32_t next = 0;
    p->holders = 0;
    for (size_t k = 0; k < p->offers; k++) {
        p->candidate[k] = p->offer[k].as;
        p->candidate[k].owner = p->offer[k].party.owner;
        p->candidate[k].subnet = p->offer[k].party.subnet;
    }
    for (size_t i = 0; i < count; i++) {
        const struct deal_holding *h = &list[i];
        const struct node *n = node_find(p->c, h->r.node);
        next = h->r.number + 1;
        for (size_t k = 0; k < p->offers; k++)
            if (strcmp(p->candidate[k].did, h->r.node) == 0)
                p->candidate[k].barred = true;
        if (!deal_replica_lives(h->r.state))
            continue;
        EMAC_ASSERT(p->holders < DEAL_REPLICAS_MAX);
        struct party *party = &p->party[p->holders];
        party_find(p->c, h->r.node, n ? n->url : "", party);
        p->holder[p->holders] = (struct deal_candidate){
            .did = h->r.node, .owner = party->owner, .subnet = party->subnet};
        p->holders++;
    }
    return next;
}

/* One more replica; *placed is false when no rig may have it. */
static enum emac_status place_one(struct placing *p, const struct deal *d, bool *placed,
                                  struct emac_err *err)
{
    struct coordinator *c = p->c;
    struct deal_holding *list = NULL;
    size_t count = 0;
    enum emac_status st = deal_holdings(c, d->id, NULL, false, &list, &count, err);
    *placed = false;
    if (st != EMAC_OK)
        return st;
    struct deal_holding h = {.r = {.state = DEAL_PLACED, .placed_epoch = c->deals->epoch}};
    h.r.number = parties_fill(p, list, count); /* p->holder borrows from the list */
    if (p->holders >= d->terms.replicas)
        goto out;
    size_t k =
        deal_place(d->id, &d->terms, &d->amounts, p->candidate, p->offers, p->holder, p->holders);
    if (k == p->offers)
        goto out;
    emac_strcpy(h.deal, sizeof(h.deal), d->id);
    emac_strcpy(h.r.node, sizeof(h.r.node), p->candidate[k].did);
    EMAC_TRY(st, deal_holding_insert(c, &h, err));
    p->offer[k].as.room_bytes -= d->terms.piece.size;
    c->deals->version++;
    *placed = true;
    LOG_I("coordinator", "deal '%s': replica %u goes to rig %s", d->id, h.r.number,
          did_short(h.r.node));
out:
    free(list);
    return st;
}

/* Open deals with fewer replicas that live than they are to have, and an epoch left to keep them.
 */
static enum emac_status short_of_replicas(struct coordinator *c, struct emac_buf *ids,
                                          struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(c->db, &q, err,
                 "SELECT d.id FROM deals d WHERE d.state = 'open' AND d.last_epoch > ?"
                 " AND (SELECT COUNT(*) FROM deal_replicas r WHERE r.deal = d.id"
                 " AND r.state IN ('placed', 'active')) < d.replicas ORDER BY d.seq",
                 "i", (int64_t)c->deals->epoch);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        char id[DEAL_ID_MAX] = {0};
        emac_strcpy(id, sizeof(id), db_text(q, 0));
        st = emac_buf_append(ids, id, sizeof(id), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

static enum emac_status place_all(struct placing *p, const struct emac_buf *ids,
                                  struct emac_err *err)
{
    struct deal d;
    enum emac_status st = EMAC_OK;
    for (size_t at = 0; at < ids->len && st == EMAC_OK; at += DEAL_ID_MAX) {
        bool placed = true;
        st = deal_find(p->c, (const char *)ids->data + at, &d, err);
        while (st == EMAC_OK && placed)
            st = place_one(p, &d, &placed, err);
    }
    return st;
}

bool deals_place(struct coordinator *c)
{
    bool wanting = true;
    struct placing p = {.c = c};
    struct emac_buf ids;
    struct emac_err err = {0};
    enum emac_status st;
    emac_buf_init(&ids, 1u << 28);
    EMAC_TRY(st, short_of_replicas(c, &ids, &err));
    wanting = ids.len > 0;
    if (!wanting)
        goto out;
    EMAC_TRY(st, offers_list(c, &p.offer, &p.offers, &err));
    EMAC_TRY(st, emac_alloc(&p.candidate, p.offers + 1, sizeof(*p.candidate), &err));
    st = place_all(&p, &ids, &err);
out:
    if (st != EMAC_OK)
        LOG_W("coordinator", "replicas of deals could not be placed: %s", err.text);
    emac_buf_release(&ids);
    free(p.candidate);
    free(p.offer);
    return wanting;
}

/* ---- who has it ---- */

void deals_providers(struct coordinator *c, const struct cid *cid, json_t *list)
{
    struct db_stmt *q;
    bool row = false;
    char text[CID_TEXT_MAX];
    uint64_t now = now_ms(c);
    cid_text(text, cid);
    enum emac_status st =
        db_query(c->db, &q, NULL,
                 "SELECT DISTINCT r.node FROM deals d JOIN deal_replicas r ON r.deal = d.id"
                 " WHERE d.cid = ? AND d.state = 'open' AND r.state = 'active' ORDER BY r.node",
                 "t", text);
    while (st == EMAC_OK && (st = db_next(q, &row, NULL)) == EMAC_OK && row) {
        const struct node *n = node_find(c, db_text(q, 0));
        if (n && n->reachable && node_is_live(c, n, now) && !node_holds(n, cid))
            json_array_append_new(list, json_pack("{s:s, s:s}", "node", n->did, "url", n->url));
    }
}

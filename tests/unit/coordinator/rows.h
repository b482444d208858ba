/* A coordinator's rows, looked at and changed behind its back. */
#ifndef EMAC_TEST_ROWS_H
#define EMAC_TEST_ROWS_H

#include "net.h"

#include "coordinator/internal.h"

/* The one number that the query gives. */
static inline int64_t number(struct net *n, const char *text)
{
    int64_t out = 0;
    os_mutex_lock(&n->c->lock);
    assert_ok(db_one_i64(n->c->db, &out, err, text, ""));
    os_mutex_unlock(&n->c->lock);
    return out;
}

static inline void sql(struct net *n, const char *text)
{
    os_mutex_lock(&n->c->lock);
    assert_ok(db_exec(n->c->db, err, text, ""));
    os_mutex_unlock(&n->c->lock);
}

#endif

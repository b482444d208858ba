/* db/pages.c against a naive set of page numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "../property.h"
#include "db/db_impl.h"

#define PAGES_MAX 400
#define LENT      262145u /* the number that SQLite lends: of the page with the lock byte */

struct model {
    sqlite3_pcache *cache;
    sqlite3_pcache_page *page[PAGES_MAX]; /* NULL: not there */
    int count;
};

static const sqlite3_pcache_methods2 *m;

static bool is_same(struct model *c, struct choices *r)
{
    unsigned key = (unsigned)choose(r, PAGES_MAX - 1) + 1;
    sqlite3_pcache_page *p = m->xFetch(c->cache, key, 0);
    if (p != NULL)
        m->xUnpin(c->cache, p, 0);
    return p == c->page[key] && m->xPagecount(c->cache) == c->count;
}

static void add(struct model *c, unsigned key)
{
    sqlite3_pcache_page *p = m->xFetch(c->cache, key, 2);
    assert_non_null(p);
    c->count += c->page[key] == NULL;
    c->page[key] = p;
    m->xUnpin(c->cache, p, 0);
}

/* As balance_nonroot does it: by way of a number that no page has. */
static void swap(struct model *c, unsigned a, unsigned b)
{
    sqlite3_pcache_page *x = m->xFetch(c->cache, a, 0), *y = m->xFetch(c->cache, b, 0);
    assert_non_null(x);
    assert_non_null(y);
    m->xRekey(c->cache, x, a, LENT);
    m->xRekey(c->cache, y, b, a);
    m->xRekey(c->cache, x, LENT, b);
    m->xUnpin(c->cache, x, 0);
    m->xUnpin(c->cache, y, 0);
    c->page[a] = y;
    c->page[b] = x;
}

static void move(struct model *c, unsigned from, unsigned to)
{
    sqlite3_pcache_page *p = m->xFetch(c->cache, from, 0);
    assert_non_null(p);
    m->xRekey(c->cache, p, from, to);
    m->xUnpin(c->cache, p, 0);
    c->page[from] = NULL;
    c->page[to] = p;
}

static void drop(struct model *c, unsigned limit)
{
    m->xTruncate(c->cache, limit);
    for (unsigned k = limit; k < PAGES_MAX; k++) {
        c->count -= c->page[k] != NULL;
        c->page[k] = NULL;
    }
}

static bool step(struct model *c, struct choices *r)
{
    unsigned a = (unsigned)choose(r, PAGES_MAX - 1) + 1, b = (unsigned)choose(r, PAGES_MAX - 1) + 1;
    bool both = a != b && c->page[a] != NULL && c->page[b] != NULL;
    switch ((unsigned)choose(r, 16)) {
    case 0:
        drop(c, (unsigned)choose(r, 4) == 0 ? a : PAGES_MAX - (unsigned)choose(r, 8));
        break;
    case 1:
    case 2:
        if (both)
            swap(c, a, b);
        break;
    case 3:
        if (c->page[a] != NULL && c->page[b] == NULL)
            move(c, a, b);
        break;
    default:
        add(c, a < b ? a : b);
    }
    return is_same(c, r);
}

static bool same_pages_as_a_set(struct choices *r)
{
    struct model c = {.cache = m->xCreate(512, 64, 1)};
    m->xCachesize(c.cache, 10 * PAGES_MAX); /* none goes by itself */
    for (uint32_t i = 0; i < 3000; i++)
        if (!step(&c, r))
            return false;
    m->xDestroy(c.cache);
    return true;
}

static void test_same_pages_as_a_set(void **state)
{
    ASSERT_PROPERTY(40, same_pages_as_a_set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_pages_as_a_set)};
    m = db_pages_methods();
    if (m == NULL || sqlite3_config(SQLITE_CONFIG_PCACHE2, m) != SQLITE_OK ||
        sqlite3_initialize() != SQLITE_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SQLite's own page cache, without its walk through all pages at each commit.
 *
 * When a commit ends, SQLite drops cached pages beyond the end of the database. Its cache looks
 * through every page for that once it has seen a number so high; and SQLite lends a page such a
 * number for a moment whenever it sorts the siblings of a tree (balance_nonroot: that of the lock
 * byte). So the more is cached, the longer a commit takes: 0.2 ms at 5,000 pages. Here it is known
 * which numbers are really there, and the walk is left out where it would find nothing. */
#include <stdlib.h>

#include "base/assert.h"
#include "db/db_impl.h"

static sqlite3_pcache_methods2 own; /* SQLite's */

/* INV: each page that is cached has a number <= most, or is the stray. */
struct pages {
    sqlite3_pcache *cache;
    unsigned most, stray; /* stray: a number above `most` that was lent to one page; 0: none */
};

static int init(void *arg)
{
    return own.xInit(own.pArg);
}

static void shutdown(void *arg)
{
    own.xShutdown(own.pArg);
}

static sqlite3_pcache *create(int page, int extra, int purgeable)
{
    struct pages *p = calloc(1, sizeof *p);
    if (p != NULL && (p->cache = own.xCreate(page, extra, purgeable)) == NULL) {
        free(p);
        p = NULL;
    }
    return (sqlite3_pcache *)p;
}

static struct pages *pages_of(sqlite3_pcache *c)
{
    return (struct pages *)c;
}

static void cachesize(sqlite3_pcache *c, int pages)
{
    own.xCachesize(pages_of(c)->cache, pages);
}

static int pagecount(sqlite3_pcache *c)
{
    return own.xPagecount(pages_of(c)->cache);
}

static sqlite3_pcache_page *fetch(sqlite3_pcache *c, unsigned key, int how)
{
    struct pages *p = pages_of(c);
    if (how != 0 && key > p->most && key != p->stray)
        p->most = key;
    return own.xFetch(p->cache, key, how);
}

static void unpin(sqlite3_pcache *c, sqlite3_pcache_page *page, int discard)
{
    own.xUnpin(pages_of(c)->cache, page, discard);
}

static void rekey(sqlite3_pcache *c, sqlite3_pcache_page *page, unsigned from, unsigned to)
{
    struct pages *p = pages_of(c);
    if (from == p->stray)
        p->stray = 0;
    if (to > p->most && p->stray == 0)
        p->stray = to;
    else if (to > p->most)
        p->most = to;
    own.xRekey(p->cache, page, from, to);
}

static void truncate_from(sqlite3_pcache *c, unsigned limit)
{
    struct pages *p = pages_of(c);
    if (limit > p->most && limit > p->stray)
        return;
    own.xTruncate(p->cache, limit);
    if (p->most >= limit)
        p->most = limit > 0 ? limit - 1 : 0;
    if (p->stray >= limit)
        p->stray = 0;
}

static void destroy(sqlite3_pcache *c)
{
    own.xDestroy(pages_of(c)->cache);
    free(c);
}

static void shrink(sqlite3_pcache *c)
{
    own.xShrink(pages_of(c)->cache);
}

const sqlite3_pcache_methods2 *db_pages_methods(void)
{
    static const sqlite3_pcache_methods2 OURS = {
        .iVersion = 1,
        .xInit = init,
        .xShutdown = shutdown,
        .xCreate = create,
        .xCachesize = cachesize,
        .xPagecount = pagecount,
        .xFetch = fetch,
        .xUnpin = unpin,
        .xRekey = rekey,
        .xTruncate = truncate_from,
        .xDestroy = destroy,
        .xShrink = shrink,
    };
    if (own.xFetch == NULL && sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &own) != SQLITE_OK)
        return NULL;
    return own.xFetch != fetch ? &OURS : NULL;
}

/* Results that lie on a device, asked for by other threads while the device is used, while its
 * memory runs short, and when it ends (RES-1 to 3). The device is the test's own: memory of the
 * process that counts as another's, so that the thread sanitizer sees everything. */
#include "exec_fixture.h"

#include "compute/device_impl.h"
#include "crypto/crypto.h"
#include "node/resident.h"
#include "os/thread.h"

#define BYTES  ((size_t)3 << 19) /* of a value: two leaves */
#define ASKERS 3
#define ROUNDS 40

/* ---- a card ---- */

struct card {
    struct device dev; /* first */
    bool lost;
};

static bool card_lost(const struct device *dev)
{
    return ((const struct card *)dev)->lost;
}

static enum emac_status card_alloc(struct device *dev, size_t bytes, void **out, struct emac_err *e)
{
    uint64_t *p;
    if (emac_alloc_aligned((uint8_t **)&p, bytes + 64, e) != EMAC_OK)
        return EMAC_NO_MEMORY;
    *p = bytes;
    device_memory_count(dev, bytes);
    *out = p + 8;
    return EMAC_OK;
}

static void card_free(struct device *dev, void *ptr)
{
    uint64_t *p = (uint64_t *)ptr - 8;
    dev->memory.used -= *p;
    memset(ptr, 0xee, *p); /* whoever still reads it is seen */
    free(p);
}

static enum emac_status card_write(struct device *dev, void *dst, const void *src, size_t n,
                                   struct emac_err *e)
{
    memcpy(dst, src, n);
    dev->memory.written += n;
    return EMAC_OK;
}

static enum emac_status card_view(struct device *dev, const void *src, size_t n,
                                  struct device_view *out, struct emac_err *e)
{
    out->memory = (void *)(uintptr_t)src;
    return EMAC_OK;
}

static enum emac_status card_view_read(const struct device_view *v, void *dst, struct emac_err *e)
{
    memcpy(dst, v->memory, v->bytes);
    return EMAC_OK;
}

static enum emac_status card_sha256(struct device *dev, const void *src, size_t n, size_t piece,
                                    uint8_t (*digest)[32], struct emac_err *e)
{
    for (size_t at = 0; at < n; at += piece)
        crypto_sha256(digest[at / piece], (const uint8_t *)src + at,
                      n - at < piece ? n - at : piece);
    return EMAC_OK;
}

static const struct device_class card_class = {.lost = card_lost,
                                               .alloc = card_alloc,
                                               .free = card_free,
                                               .write = card_write,
                                               .view = card_view,
                                               .view_read = card_view_read,
                                               .sha256 = card_sha256};

static struct card card_with(uint64_t bytes)
{
    return (struct card){.dev = {.class = &card_class,
                                 .name = "card",
                                 .memory = {.total = bytes, .alloc_max = bytes}}};
}

/* ---- values ---- */

static uint8_t byte_of(uint32_t which, size_t i)
{
    return (uint8_t)((which + 1) * 31 + i / 64);
}

/* Value `which`, made on the card and left there; held. */
static enum emac_status make(struct resident_set *set, uint32_t which,
                             const struct store_value **out, struct emac_err *e)
{
    uint8_t *at;
    enum emac_status st = resident_alloc(set, BYTES, &at, e);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < BYTES; i++)
        at[i] = byte_of(which, i);
    st = resident_keep(set, at, BYTES, at, 8, out, e);
    if (st != EMAC_OK)
        device_free(set->dev, at);
    return st;
}

static bool is_right(const uint8_t *data, uint32_t which)
{
    for (size_t i = 0; i < BYTES; i++)
        if (data[i] != byte_of(which, i))
            return false;
    return true;
}

/* ---- those who ask ---- */

struct post {
    struct store *s;
    struct os_mutex lock;
    struct os_cond changed;
    const struct store_value *value[ROUNDS]; /* held by the post */
    uint32_t made;
    bool over;
};

struct asker {
    struct post *p;
    struct os_thread thread;
    uint32_t wrong;
};

static const struct store_value *wait_for(struct post *p, uint32_t i)
{
    os_mutex_lock(&p->lock);
    while (p->made <= i && !p->over)
        os_cond_wait(&p->changed, &p->lock);
    const struct store_value *v = i < p->made ? store_value_hold(p->s, p->value[i]) : NULL;
    os_mutex_unlock(&p->lock);
    return v;
}

static void *asker_main(void *arg)
{
    struct asker *a = arg;
    const struct store_value *v;
    for (uint32_t i = 0; i < ROUNDS && (v = wait_for(a->p, i)) != NULL; i++) {
        const uint8_t *data;
        if (store_value_bytes(a->p->s, v, &data, NULL) != EMAC_OK || !is_right(data, i))
            a->wrong++;
        store_value_drop(a->p->s, v);
    }
    return NULL;
}

static void post_put(struct post *p, const struct store_value *v)
{
    os_mutex_lock(&p->lock);
    p->value[p->made++] = v;
    os_cond_broadcast(&p->changed);
    os_mutex_unlock(&p->lock);
}

/* Each value is asked for by all as soon as it is made, while the card, which holds three of them,
 * makes the next and takes back the memory of the oldest. */
static void test_asked_while_memory_is_short(void **state)
{
    struct card card = card_with(3 * BYTES + 100);
    struct post p = {.s = memory_store()};
    struct resident_set set;
    struct asker a[ASKERS] = {{0}};
    resident_init(&set, &card.dev, p.s);
    os_mutex_init(&p.lock);
    os_cond_init(&p.changed);
    for (size_t i = 0; i < ASKERS; i++) {
        a[i].p = &p;
        os_thread_start(&a[i].thread, asker_main, &a[i]);
    }
    struct emac_err why;
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < ROUNDS && st == EMAC_OK; i++) {
        const struct store_value *v;
        st = make(&set, i, &v, &why);
        if (st == EMAC_OK)
            post_put(&p, v);
    }
    os_mutex_lock(&p.lock);
    p.over = true;
    os_cond_broadcast(&p.changed);
    os_mutex_unlock(&p.lock);
    for (size_t i = 0; i < ASKERS; i++)
        os_thread_join(&a[i].thread);
    if (st != EMAC_OK)
        fail_msg("%s", why.text);
    for (size_t i = 0; i < ASKERS; i++)
        assert_int_equal(a[i].wrong, 0);
    assert_int_equal(card.dev.memory.written, 0); /* nothing came back */
    assert_true(atomic_load(&card.dev.viewed) <= ROUNDS * BYTES);
    resident_release(&set);
    for (uint32_t i = 0; i < p.made; i++)
        store_value_forget(p.s, p.value[i]);
    assert_int_equal(card.dev.memory.used, 0);
    store_close(p.s);
    os_cond_release(&p.changed);
    os_mutex_release(&p.lock);
}

/* The card goes while they ask: each gets the whole value, or is told that it is lost. */
static void *late_asker(void *arg)
{
    struct asker *a = arg;
    const struct store_value *v = wait_for(a->p, 0);
    const uint8_t *data;
    if (store_value_bytes(a->p->s, v, &data, NULL) == EMAC_OK)
        a->wrong += !is_right(data, 0);
    store_value_drop(a->p->s, v);
    return NULL;
}

static void test_asked_while_the_card_goes(void **state)
{
    for (int round = 0; round < 30; round++) {
        struct card card = card_with(3 * BYTES + 100);
        struct post p = {.s = memory_store()};
        struct resident_set set;
        struct asker a[ASKERS] = {{0}};
        const struct store_value *v;
        resident_init(&set, &card.dev, p.s);
        os_mutex_init(&p.lock);
        os_cond_init(&p.changed);
        assert_ok(make(&set, 0, &v, err));
        post_put(&p, v);
        for (size_t i = 0; i < ASKERS; i++) {
            a[i].p = &p;
            os_thread_start(&a[i].thread, late_asker, &a[i]);
        }
        card.lost = round % 2 == 0;
        resident_release(&set);
        for (size_t i = 0; i < ASKERS; i++) {
            os_thread_join(&a[i].thread);
            assert_int_equal(a[i].wrong, 0);
        }
        if (!card.lost) {
            const uint8_t *data;
            assert_ok(store_value_bytes(p.s, v, &data, err));
            assert_true(is_right(data, 0));
        }
        assert_false(store_value_is_away(p.s, &v->cid));
        assert_int_equal(card.dev.memory.used, 0);
        store_value_forget(p.s, v);
        store_close(p.s);
        os_cond_release(&p.changed);
        os_mutex_release(&p.lock);
    }
}

/* RES-2: what the host has goes before what it has not. */
static void test_who_goes_first(void **state)
{
    struct card card = card_with(3 * BYTES + 100);
    struct store *s = memory_store();
    struct resident_set set;
    const struct store_value *v[4];
    const uint8_t *data;
    resident_init(&set, &card.dev, s);
    for (uint32_t i = 0; i < 3; i++)
        assert_ok(make(&set, i, &v[i], err));
    assert_ok(store_value_bytes(s, v[2], &data, err)); /* the youngest, but the host has it */
    assert_ok(make(&set, 3, &v[3], err));
    assert_true(store_value_is_away(s, &v[0]->cid) && store_value_is_away(s, &v[1]->cid));
    assert_int_equal(atomic_load(&card.dev.viewed), BYTES);
    /* what the store let go of needs no bringing */
    store_value_forget(s, v[1]);
    assert_ok(make(&set, 1, &v[1], err));
    assert_true(store_value_is_away(s, &v[0]->cid));
    assert_int_equal(atomic_load(&card.dev.viewed), BYTES);
    for (uint32_t i = 0; i < 4; i++)
        store_value_forget(s, v[i]);
    resident_prune(&set);
    assert_int_equal(card.dev.memory.used, 0);
    resident_release(&set);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asked_while_memory_is_short),
        cmocka_unit_test(test_asked_while_the_card_goes),
        cmocka_unit_test(test_who_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

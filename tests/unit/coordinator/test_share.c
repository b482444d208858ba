/* Which rig gets a request for text (serve_share.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/assert.h"
#include "coordinator/internal.h"
#include "coordinator/serving/serve_share.h"

#define NOW_MS 100000

static const struct cid MODEL = {CID_DAG_PB, {1}}, PARAMS = {CID_DAG_PB, {2}};

static uint64_t still(struct os *os)
{
    (void)os;
    return NOW_MS * UINT64_C(1000000);
}

/* A rig: whether it is there, waits in a poll, how many slots it has (0: it did not say) and uses,
 * how near it has the model, and whether it failed at the request, or is at a task. */
struct rig {
    bool live, polls;
    uint32_t slots, answers;
    enum { FAR, HOLDS, LOADED } near;
    bool failed;
    uint64_t task_ms;
};

/* The first asks, the second is there as well. */
static const struct {
    const char *what;
    struct rig asks, other;
    bool gets, gets_late; /* at once; once others had their time */
} cases[] = {
    {"alone", {true, true, 8, 0}, {0}, true, true},
    {"alone, which failed, waits a while", {true, true, 8, 0, .failed = true}, {0}, false, true},
    {"a rig that says nothing of slots", {true, true, 0, 5}, {0}, true, true},
    {"SHARE-1: no slot is free", {true, true, 4, 4}, {0}, false, false},
    {"SHARE-1: more than that", {true, true, 4, 6, LOADED}, {0}, false, false},
    {"SHARE-2: the other has it loaded",
     {true, true, 8, 0},
     {true, false, 8, 7, LOADED},
     false,
     true},
    {"SHARE-2: the other has it loaded and no slot",
     {true, true, 8, 0},
     {true, true, 8, 8, LOADED},
     true,
     true},
    {"SHARE-2: the other is gone", {true, true, 8, 0}, {false, true, 8, 0, LOADED}, true, true},
    {"SHARE-2: loaded before held",
     {true, true, 8, 0, HOLDS},
     {true, true, 8, 0, LOADED},
     false,
     true},
    {"SHARE-2: held before far", {true, true, 8, 0}, {true, false, 8, 0, HOLDS}, false, true},
    {"SHARE-2: loaded, also with fewer slots",
     {true, true, 8, 7, LOADED},
     {true, true, 8, 0},
     true,
     true},
    {"SHARE-2: the most free slots",
     {true, true, 8, 3, LOADED},
     {true, true, 8, 2, LOADED},
     false,
     true},
    {"SHARE-2: of those who ask",
     {true, true, 8, 3, LOADED},
     {true, false, 8, 2, LOADED},
     true,
     true},
    {"SHARE-2: equals", {true, true, 8, 3}, {true, true, 8, 3}, true, true},
    {"SHARE-2: who failed comes last",
     {true, true, 8, 0, LOADED, .failed = true},
     {true, true, 8, 7},
     false,
     true},
    {"SHARE-2: the other failed",
     {true, true, 8, 7},
     {true, true, 8, 0, LOADED, .failed = true},
     true,
     true},
    {"SHARE-3: at a task beside an idle one",
     {true, true, 8, 0, LOADED, .task_ms = 5000},
     {true, false, 8, 0},
     false,
     false},
    {"SHARE-3: the idle one has no slot",
     {true, true, 8, 0, .task_ms = 5000},
     {true, false, 8, 8},
     true,
     true},
    {"SHARE-3: both at tasks",
     {true, true, 8, 0, .task_ms = 1000},
     {true, false, 8, 0, .task_ms = 5000},
     true,
     true},
};

static void rig_make(struct node *n, struct lease *l, const struct rig *r)
{
    *n = (struct node){.present = true,
                       .state = NODE_ADMITTED,
                       .seen_ms = r->live ? NOW_MS : NOW_MS - 50000,
                       .waiting = r->polls};
    n->serving.answers = r->answers;
    n->serving.slots = r->slots;
    if (r->near == LOADED)
        n->serving.model[n->serving.model_count++] = MODEL;
    if (r->near == HOLDS)
        n->hold[n->hold_count++] = (struct held){.cid = PARAMS};
    *l = (struct lease){.begin_ms = NOW_MS - 10, .expected_ms = r->task_ms};
    if (r->task_ms > 0)
        n->lease[0] = l;
}

static void test_who_gets_it(void **state)
{
    static struct coordinator c;
    static struct node asks, other;
    struct os os = *os_real();
    struct lease lease[2];
    os.mono_ns = still;
    c.os = &os;
    c.cfg.lease_ttl_ms = 4000;
    map_put(&c.nodes, "asks", &asks);
    map_put(&c.nodes, "other", &other);
    for (size_t i = 0; i < EMAC_COUNT(cases); i++) {
        uint64_t wake = NOW_MS + 1000;
        rig_make(&asks, &lease[0], &cases[i].asks);
        rig_make(&other, &lease[1], &cases[i].other);
        struct serve_wish w = {.model = &MODEL, .params = &PARAMS, .queued_ms = NOW_MS - 20};
        w.failed = cases[i].asks.failed ? &asks : cases[i].other.failed ? &other : NULL;
        if (serve_suits(&c, &w, &asks, &wake) != cases[i].gets)
            fail_msg("%s: it %s", cases[i].what, cases[i].gets ? "is refused" : "gets it");
        bool waits = !cases[i].gets && cases[i].gets_late;
        assert_int_equal(wake, waits ? w.queued_ms + SERVE_HOLDER_MS : NOW_MS + 1000);
        w.queued_ms = NOW_MS - SERVE_HOLDER_MS;
        if (serve_suits(&c, &w, &asks, &wake) != cases[i].gets_late)
            fail_msg("%s, later: it %s", cases[i].what,
                     cases[i].gets_late ? "is refused" : "gets it");
    }
    map_release(&c.nodes, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_who_gets_it)};
    return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}

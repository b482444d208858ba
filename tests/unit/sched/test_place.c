#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/philox.h"
#include "sched/offers.h"

/* A range of another rig, which is idle. */
static const struct sched_offer FOREIGN = {
    .kind = SCHED_RANGE,
    .born_ms = 1000,
    .mine_ms = 4000,
    .range = {.has_owner = true, .owner_live = true, .expected_ms = 4000, .queue_ms = 4000}};

static struct sched_offer busy_owner(uint64_t since_ms, uint64_t until_ms, uint64_t queue_ms)
{
    struct sched_offer o = FOREIGN;
    o.range.since_ms = since_ms;
    o.range.until_ms = until_ms;
    o.range.queue_ms = queue_ms;
    return o;
}

static void owner_gets_its_range_at_once(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = FOREIGN;
    o.range.is_owner = true;
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_GRANT);
}

static void range_is_kept_for_half_the_expected_duration(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = FOREIGN;
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_LATER);
    assert_int_equal(wake, 3000);
    assert_int_equal(sched_offer_judge(&o, 2999, &wake), SCHED_LATER);
    assert_int_equal(sched_offer_judge(&o, 3000, &wake), SCHED_GRANT);
}

static void short_ranges_are_kept_at_least_300_ms(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = FOREIGN;
    o.born_ms = 50;
    o.range.expected_ms = 2;
    assert_int_equal(sched_offer_judge(&o, 349, &wake), SCHED_LATER);
    assert_int_equal(wake, 350);
    assert_int_equal(sched_offer_judge(&o, 350, &wake), SCHED_GRANT);
}

static void dead_owner_keeps_nothing(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = FOREIGN;
    o.range.owner_live = false;
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_GRANT);
}

static void busy_owner_is_waited_for_until_it_is_late_by_what_it_would_cost(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = busy_owner(4000, 5000, 2000);
    assert_int_equal(sched_offer_judge(&o, 4500, &wake), SCHED_LATER);
    assert_int_equal(wake, 8002);
    assert_int_equal(sched_offer_judge(&o, 5001, &wake), SCHED_LATER);
    assert_int_equal(sched_offer_judge(&o, 8001, &wake), SCHED_LATER);
    assert_int_equal(sched_offer_judge(&o, 8002, &wake), SCHED_GRANT);
}

static void who_would_be_done_sooner_takes_what_has_not_begun(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = busy_owner(4000, 5000, 4000);
    assert_int_equal(sched_offer_judge(&o, 4999, &wake), SCHED_GRANT);
    o.mine_ms = 4001;
    assert_int_equal(sched_offer_judge(&o, 4999, &wake), SCHED_LATER);
    /* Of what two others wait with: that of the one that is further behind. */
    struct sched_offer further = busy_owner(4000, 5000, 4500);
    assert_true(sched_offer_before(&further, &o));
    assert_false(sched_offer_before(&o, &further));
    /* Of what one waits with, 4000 ms in all from 5000 on: neither what leaves it nearly all, nor
     * what would keep the asking rig, half as fast, for longer. */
    static const uint64_t EXPECTED[] = {100, 1500, 2400};
    struct sched_offer part[3];
    for (int i = 0; i < 3; i++) {
        part[i] = busy_owner(4000, 5000, 4000);
        part[i].asked_ms = 4999;
        part[i].range.expected_ms = EXPECTED[i];
        part[i].mine_ms = 2 * EXPECTED[i];
    }
    assert_true(sched_offer_before(&part[1], &part[0]));
    assert_true(sched_offer_before(&part[1], &part[2]));
}

static void state_goes_to_who_is_done_first(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {.kind = SCHED_STATE,
                            .born_ms = 100,
                            .state = {.wanted = 2, .ahead = 2, .ahead_until_ms = 300}};
    assert_int_equal(sched_offer_judge(&o, 100, &wake), SCHED_LATER);
    assert_int_equal(wake, 300);
    assert_int_equal(sched_offer_judge(&o, 300, &wake), SCHED_GRANT);
    o.state.ahead = 1;
    assert_int_equal(sched_offer_judge(&o, 100, &wake), SCHED_GRANT);
    o.state.wanted = 1;
    assert_int_equal(sched_offer_judge(&o, 100, &wake), SCHED_LATER);
}

static void a_copy_must_pay(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {
        .kind = SCHED_COPY, .born_ms = 900, .mine_ms = 1000, .copy = {1000, 9000}};
    /* 1000 ms and half of them: done long before 9000. */
    assert_int_equal(sched_offer_judge(&o, 7499, &wake), SCHED_GRANT);
    assert_int_equal(sched_offer_judge(&o, 7500, &wake), SCHED_LATER);
    assert_int_equal(wake, 9001);
    assert_int_equal(sched_offer_judge(&o, 9001, &wake), SCHED_GRANT);
    /* A rig as fast as the one that runs it waits until that is late by what a copy takes. */
    o.mine_ms = 8000;
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_LATER);
    assert_int_equal(sched_offer_judge(&o, 9001, &wake), SCHED_LATER);
    assert_int_equal(wake, 25002);
    assert_int_equal(sched_offer_judge(&o, 25002, &wake), SCHED_GRANT);
}

static void own_range_comes_before_orphans_and_theft(void **state)
{
    (void)state;
    struct sched_offer own = FOREIGN, orphan = FOREIGN, theft = FOREIGN;
    own.range.is_owner = true;
    orphan.range.owner_live = false;
    const struct sched_offer copy = {.kind = SCHED_COPY}, step = {.kind = SCHED_STATE};
    assert_true(sched_offer_before(&own, &orphan));
    struct sched_offer larger = own;
    larger.range.expected_ms++;
    assert_true(sched_offer_before(&larger, &own));
    assert_false(sched_offer_before(&own, &larger));
    assert_true(sched_offer_before(&orphan, &theft));
    assert_false(sched_offer_before(&theft, &own));
    assert_true(sched_offer_before(&step, &theft));
    assert_true(sched_offer_before(&theft, &copy));
    struct sched_offer older = orphan;
    older.born_ms = 4;
    assert_true(sched_offer_before(&older, &orphan));
}

/* Whatever the facts: a LATER names a time in the future at which, facts unchanged, asking again
 * gets on; and everything is granted in the end. */
static void waiting_always_ends(void **state)
{
    (void)state;
    const uint64_t seed = 20261122;
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t r[4];
        philox_at(seed, PHILOX_TEST, 1, i, r);
        struct sched_offer o = {
            .kind = (enum sched_kind)(r[2] % 5), .born_ms = r[0] % 5000, .mine_ms = r[1] % 19000};
        o.range.has_owner = r[2] & 4;
        o.range.owner_live = r[2] & 8;
        o.range.is_owner = o.range.has_owner && (r[2] & 16);
        o.range.expected_ms = r[1] % 20000;
        o.range.since_ms = r[3] % 6000;
        o.range.until_ms = r[2] & 32 ? o.range.since_ms + r[3] % 9000 : 0;
        o.range.queue_ms = r[0] % 7000;
        o.state.wanted = 1 + r[0] % 3;
        o.state.ahead = r[1] % 5;
        o.state.ahead_until_ms = r[3] % 9000;
        o.copy.since_ms = r[3] % 6000;
        o.copy.until_ms = o.copy.since_ms + r[0] % 9000;
        o.recall.since_ms = o.copy.since_ms;
        o.recall.until_ms = o.copy.until_ms;
        o.recall.expected_ms = r[2] % 5000;
        uint64_t now = o.copy.since_ms + r[1] % 6000;
        int rounds = 0;
        uint64_t wake = 0;
        while (sched_offer_judge(&o, now, &wake) == SCHED_LATER) {
            if (wake <= now || ++rounds > 4)
                fail_msg("seed %lu case %u: waits for %lu at %lu", (unsigned long)seed, i,
                         (unsigned long)wake, (unsigned long)now);
            now = wake;
        }
    }
}

static void a_stage_stays_with_its_holders(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {.kind = SCHED_STAGE, .born_ms = 1000, .mine_ms = 500};
    o.range.expected_ms = 400;
    /* nobody has it: anybody may */
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_GRANT);
    /* its holder is at work: a stranger waits until that is late by far */
    o.stage.any = true;
    o.stage.until_ms = 5000;
    assert_int_equal(sched_offer_judge(&o, 6000, &wake), SCHED_LATER);
    assert_int_equal(wake, 5000 + SCHED_STAGE_MS + 4 * 400);
    assert_int_equal(sched_offer_judge(&o, wake, &wake), SCHED_GRANT);
    /* fewer hold it than may */
    o.stage.more = true;
    assert_int_equal(sched_offer_judge(&o, 6000, &wake), SCHED_GRANT);
    /* a holder gets it at once, before what strangers would take */
    struct sched_offer mine = o;
    mine.stage.mine = true;
    mine.born_ms = 2000;
    assert_int_equal(sched_offer_judge(&mine, 2000, &wake), SCHED_GRANT);
    assert_true(sched_offer_before(&mine, &o));
    assert_false(sched_offer_before(&o, &mine));
}

/* AHEAD-1 */
static void a_rig_at_work_takes_what_is_meant_for_it(void **state)
{
    (void)state;
    const struct sched_offer stage = {.kind = SCHED_STAGE, .stage = {.mine = true, .any = true}};
    struct sched_offer held = stage, own = FOREIGN, orphan = FOREIGN, dead = FOREIGN;
    held.stage.mine = false;
    own.range.is_owner = true;
    orphan.range.has_owner = false; /* and so are checks */
    dead.range.owner_live = false;
    const struct sched_offer step = {.kind = SCHED_STATE, .state = {.wanted = 1}};
    const struct sched_offer recall = {.kind = SCHED_RECALL, .recall = {0, 90000, 90000}};
    const struct sched_offer copy = {.kind = SCHED_COPY, .copy = {0, 90000}};
    enum { AT_ONCE, AFTER, NEVER };
    const struct {
        const struct sched_offer *o;
        int with_one, with_two;
    } CASES[] = {
        {&stage, AT_ONCE, AT_ONCE}, {&own, AT_ONCE, NEVER},  {&orphan, AFTER, NEVER},
        {&dead, AFTER, NEVER},      {&step, AFTER, NEVER},   {&held, NEVER, NEVER},
        {&FOREIGN, NEVER, NEVER},   {&recall, NEVER, NEVER}, {&copy, NEVER, NEVER},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        for (uint32_t leases = 1; leases <= 2; leases++) {
            struct sched_offer o = *CASES[i].o;
            int want = leases == 1 ? CASES[i].with_one : CASES[i].with_two;
            uint64_t wake = 0;
            o.leases = leases;
            o.born_ms = 1000;
            bool granted = sched_offer_judge(&o, 1000, &wake) == SCHED_GRANT;
            assert_int_equal(granted, want == AT_ONCE);
            if (!granted)
                assert_true(wake == (want == NEVER ? UINT64_MAX : 1000 + SCHED_GRACE_MIN_MS));
            if (want == AFTER)
                assert_int_equal(sched_offer_judge(&o, wake, &wake), SCHED_GRANT);
        }
}

/* AHEAD-2 */
static void what_is_not_begun_goes_to_who_is_idle(void **state)
{
    (void)state;
    uint64_t wake = 0;
    /* Its holder is at something until 5000 and would be done with this at 7000. */
    struct sched_offer o = {
        .kind = SCHED_RECALL, .born_ms = 900, .mine_ms = 3000, .recall = {1000, 5000, 2000}};
    assert_int_equal(sched_offer_judge(&o, 3699, &wake), SCHED_GRANT);
    assert_int_equal(sched_offer_judge(&o, 3700, &wake), SCHED_LATER);
    assert_true(wake > 5000);
    /* A slow rig would only keep the round. */
    o.mine_ms = 60000;
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_LATER);
    /* After theft, before copies; the one that its holder comes to last. */
    struct sched_offer later = o, theft = FOREIGN;
    const struct sched_offer copy = {.kind = SCHED_COPY};
    later.recall.until_ms++;
    assert_true(sched_offer_before(&later, &o) && !sched_offer_before(&o, &later));
    assert_true(sched_offer_before(&o, &copy) && sched_offer_before(&theft, &o));
}

/* AHEAD-3 */
static void what_is_held_is_one_piece_of_work(void **state)
{
    (void)state;
    const struct sched_busy idle = {0}, busy = {true, 1000, 4000};
    assert_true(sched_busy_ms(&idle, 2000) == 0);
    assert_true(sched_busy_ms(&busy, 2000) == 2000);
    assert_true(sched_busy_ms(&busy, 4000) == 0);
    assert_true(sched_busy_ms(&busy, 5000) == 2000); /* late: half as long again */
}

/* Rigs that ask for a stage, as the books have them. */
struct crew {
    struct sched_speed speed;
    struct rig {
        bool gone, room, at_work, keeps;
    } rig[2];
};

static const void *crew_next(void *ctx, size_t *at)
{
    const struct crew *c = ctx;
    while (*at < 2 && c->rig[*at].gone)
        ++*at;
    return *at < 2 ? &c->rig[(*at)++] : NULL;
}

static struct sched_rig crew_rig(void *ctx, const void *rig)
{
    const struct crew *c = ctx;
    return (struct sched_rig){.speed = &c->speed, .live = !((const struct rig *)rig)->gone};
}

static bool crew_before(const void *a, const void *b)
{
    return (const struct rig *)a < (const struct rig *)b;
}

static uint64_t crew_fetch(void *ctx, const void *task, const void *rig)
{
    (void)ctx, (void)task, (void)rig;
    return 0;
}

static bool crew_at_work(void *ctx, const void *task, const void *rig)
{
    (void)ctx, (void)task;
    return ((const struct rig *)rig)->at_work;
}

static bool crew_keeps(void *ctx, const void *task, const void *rig)
{
    (void)ctx, (void)task;
    return ((const struct rig *)rig)->keeps;
}

static bool crew_has_room(void *ctx, const void *task, const void *rig)
{
    (void)ctx, (void)task;
    return ((const struct rig *)rig)->room;
}

/* What the first rig is told, long after all graces. */
static enum sched_verdict crew_asks(struct crew *c, enum task_kind kind, bool stage)
{
    const struct sched_books books = {c,           1000000,      crew_next,    crew_rig,
                                      crew_before, crew_fetch,   crew_at_work, crew_keeps,
                                      NULL,        crew_has_room};
    const struct sched_task task = {.task = c,
                                    .kind = task_kind_info(kind),
                                    .flops = 1,
                                    .need = 1,
                                    .holders = 1,
                                    .state_wanted = 1,
                                    .current = true,
                                    .stage = stage};
    uint64_t wake;
    sched_speed_seed(&c->speed, 1e9);
    struct sched_offer o = sched_offer_of(&books, &task, &c->rig[0]);
    return sched_offer_judge(&o, books.now_ms, &wake);
}

/* ROOM-1 */
static void a_stage_goes_where_there_is_room(void **state)
{
    static const struct {
        enum task_kind kind;
        bool stage;
        struct rig rig[2];
        enum sched_verdict verdict;
    } CASES[] = {
        {TASK_INIT, true, {{.room = true}, {.room = true}}, SCHED_GRANT},
        {TASK_INIT, true, {{.room = false}, {.room = true}}, SCHED_LATER},
        {TASK_INIT, true, {{.room = false}, {.room = false}}, SCHED_GRANT},
        {TASK_INIT, true, {{.room = false}, {.room = true, .gone = true}}, SCHED_GRANT},
        {TASK_INIT, true, {{.room = false}, {.room = true, .at_work = true}}, SCHED_GRANT},
        {TASK_INIT, false, {{.room = false}, {.room = true}}, SCHED_GRANT},
        {TASK_UPDATE, true, {{.room = false}, {.room = true}}, SCHED_LATER},
        {TASK_UPDATE, true, {{.room = true}, {.room = true}}, SCHED_GRANT},
        {TASK_UPDATE, true, {{.room = false, .keeps = true}, {.room = true}}, SCHED_GRANT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct crew crew = {.rig = {CASES[i].rig[0], CASES[i].rig[1]}};
        if (crew_asks(&crew, CASES[i].kind, CASES[i].stage) != CASES[i].verdict)
            fail_msg("case %zu", i);
    }
    /* All of them, and the one that moves most a second time. */
    const struct sched_stage has = {10, 6}, more = {5, 5}, much = {UINT64_MAX, 1};
    assert_true(sched_keeps(&has, &more) == 21 && sched_keeps(&more, &has) == 21);
    assert_true(sched_keeps(&has, &much) == UINT64_MAX);
}

static void jobs_take_turns_by_virtual_time(void **state)
{
    (void)state;
    double vtime[3] = {5, 2, 7};
    bool skip[3] = {false, false, false};
    assert_int_equal(sched_job_next(vtime, skip, 3), 1);
    skip[1] = true;
    assert_int_equal(sched_job_next(vtime, skip, 3), 0);
    skip[0] = skip[2] = true;
    assert_int_equal(sched_job_next(vtime, skip, 3), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owner_gets_its_range_at_once),
        cmocka_unit_test(range_is_kept_for_half_the_expected_duration),
        cmocka_unit_test(short_ranges_are_kept_at_least_300_ms),
        cmocka_unit_test(dead_owner_keeps_nothing),
        cmocka_unit_test(busy_owner_is_waited_for_until_it_is_late_by_what_it_would_cost),
        cmocka_unit_test(who_would_be_done_sooner_takes_what_has_not_begun),
        cmocka_unit_test(state_goes_to_who_is_done_first),
        cmocka_unit_test(a_copy_must_pay),
        cmocka_unit_test(own_range_comes_before_orphans_and_theft),
        cmocka_unit_test(waiting_always_ends),
        cmocka_unit_test(a_stage_stays_with_its_holders),
        cmocka_unit_test(a_rig_at_work_takes_what_is_meant_for_it),
        cmocka_unit_test(what_is_not_begun_goes_to_who_is_idle),
        cmocka_unit_test(what_is_held_is_one_piece_of_work),
        cmocka_unit_test(a_stage_goes_where_there_is_room),
        cmocka_unit_test(jobs_take_turns_by_virtual_time),
    };
    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/checked.h"
#include "../property.h"

static void arena_memory_is_zeroed_and_aligned(void **state)
{
    struct arena a;
    arena_init(&a, 1 << 20);
    for (size_t n = 0; n < 300; n++) {
        uint8_t *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    arena_release(&a);
    assert_int_equal(a.used, 0);
}

static void arena_keeps_its_maximum(void **state)
{
    struct arena a;
    arena_init(&a, 1000);
    assert_null(arena_alloc(&a, 1001));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    assert_null(arena_strndup(&a, "x", SIZE_MAX));
    assert_non_null(arena_calloc(&a, 10, 16));
    assert_null(arena_alloc(&a, 900));
    assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
    assert_true(a.used <= a.max);
    arena_release(&a);
}

/* Pieces of all sizes, over chunk borders: none overlaps another. */
static bool arena_pieces_are_separate(struct choices *c)
{
    struct arena a;
    uint8_t *piece[200];
    size_t len[200];
    bool ok = true;
    arena_init(&a, 64 << 20);
    for (int i = 0; i < 200; i++) {
        len[i] = choose(c, choose(c, 20) == 0 ? 200000 : 200);
        piece[i] = arena_alloc(&a, len[i]);
        memset(piece[i], i, len[i]);
    }
    for (int i = 0; i < 200; i++) {
        for (size_t k = 0; k < len[i]; k++)
            ok = ok && piece[i][k] == i;
    }
    arena_release(&a);
    return ok;
}

static void arena_property(void **state)
{
    ASSERT_PROPERTY(20, arena_pieces_are_separate);
}

static void lists_grow_by_doubling(void **state)
{
    uint32_t *list = NULL;
    size_t cap = 0, moved = 0;
    struct emac_err err;
    for (size_t i = 0; i < 1000; i++) {
        size_t before = cap;
        assert_int_equal(emac_grow(&list, i, &cap, sizeof *list, &err), EMAC_OK);
        assert_true(cap > i);
        moved += cap != before;
        list[i] = (uint32_t)i;
    }
    assert_int_equal(cap, 1024);
    assert_int_equal(moved, 7);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(list[i], i);
    /* More than a size can say: the list is as it was. */
    const size_t much[] = {SIZE_MAX / 4, SIZE_MAX / 2 + 1, SIZE_MAX};
    for (size_t i = 0; i < EMAC_COUNT(much); i++) {
        uint32_t *same = list;
        size_t large = much[i];
        assert_int_equal(emac_grow(&list, large, &large, sizeof *list, &err), EMAC_NO_MEMORY);
        assert_true(list == same && large == much[i] && err.text[0] != '\0');
    }
    free(list);
}

static void buf_grows_to_its_maximum(void **state)
{
    struct emac_buf b;
    struct emac_err err = {0};
    emac_buf_init(&b, 10);
    assert_string_equal(emac_buf_str(&b), "");
    assert_int_equal(emac_buf_append(&b, "hello", 5, &err), EMAC_OK);
    assert_int_equal(emac_buf_printf(&b, &err, "%d", 12345), EMAC_OK);
    assert_string_equal(emac_buf_str(&b), "hello12345");
    assert_int_equal(emac_buf_append(&b, "x", 1, &err), EMAC_TOO_LARGE);
    assert_int_equal(emac_buf_printf(&b, &err, "%s", "y"), EMAC_TOO_LARGE);
    assert_int_equal(emac_buf_reserve(&b, SIZE_MAX, &err), EMAC_TOO_LARGE);
    assert_string_equal(emac_buf_str(&b), "hello12345");
    emac_buf_clear(&b);
    assert_string_equal(emac_buf_str(&b), "");
    assert_int_equal(emac_buf_append(&b, NULL, 0, &err), EMAC_OK);
    emac_buf_release(&b);
}

static void buf_steal_hands_over(void **state)
{
    struct emac_buf b;
    size_t n = 0;
    emac_buf_init(&b, 100);
    assert_int_equal(emac_buf_append(&b, "abc", 3, NULL), EMAC_OK);
    uint8_t *p = emac_buf_steal(&b, &n);
    assert_int_equal(n, 3);
    assert_memory_equal(p, "abc", 4);
    assert_null(b.data);
    assert_int_equal(emac_buf_append(&b, "d", 1, NULL), EMAC_OK);
    assert_string_equal(emac_buf_str(&b), "d");
    emac_buf_release(&b);
    free(p);
}

static void alloc_checks_sizes(void **state)
{
    uint32_t *p = (uint32_t *)1;
    struct emac_err err = {0};
    assert_int_equal(emac_alloc(&p, SIZE_MAX / 2, 4, &err), EMAC_NO_MEMORY);
    assert_null(p);
    assert_int_equal(emac_alloc(&p, 4, 4, &err), EMAC_OK);
    assert_int_equal(p[0] | p[1] | p[2] | p[3], 0);
    free(p);
    assert_int_equal(emac_alloc_aligned(&p, 100, &err), EMAC_OK);
    assert_int_equal((uintptr_t)p % 64, 0);
    free(p);
    assert_int_equal(emac_alloc_aligned(&p, SIZE_MAX - 5, &err), EMAC_NO_MEMORY);
    assert_int_equal(emac_alloc_aligned(&p, 0, &err), EMAC_OK);
    free(p);
}

static void strings(void **state)
{
    char small[4];
    assert_true(emac_strcpy(small, sizeof small, "abc"));
    assert_false(emac_strcpy(small, sizeof small, "abcd"));
    assert_string_equal(small, "abc");
    char *s = emac_asprintf("%s-%d", "a", 5);
    assert_string_equal(s, "a-5");
    free(s);
    s = emac_strndup("abcdef", 2);
    assert_string_equal(s, "ab");
    free(s);
}

static void checked_arithmetic(void **state)
{
    size_t s = 7;
    int64_t i = 7;
    assert_false(emac_add_size(SIZE_MAX, 1, &s));
    assert_false(emac_mul_size(SIZE_MAX, 2, &s));
    assert_false(emac_add_i64(INT64_MAX, 1, &i));
    assert_false(emac_mul_i64(INT64_MIN, -1, &i));
    assert_int_equal(s, 7);
    assert_int_equal(i, 7);
    assert_true(emac_mul_size(3, 4, &s) && s == 12);
    assert_true(emac_add_i64(-3, 1, &i) && i == -2);
}

/* The canary: a broken invariant ends the process, in this very build. */
static void assertions_are_on(void **state)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        EMAC_ASSERT(getpid() == 0);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_memory_is_zeroed_and_aligned),
        cmocka_unit_test(arena_keeps_its_maximum),
        cmocka_unit_test(arena_property),
        cmocka_unit_test(lists_grow_by_doubling),
        cmocka_unit_test(buf_grows_to_its_maximum),
        cmocka_unit_test(buf_steal_hands_over),
        cmocka_unit_test(alloc_checks_sizes),
        cmocka_unit_test(strings),
        cmocka_unit_test(checked_arithmetic),
        cmocka_unit_test(assertions_are_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

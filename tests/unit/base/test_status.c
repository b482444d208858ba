#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"

static void every_code_has_its_row(void **state)
{
    for (int i = 0; i < EMAC_STATUS_COUNT; i++) {
        enum emac_status st = (enum emac_status)i;
        assert_int_equal(emac_status_from_text(emac_status_text(st)), st);
        assert_in_range(emac_status_http(st), 200, 599);
        assert_in_range(emac_status_exit(st), 0, 255);
    }
    assert_int_equal(emac_status_exit(EMAC_OK), 0);
    assert_int_equal(emac_status_http(EMAC_PAYMENT), 402);
    assert_true(emac_status_retryable(EMAC_UNAVAILABLE));
    assert_false(emac_status_retryable(EMAC_CORRUPT));
    assert_int_equal(emac_status_from_text("no such code"), EMAC_INTERNAL);
}

static void fail_composes_the_sentence(void **state)
{
    struct emac_err err = {0};
    assert_int_equal(emac_fail(&err, EMAC_INVALID, "unknown field '%s'", "x"), EMAC_INVALID);
    assert_int_equal(err.status, EMAC_INVALID);
    assert_string_equal(err.text, "unknown field 'x'");
    assert_int_equal(emac_wrap(&err, "job %d", 7), EMAC_INVALID);
    assert_string_equal(err.text, "job 7: unknown field 'x'");
    assert_int_equal(emac_fail(NULL, EMAC_IO, "nobody listens"), EMAC_IO);
}

static void fail_may_quote_the_old_sentence(void **state)
{
    struct emac_err err = {0};
    emac_fail(&err, EMAC_IO, "first");
    emac_fail(&err, EMAC_CORRUPT, "second after %s", err.text);
    assert_string_equal(err.text, "second after first");
}

/* What it quotes comes from files and peers; and a cut may fall inside a character. */
static void sentences_are_plain_text(void **state)
{
    struct emac_err err = {0};
    char big[EMAC_ERR_TEXT_MAX + 8];
    emac_fail(&err, EMAC_INVALID, "'%s' is none", "a\x1b[2Jb\nc\xff\xc3\xa9\xc2\x9b");
    assert_string_equal(err.text, "'a [2Jb c?\xc3\xa9  ' is none");
    emac_wrap(&err, "line %s", "\t\xc3");
    assert_string_equal(err.text, "line  ?: 'a [2Jb c?\xc3\xa9  ' is none");
    memset(big, 'a', sizeof big);
    memcpy(big + EMAC_ERR_TEXT_MAX - 2, "\xc3\xa9", 3);
    emac_fail(&err, EMAC_INVALID, "%s", big);
    assert_string_equal(err.text + EMAC_ERR_TEXT_MAX - 3, "a?");
}

static void long_sentences_are_cut(void **state)
{
    struct emac_err err = {0};
    char big[2000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    emac_fail(&err, EMAC_INVALID, "%s", big);
    assert_int_equal(strlen(err.text), EMAC_ERR_TEXT_MAX - 1);
    emac_wrap(&err, "%s", "context");
    assert_int_equal(strlen(err.text), EMAC_ERR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "context: aaa", 12);
    emac_wrap(&err, "%s", big);
    assert_int_equal(strlen(err.text), EMAC_ERR_TEXT_MAX - 1);
}

static void errno_maps_to_codes(void **state)
{
    struct emac_err err = {0};
    assert_int_equal(emac_fail_errno(&err, ENOENT, "open", "/x"), EMAC_NOT_FOUND);
    assert_string_equal(err.text, "cannot open '/x': No such file or directory");
    assert_int_equal(emac_fail_errno(&err, ENOSPC, "write", "/x"), EMAC_NO_SPACE);
    assert_int_equal(emac_fail_errno(&err, EFBIG, "write", "/x"), EMAC_NO_SPACE);
    assert_int_equal(emac_fail_errno(&err, EDQUOT, "write", "/x"), EMAC_NO_SPACE);
    assert_int_equal(emac_fail_errno(&err, ENOMEM, "map", "/x"), EMAC_NO_MEMORY);
    assert_int_equal(emac_fail_errno(&err, EACCES, "open", "/x"), EMAC_IO);
}

struct sink {
    int lines;
    char last[64];
};

static void keep_line(void *ctx, enum log_level level, const char *module, const char *text)
{
    struct sink *s = ctx;
    s->lines++;
    assert_string_equal(module, "test");
    assert_int_equal(level, LOG_WARN);
    strncpy(s->last, text, sizeof s->last - 1);
}

static void log_goes_to_the_sink(void **state)
{
    struct sink s = {0};
    LOG_E("test", "no sink yet: vanishes");
    log_set_sink(keep_line, &s, LOG_WARN);
    LOG_D("test", "too quiet");
    LOG_I("test", "too quiet");
    LOG_W("test", "rig %d is hot", 3);
    log_set_sink(NULL, NULL, LOG_DEBUG);
    LOG_W("test", "vanishes");
    assert_int_equal(s.lines, 1);
    assert_string_equal(s.last, "rig 3 is hot");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_row),
        cmocka_unit_test(fail_composes_the_sentence),
        cmocka_unit_test(fail_may_quote_the_old_sentence),
        cmocka_unit_test(sentences_are_plain_text),
        cmocka_unit_test(long_sentences_are_cut),
        cmocka_unit_test(errno_maps_to_codes),
        cmocka_unit_test(log_goes_to_the_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

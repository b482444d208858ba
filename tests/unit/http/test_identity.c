#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/identity.h"

static void test_identity(void **state)
{
    struct os *os = os_real();
    struct identity a, b;
    struct emac_err err;
    struct stat s;
    char dir[] = "/tmp/emac-test-identity-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/key", dir);
    assert_int_equal(identity_load(os, path, &a, &err), EMAC_NOT_FOUND);
    assert_int_equal(identity_load_or_create(os, path, &a, &err), EMAC_OK);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    assert_int_equal(identity_load_or_create(os, path, &b, &err), EMAC_OK);
    assert_string_equal(a.did, b.did);
    assert_memory_equal(a.secret_key, b.secret_key, sizeof a.secret_key);
    assert_ptr_equal(b.signer.did, b.did);
    assert_int_equal(identity_create(os, path, &b, &err), EMAC_CONFLICT);
    static const char *const BAD[] = {"", "xyz", "00",
                                      "000000000000000000000000000000000000000000000000000000000000"
                                      "000g\n"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_equal(os->file_write(os, path, BAD[i], strlen(BAD[i]), 0600, &err), EMAC_OK);
        assert_int_equal(identity_load(os, path, &b, &err), EMAC_CORRUPT);
        assert_int_equal(identity_load_or_create(os, path, &b, &err), EMAC_CORRUPT);
    }
    identity_release(&a);
    assert_string_equal(a.did, "");
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_identity)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* chain.json: each field wrong in each way, one at a time, is refused and named. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chain/config.h"

#define ADDRESS "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
#define HASH    "0x0000000000000000000000000000000000000000000000000000000000000005"
#define SOUND                                                                                      \
    "{\"chain_id\": 314159, \"rpc\": [\"http://127.0.0.1:8545\"], \"confirmations\": 2,"           \
    "\"least_units\": \"1\", \"token\": \"" ADDRESS "\", \"vault\": \"" ADDRESS "\","              \
    "\"bindings\": \"" ADDRESS "\", \"payouts\": \"" ADDRESS "\", \"assets\": \"" ADDRESS "\","    \
    "\"datacap\": \"" ADDRESS "\","                                                                \
    "\"operator\": \"did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw\","                  \
    "\"start\": {\"number\": 1, \"hash\": \"" HASH "\"}}"

static const struct {
    const char *key, *value; /* NULL: left out */
} BAD[] = {
    {"chain_id", NULL},
    {"chain_id", "0"},
    {"chain_id", "-1"},
    {"chain_id", "\"1\""},
    {"confirmations", NULL},
    {"confirmations", "-2"},
    {"confirmations", "1.5"},
    {"rpc", NULL},
    {"rpc", "[]"},
    {"rpc", "\"http://a\""},
    {"rpc", "[\"http://a\", 5]"},
    {"rpc", "[\"a\", \"b\", \"c\", \"d\", \"e\"]"},
    {"start", NULL},
    {"start", "{}"},
    {"start", "{\"number\": 1}"},
    {"start", "{\"number\": -1, \"hash\": \"" HASH "\"}"},
    {"start", "{\"number\": 1, \"hash\": \"0x05\"}"},
    {"start", "{\"number\": 1, \"hash\": 5}"},
    {"start", "{\"number\": 1, \"hash\": \"" HASH "\", \"more\": 1}"},
    {"operator", NULL},
    {"operator", "\"did:key:z6Mk\""},
    {"operator", "7"},
    {"least_units", NULL},
    {"least_units", "1"},
    {"least_units", "\"x\""},
    {"least_units", "\"9223372036854775808\""},
    {"least_units", "\"99999999999999999999999\""},
    {"token", NULL},
    {"vault", "\"0x12\""},
    {"datacap", "5"},
    {"surplus", "1"},
};

static enum emac_status parse(const char *text, struct chain_config *out, struct emac_err *err)
{
    return chain_config_parse(EMAC_SLICE_STR(text), "chain.json", out, err);
}

static void test_fields(void **state)
{
    struct chain_config c;
    struct emac_err err;
    assert_int_equal(parse(SOUND, &c, &err), EMAC_OK);
    assert_int_equal(c.chain_id, 314159);
    assert_int_equal(c.confirmations, 2);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        json_t *o = json_loads(SOUND, 0, NULL);
        if (BAD[i].value == NULL)
            json_object_del(o, BAD[i].key);
        else
            json_object_set_new(o, BAD[i].key, json_loads(BAD[i].value, JSON_DECODE_ANY, NULL));
        char *text = json_dumps(o, 0);
        enum emac_status st = parse(text, &c, &err);
        if (st != EMAC_INVALID)
            print_error("%s = %s is accepted\n", BAD[i].key, BAD[i].value ? BAD[i].value : "none");
        assert_int_equal(st, EMAC_INVALID);
        assert_non_null(strstr(err.text, "chain.json"));
        if (strcmp(BAD[i].key, "surplus") != 0)
            assert_non_null(strstr(err.text, BAD[i].key));
        free(text);
        json_decref(o);
    }
    static const char *const NO_OBJECT[] = {"", "[]", "5", "{", "{\"rpc\": 1, \"rpc\": 1}"};
    for (size_t i = 0; i < sizeof NO_OBJECT / sizeof NO_OBJECT[0]; i++)
        assert_int_equal(parse(NO_OBJECT[i], &c, &err), EMAC_INVALID);
    assert_int_equal(chain_config_load(os_real(), "/nonexistent/chain.json", &c, &err),
                     EMAC_NOT_FOUND);
}

/* What is written reads back; a file that is there stays as it is. */
static void test_written(void **state)
{
    char dir[] = "/tmp/emac-test-chain-config-XXXXXX", path[80];
    struct chain_config c, back;
    struct emac_err err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/chain.json", dir);
    assert_int_equal(parse(SOUND, &c, &err), EMAC_OK);
    assert_int_equal(chain_config_write(os_real(), path, &c, &err), EMAC_OK);
    assert_int_equal(chain_config_write(os_real(), path, &c, &err), EMAC_CONFLICT);
    assert_int_equal(chain_config_load(os_real(), path, &back, &err), EMAC_OK);
    assert_memory_equal(&c, &back, sizeof c);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The options that choose a device, shared by the commands that compute. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "node/exec.h"

enum emac_status cli_bytes(struct cli *c, const char *option, const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
    if (errno || *text < '0' || *text > '9' || v == 0 ||
        strcmp(unit != NULL ? end + 1 : end, "") != 0 || v > UINT64_MAX >> shift)
        return emac_fail(&c->err, EMAC_INVALID,
                         "'%s %s' is not an amount of memory such as 4G or 800M", option, text);
    *out = (uint64_t)v << shift;
    return EMAC_OK;
}

enum emac_status cli_device_check(struct cli *c, struct cli_device *d)
{
    if (d->threads > 1024)
        return emac_fail(&c->err, EMAC_INVALID, "threads goes up to 1024");
    if (d->isa != NULL && d->device != NULL)
        return emac_fail(&c->err, EMAC_INVALID,
                         "give --device or --isa, not both: '--isa %s' is '--device cpu/%s'",
                         d->isa, d->isa);
    if (d->isa != NULL && isa_find(d->isa) == ISA_COUNT)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown instruction set '%s': best, ref, portable, avx2, avx512", d->isa);
    if (d->isa != NULL && strlen(d->isa) < sizeof d->spec - 4) {
        memcpy(d->spec, "cpu/", 4);
        memcpy(d->spec + 4, d->isa, strlen(d->isa) + 1);
    } else if (!emac_strcpy(d->spec, sizeof d->spec, d->device != NULL ? d->device : "cpu")) {
        return emac_fail(&c->err, EMAC_INVALID, "the device name '%s' is too long", d->device);
    }
    return d->memory != NULL ? cli_bytes(c, "--device-memory", d->memory, &d->memory_bytes)
                             : EMAC_OK;
}

enum emac_status cli_device_open(struct cli *c, const struct cli_device *d, struct device **out)
{
    char tiles[OS_PATH_MAX];
    enum emac_status st = cli_home_path(c, "tiles", tiles, sizeof(tiles));
    if (st == EMAC_OK)
        st = device_open(d->spec, (uint32_t)d->threads, out, &c->err);
    if (st != EMAC_OK)
        return st;
    if (!device_is_host(*out))
        st = device_tune(*out, c->os, tiles, &c->err);
    if (d->memory_bytes != 0)
        device_memory_limit(*out, d->memory_bytes);
    return st;
}

enum emac_status cli_results_parse(struct cli *c, const char *text, int *out)
{
    static const char *const words[] = {
        [EXEC_VALUES_MEASURED] = "auto", [EXEC_VALUES_STAY] = "card", [EXEC_VALUES_CROSS] = "host"};
    for (int i = 0; i < (int)EMAC_COUNT(words); i++)
        if (text == NULL || strcmp(text, words[i]) == 0) {
            *out = i;
            return EMAC_OK;
        }
    return emac_fail(&c->err, EMAC_INVALID, "'--results %s' is none of auto, card and host", text);
}

#include "cli/cli.h"
#include "cli/verify_run.h"

enum emac_status cmd_verify(struct cli *c, int argc, char **argv)
{
    struct cli_device d = {0};
    const struct cli_option options[] = {CLI_DEVICE_OPTIONS(&d)};
    const char *pos[CLI_POSITIONALS_MAX];
    struct verify *v = NULL;
    struct verified r = {0};
    struct cid receipt;
    enum emac_status st;
    EMAC_TRY(st, cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 1, 1));
    EMAC_TRY(st, cid_parse(&receipt, pos[0], &c->err));
    EMAC_TRY(st, verify_open(c, &d, &v));
    EMAC_TRY(st, verify_receipt(v, pos[0], &r));
    verified_say(c, &r);
    cli_result(c, verified_json(&r));
    if (!r.equal)
        st = emac_fail(&c->err, EMAC_FAILED, "the receipt is wrong: its task gives another result");
out:
    verified_release(&r);
    verify_close(v);
    return st;
}

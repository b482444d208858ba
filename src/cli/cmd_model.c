#include <string.h>

#include "cli/model_dir.h"

enum emac_status cmd_model(struct cli *c, int argc, char **argv)
{
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, NULL, 0, pos, 3, 3);
    if (st != EMAC_OK)
        return st;
    if (strcmp(pos[0], "export") != 0)
        return emac_fail(&c->err, EMAC_INVALID, "unknown action '%s': model knows export", pos[0]);
    struct cid cid;
    struct store *s = NULL;
    st = cid_parse(&cid, pos[1], &c->err);
    if (st == EMAC_OK)
        st = cli_store(c, &s);
    if (st != EMAC_OK)
        return st;
    st = model_dir_export(c, s, &cid, pos[2]);
    store_close(s);
    if (st != EMAC_OK)
        return st;
    cli_say(c,
            "wrote the model to %s; load it with transformers' "
            "AutoModelForCausalLM.from_pretrained(\"%s\")",
            pos[2], pos[2]);
    cli_result(c, json_pack("{s:s,s:s}", "cid", pos[1], "path", pos[2]));
    return EMAC_OK;
}

#include <string.h>

#include "base/embed.h"
#include "cli/cli.h"

const char *cli_manual(const char *name)
{
    for (const struct embedded *e = EMBEDDED_MANUALS; e->name; e++)
        if (strcmp(e->name, name) == 0)
            return e->text;
    return NULL;
}

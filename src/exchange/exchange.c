#include <stdarg.h>
#include <stdio.h>

#include "exchange/internal.h"

struct exchange_name exchange_name_of(const struct cid *cid)
{
    struct exchange_name name;
    cid_text(name.text, cid);
    return name;
}

char *exchange_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (text == NULL)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return text;
}

enum emac_status exchange_path_cid(const struct http_request *req, struct cid *out,
                                   struct emac_err *err)
{
    const char *text = http_path_param(req, "cid");
    struct emac_err why;
    if (text != NULL && cid_parse(out, text, &why) == EMAC_OK)
        return EMAC_OK;
    /* Whatever is wrong with the CID, to a client it is his path that is wrong. */
    return emac_fail(err, EMAC_INVALID, "'%.80s' is no CID we serve: %s", text != NULL ? text : "",
                     text != NULL ? why.text : "there is none");
}

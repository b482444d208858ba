#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "base/utf8.h"
#include "codec/unixfs.h"
#include "codec/unixfs_pb.h"

/* What the UnixFS message in a node's Data says. */
struct message {
    bool has_type, has_size;
    uint64_t type, size;
    struct emac_slice data;
    size_t parts; /* blocksizes seen */
};

bool unixfs_name_ok(const char *name, size_t n)
{
    if (n == 0 || n > UNIXFS_NAME_MAX || memchr(name, '/', n) != NULL ||
        memchr(name, '\0', n) != NULL || !emac_utf8_valid(name, n))
        return false;
    return !(n == 1 && name[0] == '.') && !(n == 2 && name[0] == '.' && name[1] == '.');
}

void unixfs_node_release(struct unixfs_node *node)
{
    free(node->link); /* the names lie behind the links in the same piece */
    *node = (struct unixfs_node){0};
}

static enum emac_status corrupt(struct emac_err *err, const char *why)
{
    return emac_fail(err, EMAC_CORRUPT, "bad UnixFS block: %s", why);
}

/* One PBLink: hash required, name and tsize optional, in this order, each once. */
static enum emac_status parse_link(struct unixfs_link *out, struct emac_slice *name,
                                   struct emac_slice in, struct emac_err *err)
{
    unsigned last = 0;
    *name = EMAC_SLICE("", 0);
    while (in.len > 0) {
        struct pb_field f;
        size_t used;
        enum emac_status st = pb_next(&in, &f, err);
        if (st != EMAC_OK)
            return st;
        if (f.number <= last || f.number > PB_LINK_TSIZE ||
            (f.wire == PB_VARINT) != (f.number == PB_LINK_TSIZE))
            return corrupt(err, "a link's fields are unknown, repeated or out of order");
        last = f.number;
        if (f.number == PB_LINK_NAME)
            *name = f.bytes;
        if (f.number == PB_LINK_TSIZE)
            out->tsize = f.value;
        if (f.number != PB_LINK_HASH)
            continue;
        st = cid_from_bytes(&out->cid, f.bytes.data, f.bytes.len, &used, err);
        if (st != EMAC_OK)
            return st;
        if (used != f.bytes.len)
            return corrupt(err, "bytes follow the CID of a link");
    }
    return cid_is_none(&out->cid) ? corrupt(err, "a link has no CID") : EMAC_OK;
}

/* Split a dag-pb block: its links come first, its Data once at the end. Counts links and their
 * bytes, so that one allocation holds links and names. */
static enum emac_status survey(struct emac_slice in, size_t *links, size_t *link_bytes,
                               struct emac_slice *data, struct emac_err *err)
{
    bool has_data = false;
    *links = 0;
    *link_bytes = 0;
    while (in.len > 0) {
        struct pb_field f;
        enum emac_status st = pb_next(&in, &f, err);
        if (st != EMAC_OK)
            return st;
        if (f.wire != PB_BYTES || has_data)
            return corrupt(err, "its links and data are malformed or out of order");
        if (f.number == PB_NODE_DATA) {
            has_data = true;
            *data = f.bytes;
        } else if (f.number == PB_NODE_LINK) {
            *links += 1;
            *link_bytes += f.bytes.len;
        } else {
            return corrupt(err, "an unknown field");
        }
    }
    return has_data ? EMAC_OK : corrupt(err, "it has no data");
}

static enum emac_status parse_links(struct unixfs_node *out, struct emac_slice in,
                                    size_t link_bytes, struct emac_err *err)
{
    size_t bytes = out->count * sizeof *out->link + link_bytes + out->count;
    enum emac_status st = emac_alloc(&out->link, bytes, 1, err);
    if (st != EMAC_OK)
        return st;
    char *names = (char *)(out->link + out->count);
    for (size_t i = 0; i < out->count; i++) {
        struct pb_field f;
        struct emac_slice name;
        st = pb_next(&in, &f, err);
        EMAC_ASSERT(st == EMAC_OK && f.number == PB_NODE_LINK); /* surveyed */
        st = parse_link(&out->link[i], &name, f.bytes, err);
        if (st != EMAC_OK)
            return st;
        if (name.len > 0)
            memcpy(names, name.data, name.len);
        names[name.len] = '\0';
        out->link[i].name = names;
        if (strlen(names) != name.len)
            return corrupt(err, "a name holds a NUL byte");
        names += name.len + 1;
    }
    return EMAC_OK;
}

/* Repeated blocksizes belong to the links in order; `link` has `count` places. */
static enum emac_status message_field(struct message *m, const struct pb_field *f,
                                      struct unixfs_link *link, size_t count, struct emac_err *err)
{
    if ((f->wire == PB_BYTES) != (f->number == UNIXFS_DATA || f->number == UNIXFS_MTIME))
        return corrupt(err, "a field has the wrong wire type");
    switch (f->number) {
    case UNIXFS_TYPE:
        m->has_type = true;
        m->type = f->value;
        return EMAC_OK;
    case UNIXFS_DATA:
        m->data = f->bytes;
        return EMAC_OK;
    case UNIXFS_FILESIZE:
        m->has_size = true;
        m->size = f->value;
        return EMAC_OK;
    case UNIXFS_BLOCKSIZES:
        if (m->parts == count)
            return corrupt(err, "more blocksizes than links");
        link[m->parts++].size = f->value;
        return EMAC_OK;
    case UNIXFS_HASH_TYPE:
    case UNIXFS_FANOUT:
        if (m->type == UNIXFS_TYPE_HAMT)
            return EMAC_OK; /* refused later, with its own sentence */
        return corrupt(err, "a field of sharded directories");
    case UNIXFS_MODE:
    case UNIXFS_MTIME:
        return EMAC_OK;
    default:
        return corrupt(err, "an unknown field in its data");
    }
}

static enum emac_status parse_message(struct message *m, struct emac_slice in,
                                      struct unixfs_link *link, size_t count, struct emac_err *err)
{
    unsigned last = 0;
    *m = (struct message){0};
    while (in.len > 0) {
        struct pb_field f;
        enum emac_status st = pb_next(&in, &f, err);
        if (st != EMAC_OK)
            return st;
        if (f.number < last || (f.number == last && f.number != UNIXFS_BLOCKSIZES))
            return corrupt(err, "the fields of its data are repeated or out of order");
        last = f.number;
        st = message_field(m, &f, link, count, err);
        if (st != EMAC_OK)
            return st;
    }
    return m->has_type ? EMAC_OK : corrupt(err, "it has no type");
}

static enum emac_status check_file(struct unixfs_node *out, const struct message *m,
                                   struct emac_err *err)
{
    uint64_t size = m->data.len;
    if (!m->has_size)
        return corrupt(err, "a file without its size");
    if (m->parts != out->count)
        return corrupt(err, "fewer blocksizes than links");
    for (size_t i = 0; i < out->count; i++) {
        const struct unixfs_link *l = &out->link[i];
        if (l->name[0] != '\0' || l->cid.codec == CID_DAG_CBOR)
            return corrupt(err, "a file's part has a name or is no file");
        if (__builtin_add_overflow(size, l->size, &size))
            return corrupt(err, "the sizes of a file's parts overflow");
    }
    if (size != m->size)
        return corrupt(err, "a file's size is not the sum of its parts");
    out->kind = UNIXFS_FILE;
    out->size = size;
    out->inline_data = m->data;
    return EMAC_OK;
}

static enum emac_status check_directory(struct unixfs_node *out, const struct message *m,
                                        struct emac_err *err)
{
    if (m->data.len > 0 || m->parts > 0 || (m->has_size && m->size > 0))
        return corrupt(err, "a directory with content of its own");
    for (size_t i = 0; i < out->count; i++) {
        const char *name = out->link[i].name;
        if (!unixfs_name_ok(name, strlen(name)))
            return corrupt(err, "a directory holds an impossible name");
        if (i > 0 && strcmp(out->link[i - 1].name, name) >= 0)
            return corrupt(err, "names of a directory are repeated or out of order");
    }
    out->kind = UNIXFS_DIRECTORY;
    return EMAC_OK;
}

static enum emac_status check_kind(struct unixfs_node *out, const struct message *m,
                                   struct emac_err *err)
{
    switch (m->type) {
    case UNIXFS_TYPE_RAW:
    case UNIXFS_TYPE_FILE:
        return check_file(out, m, err);
    case UNIXFS_TYPE_DIRECTORY:
        return check_directory(out, m, err);
    case UNIXFS_TYPE_HAMT:
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "a sharded (HAMT) directory is not supported: name a file inside it");
    default:
        return emac_fail(err, EMAC_UNSUPPORTED, "UnixFS type %llu is not supported",
                         (unsigned long long)m->type);
    }
}

enum emac_status unixfs_node_parse(struct unixfs_node *out, enum cid_codec codec, const void *data,
                                   size_t n, struct emac_err *err)
{
    *out = (struct unixfs_node){0};
    if (n > UNIXFS_BLOCK_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a block of %zu bytes is over the limit of %u", n,
                         UNIXFS_BLOCK_MAX);
    if (codec == CID_RAW) {
        out->kind = UNIXFS_FILE;
        out->size = n;
        out->inline_data = EMAC_SLICE(data, n);
        return EMAC_OK;
    }
    if (codec != CID_DAG_PB)
        return emac_fail(err, EMAC_INVALID, "a dag-cbor block is neither a file nor a directory");
    struct emac_slice in = EMAC_SLICE(data, n), message;
    struct message m;
    size_t link_bytes;
    enum emac_status st = EMAC_OK;
    EMAC_TRY(st, survey(in, &out->count, &link_bytes, &message, err));
    EMAC_TRY(st, parse_links(out, in, link_bytes, err));
    EMAC_TRY(st, parse_message(&m, message, out->link, out->count, err));
    st = check_kind(out, &m, err);
out:
    if (st != EMAC_OK)
        unixfs_node_release(out);
    return st;
}

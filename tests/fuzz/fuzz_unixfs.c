/* dag-pb blocks of strangers. What is accepted keeps the sums and orders that the store relies on,
 * and a directory written from it is read back with the same names. */
#include <string.h>

#include "base/assert.h"
#include "codec/unixfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_file(const struct unixfs_node *node)
{
    uint64_t size = node->inline_data.len;
    for (size_t i = 0; i < node->count; i++) {
        EMAC_ASSERT(node->link[i].name[0] == '\0');
        EMAC_ASSERT(node->link[i].cid.codec == CID_RAW || node->link[i].cid.codec == CID_DAG_PB);
        size += node->link[i].size;
    }
    EMAC_ASSERT(size == node->size);
}

static void check_directory(struct unixfs_node *node)
{
    struct emac_buf block;
    struct cid cid;
    uint64_t tree_size;
    struct unixfs_node back;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    EMAC_ASSERT(node->size == 0 && node->inline_data.len == 0);
    if (unixfs_directory(node->link, node->count, &block, &cid, &tree_size, NULL) == EMAC_OK) {
        EMAC_ASSERT(unixfs_node_parse(&back, CID_DAG_PB, block.data, block.len, NULL) == EMAC_OK);
        EMAC_ASSERT(back.kind == UNIXFS_DIRECTORY && back.count == node->count);
        for (size_t i = 0; i < back.count; i++) {
            EMAC_ASSERT(strcmp(back.link[i].name, node->link[i].name) == 0);
            EMAC_ASSERT(cid_equal(&back.link[i].cid, &node->link[i].cid));
            EMAC_ASSERT(back.link[i].tsize == node->link[i].tsize);
        }
        unixfs_node_release(&back);
    }
    emac_buf_release(&block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct unixfs_node node;
    if (unixfs_node_parse(&node, CID_DAG_PB, data, n, NULL) != EMAC_OK) {
        EMAC_ASSERT(node.link == NULL);
        return 0;
    }
    if (node.kind == UNIXFS_FILE)
        check_file(&node);
    else
        check_directory(&node);
    unixfs_node_release(&node);
    return 0;
}

/* A model's directory with its weights sealed, out of a plain one in the same store. */
#ifndef EMAC_TESTS_WORK_SEAL_MODEL_H
#define EMAC_TESTS_WORK_SEAL_MODEL_H

#include "fixture.h"

#include "work/model_tree.h"

/* `name` says which link; *block is the sealed file's. */
static inline struct cid model_seal_link(struct store *st, const struct cid *from_dir,
                                         const char *name, const char *owner,
                                         const uint8_t key[SEAL_KEY_BYTES], struct cid *block)
{
    struct emac_buf old, fresh, bytes;
    struct unixfs_node node;
    struct cid out;
    uint64_t size, tree;
    emac_buf_init(&old, UNIXFS_BLOCK_MAX);
    emac_buf_init(&fresh, UNIXFS_BLOCK_MAX);
    emac_buf_init(&bytes, 64u << 20);
    assert_ok(store_block_get(st, from_dir, &old, err));
    assert_ok(unixfs_node_parse(&node, from_dir->codec, old.data, old.len, err));
    *block = (struct cid){0};
    for (size_t i = 0; i < node.count; i++) {
        if (strcmp(node.link[i].name, name) != 0)
            continue;
        struct sealed_source from = {0};
        assert_ok(store_file_size(st, &node.link[i].cid, &size, err));
        assert_ok(emac_buf_reserve(&bytes, size, err));
        assert_ok(store_file_read(st, &node.link[i].cid, 0, bytes.data, size, err));
        bytes.len = size;
        assert_ok(st_header_size(bytes.data, size, &from.head, err));
        from.bytes = emac_buf_slice(&bytes);
        assert_ok(sealed_add(st, &from, owner, key, block, &size, err));
        node.link[i].cid = *block;
    }
    assert_false(cid_is_none(block));
    assert_ok(unixfs_directory(node.link, node.count, &fresh, &out, &tree, err));
    assert_ok(store_block_put_as(st, &out, fresh.data, fresh.len, err));
    unixfs_node_release(&node);
    emac_buf_release(&old);
    emac_buf_release(&fresh);
    emac_buf_release(&bytes);
    return out;
}

static inline struct cid model_seal(struct store *st, const struct cid *from_dir, const char *owner,
                                    const uint8_t key[SEAL_KEY_BYTES], struct cid *block)
{
    return model_seal_link(st, from_dir, "model.safetensors", owner, key, block);
}

#endif

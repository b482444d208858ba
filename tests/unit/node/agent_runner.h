/* An agent under test: in a directory and a thread of its own. */
#ifndef EMAC_TESTS_NODE_AGENT_RUNNER_H
#define EMAC_TESTS_NODE_AGENT_RUNNER_H

#include "exec_fixture.h"
#include "../remove_tree.h"

#include "node/agent.h"
#include "os/thread.h"

struct agent {
    char dir[64];
    struct node *node;
    struct os_thread thread;
    enum emac_status st;
    struct emac_err err;
    bool running;
};

static inline void *agent_main(void *arg)
{
    struct agent *a = arg;
    a->st = node_run(a->node, &a->err);
    return NULL;
}

static inline struct node_config agent_config(const char *url)
{
    return (struct node_config){.os = os_real(),
                                .coordinator = url,
                                .name = "test rig",
                                .threads = 1,
                                .memory_quota = 64 << 20};
}

static inline void agent_start_as(struct agent *a, struct node_config cfg)
{
    *a = (struct agent){.running = true};
    set_text(a->dir, "/tmp/emac-test-agent-XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    cfg.dir = a->dir;
    assert_ok(node_open(&cfg, &a->node, err));
    os_thread_start(&a->thread, agent_main, a);
}

static inline void agent_start(struct agent *a, const char *url)
{
    agent_start_as(a, agent_config(url));
}

static inline void agent_await(struct agent *a)
{
    if (a->running)
        os_thread_join(&a->thread);
    a->running = false;
}

static inline void agent_end(struct agent *a)
{
    node_stop(a->node);
    agent_await(a);
    if (a->st != EMAC_OK)
        fail_msg("node_run: %s", a->err.text);
    node_close(a->node);
    remove_tree(a->dir);
}

#endif

/* The sandbox: what is an attack kills, what is not needed fails, and the agent's work goes on.
 * Each case is a process of its own, for a filter cannot be taken off. */
#include "exec_fixture.h"
#include "../remove_tree.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exchange/exchange.h"
#include "node/sandbox.h"
#include "os/thread.h"

/* Runs fn in a child; 0 to 125: its exit code, 128 + n: killed by signal n. */
static int in_child(int (*fn)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        _exit(fn());
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void enter(void)
{
    struct emac_err err = {0};
    if (sandbox_enter(&err) != EMAC_OK) {
        fprintf(stderr, "%s\n", err.text);
        _exit(99);
    }
}

/* ---- killed ---- */

static int do_execve(void)
{
    char *const argv[] = {"/bin/true", NULL}, *const none[] = {NULL};
    enter();
    execve(argv[0], argv, none);
    return 1;
}

static int do_execveat(void)
{
    char *const argv[] = {"/bin/true", NULL}, *const none[] = {NULL};
    enter();
    syscall(SYS_execveat, -1, argv[0], argv, none, 0);
    return 1;
}

static int do_ptrace(void)
{
    enter();
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    return 1;
}

static int do_read_other(void)
{
    char byte;
    struct iovec mine = {&byte, 1}, theirs = {&byte, 1};
    enter();
    process_vm_readv(getppid(), &mine, 1, &theirs, 1, 0);
    return 1;
}

static int do_system(void)
{
    enter();
    return system("true") == 0 ? 1 : 0; /* the child that would be the shell is killed */
}

static bool go;

static void *late_execve(void *arg)
{
    char *const argv[] = {"/bin/true", NULL}, *const none[] = {NULL};
    while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
        usleep(1000);
    execve(argv[0], argv, none);
    return NULL;
}

/* A thread that was there before. */
static int do_execve_elsewhere(void)
{
    struct os_thread t;
    os_thread_start(&t, late_execve, NULL);
    enter();
    __atomic_store_n(&go, true, __ATOMIC_RELEASE);
    os_thread_join(&t);
    return 1;
}

static void test_killed(void **state)
{
    const int sigsys = 128 + SIGSYS;
    assert_int_equal(in_child(do_execve), sigsys);
    assert_int_equal(in_child(do_execveat), sigsys);
    assert_int_equal(in_child(do_ptrace), sigsys);
    assert_int_equal(in_child(do_read_other), sigsys);
    assert_int_equal(in_child(do_execve_elsewhere), sigsys);
    assert_int_equal(in_child(do_system), 0);
}

/* ---- refused ---- */

#define MUST_FAIL(expr)                                                                            \
    do {                                                                                           \
        errno = 0;                                                                                 \
        if ((expr) != -1 || errno != EPERM)                                                        \
            return __LINE__ % 90 + 2;                                                              \
    } while (0)

static int do_refused(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    enter();
    MUST_FAIL(bind(fd, (struct sockaddr *)&a, sizeof a));
    MUST_FAIL(listen(fd, 1));
    MUST_FAIL(socket(AF_PACKET, SOCK_RAW, 0));
    MUST_FAIL(socket(AF_ALG, SOCK_SEQPACKET, 0));
    MUST_FAIL(syscall(SYS_io_uring_setup, 1, NULL));
    MUST_FAIL(syscall(SYS_unshare, 0));
    MUST_FAIL(syscall(SYS_bpf, 0, NULL, 0));
    MUST_FAIL(syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL));
    MUST_FAIL(syscall(SYS_init_module, NULL, 0, ""));
    MUST_FAIL(
        (intptr_t)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 1;
    MUST_FAIL(mprotect(p, 4096, PROT_READ | PROT_EXEC));
    return mprotect(p, 4096, PROT_READ) == 0 && munmap(p, 4096) == 0 ? 0 : 1;
}

static void test_refused(void **state)
{
    assert_int_equal(in_child(do_refused), 0);
}

/* ---- work goes on ---- */

static enum emac_status serve(void *ctx, const struct http_request *req, struct http_response *res,
                              struct emac_err *err)
{
    return exchange_serve(ctx, req, res, err);
}

#define MUST(expr)                                                                                 \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            fprintf(stderr, "line %d: %s\n", __LINE__, #expr);                                     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static char dir[64];

/* Blocks served and fetched over the loopback, a task run on two threads, files written, a name
 * resolved. */
static int do_work(void)
{
    struct rig r;
    struct store *other;
    struct http_server *server;
    struct http_client *http;
    struct exec_result result;
    struct addrinfo *found = NULL;
    struct cid cid;
    struct emac_err err;
    char url[64];
    uint64_t bytes = 0;
    struct exchange_source source = {url};
    rig_open(&r, ISA_BEST, 2, 4);
    const struct store_config disk = {.os = os_real(), .dir = dir, .hash_threads = 2};
    MUST(store_open(&disk, &other, &err) == EMAC_OK);
    const struct http_route route = {"GET", "/ipfs/{cid}", 0, serve};
    const struct http_server_config cfg = {
        .address = "127.0.0.1", .routes = &route, .route_count = 1, .ctx = r.store};
    MUST(http_server_start(&cfg, &server, &err) == EMAC_OK);
    MUST(http_client_new(&http, &err) == EMAC_OK);
    enter();
    struct task t = {.program = plan_program(r.plan, TASK_INIT)->cid};
    MUST(exec_run(r.exec, &t, &result, &err) == EMAC_OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(server));
    cid = output(&result, "params")->cid;
    MUST(exchange_fetch(other, http, &cid, &source, 1, false, 1 << 30, &bytes, &err) == EMAC_OK);
    MUST(store_block_put(other, CID_RAW, "abc", 3, &cid, &err) == EMAC_OK);
    MUST(store_pin(other, "test", &cid, &err) == EMAC_OK);
    snprintf(url, sizeof url, "http://localhost:%u", http_server_port(server));
    cid = output(&result, "opt")->cid;
    MUST(exchange_fetch(other, http, &cid, &source, 1, true, 1 << 30, &bytes, &err) == EMAC_OK);
    MUST(getaddrinfo("localhost", NULL, NULL, &found) == 0);
    freeaddrinfo(found);
    exec_result_release(r.exec, &result);
    http_client_free(http);
    http_server_stop(server);
    store_close(other);
    rig_close(&r);
    return 0;
}

static void test_work(void **state)
{
    set_text(dir, "/tmp/emac-test-sandbox-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(in_child(do_work), 0);
    remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

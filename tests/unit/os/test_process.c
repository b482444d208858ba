#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"
#include "os/process.h"

#define SHELL(script) ((char *[]){"/bin/sh", "-c", (script), NULL})

static int wait_code(pid_t pid)
{
    int code = -1;
    for (int i = 0; i < 5000; i++) {
        if (os_process_poll(pid, &code))
            return code;
        os_real()->sleep_ms(os_real(), 1);
    }
    return -1;
}

static void exit_codes(void **state)
{
    struct emac_err err = {0};
    pid_t pid = 0;
    assert_int_equal(os_process_start(SHELL("exit 7"), NULL, &pid, &err), EMAC_OK);
    assert_int_equal(wait_code(pid), 7);
    assert_int_equal(os_process_start(SHELL("kill -9 $$"), NULL, &pid, &err), EMAC_OK);
    assert_int_equal(wait_code(pid), 128 + SIGKILL);
    assert_int_equal(os_process_start(SHELL("while :; do sleep 1; done"), NULL, &pid, &err),
                     EMAC_OK);
    int code;
    assert_false(os_process_poll(pid, &code));
    os_process_signal(pid, SIGTERM);
    assert_int_equal(wait_code(pid), 128 + SIGTERM);
}

static void output_goes_to_the_log(void **state)
{
    struct emac_err err = {0};
    struct os *os = os_real();
    struct emac_buf b;
    char path[] = "/tmp/emac-test-log-XXXXXX";
    pid_t pid = 0;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "before\n", 7), 7);
    close(fd);
    assert_int_equal(
        os_process_start(SHELL("echo out; echo err >&2; cat; echo end"), path, &pid, &err),
        EMAC_OK);
    assert_int_equal(wait_code(pid), 0);
    emac_buf_init(&b, 1000);
    assert_int_equal(os->file_read(os, path, &b, &err), EMAC_OK);
    assert_string_equal(emac_buf_str(&b), "before\nout\nerr\nend\n");
    emac_buf_release(&b);
    unlink(path);
}

static void start_failures_are_told(void **state)
{
    struct emac_err err = {0};
    pid_t pid = 0;
    char *none[] = {"/no/such/program", NULL}, *not_exec[] = {"/etc/passwd", NULL};
    assert_int_equal(os_process_start(none, NULL, &pid, &err), EMAC_NOT_FOUND);
    assert_non_null(strstr(err.text, "'/no/such/program'"));
    assert_int_equal(os_process_start(not_exec, NULL, &pid, &err), EMAC_IO);
    assert_int_equal(os_process_start(SHELL("exit 0"), "/no/such/log", &pid, &err), EMAC_NOT_FOUND);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie is left */
}

/* An ignored SIGPIPE of ours must not be inherited. */
static void child_has_default_signals(void **state)
{
    struct emac_err err = {0};
    pid_t pid = 0;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(os_process_start(SHELL("kill -PIPE $$; exit 0"), NULL, &pid, &err), EMAC_OK);
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(wait_code(pid), 128 + SIGPIPE);
}

/* parent -> middle -> child that sleeps. When the middle dies, so must the child: it holds the
 * write end of a pipe (inherited on purpose), whose read end then sees the end of file. */
static void child_dies_with_its_parent(void **state)
{
    int alive[2];
    char byte;
    assert_int_equal(pipe(alive), 0);
    pid_t middle = fork();
    if (middle == 0) {
        pid_t pid;
        close(alive[0]);
        if (os_process_start(SHELL("exec sleep 60"), NULL, &pid, NULL) != EMAC_OK)
            _exit(1);
        _exit(0);
    }
    close(alive[1]);
    int status;
    assert_int_equal(waitpid(middle, &status, 0), middle);
    assert_int_equal(WEXITSTATUS(status), 0);
    struct pollfd p = {.fd = alive[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(read(alive[0], &byte, 1), 0);
    close(alive[0]);
}

static void self_is_a_path(void **state)
{
    char path[OS_PATH_MAX], tiny[3];
    struct emac_err err = {0};
    assert_int_equal(os_process_self(path, sizeof path, &err), EMAC_OK);
    assert_int_equal(path[0], '/');
    assert_int_equal(access(path, X_OK), 0);
    assert_int_equal(os_process_self(tiny, sizeof tiny, &err), EMAC_TOO_LARGE);
}

/* The flag is for ever, so the checks run in children. Exit code 0 = as expected. again_ms < 0: the
 * signal comes once. */
static int stop_child(int sig, int again_ms)
{
    pid_t pid = fork();
    if (pid == 0) {
        os_stop_install();
        struct pollfd p = {.fd = os_stop_fd(), .events = POLLIN};
        if (os_stop_requested() || os_stop_wait(1) || poll(&p, 1, 0) != 0)
            _exit(1);
        if (sig != 0)
            raise(sig);
        else
            os_stop_request();
        if (!os_stop_requested() || poll(&p, 1, 0) != 1 || !os_stop_wait(UINT32_MAX))
            _exit(2);
        struct timespec wait = {.tv_nsec = again_ms * 1000000L};
        if (again_ms >= 0 && (nanosleep(&wait, NULL) != 0 || raise(sig) != 0))
            _exit(3);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void stopping(void **state)
{
    assert_int_equal(stop_child(SIGINT, -1), 0);
    assert_int_equal(stop_child(SIGTERM, -1), 0);
    assert_int_equal(stop_child(0, -1), 0);
    assert_int_equal(stop_child(SIGINT, 0), 0); /* one Ctrl-C, passed on */
    assert_int_equal(stop_child(SIGINT, 600), 130);
    assert_int_equal(stop_child(SIGTERM, 600), 0);
}

static void the_machine(void **state)
{
    char text[128];
    assert_in_range(os_cpu_count(), 1, 65536);
    assert_true(os_memory_bytes() > (16u << 20));
    assert_true(os_memory_available() <= os_memory_bytes());
    os_host_name(text, sizeof text);
    assert_true(text[0] != '\0');
    os_cpu_model(text, sizeof text);
    assert_true(text[0] != '\0');
    os_cpu_model(text, 4);
    assert_true(strlen(text) <= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(output_goes_to_the_log),
        cmocka_unit_test(start_failures_are_told),
        cmocka_unit_test(child_has_default_signals),
        cmocka_unit_test(child_dies_with_its_parent),
        cmocka_unit_test(self_is_a_path),
        cmocka_unit_test(stopping),
        cmocka_unit_test(the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

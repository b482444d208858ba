#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

/* What the child needs, made ready before fork: between fork and exec only async-signal-safe calls
 * are allowed, because another thread may have held any lock at the moment of the fork. */
struct child {
    char *const *argv;
    int null_fd, log_fd; /* log_fd -1: inherit */
    int report_fd;       /* errno goes here when exec fails; closes by itself when it works */
    pid_t parent;
};

static void child_default_signals(void)
{
    struct sigaction def = {.sa_handler = SIG_DFL};
    sigset_t none;
    sigaction(SIGPIPE, &def, NULL); /* an ignored signal would stay ignored after exec */
    sigaction(SIGXFSZ, &def, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool child_set_up(const struct child *c)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return false;
    if (getppid() != c->parent) {
        errno = ESRCH; /* the parent died before the line above: nobody would kill us */
        return false;
    }
    child_default_signals();
    if (dup2(c->null_fd, STDIN_FILENO) < 0)
        return false;
    if (c->log_fd < 0)
        return true;
    return dup2(c->log_fd, STDOUT_FILENO) >= 0 && dup2(c->log_fd, STDERR_FILENO) >= 0;
}

static _Noreturn void child_main(const struct child *c)
{
    if (child_set_up(c))
        execv(c->argv[0], c->argv);
    int code = errno;
    ssize_t n = write(c->report_fd, &code, sizeof code);
    _exit(n == sizeof code ? 127 : 126);
}

/* EOF means that exec closed the pipe: the program runs. */
static int child_report(int fd)
{
    int code = 0;
    ssize_t n;
    do
        n = read(fd, &code, sizeof code);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return 0;
    return n == sizeof code && code != 0 ? code : EIO;
}

static void close_if(int fd)
{
    if (fd >= 0)
        close(fd);
}

enum emac_status os_process_start(char *const argv[], const char *log_path, pid_t *out,
                                  struct emac_err *err)
{
    EMAC_ASSERT(argv[0] != NULL && argv[0][0] == '/');
    struct child c = {.argv = argv, .null_fd = -1, .log_fd = -1, .parent = getpid()};
    int report[2] = {-1, -1};
    enum emac_status st = EMAC_OK;
    c.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (c.null_fd < 0 || pipe2(report, O_CLOEXEC) != 0) {
        st = emac_fail_errno(err, errno, "prepare to start", argv[0]);
        goto out;
    }
    if (log_path != NULL) {
        c.log_fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (c.log_fd < 0) {
            st = emac_fail_errno(err, errno, "open", log_path);
            goto out;
        }
    }
    c.report_fd = report[1];
    pid_t pid = fork();
    if (pid == 0)
        child_main(&c);
    if (pid < 0) {
        st = emac_fail_errno(err, errno, "start", argv[0]);
        goto out;
    }
    close(report[1]);
    report[1] = -1;
    int code = child_report(report[0]);
    if (code != 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        st = emac_fail_errno(err, code, "start", argv[0]);
        goto out;
    }
    *out = pid;
out:
    close_if(c.null_fd);
    close_if(c.log_fd);
    close_if(report[0]);
    close_if(report[1]);
    return st;
}

bool os_process_poll(pid_t pid, int *code)
{
    int status;
    pid_t got = waitpid(pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return false;
    EMAC_ASSERT(got == pid); /* polling a process that is not our child, or twice after its end */
    if (WIFEXITED(status))
        *code = WEXITSTATUS(status);
    else if (WIFSIGNALED(status))
        *code = 128 + WTERMSIG(status);
    else
        return false;
    return true;
}

void os_process_signal(pid_t pid, int sig)
{
    EMAC_ASSERT(pid > 0);
    kill(pid, sig); /* a child that just ended is no error: poll will tell */
}

enum emac_status os_process_self(char *out, size_t cap, struct emac_err *err)
{
    ssize_t n = readlink("/proc/self/exe", out, cap);
    if (n < 0)
        return emac_fail_errno(err, errno, "read", "/proc/self/exe");
    if ((size_t)n >= cap)
        return emac_fail(err, EMAC_TOO_LARGE, "the program's path is longer than %zu bytes", cap);
    out[n] = '\0';
    return EMAC_OK;
}

void os_std_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        bool open_now = fcntl(fd, F_GETFD) >= 0;
        /* The lowest free number is the one taken. */
        EMAC_ASSERT(open_now || open("/dev/null", O_RDONLY) == fd);
    }
}

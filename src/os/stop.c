/* Asking the process to stop. The flag is set once and never cleared; the event descriptor gets
 * readable with it and nobody reads it, so every poller sees it. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "os/process.h"

/* Programs that run others (timeout, a container's init) hand the terminal's signal on: one Ctrl-C
 * may arrive twice. A person needs longer for the second one. */
#define SAME_KEY_MS 500

static atomic_bool stop_flag;
static atomic_llong stop_ms; /* when it was first asked for */
static atomic_int stop_event = -1;

static void stop_announce(void)
{
    int fd = atomic_load(&stop_event);
    uint64_t one = 1;
    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        return; /* EAGAIN: it is readable already */
}

/* Runs in signal context: lock-free atomics, clock_gettime, write and _exit only. */
static void stop_on_signal(int sig)
{
    int saved = errno;
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long ms = (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000, first = 0;
    bool again = !atomic_compare_exchange_strong(&stop_ms, &first, ms) && ms - first > SAME_KEY_MS;
    atomic_store(&stop_flag, true);
    if (again && sig == SIGINT)
        _exit(128 + SIGINT);
    stop_announce();
    errno = saved;
}

void os_stop_install(void)
{
    if (atomic_load(&stop_event) < 0) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        EMAC_ASSERT(fd >= 0);
        atomic_store(&stop_event, fd);
    }
    struct sigaction stop = {.sa_handler = stop_on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigemptyset(&ignore.sa_mask);
    int rc = sigaction(SIGINT, &stop, NULL);
    rc |= sigaction(SIGTERM, &stop, NULL);
    rc |= sigaction(SIGPIPE, &ignore, NULL);
    rc |= sigaction(SIGXFSZ, &ignore, NULL); /* EFBIG says it */
    EMAC_ASSERT(rc == 0);
    if (atomic_load(&stop_flag))
        stop_announce();
}

bool os_stop_requested(void)
{
    return atomic_load_explicit(&stop_flag, memory_order_relaxed);
}

bool os_stop_wait(uint32_t ms)
{
    struct pollfd p = {.fd = os_stop_fd(), .events = POLLIN}; /* none installed: it only sleeps */
    if (!os_stop_requested())
        (void)poll(&p, 1, ms < INT_MAX ? (int)ms : INT_MAX);
    return os_stop_requested();
}

int os_stop_fd(void)
{
    return atomic_load(&stop_event);
}

void os_stop_request(void)
{
    atomic_store(&stop_flag, true);
    stop_announce();
}

/* Child processes, signals, and what the machine is. */
#ifndef EMAC_OS_PROCESS_H
#define EMAC_OS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

/* Start argv[0] (an absolute path), stdin empty, stdout+stderr appended to `log_path` (inherited
 * when NULL). The child is killed when the thread that started it ends, so with the parent at the
 * latest: start from a thread that stays. NOT_FOUND, IO when the program cannot be executed. */
enum emac_status os_process_start(char *const argv[], const char *log_path, pid_t *out,
                                  struct emac_err *err);
/* true, once, when the child has ended; *code = exit status or 128 + signal. */
bool os_process_poll(pid_t pid, int *code);
void os_process_signal(pid_t pid, int sig);
/* Absolute path of the running program. */
enum emac_status os_process_self(char *out, size_t cap, struct emac_err *err);

/* Who closed standard input, output or error gets a descriptor in its place that gives nothing and
 * takes nothing: else a file opened later would have its number, and get what is printed. Before
 * anything is opened. */
void os_std_open(void);

/* SIGINT and SIGTERM set the flag that os_stop_requested reads; SIGPIPE and SIGXFSZ are ignored. A
 * second SIGINT ends the process at once, unless it follows within 0.5 s: then it is the same one,
 * passed on by a program around this one. os_stop_fd becomes readable on the first. */
void os_stop_install(void);
bool os_stop_requested(void);
/* Sleep for at most ms, to the moment of the request: true when the process is asked to stop. */
bool os_stop_wait(uint32_t ms);
int os_stop_fd(void);
void os_stop_request(void);

uint32_t os_cpu_count(void);    /* those this process may use (affinity) */
uint64_t os_memory_bytes(void); /* physical memory, or the cgroup's limit when lower */
uint64_t os_memory_available(void);
size_t os_level2_bytes(void); /* a core's level-2 cache; a guess where the system does not tell */
void os_host_name(char *out, size_t cap);
void os_cpu_model(char *out, size_t cap); /* e.g. "Intel(R) Xeon(R) Processor" */

#endif

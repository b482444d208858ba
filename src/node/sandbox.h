/* A seccomp filter for a process that computes on strangers' data: whatever a
 * bug lets an input do, it starts no program, looks into no other process,
 * opens no door. It cannot be taken off again and holds for all threads, those
 * to come included.
 *
 *   killed   execve, execveat, ptrace, process_vm_readv and _writev, pidfd_getfd
 *            (SIGSYS: such a call is an attack or a grave bug)
 *   refused  with EPERM: bind, listen (so accept only what was listened on
 *            before), sockets beyond Unix, IP and netlink, io_uring, memory that
 *            turns executable, mounts, namespaces, kernel modules, clocks, bpf,
 *            keyrings and other doors to the kernel that computing never needs
 *
 * OpenCL needs no exception: drivers of cards make no code for this processor,
 * and a library mapped from a file may be executable. A driver for processors
 * (PoCL) starts a linker when a kernel is first used; that is killed here, so
 * device_tune has each kernel used before.
 *
 * Everything else is allowed. no_new_privs is set. */
#ifndef EMAC_NODE_SANDBOX_H
#define EMAC_NODE_SANDBOX_H

#include "base/status.h"

/* UNSUPPORTED when this kernel has no seccomp filters or forbids them here. */
enum emac_status sandbox_enter(struct emac_err *err);

#endif

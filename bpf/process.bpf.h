/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The traced processes, for programs that every process of the machine runs into. */
#ifndef __PROCESS_BPF_H__
#define __PROCESS_BPF_H__

#include <bpf/bpf_helpers.h>
#include "bindings.h"

enum process_limit {
	MAX_TARGETS = 8, /* daemons traced at once */
};

BINDINGS(enum, process_limit);

/* How many there are, and the thread group of each one. */
const volatile __u32 targ_targets = 1;
const volatile __u32 targ_tgid[MAX_TARGETS];
/*
 * The pid namespace in which each targ_tgid counts, if it is not the first one:
 * device and inode number. It is the one that the process is in.
 */
const volatile __u64 targ_pid_namespace[MAX_TARGETS][2];

/* struct bpf_pidns_info of include/uapi/linux/bpf.h */
struct pidns_info {
	__u32 pid;
	__u32 tgid;
};

/* The index of the process that the current thread is of; targ_targets if it is of none. */
static __always_inline __u32 current_target(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, i;

#pragma unroll
	for (i = 0; i < MAX_TARGETS; i++) {
		if (i >= targ_targets)
			break;
		if (targ_pid_namespace[i][1]) {
			struct pidns_info info = {};

			/* It fails for a process of another namespace. */
			bpf_get_ns_current_pid_tgid(targ_pid_namespace[i][0],
						    targ_pid_namespace[i][1], (void *)&info,
						    sizeof(info));
			tgid = info.tgid;
		}
		if (targ_tgid[i] == tgid)
			break;
	}
	return i;
}

#endif /* __PROCESS_BPF_H__ */

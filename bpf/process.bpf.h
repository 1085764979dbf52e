/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The traced processes, for programs that every process of the machine runs into. */
#ifndef __PROCESS_BPF_H__
#define __PROCESS_BPF_H__

#include <bpf/bpf_helpers.h>
#include "bindings.h"
#include "event.bpf.h"

enum process_limit {
	MAX_TARGETS = 8, /* daemons traced at once */
};

BINDINGS(enum, process_limit);

/* How many there are, and the thread group of each one. */
const volatile __u32 targ_targets = 1;
const volatile __u32 targ_tgid[MAX_TARGETS];
/*
 * The pid namespace in which targ_tgid counts, if it is not the first one:
 * device and inode number.
 */
const volatile __u64 targ_pid_namespace[2];

/* struct bpf_pidns_info of include/uapi/linux/bpf.h */
struct pidns_info {
	__u32 pid;
	__u32 tgid;
};

/* The index of the process that the current thread is of; targ_targets if it is of none. */
static __always_inline __u32 current_target(void)
{
	__u32 tgid, i;

	if (targ_pid_namespace[1]) {
		struct pidns_info info = {};

		/* It fails in another namespace. */
		bpf_get_ns_current_pid_tgid(targ_pid_namespace[0], targ_pid_namespace[1],
					    (void *)&info, sizeof(info));
		tgid = info.tgid;
	} else if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		tgid = bpf_get_current_task_btf()->tgid;
	} else {
		/* Before Linux 5.11, or without type information. */
		tgid = bpf_get_current_pid_tgid() >> 32;
	}
#pragma unroll
	for (i = 0; i < MAX_TARGETS; i++)
		if (i >= targ_targets || targ_tgid[i] == tgid)
			break;
	return i;
}

#endif /* __PROCESS_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a probe wants to know of the thread that runs into it. */
#ifndef __TASK_BPF_H__
#define __TASK_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "usdt_arg.bpf.h"

struct task_struct {
	char comm[16];
} __attribute__((preserve_access_index));

enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
};

/* The name of the current thread, into 16 bytes. */
static __always_inline void current_comm(char *comm)
{
	/*
	 * 3ca1032ab7ab ("bpf: Implement get_current_task_btf and
	 * RET_PTR_TO_BTF_ID", Linux 5.11). The helper for names costs several
	 * times what two loads do, and needs no type information.
	 */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		const __u64 *name = (const __u64 *)bpf_get_current_task_btf()->comm;

		((__u64 *)comm)[0] = name[0];
		((__u64 *)comm)[1] = name[1];
	} else {
		bpf_get_current_comm(comm, 16);
	}
}

#define USER_NAME 32
/* ns: for how long a name is taken to be what it was when it was read. */
#define USER_NAME_LIFETIME 10000000

/* What a CPU has for the thread that is in a probe on it. */
struct scratch {
	/* more than 1: that thread was preempted in there, and so on */
	__u64 users;
	/* What the arguments in memory are read into. */
	__u64 window[USDT_WINDOW / 8];
	/* A string of a traced process, as it was last read. */
	__u64 addr;
	__u64 pid;
	__u64 read; /* ns, CLOCK_MONOTONIC; 0: never */
	char name[USER_NAME];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Returns what the caller has for itself until it releases it; NULL if another thread has it. */
static __always_inline struct scratch *take_scratch(void)
{
	struct scratch *scratch;
	__u32 zero = 0;

	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch)
		return NULL;
	__sync_fetch_and_add(&scratch->users, 1);
	if (*(volatile __u64 *)&scratch->users == 1)
		return scratch;
	__sync_fetch_and_add(&scratch->users, -1);
	return NULL;
}

static __always_inline void release_scratch(struct scratch *scratch)
{
	if (scratch)
		__sync_fetch_and_add(&scratch->users, -1);
}

/*
 * Copies the string at addr of process pid, the current one, into USER_NAME
 * bytes that are 0; an empty one if it cannot be read. It is one of the few
 * whose address comes again and again.
 */
static __always_inline void user_name(struct scratch *scratch, char *to, __u64 addr, __u32 pid,
				      __u64 now)
{
	if (!scratch) {
		if (bpf_probe_read_user_str(to, USER_NAME, (void *)addr) < 0)
			to[0] = '\0';
		return;
	}
	if (scratch->addr != addr || scratch->pid != pid || !scratch->read ||
	    now - scratch->read > USER_NAME_LIFETIME) {
		scratch->addr = addr;
		scratch->pid = pid;
		scratch->read = now;
		__builtin_memset(scratch->name, 0, USER_NAME);
		if (bpf_probe_read_user_str(scratch->name, USER_NAME, (void *)addr) < 0) {
			scratch->name[0] = '\0';
			scratch->read = 0;
		}
	}
	__builtin_memcpy(to, scratch->name, USER_NAME);
}

#endif /* __TASK_BPF_H__ */

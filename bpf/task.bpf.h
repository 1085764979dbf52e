/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reads the memory of the thread that runs into a probe, with room to work in. */
#ifndef __TASK_BPF_H__
#define __TASK_BPF_H__

#include <bpf/bpf_helpers.h>
#include "uprobe.bpf.h"
#include "usdt_arg.bpf.h"

#define USER_NAME 32
/* ns: for how long a name that was read is not read again. */
#define USER_NAME_LIFETIME 10000000

/* What a CPU has for the thread that is in a probe on it. */
struct scratch {
	/* above 1: the thread that has it was preempted, and another one wants it */
	__u64 users;
	/* The arguments in memory are read into it. */
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

/* Returns this CPU's scratch, which the caller must release; NULL if another thread has it. */
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
 * Copies the string at addr of the current process into USER_NAME bytes that
 * are 0; an empty one if it cannot be read. The same few addresses come again
 * and again, so scratch keeps the last string.
 */
static __always_inline void user_name(struct scratch *scratch, char *to, __u64 addr, __u64 now)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

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

/* The programs of a USDT probe: UPROBE_PROGRAMS() of handle_NAME(), which gets this CPU's scratch. */
#define USDT_PROGRAMS(name)                               \
	static __always_inline int run_##name(void *ctx)  \
	{                                                 \
		struct scratch *scratch = take_scratch(); \
		int result = handle_##name(ctx, scratch); \
                                                          \
		release_scratch(scratch);                 \
		return result;                            \
	}                                                 \
                                                          \
	UPROBE_PROGRAMS(name, run_##name(ctx))

#endif /* __TASK_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Filters that several tools have, and the count of what does not pass. */
#ifndef __FILTER_BPF_H__
#define __FILTER_BPF_H__

#include <bpf/bpf_helpers.h>

/* Each name that is compared is padded with NUL to a multiple of 4 bytes, and aligned. */
#define NAME __attribute__((aligned(4)))

/* The thread that is wanted, by its id or its name. The verifier removes the code of what was not asked for. */
const volatile __u32 targ_tid;
const volatile __u8 targ_by_comm;
const volatile char targ_comm[16] NAME;

/* Counters of events that were filtered. Each has its own cache line, so that CPUs do not share one. */
#define FILTERED_SLOTS 64
#define FILTERED_STRIDE 8

__u64 filtered[FILTERED_SLOTS * FILTERED_STRIDE];

/* Counts an event that does not pass. */
static __always_inline int filter_out(void)
{
	__u32 slot = bpf_get_smp_processor_id() % FILTERED_SLOTS;

	__sync_fetch_and_add(&filtered[slot * FILTERED_STRIDE], 1);
	return 0;
}

typedef __u32 __attribute__((may_alias)) word;

/*
 * Whether two names are the same, each a NAME of size bytes. It compares words:
 * clang 19 spills bytes that are compared to the stack until that is full.
 */
static __always_inline int same(const char *a, const volatile char *b, int size)
{
	const volatile word *other = (const volatile word *)b;
	const word *one = (const word *)a;
	word differ = 0;

#pragma unroll
	for (int i = 0; i < size / 4; i++)
		differ |= one[i] ^ other[i];
	return !differ;
}

/* Whether the current thread is wanted. */
static __always_inline int passes_thread(void)
{
	char comm[16] NAME = {};

	if (targ_tid)
		return (__u32)bpf_get_current_pid_tgid() == targ_tid;
	if (!targ_by_comm)
		return 1;
	/* Not current_comm(): until Linux 5.17 an older name may follow the NUL. */
	bpf_get_current_comm(comm, sizeof(comm));
	return same(comm, targ_comm, sizeof(comm));
}

#endif /* __FILTER_BPF_H__ */

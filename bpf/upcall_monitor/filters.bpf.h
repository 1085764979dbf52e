/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Decides which upcalls are wanted, and counts the others. */
#ifndef __FILTERS_BPF_H__
#define __FILTERS_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_monitor.h"

/* Each name that is compared is padded with NUL to a multiple of 4 bytes, and aligned. */
#define NAME __attribute__((aligned(4)))

/*
 * The verifier removes the code of each filter that was not asked for.
 * targ_filters: there is one that needs an argument in memory.
 */
const volatile __u8 targ_filters;
const volatile __u8 targ_by_type;
const volatile __u32 targ_type;
const volatile __u32 targ_min_size;
const volatile __u32 targ_tid;
const volatile __u8 targ_by_comm;
const volatile char targ_comm[16] NAME;
const volatile __u8 targ_by_datapath;
const volatile char targ_datapath[32] NAME;
const volatile __u8 targ_by_port;

/*
 * The wanted ports: each has the index of a daemon in its upper half and a
 * port in its lower one. User space changes them when ports come and go.
 */
__u64 filter_ports;
__u64 filter_port[MAX_PORTS];

/* Counters of upcalls that were filtered: one a cache line, so that CPUs share none. */
#define FILTERED_SLOTS 64
#define FILTERED_STRIDE 8

__u64 filtered[FILTERED_SLOTS * FILTERED_STRIDE];

/* Counts an upcall that does not pass. */
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

static __always_inline int passes_port(__u32 target, __u32 port)
{
	__u64 wanted = (__u64)target << 32 | port;

	for (int i = 0; i < MAX_PORTS; i++) {
		if (i >= filter_ports)
			break;
		if (filter_port[i] == wanted)
			return 1;
	}
	return 0;
}

#endif /* __FILTERS_BPF_H__ */

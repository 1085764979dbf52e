/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The records of both sides. */
#ifndef __COST_RECORD_BPF_H__
#define __COST_RECORD_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_cost.h"
#include "../ring.bpf.h"
#include "../event.bpf.h"

/* The most bytes to capture of a packet. */
const volatile __u32 targ_packet_size;

/*
 * The daemon, as its probes see it: its number in the pid namespace of user
 * space may be another one than here.
 */
__u32 traced_pid;

/* Fills in what each event has, and clears the rest. */
static __always_inline void begin_record(struct cost_record *record, __u16 kind)
{
	__builtin_memset(record, 0, sizeof(*record));
	fill_head(&record->head, kind, 0, bpf_ktime_get_ns());
}

#endif /* __COST_RECORD_BPF_H__ */

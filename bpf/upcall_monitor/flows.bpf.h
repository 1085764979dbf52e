/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counts upcalls by the flow that they are of: those that the ring had no room for, and those of --quiet. */
#ifndef __FLOWS_BPF_H__
#define __FLOWS_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../filter.bpf.h"
#include "../upcall_monitor.h"

/* Whether to count those that are lost by flow. */
const volatile __u8 targ_count_lost;
/* Whether to count those that were received, where it is cheap, and not to send them. */
const volatile __u8 targ_count_only;

struct flow_counts {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, struct flow_id);
	__type(value, __u64);
};

struct flow_counts lost_flows SEC(".maps"), counted_flows SEC(".maps");

/* How many were counted and not sent; as filtered[]. */
__u64 counted[FILTERED_SLOTS * FILTERED_STRIDE];

/* Counts one more. It clears the addresses in flow if there are too many flows. */
static __always_inline void count_flow(struct flow_counts *counts, struct flow_id *flow)
{
	const __u64 one = 1;
	__u64 *count;

	/* If the map is full, the second pass counts the flow without its addresses. */
#pragma unroll
	for (int i = 0; i < 2; i++) {
		count = bpf_map_lookup_elem(counts, flow);
		if (!count) {
			if (!bpf_map_update_elem(counts, flow, &one, BPF_NOEXIST))
				return;
			/* Another CPU was first, or the map is full. */
			count = bpf_map_lookup_elem(counts, flow);
		}
		if (count) {
			__sync_fetch_and_add(count, 1);
			return;
		}
		__builtin_memset(flow->src, 0, sizeof(flow->src));
		__builtin_memset(flow->dst, 0, sizeof(flow->dst));
		flow->folded = 1;
	}
}

#endif /* __FLOWS_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counts the upcalls that the ring had no room for by the flow that they are of. */
#ifndef __LOST_FLOWS_BPF_H__
#define __LOST_FLOWS_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_monitor.h"

/* Whether to count them by flow. */
const volatile __u8 targ_count_lost;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, struct flow_id);
	__type(value, __u64);
} lost_flows SEC(".maps");

/* Counts one more. It clears the addresses in flow if there are too many flows. */
static __always_inline void count_lost_flow(struct flow_id *flow)
{
	const __u64 one = 1;
	__u64 *count;

	/* If the map is full, the second pass counts the flow without its addresses. */
#pragma unroll
	for (int i = 0; i < 2; i++) {
		count = bpf_map_lookup_elem(&lost_flows, flow);
		if (!count) {
			if (!bpf_map_update_elem(&lost_flows, flow, &one, BPF_NOEXIST))
				return;
			/* Another CPU was first, or the map is full. */
			count = bpf_map_lookup_elem(&lost_flows, flow);
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

#endif /* __LOST_FLOWS_BPF_H__ */

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

#define FLOW_COUNTS(name, key_type)			\
	struct {					\
		__uint(type, BPF_MAP_TYPE_HASH);	\
		__uint(max_entries, 1); /* user space sets it */ \
		__type(key, key_type);			\
		__type(value, __u64);			\
	} name SEC(".maps")

FLOW_COUNTS(lost_flows, struct flow_id);
FLOW_COUNTS(counted_flows, struct counted_flow);

/* How many were counted and not sent; as filtered[]. */
__u64 counted[FILTERED_SLOTS * FILTERED_STRIDE];

/* Counts one more of a flow. It clears the addresses in from, a part of flow, if there are too many flows. */
static __always_inline void count_flow(void *counts, void *flow, struct flow_source *from)
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
		__builtin_memset(from->src, 0, sizeof(from->src));
		__builtin_memset(from->dst, 0, sizeof(from->dst));
		from->folded = 1;
	}
}

#endif /* __FLOWS_BPF_H__ */

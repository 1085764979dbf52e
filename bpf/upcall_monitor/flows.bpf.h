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

#define FLOW_COUNTS(name, key_type)                              \
	struct {                                                 \
		__uint(type, BPF_MAP_TYPE_HASH);                 \
		__uint(max_entries, 1); /* user space sets it */ \
		__type(key, key_type);                           \
		__type(value, __u64);                            \
	} name SEC(".maps")

FLOW_COUNTS(lost_flows, struct flow_id);
FLOW_COUNTS(counted_flows, struct counted_flow);

/*
 * Nearly all upcalls that are counted are of flows that were there before. To
 * find these in a hash map costs more than all the rest. So each CPU has a
 * table in which a flow can be in one place only; the hash map is for flows
 * whose place another one has.
 */
struct flow_place {
	__u64 claims; /* how many threads wanted it while it was free; if it is only one, it gets it */
	__u64 ready; /* flow is complete, and will not change any more */
	__u64 count;
	struct counted_flow flow;
};

BINDINGS(struct, flow_place);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, __u32);
	__type(value, struct flow_place);
} flow_places SEC(".maps");

/* A power of two. */
const volatile __u32 targ_flow_places = 1;

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

static __always_inline __u32 place_of(const struct counted_flow *flow)
{
	const __u32 *src = (const void *)flow->from.src, *dst = (const void *)flow->from.dst;
	/* Odd numbers, which spread each bit over the upper ones. */
	__u64 hash = (src[0] ^ src[1] ^ src[2] ^ src[3]) * 0x9e3779b97f4a7c15 +
		     (dst[0] ^ dst[1] ^ dst[2] ^ dst[3]) * 0xc2b2ae3d27d4eb4f +
		     (flow->tid ^ flow->from.port << 16 ^ flow->from.proto) * 0xff51afd7ed558ccd;

	return hash >> 32 & (targ_flow_places - 1);
}

/* Counts one more of a flow in its place; returns 0 if another flow has that, or may get it just now. */
static __always_inline int count_in_place(const struct counted_flow *flow)
{
	const __u32 *wanted = (const void *)flow, *there;
	__u32 at = place_of(flow), differences = 0;
	struct flow_place *place;

	place = bpf_map_lookup_elem(&flow_places, &at);
	if (!place)
		return 0;
	if (!place->ready) {
		__sync_fetch_and_add(&place->claims, 1);
		if (*(volatile __u64 *)&place->claims != 1)
			return 0;
		place->flow = *flow;
		place->count = 1;
		asm volatile("" ::: "memory");
		place->ready = 1;
		return 1;
	}
	there = (const void *)&place->flow;
#pragma unroll
	for (int i = 0; i < sizeof(*flow) / sizeof(*wanted); i++)
		differences |= wanted[i] ^ there[i];
	if (differences)
		return 0;
	__sync_fetch_and_add(&place->count, 1);
	return 1;
}

#endif /* __FLOWS_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The ring buffer to user space, its wake-ups, and the count of what could
 * not go into it.
 *
 * A wake-up costs the traced thread several times what the rest of the probe
 * does. So user space drains the ring on a timer, and is woken only if the
 * ring fills while it sleeps.
 */
#ifndef __RING_BPF_H__
#define __RING_BPF_H__

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* user space sets it */
} ring SEC(".maps");

/* Wake user space when more than this many bytes wait for it. */
const volatile __u64 targ_wake_at;

/* Set by user space before it sleeps, cleared by the first who wakes it. */
__u64 ring_sleeping;

static __always_inline void ring_submit(void *record)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (ring_sleeping && bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > targ_wake_at) {
		/* One aligned store; two who do it at once wake twice, no harm. */
		ring_sleeping = 0;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(record, flags);
}

/* Events that were not delivered, by a reason that each tool numbers up to LOST_REASONS. */
__u64 lost[LOST_REASONS];

static __always_inline void count_lost(int reason)
{
	__sync_fetch_and_add(&lost[reason], 1);
}

/*
 * bpf_ringbuf_reserve() takes a constant. Sets *record to a reservation of
 * the least step that holds need bytes behind a header of head bytes, and
 * *room to the bytes behind the header, as a value that the verifier knows on
 * each path. The last step is followed by what is to be done with more.
 */
#define RING_STEP(head, size)						\
	if (need <= (size)) {						\
		asm volatile("%0 = %1" : "=r"(room) : "i"(size));	\
		record = bpf_ringbuf_reserve(&ring, (head) + (size), 0);\
	} else

#endif /* __RING_BPF_H__ */

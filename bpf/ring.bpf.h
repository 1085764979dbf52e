/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The ring buffer to user space: room for a record, wake-ups, and the count of
 * the events that were lost.
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

/* User space sets it before it sleeps; the first program that wakes user space clears it. */
__u64 ring_sleeping;

static __always_inline void ring_submit(void *record)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (ring_sleeping && bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > targ_wake_at) {
		/* One aligned store. If two CPUs do it at once, both wake, which does no harm. */
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
 * bpf_ringbuf_reserve() takes a constant size. So a record with need bytes of
 * data behind its header takes the least of several sizes that is enough:
 *
 *	struct some_record *record;
 *	__u64 room;
 *
 *	RING_RESERVE(record, room, need, MAX_DATA);
 *	if (!record)
 *		...
 *
 * room becomes the number of bytes behind the header. The verifier knows it as
 * a constant on each path, and it keeps no relation between two variables:
 * whatever is copied there must be clamped to room, see read_user(). need must
 * not exceed the last argument, which is a constant.
 *
 * The verifier follows each size separately through all that comes after it.
 * RING_RESERVE_COARSELY() has fewer sizes, for a case that is rare.
 */
#define RING_RESERVE(record, room, need, max)             \
	do {                                              \
		RING_STEP(record, room, need, max, 64)    \
		RING_STEP(record, room, need, max, 96)    \
		RING_STEP(record, room, need, max, 128)   \
		RING_STEP(record, room, need, max, 160)   \
		RING_STEP(record, room, need, max, 192)   \
		RING_STEP(record, room, need, max, 224)   \
		RING_STEP(record, room, need, max, 256)   \
		RING_STEP(record, room, need, max, 288)   \
		RING_STEP(record, room, need, max, 320)   \
		RING_STEP(record, room, need, max, 352)   \
		RING_STEP(record, room, need, max, 384)   \
		RING_STEP(record, room, need, max, 448)   \
		RING_STEP(record, room, need, max, 512)   \
		RING_STEP(record, room, need, max, 640)   \
		RING_STEP(record, room, need, max, 768)   \
		RING_STEP(record, room, need, max, 1024)  \
		RING_STEP(record, room, need, max, 1280)  \
		RING_STEP(record, room, need, max, 1536)  \
		RING_STEP(record, room, need, max, 1792)  \
		RING_STEP(record, room, need, max, 2048)  \
		RING_STEP(record, room, need, max, 4096)  \
		RING_STEP(record, room, need, max, 8192)  \
		RING_STEP(record, room, need, max, 12288) \
		RING_STEP(record, room, need, max, 16384) \
		RING_STEP(record, room, need, max, 32768) \
		RING_TAKE(record, room, max);             \
	} while (0)

#define RING_RESERVE_COARSELY(record, room, need, max)    \
	do {                                              \
		RING_STEP(record, room, need, max, 384)   \
		RING_STEP(record, room, need, max, 512)   \
		RING_STEP(record, room, need, max, 1024)  \
		RING_STEP(record, room, need, max, 2048)  \
		RING_STEP(record, room, need, max, 4096)  \
		RING_STEP(record, room, need, max, 12288) \
		RING_STEP(record, room, need, max, 24576) \
		RING_TAKE(record, room, max);             \
	} while (0)

#define RING_STEP(record, room, need, max, size) \
	if ((size) >= (max))                     \
		RING_TAKE(record, room, max);    \
	else if ((need) <= (size))               \
		RING_TAKE(record, room, size);   \
	else

#define RING_TAKE(record, room, size)                                                 \
	do {                                                                          \
		asm volatile("%0 = %1" : "=r"(room) : "i"(size));                     \
		(record) = bpf_ringbuf_reserve(&ring, sizeof(*(record)) + (size), 0); \
	} while (0)

/*
 * Reads len bytes of the current task into a reservation that has room for
 * them. Returns 0 or a negative errno.
 */
static __always_inline long read_user(void *to, __u64 len, __u64 room, __u64 addr)
{
	/* The clamp changes nothing; the verifier needs it. */
	asm volatile("" : "+r"(len));
	if (len > room)
		len = room;
	return bpf_probe_read_user(to, len, (void *)addr);
}

#endif /* __RING_BPF_H__ */

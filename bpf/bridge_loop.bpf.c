// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Times the main loop of ovs-vswitchd: runs, from main:run_start to
 * main:poll_block, and the waits in between.
 *
 * A uprobe's program can be preempted, and another thread may then run into
 * the same program on the same CPU. So everything is kept by thread, or added
 * atomically; nothing is kept by CPU.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bridge_loop.h"
#include "event.bpf.h"
#include "ring.bpf.h"
#include "uprobe.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Send a record for intervals of at least this many ns; by kind. */
const volatile __u64 targ_threshold[KINDS];
/* Stop counting a thread's intervals after this many runs; 0: never. */
const volatile __u64 targ_count;
/* Count in the buckets of bridge_loop.bt too. */
const volatile __u8 targ_linear;
const volatile __u8 targ_stack;

/* ns, CLOCK_MONOTONIC: when both probes were attached; 0 until then. */
__u64 attached;
/* A thread has reached targ_count. */
__u64 done;

/* By kind. */
__u64 buckets[KINDS][BUCKETS];
__u64 linear[KINDS][LINEAR_BUCKETS + 1];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_THREADS);
	__type(key, __u32);
	__type(value, struct thread_state);
} threads SEC(".maps");

/* It is too large for the stack. */
static const struct thread_state new_thread;

#define barrier() asm volatile("" ::: "memory")

/* The position of the highest bit that is set. */
static __always_inline __u32 log2(__u64 v)
{
	__u32 bit = 0;

#define STEP(n)			\
	if (v >> (n)) {		\
		v >>= (n);	\
		bit += (n);	\
	}
	STEP(32) STEP(16) STEP(8) STEP(4) STEP(2) STEP(1)
#undef STEP
	return bit;
}

static __always_inline void count_bucket(__u32 kind, __u64 duration)
{
	__u64 units, bucket;

	if (duration >= 1ULL << (MAX_BITS - 1))
		duration = (1ULL << (MAX_BITS - 1)) - 1;
	units = duration * 128 / 125;
	bucket = units;
	if (units >= 1 << SUB_BITS) {
		__u32 shift = log2(units) - SUB_BITS;

		/* The highest bit, which units keeps, is one bucket row. */
		bucket = ((__u64)shift << SUB_BITS) + (units >> shift);
	}
	asm volatile("" : "+r"(bucket));
	if (bucket < BUCKETS)
		__sync_fetch_and_add(&buckets[kind][bucket], 1);

	if (targ_linear) {
		bucket = duration / (kind == KIND_RUN ? 1000000 : 30000000);
		asm volatile("" : "+r"(bucket));
		if (bucket > LINEAR_BUCKETS)
			bucket = LINEAR_BUCKETS;
		__sync_fetch_and_add(&linear[kind][bucket], 1);
	}
}

static __always_inline void send(void *ctx, struct thread_state *thread, __u32 kind, __u64 now,
				 __u64 duration, __u32 unseen)
{
	struct loop_record *record;
	/* The stack of a wait would always be that of the main loop. take_stack() has none of an unseen run. */
	int with_stack = targ_stack && kind == KIND_RUN && !unseen;

	thread->lines[kind]++;
	if (with_stack)
		record = bpf_ringbuf_reserve(&ring, sizeof(*record) + sizeof(thread->stack), 0);
	else
		record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(LOST_LINE_RING_FULL);
		return;
	}
	/*
	 * The helper costs more than current_comm(), but lines are few, and
	 * without a field of the kernel's in it the object is loaded without a
	 * look at the kernel's types, which takes longer than all else.
	 */
	fill_nameless_head(&record->head, kind, 0, now);
	bpf_get_current_comm(record->head.comm, sizeof(record->head.comm));
	record->duration = duration;
	record->unseen = unseen;
	record->stack_size = 0;
	record->stack_at_end = 0;
	if (with_stack) {
		record->stack_size = thread->stack_size;
		if (thread->stack_size > 0) {
			__builtin_memcpy(record->stack, thread->stack, sizeof(thread->stack));
		} else {
			record->stack_at_end = 1;
			record->stack_size = bpf_get_stack(ctx, record->stack, sizeof(thread->stack),
							   BPF_F_USER_STACK);
		}
	}
	ring_submit(record);
}

/* The thread ends an interval of one kind and begins one of the other. */
static __always_inline int turn(void *ctx, __u32 ends)
{
	__u64 now = bpf_ktime_get_ns(), since, duration;
	__u32 tid = bpf_get_current_pid_tgid();
	struct thread_state *thread;
	__u32 was;

	thread = bpf_map_lookup_elem(&threads, &tid);
	if (!thread) {
		bpf_map_update_elem(&threads, &tid, &new_thread, BPF_NOEXIST);
		thread = bpf_map_lookup_elem(&threads, &tid);
		if (!thread) {
			count_lost(LOST_PROBE_NO_THREAD);
			return 0;
		}
		thread->min[KIND_RUN] = ~0ULL;
		thread->min[KIND_WAIT] = ~0ULL;
		thread->since = now;
		thread->kind = !ends;
		duration = attached && now > attached ? now - attached : 0;
		if (duration >= targ_threshold[ends])
			send(ctx, thread, ends, now, duration, 1);
		return 0;
	}
	if (targ_count && thread->count[KIND_RUN] >= targ_count)
		return 0;

	was = thread->kind;
	since = thread->since;
	/* From here on take_stack() leaves the stack alone. */
	thread->kind = KIND_WAIT;
	barrier();
	/* If they differ, its beginning was missed while the other probe was being detached. */
	if (was == ends) {
		duration = now - since;
		thread->count[ends]++;
		thread->sum[ends] += duration;
		if (duration < thread->min[ends])
			thread->min[ends] = duration;
		if (duration > thread->max[ends])
			thread->max[ends] = duration;
		count_bucket(ends, duration);
		if (duration >= targ_threshold[ends])
			send(ctx, thread, ends, now, duration, 0);
		if (targ_count && ends == KIND_RUN && thread->count[KIND_RUN] >= targ_count)
			done = 1;
	}
	thread->stack_size = 0;
	thread->since = now;
	barrier();
	thread->kind = !ends;
	return 0;
}

UPROBE_PROGRAMS(run_start, turn(ctx, KIND_WAIT))
UPROBE_PROGRAMS(poll_block, turn(ctx, KIND_RUN))

/* A clock event of the traced thread: it runs in an interrupt, on top of the thread. */
SEC("perf_event")
int take_stack(void *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct thread_state *thread = bpf_map_lookup_elem(&threads, &tid);

	if (!thread || thread->kind != KIND_RUN || thread->stack_size)
		return 0;
	if (bpf_ktime_get_ns() - thread->since < targ_threshold[KIND_RUN])
		return 0;
	thread->stack_size = bpf_get_stack(ctx, thread->stack, sizeof(thread->stack),
					   BPF_F_USER_STACK);
	return 0;
}

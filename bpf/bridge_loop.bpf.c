// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Times the main loop of ovs-vswitchd: runs, from main:run_start to
 * main:poll_block, and the waits in between. Or, from the kernel, any of its
 * threads: the waits are then its calls of poll(), see bridge_loop/poll.bpf.h.
 *
 * A uprobe's program can be preempted, and another thread may then run into
 * the same program on the same CPU. So everything is kept by thread, or added
 * atomically; nothing is kept by CPU.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bridge_loop.h"
#include "event.bpf.h"
#include "process.bpf.h"
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
/* With the kernel as the source: the groups of threads that are wanted, a bit each. */
const volatile __u8 targ_groups;
/* Find out what held a run up. */
const volatile __u8 targ_held;

/* ns, CLOCK_MONOTONIC: when both probes were attached; 0 until then. */
__u64 attached;
/* A thread has reached targ_count. */
__u64 done;

/* By group of threads and kind. */
__u64 buckets[GROUPS][KINDS][BUCKETS];
__u64 linear[GROUPS][KINDS][LINEAR_BUCKETS + 1];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_THREADS);
	__type(key, __u32);
	__type(value, struct thread_state);
} threads SEC(".maps");

/* It is too large for the stack. */
static const struct thread_state new_thread;

#define barrier() asm volatile("" ::: "memory")

#include "bridge_loop/stack.bpf.h"
#include "bridge_loop/held.bpf.h"

/* The position of the highest bit that is set. */
static __always_inline __u32 log2(__u64 v)
{
	__u32 bit = 0;

#define STEP(n)             \
	if (v >> (n)) {     \
		v >>= (n);  \
		bit += (n); \
	}
	STEP(32)
	STEP(16)
	STEP(8)
	STEP(4)
	STEP(2)
	STEP(1)
#undef STEP
	return bit;
}

static __always_inline void count_bucket(__u32 group, __u32 kind, __u64 duration)
{
	__u64 units, bucket;

	if (group >= GROUPS)
		return;
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
		__sync_fetch_and_add(&buckets[group][kind][bucket], 1);

	if (targ_linear) {
		bucket = duration / (kind == KIND_RUN ? 1000000 : 30000000);
		asm volatile("" : "+r"(bucket));
		if (bucket > LINEAR_BUCKETS)
			bucket = LINEAR_BUCKETS;
		__sync_fetch_and_add(&linear[group][kind][bucket], 1);
	}
}

/*
 * held is what is known of the run, or NULL. The programs of the probes pass a
 * constant NULL, so that what is not theirs is not compiled into them. user_ctx
 * says that ctx has the registers of user space.
 */
static __always_inline void send(void *ctx, struct thread_state *thread, __u32 kind, __u64 now,
				 __u64 duration, __u32 unseen, struct held_state *held,
				 int user_ctx)
{
	struct loop_record *record;
	/* The stack of a wait would always be that of the main loop. take_stack() has none of an unseen run. */
	int with_stack = targ_stack && kind == KIND_RUN && !unseen;
	__u32 tid = bpf_get_current_pid_tgid(), has_copy = 0, at = STACK_AT_END;
	struct block *block = NULL;
	void *stack;

	thread->lines[kind]++;
	if (held)
		settle_now(held);
	if (with_stack) {
		block = held && held->longest ? longest_block(held) : NULL;
		/* A stack past the threshold does not explain a run that was blocked for most of its time. */
		if (block && block->user_size > 0 &&
		    (thread->stack_size <= 0 || held->longest > duration / 2)) {
			at = STACK_AT_BLOCK;
			has_copy = send_copy(tid, SLOT_BLOCK + (held->longest_at & 1), now);
		} else if (thread->stack_size > 0) {
			at = STACK_AT_THRESHOLD;
			has_copy = send_copy(tid, SLOT_RUN, now);
		} else {
			copy_stack(tid, SLOT_RUN, ctx, user_ctx);
			has_copy = send_copy(tid, SLOT_RUN, now);
		}
	}
	if (held && with_stack)
		record = bpf_ringbuf_reserve(
			&ring, sizeof(*record) + sizeof(struct held) + sizeof(thread->stack), 0);
	else if (held)
		record = bpf_ringbuf_reserve(&ring, sizeof(*record) + sizeof(struct held), 0);
	else if (with_stack)
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
	record->stack_at = at;
	record->group = thread->group;
	record->has_held = !!held;
	record->has_copy = has_copy;
	stack = record->data;
	if (held) {
		fill_held((struct held *)record->data, held);
		stack = record->data + sizeof(struct held);
	}
	if (with_stack) {
		if (at == STACK_AT_BLOCK && block) {
			record->stack_size = block->user_size;
			__builtin_memcpy(stack, block->user, sizeof(block->user));
		} else if (at == STACK_AT_THRESHOLD) {
			record->stack_size = thread->stack_size;
			__builtin_memcpy(stack, thread->stack, sizeof(thread->stack));
		} else {
			record->stack_size = bpf_get_stack(ctx, stack, sizeof(thread->stack),
							   BPF_F_USER_STACK);
		}
	}
	ring_submit(record);
}

/* A thread that is seen for the first time, at the end of an interval that had begun before. */
static __always_inline int first_turn(void *ctx, __u32 tid, __u32 group, __u32 ends, __u64 now)
{
	struct thread_state *thread;
	__u64 duration;

	bpf_map_update_elem(&threads, &tid, &new_thread, BPF_NOEXIST);
	thread = bpf_map_lookup_elem(&threads, &tid);
	if (!thread) {
		count_lost(LOST_PROBE_NO_THREAD);
		return 0;
	}
	if (targ_stack)
		make_stack_slots(tid);
	thread->group = group;
	thread->min[KIND_RUN] = ~0ULL;
	thread->min[KIND_WAIT] = ~0ULL;
	thread->since = now;
	thread->kind = !ends;
	duration = attached && now > attached ? now - attached : 0;
	if (duration >= targ_threshold[ends])
		send(ctx, thread, ends, now, duration, 1, NULL, 0);
	return 0;
}

/* The thread ends an interval of one kind and begins one of the other. held is what is known of a run, or NULL. */
static __always_inline int turn(void *ctx, struct thread_state *thread, __u32 ends, __u64 now,
				struct held_state *held, int user_ctx)
{
	__u64 since, duration;
	__u32 was;

	if (targ_count && thread->count[KIND_RUN] >= targ_count)
		return 0;

	was = thread->kind;
	since = thread->since;
	/* From here on take_stack() leaves the stack alone, and switched() what held the run up. */
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
		count_bucket(thread->group, ends, duration);
		if (duration >= targ_threshold[ends])
			send(ctx, thread, ends, now, duration, 0, held, user_ctx);
		if (targ_count && ends == KIND_RUN && thread->count[KIND_RUN] >= targ_count)
			done = 1;
	}
	thread->stack_size = 0;
	thread->since = now;
	barrier();
	thread->kind = !ends;
	return 0;
}

static __always_inline int probed(void *ctx, __u32 ends)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tid = bpf_get_current_pid_tgid();
	struct thread_state *thread = bpf_map_lookup_elem(&threads, &tid);

	if (!thread)
		return first_turn(ctx, tid, GROUP_MAIN, ends, now);
	return turn(ctx, thread, ends, now, NULL, 1);
}

UPROBE_PROGRAMS(run_start, probed(ctx, KIND_WAIT))
UPROBE_PROGRAMS(poll_block, probed(ctx, KIND_RUN))

/* By the registers with which a program's context begins. */
static __always_inline int in_user_mode(void *ctx)
{
	__u64 mode = ((volatile __u64 *)ctx)[USER_MODE];

#if defined(__TARGET_ARCH_arm64)
	/* PSR_MODE_MASK, PSR_MODE_EL0t */
	return !(mode & 0xf);
#else
	return (mode & 3) == 3;
#endif
}

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
	/* If it was in the kernel, these are the kernel's registers. */
	if (in_user_mode(ctx))
		copy_stack(tid, SLOT_RUN, ctx, 1);
	else
		copy_stack(tid, SLOT_RUN, ctx, 0);
	return 0;
}

#include "bridge_loop/poll.bpf.h"

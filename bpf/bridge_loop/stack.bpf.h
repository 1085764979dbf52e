/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Copies of stacks. The kernel itself finds the callers of a function by frame
 * pointers only, which -O2 leaves out; user space finds them in a copy, by what
 * the compiler wrote down of each function's frame (.eh_frame).
 */
#ifndef __STACK_BPF_H__
#define __STACK_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "../bridge_loop.h"

/* A read that touches a page which is not there reads nothing, so the last chunk is lost then. */
#define STACK_CHUNK 512

struct stack_slot {
	struct stack_copy copy;
	__u8 data[STACK_COPY];
};

/* Of a thread: SLOT_RUN, and two as the blocks of struct held_state. */
enum { SLOT_RUN = 0, SLOT_BLOCK = 1, SLOTS = 3 };

struct stack_slots {
	struct stack_slot slots[SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, __u32);
	__type(value, struct stack_slots);
} stack_copies SEC(".maps");

/* What a new entry is made of: it is too large for anything else. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack_slots);
} no_copies SEC(".maps");

/* Makes room for the copies of a thread. Beyond the number that user space expects there is none. */
static __always_inline void make_stack_slots(__u32 tid)
{
	__u32 zero = 0;
	struct stack_slots *empty = bpf_map_lookup_elem(&no_copies, &zero);

	if (empty)
		bpf_map_update_elem(&stack_copies, &tid, empty, BPF_NOEXIST);
}

/*
 * The registers that the current thread had in user space. user_ctx says that
 * the program's context begins with them: it was entered from there.
 */
static __always_inline int read_user_regs(__u64 *to, void *ctx, int user_ctx)
{
	__u32 i;

	if (user_ctx) {
#pragma unroll
		for (i = 0; i < USER_REGS; i++)
			to[i] = ((volatile __u64 *)ctx)[i];
		return 0;
	}
	/* dd6e10fbd9fb ("bpf: Add bpf_task_pt_regs() helper", Linux 5.15) */
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return -1;
	return bpf_probe_read_kernel(to, USER_REGS * sizeof(*to),
				     (void *)bpf_task_pt_regs(bpf_get_current_task_btf()));
}

/* Copies the stack of the current thread, from its stack pointer upwards. */
static __always_inline void copy_stack(__u32 tid, __u32 slot, void *ctx, int user_ctx)
{
	struct stack_slots *slots = bpf_map_lookup_elem(&stack_copies, &tid);
	struct stack_slot *to;
	__u64 sp;
	__u32 i;

	if (!slots || slot >= SLOTS)
		return;
	to = &slots->slots[slot];
	to->copy.size = 0;
	if (read_user_regs(to->copy.regs, ctx, user_ctx))
		return;
	sp = to->copy.regs[USER_SP];
	for (i = 0; i < STACK_COPY / STACK_CHUNK; i++) {
		if (bpf_probe_read_user(to->data + i * STACK_CHUNK, STACK_CHUNK,
					(void *)(sp + i * STACK_CHUNK)))
			break;
		to->copy.size = (i + 1) * STACK_CHUNK;
	}
}

/* Sends a copy; 0 if there is none, or no room. The record of the run follows it. */
static __always_inline int send_copy(__u32 tid, __u32 slot, __u64 now)
{
	struct stack_slots *slots = bpf_map_lookup_elem(&stack_copies, &tid);
	struct stack_slot *from;
	__u64 size;

	if (!slots || slot >= SLOTS)
		return 0;
	from = &slots->slots[slot];
	size = from->copy.size;
	asm volatile("" : "+r"(size));
	if (!size || size > STACK_COPY)
		return 0;
	fill_nameless_head(&from->copy.head, KIND_STACK_COPY, 0, now);
	return !bpf_ringbuf_output(&ring, from, sizeof(from->copy) + size, BPF_RB_NO_WAKEUP);
}

#endif /* __STACK_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What held a run up: how long its thread was not running, how much of that it
 * waited for a CPU, and where it was blocked for the longest time.
 */
#ifndef __HELD_BPF_H__
#define __HELD_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "../bridge_loop.h"
#include "../event.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_info {
	unsigned long long run_delay;
};

struct task_struct___held {
	__u32 pid;
	__u32 tgid;
	__u64 utime;
	__u64 stime;
	struct sched_info sched_info;
	unsigned int __state;
};

/* Until 2f064a59a11f ("sched: Change task_struct::state", Linux 5.14). */
struct task_struct___until_5_14 {
	long state;
};

/* arch/arm64/include/asm/ptrace.h */
struct pt_regs___arm64 {
	__s32 syscallno;
};

#pragma clang attribute pop

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_THREADS);
	__type(key, __u32);
	__type(value, struct held_state);
} held_states SEC(".maps");

static const struct held_state new_held;

/* The daemon as the kernel numbers it, once one of its threads has been seen. */
__u32 switched_tgid;

static __always_inline struct block *longest_block(struct held_state *held)
{
	return &held->blocks[held->longest_at & 1];
}

/* The time is over that last_off is the length of: now it is known how much of it the thread waited for a CPU. */
static __always_inline void settle(struct held_state *held, __u64 run_delay)
{
	__u64 off = held->last_off, delay = run_delay - held->delay_at_off;

	held->last_off = 0;
	if (!off || !held->blocked || delay >= off)
		return;
	if (off - delay > held->longest) {
		held->longest = off - delay;
		held->longest_at = !held->longest_at;
	}
}

/* At the beginning of a run of the current thread. */
static __always_inline void begin_held(struct held_state *held)
{
	struct task_struct___held *task = (void *)bpf_get_current_task();

	held->delay_at_begin = BPF_CORE_READ(task, sched_info.run_delay);
	held->user_at_begin = BPF_CORE_READ(task, utime);
	held->system_at_begin = BPF_CORE_READ(task, stime);
	held->off_cpu = 0;
	held->off_since = 0;
	held->last_off = 0;
	held->longest = 0;
}

static __always_inline void settle_now(struct held_state *held)
{
	struct task_struct___held *task = (void *)bpf_get_current_task();

	settle(held, BPF_CORE_READ(task, sched_info.run_delay));
}

/* At the end of a run of the current thread, once it is settled. */
static __always_inline void fill_held(struct held *to, struct held_state *held)
{
	struct task_struct___held *task = (void *)bpf_get_current_task();
	__u64 run_delay = BPF_CORE_READ(task, sched_info.run_delay);
	struct block *block = longest_block(held);

	to->off_cpu = held->off_cpu;
	to->runnable = run_delay - held->delay_at_begin;
	/* They are of different clocks. */
	if (to->runnable > to->off_cpu)
		to->runnable = to->off_cpu;
	to->user = BPF_CORE_READ(task, utime) - held->user_at_begin;
	to->system = BPF_CORE_READ(task, stime) - held->system_at_begin;
	to->longest = held->longest;
	to->syscall = block->syscall;
	to->kernel_size = held->longest ? block->kernel_size : 0;
	__builtin_memcpy(to->kernel, block->kernel, sizeof(to->kernel));
}

/* The number of the system call that a task is in; negative if it is in none. */
static __always_inline __s32 syscall_of(struct task_struct___held *task)
{
	/* dd6e10fbd9fb ("bpf: Add bpf_task_pt_regs() helper", Linux 5.15) */
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return -1;
#if defined(__TARGET_ARCH_x86)
	return ((struct pt_regs *)bpf_task_pt_regs((void *)task))->orig_ax;
#else
	return ((struct pt_regs___arm64 *)bpf_task_pt_regs((void *)task))->syscallno;
#endif
}

static __always_inline struct held_state *in_run(struct task_struct___held *task)
{
	__u32 tid = task->pid;
	struct thread_state *thread = bpf_map_lookup_elem(&threads, &tid);

	if (!thread || thread->kind != KIND_RUN)
		return NULL;
	return bpf_map_lookup_elem(&held_states, &tid);
}

static __always_inline void leave_cpu(__u64 *ctx, struct task_struct___held *task, __u64 now)
{
	struct task_struct___until_5_14 *old = (void *)task;
	struct held_state *held = in_run(task);
	struct block *block;

	if (!held)
		return;
	settle(held, task->sched_info.run_delay);
	held->delay_at_off = task->sched_info.run_delay;
	/* ctx[0]: whether it was preempted. */
	if (bpf_core_field_exists(task->__state))
		held->blocked = !(ctx[0] & 0xff) && task->__state;
	else
		held->blocked = !(ctx[0] & 0xff) && old->state;
	if (held->blocked) {
		block = &held->blocks[!(held->longest_at & 1)];
		block->syscall = syscall_of(task);
		block->kernel_size = bpf_get_stack(ctx, block->kernel, sizeof(block->kernel), 0);
		block->user_size = 0;
		if (targ_stack) {
			block->user_size = bpf_get_stack(ctx, block->user, sizeof(block->user),
							 BPF_F_USER_STACK);
			copy_stack(task->pid, SLOT_BLOCK + !(held->longest_at & 1), ctx, 0);
		}
	}
	held->off_since = now;
}

static __always_inline void enter_cpu(struct task_struct___held *task, __u64 now)
{
	struct held_state *held = in_run(task);

	if (!held || !held->off_since)
		return;
	held->last_off = now - held->off_since;
	held->off_cpu += held->last_off;
	held->off_since = 0;
}

/* Every switch of every CPU comes here, so nothing comes before the look at who is switched. */
SEC("tp_btf/sched_switch")
int switched(__u64 *ctx)
{
	struct task_struct___held *prev = (void *)ctx[1], *next = (void *)ctx[2];
	__u32 tgid = switched_tgid;
	__u64 now;

	/* Idle threads have the number 0. */
	if ((prev->tgid != tgid && next->tgid != tgid) || !tgid)
		return 0;
	now = bpf_ktime_get_ns();
	if (prev->tgid == tgid)
		leave_cpu(ctx, prev, now);
	if (next->tgid == tgid)
		enter_cpu(next, now);
	return 0;
}

#endif /* __HELD_BPF_H__ */

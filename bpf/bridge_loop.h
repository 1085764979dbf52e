/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/bridge_loop.bpf.c and user space share. */
#ifndef __BRIDGE_LOOP_H__
#define __BRIDGE_LOOP_H__

#include "event.h"

/* What a thread that loops does; the index into what is kept of each. */
enum interval_kind {
	KIND_RUN = 0, /* main:run_start to main:poll_block, or what lies between two poll() */
	KIND_WAIT = 1, /* main:poll_block to the next main:run_start, or a poll() */
	KINDS = 2,
};

/* The threads of ovs-vswitchd that loop; the index into what is kept of each group. */
enum thread_group {
	GROUP_MAIN = 0,
	GROUP_HANDLER = 1,
	GROUP_REVALIDATOR = 2,
	GROUP_OTHER = 3,
	GROUPS = 4,
};

enum bridge_loop_limit {
	/*
	 * Log-linear buckets of a time in units of 1000/1024 ns, so that 2^10
	 * units are a microsecond and each power of two of microseconds begins
	 * a bucket: below 2^SUB_BITS units one bucket a unit, above it
	 * 2^SUB_BITS buckets for each power of two. A time above 2^MAX_BITS
	 * units (over two years) is counted as that.
	 */
	SUB_BITS = 5,
	MAX_BITS = 56,
	BUCKETS = (MAX_BITS - SUB_BITS + 1) << SUB_BITS,
	/*
	 * The buckets of bridge_loop.bt: this many, of 1 ms for runs and of 30
	 * ms for waits, and one more for all that is longer.
	 */
	LINEAR_BUCKETS = 1000,
	/* Threads that can be timed. */
	MAX_THREADS = 1024,
	/* Of a stack. */
	MAX_FRAMES = 64,
	/* The innermost ones of a stack in the kernel. */
	KERNEL_FRAMES = 24,
	/* Bytes of a stack that are copied at most. */
	STACK_COPY = 16384,
	/* head.kind of a struct stack_copy, which is no interval. */
	KIND_STACK_COPY = 2,
#if defined(__TARGET_ARCH_arm64)
	/* Of struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h): sp, and pstate, which says where it was. */
	USER_REGS = 34,
	USER_SP = 31,
	USER_MODE = 33,
#else
	/* Of struct pt_regs (arch/x86/include/uapi/asm/ptrace.h): sp, and cs. */
	USER_REGS = 21,
	USER_SP = 19,
	USER_MODE = 17,
#endif
};

/* When the stack of a run was taken. */
enum stack_at {
	STACK_AT_THRESHOLD = 0, /* at the first tick of its CPU time past the threshold */
	STACK_AT_END = 1,
	STACK_AT_BLOCK = 2, /* when it blocked for the longest time */
};

/* Why something is missing: indices of lost[]. */
enum bridge_loop_lost {
	LOST_LINE_RING_FULL = 0, /* a line; the interval is counted */
	LOST_PROBE_NO_THREAD = 1, /* a probe of a thread beyond MAX_THREADS */
	LOST_SKIPPED = 2, /* a program that the kernel skipped; user space counts it */
	LOST_REASONS = 3,
};

/* What a thread does now, and what it did. Only that thread writes it. */
struct thread_state {
	__u64 since; /* ns, CLOCK_MONOTONIC: when it began what it does now; 0: not known, and nothing else either */
	__u32 kind; /* enum interval_kind */
	__s32 stack_size; /* bytes in stack; 0: no sample; or a negative errno */
	__u32 group; /* enum thread_group */
	__u16 looking; /* in a poll() that ends no run */
	__u16 interrupted; /* a signal has interrupted the poll() of this wait */
	/* of all that was counted, by kind; ns */
	__u64 sum[KINDS];
	__u64 min[KINDS];
	__u64 max[KINDS];
	__u64 count[KINDS];
	/* how many of these get a line */
	__u64 lines[KINDS];
	/* The stack of the first sample of this run past the threshold. */
	__u64 stack[MAX_FRAMES];
};

/* A time that a thread spent blocked. */
struct block {
	__s32 syscall; /* its number; negative: none */
	__s32 kernel_size; /* bytes in kernel, or a negative errno */
	__s32 user_size; /* bytes in user; 0: none asked for; or a negative errno */
	__u32 unused;
	__u64 kernel[KERNEL_FRAMES];
	__u64 user[MAX_FRAMES];
};

/* What held up the run that a thread is in; ns. */
struct held_state {
	/* of the thread, when the run began */
	__u64 delay_at_begin; /* sched_info.run_delay */
	__u64 user_at_begin, system_at_begin; /* utime, stime */
	__u64 off_cpu; /* how long it was not running */
	__u64 off_since; /* when it left the CPU; 0: it is running */
	__u64 delay_at_off; /* run_delay at that time */
	__u64 last_off; /* how long the last time took whose kind is not known yet; 0: none */
	__u64 longest; /* of its blocks */
	__u32 longest_at; /* index in blocks; the other one is the last */
	__u32 blocked; /* it left the CPU to wait for something, not for a CPU */
	struct block blocks[2];
};

/* What held up a run that ended; ns. */
struct held {
	__u64 off_cpu; /* how long it was not running */
	__u64 runnable; /* how much of that it waited for a CPU */
	/* of the clock's ticks in it, how many hit the thread in user space and in the kernel */
	__u64 user, system;
	__u64 longest; /* time that it was blocked without a break */
	/* of that time; 0 and without meaning if longest is 0 */
	__s32 syscall; /* its number; negative: none */
	__s32 kernel_size; /* bytes in kernel, or a negative errno */
	__u64 kernel[KERNEL_FRAMES];
};

/* A thread's stack. It is sent before the record of the run that it was taken in. */
struct stack_copy {
	struct event_head head;
	__u32 size; /* bytes that follow, from the stack pointer upwards */
	__u32 unused;
	__u64 regs[USER_REGS];
};

/* An interval that ended. */
struct loop_record {
	struct event_head head; /* of its end; kind is an enum interval_kind */
	__u64 duration; /* ns */
	/* bytes of the stack; 0: none; or a negative errno */
	__s32 stack_size;
	/* The beginning was not seen: duration is 0, and nothing was counted. */
	__u16 unseen;
	__u16 stack_at; /* enum stack_at */
	__u16 group; /* enum thread_group */
	__u16 has_held;
	__u32 has_copy; /* a struct stack_copy of the thread was sent before */
	__u8 data[]; /* a struct held, if has_held; then the stack */
};

BINDINGS(enum, thread_group);
BINDINGS(enum, stack_at);
BINDINGS(struct, held);
BINDINGS(enum, interval_kind);
BINDINGS(enum, bridge_loop_lost);
BINDINGS(enum, bridge_loop_limit);
BINDINGS(struct, stack_copy);
BINDINGS(struct, loop_record);

#endif /* __BRIDGE_LOOP_H__ */

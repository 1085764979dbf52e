/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/bridge_loop.bpf.c and src/ share. */
#ifndef __BRIDGE_LOOP_H__
#define __BRIDGE_LOOP_H__

/* What the main loop does; an index of what is kept for each. */
enum interval_kind {
	KIND_RUN = 0, /* main:run_start to main:poll_block */
	KIND_WAIT = 1, /* main:poll_block to the next main:run_start */
	KINDS = 2,
};

/*
 * Log-linear buckets of a time in units of 1000/1024 ns, so that 2^10 units
 * are a microsecond and each power of two of microseconds begins a bucket:
 * below 2^SUB_BITS units one bucket a unit, above it 2^SUB_BITS buckets for
 * each power of two. Longer than 2^MAX_BITS units (over two years) is counted
 * as that.
 */
#define SUB_BITS 5
#define MAX_BITS 56
#define BUCKETS ((MAX_BITS - SUB_BITS + 1) << SUB_BITS)

/*
 * The buckets of bridge_loop.bt: LINEAR_BUCKETS of 1 ms for runs and of 30 ms
 * for waits, and one for all that is longer.
 */
#define LINEAR_BUCKETS 1000

/* Threads that can be timed. */
#define MAX_THREADS 1024

/* Why something is missing: indices of lost[]. */
enum bridge_loop_lost {
	LOST_LINE_RING_FULL = 0, /* a line; the interval is counted */
	LOST_PROBE_NO_THREAD = 1, /* a probe of a thread beyond MAX_THREADS */
	LOST_REASONS = 2,
};

#define MAX_FRAMES 64

/* What a thread does now, and what it did. Only that thread writes it. */
struct thread_state {
	__u64 since; /* ns, CLOCK_MONOTONIC: when it began what it does now */
	__u32 kind; /* enum interval_kind */
	__s32 stack_size; /* bytes in stack; 0: no sample; or a negative errno */
	/* of all that was counted, by kind; ns */
	__u64 sum[KINDS];
	__u64 min[KINDS];
	__u64 max[KINDS];
	__u64 count[KINDS];
	/* of these, how many deserve a line */
	__u64 lines[KINDS];
	/* The stack of the first sample of this run past the threshold. */
	__u64 stack[MAX_FRAMES];
};

/* An interval that ended. */
struct loop_record {
	__u64 end; /* ns, CLOCK_MONOTONIC */
	__u64 duration; /* ns */
	__u32 pid;
	__u32 tid;
	__u32 kind; /* enum interval_kind */
	/* Nobody saw it begin: the duration is 0, and nothing was counted. */
	__u32 unseen;
	/* bytes in stack; 0: none; or a negative errno */
	__s32 stack_size;
	/* The stack was taken when the run had ended. */
	__u32 stack_at_end;
	char comm[16];
	__u64 stack[];
};

#endif /* __BRIDGE_LOOP_H__ */

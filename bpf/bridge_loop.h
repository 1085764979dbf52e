/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/bridge_loop.bpf.c and user space share. */
#ifndef __BRIDGE_LOOP_H__
#define __BRIDGE_LOOP_H__

#include "event.h"

/* What the main loop does; the index into what is kept of each. */
enum interval_kind {
	KIND_RUN = 0, /* main:run_start to main:poll_block */
	KIND_WAIT = 1, /* main:poll_block to the next main:run_start */
	KINDS = 2,
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
	__u64 since; /* ns, CLOCK_MONOTONIC: when it began what it does now */
	__u32 kind; /* enum interval_kind */
	__s32 stack_size; /* bytes in stack; 0: no sample; or a negative errno */
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

/* An interval that ended. */
struct loop_record {
	struct event_head head; /* of its end; kind is an enum interval_kind */
	__u64 duration; /* ns */
	/* bytes in stack; 0: none; or a negative errno */
	__s32 stack_size;
	/* The beginning was not seen: duration is 0, and nothing was counted. */
	__u16 unseen;
	/* The stack was taken when the run had ended. */
	__u16 stack_at_end;
	__u64 stack[];
};

BINDINGS(enum, interval_kind);
BINDINGS(enum, bridge_loop_lost);
BINDINGS(enum, bridge_loop_limit);
BINDINGS(struct, loop_record);

#endif /* __BRIDGE_LOOP_H__ */

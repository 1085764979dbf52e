/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the records of all tools have in common. */
#ifndef __EVENT_H__
#define __EVENT_H__

#include "bindings.h"

/* The first member of each record. */
struct event_head {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	/* of the current task; in a softirq that is whichever was interrupted */
	__u32 pid;
	__u32 tid;
	__u32 cpu;
	__u16 kind; /* an enum of the tool */
	__u16 target; /* index of the daemon; 0 if the tool traces one */
	char comm[16];
};

/* The most bytes of each that a record carries. */
enum capture_limit {
	MAX_PACKET = 65535,
	MAX_KEY = 2048,
};

BINDINGS(enum, capture_limit);

/*
 * What a record has of a flow key and of a packet. Its data begin with the
 * bytes of the key. Those of the packet follow, with what lay between the two
 * in the traced process if one read fetched both.
 */
struct captured {
	/* sizes in the traced process, or in the kernel */
	__u32 packet_size;
	__u32 key_size;
	/* bytes in data */
	__u32 packet_len;
	__u32 key_len;
	__u32 packet_at; /* where in data the packet begins */
	/* 0, or the errno (negative) with which reading it failed */
	__s16 packet_error;
	__s16 key_error;
};

#endif /* __EVENT_H__ */

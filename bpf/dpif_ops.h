/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/dpif_ops.bpf.c and user space share. */
#ifndef __DPIF_OPS_H__
#define __DPIF_OPS_H__

#include "event.h"

/* The probes of dpif_netlink_operate__, lib/dpif-netlink.c of Open vSwitch. */
enum dpif_op {
	OP_FLOW_PUT = 0,
	OP_FLOW_DEL = 1,
	OP_FLOW_GET = 2,
	OP_FLOW_EXECUTE = 3,
	OPS = 4,
};

/* Why an operation was not delivered: indices of lost[]. */
enum dpif_ops_lost {
	LOST_RING_FULL = 0,
	LOST_ARGUMENTS = 1, /* the request could not be found in the daemon's memory */
	LOST_SKIPPED = 2, /* user space counts it */
	LOST_REASONS = 3,
};

/* The most that a record carries: a packet of 64 KiB, and 16 KiB of what else a request has. */
enum dpif_ops_limit {
	MAX_REQUEST = 81920,
};

/* One operation. */
struct dpif_op_record {
	struct event_head head; /* kind is an enum dpif_op */
	__u32 size; /* bytes of the request in the daemon */
	__u32 len; /* bytes in data */
	__s32 error; /* 0, or the errno (negative) with which reading the request failed */
	__u32 pad;
	__u8 data[]; /* the request, from its struct nlmsghdr on */
};

BINDINGS(enum, dpif_op);
BINDINGS(enum, dpif_ops_lost);
BINDINGS(enum, dpif_ops_limit);
BINDINGS(struct, dpif_op_record);

#endif /* __DPIF_OPS_H__ */

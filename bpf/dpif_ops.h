/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/dpif_ops.bpf.c and user space share. */
#ifndef __DPIF_OPS_H__
#define __DPIF_OPS_H__

#include "event.h"

/* What a record is of. */
enum dpif_op {
	/* a request at a probe of dpif_netlink_operate__, lib/dpif-netlink.c of Open vSwitch */
	OP_FLOW_PUT = 0,
	OP_FLOW_DEL = 1,
	OP_FLOW_GET = 2,
	OP_FLOW_EXECUTE = 3,
	OPS = 4, /* how many probes there are */
	/* a request that the kernel has handled, with the first chunk of the answer if it begins a dump */
	OP_REQUEST = 4,
	/* another chunk of a dump, which the daemon has read */
	OP_CHUNK = 5,
};

/* The families of generic netlink by which the datapath is asked: indices of targ_families[]. */
enum dpif_family {
	FAMILY_FLOW = 0,
	FAMILY_PACKET = 1,
	FAMILY_DATAPATH = 2,
	FAMILY_VPORT = 3,
	FAMILY_METER = 4,
	FAMILY_CT_LIMIT = 5,
	FAMILIES = 6,
};

/* Why an operation was not delivered: indices of lost[]. */
enum dpif_ops_lost {
	LOST_RING_FULL = 0,
	LOST_ARGUMENTS = 1, /* the request could not be found in the daemon's memory */
	/* a return probe did not fire, or too many threads are in the kernel at once */
	LOST_END = 2,
	LOST_SKIPPED = 3, /* user space counts it */
	LOST_REASONS = 4,
};

/* The most that a record carries: a packet of 64 KiB, and 16 KiB of what else a request has. */
enum dpif_ops_limit {
	MAX_REQUEST = 81920,
	MAX_DUMP_REQUEST = 256, /* the same of a request of which another chunk was read */
};

/* Messages of a chunk, if it is not their number. */
enum dpif_messages {
	NO_CHUNK = 0xffffffff, /* there is no chunk */
	UNCOUNTED = 0xfffffffe,
};

/* What the kernel has done. All of it is 0 in a record of a probe. */
struct handled {
	__u64 duration; /* ns; the time in the head is when it began */
	__s32 result; /* what genl_rcv_msg() returned: 0 or an errno (negative); 0 for another chunk */
	__u32 messages; /* in the chunk of a dump: a number, or an enum dpif_messages */
	__s32 chunk; /* the bytes of these, or the errno (negative) with which the dump failed */
	__u16 flags; /* nlmsghdr.nlmsg_flags */
	__u8 family; /* an enum dpif_family */
	__u8 command; /* genlmsghdr.cmd */
};

/* One operation. */
struct dpif_op_record {
	struct event_head head; /* kind is an enum dpif_op */
	__u32 size; /* bytes of the request */
	__u32 len; /* bytes in data */
	__s32 error; /* 0, or the errno (negative) with which reading the request failed */
	__u32 pad;
	struct handled handled;
	__u8 data[]; /* the request, from its struct nlmsghdr on */
};

BINDINGS(enum, dpif_op);
BINDINGS(enum, dpif_family);
BINDINGS(enum, dpif_ops_lost);
BINDINGS(enum, dpif_ops_limit);
BINDINGS(enum, dpif_messages);
BINDINGS(struct, dpif_op_record);

#endif /* __DPIF_OPS_H__ */

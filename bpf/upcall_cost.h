/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/upcall_cost.bpf.c and user space share. */
#ifndef __UPCALL_COST_H__
#define __UPCALL_COST_H__

#include "event.h"

/* The events, numbered as in the files of upstream's upcall_cost.py up to EVENT_OVS_PKT_EXEC. */
enum cost_event {
	EVENT_RECV_UPCALL = 0, /* dpif_recv:recv_upcall */
	/* queue_userspace_packet() begins: one packet, or one segment of it, leaves the datapath. */
	EVENT_DP_UPCALL = 1,
	EVENT_OP_FLOW_PUT = 2, /* dpif_netlink_operate__:op_flow_put */
	EVENT_OP_FLOW_EXECUTE = 3, /* dpif_netlink_operate__:op_flow_execute */
	/* ovs_packet_cmd_execute() begins, in the thread that asked for it. */
	EVENT_OVS_PKT_EXEC = 4,
	/* The upcall of that CPU and sk_buff failed: queue_userspace_packet() returned an error. */
	EVENT_DP_FAILED = 5,
	/* netlink_unicast() begins to give the message of an upcall to the socket; only with the kernel as the source. */
	EVENT_DP_QUEUED = 6,
	EVENTS = 7,
};

/*
 * Indices of lost[]: the events that the ring had no room for, by kind but for
 * DP_QUEUED, which came later and must not change what recordings say.
 */
enum cost_lost {
	LOST_ARGUMENTS = 6, /* what the daemon, or a message, has in memory could not be read */
	LOST_QUEUED = 7, /* the ring had no room for a DP_QUEUED */
	LOST_THREADS = 8, /* too many threads send at once: what one message asks for */
	LOST_END = 9, /* a return probe did not fire */
	LOST_SKIPPED = 10, /* user space counts it */
	LOST_REASONS = 11,
};

/* The arguments that are fetched of each probe of dpif_netlink_operate__: lib/dpif-netlink.c of Open vSwitch. */
enum op_flow_put_arg {
	ARG_REQUEST = 0, /* struct ofpbuf *, the fourth */
	OP_FLOW_PUT_ARGS = 1,
};
enum op_flow_execute_arg {
	ARG_EXECUTE_PACKET = 0, /* void *, the third */
	ARG_EXECUTE_SIZE = 1, /* uint32_t, the fourth */
	OP_FLOW_EXECUTE_ARGS = 2,
};

/*
 * One event. A field that an event does not have is 0 or empty.
 *
 * With the kernel as the source, RECV_UPCALL is skb:skb_copy_datagram_iovec;
 * OP_FLOW_PUT and OP_FLOW_EXECUTE come when genl_rcv_msg() has returned, and
 * the time in their head is when the netlink_sendmsg() around it began.
 */
struct cost_record {
	struct event_head head; /* kind is an enum cost_event */
	/*
	 * DP_UPCALL, DP_FAILED, DP_QUEUED: address of the packet, which joins
	 * them, and has no other use. 0 in DP_FAILED: the upcall failed in ovs_dp_upcall()
	 * before anything was queued (nobody listens, a packet cannot be
	 * segmented), so that it has no DP_UPCALL.
	 */
	__u64 skb;
	/* RECV_UPCALL, DP_UPCALL, DP_FAILED: enum dpif_upcall_type, 0 a miss, 1 an action */
	__u32 type;
	__s32 result; /* DP_FAILED: a negative errno; OP_*, with the kernel as the source: 0 or such a one */
	__u32 port; /* DP_UPCALL, DP_FAILED: in_port of the flow key */
	__u32 portid; /* DP_*: the netlink port that it is sent to */
	/*
	 * DP_UPCALL: where in the packet a checksum is that the kernel fills
	 * in after this event; 0: none
	 */
	__u32 unfinished_checksum;
	__u32 checksum_size; /* of the unfinished one: 2, or 4 of SCTP */
	/*
	 * The packet as it is queued (with its VLAN tag, truncated), received
	 * or executed. The flow key, or the attributes (OVS_FLOW_ATTR_*) of
	 * the request of OP_FLOW_PUT.
	 */
	struct captured captured;
	/* RECV_UPCALL: dpif->full_name, system@ovs-system; DP_UPCALL, DP_FAILED: the same */
	char datapath[32];
	char device[16]; /* DP_*: name of the device that the packet came from */
	/* From here on: what only the kernel as the source knows. */
	__u64 message; /* DP_QUEUED, RECV_UPCALL: address of the message, which joins the two */
	/* OP_*: when genl_rcv_msg() began with the request; OVS_PKT_EXEC: the same of the request that it is in */
	__u64 begun;
	__u64 ended; /* OP_*: when it returned */
	__u32 dp_ifindex; /* RECV_UPCALL: number of the datapath, in place of its name */
	__u32 unused;
	__u8 data[];
};

BINDINGS(enum, cost_event);
BINDINGS(enum, cost_lost);
BINDINGS(enum, op_flow_put_arg);
BINDINGS(enum, op_flow_execute_arg);
BINDINGS(struct, cost_record);

#endif /* __UPCALL_COST_H__ */

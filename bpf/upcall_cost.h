/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/upcall_cost.bpf.c and src/ share. */
#ifndef __UPCALL_COST_H__
#define __UPCALL_COST_H__

/* The events, numbered as in the files of upstream's upcall_cost.py up to EVENT_OVS_PKT_EXEC. */
enum cost_event {
	EVENT_RECV_UPCALL = 0, /* dpif_recv:recv_upcall */
	/* queue_userspace_packet() begins: one packet, or one segment of it, leaves the datapath. */
	EVENT_DP_UPCALL = 1,
	EVENT_OP_FLOW_PUT = 2, /* dpif_netlink_operate__:op_flow_put */
	EVENT_OP_FLOW_EXECUTE = 3, /* dpif_netlink_operate__:op_flow_execute */
	EVENT_OVS_PKT_EXEC = 4, /* ovs_packet_cmd_execute() begins, in the thread that asked for it */
	/* The upcall of that CPU and sk_buff failed: queue_userspace_packet() returned an error. */
	EVENT_DP_FAILED = 5,
	EVENTS = 6,
};

/*
 * Indices of lost[]: the events that the ring had no room for, by kind, then
 * those of the daemon that were given up since an argument in memory could
 * not be read.
 */
#define LOST_ARGUMENTS EVENTS
#define LOST_REASONS (EVENTS + 1)

/* Different argument strings that the sites of a probe may have; the cookie of a site says which. */
#define MAX_SPECS 8
/* The arguments that are fetched. */
enum recv_upcall_arg { /* all of them, lib/dpif.c of Open vSwitch */
	ARG_DATAPATH = 0, /* char *, dpif->full_name */
	ARG_TYPE = 1, /* enum dpif_upcall_type */
	ARG_PACKET = 2, /* void * */
	ARG_PACKET_SIZE = 3, /* uint32_t */
	ARG_KEY = 4, /* struct nlattr * */
	ARG_KEY_SIZE = 5, /* size_t */
	RECV_UPCALL_ARGS = 6,
};
enum op_flow_put_arg { /* lib/dpif-netlink.c */
	ARG_REQUEST = 0, /* struct ofpbuf *, the fourth */
	OP_FLOW_PUT_ARGS = 1,
};
enum op_flow_execute_arg {
	ARG_EXECUTE_PACKET = 0, /* void *, the third */
	ARG_EXECUTE_SIZE = 1, /* uint32_t, the fourth */
	OP_FLOW_EXECUTE_ARGS = 2,
};

/* The most that a record carries. */
#define MAX_PACKET 65535
#define MAX_KEY 2048

/* One event. What an event does not have is 0 or empty. */
struct cost_record {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	/*
	 * DP_UPCALL, DP_FAILED: its address, which joins the two; nothing else.
	 * 0 in DP_FAILED: the upcall failed in ovs_dp_upcall() before anything
	 * was queued (nobody listens, a packet cannot be segmented), and there
	 * is no DP_UPCALL of it.
	 */
	__u64 skb;
	__u32 event; /* enum cost_event */
	__u32 pid; /* of the current task: in softirq whichever it interrupted */
	__u32 tid;
	__u32 cpu;
	/* RECV_UPCALL, DP_UPCALL, DP_FAILED: enum dpif_upcall_type, 0 a miss, 1 an action */
	__u32 type;
	__s32 result; /* DP_FAILED: a negative errno */
	__u32 port; /* DP_UPCALL, DP_FAILED: in_port of the flow key */
	__u32 portid; /* DP_UPCALL, DP_FAILED: the netlink port that it is sent to */
	/*
	 * Sizes in the kernel or the traced process: of the packet as it is
	 * queued (VLAN tag in it, truncated), received or executed; of the
	 * flow key, or of the attributes (OVS_FLOW_ATTR_*) of the request of
	 * OP_FLOW_PUT.
	 */
	__u32 packet_size;
	__u32 key_size;
	/* bytes in data; fewer of a packet that is in pages */
	__u32 packet_len;
	__u32 key_len;
	/*
	 * DP_UPCALL: where in the packet a checksum is that the kernel fills
	 * in after this event; 0: none
	 */
	__u32 unfinished_checksum;
	/* 0, or the errno (negative) with which reading it failed */
	__s32 packet_error;
	__s32 key_error;
	char comm[16];
	/* RECV_UPCALL: dpif->full_name, system@ovs-system; DP_*: the same */
	char datapath[32];
	char device[16]; /* DP_*: name of the device that the packet came from */
	__u32 checksum_size; /* of the unfinished one: 2, or 4 of SCTP */
	__u8 data[]; /* the key's bytes first, then the packet's */
};

#endif /* __UPCALL_COST_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/upcall_monitor.bpf.c and user space share. */
#ifndef __UPCALL_MONITOR_H__
#define __UPCALL_MONITOR_H__

#include "event.h"

enum upcall_monitor_limit {
	MAX_PORTS = 64, /* ports asked for, of all daemons together */
	MAX_FLOWS = 16384, /* flows that upcalls are counted by which are not sent */
	MAX_DATAPATHS = 16, /* datapaths with a name, of all daemons together */
};

/* Why an upcall was not delivered: indices of lost[]. */
enum lost_reason {
	LOST_RING_FULL = 0,
	LOST_ARGUMENTS = 1, /* an argument in memory could not be read */
	LOST_SKIPPED = 2, /* user space counts it */
	LOST_REASONS = 3,
};

enum unknown {
	NO_PORT = 0xffffffff, /* in place of a port: it is not known */
};

/* What a packet begins with. */
enum packet_link {
	LINK_UNKNOWN = 0, /* so it is in recordings from before it was recorded */
	LINK_ETHERNET = 1, /* an Ethernet header */
	LINK_NETWORK = 2, /* what follows an Ethernet header: it has none */
};

/* Where the packet of a failed upcall came from; as in struct flow_id. */
struct failed_from {
	char device[16];
	__u32 port;
	__u16 eth_type; /* also that of LINK_NETWORK */
	__u8 proto;
	__u8 link; /* enum packet_link */
	__u8 src[16];
	__u8 dst[16];
};

/*
 * One upcall. An upcall that failed in the kernel has a struct failed_from in
 * place of a flow key, though key_size is 0.
 */
struct upcall_record {
	/*
	 * kind is an enum dpif_upcall_type (lib/dpif.h of Open vSwitch): 0 is
	 * a miss, 1 an action. The current task has nothing to do with an
	 * upcall that failed.
	 */
	struct event_head head;
	__s32 result; /* 0, or the errno (negative) with which it failed in the kernel */
	__u32 paged; /* bytes of the packet in pages, which are not captured */
	struct captured captured;
	char datapath[32]; /* empty: could not be read, or see dp_ifindex */
	__u32 dp_ifindex; /* number of the datapath; 0: not known */
	/*
	 * Where in data the other attributes of the message begin, which end
	 * with the header of OVS_PACKET_ATTR_PACKET before the packet; 0: they
	 * are not known.
	 */
	__u32 attributes_at;
	__u8 data[];
};

/* Where an upcall came from, as its flow key says. Addresses are those of IPv4, IPv6 or ARP. */
struct flow_source {
	__u32 port; /* NO_PORT: not known */
	__u16 eth_type; /* as on the wire, of the innermost frame; 0: not known */
	__u8 proto; /* of IP */
	__u8 folded; /* there were too many flows: this one stands for several, without their addresses */
	__u8 src[16];
	__u8 dst[16];
};

/* By which lost upcalls are counted. */
struct flow_id {
	char datapath[32];
	__u32 dp_ifindex; /* number of a datapath without a name; else 0 */
	__u32 target;
	__u32 tid; /* the handler thread; 0 if the upcall failed in the kernel */
	__s32 result;
	__u32 type;
	struct flow_source from;
};

/* By which upcalls are counted that are not sent. It is short, for it is hashed each time. */
struct counted_flow {
	__u32 dp_ifindex;
	__u32 target;
	__u32 tid;
	/* Of userdata: its first two bytes, and eight of what depends on them, which has the reason. */
	__u32 userdata_detail[2];
	__u16 userdata_type;
	__u16 userdata_size; /* bytes of OVS_PACKET_ATTR_USERDATA; 0: there is none */
	__u32 type;
	struct flow_source from;
};

/*
 * Where the detail begins, in userdata of a size: struct user_action_cookie of
 * lib/odp-util.h in Open vSwitch, and the union that it was before 2.9.
 */
enum userdata_layout {
	USERDATA_STRUCT_SIZE = 48,
	USERDATA_STRUCT_DETAIL = 24,
};

BINDINGS(enum, upcall_monitor_limit);
BINDINGS(enum, lost_reason);
BINDINGS(enum, unknown);
BINDINGS(enum, packet_link);
BINDINGS(struct, failed_from);
BINDINGS(struct, upcall_record);
BINDINGS(struct, flow_id);
BINDINGS(struct, counted_flow);
BINDINGS(enum, userdata_layout);

#endif /* __UPCALL_MONITOR_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/upcall_monitor.bpf.c and src/ share. */
#ifndef __UPCALL_MONITOR_H__
#define __UPCALL_MONITOR_H__

/* The arguments of dpif_recv:recv_upcall, lib/dpif.c of Open vSwitch. */
enum recv_upcall_arg {
	ARG_DATAPATH = 0, /* char *, dpif->full_name */
	ARG_TYPE = 1, /* enum dpif_upcall_type */
	ARG_PACKET = 2, /* void * */
	ARG_PACKET_SIZE = 3, /* uint32_t */
	ARG_KEY = 4, /* struct nlattr * */
	ARG_KEY_SIZE = 5, /* size_t */
	RECV_UPCALL_ARGS = 6,
};

/* Daemons traced at once. */
#define MAX_TARGETS 8
/* Different argument strings that the sites of the probe may have. */
#define MAX_SPECS 8
/* The cookie of a site: its argument string below, its daemon above. */
#define COOKIE_TARGET_SHIFT 8
#define SPEC_MASK ((1 << COOKIE_TARGET_SHIFT) - 1)

/* Ports that are asked for. */
#define MAX_PORTS 64

/* The most that a record carries. */
#define MAX_PACKET 65535
#define MAX_KEY 2048

/* Why an upcall was not delivered: indices of lost[]. */
enum lost_reason {
	LOST_RING_FULL = 0,
	LOST_ARGUMENTS = 1, /* an argument in memory could not be read */
	LOST_REASONS = 2,
};

#define NO_PORT 0xffffffff

/* Where the packet of a failed upcall came from; as in struct flow_id. */
struct failed_from {
	char device[16];
	__u32 port;
	__u16 eth_type;
	__u8 proto;
	__u8 pad;
	__u8 src[16];
	__u8 dst[16];
};

/*
 * One upcall. In data are the flow key's bytes, then the packet's, with what
 * lay between the two in the traced process if they were read at once. An
 * upcall that failed in the kernel has a struct failed_from instead of a key.
 */
struct upcall_record {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	/* of the current task: that of a failed upcall has nothing to do with it */
	__u32 pid;
	__u32 tid;
	__u32 cpu;
	__u16 type; /* enum dpif_upcall_type */
	__u16 target; /* index of the daemon */
	__s32 result; /* 0, or the errno (negative) with which it failed in the kernel */
	__u32 paged; /* bytes of the packet in pages, which are not captured */
	/* 0, or the errno (negative) with which reading it failed */
	__s16 packet_error;
	__s16 key_error;
	__u32 packet_at; /* where in data the packet begins */
	/* sizes in the traced process; of a failed upcall the packet's in the kernel, and 0 */
	__u32 packet_size;
	__u32 key_size;
	/* bytes in data */
	__u32 packet_len;
	__u32 key_len;
	char comm[16];
	char datapath[32]; /* empty: could not be read */
	__u8 data[];
};

/*
 * Whom an upcall came from; the unit of what is counted. Addresses are those
 * of IPv4, IPv6 or ARP.
 */
struct flow_id {
	char datapath[32];
	__u32 target;
	__u32 tid; /* the handler thread; 0 if the upcall failed in the kernel */
	__s32 result;
	__u32 type;
	__u32 port; /* NO_PORT: not known */
	__u16 eth_type; /* as on the wire, of the innermost frame; 0: not known */
	__u8 proto; /* of IP */
	__u8 folded; /* there were too many: the addresses of several are left out */
	__u8 src[16];
	__u8 dst[16];
};

/* Flows that lost upcalls are counted by. */
#define MAX_LOST_FLOWS 16384

/* Counters of upcalls that a filter kept back: one a cache line, so that CPUs share none. */
#define FILTERED_SLOTS 64
#define FILTERED_STRIDE 8

#endif /* __UPCALL_MONITOR_H__ */

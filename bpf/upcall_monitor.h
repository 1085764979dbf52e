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

/* Different argument strings that the sites of the probe may have. */
#define MAX_SPECS 8

/* The most that a record carries. */
#define MAX_PACKET 65535
#define MAX_KEY 2048

/* Why an upcall was not delivered: indices of lost[]. */
enum lost_reason {
	LOST_RING_FULL = 0,
	LOST_ARGUMENTS = 1, /* an argument in memory could not be read */
	LOST_REASONS = 2,
};

/* One upcall. The key's bytes come first in data, then the packet's. */
struct upcall_record {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	__u32 pid;
	__u32 tid;
	__u32 cpu;
	__u32 type;
	__s32 result;
	/* 0, or the errno (negative) with which reading it failed */
	__s32 datapath_error;
	__s32 packet_error;
	__s32 key_error;
	/* sizes in the traced process */
	__u32 packet_size;
	__u32 key_size;
	/* bytes in data */
	__u32 packet_len;
	__u32 key_len;
	char comm[16];
	char datapath[32];
	__u8 data[];
};

#endif /* __UPCALL_MONITOR_H__ */

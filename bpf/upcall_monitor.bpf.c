// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Captures what dpif_recv:recv_upcall of ovs-vswitchd passes. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "upcall_monitor.h"
#include "ring.bpf.h"
#include "usdt_arg.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* How many of targ_args are used; the cookie of a site says which. */
const volatile __u32 targ_specs = 1;
const volatile struct usdt_arg targ_args[MAX_SPECS][RECV_UPCALL_ARGS];
/* Bytes to capture at most. */
const volatile __u32 targ_packet_size;
const volatile __u32 targ_key_size;

/* Only for the type: user space's bindings are made from it. */
const struct upcall_record *unused_upcall_record __attribute__((unused));

static __always_inline long recv_upcall_args(void *ctx, __u64 *args)
{
	__u64 spec = targ_specs > 1 ? bpf_get_attach_cookie(ctx) : 0;
	long err = 0;

#pragma unroll
	for (int i = 0; i < MAX_SPECS; i++) {
		if (i < targ_specs && spec == i) {
#pragma unroll
			for (int j = 0; j < RECV_UPCALL_ARGS; j++)
				err |= usdt_arg(ctx, &targ_args[i][j], &args[j]);
		}
	}
	return err;
}

static __always_inline int handle_upcall(void *ctx)
{
	__u64 args[RECV_UPCALL_ARGS] = {};
	__u64 key_len, key_room, packet_len, need, room;
	struct upcall_record *record = NULL;
	__u64 pid_tgid;
	long err;

	if (recv_upcall_args(ctx, args)) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}

	key_len = args[ARG_KEY_SIZE];
	if (key_len > targ_key_size)
		key_len = targ_key_size;
	packet_len = args[ARG_PACKET_SIZE];
	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;

	/*
	 * The verifier keeps no relation between two variables: the key's
	 * share of the record must be a constant on each path too.
	 */
#define KEY_STEP(size)							\
	if (key_len <= (size)) {					\
		asm volatile("%0 = %1" : "=r"(key_room) : "i"(size));	\
	} else
	KEY_STEP(0) KEY_STEP(64) KEY_STEP(96) KEY_STEP(112) KEY_STEP(128)
	KEY_STEP(144) KEY_STEP(160) KEY_STEP(192) KEY_STEP(224) KEY_STEP(256)
	KEY_STEP(320) KEY_STEP(384) KEY_STEP(512) KEY_STEP(1024)
	{
		asm volatile("%0 = %1" : "=r"(key_room) : "i"(MAX_KEY));
	}

	need = key_room + packet_len;
#define STEP(size) RING_STEP(sizeof(struct upcall_record), size)
	STEP(64) STEP(96) STEP(128) STEP(160) STEP(192) STEP(224) STEP(256)
	STEP(288) STEP(320) STEP(352) STEP(384) STEP(448) STEP(512) STEP(640)
	STEP(768) STEP(1024) STEP(1280) STEP(1536) STEP(1792) STEP(2048)
	STEP(3072) STEP(4096) STEP(6144) STEP(8192) STEP(12288) STEP(16384)
	STEP(24576) STEP(32768) STEP(49152)
	{
		asm volatile("%0 = %1" : "=r"(room) : "i"(MAX_KEY + MAX_PACKET));
		record = bpf_ringbuf_reserve(&ring,
					     sizeof(struct upcall_record) + MAX_KEY + MAX_PACKET,
					     0);
	}
	if (!record) {
		count_lost(LOST_RING_FULL);
		return 0;
	}

	pid_tgid = bpf_get_current_pid_tgid();
	record->time = bpf_ktime_get_ns();
	record->pid = pid_tgid >> 32;
	record->tid = pid_tgid;
	record->cpu = bpf_get_smp_processor_id();
	record->type = args[ARG_TYPE];
	record->result = 0;
	record->packet_size = args[ARG_PACKET_SIZE];
	record->key_size = args[ARG_KEY_SIZE];
	bpf_get_current_comm(record->comm, sizeof(record->comm));
	err = bpf_probe_read_user_str(record->datapath, sizeof(record->datapath),
				      (void *)args[ARG_DATAPATH]);
	record->datapath_error = err < 0 ? err : 0;
	if (err < 0)
		record->datapath[0] = '\0';

	/* Neither clamp changes anything; they tell the verifier. */
	asm volatile("" : "+r"(key_len));
	if (key_len > key_room)
		key_len = key_room;
	err = bpf_probe_read_user(record->data, key_len, (void *)args[ARG_KEY]);
	record->key_error = err;
	if (err)
		key_len = 0;
	record->key_len = key_len;

	room -= key_room;
	asm volatile("" : "+r"(packet_len));
	if (packet_len > room)
		packet_len = room;
	err = bpf_probe_read_user(record->data + key_len, packet_len, (void *)args[ARG_PACKET]);
	record->packet_error = err;
	if (err)
		packet_len = 0;
	record->packet_len = packet_len;

	ring_submit(record);
	return 0;
}

SEC("uprobe.multi")
int recv_upcall_multi(void *ctx)
{
	return handle_upcall(ctx);
}

SEC("uprobe")
int recv_upcall(void *ctx)
{
	return handle_upcall(ctx);
}

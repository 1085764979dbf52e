/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel does with the requests of ovs-vswitchd. It handles each one
 * in genl_rcv_msg() of net/netlink/genetlink.c, within the sendmsg() of the
 * thread that asks, and before it returns.
 *
 * The answer to a dump is made chunk by chunk, by a function of the module
 * openvswitch: the first chunk in genl_rcv_msg() too, where netlink_dump_start()
 * of net/netlink/af_netlink.c calls for it, and each other one within the
 * recvmsg() of whichever thread reads. So the first chunk belongs to the record
 * of its request, and each other one has a record of its own.
 */
#ifndef __DPIF_OPS_KERNEL_BPF_H__
#define __DPIF_OPS_KERNEL_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "../dpif_ops.h"
#include "../event.bpf.h"
#include "../ring.bpf.h"
#include "../filter.bpf.h"
#include "../process.bpf.h"
#include "../netlink.bpf.h"
#include "../datapath.bpf.h"

struct netlink_callback {
	const void *nlh;
} __attribute__((preserve_access_index));

/* The numbers that the kernel gave to the families; 0 for one that it does not have. */
const volatile __u16 targ_families[FAMILIES];
/* Which commands are wanted: bit n for command n, bit 16 + n for a dump by it. */
const volatile __u32 targ_commands[FAMILIES];

/* include/uapi/linux/netlink.h */
#define NLMSG_HDRLEN 16
#define NLM_F_DUMP 0x300

/* that can be in the kernel at once */
#define MAX_THREADS 1024
/* that are counted of a chunk, which has at most 32 KiB */
#define MAX_MESSAGES 1024

/* A request that a thread is in. */
struct begun_request {
	__u64 time; /* ns */
	const struct datapath_message *message;
	__u64 counting; /* ns, which it took here to count the messages of its first chunk */
	struct handled handled;
	__u32 size;
	__u32 is_filtered; /* a dump that is kept nevertheless, so that its first chunk is known as that */
};

/* A chunk that a thread is in. */
struct begun_chunk {
	__u64 time; /* ns */
	struct sk_buff *skb;
	struct netlink_callback *callback;
	__u32 start; /* of the chunk, in bytes of the skb */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_THREADS);
	__type(key, __u32); /* the thread's id */
	__type(value, struct begun_request);
} requests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_THREADS);
	__type(key, __u32);
	__type(value, struct begun_chunk);
} chunks SEC(".maps");

/* Reads the headers of a message. Returns whether it is one for the datapath. */
static __always_inline int read_message(struct begun_request *request,
					const struct datapath_message *from)
{
	struct datapath_message message = {};
	__u32 i;

	if (bpf_probe_read_kernel(&message, sizeof(message), from)) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
#pragma unroll
	for (i = 0; i < FAMILIES; i++)
		if (targ_families[i] == message.netlink.type)
			break;
	if (i == FAMILIES)
		return 0;
	request->message = from;
	request->size = message.netlink.len;
	request->handled.flags = message.netlink.flags;
	request->handled.family = i;
	request->handled.command = message.generic.cmd;
	request->handled.messages = NO_CHUNK;
	return 1;
}

static __always_inline int is_dump(const struct handled *handled)
{
	return (handled->flags & NLM_F_DUMP) == NLM_F_DUMP;
}

static __always_inline int is_wanted(const struct handled *handled)
{
	__u32 bit = (handled->command & 15) + (is_dump(handled) ? 16 : 0);
	__u32 family = handled->family;

	/* It is: the verifier needs it. */
	asm volatile("" : "+r"(family));
	return family < FAMILIES && targ_commands[family] >> bit & 1 && passes_thread();
}

/* Sends a request with what the kernel did, which ended now; max limits the bytes of its message. */
static __always_inline void send(struct begun_request *request, __u16 op, __u32 target, __u64 max,
				 __u64 now)
{
	__u64 len = request->size, room;
	struct dpif_op_record *record;
	long err;

	if (len > targ_request_size)
		len = targ_request_size;
	if (len > max)
		len = max;
	RING_RESERVE(record, room, len, max);
	if (!record) {
		count_lost(LOST_RING_FULL);
		return;
	}
	fill_head(&record->head, op, target, request->time);
	/* The clamp changes nothing; the verifier needs it. */
	asm volatile("" : "+r"(len));
	if (len > room)
		len = room;
	err = bpf_probe_read_kernel(record->data, len, request->message);
	record->size = request->size;
	record->len = err ? 0 : len;
	record->error = err;
	record->pad = 0;
	record->handled = request->handled;
	record->handled.duration = now - request->time - request->counting;
	ring_submit(record);
}

/*
 * A thread cannot be in two requests. If it was in one already, its end was
 * not seen. The kernel counts that where it skipped a program, but not where a
 * return probe had no room.
 */
static __always_inline int handle_request_begins(const struct datapath_message *message,
						 int has_return_probe)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct begun_request request = {};

	if (current_target() >= targ_targets)
		return 0;
	if (!bpf_map_delete_elem(&requests, &tid) && has_return_probe)
		count_lost(LOST_END);
	if (!read_message(&request, message))
		return 0;
	if (!is_wanted(&request.handled)) {
		filter_out();
		if (!is_dump(&request.handled))
			return 0;
		request.is_filtered = 1;
	}
	request.time = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&requests, &tid, &request, 0) && !request.is_filtered)
		count_lost(LOST_END);
	return 0;
}

/* A thread that is not found began before it was traced, or the loss of its beginning was counted. */
static __always_inline int handle_request_ends(int result)
{
	__u32 tid = bpf_get_current_pid_tgid(), target = current_target();
	__u64 now = bpf_ktime_get_ns();
	struct begun_request *request;

	if (target >= targ_targets)
		return 0;
	request = bpf_map_lookup_elem(&requests, &tid);
	if (!request)
		return 0;
	request->handled.result = result;
	if (!request->is_filtered)
		send(request, OP_REQUEST, target, MAX_REQUEST, now);
	bpf_map_delete_elem(&requests, &tid);
	return 0;
}

static __always_inline int
handle_chunk_begins(struct sk_buff *skb, struct netlink_callback *callback, int has_return_probe)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct begun_chunk chunk = {};

	if (current_target() >= targ_targets)
		return 0;
	if (!bpf_map_delete_elem(&chunks, &tid) && has_return_probe)
		count_lost(LOST_END);
	chunk.skb = skb;
	chunk.callback = callback;
	chunk.start = BPF_CORE_READ(skb, len);
	chunk.time = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&chunks, &tid, &chunk, 0))
		count_lost(LOST_END);
	return 0;
}

/* How many netlink messages are in an skb, which is linear, from byte at on. */
static __always_inline __u32 count_messages(struct sk_buff *skb, __u64 at)
{
	const unsigned char *data = BPF_CORE_READ(skb, data);
	__u32 len = BPF_CORE_READ(skb, len), size = 0;

	for (__u32 messages = 0; messages < MAX_MESSAGES; messages++) {
		if (at >= len)
			return messages;
		if (bpf_probe_read_kernel(&size, sizeof(size), data + at) || size < NLMSG_HDRLEN)
			break;
		at += NLA_ALIGN((__u64)size);
	}
	return UNCOUNTED;
}

static __always_inline int handle_chunk_ends(int result)
{
	__u32 tid = bpf_get_current_pid_tgid(), target = current_target();
	struct begun_request *request, another = {};
	__u64 now = bpf_ktime_get_ns();
	struct begun_chunk *chunk;
	__u32 messages;

	if (target >= targ_targets)
		return 0;
	chunk = bpf_map_lookup_elem(&chunks, &tid);
	if (!chunk)
		return 0;
	messages = count_messages(chunk->skb, chunk->start);
	request = bpf_map_lookup_elem(&requests, &tid);
	if (request) {
		request->handled.chunk = result;
		request->handled.messages = messages;
		request->counting = bpf_ktime_get_ns() - now;
	} else {
		struct netlink_callback *callback = chunk->callback;

		if (read_message(&another, BPF_CORE_READ(callback, nlh))) {
			another.time = chunk->time;
			another.handled.chunk = result;
			another.handled.messages = messages;
			if (is_wanted(&another.handled))
				send(&another, OP_CHUNK, target, MAX_DUMP_REQUEST, now);
			else
				filter_out();
		}
	}
	bpf_map_delete_elem(&chunks, &tid);
	return 0;
}

SEC("fentry/genl_rcv_msg")
int BPF_PROG(request_begins, struct sk_buff *skb, struct datapath_message *message)
{
	return handle_request_begins(message, 0);
}

SEC("fexit/genl_rcv_msg")
int BPF_PROG(request_ends, struct sk_buff *skb, void *message, void *extack, int result)
{
	return handle_request_ends(result);
}

/* Where there are no trampolines (arm64 before Linux 6.4), or no type information. */

SEC("kprobe/genl_rcv_msg")
int BPF_KPROBE(request_begins_kprobe, struct sk_buff *skb, struct datapath_message *message)
{
	return handle_request_begins(message, 1);
}

SEC("kretprobe/genl_rcv_msg")
int BPF_KRETPROBE(request_ends_kprobe, int result)
{
	return handle_request_ends(result);
}

/* The programs at the function of the module that makes a chunk. */
#define CHUNK_PROGRAMS(name, function)                                                      \
	SEC("fentry/" function)                                                             \
	int BPF_PROG(name##_begins, struct sk_buff *skb, struct netlink_callback *callback) \
	{                                                                                   \
		return handle_chunk_begins(skb, callback, 0);                               \
	}                                                                                   \
                                                                                            \
	SEC("fexit/" function)                                                              \
	int BPF_PROG(name##_ends, struct sk_buff *skb, void *callback, int result)          \
	{                                                                                   \
		return handle_chunk_ends(result);                                           \
	}                                                                                   \
                                                                                            \
	SEC("kprobe/" function)                                                             \
	int BPF_KPROBE(name##_begins_kprobe, struct sk_buff *skb,                           \
		       struct netlink_callback *callback)                                   \
	{                                                                                   \
		return handle_chunk_begins(skb, callback, 1);                               \
	}                                                                                   \
                                                                                            \
	SEC("kretprobe/" function)                                                          \
	int BPF_KRETPROBE(name##_ends_kprobe, int result)                                   \
	{                                                                                   \
		return handle_chunk_ends(result);                                           \
	}

CHUNK_PROGRAMS(flow_chunk, "ovs_flow_cmd_dump")
CHUNK_PROGRAMS(datapath_chunk, "ovs_dp_cmd_dump")
CHUNK_PROGRAMS(vport_chunk, "ovs_vport_cmd_dump")

#endif /* __DPIF_OPS_KERNEL_BPF_H__ */

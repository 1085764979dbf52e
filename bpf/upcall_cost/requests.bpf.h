/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel does with the requests of ovs-vswitchd to put a flow or to
 * execute a packet. One sendmsg() of a thread brings several of them, and the
 * kernel handles them one after the other before that returns:
 *
 *	netlink_sendmsg()                      of net/netlink/af_netlink.c
 *	    genl_rcv_msg(), for each request   of net/netlink/genetlink.c
 *	        ovs_packet_cmd_execute()       of net/openvswitch/datapath.c
 *
 * With probes as the source only the last of these is attached to.
 */
#ifndef __COST_REQUESTS_BPF_H__
#define __COST_REQUESTS_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "../upcall_cost.h"
#include "../ring.bpf.h"
#include "../process.bpf.h"
#include "../upcall_message.bpf.h"
#include "record.bpf.h"

/* The number of the family ovs_flow. */
const volatile __u16 targ_flow_family;

/* include/uapi/linux/openvswitch.h */
enum {
	OVS_FLOW_CMD_NEW = 1,
	OVS_FLOW_CMD_SET = 4,
};
enum {
	OVS_PACKET_CMD_EXECUTE = 3,
};

/* A thread of the daemon that is in netlink_sendmsg(). */
struct sender {
	__u64 sent; /* when that began */
	__u64 begun; /* when genl_rcv_msg() began with the request; 0: the thread is in none of those that count */
	__u64 message; /* address of the request */
	__u64 size; /* bytes of it */
	__u64 event; /* OP_FLOW_PUT or OP_FLOW_EXECUTE */
};

#define MAX_SENDERS 4096

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SENDERS);
	__type(key, __u32); /* the thread's id */
	__type(value, struct sender);
} senders SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct socket {
	struct sock *sk;
};

struct genl_info {
	struct nlattr **attrs;
};

#pragma clang attribute pop

static __always_inline int handle_send_begins(__u16 protocol)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct sender sender = {};

	if (protocol != targ_netlink_protocol || current_target() >= targ_targets)
		return 0;
	sender.sent = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&senders, &tid, &sender, 0))
		count_lost(LOST_THREADS);
	return 0;
}

static __always_inline int handle_send_ends(void)
{
	__u32 tid = bpf_get_current_pid_tgid();

	if (current_target() < targ_targets)
		bpf_map_delete_elem(&senders, &tid);
	return 0;
}

static __always_inline struct sender *current_sender(void)
{
	__u32 tid = bpf_get_current_pid_tgid();

	if (current_target() >= targ_targets)
		return NULL;
	return bpf_map_lookup_elem(&senders, &tid);
}

/*
 * A thread that is not found began to send before it was traced, or the loss
 * of that was counted. A thread cannot be in two requests: if it was in one
 * already, a return probe had no room. The kernel does not count that.
 */
static __always_inline int handle_request_begins(const void *from, int has_return_probe)
{
	struct sender *sender = current_sender();
	struct datapath_message message = {};

	if (!sender)
		return 0;
	if (has_return_probe && sender->begun)
		count_lost(LOST_END);
	sender->begun = 0;
	if (bpf_probe_read_kernel(&message, sizeof(message), from)) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	if (message.netlink.type == targ_flow_family &&
	    (message.generic.cmd == OVS_FLOW_CMD_NEW || message.generic.cmd == OVS_FLOW_CMD_SET))
		sender->event = EVENT_OP_FLOW_PUT;
	else if (message.netlink.type == targ_packet_family &&
		 message.generic.cmd == OVS_PACKET_CMD_EXECUTE)
		sender->event = EVENT_OP_FLOW_EXECUTE;
	else
		return 0;
	if (message.netlink.len < sizeof(message))
		return 0;
	sender->message = (__u64)from;
	sender->size = message.netlink.len;
	sender->begun = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void request_fields(struct cost_record *record, const struct sender *sender,
					   int result, __u64 ended)
{
	record->head.time = sender->sent;
	record->begun = sender->begun;
	record->ended = ended;
	record->result = result;
}

/* Copies len bytes to a reservation that has room for them. */
static __always_inline long copy_request(__u8 *to, __u64 len, __u64 room, __u64 from)
{
	asm volatile("" : "+r"(len));
	/* The clamp changes nothing; the verifier needs it. */
	if (len > room)
		len = room;
	return bpf_probe_read_kernel(to, len, (void *)from);
}

static __always_inline int send_put(const struct sender *sender, int result, __u64 ended)
{
	__u64 size = sender->size - sizeof(struct datapath_message), len = size, room;
	struct cost_record *record;
	long err;

	if (len > targ_request_size)
		len = targ_request_size;
	RING_RESERVE(record, room, len, MAX_KEY);
	if (!record) {
		count_lost(EVENT_OP_FLOW_PUT);
		return 0;
	}
	begin_record(record, EVENT_OP_FLOW_PUT);
	request_fields(record, sender, result, ended);
	err = copy_request(record->data, len, room,
			   sender->message + sizeof(struct datapath_message));
	record->captured.key_size = size;
	record->captured.key_error = err;
	record->captured.key_len = err ? 0 : len;
	record->captured.packet_at = record->captured.key_len;
	ring_submit(record);
	return 0;
}

static __always_inline int send_execute(const struct sender *sender, int result, __u64 ended)
{
	__u64 at = sizeof(struct datapath_message), packet_at = 0, size = 0, len, room;
	/* A variable of its own: libbpf would look for a struct sender in the kernel. */
	__u64 message = sender->message;
	struct cost_record *record;
	long err;

	for (int i = 0; i < MAX_PACKET_ATTRS; i++) {
		__u16 attribute;

		if (at + NLA_HDRLEN > sender->size)
			break;
		attribute = READ_AT(message + at, nlattr, nla_len);
		if (attribute < NLA_HDRLEN)
			break;
		if ((READ_AT(message + at, nlattr, nla_type) & NLA_TYPE_MASK) ==
		    OVS_PACKET_ATTR_PACKET) {
			packet_at = at + NLA_HDRLEN;
			size = attribute - NLA_HDRLEN;
			break;
		}
		at += NLA_ALIGN(attribute);
	}
	if (!packet_at || packet_at + size > sender->size) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	len = size;
	if (len > targ_packet_size)
		len = targ_packet_size;
	RING_RESERVE(record, room, len, MAX_PACKET);
	if (!record) {
		count_lost(EVENT_OP_FLOW_EXECUTE);
		return 0;
	}
	begin_record(record, EVENT_OP_FLOW_EXECUTE);
	request_fields(record, sender, result, ended);
	err = copy_request(record->data, len, room, message + packet_at);
	record->captured.packet_size = size;
	record->captured.packet_error = err;
	record->captured.packet_len = err ? 0 : len;
	ring_submit(record);
	return 0;
}

static __always_inline int handle_request_ends(int result)
{
	__u64 ended = bpf_ktime_get_ns();
	struct sender *sender = current_sender();

	if (!sender || !sender->begun)
		return 0;
	if (sender->event == EVENT_OP_FLOW_PUT)
		send_put(sender, result, ended);
	else
		send_execute(sender, result, ended);
	sender->begun = 0;
	return 0;
}

static __always_inline int handle_execute(struct genl_info *info)
{
	struct nlattr **attrs = BPF_CORE_READ(info, attrs);
	struct cost_record *record;
	struct nlattr *packet = NULL;
	__u64 begun = 0;

	if (targ_tgid[0]) {
		/* The kernel is the source. */
		struct sender *sender = current_sender();

		/* The request began before it was traced. */
		if (!sender || !sender->begun)
			return 0;
		begun = sender->begun;
	} else if (bpf_get_current_pid_tgid() >> 32 != traced_pid) {
		return 0;
	}
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(EVENT_OVS_PKT_EXEC);
		return 0;
	}
	begin_record(record, EVENT_OVS_PKT_EXEC);
	record->begun = begun;
	bpf_probe_read_kernel(&packet, sizeof(packet), attrs + OVS_PACKET_ATTR_PACKET);
	if (packet)
		record->captured.packet_size = BPF_CORE_READ(packet, nla_len) - NLA_HDRLEN;
	ring_submit(record);
	return 0;
}

SEC("fentry/netlink_sendmsg")
int BPF_PROG(send_begins, struct socket *socket)
{
	const struct sock *sk = socket->sk;

	return sk ? handle_send_begins(sk->sk_protocol) : 0;
}

SEC("fentry/genl_rcv_msg")
int BPF_PROG(request_begins, struct sk_buff *skb, struct nlmsghdr *message)
{
	return handle_request_begins(message, 0);
}

SEC("fentry/ovs_packet_cmd_execute")
int BPF_PROG(execute, struct sk_buff *skb, struct genl_info *info)
{
	return handle_execute(info);
}

SEC("fexit/genl_rcv_msg")
int BPF_PROG(request_ends, struct sk_buff *skb, struct nlmsghdr *message, void *extack, int result)
{
	return handle_request_ends(result);
}

SEC("fexit/netlink_sendmsg")
int BPF_PROG(send_ends)
{
	return handle_send_ends();
}

/* Where there are no trampolines (arm64 before Linux 6.4). */

SEC("kprobe/netlink_sendmsg")
int BPF_KPROBE(send_begins_kprobe, struct socket *socket)
{
	return handle_send_begins(BPF_CORE_READ(socket, sk, sk_protocol));
}

SEC("kprobe/genl_rcv_msg")
int BPF_KPROBE(request_begins_kprobe, struct sk_buff *skb, struct nlmsghdr *message)
{
	return handle_request_begins(message, 1);
}

SEC("kprobe/ovs_packet_cmd_execute")
int BPF_KPROBE(execute_kprobe, struct sk_buff *skb, struct genl_info *info)
{
	return handle_execute(info);
}

SEC("kretprobe/genl_rcv_msg")
int BPF_KRETPROBE(request_ends_kprobe, int result)
{
	return handle_request_ends(result);
}

SEC("kretprobe/netlink_sendmsg")
int BPF_KRETPROBE(send_ends_kprobe)
{
	return handle_send_ends();
}

#endif /* __COST_REQUESTS_BPF_H__ */

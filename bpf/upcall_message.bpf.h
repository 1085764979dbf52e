/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The messages that bring upcalls, in the kernel: queue_userspace_packet() of
 * net/openvswitch/datapath.c makes them, and ovs-vswitchd receives them from
 * its sockets of generic netlink.
 */
#ifndef __UPCALL_MESSAGE_BPF_H__
#define __UPCALL_MESSAGE_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "datapath.bpf.h"
#include "memory.bpf.h"
#include "netlink.bpf.h"
#include "process.bpf.h"

/* How they are recognized: nlmsg_type is the number of the family ovs_packet. */
const volatile __u16 targ_netlink_protocol;
const volatile __u16 targ_packet_family;

/* include/uapi/linux/openvswitch.h */
enum {
	OVS_PACKET_CMD_MISS = 1,
	OVS_PACKET_CMD_ACTION = 2,
};
enum {
	OVS_PACKET_ATTR_PACKET = 1,
	OVS_PACKET_ATTR_KEY = 2,
	OVS_PACKET_ATTR_USERDATA = 4,
};

/* Two more attributes than a message of Linux 6.12 can have. The verifier follows each. */
#define MAX_PACKET_ATTRS 10

/* Where the parts of a message are. */
struct upcall_message {
	__u64 data; /* address */
	/* bytes at data; what else the message has is in pages */
	__u64 linear;
	__u32 size; /* of the whole */
	__u32 cmd;
	__u32 dp_ifindex;
	/* offsets, and sizes in bytes; an offset of 0: there is no such attribute */
	__u64 key_at;
	__u64 key_size;
	__u64 packet_at;
	__u64 packet_size;
	__u64 userdata_at;
	__u64 userdata_size;
};

/*
 * Whether the thread that runs is about to receive an upcall of a traced
 * daemon. Each datagram and each part of a stream that any process receives
 * comes here: the first comparison is the cheapest, and turns away nearly all.
 */
static __always_inline int is_upcall(const struct sk_buff *skb, __u32 *target)
{
	const struct sock *sk = skb->sk;
	const void *data;
	__u8 cmd;

	if (!sk || sk->sk_protocol != targ_netlink_protocol)
		return 0;
	*target = current_target();
	if (*target >= targ_targets)
		return 0;
	data = skb->data;
	if (skb->len - skb->data_len < sizeof(struct datapath_message) ||
	    READ_AT(data, nlmsghdr, nlmsg_type) != targ_packet_family)
		return 0;
	cmd = READ_AT(data + sizeof(struct netlink_head), genlmsghdr, cmd);
	return cmd == OVS_PACKET_CMD_MISS || cmd == OVS_PACKET_CMD_ACTION;
}

/* Finds key and packet in a message that is_upcall(). Returns 0 if either is missing. */
static __always_inline int find_parts(const struct sk_buff *skb, struct upcall_message *message)
{
	__u64 data = (__u64)skb->data, at = sizeof(struct datapath_message);

	message->data = data;
	message->size = skb->len;
	message->linear = skb->len - skb->data_len;
	message->cmd = READ_AT(data + sizeof(struct netlink_head), genlmsghdr, cmd);
	/* Any type of the kernel's will do that begins with 32 bits: struct ovs_header is one of the module's. */
	message->dp_ifindex =
		READ_AT(data + sizeof(struct netlink_head) + sizeof(struct generic_head), nlmsghdr,
			nlmsg_len);
	message->key_at = 0;
	message->packet_at = 0;
	message->userdata_at = 0;
	for (int i = 0; i < MAX_PACKET_ATTRS; i++) {
		__u64 len, type;
		__u32 head;

		if (at + NLA_HDRLEN > message->linear)
			break;
		head = read_word(OF_KERNEL, data + at);
		len = NLA_LEN(head);
		type = NLA_TYPE(head);
		if (len < NLA_HDRLEN)
			break;
		if (type == OVS_PACKET_ATTR_KEY) {
			message->key_at = at + NLA_HDRLEN;
			message->key_size = len - NLA_HDRLEN;
		} else if (type == OVS_PACKET_ATTR_USERDATA) {
			message->userdata_at = at + NLA_HDRLEN;
			message->userdata_size = len - NLA_HDRLEN;
		} else if (type == OVS_PACKET_ATTR_PACKET) {
			/* Nothing follows it: queue_userspace_packet(). */
			message->packet_at = at + NLA_HDRLEN;
			message->packet_size = len - NLA_HDRLEN;
			break;
		}
		at += NLA_ALIGN(len);
	}
	return message->key_at && message->packet_at &&
	       message->key_at + message->key_size < message->packet_at &&
	       message->packet_at + message->packet_size <= skb->len;
}

#endif /* __UPCALL_MESSAGE_BPF_H__ */

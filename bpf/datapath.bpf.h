/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reads what the openvswitch module knows of an upcall: the arguments of
 * ovs_dp_upcall() and queue_userspace_packet(), which take the same
 * (net/openvswitch/datapath.c). Both run with bottom halves off, so a CPU is
 * in one upcall at a time.
 *
 * The structures have only the members that are read, and libbpf finds their
 * offsets in the BTF of the running kernel. They are as in Linux 5.14 to 6.12.
 */
#ifndef __DATAPATH_BPF_H__
#define __DATAPATH_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "netlink.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	char name[16];
	possible_net_t nd_net;
};

struct sock {
	__u16 sk_protocol;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	unsigned int data_len;
	__u16 mac_len;
	__be16 protocol;
	__u8 ip_summed : 2;
	__u8 csum_not_inet : 1; /* if the kernel has SCTP */
	__u8 vlan_present : 1; /* until 354259fa73e2 ("net: remove skb->vlan_present", Linux 6.2) */
	__u32 vlan_all; /* from then on: 0 if there is no tag */
	__be16 vlan_proto;
	__u16 vlan_tci;
	__u16 csum_start;
	__u16 csum_offset;
	unsigned char *head;
	unsigned char *data;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct datapath {
	struct hlist_head *ports;
	possible_net_t net;
};

struct vport {
	struct net_device *dev;
	__u16 port_no;
	struct hlist_node dp_hash_node;
};

struct dp_upcall_info {
	__u32 portid;
	__u8 cmd;
};

struct in6_addr {
	__u8 bytes[16];
} __attribute__((aligned(4)));

struct sw_flow_key {
	struct {
		__u16 in_port;
	} phy;
	__u8 mac_proto;
	struct {
		__be16 type;
	} eth;
	struct {
		__u8 proto;
	} ip;
	struct {
		struct {
			__be32 src;
			__be32 dst;
		} addr;
	} ipv4;
	struct {
		struct {
			struct in6_addr src;
			struct in6_addr dst;
		} addr;
	} ipv6;
};

#pragma clang attribute pop

/* include/linux/skbuff.h */
#define CHECKSUM_PARTIAL 3

/* net/openvswitch/flow.h: values of mac_proto, and the bit in it that says that actions have changed the packet since. */
#define MAC_PROTO_NONE 0
#define MAC_PROTO_ETHERNET 1
#define SW_FLOW_KEY_INVALID 0x80

/* Where a VLAN tag is, and its length: include/linux/if_vlan.h. */
#define VLAN_AT 12
#define VLAN_HLEN 4

/* include/uapi/linux/openvswitch.h: OVS_PACKET_CMD_MISS is 1, OVS_PACKET_CMD_ACTION 2. */
static __always_inline __u32 upcall_type(__u8 cmd)
{
	/* As enum dpif_upcall_type of lib/dpif.h in Open vSwitch numbers them. */
	return cmd - 1;
}

/* A packet as the daemon gets it. */
struct queued_packet {
	const unsigned char *data;
	__u64 size; /* bytes: with its VLAN tag, and as truncated by an action */
	__u64 readable; /* how many of them, at the beginning, are not in pages */
	__u32 has_vlan;
	/* the tag's 4 bytes, as they are on the wire */
	__u8 vlan[VLAN_HLEN];
};

/*
 * cutlen says how an action truncated a packet. It used to be the number of
 * bytes that are cut off, which is 0 mostly. Now, in stable kernels too
 * (6.1.192, 6.12.117), it is the number that remains, which is NOT_CUT mostly.
 * The packets that are not truncated show which of the two it is here. A
 * truncated packet that comes before all of those is taken for whole.
 */
#define NOT_CUT 0xffffffff

enum cutlen_meaning {
	CUTLEN_UNKNOWN = 0,
	CUTLEN_CUT_OFF = 1,
	CUTLEN_LEFT = 2,
};

static __u32 cutlen_meaning;

static __always_inline __u64 cut(__u64 len, __u32 cutlen)
{
	if (cutlen == 0 || cutlen == NOT_CUT) {
		__u32 meaning = cutlen ? CUTLEN_LEFT : CUTLEN_CUT_OFF;

		/* Written only if it changes: other CPUs read it too. */
		if (cutlen_meaning != meaning)
			cutlen_meaning = meaning;
		return len;
	}
	if (cutlen_meaning == CUTLEN_LEFT)
		return len < cutlen ? len : cutlen;
	if (cutlen_meaning == CUTLEN_CUT_OFF)
		return len > cutlen ? len - cutlen : 0;
	return len;
}

static __always_inline void queued_packet(struct queued_packet *packet, const struct sk_buff *skb,
					  __u32 cutlen)
{
	__u32 len = BPF_CORE_READ(skb, len), data_len = BPF_CORE_READ(skb, data_len);

	packet->data = BPF_CORE_READ(skb, data);
	packet->size = len;
	packet->readable = len > data_len ? len - data_len : 0;
	if (bpf_core_field_exists(skb->vlan_present))
		packet->has_vlan = BPF_CORE_READ_BITFIELD_PROBED(skb, vlan_present);
	else
		packet->has_vlan = BPF_CORE_READ(skb, vlan_all) != 0;
	if (packet->has_vlan) {
		__be16 proto = BPF_CORE_READ(skb, vlan_proto);
		__u16 tci = BPF_CORE_READ(skb, vlan_tci);

		/* proto is as on the wire already. */
		packet->vlan[0] = proto & 0xff;
		packet->vlan[1] = proto >> 8;
		packet->vlan[2] = tci >> 8;
		packet->vlan[3] = tci & 0xff;
		packet->size += VLAN_HLEN;
		packet->readable += VLAN_HLEN;
	}
	packet->size = cut(packet->size, cutlen);
	if (packet->readable > packet->size)
		packet->readable = packet->size;
}

/*
 * Copies the first len bytes, which must be readable. There are room bytes
 * behind to: at least 16, and a constant on each path of the verifier.
 */
static __always_inline long copy_packet(__u8 *to, __u64 len, __u64 room,
					const struct queued_packet *packet)
{
	const unsigned char *from = packet->data;
	long err;

	if (packet->has_vlan && len >= VLAN_AT + VLAN_HLEN) {
		err = bpf_probe_read_kernel(to, VLAN_AT, from);
		if (err)
			return err;
		__builtin_memcpy(to + VLAN_AT, packet->vlan, VLAN_HLEN);
		len -= VLAN_AT + VLAN_HLEN;
		room -= VLAN_AT + VLAN_HLEN;
		from += VLAN_AT;
		to += VLAN_AT + VLAN_HLEN;
	} else if (packet->has_vlan && len > VLAN_AT) {
		/* Cut within the tag. */
		err = bpf_probe_read_kernel(to, VLAN_AT, from);
		__builtin_memcpy(to + VLAN_AT, packet->vlan, VLAN_HLEN);
		return err;
	}
	/* The clamp changes nothing; the verifier needs it. */
	asm volatile("" : "+r"(len));
	if (len > room)
		len = room;
	return bpf_probe_read_kernel(to, len, from);
}

/*
 * The datapath as ovs-vswitchd calls it, system@ovs-system: the name of its
 * local port, number 0, which hashes to the first list (lookup_vport()).
 */
static __always_inline void datapath_name(char *name, const struct datapath *dp)
{
	struct hlist_head *ports = BPF_CORE_READ(dp, ports);
	struct hlist_node *node = BPF_CORE_READ(ports, first);

	__builtin_memcpy(name, "system@", 7);
	name[7] = '\0';
	for (int i = 0; i < 8; i++) {
		struct vport *vport = (void *)node -
				      bpf_core_field_offset(struct vport, dp_hash_node);

		if (!node)
			return;
		if (BPF_CORE_READ(vport, port_no) == 0) {
			struct net_device *dev = BPF_CORE_READ(vport, dev);

			bpf_probe_read_kernel_str(name + 7, 16, &dev->name);
			return;
		}
		node = BPF_CORE_READ(node, next);
	}
}

#endif /* __DATAPATH_BPF_H__ */

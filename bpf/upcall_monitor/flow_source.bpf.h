/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Finds in a flow key where an upcall came from. */
#ifndef __FLOW_SOURCE_BPF_H__
#define __FLOW_SOURCE_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_monitor.h"
#include "../datapath.bpf.h"
#include "../memory.bpf.h"
#include "../netlink.bpf.h"
#include "../task.bpf.h"

/* enum ovs_key_attr of include/uapi/linux/openvswitch.h */
enum {
	OVS_KEY_ATTR_ENCAP = 1,
	OVS_KEY_ATTR_IN_PORT = 3,
	OVS_KEY_ATTR_ETHERNET = 4,
	OVS_KEY_ATTR_ETHERTYPE = 6,
	OVS_KEY_ATTR_IPV4 = 7,
	OVS_KEY_ATTR_IPV6 = 8,
	OVS_KEY_ATTR_ARP = 13,
};

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_IPV6 0x86dd
#define ETH_P_RARP 0x8035
#define bpf_htons(x) ((__u16)__builtin_bswap16(x))

/* The most attributes that are read; a key has about 25 at most. */
#define MAX_KEY_ATTRS 32

/*
 * Reads port, types and addresses from the netlink attributes at addr, as far
 * as it can. It is a function for each kind of memory: with one for both, each
 * attribute would take twice the instructions.
 */
static __always_inline void find_flow(enum memory memory, __u64 addr, __u64 len,
				      struct flow_source *flow)
{
	__u64 end = addr + len;

	for (int i = 0; i < MAX_KEY_ATTRS; i++) {
		__u64 at = addr + NLA_HDRLEN, size;
		__u32 head;

		if (at > end)
			return;
		head = read_word(memory, addr);
		if (NLA_LEN(head) < NLA_HDRLEN || addr + NLA_LEN(head) > end)
			return;
		size = NLA_LEN(head) - NLA_HDRLEN;
		addr += NLA_ALIGN(NLA_LEN(head));
		switch (NLA_TYPE(head)) {
		case OVS_KEY_ATTR_ENCAP:
			/* Goes on with its attributes as if they were outside. */
			addr = at;
			break;
		case OVS_KEY_ATTR_IN_PORT:
			if (size >= 4)
				read_field(memory, &flow->port, 4, at);
			break;
		case OVS_KEY_ATTR_ETHERTYPE:
			if (size >= 2)
				read_field(memory, &flow->eth_type, 2, at);
			break;
		case OVS_KEY_ATTR_IPV4:
			/* struct ovs_key_ipv4: src, dst, proto */
			if (size >= 9) {
				read_field(memory, flow->src, 4, at);
				read_field(memory, flow->dst, 4, at + 4);
				read_field(memory, &flow->proto, 1, at + 8);
			}
			/* What follows is of the transport layer. */
			return;
		case OVS_KEY_ATTR_IPV6:
			/* struct ovs_key_ipv6: src, dst, label, proto */
			if (size >= 37) {
				read_field(memory, flow->src, 16, at);
				read_field(memory, flow->dst, 16, at + 16);
				read_field(memory, &flow->proto, 1, at + 36);
			}
			return;
		case OVS_KEY_ATTR_ARP:
			/* struct ovs_key_arp: sip, tip */
			if (size >= 8) {
				read_field(memory, flow->src, 4, at);
				read_field(memory, flow->dst, 4, at + 4);
			}
			break;
		}
	}
}

static __noinline int flow_of_task_key(__u64 addr, __u64 len, struct flow_source *flow)
{
	find_flow(OF_TASK, addr, len, flow);
	return 0;
}

static __noinline int flow_of_kernel_key(__u64 addr, __u64 len, struct flow_source *flow)
{
	find_flow(OF_KERNEL, addr, len, flow);
	return 0;
}

/*
 * Attributes of a key from the first one on, until the one that is looked for.
 * With scratch one read is enough; without, each attribute takes one.
 */
struct key_walk {
	struct scratch *scratch;
	__u64 addr;
	__u64 len;
	__u64 next; /* where the next attribute begins */
};

static __always_inline void begin_walk(struct key_walk *walk, struct scratch *scratch,
				       enum memory memory, __u64 addr, __u64 len)
{
	__u64 read = len < USDT_WINDOW ? len : USDT_WINDOW;

	asm volatile("" : "+r"(read));
	if (read > USDT_WINDOW)
		read = USDT_WINDOW;
	/* A part of it cannot be read, but what is looked for may be in the other. */
	if (scratch && read_memory(memory, scratch->window, read, addr))
		scratch = NULL;
	walk->scratch = scratch;
	walk->addr = addr;
	walk->len = len;
	walk->next = 0;
}

/* Returns four bytes of the key; 0 where they cannot be read. */
static __always_inline __u32 key_word(const struct key_walk *walk, enum memory memory, __u64 at)
{
	if (!walk->scratch)
		return read_word(memory, walk->addr + at);
	asm volatile("" : "+r"(at));
	if (at > USDT_WINDOW - sizeof(__u32))
		return 0;
	return *(__u32 *)((void *)walk->scratch->window + at);
}

/* Returns the header of the next attribute, and where what it has begins; 0 if there is none that is whole. */
static __always_inline __u32 next_attr(struct key_walk *walk, enum memory memory, __u64 *at)
{
	__u32 head;

	*at = walk->next + NLA_HDRLEN;
	if (*at > walk->len)
		return 0;
	head = key_word(walk, memory, walk->next);
	if (NLA_LEN(head) < NLA_HDRLEN || walk->next + NLA_LEN(head) > walk->len)
		return 0;
	walk->next += NLA_ALIGN(NLA_LEN(head));
	return head;
}

/* More attributes than ovs_nla_put_key() of net/openvswitch/flow_netlink.c puts before IN_PORT, and before ETHERTYPE. */
#define MAX_ATTRS_TO_PORT 16

/* The port of such a key; NO_PORT if it has none or cannot be read. */
static __noinline __u32 port_of_key(struct scratch *scratch, enum memory memory, __u64 addr,
				    __u64 len)
{
	struct key_walk walk;

	begin_walk(&walk, scratch, memory, addr, len);
	for (int i = 0; i < MAX_ATTRS_TO_PORT; i++) {
		__u64 at;
		__u32 head = next_attr(&walk, memory, &at);

		if (!head)
			break;
		if (NLA_TYPE(head) == OVS_KEY_ATTR_IN_PORT)
			return NLA_LEN(head) >= NLA_HDRLEN + sizeof(__u32) ?
				       key_word(&walk, memory, at) :
				       NO_PORT;
	}
	return NO_PORT;
}

/* Reads the same from the kernel's own key. */
static __always_inline void flow_of_sw_key(const struct sw_flow_key *key, struct flow_source *flow)
{
	__u16 eth_type = BPF_CORE_READ(key, eth.type);

	flow->port = BPF_CORE_READ(key, phy.in_port);
	flow->eth_type = eth_type;
	if (eth_type == bpf_htons(ETH_P_IP) || eth_type == bpf_htons(ETH_P_ARP) ||
	    eth_type == bpf_htons(ETH_P_RARP)) {
		BPF_CORE_READ_INTO((__be32 *)flow->src, key, ipv4.addr.src);
		BPF_CORE_READ_INTO((__be32 *)flow->dst, key, ipv4.addr.dst);
	} else if (eth_type == bpf_htons(ETH_P_IPV6)) {
		BPF_CORE_READ_INTO((struct in6_addr *)flow->src, key, ipv6.addr.src);
		BPF_CORE_READ_INTO((struct in6_addr *)flow->dst, key, ipv6.addr.dst);
	} else {
		return;
	}
	/* The key of an ARP packet has its operation there. */
	if (eth_type == bpf_htons(ETH_P_IP) || eth_type == bpf_htons(ETH_P_IPV6))
		flow->proto = BPF_CORE_READ(key, ip.proto);
}

#endif /* __FLOW_SOURCE_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Finds out what a packet begins with: as Link::of_key() of src/ovs/packet/link_type.rs. */
#ifndef __LINK_BPF_H__
#define __LINK_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_monitor.h"
#include "../datapath.bpf.h"
#include "../memory.bpf.h"
#include "../netlink.bpf.h"
#include "../packet_filter.bpf.h"
#include "flow_source.bpf.h"

/*
 * What the packet of a flow key begins with. The kernel writes ETHERNET before
 * ETHERTYPE, and the keys of the userspace datapath never come here.
 */
static __always_inline __u32 find_link(struct key_walk *walk, enum memory memory)
{
	for (int i = 0; i < MAX_ATTRS_TO_PORT; i++) {
		__u64 at;
		__u32 head = next_attr(walk, memory, &at);

		if (!head)
			break;
		if (NLA_TYPE(head) == OVS_KEY_ATTR_ETHERNET)
			return LINK_ETHERNET;
		if (NLA_TYPE(head) == OVS_KEY_ATTR_ETHERTYPE)
			/* The kernel pads the two bytes. */
			return NLA_LEN(head) == NLA_HDRLEN + sizeof(__be16) ?
				       network_link((__be16)key_word(walk, memory, at)) :
				       LINK_UNKNOWN;
	}
	return LINK_UNKNOWN;
}

static __noinline __u32 link_of_task_key(struct scratch *scratch, __u64 addr, __u64 len)
{
	struct key_walk walk;

	begin_walk(&walk, scratch, OF_TASK, addr, len);
	return find_link(&walk, OF_TASK);
}

/* For a key that the window begins with. */
static __noinline __u32 link_of_read_key(struct scratch *scratch, __u64 len)
{
	struct key_walk walk = { .scratch = scratch, .len = len };

	return find_link(&walk, OF_TASK);
}

static __noinline __u32 link_of_kernel_key(__u64 addr, __u64 len)
{
	struct key_walk walk = { .addr = addr, .len = len };

	return find_link(&walk, OF_KERNEL);
}

/*
 * What a packet without an Ethernet header begins with. The key has the same
 * EtherType (key_extract()), but for that of before if SW_FLOW_KEY_INVALID is
 * set.
 */
static __always_inline __u32 network_link_of(const struct sk_buff *skb)
{
	return network_link(BPF_CORE_READ(skb, protocol));
}

/* What the packet of the kernel's own key begins with. */
static __always_inline __u32 link_of_sw_key(const struct sw_flow_key *key,
					    const struct sk_buff *skb)
{
	switch (BPF_CORE_READ(key, mac_proto) & ~SW_FLOW_KEY_INVALID) {
	case MAC_PROTO_ETHERNET:
		return LINK_ETHERNET;
	case MAC_PROTO_NONE:
		return network_link_of(skb);
	}
	return LINK_UNKNOWN;
}

/*
 * The same without the key. The module itself goes by mac_len where it pushes
 * and pops MPLS labels; key_extract() and whatever adds or takes away an
 * Ethernet header set it. It is 0 where pop_nsh found a whole frame, whose
 * protocol then is ETH_P_TEB.
 */
static __always_inline __u32 link_of_skb(const struct sk_buff *skb)
{
	return BPF_CORE_READ(skb, mac_len) ? LINK_ETHERNET : network_link_of(skb);
}

#endif /* __LINK_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the datapath does: it queues an upcall for ovs-vswitchd, or fails to. */
#ifndef __COST_DATAPATH_BPF_H__
#define __COST_DATAPATH_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "../upcall_cost.h"
#include "../ring.bpf.h"
#include "../datapath.bpf.h"
#include "record.bpf.h"

/* The network namespace (inode number) of the daemon's datapath. */
const volatile __u32 targ_netns;

/*
 * The upcall that a CPU is in: of ovs_dp_upcall(), which calls
 * queue_userspace_packet() for the packet, or for each segment of it.
 */
struct upcall {
	struct datapath *dp; /* NULL: none, or not the daemon's */
	struct sw_flow_key *key;
	struct dp_upcall_info *info;
	__u64 skb; /* what is being queued; 0: nothing */
	__u32 queued; /* something was, with or without success */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct upcall);
} upcalls SEC(".maps");

static __always_inline struct upcall *current_upcall(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&upcalls, &zero);
}

static __always_inline void upcall_fields(struct cost_record *record, const struct upcall *upcall)
{
	/* In variables of their own: libbpf would look for a struct upcall in the kernel. */
	struct sw_flow_key *key = upcall->key;
	struct dp_upcall_info *info = upcall->info;

	record->type = upcall_type(BPF_CORE_READ(info, cmd));
	record->port = BPF_CORE_READ(key, phy.in_port);
	record->portid = BPF_CORE_READ(info, portid);
	datapath_name(record->datapath, upcall->dp);
}

static __always_inline int handle_upcall_begins(struct datapath *dp, struct sw_flow_key *key,
						struct dp_upcall_info *info)
{
	struct upcall *upcall = current_upcall();

	if (!upcall)
		return 0;
	upcall->dp = BPF_CORE_READ(dp, net.net, ns.inum) == targ_netns ? dp : NULL;
	upcall->key = key;
	upcall->info = info;
	upcall->skb = 0;
	upcall->queued = 0;
	return 0;
}

static __always_inline int send_failed(const struct upcall *upcall, int result)
{
	struct cost_record *record;

	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(EVENT_DP_FAILED);
		return 0;
	}
	begin_record(record, EVENT_DP_FAILED);
	record->skb = upcall->skb;
	record->result = result;
	upcall_fields(record, upcall);
	ring_submit(record);
	return 0;
}

static __always_inline int handle_upcall_ends(int result)
{
	struct upcall *upcall = current_upcall();

	if (!upcall || !upcall->dp)
		return 0;
	/* What was queued has reported its own failure. */
	if (result && !upcall->queued)
		send_failed(upcall, result);
	upcall->dp = NULL;
	return 0;
}

/* Where the kernel will put a checksum into a packet, and its bytes; 0: nowhere. */
struct checksum {
	__u32 at;
	__u32 size;
};

static __always_inline struct checksum unfinished_checksum(const struct sk_buff *skb,
							   const struct queued_packet *packet)
{
	__u64 head = (__u64)BPF_CORE_READ(skb, head);
	struct checksum checksum = {};

	if (BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed) != CHECKSUM_PARTIAL)
		return checksum;
	checksum.at = head + BPF_CORE_READ(skb, csum_start) + BPF_CORE_READ(skb, csum_offset) -
		      (__u64)packet->data;
	if (packet->has_vlan)
		checksum.at += VLAN_HLEN;
	/* skb_checksum_help() writes 2 bytes, skb_crc32c_csum_help() 4. */
	checksum.size = 2;
	if (bpf_core_field_exists(skb->csum_not_inet) &&
	    BPF_CORE_READ_BITFIELD_PROBED(skb, csum_not_inet))
		checksum.size = 4;
	return checksum;
}

static __always_inline int handle_queue_begins(struct sk_buff *skb, __u32 cutlen)
{
	struct upcall *upcall = current_upcall();
	struct queued_packet packet = {};
	struct cost_record *record;
	__u64 packet_len, room;
	struct checksum checksum;
	long err;

	if (!upcall || !upcall->dp)
		return 0;
	upcall->skb = (__u64)skb;
	upcall->queued = 1;

	queued_packet(&packet, skb, cutlen);
	checksum = unfinished_checksum(skb, &packet);
	packet_len = packet.readable;
	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;
	RING_RESERVE(record, room, packet_len, MAX_PACKET);
	if (!record) {
		count_lost(EVENT_DP_UPCALL);
		return 0;
	}
	begin_record(record, EVENT_DP_UPCALL);
	record->skb = upcall->skb;
	BPF_CORE_READ_STR_INTO(&record->device, skb, dev, name);
	record->unfinished_checksum = checksum.at;
	record->checksum_size = checksum.size;
	record->captured.packet_size = packet.size;
	err = copy_packet(record->data, packet_len, room, &packet);
	record->captured.packet_error = err;
	record->captured.packet_len = err ? 0 : packet_len;
	/* At the end: the verifier follows each path in here for each size of a record. */
	upcall_fields(record, upcall);
	ring_submit(record);
	return 0;
}

static __always_inline int handle_queue_ends(int result)
{
	struct upcall *upcall = current_upcall();

	if (!upcall || !upcall->dp || !upcall->skb)
		return 0;
	if (result)
		send_failed(upcall, result);
	upcall->skb = 0;
	return 0;
}

/*
 * Within queue_userspace_packet(), the message that carries the upcall is what
 * netlink_unicast() gets. It can be received as soon as that is done, before
 * queue_userspace_packet() or netlink_unicast() return.
 */
static __always_inline int handle_message_queued(struct sk_buff *message, __u32 portid)
{
	struct upcall *upcall = current_upcall();
	struct cost_record *record;

	if (!upcall || !upcall->dp || !upcall->skb)
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(LOST_QUEUED);
		return 0;
	}
	begin_record(record, EVENT_DP_QUEUED);
	record->skb = upcall->skb;
	record->portid = portid;
	record->message = (__u64)message;
	ring_submit(record);
	return 0;
}

SEC("fentry/ovs_dp_upcall")
int BPF_PROG(upcall_begins, struct datapath *dp, struct sk_buff *skb, struct sw_flow_key *key,
	     struct dp_upcall_info *info)
{
	return handle_upcall_begins(dp, key, info);
}

SEC("fexit/ovs_dp_upcall")
int BPF_PROG(upcall_ends, struct datapath *dp, struct sk_buff *skb, struct sw_flow_key *key,
	     struct dp_upcall_info *info, __u32 cutlen, int result)
{
	return handle_upcall_ends(result);
}

SEC("fentry/queue_userspace_packet")
int BPF_PROG(queue_begins, struct datapath *dp, struct sk_buff *skb, struct sw_flow_key *key,
	     struct dp_upcall_info *info, __u32 cutlen)
{
	return handle_queue_begins(skb, cutlen);
}

SEC("fexit/queue_userspace_packet")
int BPF_PROG(queue_ends, struct datapath *dp, struct sk_buff *skb, struct sw_flow_key *key,
	     struct dp_upcall_info *info, __u32 cutlen, int result)
{
	return handle_queue_ends(result);
}

SEC("fentry/netlink_unicast")
int BPF_PROG(message_queued, struct sock *sk, struct sk_buff *skb, __u32 portid)
{
	return handle_message_queued(skb, portid);
}

/* Where there are no trampolines (arm64 before Linux 6.4). */

SEC("kprobe/ovs_dp_upcall")
int BPF_KPROBE(upcall_begins_kprobe, struct datapath *dp, struct sk_buff *skb,
	       struct sw_flow_key *key, struct dp_upcall_info *info)
{
	return handle_upcall_begins(dp, key, info);
}

SEC("kretprobe/ovs_dp_upcall")
int BPF_KRETPROBE(upcall_ends_kprobe, int result)
{
	return handle_upcall_ends(result);
}

SEC("kprobe/queue_userspace_packet")
int BPF_KPROBE(queue_begins_kprobe, struct datapath *dp, struct sk_buff *skb,
	       struct sw_flow_key *key, struct dp_upcall_info *info, __u32 cutlen)
{
	return handle_queue_begins(skb, cutlen);
}

SEC("kretprobe/queue_userspace_packet")
int BPF_KRETPROBE(queue_ends_kprobe, int result)
{
	return handle_queue_ends(result);
}

SEC("kprobe/netlink_unicast")
int BPF_KPROBE(message_queued_kprobe, struct sock *sk, struct sk_buff *skb, __u32 portid)
{
	return handle_message_queued(skb, portid);
}

#endif /* __COST_DATAPATH_BPF_H__ */

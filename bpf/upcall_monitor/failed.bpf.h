/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The upcalls that failed in the kernel: ovs_dp_upcall() of net/openvswitch/datapath.c returned an error. */
#ifndef __FAILED_BPF_H__
#define __FAILED_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "../upcall_monitor.h"
#include "../ring.bpf.h"
#include "../event.bpf.h"
#include "../datapath.bpf.h"
#include "../packet_filter.bpf.h"
#include "targets.bpf.h"
#include "filters.bpf.h"
#include "flow_source.bpf.h"
#include "flows.bpf.h"
#include "link.bpf.h"

/* The daemon whose datapath is in this network namespace; targ_targets if none. */
static __always_inline __u32 target_of(const struct net *net)
{
	__u32 inum = BPF_CORE_READ(net, ns.inum);
	__u32 i;

#pragma unroll
	for (i = 0; i < MAX_TARGETS; i++)
		if (i >= targ_targets || targ_netns[i] == inum)
			break;
	return i;
}

/* The datapath that ovs-vswitchd uses: open_dpif_backer() of ofproto/ofproto-dpif.c names it after its type. */
static const char backer[20] NAME = "system@ovs-system";

/*
 * Sends an upcall that failed in the kernel. flow has its datapath, target,
 * result, type and, unless it is NO_PORT, all the rest.
 */
static __always_inline int handle_failed(struct flow_id *flow, const char *device,
					 const struct queued_packet *packet, __u32 link, int filter)
{
	__u64 packet_len, need, room;
	struct upcall_record *record;
	struct captured *captured;
	struct failed_from from;
	long err;

	if ((targ_by_type && flow->type != targ_type) || packet->size < targ_min_size ||
	    /* No thread of the daemon received it. */
	    targ_tid || targ_by_comm ||
	    (targ_by_datapath && !same(flow->datapath, targ_datapath, sizeof(flow->datapath))))
		return filter_out();
	/* Where the number is not known, user space decides by the name. */
	if (targ_by_port && flow->from.port != NO_PORT &&
	    !passes_port(flow->target, flow->from.port))
		return filter_out();
	if (filter && !queued_passes_packet_filter(packet, link))
		return filter_out();

	packet_len = packet->readable;
	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;
	need = sizeof(struct failed_from) + packet_len;
	/* copy_packet() needs so much room. */
	if (need < sizeof(struct failed_from) + VLAN_AT + VLAN_HLEN)
		need = sizeof(struct failed_from) + VLAN_AT + VLAN_HLEN;
	RING_RESERVE(record, room, need, sizeof(struct failed_from) + MAX_PACKET);
	if (!record) {
		count_lost(LOST_RING_FULL);
		if (targ_count_lost)
			count_flow(&lost_flows, flow, &flow->from);
		return 0;
	}

	fill_head(&record->head, flow->type, flow->target, bpf_ktime_get_ns());
	record->result = flow->result;
	record->paged = packet->size - packet->readable;
	record->dp_ifindex = 0;
	record->attributes_at = 0;
	__builtin_memcpy(record->datapath, flow->datapath, sizeof(record->datapath));
	__builtin_memcpy(from.device, device, sizeof(from.device));
	from.port = flow->from.port;
	from.eth_type = flow->from.eth_type;
	if (link_kind(link) == LINK_NETWORK)
		from.eth_type = link >> LINK_TYPE_SHIFT;
	from.proto = flow->from.proto;
	from.link = link_kind(link);
	__builtin_memcpy(from.src, flow->from.src, sizeof(from.src));
	__builtin_memcpy(from.dst, flow->from.dst, sizeof(from.dst));
	__builtin_memcpy(record->data, &from, sizeof(from));

	captured = &record->captured;
	captured->packet_size = packet->size;
	captured->key_size = 0;
	captured->key_error = 0;
	captured->key_len = sizeof(from);
	captured->packet_at = sizeof(from);
	room -= sizeof(from);
	err = copy_packet(record->data + sizeof(from), packet_len, room, packet);
	captured->packet_error = err;
	captured->packet_len = err ? 0 : packet_len;

	ring_submit(record);
	return 0;
}

static __always_inline int handle_end(struct datapath *dp, struct sk_buff *skb,
				      struct sw_flow_key *key, struct dp_upcall_info *info,
				      __u32 cutlen, int result, int filter)
{
	struct queued_packet packet = {};
	char device[16] = {};
	struct flow_id flow = {};

	if (!result)
		return 0;
	flow.target = target_of(BPF_CORE_READ(dp, net.net));
	if (flow.target >= targ_targets)
		return 0;
	datapath_name(flow.datapath, dp);
	if (!same(flow.datapath, backer, sizeof(backer)))
		return 0;
	flow.result = result;
	flow.type = upcall_type(BPF_CORE_READ(info, cmd));
	flow_of_sw_key(key, &flow.from);
	BPF_CORE_READ_STR_INTO(&device, skb, dev, name);
	queued_packet(&packet, skb, cutlen);
	return handle_failed(&flow, device, &packet, link_of_sw_key(key, skb), filter);
}

SEC("fexit/ovs_dp_upcall")
int BPF_PROG(upcall_failed, struct datapath *dp, struct sk_buff *skb, struct sw_flow_key *key,
	     struct dp_upcall_info *info, __u32 cutlen, int result)
{
	return handle_end(dp, skb, key, info, cutlen, result, 0);
}

SEC("fexit/ovs_dp_upcall")
int BPF_PROG(failed_filtered, struct datapath *dp, struct sk_buff *skb, struct sw_flow_key *key,
	     struct dp_upcall_info *info, __u32 cutlen, int result)
{
	return handle_end(dp, skb, key, info, cutlen, result, 1);
}

/* The tracepoint openvswitch:ovs_dp_upcall (net/openvswitch/openvswitch_trace.h, Linux 5.14). */
struct ovs_dp_upcall_event {
	__u64 common;
	void *dpaddr;
	__u32 dp_name; /* the lower half: where the string is in the event */
	__u32 dev_name;
	void *skbaddr;
	__u32 len;
	__u32 data_len;
	__u32 truesize;
	__u8 nr_frags;
	__u16 gso_size;
	__u16 gso_type;
	__u32 ovs_flow_hash;
	__u32 recirc_id;
	void *keyaddr;
	__u16 key_eth_type;
	__u8 key_ct_state;
	__u8 key_ct_orig_proto;
	__u16 key_ct_zone;
	__u32 flow_key_valid;
	__u8 upcall_cmd;
	__u32 upcall_port;
	__u16 upcall_mru;
};

/* An upcall that the kernel has begun, for the return probe on this CPU. */
struct begun_upcall {
	__u64 skb; /* 0: none */
	__u32 target;
	__u32 type;
	char datapath[32];
	char device[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct begun_upcall);
} begun SEC(".maps");

/*
 * Where fexit is not available, this tracepoint and a return probe take its
 * place. From one to the other a CPU is in one upcall: see datapath.bpf.h. The
 * layout of the module's own structures is not known then, so neither is the
 * number of the port.
 */
SEC("tp/openvswitch/ovs_dp_upcall")
int upcall_begins(struct ovs_dp_upcall_event *event)
{
	struct sk_buff *skb = event->skbaddr;
	struct begun_upcall *upcall;
	__u32 zero = 0;

	upcall = bpf_map_lookup_elem(&begun, &zero);
	if (!upcall)
		return 0;
	upcall->skb = 0;
	upcall->target = target_of(BPF_CORE_READ(skb, dev, nd_net.net));
	if (upcall->target >= targ_targets)
		return 0;
	__builtin_memset(upcall->datapath, 0, sizeof(upcall->datapath));
	__builtin_memset(upcall->device, 0, sizeof(upcall->device));
	__builtin_memcpy(upcall->datapath, "system@", 7);
	bpf_probe_read_kernel_str(upcall->datapath + 7, 16,
				  (void *)event + (event->dp_name & 0xffff));
	bpf_probe_read_kernel_str(upcall->device, sizeof(upcall->device),
				  (void *)event + (event->dev_name & 0xffff));
	upcall->type = upcall_type(event->upcall_cmd);
	upcall->skb = (__u64)skb;
	return 0;
}

static __always_inline int handle_return(int result, int filter)
{
	struct queued_packet packet = {};
	struct begun_upcall *upcall;
	struct flow_id flow = {};
	__u32 zero = 0;
	__u64 skb;

	upcall = bpf_map_lookup_elem(&begun, &zero);
	if (!upcall || !upcall->skb)
		return 0;
	skb = upcall->skb;
	upcall->skb = 0;
	if (!result || !same(upcall->datapath, backer, sizeof(backer)))
		return 0;
	flow.target = upcall->target;
	flow.result = result;
	flow.type = upcall->type;
	flow.from.port = NO_PORT;
	__builtin_memcpy(flow.datapath, upcall->datapath, sizeof(flow.datapath));
	/* What an action cut off is not known here. */
	queued_packet(&packet, (struct sk_buff *)skb, NOT_CUT);
	return handle_failed(&flow, upcall->device, &packet, link_of_skb((struct sk_buff *)skb),
			     filter);
}

SEC("kretprobe/ovs_dp_upcall")
int BPF_KRETPROBE(upcall_returns, int result)
{
	return handle_return(result, 0);
}

SEC("kretprobe/ovs_dp_upcall")
int BPF_KRETPROBE(returns_filtered, int result)
{
	return handle_return(result, 1);
}

#endif /* __FAILED_BPF_H__ */

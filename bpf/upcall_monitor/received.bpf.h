/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The upcalls that ovs-vswitchd receives: dpif_recv:recv_upcall. */
#ifndef __RECEIVED_BPF_H__
#define __RECEIVED_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_monitor.h"
#include "../ring.bpf.h"
#include "../uprobe.bpf.h"
#include "../usdt_arg.bpf.h"
#include "../task.bpf.h"
#include "../event.bpf.h"
#include "../recv_upcall.bpf.h"
#include "../packet_filter.bpf.h"
#include "targets.bpf.h"
#include "filters.bpf.h"
#include "flow_source.bpf.h"
#include "flows.bpf.h"
#include "link.bpf.h"

/*
 * How many of targ_args are used. The cookie of a site has the index of its
 * argument string in the lower COOKIE_TARGET_SHIFT bits, and the index of its
 * daemon above.
 */
const volatile __u32 targ_specs = 1;
const volatile struct usdt_arg targ_args[MAX_SPECS][RECV_UPCALL_ARGS];

#define SPEC_MASK ((1 << COOKIE_TARGET_SHIFT) - 1)

/* What is known of an upcall before anything is captured. */
struct received_upcall {
	__u64 args[RECV_UPCALL_ARGS];
	__u64 time;
	char datapath[USER_NAME];
	__u32 target;
};

/* A function of its own, as count_lost_upcall(): the stack of one would not hold all. */
static __noinline int passes_filters(struct scratch *scratch, const __u64 *args, __u32 target)
{
	if (args[ARG_PACKET_SIZE] < targ_min_size)
		return 0;
	if (targ_by_datapath) {
		char name[32] NAME = {};

		bpf_probe_read_user_str(name, sizeof(name), (void *)args[ARG_DATAPATH]);
		if (!same(name, targ_datapath, sizeof(name)))
			return 0;
	}
	if (targ_by_port)
		return passes_port(target, port_of_key(scratch, OF_TASK, args[ARG_KEY],
						       args[ARG_KEY_SIZE]));
	return 1;
}

static __noinline int count_lost_upcall(enum memory memory, const struct received_upcall *upcall,
					__u32 dp_ifindex)
{
	struct flow_id flow = { .from.port = NO_PORT, .target = upcall->target };

	__builtin_memcpy(flow.datapath, upcall->datapath, sizeof(flow.datapath));
	if (!flow.datapath[0])
		flow.dp_ifindex = dp_ifindex;
	flow.tid = bpf_get_current_pid_tgid();
	flow.type = upcall->args[ARG_TYPE];
	if (memory == OF_KERNEL)
		flow_of_kernel_key(upcall->args[ARG_KEY], upcall->args[ARG_KEY_SIZE], &flow.from);
	else
		flow_of_task_key(upcall->args[ARG_KEY], upcall->args[ARG_KEY_SIZE], &flow.from);
	count_flow(&lost_flows, &flow, &flow.from);
	return 0;
}

/* How many bytes of a struct packet_head are before the packet. */
#define BEFORE_PACKET (offsetof(struct packet_head, data) + PACKET_AT)

/*
 * A read costs as much as a filter. So key and packet are read together where
 * they lie together, into the window. Returns where the packet is there, behind
 * room for the rest of a struct packet_head; 0 if they are not read.
 */
static __always_inline __u64 read_key_and_head(struct scratch *scratch, const __u64 *args)
{
	__u64 at = args[ARG_PACKET] - args[ARG_KEY], len = args[ARG_PACKET_SIZE];

	if (at < BEFORE_PACKET || at < args[ARG_KEY_SIZE] ||
	    at > sizeof(scratch->window) - sizeof(struct packet_head))
		return 0;
	if (len > targ_filter_reach)
		len = targ_filter_reach;
	len += at;
	asm volatile("" : "+r"(len));
	if (len > sizeof(scratch->window))
		return 0;
	return bpf_probe_read_user(scratch->window, len, (void *)args[ARG_KEY]) ? 0 : at;
}

/* Where the two have been read. What comes before the packet there, a part of the key, is not needed any more. */
static __noinline int window_passes_packet_filter(struct scratch *scratch, __u64 key_size, __u64 at,
						  __u64 size)
{
	__u32 link = link_of_read_key(scratch, key_size);
	struct packet_head *head;
	__u64 len;

	asm volatile("" : "+r"(at));
	if (at < BEFORE_PACKET || at > sizeof(scratch->window) - sizeof(*head))
		return 0;
	head = (void *)scratch->window + (at - BEFORE_PACKET);
	len = begin_head(head, size, size, link);
	head->captured += len;
	return packet_passes(head, link);
}

static __always_inline int task_passes_packet_filter(struct scratch *scratch, const __u64 *args)
{
	__u64 at = scratch ? read_key_and_head(scratch, args) : 0, size = args[ARG_PACKET_SIZE];

	if (at)
		return window_passes_packet_filter(scratch, args[ARG_KEY_SIZE], at, size);
	return passes_packet_filter(OF_TASK, args[ARG_PACKET], size, size,
				    link_of_task_key(scratch, args[ARG_KEY], args[ARG_KEY_SIZE]));
}

/* Fetches what the probe passes. Returns whether the upcall is wanted; if not, it has been counted. */
static __always_inline int receive_upcall(void *ctx, struct scratch *scratch, int filter,
					  struct received_upcall *upcall)
{
	const volatile struct usdt_arg *specs;
	__u64 *args = upcall->args;
	__u64 cookie = 0;

	/* First the filters that need no argument in memory: they cost next to nothing. */
	if (!passes_thread())
		return filter_out();
	if (targ_specs > 1 || targ_targets > 1)
		cookie = bpf_get_attach_cookie(ctx);
	upcall->target = targ_targets > 1 ? cookie >> COOKIE_TARGET_SHIFT : 0;
	specs = USDT_SPECS(targ_args, targ_specs, cookie & SPEC_MASK);
	if (targ_by_type) {
		if (usdt_arg(ctx, &specs[ARG_TYPE], &args[ARG_TYPE])) {
			count_lost(LOST_ARGUMENTS);
			return 0;
		}
		if ((__u32)args[ARG_TYPE] != targ_type)
			return filter_out();
	}
	if (usdt_args(ctx, specs, RECV_UPCALL_ARGS, scratch ? scratch->window : NULL, args)) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	if (targ_filters && !passes_filters(scratch, args, upcall->target))
		return filter_out();
	if (filter && !task_passes_packet_filter(scratch, args))
		return filter_out();
	upcall->time = bpf_ktime_get_ns();
	user_name(scratch, upcall->datapath, args[ARG_DATAPATH], upcall->time);
	return 1;
}

static __always_inline int send_upcall(const struct received_upcall *upcall)
{
	struct capture capture = plan_capture(upcall->args, targ_key_size, targ_packet_size);
	struct upcall_record *record;
	__u64 room, key_room;

	RESERVE_CAPTURE(record, room, key_room, &capture);
	if (!record) {
		count_lost(LOST_RING_FULL);
		if (targ_count_lost)
			count_lost_upcall(OF_TASK, upcall, 0);
		return 0;
	}
	fill_head(&record->head, upcall->args[ARG_TYPE], upcall->target, upcall->time);
	record->result = 0;
	record->paged = 0;
	record->dp_ifindex = 0;
	record->attributes_at = 0;
	__builtin_memcpy(record->datapath, upcall->datapath, sizeof(record->datapath));
	read_capture(&record->captured, record->data, &capture, upcall->args, room, key_room);
	ring_submit(record);
	return 0;
}

static __always_inline int handle_upcall(void *ctx, int filter)
{
	struct received_upcall upcall = {};
	struct scratch *scratch;
	int wanted;

	scratch = take_scratch();
	wanted = receive_upcall(ctx, scratch, filter, &upcall);
	/* Before anything is reserved: the verifier follows each size of a record separately. */
	release_scratch(scratch);
	return wanted ? send_upcall(&upcall) : 0;
}

/*
 * A program with a packet filter, and one without. One program for both would
 * take a third longer to load: the verifier would have to find out that no
 * instruction of a filter is reached, and remove them all.
 */
UPROBE_PROGRAMS(recv_upcall, handle_upcall(ctx, 0))
UPROBE_PROGRAMS(recv_filtered, handle_upcall(ctx, 1))

#endif /* __RECEIVED_BPF_H__ */

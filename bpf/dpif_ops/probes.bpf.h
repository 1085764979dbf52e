/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The requests that ovs-vswitchd is about to send, at the probes dpif_netlink_operate__:op_flow_*. */
#ifndef __DPIF_OPS_PROBES_BPF_H__
#define __DPIF_OPS_PROBES_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../dpif_ops.h"
#include "../event.bpf.h"
#include "../ring.bpf.h"
#include "../uprobe.bpf.h"
#include "../usdt_arg.bpf.h"
#include "../ofpbuf.bpf.h"
#include "../filter.bpf.h"

/* The most bytes to capture of a request. */
const volatile __u32 targ_request_size;

/* The only argument that is fetched, the address of the request's struct ofpbuf. */
#define ARGS 1

/* How many argument strings each probe has, and what they say. */
const volatile __u32 targ_specs[OPS] = { 1, 1, 1, 1 };
const volatile struct usdt_arg targ_args[OPS][MAX_SPECS][ARGS];

static __always_inline int capture(const volatile struct usdt_arg *args, void *ctx, __u16 op)
{
	__u64 address = 0, len, room;
	struct dpif_op_record *record;
	struct ofpbuf request = {};
	long err;

	if (!passes_thread())
		return filter_out();
	if (usdt_args(ctx, args, ARGS, NULL, &address) ||
	    bpf_probe_read_user(&request, sizeof(request), (void *)address)) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	len = request.size;
	if (len > targ_request_size)
		len = targ_request_size;
	RING_RESERVE(record, room, len, MAX_REQUEST);
	if (!record) {
		count_lost(LOST_RING_FULL);
		return 0;
	}
	fill_head(&record->head, op, 0, bpf_ktime_get_ns());
	err = read_user(record->data, len, room, request.data);
	record->size = request.size;
	record->len = err ? 0 : len;
	record->error = err;
	record->pad = 0;
	/* Nothing is known yet of what the kernel does. */
	__builtin_memset(&record->handled, 0, sizeof(record->handled));
	ring_submit(record);
	return 0;
}

/* The programs of one probe. */
#define OP_PROGRAMS(name, op)                                                             \
	static __always_inline int handle_##name(void *ctx)                               \
	{                                                                                 \
		__u64 spec = targ_specs[op] > 1 ? bpf_get_attach_cookie(ctx) : 0;         \
                                                                                          \
		return capture(USDT_SPECS(targ_args[op], targ_specs[op], spec), ctx, op); \
	}                                                                                 \
                                                                                          \
	UPROBE_PROGRAMS(name, handle_##name(ctx))

OP_PROGRAMS(op_flow_put, OP_FLOW_PUT)
OP_PROGRAMS(op_flow_del, OP_FLOW_DEL)
OP_PROGRAMS(op_flow_get, OP_FLOW_GET)
OP_PROGRAMS(op_flow_execute, OP_FLOW_EXECUTE)

#endif /* __DPIF_OPS_PROBES_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What ovs-vswitchd does with an upcall: it receives it, sets up a flow, and has the packet executed. */
#ifndef __COST_DAEMON_BPF_H__
#define __COST_DAEMON_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_cost.h"
#include "../ring.bpf.h"
#include "../uprobe.bpf.h"
#include "../usdt_arg.bpf.h"
#include "../task.bpf.h"
#include "../recv_upcall.bpf.h"
#include "../ofpbuf.bpf.h"
#include "record.bpf.h"

/* How many argument strings each probe has. */
const volatile __u32 targ_recv_upcall_specs = 1;
const volatile __u32 targ_op_flow_put_specs = 1;
const volatile __u32 targ_op_flow_execute_specs = 1;
const volatile struct usdt_arg targ_recv_upcall[MAX_SPECS][RECV_UPCALL_ARGS];
const volatile struct usdt_arg targ_op_flow_put[MAX_SPECS][OP_FLOW_PUT_ARGS];
const volatile struct usdt_arg targ_op_flow_execute[MAX_SPECS][OP_FLOW_EXECUTE_ARGS];
/* The most bytes to capture of a flow key, and of the attributes of a request. */
const volatile __u32 targ_key_size;
const volatile __u32 targ_request_size;

/* Fetches the arguments of a probe. Returns whether it could; if not, that is counted. */
#define FETCH(ctx, scratch, probe, args)                                                        \
	({                                                                                      \
		__u64 spec = probe##_specs > 1 ? bpf_get_attach_cookie(ctx) : 0;                \
		const volatile struct usdt_arg *specs = USDT_SPECS(probe, probe##_specs, spec); \
		__u32 pid = bpf_get_current_pid_tgid() >> 32;                                   \
		long failed;                                                                    \
                                                                                                \
		if (traced_pid != pid)                                                          \
			traced_pid = pid;                                                       \
		failed = usdt_args(ctx, specs, sizeof(args) / sizeof(__u64),                    \
				   scratch ? scratch->window : NULL, args);                     \
		if (failed)                                                                     \
			count_lost(LOST_ARGUMENTS);                                             \
		!failed;                                                                        \
	})

static __always_inline int handle_recv_upcall(void *ctx, struct scratch *scratch)
{
	__u64 args[RECV_UPCALL_ARGS] = {};
	struct cost_record *record;
	struct capture capture;
	__u64 room, key_room;

	if (!FETCH(ctx, scratch, targ_recv_upcall, args))
		return 0;
	capture = plan_capture(args, targ_key_size, targ_packet_size);
	RESERVE_CAPTURE(record, room, key_room, &capture);
	if (!record) {
		count_lost(EVENT_RECV_UPCALL);
		return 0;
	}
	begin_record(record, EVENT_RECV_UPCALL);
	record->type = args[ARG_TYPE];
	user_name(scratch, record->datapath, args[ARG_DATAPATH], record->head.time);
	read_capture(&record->captured, record->data, &capture, args, room, key_room);
	ring_submit(record);
	return 0;
}

static __always_inline int handle_op_flow_put(void *ctx, struct scratch *scratch)
{
	__u64 args[OP_FLOW_PUT_ARGS] = {}, len, room;
	struct request request = {};
	struct cost_record *record;
	long err;

	if (!FETCH(ctx, scratch, targ_op_flow_put, args))
		return 0;
	if (read_request(&request, args[ARG_REQUEST])) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	len = request.size;
	if (len > targ_request_size)
		len = targ_request_size;
	RING_RESERVE(record, room, len, MAX_KEY);
	if (!record) {
		count_lost(EVENT_OP_FLOW_PUT);
		return 0;
	}
	begin_record(record, EVENT_OP_FLOW_PUT);
	err = read_user(record->data, len, room, request.attrs);
	record->captured.key_size = request.size;
	record->captured.key_error = err;
	record->captured.key_len = err ? 0 : len;
	record->captured.packet_at = record->captured.key_len;
	ring_submit(record);
	return 0;
}

static __always_inline int handle_op_flow_execute(void *ctx, struct scratch *scratch)
{
	__u64 args[OP_FLOW_EXECUTE_ARGS] = {}, len, room;
	struct cost_record *record;
	long err;

	if (!FETCH(ctx, scratch, targ_op_flow_execute, args))
		return 0;
	len = args[ARG_EXECUTE_SIZE];
	if (len > targ_packet_size)
		len = targ_packet_size;
	RING_RESERVE(record, room, len, MAX_PACKET);
	if (!record) {
		count_lost(EVENT_OP_FLOW_EXECUTE);
		return 0;
	}
	begin_record(record, EVENT_OP_FLOW_EXECUTE);
	err = read_user(record->data, len, room, args[ARG_EXECUTE_PACKET]);
	record->captured.packet_size = args[ARG_EXECUTE_SIZE];
	record->captured.packet_error = err;
	record->captured.packet_len = err ? 0 : len;
	ring_submit(record);
	return 0;
}

USDT_PROGRAMS(recv_upcall)
USDT_PROGRAMS(op_flow_put)
USDT_PROGRAMS(op_flow_execute)

#endif /* __COST_DAEMON_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The receipt of an upcall, seen in the kernel when it copies the message to
 * the daemon: the tracepoint skb:skb_copy_datagram_iovec.
 */
#ifndef __COST_MESSAGE_BPF_H__
#define __COST_MESSAGE_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_cost.h"
#include "../ring.bpf.h"
#include "../recv_upcall.bpf.h"
#include "../upcall_message.bpf.h"
#include "record.bpf.h"

/* One read fetches key and packet. What of the packet is in pages is not captured. */
static __always_inline int send_received(const struct sk_buff *skb,
					 const struct upcall_message *message)
{
	__u64 before = message->packet_at - message->key_at, packet_len = message->packet_size;
	__u64 len, room;
	struct cost_record *record;
	long err;

	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;
	/* find_parts() found the packet's header there. */
	if (packet_len > message->linear - message->packet_at)
		packet_len = message->linear - message->packet_at;
	len = before + packet_len;
	if (before > MAX_KEY + MAX_GAP || len > MAX_KEY_AND_PACKET) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	RING_RESERVE(record, room, len, MAX_KEY_AND_PACKET);
	if (!record) {
		count_lost(EVENT_RECV_UPCALL);
		return 0;
	}
	begin_record(record, EVENT_RECV_UPCALL);
	record->type = upcall_type(message->cmd);
	record->message = (__u64)skb;
	record->dp_ifindex = message->dp_ifindex;
	record->captured.packet_size = message->packet_size;
	record->captured.key_size = message->key_size;
	/* The clamp changes nothing; the verifier needs it. */
	asm volatile("" : "+r"(len));
	if (len > room)
		len = room;
	err = bpf_probe_read_kernel(record->data, len, (void *)(message->data + message->key_at));
	record->captured.key_error = err;
	record->captured.packet_error = err;
	if (!err) {
		record->captured.key_len = message->key_size < targ_key_size ? message->key_size :
									       targ_key_size;
		record->captured.packet_at = before;
		record->captured.packet_len = packet_len;
	}
	ring_submit(record);
	return 0;
}

SEC("tp_btf/skb_copy_datagram_iovec")
int recv_message(__u64 *ctx)
{
	const struct sk_buff *skb = (void *)ctx[0];
	struct upcall_message message;
	__u32 target;

	if (!is_upcall(skb, &target))
		return 0;
	if (!find_parts(skb, &message)) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	return send_received(skb, &message);
}

#endif /* __COST_MESSAGE_BPF_H__ */

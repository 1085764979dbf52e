/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The upcalls that ovs-vswitchd receives, seen in the kernel when it copies
 * their messages to the daemon: the tracepoint skb:skb_copy_datagram_iovec.
 */
#ifndef __MESSAGE_BPF_H__
#define __MESSAGE_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_message.bpf.h"
#include "datapaths.bpf.h"
#include "received.bpf.h"

/*
 * b5964b968ac6 ("bpf: Add skb dynptrs", Linux 6.4): reads what is in pages too.
 * 99dde42e3749 ("bpf: Allow bpf_dynptr_from_skb() for tp_btf", Linux 6.12).
 */
extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags,
			       struct bpf_dynptr *dynptr) __ksym __weak;

/* Threads that receive a message at the same time. */
#define MAX_KEPT_MESSAGES 1024

/* What of a message comes before its packet: key and other attributes. */
#define MAX_BEFORE_PACKET (MAX_KEY + MAX_GAP)

/* What the filters let through, but for --dp. */
static __always_inline int message_is_wanted(const struct upcall_message *message, __u32 target,
					     int filter)
{
	__u64 key = message->data + message->key_at, readable;

	if (targ_by_type && upcall_type(message->cmd) != targ_type)
		return 0;
	if (message->packet_size < targ_min_size)
		return 0;
	if (targ_by_port &&
	    !passes_port(target, port_of_key(NULL, OF_KERNEL, key, message->key_size)))
		return 0;
	readable = message->linear > message->packet_at ? message->linear - message->packet_at : 0;
	if (readable > message->packet_size)
		readable = message->packet_size;
	return !filter || passes_packet_filter(OF_KERNEL, message->data + message->packet_at,
					       message->packet_size, readable,
					       link_of_kernel_key(key, message->key_size));
}

/* A message whose end is in pages, until it has been copied to the daemon. */
struct kept_message {
	struct upcall_message message;
	struct received_upcall upcall;
	__u64 need; /* bytes from the key on */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_KEPT_MESSAGES);
	__type(key, __u32); /* the thread, which receives one at a time */
	__type(value, struct kept_message);
} kept_messages SEC(".maps");

/* It is too large for the stack. */
static const struct kept_message no_message;

static __noinline int keep_message(const struct upcall_message *message,
				   const struct received_upcall *upcall, __u64 need)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct kept_message *kept;

	bpf_map_update_elem(&kept_messages, &tid, &no_message, BPF_ANY);
	kept = bpf_map_lookup_elem(&kept_messages, &tid);
	if (!kept) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	kept->message = *message;
	kept->upcall = *upcall;
	kept->need = need;
	return 0;
}

/* How a program gets at what is in pages. */
enum pages {
	PAGES_MISSING, /* not at all */
	PAGES_BY_DYNPTR,
	PAGES_LATER, /* from the daemon's buffer, when the message has been copied there: buffer.bpf.h */
};

/* Fills in a record but for the data of the message. err: why these are missing. */
static __always_inline void describe_message(struct upcall_record *record,
					     const struct upcall_message *message,
					     const struct received_upcall *upcall, __u64 packet_len,
					     __u32 paged, long err)
{
	struct captured *captured = &record->captured;

	fill_head(&record->head, upcall->args[ARG_TYPE], upcall->target, upcall->time);
	record->result = 0;
	record->paged = paged;
	__builtin_memcpy(record->datapath, upcall->datapath, sizeof(record->datapath));
	record->dp_ifindex = message->dp_ifindex;
	captured->packet_size = message->packet_size;
	captured->key_size = message->key_size;
	captured->key_error = err;
	captured->packet_error = err;
	if (err) {
		captured->key_len = 0;
		captured->packet_len = 0;
		captured->packet_at = 0;
		record->attributes_at = 0;
	} else {
		captured->key_len = message->key_size < targ_key_size ? message->key_size :
									targ_key_size;
		captured->packet_len = packet_len;
		captured->packet_at = message->packet_at - message->key_at;
		record->attributes_at = NLA_ALIGN(message->key_size);
	}
}

static __always_inline void lose_message(const struct upcall_message *message,
					 const struct received_upcall *upcall)
{
	count_lost(LOST_RING_FULL);
	if (targ_count_lost)
		count_lost_upcall(OF_KERNEL, upcall, message->dp_ifindex);
}

/* Its variable is on a stack of its own: receive_message() is as large as it may be. */
static __noinline long read_pages(const struct sk_buff *skb, __u8 *to, __u64 len, __u64 at)
{
	struct bpf_dynptr dynptr;
	long err;

	err = bpf_dynptr_from_skb((void *)skb, 0, &dynptr);
	return err ?: bpf_dynptr_read(to, len, &dynptr, at, 0);
}

/* Copies len bytes of the message, from its key on, to a reservation that has room for them. */
static __always_inline long copy_message(__u8 *to, __u64 len, __u64 room, const struct sk_buff *skb,
					 const struct upcall_message *message, enum pages pages)
{
	asm volatile("" : "+r"(len));
	/* The clamp changes nothing; the verifier needs it. */
	if (len > room)
		len = room;
	if (pages == PAGES_BY_DYNPTR && message->key_at + len > message->linear)
		return read_pages(skb, to, len, message->key_at);
	return bpf_probe_read_kernel(to, len, (void *)(message->data + message->key_at));
}

static __always_inline int send_message(const struct sk_buff *skb,
					const struct upcall_message *message,
					const struct received_upcall *upcall, enum pages pages)
{
	__u64 before = message->packet_at - message->key_at;
	__u64 packet_len = message->packet_size, need, room;
	struct upcall_record *record;
	__u32 paged = 0;
	long err;

	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;
	need = before + packet_len;
	if (pages != PAGES_BY_DYNPTR && message->key_at + need > message->linear) {
		if (pages == PAGES_LATER)
			return keep_message(message, upcall, need);
		/* All but the end of the packet is in one piece. */
		need = message->linear - message->key_at;
		if (message->linear < message->packet_at)
			need = before;
		paged = before + message->packet_size - need;
		packet_len = need - before;
	}
	if (before > MAX_BEFORE_PACKET || need > MAX_KEY_AND_PACKET) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	RING_RESERVE(record, room, need, MAX_KEY_AND_PACKET);
	if (!record) {
		lose_message(message, upcall);
		return 0;
	}
	err = copy_message(record->data, need, room, skb, message, pages);
	describe_message(record, message, upcall, packet_len, paged, err);
	ring_submit(record);
	return 0;
}

/* Counts an upcall instead of sending it. */
static __noinline int count_upcall(const struct upcall_message *message, __u32 target)
{
	__u32 slot = bpf_get_smp_processor_id() % FILTERED_SLOTS;
	struct counted_flow flow = { .from.port = NO_PORT };

	__sync_fetch_and_add(&counted[slot * FILTERED_STRIDE], 1);
	flow.dp_ifindex = message->dp_ifindex;
	flow.target = target;
	flow.tid = bpf_get_current_pid_tgid();
	flow.type = upcall_type(message->cmd);
	if (message->userdata_at) {
		__u64 userdata = message->data + message->userdata_at, detail = 0;

		flow.userdata_size = message->userdata_size;
		if (flow.userdata_size == USERDATA_STRUCT_SIZE)
			detail = USERDATA_STRUCT_DETAIL;
		if (flow.userdata_size >= sizeof(flow.userdata_detail)) {
			read_field(OF_KERNEL, &flow.userdata_type, sizeof(flow.userdata_type),
				   userdata);
			read_field(OF_KERNEL, flow.userdata_detail, sizeof(flow.userdata_detail),
				   userdata + detail);
		}
	}
	flow_of_kernel_key(message->data + message->key_at, message->key_size, &flow.from);
	if (!count_in_place(&flow))
		count_flow(&counted_flows, &flow, &flow.from);
	return 0;
}

/*
 * A wanted upcall, with the arguments that the probe would have. It is a
 * function of its own because the stack has no room for its variables beside
 * those of a packet filter.
 */
static __noinline int receive_message(const struct sk_buff *skb,
				      const struct upcall_message *message, __u32 target,
				      enum pages pages)
{
	struct received_upcall upcall = { .target = target };
	__u64 *args = upcall.args;

	args[ARG_TYPE] = upcall_type(message->cmd);
	args[ARG_KEY] = message->data + message->key_at;
	args[ARG_KEY_SIZE] = message->key_size;
	args[ARG_PACKET] = message->data + message->packet_at;
	args[ARG_PACKET_SIZE] = message->packet_size;
	if (targ_by_datapath || !targ_count_only)
		name_datapath(upcall.datapath, target, message->dp_ifindex);
	/* Where the name is not known yet, user space decides. */
	if (targ_by_datapath && upcall.datapath[0] &&
	    !same(upcall.datapath, targ_datapath, sizeof(upcall.datapath)))
		return filter_out();
	if (targ_count_only && bpf_ksym_exists(bpf_rdonly_cast) &&
	    (!targ_by_datapath || upcall.datapath[0])) {
		count_upcall(message, target);
		return 0;
	}
	upcall.time = bpf_ktime_get_ns();
	return send_message(skb, message, &upcall, pages);
}

static __always_inline int handle_message(const struct sk_buff *skb, enum pages pages, int filter)
{
	struct upcall_message message;
	__u32 target;

	if (!is_upcall(skb, &target))
		return 0;
	if (!passes_thread())
		return filter_out();
	if (!find_parts(skb, &message)) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	if (!message_is_wanted(&message, target, filter))
		return filter_out();
	return receive_message(skb, &message, target, pages);
}

#define MESSAGE_PROGRAM(name, pages, filter)                          \
	SEC("tp_btf/skb_copy_datagram_iovec")                         \
	int name(__u64 *ctx)                                          \
	{                                                             \
		return handle_message((void *)ctx[0], pages, filter); \
	}

MESSAGE_PROGRAM(recv_message, PAGES_MISSING, 0)
MESSAGE_PROGRAM(recv_message_filtered, PAGES_MISSING, 1)
MESSAGE_PROGRAM(recv_message_pages, PAGES_BY_DYNPTR, 0)
MESSAGE_PROGRAM(recv_message_pages_filtered, PAGES_BY_DYNPTR, 1)
MESSAGE_PROGRAM(recv_message_later, PAGES_LATER, 0)
MESSAGE_PROGRAM(recv_message_later_filtered, PAGES_LATER, 1)

#include "buffer.bpf.h"

#endif /* __MESSAGE_BPF_H__ */

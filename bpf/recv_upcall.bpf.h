/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What dpif_recv:recv_upcall of ovs-vswitchd passes, and how its flow key and
 * its packet get into a record.
 */
#ifndef __RECV_UPCALL_BPF_H__
#define __RECV_UPCALL_BPF_H__

#include <bpf/bpf_helpers.h>
#include "event.h"
#include "ring.bpf.h"

/* The arguments: lib/dpif.c of Open vSwitch. */
enum recv_upcall_arg {
	ARG_DATAPATH = 0, /* char *, dpif->full_name */
	ARG_TYPE = 1, /* enum dpif_upcall_type */
	ARG_PACKET = 2, /* void * */
	ARG_PACKET_SIZE = 3, /* uint32_t */
	ARG_KEY = 4, /* struct nlattr * */
	ARG_KEY_SIZE = 5, /* size_t */
	RECV_UPCALL_ARGS = 6,
};

BINDINGS(enum, recv_upcall_arg);

/*
 * A read costs as much as most of the rest of a probe, however long it is. Key
 * and packet lie in one message, that in which the kernel sent them: between
 * them are the headers of some attributes (queue_userspace_packet() of
 * net/openvswitch/datapath.c). So they are read together if at most MAX_GAP
 * bytes lie between them.
 */
#define MAX_GAP 96
#define MAX_KEY_AND_PACKET (MAX_KEY + MAX_GAP + MAX_PACKET)

/* What is to be captured of a key and a packet. */
struct capture {
	__u64 key_len;
	__u64 packet_len;
	__u64 gap; /* bytes between the two */
	int together; /* one read fetches both */
};

static __always_inline struct capture plan_capture(const __u64 *args, __u64 max_key,
						   __u64 max_packet)
{
	struct capture capture = {
		.key_len = args[ARG_KEY_SIZE],
		.packet_len = args[ARG_PACKET_SIZE],
	};

	if (capture.key_len > max_key)
		capture.key_len = max_key;
	if (capture.packet_len > max_packet)
		capture.packet_len = max_packet;
	if (capture.packet_len)
		capture.gap = args[ARG_PACKET] - (args[ARG_KEY] + args[ARG_KEY_SIZE]);
	capture.together = !capture.packet_len || (capture.key_len && capture.gap <= MAX_GAP &&
						   capture.key_len == args[ARG_KEY_SIZE]);
	return capture;
}

/*
 * Reserves a record for what is to be captured: RING_RESERVE(). If the two are
 * read separately, key_room is the key's share of the room, a constant on each
 * path too.
 */
#define RESERVE_CAPTURE(record, room, key_room, capture)                                          \
	do {                                                                                      \
		if ((capture)->together) {                                                        \
			__u64 need = (capture)->key_len + (capture)->gap + (capture)->packet_len; \
                                                                                                  \
			key_room = 0;                                                             \
			RING_RESERVE(record, room, need, MAX_KEY_AND_PACKET);                     \
		} else {                                                                          \
			__u64 need;                                                               \
                                                                                                  \
			if ((capture)->key_len <= 256)                                            \
				asm volatile("%0 = 256" : "=r"(key_room));                        \
			else                                                                      \
				asm volatile("%0 = %1" : "=r"(key_room) : "i"(MAX_KEY));          \
			need = key_room + (capture)->packet_len;                                  \
			RING_RESERVE_COARSELY(record, room, need, MAX_KEY_AND_PACKET);            \
		}                                                                                 \
	} while (0)

/* Reads what is to be captured into the data of the record that was reserved for it. */
static __always_inline void read_capture(struct captured *captured, __u8 *data,
					 const struct capture *capture, const __u64 *args,
					 __u64 room, __u64 key_room)
{
	__u64 key_len = capture->key_len, packet_len = capture->packet_len, gap = capture->gap;
	long err;

	captured->packet_size = args[ARG_PACKET_SIZE];
	captured->key_size = args[ARG_KEY_SIZE];
	if (capture->together) {
		err = read_user(data, key_len + gap + packet_len, room, args[ARG_KEY]);
		captured->key_error = 0;
		captured->packet_error = 0;
		if (err) {
			/* One of them, or both: if the key can be read it is the packet. */
			gap = 0;
			captured->packet_error = packet_len ? err : 0;
			err = read_user(data, key_len, room, args[ARG_KEY]);
			captured->key_error = err;
			if (!err) {
				packet_len = 0;
			} else {
				key_len = 0;
				err = read_user(data, packet_len, room, args[ARG_PACKET]);
				captured->packet_error = err;
				if (err)
					packet_len = 0;
			}
		}
		captured->key_len = key_len;
		captured->packet_at = key_len + gap;
	} else {
		/* The clamp of read_user(), here since key_len is added to data below. */
		asm volatile("" : "+r"(key_len));
		if (key_len > key_room)
			key_len = key_room;
		err = bpf_probe_read_user(data, key_len, (void *)args[ARG_KEY]);
		captured->key_error = err;
		if (err)
			key_len = 0;
		captured->key_len = key_len;
		captured->packet_at = key_len;

		err = read_user(data + key_len, packet_len, room - key_room, args[ARG_PACKET]);
		captured->packet_error = err;
		if (err)
			packet_len = 0;
	}
	captured->packet_len = packet_len;
}

#endif /* __RECV_UPCALL_BPF_H__ */

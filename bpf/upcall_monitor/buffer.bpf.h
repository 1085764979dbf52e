/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Takes a message whose end is in pages from the buffer of the daemon, once
 * netlink_recvmsg() has copied it there: for kernels whose tracepoints cannot
 * read pages.
 */
#ifndef __BUFFER_BPF_H__
#define __BUFFER_BPF_H__

#include <bpf/bpf_tracing.h>
#include "message.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct iovec {
	void *iov_base;
	__u64 iov_len;
};

struct iov_iter {
	__u64 iov_offset;
	const struct iovec *__iov;
};

/* Until de4f5fed3f23 ("iov_iter: add iter_iovec() helper", Linux 6.4). */
struct iov_iter___old {
	const struct iovec *iov;
};

struct msghdr {
	struct iov_iter msg_iter;
};

#pragma clang attribute pop

/* The most bytes of the first of the daemon's two buffers: nl_sock_recv__() of lib/netlink-socket.c has one of 512. */
#define MAX_FIRST 1024

/* Where the daemon has a message: at its first buffer, and from len bytes on at the second one. */
struct buffers {
	__u64 first;
	__u64 len;
	__u64 second;
};

/* Finds the buffers by what is left of the iterator when size bytes have been copied. */
static __always_inline int find_buffers(struct buffers *buffers, struct msghdr *msg, __u64 size)
{
	__u64 offset = BPF_CORE_READ(msg, msg_iter.iov_offset);
	const struct iov_iter *iter = &msg->msg_iter;
	const struct iovec *iov;

	if (bpf_core_field_exists(iter->__iov))
		iov = BPF_CORE_READ(iter, __iov);
	else
		iov = BPF_CORE_READ((struct iov_iter___old *)iter, iov);
	if (offset >= size) {
		buffers->first = (__u64)BPF_CORE_READ(iov, iov_base) + offset - size;
		buffers->len = size;
		buffers->second = 0;
		return 1;
	}
	buffers->second = (__u64)BPF_CORE_READ(iov, iov_base);
	iov--;
	buffers->first = (__u64)BPF_CORE_READ(iov, iov_base);
	buffers->len = BPF_CORE_READ(iov, iov_len);
	/* Otherwise there are more than two. */
	return buffers->len + offset == size;
}

/* Whether the daemon's buffer has the message that was kept, and not a later one: a program may have been skipped. */
static __always_inline int has_kept(const struct buffers *buffers,
				    const struct upcall_message *message, int size)
{
	struct netlink_head head = {};

	return size == message->size && buffers->len >= sizeof(head) &&
	       !bpf_probe_read_user(&head, sizeof(head), (void *)buffers->first) &&
	       head.type == targ_packet_family;
}

/* Copies need bytes of the message from its key on; there is room for MAX_FIRST more. */
static __always_inline long copy_from_buffers(__u8 *to, __u64 need, __u64 room,
					      const struct buffers *buffers, __u64 key_at)
{
	__u64 first = buffers->len - key_at, rest;
	long err;

	if (buffers->len < key_at)
		return -22; /* EINVAL */
	if (first > need)
		first = need;
	asm volatile("" : "+r"(first));
	if (first > MAX_FIRST)
		return -22;
	err = bpf_probe_read_user(to, first, (void *)(buffers->first + key_at));
	if (err || first == need)
		return err;
	rest = need - first;
	asm volatile("" : "+r"(rest));
	if (rest > room - MAX_FIRST)
		rest = room - MAX_FIRST;
	return bpf_probe_read_user(to + first, rest, (void *)buffers->second);
}

static __always_inline int send_kept(struct kept_message *kept, struct msghdr *msg, int size)
{
	const struct upcall_message *message = &kept->message;
	__u64 before = message->packet_at - message->key_at;
	__u64 need = kept->need, room;
	struct upcall_record *record;
	struct buffers buffers = {};
	long err;

	if (before > MAX_BEFORE_PACKET || need > MAX_KEY_AND_PACKET || size <= 0 ||
	    !find_buffers(&buffers, msg, size) || !has_kept(&buffers, message, size)) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	RING_RESERVE_COARSELY(record, room, need + MAX_FIRST, MAX_KEY_AND_PACKET + MAX_FIRST);
	if (!record) {
		lose_message(message, &kept->upcall);
		return 0;
	}
	err = copy_from_buffers(record->data, need, room, &buffers, message->key_at);
	describe_message(record, message, &kept->upcall, need - before, 0, err);
	ring_submit(record);
	return 0;
}

SEC("fexit/netlink_recvmsg")
int BPF_PROG(recv_ends, struct socket *sock, struct msghdr *msg, __u64 len, int flags, int result)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct kept_message *kept;

	if (current_target() >= targ_targets)
		return 0;
	kept = bpf_map_lookup_elem(&kept_messages, &tid);
	if (!kept)
		return 0;
	send_kept(kept, msg, result);
	bpf_map_delete_elem(&kept_messages, &tid);
	return 0;
}

#endif /* __BUFFER_BPF_H__ */

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Captures what an upcall passes on its way: queue_userspace_packet() of the
 * datapath, recv_upcall, op_flow_put and op_flow_execute of ovs-vswitchd, and
 * ovs_packet_cmd_execute() of the datapath.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "upcall_cost.h"
#include "ring.bpf.h"
#include "uprobe.bpf.h"
#include "usdt_arg.bpf.h"
#include "task.bpf.h"
#include "datapath.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* How many argument strings each probe has. */
const volatile __u32 targ_recv_upcall_specs = 1;
const volatile __u32 targ_op_flow_put_specs = 1;
const volatile __u32 targ_op_flow_execute_specs = 1;
const volatile struct usdt_arg targ_recv_upcall[MAX_SPECS][RECV_UPCALL_ARGS];
const volatile struct usdt_arg targ_op_flow_put[MAX_SPECS][OP_FLOW_PUT_ARGS];
const volatile struct usdt_arg targ_op_flow_execute[MAX_SPECS][OP_FLOW_EXECUTE_ARGS];
/* Bytes to capture at most: of a packet, a flow key, the attributes of a request. */
const volatile __u32 targ_packet_size;
const volatile __u32 targ_key_size;
const volatile __u32 targ_request_size;
/* The network namespace (inode number) of the daemon's datapath. */
const volatile __u32 targ_netns;

/*
 * The daemon, as its probes know it: its number in our own pid namespace may
 * be another one than here.
 */
__u32 traced_pid;

/* Only for the type: user space's bindings are made from it. */
const struct cost_record *unused_cost_record __attribute__((unused));

/*
 * Sets record to a reservation behind whose header are at least need bytes,
 * and room to how many: a constant on each path.
 */
#define STEP(size) RING_STEP(sizeof(struct cost_record), size)
#define RESERVE_RECORD()							\
	do {									\
		STEP(64) STEP(96) STEP(128) STEP(160) STEP(192) STEP(224)	\
		STEP(256) STEP(320) STEP(384) STEP(448) STEP(512)	\
		STEP(640) STEP(768) STEP(1024) STEP(1280) STEP(1536)		\
		STEP(1792) STEP(2048) STEP(3072) STEP(4096) STEP(6144)		\
		STEP(8192) STEP(12288) STEP(16384) STEP(32768)			\
		{								\
			asm volatile("%0 = %1" : "=r"(room)			\
				     : "i"(MAX_KEY + MAX_PACKET));		\
			record = bpf_ringbuf_reserve(&ring,			\
						     sizeof(struct cost_record) + \
						     MAX_KEY + MAX_PACKET, 0);	\
		}								\
	} while (0)

/* Fills in what each event has. */
static __always_inline void begin_record(struct cost_record *record, __u32 event)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	__builtin_memset(record, 0, sizeof(*record));
	record->time = bpf_ktime_get_ns();
	record->event = event;
	record->pid = pid_tgid >> 32;
	record->tid = pid_tgid;
	record->cpu = bpf_get_smp_processor_id();
	current_comm(record->comm);
}

/* ---- the daemon ---- */

/* What a probe passes. What has_key and has_packet say is a constant, so that the rest folds away. */
struct user_event {
	__u32 event;
	__u32 type;
	int has_key, has_packet;
	__u64 datapath;
	__u64 key, key_size, max_key;
	__u64 packet, packet_size;
};

static __always_inline int send_user(struct scratch *scratch, const struct user_event *event)
{
	__u64 key_len, key_room = 0, packet_len, need, room;
	struct cost_record *record = NULL;
	long err;

	key_len = event->key_size;
	if (key_len > event->max_key)
		key_len = event->max_key;
	packet_len = event->packet_size;
	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;

	/*
	 * The verifier keeps no relation between two variables: the key's
	 * share of the record must be a constant on each path too.
	 */
#define KEY_STEP(size)							\
	if (key_len <= (size)) {					\
		asm volatile("%0 = %1" : "=r"(key_room) : "i"(size));	\
	} else
	if (event->has_key) {
		KEY_STEP(64) KEY_STEP(96) KEY_STEP(112) KEY_STEP(128)
		KEY_STEP(144) KEY_STEP(160) KEY_STEP(192) KEY_STEP(224) KEY_STEP(256)
		KEY_STEP(320) KEY_STEP(384) KEY_STEP(512) KEY_STEP(768) KEY_STEP(1024)
		{
			asm volatile("%0 = %1" : "=r"(key_room) : "i"(MAX_KEY));
		}
	}

	need = key_room + packet_len;
	RESERVE_RECORD();
	if (!record) {
		count_lost(event->event);
		return 0;
	}
	begin_record(record, event->event);
	record->type = event->type;
	record->key_size = event->key_size;
	record->packet_size = event->packet_size;
	if (event->datapath)
		user_name(scratch, record->datapath, event->datapath, record->pid, record->time);

	/* Neither clamp changes anything; they tell the verifier. */
	if (event->has_key) {
		asm volatile("" : "+r"(key_len));
		if (key_len > key_room)
			key_len = key_room;
		err = bpf_probe_read_user(record->data, key_len, (void *)event->key);
		record->key_error = err;
		if (err)
			key_len = 0;
		record->key_len = key_len;
		room -= key_room;
	} else {
		key_len = 0;
	}
	if (event->has_packet) {
		asm volatile("" : "+r"(packet_len));
		if (packet_len > room)
			packet_len = room;
		err = bpf_probe_read_user(record->data + key_len, packet_len,
					  (void *)event->packet);
		record->packet_error = err;
		record->packet_len = err ? 0 : packet_len;
	}
	ring_submit(record);
	return 0;
}

/* Fetches the arguments of a probe into args; not 0 if one could not be read. */
#define FETCH_ARGS(ctx, probe, count)						\
	({									\
		__u64 spec = probe##_specs > 1 ? bpf_get_attach_cookie(ctx) : 0; \
		__u32 pid = bpf_get_current_pid_tgid() >> 32;			\
		long failed;							\
										\
		if (traced_pid != pid)						\
			traced_pid = pid;					\
		failed = usdt_args(ctx, USDT_SPECS(probe, probe##_specs, spec), count, \
				   scratch ? scratch->window : NULL, args);	\
		if (failed)							\
			count_lost(LOST_ARGUMENTS);				\
		failed;								\
	})

static __always_inline int handle_recv_upcall(void *ctx, struct scratch *scratch)
{
	__u64 args[RECV_UPCALL_ARGS] = {};
	struct user_event event = {
		.event = EVENT_RECV_UPCALL,
		.has_key = 1,
		.has_packet = 1,
	};

	if (FETCH_ARGS(ctx, targ_recv_upcall, RECV_UPCALL_ARGS))
		return 0;
	event.type = args[ARG_TYPE];
	event.datapath = args[ARG_DATAPATH];
	event.key = args[ARG_KEY];
	event.key_size = args[ARG_KEY_SIZE];
	event.max_key = targ_key_size;
	event.packet = args[ARG_PACKET];
	event.packet_size = args[ARG_PACKET_SIZE];
	return send_user(scratch, &event);
}

/* The beginning of struct ofpbuf, include/openvswitch/ofpbuf.h of Open vSwitch, the same in all releases. */
struct ofpbuf {
	__u64 base;
	__u64 data;
	__u32 size;
};

/* What comes before the attributes of a request: struct nlmsghdr, genlmsghdr and ovs_header. */
#define REQUEST_HEADERS (16 + 4 + 4)

static __always_inline int handle_op_flow_put(void *ctx, struct scratch *scratch)
{
	struct user_event event = { .event = EVENT_OP_FLOW_PUT, .has_key = 1 };
	__u64 args[OP_FLOW_PUT_ARGS] = {};
	struct ofpbuf request = {};

	if (FETCH_ARGS(ctx, targ_op_flow_put, OP_FLOW_PUT_ARGS))
		return 0;
	if (bpf_probe_read_user(&request, sizeof(request), (void *)args[ARG_REQUEST])) {
		count_lost(LOST_ARGUMENTS);
		return 0;
	}
	if (request.size > REQUEST_HEADERS) {
		event.key = request.data + REQUEST_HEADERS;
		event.key_size = request.size - REQUEST_HEADERS;
		event.max_key = targ_request_size;
	}
	return send_user(scratch, &event);
}

static __always_inline int handle_op_flow_execute(void *ctx, struct scratch *scratch)
{
	struct user_event event = { .event = EVENT_OP_FLOW_EXECUTE, .has_packet = 1 };
	__u64 args[OP_FLOW_EXECUTE_ARGS] = {};

	if (FETCH_ARGS(ctx, targ_op_flow_execute, OP_FLOW_EXECUTE_ARGS))
		return 0;
	event.packet = args[ARG_EXECUTE_PACKET];
	event.packet_size = args[ARG_EXECUTE_SIZE];
	return send_user(scratch, &event);
}

#define USDT_PROGRAMS(name)					\
	static __always_inline int run_##name(void *ctx)	\
	{							\
		struct scratch *scratch = take_scratch();	\
		int result = handle_##name(ctx, scratch);	\
								\
		release_scratch(scratch);			\
		return result;					\
	}							\
								\
	UPROBE_PROGRAMS(name, run_##name(ctx))
USDT_PROGRAMS(recv_upcall)
USDT_PROGRAMS(op_flow_put)
USDT_PROGRAMS(op_flow_execute)

/* ---- the datapath ---- */

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
	/* What was queued has told of its own failure. */
	if (result && !upcall->queued)
		send_failed(upcall, result);
	upcall->dp = NULL;
	return 0;
}

/*
 * Where skb_checksum_help() will put a checksum into the packet; 0: nowhere.
 * Sets is_crc if it is skb_crc32c_csum_help(), and of four bytes.
 */
static __always_inline __u32 unfinished_checksum(const struct sk_buff *skb,
						 const struct queued_packet *packet, int *is_crc)
{
	__u64 head = (__u64)BPF_CORE_READ(skb, head);
	__u32 at;

	if (BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed) != CHECKSUM_PARTIAL)
		return 0;
	if (bpf_core_field_exists(skb->csum_not_inet))
		*is_crc = BPF_CORE_READ_BITFIELD_PROBED(skb, csum_not_inet);
	at = head + BPF_CORE_READ(skb, csum_start) + BPF_CORE_READ(skb, csum_offset) -
	     (__u64)packet->data;
	return packet->has_vlan ? at + VLAN_HLEN : at;
}

static __always_inline int handle_queue_begins(struct sk_buff *skb, __u32 cutlen)
{
	struct upcall *upcall = current_upcall();
	struct queued_packet packet = {};
	struct cost_record *record = NULL;
	__u64 packet_len, need, room;
	int is_crc = 0;
	__u32 checksum;
	long err;

	if (!upcall || !upcall->dp)
		return 0;
	upcall->skb = (__u64)skb;
	upcall->queued = 1;

	queued_packet(&packet, skb, cutlen);
	checksum = unfinished_checksum(skb, &packet, &is_crc);
	packet_len = packet.readable;
	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;
	need = packet_len;
	RESERVE_RECORD();
	if (!record) {
		count_lost(EVENT_DP_UPCALL);
		return 0;
	}
	begin_record(record, EVENT_DP_UPCALL);
	record->skb = upcall->skb;
	upcall_fields(record, upcall);
	BPF_CORE_READ_STR_INTO(&record->device, skb, dev, name);
	record->unfinished_checksum = checksum;
	if (checksum)
		record->checksum_size = is_crc ? 4 : 2;
	record->packet_size = packet.size;

	/* It changes nothing; it tells the verifier. */
	asm volatile("" : "+r"(packet_len));
	if (packet_len > room)
		packet_len = room;
	err = copy_packet(record->data, packet_len, room, &packet);
	record->packet_error = err;
	record->packet_len = err ? 0 : packet_len;
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

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct nlattr {
	__u16 nla_len;
};

struct genl_info {
	struct nlattr **attrs;
};

#pragma clang attribute pop

/* include/uapi/linux/netlink.h, include/uapi/linux/openvswitch.h */
#define NLA_HDRLEN 4
#define OVS_PACKET_ATTR_PACKET 1

static __always_inline int handle_execute(struct genl_info *info)
{
	struct nlattr **attrs = BPF_CORE_READ(info, attrs);
	struct cost_record *record;
	struct nlattr *packet = NULL;

	if (bpf_get_current_pid_tgid() >> 32 != traced_pid)
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(EVENT_OVS_PKT_EXEC);
		return 0;
	}
	begin_record(record, EVENT_OVS_PKT_EXEC);
	bpf_probe_read_kernel(&packet, sizeof(packet), attrs + OVS_PACKET_ATTR_PACKET);
	if (packet)
		record->packet_size = BPF_CORE_READ(packet, nla_len) - NLA_HDRLEN;
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

SEC("fentry/ovs_packet_cmd_execute")
int BPF_PROG(execute, struct sk_buff *skb, struct genl_info *info)
{
	return handle_execute(info);
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

SEC("kprobe/ovs_packet_cmd_execute")
int BPF_KPROBE(execute_kprobe, struct sk_buff *skb, struct genl_info *info)
{
	return handle_execute(info);
}

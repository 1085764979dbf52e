// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Captures what dpif_recv:recv_upcall of ovs-vswitchd passes, and the upcalls
 * that failed in the kernel before that.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "upcall_monitor.h"
#include "ring.bpf.h"
#include "uprobe.bpf.h"
#include "usdt_arg.bpf.h"
#include "task.bpf.h"
#include "datapath.bpf.h"
#include "flow_id.bpf.h"
#include "packet_filter.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Of a name that is compared: padded with NUL to a multiple of 4 bytes. */
#define NAME __attribute__((aligned(4)))

/* How many of targ_args are used; the cookie of a site says which. */
const volatile __u32 targ_specs = 1;
const volatile struct usdt_arg targ_args[MAX_SPECS][RECV_UPCALL_ARGS];
/* Bytes to capture at most. */
const volatile __u32 targ_packet_size;
const volatile __u32 targ_key_size;

/* The daemons, and the network namespace (inode number) of each one's datapath. */
const volatile __u32 targ_targets = 1;
const volatile __u32 targ_netns[MAX_TARGETS];

/* Filters. Each folds away if it is not asked for; targ_filters: there are any that ask for arguments in memory. */
const volatile __u8 targ_filters;
const volatile __u8 targ_by_type;
const volatile __u32 targ_type;
const volatile __u32 targ_min_size;
const volatile __u32 targ_tid;
const volatile __u8 targ_by_comm;
const volatile char targ_comm[16] NAME;
const volatile __u8 targ_by_datapath;
const volatile char targ_datapath[32] NAME;
const volatile __u8 targ_by_port;
/* Each the index of a daemon, above, and a port. User space changes them when ports come and go. */
__u64 filter_ports;
__u64 filter_port[MAX_PORTS];
__u64 filtered[FILTERED_SLOTS * FILTERED_STRIDE];

/* Count by flow what the ring has no room for, as far as there are entries. */
const volatile __u8 targ_count_lost;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, struct flow_id);
	__type(value, __u64);
} lost_flows SEC(".maps");

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

/* Only for the type: user space's bindings are made from it. */
const struct upcall_record *unused_upcall_record __attribute__((unused));
const struct flow_id *unused_flow_id __attribute__((unused));
const struct failed_from *unused_failed_from __attribute__((unused));
const struct packet_head *unused_packet_head __attribute__((unused));

typedef __u32 __attribute__((may_alias)) word;

/*
 * Whether two names are the same, each a NAME of size bytes. By words, since clang 19 spills what it compares by bytes
 * to the stack until that is full.
 */
static __always_inline int same(const char *a, const volatile char *b, int size)
{
	const volatile word *other = (const volatile word *)b;
	const word *one = (const word *)a;
	word differ = 0;

#pragma unroll
	for (int i = 0; i < size / 4; i++)
		differ |= one[i] ^ other[i];
	return !differ;
}

/* Counts an upcall that is kept back. */
static __always_inline int filter_out(void)
{
	__u32 slot = bpf_get_smp_processor_id() % FILTERED_SLOTS;

	__sync_fetch_and_add(&filtered[slot * FILTERED_STRIDE], 1);
	return 0;
}

static __always_inline int passes_port(__u32 target, __u32 port)
{
	__u64 wanted = (__u64)target << 32 | port;

	for (int i = 0; i < MAX_PORTS; i++) {
		if (i >= filter_ports)
			break;
		if (filter_port[i] == wanted)
			return 1;
	}
	return 0;
}

/* Counts one more upcall of a flow that the ring had no room for. */
static __always_inline void count_lost_flow(struct flow_id *flow)
{
	const __u64 one = 1;
	__u64 *count;

	/* A second time without addresses, if there are too many of them. */
#pragma unroll
	for (int i = 0; i < 2; i++) {
		count = bpf_map_lookup_elem(&lost_flows, flow);
		if (!count) {
			if (!bpf_map_update_elem(&lost_flows, flow, &one, BPF_NOEXIST))
				return;
			/* Another CPU was first, or the map is full. */
			count = bpf_map_lookup_elem(&lost_flows, flow);
		}
		if (count) {
			__sync_fetch_and_add(count, 1);
			return;
		}
		__builtin_memset(flow->src, 0, sizeof(flow->src));
		__builtin_memset(flow->dst, 0, sizeof(flow->dst));
		flow->folded = 1;
	}
}

/*
 * The most that may lie between key and packet for them to be read at once:
 * short attributes of the kernel's message (queue_userspace_packet()).
 */
#define MAX_GAP 96
#define MAX_ROOM (MAX_KEY + MAX_GAP + MAX_PACKET)

/*
 * Set record to a reservation behind whose header are at least need bytes, and
 * room to how many: a constant on each path. Coarsely, where it is rare.
 */
#define STEP(size) RING_STEP(sizeof(struct upcall_record), size)
#define RESERVE_RECORD()							\
	do {									\
		STEP(64) STEP(96) STEP(128) STEP(160) STEP(192) STEP(224)	\
		STEP(256) STEP(288) STEP(320) STEP(352) STEP(384) STEP(448)	\
		STEP(512) STEP(640) STEP(768) STEP(1024) STEP(1280) STEP(1536)	\
		STEP(1792) STEP(2048) STEP(3072) STEP(4096) STEP(6144)		\
		STEP(8192) STEP(12288) STEP(16384) STEP(24576) STEP(32768)	\
		STEP(49152) STEP(MAX_ROOM) {}					\
	} while (0)
#define RESERVE_COARSELY()							\
	do {									\
		STEP(384) STEP(512) STEP(1024) STEP(2048) STEP(4096)		\
		STEP(12288) STEP(24576) STEP(MAX_ROOM) {}			\
	} while (0)

/* Whether the current thread is one that is asked for. */
static __always_inline int passes_thread(void)
{
	char comm[16] NAME = {};

	if (targ_tid)
		return (__u32)bpf_get_current_pid_tgid() == targ_tid;
	if (!targ_by_comm)
		return 1;
	/* Not current_comm(): until Linux 5.17 an older name may follow the NUL. */
	bpf_get_current_comm(comm, sizeof(comm));
	return same(comm, targ_comm, sizeof(comm));
}

/* A function of its own for the sake of the stack, as count_lost_upcall(). */
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
		return passes_port(target, port_of_key(scratch, args[ARG_KEY], args[ARG_KEY_SIZE]));
	return 1;
}

/* What is known of an upcall when the probe has been looked at. */
struct received_upcall {
	__u64 args[RECV_UPCALL_ARGS];
	__u64 time;
	__u64 pid_tgid;
	char datapath[USER_NAME];
	__u32 target;
};

static __noinline int count_lost_upcall(const struct received_upcall *upcall)
{
	struct flow_id flow = { .port = NO_PORT, .target = upcall->target };

	__builtin_memcpy(flow.datapath, upcall->datapath, sizeof(flow.datapath));
	flow.tid = upcall->pid_tgid;
	flow.type = upcall->args[ARG_TYPE];
	flow_of_key(upcall->args[ARG_KEY], upcall->args[ARG_KEY_SIZE], &flow);
	count_lost_flow(&flow);
	return 0;
}

/* Looks at what the probe passes. Returns whether it is to be sent; else it has been counted. */
static __always_inline int receive_upcall(void *ctx, struct scratch *scratch, int filter,
					  struct received_upcall *upcall)
{
	const volatile struct usdt_arg *specs;
	__u64 *args = upcall->args;
	__u64 cookie = 0;

	/* What asks for no argument in memory is next to nothing. */
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
	if (filter && !passes_packet_filter(args[ARG_PACKET], args[ARG_PACKET_SIZE]))
		return filter_out();
	upcall->pid_tgid = bpf_get_current_pid_tgid();
	upcall->time = bpf_ktime_get_ns();
	user_name(scratch, upcall->datapath, args[ARG_DATAPATH], upcall->pid_tgid >> 32,
		  upcall->time);
	return 1;
}

static __always_inline int send_upcall(const struct received_upcall *upcall)
{
	__u64 key_len, packet_len, gap, need, room, key_room = 0;
	struct upcall_record *record = NULL;
	const __u64 *args = upcall->args;
	int together;
	long err;

	key_len = args[ARG_KEY_SIZE];
	if (key_len > targ_key_size)
		key_len = targ_key_size;
	packet_len = args[ARG_PACKET_SIZE];
	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;

	/*
	 * A read costs as much as most of the rest, however long it is, and
	 * key and packet lie in one message, that in which the kernel sent
	 * them.
	 */
	gap = args[ARG_PACKET] - (args[ARG_KEY] + args[ARG_KEY_SIZE]);
	if (!packet_len)
		gap = 0;
	together = !packet_len || (key_len && gap <= MAX_GAP && key_len == args[ARG_KEY_SIZE]);
	if (together) {
		need = key_len + gap + packet_len;
		RESERVE_RECORD();
	} else {
		/*
		 * The verifier keeps no relation between two variables: the
		 * key's share of the record is a constant on each path too.
		 */
		if (key_len <= 256)
			asm volatile("%0 = 256" : "=r"(key_room));
		else
			asm volatile("%0 = %1" : "=r"(key_room) : "i"(MAX_KEY));
		need = key_room + packet_len;
		RESERVE_COARSELY();
	}
	if (!record) {
		count_lost(LOST_RING_FULL);
		if (targ_count_lost)
			count_lost_upcall(upcall);
		return 0;
	}

	record->time = upcall->time;
	record->pid = upcall->pid_tgid >> 32;
	record->tid = upcall->pid_tgid;
	record->cpu = bpf_get_smp_processor_id();
	record->type = args[ARG_TYPE];
	record->target = upcall->target;
	record->result = 0;
	record->paged = 0;
	record->packet_size = args[ARG_PACKET_SIZE];
	record->key_size = args[ARG_KEY_SIZE];
	current_comm(record->comm);
	__builtin_memcpy(record->datapath, upcall->datapath, sizeof(record->datapath));

	/* No clamp changes anything; they tell the verifier. */
	if (together) {
		asm volatile("" : "+r"(need));
		if (need > room)
			need = room;
		err = bpf_probe_read_user(record->data, need, (void *)args[ARG_KEY]);
		record->key_error = 0;
		record->packet_error = 0;
		if (err) {
			/* One of them, or both: if the key can be read it is the packet. */
			gap = 0;
			asm volatile("" : "+r"(key_len));
			if (key_len > room)
				key_len = room;
			record->packet_error = packet_len ? err : 0;
			err = bpf_probe_read_user(record->data, key_len, (void *)args[ARG_KEY]);
			record->key_error = err;
			if (!err) {
				packet_len = 0;
			} else {
				key_len = 0;
				asm volatile("" : "+r"(packet_len));
				if (packet_len > room)
					packet_len = room;
				err = bpf_probe_read_user(record->data, packet_len,
							  (void *)args[ARG_PACKET]);
				record->packet_error = err;
				if (err)
					packet_len = 0;
			}
		}
		record->key_len = key_len;
		record->packet_at = key_len + gap;
	} else {
		asm volatile("" : "+r"(key_len));
		if (key_len > key_room)
			key_len = key_room;
		err = bpf_probe_read_user(record->data, key_len, (void *)args[ARG_KEY]);
		record->key_error = err;
		if (err)
			key_len = 0;
		record->key_len = key_len;
		record->packet_at = key_len;

		room -= key_room;
		asm volatile("" : "+r"(packet_len));
		if (packet_len > room)
			packet_len = room;
		err = bpf_probe_read_user(record->data + key_len, packet_len,
					  (void *)args[ARG_PACKET]);
		record->packet_error = err;
		if (err)
			packet_len = 0;
	}
	record->packet_len = packet_len;

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
	/* Before anything is reserved: each size of a record is a path of its own to the verifier. */
	release_scratch(scratch);
	return wanted ? send_upcall(&upcall) : 0;
}

/*
 * With a packet filter and without one: for the verifier to find out that a
 * program never gets to all that a filter may need, and to take it out, is a
 * third of what loading costs.
 */
UPROBE_PROGRAMS(recv_upcall, handle_upcall(ctx, 0))
UPROBE_PROGRAMS(recv_filtered, handle_upcall(ctx, 1))

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
					 const struct queued_packet *packet, int filter)
{
	struct upcall_record *record = NULL;
	__u64 packet_len, need, room;
	struct failed_from from;
	__u64 pid_tgid;
	long err;

	if ((targ_by_type && flow->type != targ_type) || packet->size < targ_min_size ||
	    /* No handler has it. */
	    targ_tid || targ_by_comm ||
	    (targ_by_datapath && !same(flow->datapath, targ_datapath, sizeof(flow->datapath))))
		return filter_out();
	/* User space judges by the name where there is no number. */
	if (targ_by_port && flow->port != NO_PORT && !passes_port(flow->target, flow->port))
		return filter_out();
	if (filter && !queued_passes_packet_filter(packet))
		return filter_out();

	packet_len = packet->readable;
	if (packet_len > targ_packet_size)
		packet_len = targ_packet_size;
	need = sizeof(struct failed_from) + packet_len;
	RESERVE_RECORD();
	if (!record) {
		count_lost(LOST_RING_FULL);
		if (targ_count_lost)
			count_lost_flow(flow);
		return 0;
	}

	pid_tgid = bpf_get_current_pid_tgid();
	record->time = bpf_ktime_get_ns();
	record->pid = pid_tgid >> 32;
	record->tid = pid_tgid;
	record->cpu = bpf_get_smp_processor_id();
	record->type = flow->type;
	record->target = flow->target;
	record->result = flow->result;
	record->paged = packet->size - packet->readable;
	record->packet_size = packet->size;
	record->key_size = 0;
	record->key_error = 0;
	current_comm(record->comm);
	__builtin_memcpy(record->datapath, flow->datapath, sizeof(record->datapath));
	__builtin_memcpy(from.device, device, sizeof(from.device));
	from.port = flow->port;
	from.eth_type = flow->eth_type;
	from.proto = flow->proto;
	from.pad = 0;
	__builtin_memcpy(from.src, flow->src, sizeof(from.src));
	__builtin_memcpy(from.dst, flow->dst, sizeof(from.dst));
	__builtin_memcpy(record->data, &from, sizeof(from));
	record->key_len = sizeof(from);
	record->packet_at = sizeof(from);

	room -= sizeof(from);
	asm volatile("" : "+r"(packet_len));
	if (packet_len > room)
		packet_len = room;
	err = copy_packet(record->data + sizeof(from), packet_len, room, packet);
	record->packet_error = err;
	record->packet_len = err ? 0 : packet_len;

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
	flow_of_sw_key(key, &flow);
	BPF_CORE_READ_STR_INTO(&device, skb, dev, name);
	queued_packet(&packet, skb, cutlen);
	return handle_failed(&flow, device, &packet, filter);
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

/*
 * Where fexit cannot be had. An upcall is between the two on one CPU, and
 * nothing else is: see datapath.bpf.h. The layout of the module's own
 * structures is not known then, hence neither the port's number.
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
	flow.port = NO_PORT;
	__builtin_memcpy(flow.datapath, upcall->datapath, sizeof(flow.datapath));
	/* What an action cut off is not known here. */
	queued_packet(&packet, (struct sk_buff *)skb, NOT_CUT);
	return handle_failed(&flow, upcall->device, &packet, filter);
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

/*
 * Alone, it tells whether this kernel's verifier takes a packet filter. Tests
 * run it, on what they hand it.
 */
SEC("syscall")
int run_packet_filter(struct packet_head *given)
{
	struct packet_head head = {};

	bpf_probe_read_kernel(&head, sizeof(head), given);
	return packet_filter(&head);
}

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Runs a packet filter, classic BPF as libpcap compiles it.
 *
 * Its instructions are in .rodata, which is frozen before the program is
 * loaded, and each has its own copy of the code that interprets it: there the
 * verifier knows the instruction, and removes what another would need. In a
 * loop it would have one copy for all, reached by many paths, and could remove
 * nothing.
 *
 * A filter is compiled for Ethernet. A packet without an Ethernet header is
 * filtered as if it had one, with its EtherType. Addresses it has none: a
 * filter that looks at these does not let it through.
 */
#ifndef __PACKET_FILTER_BPF_H__
#define __PACKET_FILTER_BPF_H__

#include <bpf/bpf_helpers.h>
#include "bindings.h"
#include "upcall_monitor.h"
#include "datapath.bpf.h"
#include "memory.bpf.h"

enum packet_filter_limit {
	PACKET_FILTER_STEPS = 128,
	PACKET_HEAD = 128, /* bytes of a packet that a filter may look at */
	PACKET_FILTER_WORDS = 16,
};

/*
 * An instruction takes a value and does something with it. User space makes
 * the instructions (src/upcall/packet_filter.rs), and only ones that can be run.
 */
enum packet_value {
	VALUE_K = 0,
	VALUE_A = 1,
	VALUE_X = 2,
	VALUE_LEN = 3, /* of the packet */
	VALUE_WORD = 4, /* the k-th */
	VALUE_AT_K = 5, /* width bytes of the packet, from byte k on */
	VALUE_AT_X = 6, /* the same, from byte X + k on */
	VALUE_MSH = 7, /* length of the IPv4 header that begins with byte k */
};

enum packet_action {
	ACTION_TO_A = 0,
	ACTION_TO_X = 1,
	ACTION_TO_WORD = 2,
	ACTION_JEQ = 3,
	ACTION_JGT = 4,
	ACTION_JGE = 5,
	ACTION_JSET = 6,
	ACTION_RETURN = 7,
	ACTION_ADD = 8,
	ACTION_SUB = 9,
	ACTION_MUL = 10,
	ACTION_DIV = 11,
	ACTION_MOD = 12,
	ACTION_AND = 13,
	ACTION_OR = 14,
	ACTION_XOR = 15,
	ACTION_LSH = 16,
	ACTION_RSH = 17,
};

struct packet_step {
	__u8 value;
	__u8 action;
	__u8 width; /* 1, 2 or 4 bytes */
	__u8 pad;
	/* How many steps to skip. */
	__u8 jt;
	__u8 jf;
	__u8 pad2[2];
	__u32 k;
};

/* How many instructions there are; 0: there is no filter. */
const volatile __u32 targ_filter_len;
const volatile struct packet_step targ_filter[PACKET_FILTER_STEPS];
/* Bytes of a packet that it looks at. */
const volatile __u32 targ_filter_reach;
/* Whether it looks at Ethernet addresses. */
const volatile __u8 targ_filter_addresses;
/* Upcalls of which the filter cannot say whether they match. They count as filtered too. */
__u64 filter_unknown;

/* include/uapi/linux/if_ether.h */
#define ETH_ALEN 6
#define ETH_HLEN 14

enum packet_head_limit {
	/* Where the packet begins in data: behind room for a header that it has not. */
	PACKET_AT = ETH_HLEN,
	/* A mask for the beginning of a frame. */
	PACKET_FRAME_AT = 15,
	/* 4 bytes can be read at each of the first PACKET_HEAD of a frame. */
	PACKET_HEAD_DATA = PACKET_HEAD + PACKET_FRAME_AT + 3,
};

/* The beginning of a packet, as a filter sees it: as a frame. */
struct packet_head {
	__u32 len; /* bytes that the packet has */
	__u32 size; /* bytes of the frame: as many, or ETH_HLEN more */
	__u32 captured; /* bytes of the frame in data */
	__u32 frame_at; /* where in data it begins: PACKET_AT, or 0 if the packet has no Ethernet header */
	__u8 data[PACKET_HEAD_DATA];
	__u8 pad[2];
};

BINDINGS(enum, packet_head_limit);
BINDINGS(struct, packet_head);

enum packet_verdict {
	PACKET_REJECTED = 0,
	PACKET_PASSES = 1,
	PACKET_UNKNOWN = 2, /* the filter looks at bytes of the packet that were not captured */
	PACKET_GO_ON = 3,
};

BINDINGS(enum, packet_filter_limit);
BINDINGS(enum, packet_value);
BINDINGS(enum, packet_action);
BINDINGS(enum, packet_verdict);

/* A value above 32 bits stops the filter; its lower half is the verdict. */
#define STOPS (1ULL << 32)

/*
 * Loads a VALUE_AT_K, VALUE_AT_X or VALUE_MSH from byte at of the packet. An
 * offset that would wrap around lies beyond the packet, as in libpcap.
 */
static __noinline __u64 packet_load(const struct packet_head *head, __u64 at, __u64 width,
				    int which)
{
	const __u8 *data = head->data;
	__u64 value;

	if (at + width > head->captured)
		return STOPS | (at + width > head->size ? PACKET_REJECTED : PACKET_UNKNOWN);
	/* The comparison changes nothing; the verifier needs it. */
	asm volatile("" : "+r"(at));
	if (at >= PACKET_HEAD)
		return STOPS | PACKET_UNKNOWN;
	data += at + (head->frame_at & PACKET_FRAME_AT);
	/* Byte by byte: the verifier allows only aligned reads of the stack. */
	value = (__u64)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
	if (width == 2)
		value >>= 16;
	else if (width == 1)
		value >>= 24;
	return which == VALUE_MSH ? (value & 0xf) << 2 : value;
}

static __noinline __u64 packet_compute(__u64 a, int action, __u64 value)
{
	switch (action) {
	case ACTION_ADD:
		return (__u32)(a + value);
	case ACTION_SUB:
		return (__u32)(a - value);
	case ACTION_MUL:
		return (__u32)(a * value);
	case ACTION_DIV:
		return value ? a / value : STOPS | PACKET_REJECTED;
	case ACTION_MOD:
		return value ? a % value : STOPS | PACKET_REJECTED;
	case ACTION_AND:
		return a & value;
	case ACTION_OR:
		return a | value;
	case ACTION_XOR:
		return a ^ value;
	case ACTION_LSH:
		return value < 32 ? (__u32)(a << value) : 0;
	case ACTION_RSH:
		return value < 32 ? a >> value : 0;
	}
	return STOPS | PACKET_UNKNOWN;
}

/*
 * One step. Registers have 64 bits, since the verifier knows more of those;
 * the upper half is 0. nodebug: the line numbers of so many copies would be as
 * large as their code.
 */
static __always_inline __attribute__((nodebug)) enum packet_verdict
packet_filter_step(const struct packet_head *head, const volatile struct packet_step *step,
		   __u64 *a, __u64 *x, __u64 *pc, __u32 *words)
{
	__u64 k = step->k, value = k;
	__u8 which = step->value, action = step->action;
	int holds = 0;

	switch (which) {
	case VALUE_K:
		break;
	case VALUE_A:
		value = *a;
		break;
	case VALUE_X:
		value = *x;
		break;
	case VALUE_LEN:
		value = head->len;
		break;
	case VALUE_WORD:
		value = words[k % PACKET_FILTER_WORDS];
		break;
	case VALUE_AT_X:
		value += *x;
		/* fall through */
	default:
		value = packet_load(head, value, step->width, which);
		if (value >= STOPS)
			return (__u32)value;
	}

	switch (action) {
	case ACTION_TO_A:
		*a = value;
		break;
	case ACTION_TO_X:
		*x = value;
		break;
	case ACTION_TO_WORD:
		words[k % PACKET_FILTER_WORDS] = value;
		break;
	case ACTION_JEQ:
		holds = *a == value;
		break;
	case ACTION_JGT:
		holds = *a > value;
		break;
	case ACTION_JGE:
		holds = *a >= value;
		break;
	case ACTION_JSET:
		holds = (*a & value) != 0;
		break;
	case ACTION_RETURN:
		return value ? PACKET_PASSES : PACKET_REJECTED;
	default:
		*a = packet_compute(*a, action, value);
		if (*a >= STOPS)
			return (__u32)*a;
	}
	/* Both are 0 unless it is a jump. */
	*pc += 1 + (holds ? step->jt : step->jf);
	return PACKET_GO_ON;
}

#define PACKET_STEP(i)                                                                   \
	if (pc == (i)) {                                                                 \
		verdict = packet_filter_step(head, &targ_filter[i], &a, &x, &pc, words); \
		if (verdict != PACKET_GO_ON)                                             \
			return verdict;                                                  \
	}
#define PACKET_STEPS_4(i) PACKET_STEP(i) PACKET_STEP(i + 1) PACKET_STEP(i + 2) PACKET_STEP(i + 3)
#define PACKET_STEPS_16(i) \
	PACKET_STEPS_4(i) PACKET_STEPS_4(i + 4) PACKET_STEPS_4(i + 8) PACKET_STEPS_4(i + 12)
#define PACKET_STEPS_64(i) \
	PACKET_STEPS_16(i) PACKET_STEPS_16(i + 16) PACKET_STEPS_16(i + 32) PACKET_STEPS_16(i + 48)

/*
 * Returns the filter's enum packet_verdict of a packet. It is static, like all
 * that it calls: a global function is verified even if there is no filter, and
 * before Linux 5.12 it may not take a pointer.
 */
static __noinline int packet_filter(const struct packet_head *head)
{
	__u32 words[PACKET_FILTER_WORDS] = {};
	enum packet_verdict verdict;
	__u64 a = 0, x = 0, pc = 0;

	PACKET_STEPS_64(0)
	PACKET_STEPS_64(64)
	return PACKET_UNKNOWN;
}

/* What a packet begins with: an enum packet_link and, above it, the EtherType of LINK_NETWORK as it is on the wire. */
#define LINK_TYPE_SHIFT 16

static __always_inline __u32 network_link(__be16 eth_type)
{
	return LINK_NETWORK | (__u32)eth_type << LINK_TYPE_SHIFT;
}

static __always_inline __u32 link_kind(__u32 link)
{
	return link & ((1 << LINK_TYPE_SHIFT) - 1);
}

/* It is 0, but the verifier does not know that. */
static volatile __u32 some_zero;

/*
 * Fills in all but the bytes of the packet. Returns how many of them the filter
 * looks at; their place is PACKET_AT. There is no branch, and the verifier is
 * kept from knowing the link: it would follow the filter for each kind of link
 * separately.
 */
static __always_inline __u64 begin_head(struct packet_head *head, __u64 size, __u64 readable,
					__u32 link)
{
	__u64 without = targ_filter_reach > ETH_HLEN ? targ_filter_reach - ETH_HLEN : 0;
	__u64 reach = targ_filter_reach, network, known;

	link += some_zero;
	network = link / LINK_NETWORK & 1;
	known = (link / LINK_ETHERNET & 1) | network;
	head->len = size;
	head->frame_at = PACKET_AT - network * ETH_HLEN;
	head->captured = network * ETH_HLEN;
	/* Where nothing can be looked at, it is not known either where the frame ends. */
	head->size = (size + network * ETH_HLEN) | (known - 1);
	*(__be16 *)(head->data + 2 * ETH_ALEN) = link >> LINK_TYPE_SHIFT;
	reach = (reach - network * (reach - without)) * known;
	return readable < reach ? readable : reach;
}

/* How many of len bytes are there when reading them gave err: 0, or a negative errno. It has no branch either. */
static __always_inline __u64 captured(__u64 len, __s64 err)
{
	return len & ~(err >> 63);
}

static __always_inline int packet_passes(const struct packet_head *head, __u32 link)
{
	int verdict;

	if (targ_filter_addresses && link_kind(link) == LINK_NETWORK)
		return 0;
	verdict = packet_filter(head);
	if (verdict == PACKET_UNKNOWN)
		__sync_fetch_and_add(&filter_unknown, 1);
	return verdict == PACKET_PASSES;
}

/* For a packet in one piece. It is a function of its own, so that the stack is large enough. */
static __noinline int passes_packet_filter(enum memory memory, __u64 packet, __u64 size,
					   __u64 readable, __u32 link)
{
	struct packet_head head = {};
	__u64 len = begin_head(&head, size, readable, link);

	asm volatile("" : "+r"(len));
	if (len > PACKET_HEAD)
		len = PACKET_HEAD;
	head.captured += captured(len, read_memory(memory, head.data + PACKET_AT, len, packet));
	return packet_passes(&head, link);
}

/* The stack has no room for it. A CPU has one such packet at a time: see datapath.bpf.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet_head);
} queued_head SEC(".maps");

/* For a packet that the kernel has. */
static __always_inline int queued_passes_packet_filter(const struct queued_packet *packet,
						       __u32 link)
{
	struct packet_head *head;
	__u32 zero = 0;
	__u64 len;

	head = bpf_map_lookup_elem(&queued_head, &zero);
	if (!head)
		return 0;
	len = begin_head(head, packet->size, packet->readable, link);
	head->captured += captured(len,
				   copy_packet(head->data + PACKET_AT, len, PACKET_HEAD, packet));
	return packet_passes(head, link);
}

#endif /* __PACKET_FILTER_BPF_H__ */

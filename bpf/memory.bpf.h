/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reads what lies in the traced process with one source of events, and in the kernel with the other. */
#ifndef __MEMORY_BPF_H__
#define __MEMORY_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct nlmsghdr {
	__u32 nlmsg_len;
	__u16 nlmsg_type;
};

struct genlmsghdr {
	__u8 cmd;
};

struct nlattr {
	__u16 nla_len;
	__u16 nla_type;
};

#pragma clang attribute pop

#ifdef WITHOUT_KFUNCS
#define CAN_CAST 0
#define READ_AT(address, type, member) BPF_CORE_READ((struct type *)(address), member)
#else
/*
 * a35b9af4ec2c ("bpf: Add a kfunc for generic type cast", Linux 6.2): what it
 * returns is read by plain loads, which yield 0 where the memory cannot be
 * read. Reading an attribute by a helper costs ten times as much.
 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;
#define CAN_CAST bpf_ksym_exists(bpf_rdonly_cast)

/* Reads a member of the struct that is at an address of the kernel's. */
#define READ_AT(address, type, member)                                                    \
	({                                                                                \
		typeof(((struct type *)0)->member) __value = 0;                           \
		if (CAN_CAST) {                                                           \
			const struct type *__at = bpf_rdonly_cast(                        \
				(void *)(address), bpf_core_type_id_kernel(struct type)); \
			__value = __at->member;                                           \
		} else {                                                                  \
			__value = BPF_CORE_READ((struct type *)(address), member);        \
		}                                                                         \
		__value;                                                                  \
	})
#endif

/* Whose an address is. Each caller passes a constant, so that the verifier removes the other case. */
enum memory {
	OF_TASK,
	OF_KERNEL,
};

static __always_inline long read_memory(enum memory memory, void *to, __u64 len, __u64 addr)
{
	if (memory == OF_KERNEL)
		return bpf_probe_read_kernel(to, len, (void *)addr);
	return bpf_probe_read_user(to, len, (void *)addr);
}

/* Reads a field of len bytes, a constant: 1, 2, or a multiple of 4. The types that are named only have such a field. */
static __always_inline long read_field(enum memory memory, void *to, const __u64 len, __u64 addr)
{
	if (memory != OF_KERNEL || !CAN_CAST)
		return read_memory(memory, to, len, addr);
	if (len == 1) {
		*(__u8 *)to = READ_AT(addr, genlmsghdr, cmd);
	} else if (len == 2) {
		*(__u16 *)to = READ_AT(addr, nlattr, nla_len);
	} else {
#pragma unroll
		for (int i = 0; i < len / 4; i++)
			((__u32 *)to)[i] = READ_AT(addr + 4 * i, nlmsghdr, nlmsg_len);
	}
	return 0;
}

/* Returns the four bytes at addr; 0 where they cannot be read. */
static __always_inline __u32 read_word(enum memory memory, __u64 addr)
{
	__u32 word = 0;

	if (memory == OF_KERNEL)
		return READ_AT(addr, nlmsghdr, nlmsg_len);
	if (bpf_probe_read_user(&word, sizeof(word), (void *)addr))
		return 0;
	return word;
}

#endif /* __MEMORY_BPF_H__ */

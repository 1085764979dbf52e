/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reads what lies in the traced process with one source of events, and in the kernel with the other. */
#ifndef __MEMORY_BPF_H__
#define __MEMORY_BPF_H__

#include <bpf/bpf_helpers.h>

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

#endif /* __MEMORY_BPF_H__ */

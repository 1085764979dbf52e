/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Decides which upcalls are wanted. */
#ifndef __FILTERS_BPF_H__
#define __FILTERS_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../upcall_monitor.h"
#include "../filter.bpf.h"

/*
 * The verifier removes the code of each filter that was not asked for.
 * targ_filters: there is one that needs an argument in memory.
 */
const volatile __u8 targ_filters;
const volatile __u8 targ_by_type;
const volatile __u32 targ_type;
const volatile __u32 targ_min_size;
const volatile __u8 targ_by_datapath;
const volatile char targ_datapath[32] NAME;
const volatile __u8 targ_by_port;

/*
 * The wanted ports: each has the index of a daemon in its upper half and a
 * port in its lower one. User space changes them when ports come and go.
 */
__u64 filter_ports;
__u64 filter_port[MAX_PORTS];

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

#endif /* __FILTERS_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The daemons, and how much is captured of what they receive. */
#ifndef __TARGETS_BPF_H__
#define __TARGETS_BPF_H__

#include "../upcall_monitor.h"
#include "../process.bpf.h"

/* The network namespace (inode number) of each daemon's datapath. */
const volatile __u32 targ_netns[MAX_TARGETS];

/* The most bytes to capture. */
const volatile __u32 targ_packet_size;
const volatile __u32 targ_key_size;

#endif /* __TARGETS_BPF_H__ */

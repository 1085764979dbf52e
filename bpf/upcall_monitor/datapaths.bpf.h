/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The names of the datapaths: a message has only the number. */
#ifndef __DATAPATHS_BPF_H__
#define __DATAPATHS_BPF_H__

#include "../upcall_monitor.h"

/*
 * Each has the index of its daemon in the upper half and the number of the
 * datapath in the lower one; 0: none, and none behind it. User space sets them
 * when ports come and go: first the number to 0, then the name, then the number.
 */
__u64 datapath_number[MAX_DATAPATHS];
__u64 datapath_name_of[MAX_DATAPATHS][4];

/* Copies the name of a datapath into 32 bytes that are 0; leaves them if it is not known. */
static __always_inline void name_datapath(char *name, __u32 target, __u32 dp_ifindex)
{
	__u64 wanted = (__u64)target << 32 | dp_ifindex;
	__u64 *to = (__u64 *)name;

	for (int i = 0; i < MAX_DATAPATHS; i++) {
		volatile __u64 *number = &datapath_number[i];

		if (!*number)
			return;
		if (*number != wanted)
			continue;
		to[0] = datapath_name_of[i][0];
		to[1] = datapath_name_of[i][1];
		to[2] = datapath_name_of[i][2];
		to[3] = datapath_name_of[i][3];
		/* It was changed meanwhile. */
		if (*number != wanted)
			to[0] = to[1] = to[2] = to[3] = 0;
		return;
	}
}

#endif /* __DATAPATHS_BPF_H__ */

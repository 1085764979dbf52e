// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Captures the upcalls that ovs-vswitchd receives, by its probe
 * dpif_recv:recv_upcall or by the message that the kernel copies to it, and
 * those that failed in the kernel before that.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "upcall_monitor.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#include "upcall_monitor/received.bpf.h"
#include "upcall_monitor/message.bpf.h"
#include "upcall_monitor/failed.bpf.h"

/*
 * Loading this program alone shows whether the verifier of this kernel accepts
 * a packet filter. Tests run it on packets of their own.
 */
SEC("syscall")
int run_packet_filter(struct packet_head *given)
{
	struct packet_head head = {};

	bpf_probe_read_kernel(&head, sizeof(head), given);
	return packet_filter(&head);
}

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Captures each upcall on its way: queue_userspace_packet() of the datapath;
 * its receipt and the requests that follow it, at the probes of ovs-vswitchd
 * or in the kernel; and ovs_packet_cmd_execute() of the datapath.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "upcall_cost.h"

/*
 * Where the kernel has no type information, libbpf loads no object that names
 * a kfunc, even if the program which calls it is not loaded. The probes work
 * there.
 */
#define WITHOUT_KFUNCS

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#include "upcall_cost/daemon.bpf.h"
#include "upcall_cost/datapath.bpf.h"
#include "upcall_cost/message.bpf.h"
#include "upcall_cost/requests.bpf.h"

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Captures each request of ovs-vswitchd to the kernel's datapath: at a probe
 * when the daemon is about to send it, or in the kernel when it was handled.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "dpif_ops.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#include "dpif_ops/probes.bpf.h"
#include "dpif_ops/kernel.bpf.h"

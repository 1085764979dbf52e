/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Fills in the head of a record. */
#ifndef __EVENT_BPF_H__
#define __EVENT_BPF_H__

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "event.h"

struct task_struct {
	char comm[16];
} __attribute__((preserve_access_index));

enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_task_pt_regs = 175,
};

/* Writes the name of the current thread into 16 bytes. */
static __always_inline void current_comm(char *comm)
{
	/*
	 * 3ca1032ab7ab ("bpf: Implement get_current_task_btf and
	 * RET_PTR_TO_BTF_ID", Linux 5.11). The helper for names costs several
	 * times what two loads do, but needs no type information.
	 */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		const __u64 *name = (const __u64 *)bpf_get_current_task_btf()->comm;

		((__u64 *)comm)[0] = name[0];
		((__u64 *)comm)[1] = name[1];
	} else {
		bpf_get_current_comm(comm, 16);
	}
}

/* Fills in a head, but for the name of the thread. */
static __always_inline void fill_nameless_head(struct event_head *head, __u16 kind, __u16 target,
					       __u64 time)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	head->time = time;
	head->pid = pid_tgid >> 32;
	head->tid = pid_tgid;
	head->cpu = bpf_get_smp_processor_id();
	head->kind = kind;
	head->target = target;
}

static __always_inline void fill_head(struct event_head *head, __u16 kind, __u16 target, __u64 time)
{
	fill_nameless_head(head, kind, target, time);
	current_comm(head->comm);
}

#endif /* __EVENT_BPF_H__ */

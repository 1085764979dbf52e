/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What all programs at uprobes begin with. */
#ifndef __UPROBE_BPF_H__
#define __UPROBE_BPF_H__

#include <bpf/bpf_helpers.h>

static const volatile __u8 never;

/*
 * Keeps the program on the stack of the thread that runs into it.
 *
 * Since a76ab5731e32 ("bpf: Find eligible subprogs for private stack support",
 * Linux 6.13) a program of this type has a stack in memory of the CPU if it
 * needs 64 bytes or more, for it is taken for one that is never preempted. At
 * a uprobe it is, where the kernel is preemptible; another thread may then run
 * into it on the same CPU and write over the stack of the first, which goes on
 * with other arguments, or with a wild pointer: the kernel oopses in the
 * traced thread.
 *
 * There is no such stack where a program can make a tail call
 * (check_max_stack_depth() of kernel/bpf/verifier.c). This one never does, and
 * the verifier takes it out; the question was asked before that.
 */
static __always_inline void keep_thread_stack(void *ctx)
{
	if (never)
		bpf_tail_call(ctx, NULL, 0);
}

/*
 * Two programs that do what body does with ctx: for uprobe-multi, and for perf
 * events, which are for kernels without private stacks. (The JITs of some of
 * those refuse a tail call in a program that has functions.)
 */
#define UPROBE_PROGRAMS(name, body)		\
	SEC("uprobe.multi")			\
	int name##_multi(void *ctx)		\
	{					\
		keep_thread_stack(ctx);		\
		return body;			\
	}					\
						\
	SEC("uprobe")				\
	int name(void *ctx)			\
	{					\
		return body;			\
	}

#endif /* __UPROBE_BPF_H__ */

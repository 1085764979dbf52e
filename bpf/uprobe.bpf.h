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
 * Linux 6.13, with the JIT of x86-64; that of arm64 followed) a function of a
 * program of this type which needs 64 bytes or more has its stack in memory of
 * the CPU: such a program is taken for one that is never entered twice on a
 * CPU. At a uprobe it is, where the kernel is preemptible. The other thread
 * writes over the stack of the first, which goes on with other arguments, or
 * with a wild pointer: the kernel oopses in the traced thread.
 *
 * No program that has a tail call in it is given such a stack
 * (check_max_stack_depth() of kernel/bpf/verifier.c). This one is never made,
 * and the verifier takes it out, but only after it has decided that.
 */
static __always_inline void keep_thread_stack(void *ctx)
{
	if (never)
		bpf_tail_call(ctx, NULL, 0);
}

/* Two programs that do what body does with ctx: for uprobe-multi, and for perf events. */
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
		keep_thread_stack(ctx);		\
		return body;			\
	}

#endif /* __UPROBE_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How all programs at uprobes are made. */
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
 * the CPU: the kernel assumes that such a program is never entered twice on a
 * CPU. At a uprobe it can be, if the kernel is preemptible: another thread
 * writes over the stack of the first, which goes on with other arguments or
 * with a wild pointer, and the kernel oopses in the traced thread.
 *
 * A program with a tail call does not get such a stack
 * (check_max_stack_depth() of kernel/bpf/verifier.c). This tail call is never
 * made. The verifier removes it, but only after it has decided on the stack.
 */
static __always_inline void keep_thread_stack(void *ctx)
{
	if (never)
		bpf_tail_call(ctx, NULL, 0);
}

/* Two programs that evaluate body, which has ctx: one for uprobe-multi, one for perf events. */
#define UPROBE_PROGRAMS(name, body)     \
	SEC("uprobe.multi")             \
	int name##_multi(void *ctx)     \
	{                               \
		keep_thread_stack(ctx); \
		return body;            \
	}                               \
                                        \
	SEC("uprobe")                   \
	int name(void *ctx)             \
	{                               \
		keep_thread_stack(ctx); \
		return body;            \
	}

#endif /* __UPROBE_BPF_H__ */

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel as the source: the waits of a thread are its calls of poll().
 *
 * poll_block() of Open vSwitch (lib/poll-loop.c) calls time_poll()
 * (lib/timeval.c), which calls poll() until no signal interrupts it. The other
 * calls of poll() on its threads are those of latch_is_set()
 * (lib/latch-unix.c) and check_connection_completion() (lib/socket-util.c),
 * which look at one descriptor without waiting, and end no run.
 */
#ifndef __POLL_BPF_H__
#define __POLL_BPF_H__

#include <bpf/bpf_helpers.h>
#include "../bridge_loop.h"
#include "../process.bpf.h"
#include "held.bpf.h"

/* The system call that poll() of the C library makes, and its arguments in the registers of user space. */
#if defined(__TARGET_ARCH_x86)
#define POLL "poll"
#define SYS(name) "__x64_sys_" name
#define FIRST(from) ((from)->di)
typedef struct pt_regs user_regs;
#elif defined(__TARGET_ARCH_arm64)
#define POLL "ppoll"
#define SYS(name) "__arm64_sys_" name
#define FIRST(from) ((from)->regs[0])
typedef struct user_pt_regs user_regs;
#endif

/*
 * Further up in the stack than this no function's own struct pollfd is.
 * poll_block() has its array from malloc().
 */
#define LOOK_WINDOW 1024

/* Whether this poll() is a look: it does not wait, and its one descriptor is in a variable on the stack. */
static __always_inline int is_look(__u64 fds, __u64 nfds, __u64 timeout, __u64 sp)
{
	if (nfds != 1 || fds - sp >= LOOK_WINDOW)
		return 0;
#if defined(__TARGET_ARCH_x86)
	return (__s32)timeout == 0;
#else
	__u64 time[2] = { 1, 1 };

	return timeout && !bpf_probe_read_user(time, sizeof(time), (void *)timeout) && !time[0] &&
	       !time[1];
#endif
}

static __always_inline int is_look_of(const user_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return is_look(regs->di, regs->si, regs->dx, regs->sp);
#else
	return is_look(regs->regs[0], regs->regs[1], regs->regs[2], regs->sp);
#endif
}

/* The group that the current thread is of, by the names that ovs_thread_create() gives. */
static __always_inline __u32 current_group(void)
{
	static const char handler[] = "handler", revalidator[] = "revalidator";
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	char comm[16] = {};
	__u32 is_handler = 1, is_revalidator = 1, i;

	if (pid_tgid >> 32 == (__u32)pid_tgid)
		return GROUP_MAIN;
	bpf_get_current_comm(comm, sizeof(comm));
#pragma unroll
	for (i = 0; i < sizeof(handler) - 1; i++)
		is_handler &= comm[i] == handler[i];
#pragma unroll
	for (i = 0; i < sizeof(revalidator) - 1; i++)
		is_revalidator &= comm[i] == revalidator[i];
	return is_handler ? GROUP_HANDLER : is_revalidator ? GROUP_REVALIDATOR : GROUP_OTHER;
}

/* A wanted thread is seen for the first time. */
static __always_inline int first_poll(void *ctx, __u32 ends)
{
	__u64 now = bpf_ktime_get_ns(), pid_tgid = bpf_get_current_pid_tgid();
	__u32 group = current_group(), tid = pid_tgid;
	struct held_state *held;

	if (!(targ_groups & 1 << group))
		return 0;
	if (targ_held) {
		switched_tgid = pid_tgid >> 32;
		bpf_map_update_elem(&held_states, &tid, &new_held, BPF_NOEXIST);
		held = bpf_map_lookup_elem(&held_states, &tid);
		if (held && ends == KIND_WAIT)
			begin_held(held);
	}
	return first_turn(ctx, tid, group, ends, now);
}

static __always_inline int poll_turn(void *ctx, struct thread_state *thread, __u32 ends)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tid = bpf_get_current_pid_tgid();
	struct held_state *held = NULL;

	thread->interrupted = 0;
	if (targ_held)
		held = bpf_map_lookup_elem(&held_states, &tid);
	if (ends == KIND_WAIT && held)
		/* Before the run begins, which is when switched() begins to look. */
		begin_held(held);
	return turn(ctx, thread, ends, now, ends == KIND_RUN ? held : NULL, 0);
}

/*
 * A look. That of a thread which has not been seen before is kept in mind
 * without a time, so that its end is not taken for that of a wait.
 */
static __always_inline int enter_look(struct thread_state *thread, __u32 tid)
{
	if (!thread) {
		if (!(targ_groups & 1 << current_group()))
			return 0;
		bpf_map_update_elem(&threads, &tid, &new_thread, BPF_NOEXIST);
		thread = bpf_map_lookup_elem(&threads, &tid);
		if (!thread)
			return 0;
		thread->kind = KIND_WAIT;
	}
	thread->looking = 1;
	return 0;
}

/* poll() begins. */
static __always_inline int enter_poll(void *ctx, int look)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct thread_state *thread = bpf_map_lookup_elem(&threads, &tid);

	if (look)
		return enter_look(thread, tid);
	if (!thread || !thread->since)
		return first_poll(ctx, KIND_RUN);
	thread->looking = 0;
	/* time_poll() goes on to wait. */
	if (thread->kind == KIND_WAIT && thread->interrupted)
		return 0;
	return poll_turn(ctx, thread, KIND_RUN);
}

/* poll() returns. */
static __always_inline int leave_poll(void *ctx, int interrupted)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct thread_state *thread = bpf_map_lookup_elem(&threads, &tid);

	if (thread && thread->looking) {
		thread->looking = 0;
		return 0;
	}
	if (!thread || !thread->since)
		return interrupted ? 0 : first_poll(ctx, KIND_WAIT);
	if (interrupted) {
		thread->interrupted = 1;
		return 0;
	}
	return poll_turn(ctx, thread, KIND_WAIT);
}

/* A signal that was not for a handler, SIGSTOP for example, is over. The kernel goes on with the poll() by itself. */
static __always_inline int leave_restart(void *ctx, int interrupted)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct thread_state *thread = bpf_map_lookup_elem(&threads, &tid);

	if (!thread || thread->kind != KIND_WAIT || !thread->interrupted || interrupted)
		return 0;
	return poll_turn(ctx, thread, KIND_WAIT);
}

/* EINTR, or one of what the kernel has in its place until it knows whether there is a handler: linux/errno.h. */
static __always_inline int is_interrupted(__s64 result)
{
	return result == -4 || (result <= -512 && result >= -516);
}

/* Whether the current thread is of the daemon. */
static __always_inline int is_traced(void)
{
	return current_target() < targ_targets;
}

SEC("fentry/" SYS(POLL))
int poll_fentry(__u64 *ctx)
{
	return is_traced() ? enter_poll(ctx, is_look_of((const user_regs *)ctx[0])) : 0;
}

SEC("fexit/" SYS(POLL))
int poll_fexit(__u64 *ctx)
{
	return is_traced() ? leave_poll(ctx, is_interrupted((__s64)ctx[1])) : 0;
}

/* restart_syscall() calls it; that function has no type information. */
SEC("fexit/do_restart_poll")
int restart_fexit(__u64 *ctx)
{
	return is_traced() ? leave_restart(ctx, is_interrupted((__s64)ctx[1])) : 0;
}

SEC("kprobe/" SYS(POLL))
int poll_kprobe(user_regs *ctx)
{
	user_regs regs = {};

	if (!is_traced())
		return 0;
	bpf_probe_read_kernel(&regs, sizeof(regs), (const void *)FIRST(ctx));
	return enter_poll(ctx, is_look_of(&regs));
}

#if defined(__TARGET_ARCH_x86)
#define TIF_SIGPENDING 2
#else
#define TIF_SIGPENDING 0
#endif

struct thread_info {
	unsigned long flags;
} __attribute__((preserve_access_index));

struct task_struct___info {
	struct thread_info thread_info;
} __attribute__((preserve_access_index));

/*
 * poll() is about to return, or what goes on with it after a signal is. A
 * kretprobe would need room for each poll() that any process of the machine
 * waits in, of which the kernel has too little.
 */
SEC("kprobe/poll_freewait")
int poll_done_kprobe(void *ctx)
{
	struct task_struct___info *task = (void *)bpf_get_current_task();
	int interrupted = 0;

	if (!is_traced())
		return 0;
	/* Without type information, a signal divides the wait. */
	if (bpf_core_field_exists(task->thread_info.flags))
		interrupted = BPF_CORE_READ(task, thread_info.flags) >> TIF_SIGPENDING & 1;
	return leave_poll(ctx, interrupted);
}

/* perf_call_bpf_enter() and perf_call_bpf_exit() of kernel/trace/trace_syscalls.c */
struct syscall_tracepoint {
	__u64 unused;
	__s64 number;
	__u64 args[6]; /* or the result */
};

SEC("tp/syscalls/sys_enter_" POLL)
int poll_enter_tp(struct syscall_tracepoint *ctx)
{
	const user_regs *regs;

	if (!is_traced())
		return 0;
	regs = (const user_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	return enter_poll(ctx, is_look(ctx->args[0], ctx->args[1], ctx->args[2], regs->sp));
}

SEC("tp/syscalls/sys_exit_" POLL)
int poll_exit_tp(struct syscall_tracepoint *ctx)
{
	return is_traced() ? leave_poll(ctx, is_interrupted((__s64)ctx->args[0])) : 0;
}

SEC("tp/syscalls/sys_exit_restart_syscall")
int restart_exit_tp(struct syscall_tracepoint *ctx)
{
	return is_traced() ? leave_restart(ctx, is_interrupted((__s64)ctx->args[0])) : 0;
}

#endif /* __POLL_BPF_H__ */

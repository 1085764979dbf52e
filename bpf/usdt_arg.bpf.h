/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reads the arguments of a USDT probe.
 *
 * The specs come from the note's argument string (src/trace/spec.rs) and are in
 * .rodata, which is frozen before the program is loaded. So the verifier knows
 * their values, and removes all but one register read, or one user read, for
 * each argument. That is why everything is inlined, and why the compiler must
 * not make a table lookup or a computed pointer of anything here.
 */
#ifndef __USDT_ARG_BPF_H__
#define __USDT_ARG_BPF_H__

#include <bpf/bpf_helpers.h>
#include "bindings.h"

enum usdt_operand_kind {
	USDT_CONSTANT = 0,
	USDT_REGISTER = 1,
	USDT_MEMORY = 2,
};

enum usdt_limit {
	/* In index_reg: the address has no index. */
	USDT_NO_REGISTER = 0xff,
	/* The most bytes that are read at once; a multiple of 8. */
	USDT_WINDOW = 1024,
	/* Different argument strings that the sites of a probe may have. */
	MAX_SPECS = 8,
	/* Where in the cookie of a site the index of its daemon begins. Below is that of its argument string. */
	COOKIE_TARGET_SHIFT = 8,
};

BINDINGS(enum, usdt_operand_kind);
BINDINGS(enum, usdt_limit);

struct usdt_arg {
	/* The constant, or what is added to the address; 0 of a register. */
	__s64 value;
	__u8 operand;
	/* 1, 2, 4 or 8 bytes. */
	__u8 size;
	__u8 is_signed;
	/* Indices of 8-byte words in the pt_regs that a program sees. */
	__u8 reg;
	__u8 index_reg;
	/* The index is shifted left by this. */
	__u8 index_shift;
	/* In memory: the first of the arguments that are read together with it, which may be itself. */
	__u8 window;
	__u8 pad[5];
	/* Where it is in what is read for all of them, in bytes. */
	__u16 at;
	/* In the first of them: how many bytes are read. */
	__u16 span;
};

/*
 * Each load from the context is an instruction of its own with a constant
 * offset: clang would merge them into one through a computed pointer, which
 * the verifier refuses.
 */
#define USDT_REG_CASE(n)                                                                 \
	case n:                                                                          \
		asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(v) : "r"(ctx), "i"(n * 8)); \
		break;

static __always_inline __u64 usdt_register(void *ctx, __u8 reg)
{
	__u64 v = 0;

	switch (reg) {
		USDT_REG_CASE(0)
		USDT_REG_CASE(1)
		USDT_REG_CASE(2)
		USDT_REG_CASE(3)
		USDT_REG_CASE(4)
		USDT_REG_CASE(5)
		USDT_REG_CASE(6)
		USDT_REG_CASE(7)
		USDT_REG_CASE(8)
		USDT_REG_CASE(9)
		USDT_REG_CASE(10)
		USDT_REG_CASE(11)
		USDT_REG_CASE(12)
		USDT_REG_CASE(13)
		USDT_REG_CASE(14)
		USDT_REG_CASE(15)
		USDT_REG_CASE(16)
		USDT_REG_CASE(17)
		USDT_REG_CASE(18)
		USDT_REG_CASE(19)
		USDT_REG_CASE(20)
#if defined(__TARGET_ARCH_arm64)
		USDT_REG_CASE(21)
		USDT_REG_CASE(22)
		USDT_REG_CASE(23)
		USDT_REG_CASE(24)
		USDT_REG_CASE(25)
		USDT_REG_CASE(26)
		USDT_REG_CASE(27)
		USDT_REG_CASE(28)
		USDT_REG_CASE(29)
		USDT_REG_CASE(30)
		USDT_REG_CASE(31)
		USDT_REG_CASE(32)
#endif
	}
	return v;
}

/* The low bytes of v as a value of the argument's type. All supported machines are little-endian. */
static __always_inline __u64 usdt_extend(const volatile struct usdt_arg *arg, __u64 v)
{
	__u8 size = arg->size;

	if (arg->is_signed) {
		if (size == 4)
			v = (__s64)(__s32)v;
		else if (size == 2)
			v = (__s64)(__s16)v;
		else if (size == 1)
			v = (__s64)(__s8)v;
	} else {
		if (size == 4)
			v = (__u32)v;
		else if (size == 2)
			v = (__u16)v;
		else if (size == 1)
			v = (__u8)v;
	}
	return v;
}

/* The constant, the content of the register, or the address in memory. */
static __always_inline __u64 usdt_operand(void *ctx, const volatile struct usdt_arg *arg)
{
	__u8 index_reg = arg->index_reg;
	__u64 v = arg->value;

	if (arg->operand != USDT_CONSTANT)
		v += usdt_register(ctx, arg->reg);
	if (index_reg != USDT_NO_REGISTER)
		v += usdt_register(ctx, index_reg) << arg->index_shift;
	return v;
}

/* Fetches the argument whose operand is v. Returns 0, or the errno of a failed user read, and *value is 0 then. */
static __always_inline long usdt_value(const volatile struct usdt_arg *arg, __u64 v, __u64 *value)
{
	__u8 size = arg->size;

	if (arg->operand == USDT_MEMORY) {
		void *addr = (void *)v;
		long err;

		v = 0;
		/* The size of a read is a constant on each path. */
		if (size == 8)
			err = bpf_probe_read_user(&v, 8, addr);
		else if (size == 4)
			err = bpf_probe_read_user(&v, 4, addr);
		else if (size == 2)
			err = bpf_probe_read_user(&v, 2, addr);
		else
			err = bpf_probe_read_user(&v, 1, addr);
		if (err) {
			*value = 0;
			return err;
		}
	}

	*value = usdt_extend(arg, v);
	return 0;
}

/* Fetches one argument. */
static __always_inline long usdt_arg(void *ctx, const volatile struct usdt_arg *arg, __u64 *value)
{
	return usdt_value(arg, usdt_operand(ctx, arg), value);
}

/*
 * Fetches n arguments. One read fetches all arguments in memory that lie close
 * together, since a read costs much, and its length little. window has room for
 * USDT_WINDOW bytes; if it is NULL, each argument in memory takes a read.
 * Returns 0, or the errno of a failed read, and the values that it was for are
 * 0 then.
 */
static __always_inline long usdt_args(void *ctx, const volatile struct usdt_arg *args, __u32 n,
				      __u64 *window, __u64 *values)
{
	long err = 0;

#pragma unroll
	for (__u32 i = 0; i < n; i++) {
		const volatile struct usdt_arg *arg = &args[i];
		int in_window = window && arg->operand == USDT_MEMORY;
		long failed;
		__u64 v;

		/* An earlier read has fetched it. */
		if (in_window && arg->window != i)
			continue;
		v = usdt_operand(ctx, arg);
		if (!in_window) {
			err |= usdt_value(arg, v, &values[i]);
			continue;
		}
		/* The verifier wants a constant size, and knows the span. */
		failed = bpf_probe_read_user(window, arg->span, (void *)(v - arg->at));
		err |= failed;
#pragma unroll
		for (__u32 j = i; j < n; j++) {
			v = 0;
			if (args[j].operand != USDT_MEMORY || args[j].window != i)
				continue;
			if (!failed) {
				void *at = (void *)window + args[j].at;

				if (args[j].size == 8)
					v = *(__u64 *)at;
				else if (args[j].size == 4)
					v = *(__u32 *)at;
				else if (args[j].size == 2)
					v = *(__u16 *)at;
				else
					v = *(__u8 *)at;
			}
			values[j] = usdt_extend(&args[j], v);
		}
	}
	return err;
}

/*
 * The specs of the site that fired: the spec'th of n_specs in all. A constant
 * is added on each path, so that the verifier knows what it reads there; clang
 * would compute the address from spec.
 */
#define USDT_SPECS(all, n_specs, spec)                                                        \
	({                                                                                    \
		const volatile struct usdt_arg *specs_ = (all)[0];                            \
                                                                                              \
		_Pragma("unroll") for (int i_ = 1; i_ < sizeof(all) / sizeof((all)[0]); i_++) \
		{                                                                             \
			if (i_ < (n_specs) && (spec) == i_)                                   \
				asm volatile("%0 += %1"                                       \
					     : "+r"(specs_)                                   \
					     : "i"(i_ * sizeof((all)[0])));                   \
		}                                                                             \
		specs_;                                                                       \
	})

#endif /* __USDT_ARG_BPF_H__ */

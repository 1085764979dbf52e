/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __BINDINGS_H__
#define __BINDINGS_H__

/*
 * Makes the build emit a struct or an enum for user space, as in
 * BINDINGS(enum, lost_reason): libbpf-cargo emits the types of global
 * variables. The programs do not use the variable.
 */
#define BINDINGS(kind, name) const kind name *unused_##name __attribute__((unused))

#endif /* __BINDINGS_H__ */

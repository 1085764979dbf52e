/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Messages of generic netlink, as the kernel has them in a struct sk_buff. */
#ifndef __NETLINK_BPF_H__
#define __NETLINK_BPF_H__

#include <bpf/bpf_helpers.h>

/* struct nlmsghdr of include/uapi/linux/netlink.h */
struct netlink_head {
	__u32 len;
	__u16 type; /* number of the family */
	__u16 flags;
	__u32 seq;
	__u32 pid;
};

/* struct genlmsghdr of include/uapi/linux/genetlink.h */
struct generic_head {
	__u8 cmd;
	__u8 version;
	__u16 reserved;
};

/* What each message of the openvswitch module begins with. */
struct datapath_message {
	struct netlink_head netlink;
	struct generic_head generic;
	__u32 dp_ifindex; /* struct ovs_header of include/uapi/linux/openvswitch.h */
};

/*
 * struct nlattr of include/uapi/linux/netlink.h as one number, which takes one
 * read: nla_len, and above it nla_type. A length below NLA_HDRLEN is none; so
 * is 0, what read_word() returns for what cannot be read.
 */
#define NLA_HDRLEN 4
#define NLA_TYPE_MASK 0x3fff
#define NLA_ALIGN(len) (((len) + 3) & ~3)
#define NLA_LEN(head) ((__u64)(head)&0xffff)
#define NLA_TYPE(head) ((head) >> 16 & NLA_TYPE_MASK)

#endif /* __NETLINK_BPF_H__ */

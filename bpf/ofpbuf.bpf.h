/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The netlink requests of ovs-vswitchd, which the probes of dpif_netlink_operate__ pass. */
#ifndef __OFPBUF_BPF_H__
#define __OFPBUF_BPF_H__

#include <bpf/bpf_helpers.h>

/* The beginning of struct ofpbuf, include/openvswitch/ofpbuf.h of Open vSwitch, the same in all releases. */
struct ofpbuf {
	__u64 base;
	__u64 data;
	__u32 size;
};

/* What comes before the attributes of a request: struct nlmsghdr, genlmsghdr and ovs_header. */
#define REQUEST_HEADERS (16 + 4 + 4)

struct request {
	__u64 attrs; /* address of the attributes */
	__u64 size; /* bytes of the attributes */
};

/* Finds the request in the struct ofpbuf at addr. Returns 0 or a negative errno. */
static __always_inline long read_request(struct request *request, __u64 addr)
{
	struct ofpbuf buf = {};
	long err;

	err = bpf_probe_read_user(&buf, sizeof(buf), (void *)addr);
	if (err)
		return err;
	if (buf.size > REQUEST_HEADERS) {
		request->attrs = buf.data + REQUEST_HEADERS;
		request->size = buf.size - REQUEST_HEADERS;
	}
	return 0;
}

#endif /* __OFPBUF_BPF_H__ */

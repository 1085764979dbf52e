//! Bindings of the BPF programs in `bpf/`, made by libbpf-cargo when the crate is built.

/// `bpf/upcall_monitor.bpf.c`
pub mod upcall_monitor {
    #![allow(clippy::all, missing_docs, dead_code)]
    include!(concat!(env!("OUT_DIR"), "/upcall_monitor.skel.rs"));
}

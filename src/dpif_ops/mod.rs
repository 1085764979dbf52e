//! What dpif-ops shows: the requests of ovs-vswitchd to the kernel's datapath.

pub mod event;
pub mod probes;
pub mod show;

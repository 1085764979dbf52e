//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::Section;

pub const SECTIONS: &[Section] = &[(
    "SEE ALSO",
    "upcall-monitor(8), bridge-loop(8), usdt-probes(8), ovs-vswitchd(8), ovs-dpctl(8), jq(1)",
)];

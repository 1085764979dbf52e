//! Bindings of the BPF programs in `bpf/`, made by libbpf-cargo when the crate is built.

use std::mem::MaybeUninit;

use libbpf_rs::OpenObject;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};

use crate::trace;
use crate::trace::kernel::EmptyBtf;
use crate::trace::spec::{self, Spec};
use crate::upcall::packet_filter::{InKernel, Step};
use upcall_monitor::{UpcallMonitorSkel, UpcallMonitorSkelBuilder};

/// A skeleton.
macro_rules! skeleton {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub mod $name {
            #![allow(clippy::all, missing_docs, dead_code)]
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".skel.rs"));
        }
    };
}

/// What goes into the `.rodata` of a skeleton whose probes have arguments.
macro_rules! usdt_arg {
    ($name:ident) => {
        const _: () = {
            use $name::types::{usdt_limit, usdt_operand_kind};
            assert!(usdt_operand_kind::USDT_CONSTANT.0 == spec::CONSTANT as u32);
            assert!(usdt_operand_kind::USDT_REGISTER.0 == spec::REGISTER as u32);
            assert!(usdt_operand_kind::USDT_MEMORY.0 == spec::MEMORY as u32);
            assert!(usdt_limit::USDT_NO_REGISTER.0 == spec::NO_REGISTER as u32);
            assert!(usdt_limit::USDT_WINDOW.0 == spec::WINDOW as u32);
        };

        impl From<Spec> for $name::types::usdt_arg {
            fn from(spec: Spec) -> Self {
                let Spec {
                    value,
                    operand,
                    size,
                    is_signed,
                    reg,
                    index_reg,
                    index_shift,
                    window,
                    at,
                    span,
                } = spec;
                Self {
                    value,
                    operand,
                    size,
                    is_signed: is_signed.into(),
                    reg,
                    index_reg,
                    index_shift,
                    window,
                    at,
                    span,
                    ..Self::default()
                }
            }
        }
    };
}

skeleton! {
    /// `bpf/bridge_loop.bpf.c`
    bridge_loop
}
skeleton! {
    /// `bpf/upcall_monitor.bpf.c`
    upcall_monitor
}
usdt_arg!(upcall_monitor);
impl From<Step> for upcall_monitor::types::packet_step {
    fn from(step: Step) -> Self {
        let Step {
            value,
            action,
            width,
            jt,
            jf,
            k,
        } = step;
        Self {
            value,
            action,
            width,
            jt,
            jf,
            k,
            ..Self::default()
        }
    }
}
impl upcall_monitor::types::rodata {
    /// Has the programs apply a packet filter.
    pub fn set_packet_filter(&mut self, filter: &InKernel) {
        self.targ_filter_len = filter.steps.len() as u32;
        for (to, step) in self.targ_filter.iter_mut().zip(&filter.steps) {
            *to = (*step).into();
        }
        self.targ_filter_reach = filter.reach;
    }
}

/// Loads what runs a packet filter, and nothing else: to know whether the verifier takes it, or to run it.
pub fn load_packet_filter<'obj>(
    filter: &InKernel,
    storage: &'obj mut MaybeUninit<OpenObject>,
) -> Result<UpcallMonitorSkel<'obj>, trace::Error> {
    let refused = |error| trace::Error::Load {
        program: None,
        error,
    };
    let mut builder = UpcallMonitorSkelBuilder::default();
    let _types = EmptyBtf::provide(builder.object_builder_mut())?;
    let mut open = builder.open(storage).map_err(refused)?;
    for mut program in open.open_object_mut().progs_mut() {
        let wanted = program.name() == "run_packet_filter";
        program.set_autoload(wanted);
    }
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.set_packet_filter(filter);
    }
    open.load().map_err(refused)
}

skeleton! {
    /// `bpf/upcall_cost.bpf.c`
    upcall_cost
}
usdt_arg!(upcall_cost);

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use libbpf_rs::skel::{OpenSkel, SkelBuilder};

    /// The programs at uprobes, and those of them that have a tail call.
    fn with_tail_call<'obj>(builder: impl SkelBuilder<'obj>) -> (Vec<String>, Vec<String>) {
        // Of `linux/bpf.h`: `BPF_JMP | BPF_CALL`, `BPF_FUNC_tail_call`.
        const CALL: u8 = 0x85;
        const TAIL_CALL: i32 = 12;
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let open = builder.open(storage).unwrap();
        let (mut all, mut with) = (Vec::new(), Vec::new());
        for program in open.open_object().progs() {
            if program.section() != "uprobe" && program.section() != "uprobe.multi" {
                continue;
            }
            let name = program.name().to_string_lossy().into_owned();
            let is_tail_call = |insn: &libbpf_sys::bpf_insn| {
                (insn.code, insn.src_reg(), insn.imm) == (CALL, 0, TAIL_CALL)
            };
            if program.insns().iter().any(is_tail_call) {
                with.push(name.clone());
            }
            all.push(name);
        }
        (all, with)
    }

    /// Check that no program at a uprobe can get a stack that it shares with the other threads of a CPU: see
    /// `bpf/uprobe.bpf.h`.
    #[test]
    fn keep_thread_stack() {
        let (all, with) =
            with_tail_call(super::upcall_monitor::UpcallMonitorSkelBuilder::default());
        assert_eq!(all.len(), 4);
        assert_eq!(all, with);
        let (all, with) = with_tail_call(super::upcall_cost::UpcallCostSkelBuilder::default());
        assert_eq!(all.len(), 6);
        assert_eq!(all, with);
        let (all, with) = with_tail_call(super::bridge_loop::BridgeLoopSkelBuilder::default());
        assert_eq!(all.len(), 4);
        assert_eq!(all, with);
    }
}

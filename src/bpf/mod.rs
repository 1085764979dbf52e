//! Bindings of the BPF programs in `bpf/`, made by libbpf-cargo when the crate is built.

pub mod record;

use crate::show::histogram;
use crate::trace::spec::{self, Spec};

/// A skeleton.
macro_rules! skeleton {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub mod $name {
            #![allow(clippy::all, clippy::undocumented_unsafe_blocks, unused_qualifications, dead_code)]
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".skel.rs"));
        }
    };
}

/// The structs of a skeleton that are read from bytes. `before data` says that a struct is a header, which ends in this
/// array of unknown length.
macro_rules! plain {
    ($($skeleton:ident::$name:ident $(before $data:ident)?),+ $(,)?) => {$(
        $(const _: () = assert!(
            std::mem::offset_of!($skeleton::types::$name, $data) == size_of::<$skeleton::types::$name>()
        );)?
        // SAFETY: it is a C struct of integers and arrays of them, for which libbpf-cargo names all padding.
        unsafe impl record::Plain for $skeleton::types::$name {}
    )+};
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
            assert!(usdt_limit::MAX_SPECS.0 == spec::MAX_SPECS as u32);
            assert!(usdt_limit::COOKIE_TARGET_SHIFT.0 == spec::COOKIE_TARGET_SHIFT);
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
    /// `bpf/dpif_ops.bpf.c`
    dpif_ops
}
usdt_arg!(dpif_ops);
skeleton! {
    /// `bpf/upcall_monitor.bpf.c`
    upcall_monitor
}
usdt_arg!(upcall_monitor);
skeleton! {
    /// `bpf/upcall_cost.bpf.c`
    upcall_cost
}
usdt_arg!(upcall_cost);

plain! {
    bridge_loop::loop_record before data,
    bridge_loop::held,
    bridge_loop::stack_copy,
    bridge_loop::thread_state,
    dpif_ops::event_head,
    dpif_ops::dpif_op_record before data,
    upcall_monitor::upcall_record before data,
    upcall_monitor::failed_from,
    upcall_monitor::packet_head,
    upcall_cost::cost_record before data,
}

// The buckets that bpf/bridge_loop.bpf.c counts in.
const _: () = {
    use bridge_loop::types::bridge_loop_limit;
    assert!(bridge_loop_limit::SUB_BITS.0 == histogram::SUB_BITS);
    assert!(bridge_loop_limit::MAX_BITS.0 == histogram::MAX_BITS);
    assert!(bridge_loop_limit::BUCKETS.0 as usize == histogram::BUCKETS);
    use crate::bridge_loop::Group;
    assert!(bridge_loop::types::thread_group::GROUP_OTHER.0 == Group::Other as u32);
    assert!(bridge_loop::types::thread_group::GROUPS.0 as usize == Group::ALL.len());
};

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
        let (all, with) = with_tail_call(super::dpif_ops::DpifOpsSkelBuilder::default());
        assert_eq!(all.len(), 8);
        assert_eq!(all, with);
        let (all, with) = with_tail_call(super::bridge_loop::BridgeLoopSkelBuilder::default());
        assert_eq!(all.len(), 4);
        assert_eq!(all, with);
    }
}

//! Bindings of the BPF programs in `bpf/`, made by libbpf-cargo when the crate is built.

use std::mem::MaybeUninit;

use libbpf_rs::OpenObject;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};

use crate::trace;
use crate::trace::kernel::NoTypes;
use crate::trace::usdt::{Arg, Operand};
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
        /// The argument as `bpf/usdt_arg.bpf.h` fetches it.
        impl From<&Arg> for $name::types::usdt_arg {
            fn from(arg: &Arg) -> Self {
                let mut spec = Self {
                    size: arg.size,
                    is_signed: arg.signed.into(),
                    index_reg: NO_REGISTER,
                    ..Self::default()
                };
                match arg.operand {
                    Operand::Constant(value) => {
                        spec.operand = CONSTANT;
                        spec.value = value;
                    }
                    Operand::Register(register) => {
                        spec.operand = REGISTER;
                        spec.reg = register.index;
                    }
                    Operand::Memory {
                        base,
                        index,
                        scale,
                        offset,
                    } => {
                        spec.operand = MEMORY;
                        spec.reg = base.index;
                        spec.value = offset;
                        if let Some(index) = index {
                            spec.index_reg = index.index;
                            spec.index_shift = scale.trailing_zeros() as u8;
                        }
                    }
                }
                spec
            }
        }

        impl $name::types::usdt_arg {
            /// The same arguments, so that one read fetches all of those in memory that lie close together.
            pub fn in_windows<const N: usize>(mut specs: [Self; N]) -> [Self; N] {
                let base = |spec: &Self| (spec.operand, spec.reg, spec.index_reg, spec.index_shift);
                let place = |spec: &Self| (spec.value, spec.value.saturating_add(spec.size.into()));
                let mut placed = [false; N];
                for first in 0..N {
                    if placed[first] || specs[first].operand != MEMORY {
                        continue;
                    }
                    let (mut begin, mut end) = place(&specs[first]);
                    let mut with = [false; N];
                    with[first] = true;
                    for other in first + 1..N {
                        let (a, b) = (&specs[first], &specs[other]);
                        if !placed[other] && base(a) == base(b) {
                            let (from, to) = place(b);
                            let (from, to) = (begin.min(from), end.max(to));
                            if to.saturating_sub(from) <= WINDOW {
                                (begin, end, with[other]) = (from, to, true);
                            }
                        }
                    }
                    for (i, spec) in specs.iter_mut().enumerate().filter(|(i, _)| with[*i]) {
                        placed[i] = true;
                        spec.window = first as u8;
                        spec.at = (spec.value - begin) as u16;
                        spec.span = (end - begin) as u16;
                    }
                }
                specs
            }
        }
    };
}

// enum usdt_operand_kind and USDT_NO_REGISTER of bpf/usdt_arg.bpf.h.
const CONSTANT: u8 = 0;
const REGISTER: u8 = 1;
const MEMORY: u8 = 2;
const NO_REGISTER: u8 = 0xff;
/// USDT_WINDOW of the same.
const WINDOW: i64 = 1024;

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
    let mut builder = UpcallMonitorSkelBuilder::default();
    let _types = NoTypes::stand_in(builder.object_builder_mut())?;
    let mut open = builder.open(storage).map_err(trace::Error::Load)?;
    for mut program in open.open_object_mut().progs_mut() {
        let wanted = program.name() == "run_packet_filter";
        program.set_autoload(wanted);
    }
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.set_packet_filter(filter);
    }
    open.load().map_err(trace::Error::Load)
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

    use super::upcall_monitor::types::usdt_arg;
    use crate::trace::usdt::{Machine, parse_args};

    /// Where each argument is read: the first of its window, its place in there, the bytes of the window.
    fn windows<const N: usize>(args: &str) -> Vec<Option<(u8, u16, u16)>> {
        let parsed = parse_args(args, Machine::X86_64).unwrap();
        let specs: Vec<usdt_arg> = parsed.iter().map(usdt_arg::from).collect();
        let specs = usdt_arg::in_windows(<[usdt_arg; N]>::try_from(specs).ok().unwrap());
        let in_memory = |spec: &usdt_arg| spec.operand == super::MEMORY;
        let window = |spec: &usdt_arg| (spec.window, spec.at, specs[usize::from(spec.window)].span);
        specs
            .iter()
            .map(|spec| in_memory(spec).then(|| window(spec)))
            .collect()
    }

    /// Check that arguments which lie close together are read at once, each where it is in what was read, and others
    /// alone: those of Open vSwitch's own binary, of another base or index, beyond 1024 bytes, below the base, at odd places.
    #[test]
    fn in_windows() {
        let upcall = windows::<6>("8@%rdx 4@%ecx 8@%rax 4@12(%rbx) 8@576(%rbx) 8@584(%rbx)");
        assert_eq!(
            upcall,
            [
                None,
                None,
                None,
                Some((3, 0, 580)),
                Some((3, 564, 580)),
                Some((3, 572, 580))
            ]
        );
        assert_eq!(
            windows::<3>("8@-24(%rbp) 4@-28(%rbp) 8@-24(%rsp)"),
            [Some((0, 4, 12)), Some((0, 0, 12)), Some((2, 0, 8))]
        );
        assert_eq!(
            windows::<3>("8@0(%rdi) 8@1024(%rdi) 8@56(%rdi)"),
            [Some((0, 0, 64)), Some((1, 0, 8)), Some((0, 56, 64))]
        );
        assert_eq!(
            windows::<3>("8@(%rax,%rbx,8) 8@8(%rax) 8@8(%rax,%rbx,8)"),
            [Some((0, 0, 16)), Some((1, 0, 8)), Some((0, 8, 16))]
        );
        assert_eq!(
            windows::<2>("8@3(%rax) 8@16(%rax)"),
            [Some((0, 0, 21)), Some((0, 13, 21))]
        );
    }

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

//! Packet filters that the kernel runs: `bpf/packet_filter.bpf.h`.

use std::mem::MaybeUninit;

use libbpf_rs::OpenObject;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libc::sock_filter;

use super::{class, miscop, mode, width};
use crate::bpf::upcall_monitor::types::{
    self, packet_action as Action, packet_filter_limit, packet_step, packet_value as Value,
};
use crate::bpf::upcall_monitor::{UpcallMonitorSkel, UpcallMonitorSkelBuilder};
use crate::trace;
use crate::trace::kernel::EmptyBtf;

/// The most bytes of a packet that a filter may look at in the kernel.
pub const MAX_REACH: u32 = packet_filter_limit::PACKET_HEAD.0;
/// The most instructions that a filter may have in the kernel.
pub const MAX_STEPS: usize = packet_filter_limit::PACKET_FILTER_STEPS.0 as usize;
const WORDS: u32 = packet_filter_limit::PACKET_FILTER_WORDS.0;

/// Why a filter cannot run in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInKernel {
    #[error("what it looks at depends on the packet")]
    Anywhere,
    #[error("it looks at the first {0} bytes of a packet, and the kernel at {MAX_REACH} at most")]
    Far(u32),
    #[error("it has {0} instructions, and the kernel takes {MAX_STEPS} at most")]
    Long(usize),
    #[error("it has an instruction that is not known there")]
    Instruction,
    #[error("this kernel does not take it; --verbose says more")]
    Refused,
}

/// A filter that can run in the kernel.
#[derive(Clone, Debug)]
pub struct InKernel {
    pub steps: Vec<packet_step>,
    /// How much of a packet it looks at.
    pub reach: u32,
    /// Whether it looks at Ethernet addresses.
    pub addresses: bool,
}

/// An instruction as the kernel runs it. `None` if libpcap is not known to make such an instruction.
pub(super) fn step(instruction: &sock_filter) -> Option<packet_step> {
    use libc::{
        BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_DIV, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ,
        BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM,
        BPF_MISC, BPF_MOD, BPF_MSH, BPF_MUL, BPF_NEG, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_STX,
        BPF_SUB, BPF_TAX, BPF_TXA, BPF_X, BPF_XOR,
    };
    let sock_filter { code, jt, jf, k } = *instruction;
    let (code, class) = (u32::from(code), class(instruction));
    let source = if code & BPF_X == 0 {
        Value::VALUE_K
    } else {
        Value::VALUE_X
    };
    let mut step = packet_step {
        k,
        ..Default::default()
    };
    let (value, action) = match class {
        BPF_LD | BPF_LDX => {
            step.width = u8::try_from(width(instruction)).ok()?;
            let value = match (class, mode(instruction)) {
                (_, BPF_IMM) => Value::VALUE_K,
                (_, BPF_LEN) => Value::VALUE_LEN,
                (_, BPF_MEM) if k < WORDS => Value::VALUE_WORD,
                (BPF_LD, BPF_ABS) => Value::VALUE_AT_K,
                (BPF_LD, BPF_IND) => Value::VALUE_AT_X,
                (BPF_LDX, BPF_MSH) => Value::VALUE_MSH,
                _ => return None,
            };
            (
                value,
                if class == BPF_LD {
                    Action::ACTION_TO_A
                } else {
                    Action::ACTION_TO_X
                },
            )
        }
        BPF_ST if k < WORDS => (Value::VALUE_A, Action::ACTION_TO_WORD),
        BPF_STX if k < WORDS => (Value::VALUE_X, Action::ACTION_TO_WORD),
        BPF_ALU => match code & 0xf0 {
            BPF_ADD => (source, Action::ACTION_ADD),
            BPF_SUB => (source, Action::ACTION_SUB),
            BPF_MUL => (source, Action::ACTION_MUL),
            BPF_DIV => (source, Action::ACTION_DIV),
            BPF_MOD => (source, Action::ACTION_MOD),
            BPF_AND => (source, Action::ACTION_AND),
            BPF_OR => (source, Action::ACTION_OR),
            BPF_XOR => (source, Action::ACTION_XOR),
            // What libpcap does with more depends on the machine.
            BPF_LSH if source == Value::VALUE_X || k < 32 => (source, Action::ACTION_LSH),
            BPF_RSH if source == Value::VALUE_X || k < 32 => (source, Action::ACTION_RSH),
            BPF_NEG => {
                // Times -1.
                step.k = u32::MAX;
                (Value::VALUE_K, Action::ACTION_MUL)
            }
            _ => return None,
        },
        BPF_JMP => {
            (step.jt, step.jf) = (jt, jf);
            match code & 0xf0 {
                BPF_JA => {
                    // Anything is at least 0.
                    step.jt = u8::try_from(k).ok()?;
                    step.k = 0;
                    (Value::VALUE_K, Action::ACTION_JGE)
                }
                BPF_JEQ => (source, Action::ACTION_JEQ),
                BPF_JGT => (source, Action::ACTION_JGT),
                BPF_JGE => (source, Action::ACTION_JGE),
                BPF_JSET => (source, Action::ACTION_JSET),
                _ => return None,
            }
        }
        BPF_RET => match code & 0x18 {
            BPF_K => (Value::VALUE_K, Action::ACTION_RETURN),
            BPF_A => (Value::VALUE_A, Action::ACTION_RETURN),
            _ => return None,
        },
        BPF_MISC => match miscop(instruction) {
            BPF_TAX => (Value::VALUE_A, Action::ACTION_TO_X),
            BPF_TXA => (Value::VALUE_X, Action::ACTION_TO_A),
            _ => return None,
        },
        _ => return None,
    };
    (step.value, step.action) = (value.0 as u8, action.0 as u8);
    Some(step)
}

impl types::rodata {
    /// Has the programs apply a packet filter.
    pub fn set_packet_filter(&mut self, filter: &InKernel) {
        self.targ_filter_len = filter.steps.len() as u32;
        for (to, step) in self.targ_filter.iter_mut().zip(&filter.steps) {
            *to = *step;
        }
        self.targ_filter_reach = filter.reach;
        self.targ_filter_addresses = filter.addresses.into();
    }
}

/// Loads only the program that runs a packet filter: to know whether the verifier takes it, or to run it.
pub fn load<'obj>(
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

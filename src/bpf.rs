//! Bindings of the BPF programs in `bpf/`, made by libbpf-cargo when the crate is built.

use crate::usdt::{Arg, Operand};

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
    };
}

// enum usdt_operand and USDT_NO_REGISTER of bpf/usdt_arg.bpf.h.
const CONSTANT: u8 = 0;
const REGISTER: u8 = 1;
const MEMORY: u8 = 2;
const NO_REGISTER: u8 = 0xff;

skeleton! {
    /// `bpf/bridge_loop.bpf.c`
    bridge_loop
}
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

//! Small tracers for Open vSwitch: what upcall-monitor and its siblings are made of.
//!
//! | module | is about |
//! |---|---|
//! | [`ovs`] | what Open vSwitch speaks: flow keys, packets, ports |
//! | [`trace`] | how a process is traced: its objects, its USDT probes, attaching, the ring buffer |
//! | [`run`] | what a run is: recordings, clocks, output files and their rotation |
//! | [`show`] | how things are shown that more than one tool shows |
//! | [`cli`] | what the command lines share |
//! | [`upcall`], [`cost`], [`bridge_loop`] | the own matter of upcall-monitor, upcall-cost and bridge-loop |
//! | [`bpf`] | the BPF objects, and the records they share with the programs |

pub mod bpf;
pub mod bridge_loop;
pub mod cli;
pub mod cost;
pub mod ovs;
pub mod run;
pub mod show;
pub mod trace;
pub mod upcall;

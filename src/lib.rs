//! Small tracers for Open vSwitch: what upcall-monitor, upcall-cost, bridge-loop, dpif-ops and usdt-probes are made of.
//!
//! | module | is about |
//! |---|---|
//! | [`ovs`] | what Open vSwitch speaks: flow keys, actions, requests, packets, ports, releases |
//! | [`trace`] | how a process is traced: its files and probes, what is attached and how, the ring buffer |
//! | [`run`] | what a run is: the session, losses, recordings, output files and their rotation |
//! | [`show`] | what several tools show with: messages, columns, escapes, JSON Lines, histograms |
//! | [`cli`] | what the command lines share: options, times, manual pages |
//! | [`upcall`], [`cost`], [`bridge_loop`], [`dpif_ops`] | what only upcall-monitor, upcall-cost, bridge-loop and dpif-ops need |
//! | [`bpf`] | the bindings of the BPF programs, and the reader of their records |
//!
//! `CONTRIBUTING.md` shows the way of an event through them, and how a tool is added.

pub mod bpf;
pub mod bridge_loop;
pub mod cli;
pub mod cost;
pub mod dpif_ops;
pub mod ovs;
pub mod run;
pub mod show;
pub mod trace;
pub mod upcall;

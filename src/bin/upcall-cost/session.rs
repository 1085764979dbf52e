//! Where every event goes, live or from a recording: the lines, a recording, the analysis, the report.

use std::ops::ControlFlow;

use ovs_tracers::output::Files;
use ovs_tracers::ports::PortNames;
use ovs_tracers::recording::Start;

use crate::args::Args;

pub struct Session {
    ports: PortNames,
    clock: i64,
    reported: Vec<u64>,
}

impl Session {
    /// Opens the output files; `files` are those in use already. `start` describes the trace: kernel, pid,
    /// packet_size, flow_key_size, as upcall-monitor has them.
    pub fn new(_args: &Args, _start: &Start, files: Files) -> anyhow::Result<Self> {
        files.keep();
        Ok(Self {
            ports: PortNames::default(),
            clock: 0,
            reported: Vec::new(),
        })
    }

    /// Takes the names of ports from the kernel from now on.
    pub fn set_ports(&mut self, ports: PortNames) {
        self.ports = ports;
    }

    /// Notices which ports were given to other devices since the kernel was last asked.
    pub fn refresh_ports(&mut self) {
        // No names are better than no upcalls.
        let _ = self.ports.refresh();
    }

    /// The name of a port, from a recording.
    pub fn port(&mut self, datapath: &[u8], port: u32, name: &str) -> ControlFlow<()> {
        self.ports.insert(datapath, port, name);
        ControlFlow::Continue(())
    }

    /// What the wall clock is ahead of the clock of the events, in nanoseconds.
    pub fn clock(&mut self, offset: i64) -> ControlFlow<()> {
        self.clock = offset;
        ControlFlow::Continue(())
    }

    /// Takes one record of the kernel. Breaks when --count or --stop is reached, or an output takes no more.
    pub fn record(&mut self, _record: &[u8]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Tells how many events were lost until now, at once if it is more than was told before. `counts` is lost[] of
    /// the BPF program: for each `enum cost_event` how many found the ring full, then how many had arguments that
    /// could not be read.
    pub fn lost(&mut self, counts: &[u64]) -> ControlFlow<()> {
        self.reported = counts.to_vec();
        ControlFlow::Continue(())
    }

    /// Counts of the lost that were told.
    pub fn reported(&self) -> &[u64] {
        &self.reported
    }

    /// Lets readers of the outputs see what there is.
    pub fn flush(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Completes the outputs and reports. `left` events came after the end of the run.
    pub fn finish(self, _left: u64) -> anyhow::Result<()> {
        Ok(())
    }
}

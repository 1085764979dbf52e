//! What counts by flow add up to, for people and programs.

use std::fmt::{self, Display};

use serde::Serialize;

use super::{Flow, Flows, Source};
use crate::show::errno;
use crate::show::escape::Escaped;
use crate::show::number::number;

/// The names for the numbers in a flow.
pub trait Names {
    /// The datapath and, if there are several daemons, whose it is.
    fn datapath(&self, flow: &Flow) -> String;
    fn port(&self, flow: &Flow) -> String;
    /// The handler thread.
    fn thread(&self, flow: &Flow) -> String;
}

/// Who causes upcalls: rates and shares of some time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The time, in seconds.
    seconds: f64,
    upcalls: u64,
    /// Of these, lost ones of which nothing more is known.
    unknown: u64,
    /// Of these, those that were counted without their addresses, because there were too many flows.
    folded: u64,
    by_datapath: Vec<Part>,
    by_port: Vec<Part>,
    by_type: Vec<Part>,
    /// Of the upcalls by actions whose reason is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_reason: Vec<Part>,
    by_protocol: Vec<Part>,
    by_result: Vec<Part>,
    by_thread: Vec<Part>,
    top: Vec<TopSource>,
    #[serde(skip)]
    lines: usize,
}

/// The upcalls that have one thing in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Part {
    name: String,
    upcalls: u64,
}

/// The upcalls of one source and destination, of a source with several destinations, or the other way round.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct TopSource {
    datapath: String,
    port: String,
    protocol: String,
    /// Null if there are several, or if it is not known.
    src: Option<String>,
    dst: Option<String>,
    sources: usize,
    destinations: usize,
    upcalls: u64,
}

impl Report {
    /// Reports on `flows`, which came in `seconds`. A text has at most `lines` lines of each part, and there are as
    /// many top sources.
    pub fn new(flows: &Flows, seconds: f64, lines: usize, names: &impl Names) -> Self {
        Self {
            seconds,
            upcalls: flows.total(),
            unknown: flows.unknown(),
            folded: flows.folded(),
            by_datapath: parts(flows, |flow| names.datapath(flow)),
            by_port: parts(flows, |flow| {
                format!("{} ({})", names.port(flow), names.datapath(flow))
            }),
            by_type: parts(flows, |flow| match flow.kind {
                0 => "miss".to_string(),
                1 => "action".to_string(),
                kind => kind.to_string(),
            }),
            by_reason: flows
                .by(|flow| flow.reason)
                .into_iter()
                .filter_map(|(reason, upcalls)| {
                    let name = reason?.to_string();
                    Some(Part { name, upcalls })
                })
                .collect(),
            by_protocol: parts(flows, |flow| flow.protocol().to_string()),
            by_result: parts(flows, |flow| match flow.result {
                0 => "received".to_string(),
                result => match errno::name(result.wrapping_neg()) {
                    Some(name) => format!("{name} ({result})"),
                    None => result.to_string(),
                },
            }),
            by_thread: parts(flows, |flow| match flow.tid {
                0 => "none, failed in the kernel".to_string(),
                _ => names.thread(flow),
            }),
            top: flows
                .top(lines)
                .iter()
                .map(|source| TopSource::new(source, names))
                .collect(),
            lines,
        }
    }
}

fn parts(flows: &Flows, of: impl Fn(&Flow) -> String) -> Vec<Part> {
    let sums = flows.by(of).into_iter();
    sums.map(|(name, upcalls)| Part { name, upcalls }).collect()
}

impl TopSource {
    fn new(source: &Source, names: &impl Names) -> Self {
        let flow = &source.flow;
        let addresses = flow.addresses();
        let one = |number: usize| number == 1;
        let src = addresses
            .filter(|_| one(source.sources))
            .map(|(src, _)| src);
        let dst = addresses
            .filter(|_| one(source.destinations))
            .map(|(_, dst)| dst);
        Self {
            datapath: names.datapath(flow),
            port: names.port(flow),
            protocol: flow.protocol().to_string(),
            src: src.map(|src| src.to_string()),
            dst: dst.map(|dst| dst.to_string()),
            sources: source.sources,
            destinations: source.destinations,
            upcalls: source.count,
        }
    }
}

impl Display for TopSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side =
            |f: &mut fmt::Formatter<'_>, address: &Option<String>, number: usize| match address {
                Some(address) => f.write_str(address),
                None if number > 1 => write!(f, "{number} addresses"),
                None => f.write_str("any"),
            };
        write!(f, "{} {}", Escaped::text(&self.port), self.protocol)?;
        if self.src.is_none() && self.dst.is_none() {
            return Ok(());
        }
        f.write_str(" ")?;
        side(f, &self.src, self.sources)?;
        f.write_str(" > ")?;
        side(f, &self.dst, self.destinations)
    }
}

/// `12 upcalls in 1.0 s, 12.0/s`, and then, if there are any, the parts and an empty line behind them, without the end of
/// the last line.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |upcalls: u64| {
            if self.seconds > 0.0 {
                upcalls as f64 / self.seconds
            } else {
                0.0
            }
        };
        let share = |upcalls: u64| 100.0 * upcalls as f64 / self.upcalls.max(1) as f64;
        let line = |f: &mut fmt::Formatter<'_>, upcalls: u64, name: &dyn Display| {
            write!(
                f,
                "\n{upcalls:>12} {:>5.1} % {:>11.1}/s  {name}",
                share(upcalls),
                rate(upcalls)
            )
        };
        write!(
            f,
            "{} in {:.1} s, {:.1}/s",
            number(self.upcalls, "upcalls"),
            self.seconds,
            rate(self.upcalls)
        )?;
        for (title, parts) in [
            ("datapath", &self.by_datapath),
            ("port", &self.by_port),
            ("type", &self.by_type),
            ("reason", &self.by_reason),
            ("protocol", &self.by_protocol),
            ("result", &self.by_result),
            ("thread", &self.by_thread),
        ] {
            if parts.is_empty() {
                continue;
            }
            write!(f, "\nby {title}")?;
            let (shown, rest) = parts.split_at(parts.len().min(self.lines));
            for part in shown {
                line(f, part.upcalls, &Escaped::text(&part.name))?;
            }
            if !rest.is_empty() {
                let upcalls = rest.iter().map(|part| part.upcalls).sum();
                line(f, upcalls, &number(rest.len() as u64, "others"))?;
            }
        }
        if !self.top.is_empty() {
            f.write_str("\nby source and destination")?;
            for source in &self.top {
                line(f, source.upcalls, source)?;
            }
            let shown = self.top.iter().map(|source| source.upcalls).sum();
            let others = (self.upcalls - self.unknown).saturating_sub(shown);
            if others > 0 {
                line(f, others, &"others")?;
            }
        }
        if self.unknown > 0 {
            write!(
                f,
                "\n{} lost by upcall-monitor and in none of these parts: nothing more is known of them",
                self.unknown
            )?;
        }
        if self.folded > 0 {
            write!(
                f,
                "\n{} counted without their addresses: there were too many",
                self.folded
            )?;
        }
        if self.upcalls > 0 {
            // What follows is another report.
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upcall::event::Upcall;

    struct Hostile;

    impl Names for Hostile {
        fn datapath(&self, _: &Flow) -> String {
            "d\x1b".into()
        }

        fn port(&self, _: &Flow) -> String {
            "p\u{202e}".into()
        }

        fn thread(&self, _: &Flow) -> String {
            "t\n".into()
        }
    }

    /// Check that names which other processes chose are escaped for people, and are in JSON as they are.
    #[test]
    fn hostile_names() {
        let mut flows = Flows::default();
        let flow = Flow::of(&Upcall {
            tid: 7,
            ..Upcall::default()
        });
        flows.add(&flow, 1);
        let report = Report::new(&flows, 1.0, 1, &Hostile);
        let json = serde_json::to_value(&report).unwrap();
        for (by, name) in [
            ("by_datapath", "d\x1b"),
            ("by_port", "p\u{202e} (d\x1b)"),
            ("by_thread", "t\n"),
        ] {
            assert_eq!(json[by][0]["name"], name);
        }
        assert_eq!(json["top"][0]["datapath"], "d\x1b");
        assert_eq!(json["top"][0]["port"], "p\u{202e}");
        let text = report.to_string();
        assert!(text.contains("  p\\u{202e} (d\\u{1b})\n"), "{text:?}");
        assert!(text.contains("  t\\n\n"), "{text:?}");
        assert!(text.contains("  p\\u{202e} unknown"), "{text:?}");
    }
}

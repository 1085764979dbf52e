//! Numbers of things.

use std::fmt::{self, Display};

/// `2 upcalls`, but `1 upcall`. `things` is a plural that ends in s.
pub fn number(count: impl Into<u64>, things: &str) -> impl Display {
    Number {
        count: count.into(),
        things,
    }
}

struct Number<'a> {
    count: u64,
    things: &'a str,
}

impl Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = match self.count {
            1 => self.things.strip_suffix('s').unwrap_or(self.things),
            _ => self.things,
        };
        write!(f, "{} {things}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that only one thing is one.
    #[test]
    fn singular() {
        let text = |count: u64| number(count, "upcalls").to_string();
        assert_eq!(
            [0, 1, 2, 21].map(text),
            ["0 upcalls", "1 upcall", "2 upcalls", "21 upcalls"]
        );
    }
}

//! Times on the command line.

use std::time::Duration;

/// The longest time that an option takes: ten years. Added to the time of day or to a clock, it does not overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Units, and how many seconds each has. A unit comes after those that end in it, `s` after `ms`.
const UNITS: [(&str, f64); 6] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Reads the value of an option that takes a time: a number of seconds, or a number and its unit (ns, us, ms, s, m, h).
pub fn parse(text: &str) -> Result<Duration, String> {
    let unit = UNITS
        .iter()
        .find_map(|(name, seconds)| Some((text.strip_suffix(name)?, *seconds)));
    let (number, seconds) = unit.unwrap_or((text, 1.0));
    // The parser of numbers would take "inf" and "nan" as well.
    if !number.contains(|c: char| c.is_ascii_digit()) {
        return Err("not a time such as 60 (seconds), 1.5s, 10ms, 5m or 2h".to_string());
    }
    let number: f64 = number
        .parse()
        .map_err(|_| "not a time such as 60 (seconds), 1.5s, 10ms, 5m or 2h".to_string())?;
    let seconds = number * seconds;
    if seconds > LONGEST.as_secs_f64() {
        return Err("a time of more than ten years".to_string());
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("not a positive time".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that seconds and each unit are read.
    #[test]
    fn times() {
        for (text, nanoseconds) in [
            ("60", 60_000_000_000),
            ("1.5", 1_500_000_000),
            (".5", 500_000_000),
            ("1e3", 1_000_000_000_000),
            ("1.5s", 1_500_000_000),
            ("10ms", 10_000_000),
            ("200us", 200_000),
            ("7ns", 7),
            ("1m", 60_000_000_000),
            ("2h", 7_200_000_000_000),
            ("0.1ms", 100_000),
            ("87600h", 315_360_000_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    /// Check that what is not a time is refused, and that the message says what is wrong with it.
    #[test]
    fn refused() {
        for text in [
            "", " ", "ms", "s", "inf", "nan", "infs", "-inf", "1x", "1 s", "10 ms", "1d", "1,5",
            "1m30s", "1mms", "e", "0x10", "ten", "١s",
        ] {
            assert!(parse(text).unwrap_err().starts_with("not a time"), "{text}");
        }
        for text in ["0", "0s", "-1", "-1s", "-0", "0.1ns", "1e-400"] {
            assert_eq!(parse(text), Err("not a positive time".into()), "{text}");
        }
        for text in [
            "87601h",
            "1e19",
            "1e300",
            "1e400s",
            "18446744073709551616ns",
        ] {
            assert_eq!(
                parse(text),
                Err("a time of more than ten years".into()),
                "{text}"
            );
        }
    }
}

//! Sizes, processors, durations and counts as people write them, and how far they may go.

use std::fmt::Display;

use wfengine_api::Failure;

use super::wrong;
use crate::submission::duration_ms;

/// Largest size that means anything: a pebibyte.
const BYTES_MAX: u64 = 1 << 50;
/// Most processors that a host may have.
const CPUS_MAX: u32 = 1_024;

/// A size: `512m`, `4g`, `1.5g` is none; a bare number is bytes. Units are powers of 1024, as Docker has them.
pub(super) fn bytes(option: &str, text: &str) -> Result<u64, Failure> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(digits.len()..).unwrap_or_default();
    let factor: Option<u64> = match unit {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        "t" | "tb" | "tib" => Some(1 << 40),
        _ => None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| plain);
    factor
        .zip(number)
        .and_then(|(factor, number)| number.checked_mul(factor))
        .filter(|bytes| *bytes <= BYTES_MAX)
        .ok_or_else(|| wrong(option, text, "a size such as 512m or 4g"))
}

/// A size has to be of some use.
pub(super) fn check_bytes(option: &str, bytes: u64, least: u64) -> Result<(), Failure> {
    if (least..=BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    Err(wrong(option, &size(bytes), &format!("{} or more", size(least))))
}

/// A size as people write it.
pub(super) fn size(bytes: u64) -> String {
    let units = [("t", 40_u32), ("g", 30), ("m", 20), ("k", 10)];
    let fits = |(_, shift): &&(&str, u32)| bytes > 0 && bytes.is_multiple_of(1 << shift);
    units
        .iter()
        .find(fits)
        .map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// Processors in thousandths: `4`, `0.5`, with up to three decimals.
pub(super) fn cpus_milli(option: &str, text: &str) -> Result<u32, Failure> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let milli = if plain(whole) && plain(decimals) && decimals.len() <= 3 {
        let decimals = format!("{decimals:0<3}").parse::<u32>().ok();
        let whole = whole.parse::<u32>().ok().filter(|whole| *whole <= CPUS_MAX);
        whole.zip(decimals).map(|(whole, decimals)| whole * 1_000 + decimals)
    } else {
        None
    };
    milli
        .filter(|milli| *milli <= CPUS_MAX * 1_000)
        .ok_or_else(|| wrong(option, text, "a number of processors such as 4 or 0.5"))
}

/// Processors as people write them.
pub(super) fn cpus(milli: u32) -> String {
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration from a second to `most`.
pub(super) fn duration_within_ms(option: &str, text: &str, most: &str) -> Result<u64, Failure> {
    let ms = duration_ms(option, text)?;
    if (1_000..=duration_ms(option, most)?).contains(&ms) {
        return Ok(ms);
    }
    Err(wrong(option, text, &format!("1s to {most}")))
}

/// A count between two others.
pub(super) fn within<T: PartialOrd + Copy + Display>(
    option: &str,
    value: T,
    least: T,
    most: T,
) -> Result<T, Failure> {
    if value >= least && value <= most {
        return Ok(value);
    }
    Err(wrong(option, &value.to_string(), &format!("{least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, wanted) in
            [("4g", 4 << 30), ("512m", 512 << 20), ("1K", 1024), ("64MiB", 64 << 20), ("123", 123), ("0", 0)]
        {
            assert_eq!(bytes("--memory", text).unwrap(), wanted, "{text}");
        }
        for text in ["", "g", "-1g", "+4g", "1.5g", "4x", "4 g", "9999999999999999999t", "1025t", "g4"] {
            let said = bytes("--memory", text).unwrap_err().message;
            assert_eq!(said, format!("--memory {text}: expected a size such as 512m or 4g"));
        }
        assert_eq!(
            (size(4 << 30), size(1536 << 20), size(5), size(0)),
            ("4g".into(), "1536m".into(), "5".into(), "0".into())
        );
    }

    #[test]
    fn processors_have_up_to_three_decimals() {
        for (text, milli) in
            [("4", 4_000), ("0.5", 500), ("0", 0), ("1.25", 1_250), ("0.001", 1), ("1024", 1_024_000)]
        {
            assert_eq!(cpus_milli("--cpus", text).unwrap(), milli, "{text}");
            assert_eq!(cpus(milli), text);
        }
        for text in ["", ".5", "4.", "-1", "+1", "1e3", "0.0005", "1025", "four", "1024.001"] {
            assert!(
                cpus_milli("--cpus", text)
                    .unwrap_err()
                    .message
                    .starts_with(&format!("--cpus {text}: expected"))
            );
        }
    }

    #[test]
    fn durations_have_bounds() {
        assert_eq!(duration_within_ms("--job-timeout", "6h", "5d").unwrap(), 21_600_000);
        for text in ["0s", "500ms", "6d"] {
            let said = duration_within_ms("--job-timeout", text, "5d").unwrap_err().message;
            assert_eq!(said, format!("--job-timeout {text}: expected 1s to 5d"));
        }
        assert!(
            duration_within_ms("--job-timeout", "soon", "5d").unwrap_err().message.contains("such as 90s")
        );
    }
}

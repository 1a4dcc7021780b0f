//! What a plain scalar is: YAML 1.2 core schema, as GitHub applies it.
//!
//! `on`, `yes`, `no`, dates and `12:30` are text; `010` is 10 and `0o17` is 15; numbers keep how they were written.

use super::NodeKind;

pub(super) fn resolve(text: &str) -> NodeKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeKind::Null,
        "true" | "True" | "TRUE" => NodeKind::Bool(true),
        "false" | "False" | "FALSE" => NodeKind::Bool(false),
        _ => match number(text) {
            Some(n) => NodeKind::Number(n, text.to_owned()),
            None => NodeKind::Text(text.to_owned()),
        },
    }
}

fn number(text: &str) -> Option<f64> {
    let radix = |digits: &str, radix: u32| {
        let digits_only = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        #[expect(clippy::cast_precision_loss, reason = "the language knows only floats")]
        digits_only.then(|| u128::from_str_radix(digits, radix).map_or(f64::INFINITY, |n| n as f64))
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    is_decimal(unsigned).then(|| text.parse().ok()).flatten()
}

/// `[0-9]+(\.[0-9]*)?` or `\.[0-9]+`, then `([eE][-+]?[0-9]+)?`.
fn is_decimal(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    if exponent.is_some_and(|exponent| exponent.is_empty() || !digits(exponent)) {
        return false;
    }
    match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_decides() {
        for text in [
            "on",
            "yes",
            "no",
            "off",
            "y",
            "2024-01-02",
            "12:30",
            "1_000",
            "0b1",
            "-",
            ".",
            "1e",
            "+.nan",
            "0o9",
        ] {
            assert!(matches!(resolve(text), NodeKind::Text(_)), "{text}");
        }
        for (text, n) in [
            ("010", 10.0),
            ("0o17", 15.0),
            ("0x1F", 31.0),
            ("3.10", 3.1),
            ("+12", 12.0),
            ("-1.5e3", -1500.0),
            (".5", 0.5),
            ("1.", 1.0),
            ("-.inf", f64::NEG_INFINITY),
        ] {
            assert!(matches!(resolve(text), NodeKind::Number(found, _) if found == n), "{text}");
        }
        assert!(matches!(resolve("3.10"), NodeKind::Number(_, text) if text == "3.10"));
        assert!(matches!(resolve("True"), NodeKind::Bool(true)));
        assert!(matches!(resolve("~"), NodeKind::Null));
    }
}

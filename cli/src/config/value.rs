//! Values of keys: which there are, how they are written in a file, in a variable and for people.
//!
//! Pure. A file's value has a type of its own (a number is no text); a variable holds a text, and lists in it are separated by
//! commas. Both end in the same [`Value`], which [`Kind::check`] then holds to its range.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use toml::de::{DeTable, DeValue};

use crate::submission::duration_ms;

/// Bytes of one text.
const TEXT_BYTES_MAX: usize = 4_096;
/// Characters of a value that are repeated where it is wrong.
const FOUND_CHARS_MAX: usize = 80;

/// What a key has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// On or off.
    Switch(bool),
    /// A count.
    Number(u64),
    /// A text.
    Text(String),
    /// Texts.
    List(Vec<String>),
}

/// Which values a key takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// true or false.
    Switch,
    /// A whole number.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A duration such as `90s`, in a text.
    Duration {
        /// The shortest.
        min_ms: u64,
        /// The longest.
        max_ms: u64,
    },
    /// An address of this host.
    Address,
    /// An address and a port.
    Socket,
    /// Names with ports.
    HostPorts {
        /// How many.
        len_max: usize,
    },
    /// A program and its arguments.
    Command {
        /// How many words.
        len_max: usize,
    },
    /// Words out of a few.
    Words(&'static [&'static str]),
    /// Where to post to.
    Webhook,
    /// A file, by its whole path.
    File,
    /// Origins of web pages.
    Origins {
        /// How many.
        len_max: usize,
    },
}

/// A value of the wrong type: what was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WrongType(pub(crate) String);

impl fmt::Display for Value {
    /// As the file has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &String| serde_json::Value::from(text.as_str()).to_string();
        match self {
            Self::Switch(is_on) => write!(f, "{is_on}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(texts) => write!(f, "[{}]", texts.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Value {
    /// As JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Switch(is_on) => (*is_on).into(),
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(texts) => texts.clone().into(),
        }
    }
}

/// A beginning of a text, so that what others wrote does not fill a screen.
pub(crate) fn beginning(text: &str) -> String {
    let mut short: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A duration as it is written.
fn duration(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        ms if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        ms if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

impl Kind {
    /// What is allowed, in a few words.
    pub(crate) fn allowed(self) -> String {
        match self {
            Self::Switch => "true or false".to_owned(),
            Self::Number { min, max } => format!("a whole number, {min} to {max}"),
            Self::Duration { min_ms, max_ms } => {
                format!(
                    "a duration such as \"90s\", \"10m\" or \"2h\", {} to {}",
                    duration(min_ms),
                    duration(max_ms)
                )
            }
            Self::Address => "an address of this host, such as \"127.0.0.1\" or \"::1\"".to_owned(),
            Self::Socket => "an address and a port, such as \"[::]:4433\"".to_owned(),
            Self::HostPorts { len_max } => {
                format!("a list of up to {len_max} names such as \"node.example:443\"")
            }
            Self::Command { len_max } => {
                format!("a list of up to {len_max} words: a program by its whole path, and its arguments")
            }
            Self::Words(words) => format!("a list of some of: {}", words.join(", ")),
            Self::Webhook => "an address that begins with https:, or with http: on this host".to_owned(),
            Self::File => "the whole path of a file".to_owned(),
            Self::Origins { len_max } => {
                format!("a list of up to {len_max} origins such as \"https://pages.example\"")
            }
        }
    }

    /// Whether it holds several texts.
    const fn is_list(self) -> bool {
        matches!(self, Self::HostPorts { .. } | Self::Origins { .. } | Self::Command { .. } | Self::Words(_))
    }

    /// The value that a text of the file stands for, as in the right side of `key = …`.
    pub(crate) fn written(self, text: &str) -> Result<Value, WrongType> {
        let line = format!("key = {text}");
        let wrong = || WrongType(beginning(text));
        let table = DeTable::parse(&line).map_err(|_| wrong())?;
        let value = table.get_ref().get("key").ok_or_else(wrong)?;
        self.read(value.get_ref())
    }

    /// The value that the file has.
    pub(crate) fn read(self, value: &DeValue<'_>) -> Result<Value, WrongType> {
        let text = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
        let read = match self {
            Self::Switch => value.as_bool().map(Value::Switch),
            Self::Number { .. } => value
                .as_integer()
                .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
                .map(Value::Number),
            _ if self.is_list() => value.as_array().and_then(|array| {
                array.iter().map(|one| text(one.get_ref())).collect::<Option<Vec<_>>>().map(Value::List)
            }),
            _ => text(value).map(Value::Text),
        };
        read.ok_or_else(|| WrongType(found(value)))
    }

    /// The value that a variable holds.
    pub(crate) fn of_variable(self, text: &str) -> Result<Value, WrongType> {
        let read = match self {
            Self::Switch => match text {
                "true" | "1" | "yes" | "on" => Some(Value::Switch(true)),
                "false" | "0" | "no" | "off" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Number { .. } => text.parse().ok().map(Value::Number),
            _ if self.is_list() => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(Value::List(parts.map(str::to_owned).collect()))
            }
            _ => Some(Value::Text(text.to_owned())),
        };
        read.ok_or_else(|| WrongType(format!("`{}`", beginning(text))))
    }

    /// Whether a value of the right type is in range; says what was found if not.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let each = |texts: &[String], len_max: usize, is_right: fn(&str) -> bool| {
            let wrong = texts.iter().find(|text| text.len() > TEXT_BYTES_MAX || !is_right(text));
            match wrong {
                Some(wrong) => Err(format!("\"{}\"", beginning(wrong))),
                None if texts.len() > len_max => Err(format!("{} of them", texts.len())),
                None => Ok(()),
            }
        };
        match (self, value) {
            (Self::Switch, Value::Switch(_)) => Ok(()),
            (Self::Number { min, max }, Value::Number(number)) => {
                if (min..=max).contains(number) {
                    Ok(())
                } else {
                    Err(number.to_string())
                }
            }
            (Self::Duration { min_ms, max_ms }, Value::Text(text)) => match duration_ms("", text) {
                Ok(ms) if (min_ms..=max_ms).contains(&ms) => Ok(()),
                _ => Err(format!("\"{}\"", beginning(text))),
            },
            (Self::Address, Value::Text(text)) => {
                if text.parse::<IpAddr>().is_ok() {
                    Ok(())
                } else {
                    Err(format!("\"{}\"", beginning(text)))
                }
            }
            (Self::Socket, Value::Text(text)) => {
                let is_socket = text.parse::<SocketAddr>().is_ok();
                if is_socket { Ok(()) } else { Err(format!("\"{}\"", beginning(text))) }
            }
            (Self::Command { len_max }, Value::List(texts)) => match texts.first() {
                Some(program) if !program.starts_with('/') => Err(format!("\"{}\"", beginning(program))),
                _ => each(texts, len_max, |word| !word.contains('\0')),
            },
            (Self::Words(words), Value::List(texts)) => {
                match texts.iter().find(|text| !words.contains(&text.as_str())) {
                    Some(wrong) => Err(format!("\"{}\"", beginning(wrong))),
                    None => Ok(()),
                }
            }
            (Self::Webhook, Value::Text(text)) => {
                if text.len() <= TEXT_BYTES_MAX && is_webhook(text) {
                    Ok(())
                } else {
                    Err(format!("\"{}\"", beginning(text)))
                }
            }
            (Self::File, Value::Text(text)) => {
                if text.starts_with('/') && text.len() <= TEXT_BYTES_MAX && !text.contains('\0') {
                    Ok(())
                } else {
                    Err(format!("\"{}\"", beginning(text)))
                }
            }
            (Self::HostPorts { len_max }, Value::List(texts)) => each(texts, len_max, is_host_port),
            (Self::Origins { len_max }, Value::List(texts)) => each(texts, len_max, is_origin),
            _ => Err(beginning(&value.to_string())),
        }
    }
}

/// What stands in the file where something else should, for people.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", beginning(text)),
        DeValue::Integer(number) => format!("the number {}", beginning(number.as_str())),
        DeValue::Float(number) => format!("the number {}", beginning(number.as_str())),
        DeValue::Boolean(is_on) => is_on.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(array) => format!("a list of {}", array.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-[]:".contains(c);
    !host.is_empty() && host.chars().all(is_name) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What is posted is signed and not sealed: over the network it goes by TLS.
fn is_webhook(text: &str) -> bool {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let host = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
        (!authority.is_empty() && !authority.contains('@')).then_some(authority)
    };
    if let Some(rest) = text.strip_prefix("https://") {
        return host(rest).is_some();
    }
    let Some(authority) = text.strip_prefix("http://").and_then(host) else { return false };
    let name = match authority.parse::<SocketAddr>() {
        Ok(address) => return address.ip().is_loopback(),
        Err(_) => authority.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    matches!(scheme, "http" | "https")
        && !rest.is_empty()
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@*".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_from_the_file_and_from_a_variable() {
        let cases = [
            (Kind::Switch, "true", "true"),
            (Kind::Switch, "false", "off"),
            (Kind::Number { min: 0, max: 9 }, "0x7", "7"),
            (Kind::Duration { min_ms: 0, max_ms: 1_000 }, "\"1s\"", "1s"),
            (Kind::Origins { len_max: 2 }, "[\"http://a\", \"https://b:1\"]", "http://a, https://b:1"),
            (Kind::HostPorts { len_max: 2 }, "[]", ""),
        ];
        for (kind, written, variable) in cases {
            let value = kind.written(written).unwrap();
            assert_eq!(kind.of_variable(variable).unwrap(), value, "{written}");
            assert_eq!(kind.check(&value), Ok(()), "{written}");
            assert_eq!(kind.written(&value.to_string()).unwrap(), value, "{written}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_said_and_cut_short() {
        let number = Kind::Number { min: 1, max: 9 };
        assert_eq!(number.check(&Value::Number(10)), Err("10".to_owned()));
        assert_eq!(number.written("-1"), Err(WrongType("the number -1".to_owned())));
        assert_eq!(number.written("\"7\""), Err(WrongType("the text \"7\"".to_owned())));
        let long = "x".repeat(1_000);
        assert!(Kind::Socket.check(&Value::Text(long)).unwrap_err().len() < 100);
        for wrong in ["http://", "https://a/b", "ftp://a", "*", "null", "https://u@h"] {
            assert!(!is_origin(wrong), "{wrong}");
        }
        for wrong in ["a", "a:", ":1", "a:0", "a:x", "a b:1"] {
            assert!(!is_host_port(wrong), "{wrong}");
        }
        for wrong in [
            "",
            "http://",
            "http://hooks.example/x",
            "https://u:p@h/",
            "https://a b",
            "http://10.0.0.1/",
            "ftp://a",
        ] {
            assert!(!is_webhook(wrong), "{wrong}");
        }
        for right in
            ["https://hooks.example/x?y", "http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:80/"]
        {
            assert!(is_webhook(right), "{right}");
        }
        let command = |words: &[&str]| {
            Kind::Command { len_max: 2 }
                .check(&Value::List(words.iter().map(|word| (*word).to_owned()).collect()))
        };
        assert!(command(&["/bin/true", "x"]).is_ok() && command(&[]).is_ok());
        assert!(command(&["true"]).is_err() && command(&["/bin/true", "a", "b"]).is_err());
        let name = Value::Text("node.example".to_owned());
        assert!(Kind::Address.check(&name).is_err());
        let many = Value::List(vec!["http://a".to_owned(); 3]);
        assert_eq!(Kind::Origins { len_max: 2 }.check(&many), Err("3 of them".to_owned()));
    }
}

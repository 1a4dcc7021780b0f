//! A request as handlers see it: decoded once, whole in memory.

use std::net::IpAddr;

use data_encoding::HEXLOWER_PERMISSIVE;
use hyper::{HeaderMap, body::Bytes};

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// `/api/v3` when the client speaks to an enterprise server, else nothing.
    pub(crate) prefix: &'static str,
    /// Without the prefix, as it was sent.
    pub(crate) path: String,
    pub(crate) query_text: Option<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) address: IpAddr,
    /// As the client calls this host, with the port.
    pub(crate) host: String,
}

impl Request {
    /// Takes a path apart and decodes it.
    pub(crate) fn new(
        method: &str,
        path_and_query: (&str, Option<&str>),
        headers: HeaderMap,
        body: Bytes,
        address: IpAddr,
        own_host: &str,
    ) -> Self {
        let (path, query_text) = path_and_query;
        let (prefix, path) = match path.strip_prefix("/api/v3") {
            Some("") => ("/api/v3", "/"),
            Some(rest) if rest.starts_with('/') => ("/api/v3", rest),
            _ => ("", path),
        };
        let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or(own_host).to_owned();
        Self {
            method: method.to_owned(),
            prefix,
            path: path.to_owned(),
            query_text: query_text.map(str::to_owned),
            query: query_text.map(pairs).unwrap_or_default(),
            headers,
            body,
            address,
            host,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Where the client's paths begin: scheme, host, prefix.
    pub(crate) fn base(&self) -> String {
        format!("http://{}{}", self.host, self.prefix)
    }

    /// The path as it was sent, with its prefix and its query.
    pub(crate) fn target(&self) -> String {
        match &self.query_text {
            Some(query) => format!("{}{}?{query}", self.prefix, self.path),
            None => format!("{}{}", self.prefix, self.path),
        }
    }

    pub(crate) fn accept(&self) -> &str {
        self.header("accept").unwrap_or("*/*")
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
        })
        .collect()
}

/// Resolves `%xx`; what is no such sequence stays.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let digits = if first == b'%' { others.get(..2) } else { None };
        match digits.and_then(|digits| HEXLOWER_PERMISSIVE.decode(digits).ok()) {
            Some(byte) => {
                bytes.extend_from_slice(&byte);
                rest = others.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes what may not stand in a path as `%xx`; slashes stay.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_and_encoded() {
        assert_eq!(decoded("a%2Fb%20c%zz%"), "a/b c%zz%");
        assert_eq!(encoded("a/b ü"), "a/b%20%C3%BC");
        assert_eq!(
            pairs("a=1&b=x+y&c"),
            [("a", "1"), ("b", "x y"), ("c", "")].map(|(a, b)| (a.into(), b.into()))
        );
    }
}

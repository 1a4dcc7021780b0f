//! A text that is never printed: a token, a private key, the secret of a webhook.
//!
//! It guards against slips (logs, error texts, `{:?}` of what holds it), not against someone who reads the process's
//! memory. Nothing here decides what a secret is good for.

use std::{fmt, sync::Arc};

use hyper::header::{HeaderValue, InvalidHeaderValue};

/// A secret text. Clones share it; `Debug` and `Display` hide it.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a text as it is.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The value of an `authorization` header, marked as sensitive. It is written once; clones of a header value share it.
    pub(crate) fn bearer(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed_even_inside_a_header() {
        let secret = Secret::new("ghp_verySecret");
        assert_eq!(format!("{secret} {secret:?}"), "hidden Secret(hidden)");
        let header = secret.bearer().expect("a header");
        assert_eq!(header, "Bearer ghp_verySecret");
        assert!(!format!("{header:?}").contains("verySecret"));
    }

    #[test]
    fn a_text_with_a_line_break_makes_no_header() {
        assert!(Secret::new("a\r\nx-other: b").bearer().is_err());
    }
}

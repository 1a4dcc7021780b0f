//! What goes back to a client: status, headers, body, and the errors that GitHub words in its own way.
//!
//! An answer says nothing about limits, tags or dates; [`super::serve`] adds those to every answer alike.

use hyper::body::Bytes;
use serde_json::{Value, json};

/// GitHub's usual media type.
pub(crate) const JSON: &str = "application/json; charset=utf-8";
const DOCS: &str = "https://docs.github.com/rest";

/// The body of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Nothing,
    Json(Value),
    Bytes(Bytes),
}

/// An answer before the headers that all answers share.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) media_type: String,
    /// Besides those that all answers have.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Content,
}

/// What a handler gives: an error is an answer as well, and the shortest way out.
pub(crate) type Outcome = Result<Answer, Answer>;

impl Answer {
    pub(crate) fn json(status: u16, value: Value) -> Self {
        Self { status, media_type: JSON.to_owned(), headers: Vec::new(), content: Content::Json(value) }
    }

    pub(crate) fn bytes(status: u16, media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let content = Content::Bytes(bytes.into());
        Self { status, media_type: media_type.to_owned(), headers: Vec::new(), content }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, media_type: String::new(), headers: Vec::new(), content: Content::Nothing }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// `{message, documentation_url, status}`, the shape of nearly every error.
    pub(crate) fn error(status: u16, message: &str, documentation: &str) -> Self {
        let url = format!("{DOCS}{documentation}");
        Self::json(
            status,
            json!({ "message": message, "documentation_url": url, "status": status.to_string() }),
        )
    }

    pub(crate) fn not_found() -> Self {
        Self::error(404, "Not Found", "/repos/repos#get-a-repository")
    }

    pub(crate) fn bad_credentials() -> Self {
        Self::error(401, "Bad credentials", "")
    }

    pub(crate) fn requires_authentication() -> Self {
        Self::error(
            401,
            "Requires authentication",
            "/repos/repos#list-repositories-for-the-authenticated-user",
        )
    }

    /// 422 with one sentence.
    pub(crate) fn unprocessable(message: &str) -> Self {
        Self::error(422, message, "")
    }

    /// 422 with a list of what is wrong.
    pub(crate) fn validation_failed(resource: &str, field: &str, code: &str) -> Self {
        let errors = json!([{ "resource": resource, "code": code, "field": field }]);
        Self::json(
            422,
            json!({
                "message": "Validation Failed", "errors": errors, "documentation_url": DOCS, "status": "422",
            }),
        )
    }

    pub(crate) fn bad_json() -> Self {
        Self::error(400, "Problems parsing JSON", "")
    }

    pub(crate) fn value(&self) -> Option<&Value> {
        match &self.content {
            Content::Json(value) => Some(value),
            Content::Nothing | Content::Bytes(_) => None,
        }
    }

    pub(crate) fn body(&self) -> Bytes {
        match &self.content {
            Content::Nothing => Bytes::new(),
            Content::Json(value) => Bytes::from(value.to_string()),
            Content::Bytes(bytes) => bytes.clone(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

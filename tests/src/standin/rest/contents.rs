//! A repository by itself, and what lies at a path in it.

use serde_json::{Value, json};

use super::shapes::{self, contents_url, web};
use crate::standin::{
    answer::{Answer, Outcome},
    call::Call,
    clock::http_date,
    git::object::{Mode, TreeEntry},
    request::encoded,
    state::State,
};

/// Above this only the raw and object forms are given.
const FULL_LEN_MAX: usize = 1_000_000;
/// Above this nothing is given.
const ANY_LEN_MAX: usize = 100_000_000;
/// A longer directory is cut without a word.
const ENTRIES_MAX: usize = 1_000;

pub(super) fn repository(state: &mut State, call: &Call<'_>) -> Outcome {
    let repository = call.repository(state)?;
    let body = shapes::repository(state, &call.base, Some(call.identity), repository);
    Ok(Answer::json(200, body).with("last-modified", http_date(repository.updated_at)))
}

/// The form that a client asks for.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Usual,
    Raw,
    Object,
}

impl Form {
    fn of(accept: &str) -> Self {
        if accept.contains("raw") {
            Self::Raw
        } else if accept.contains("vnd.github.object") || accept.contains("v3.object") {
            Self::Object
        } else {
            Self::Usual
        }
    }
}

/// Where things of one answer lie.
struct Place<'a> {
    base: &'a str,
    full_name: String,
    reference: String,
}

impl Place<'_> {
    /// What files, directories, links and submodules have in common.
    fn fields(&self, path: &str, entry: &TreeEntry, size: usize) -> Value {
        let (kind, git) = match entry.mode {
            Mode::File | Mode::Executable => ("file", Some("blobs")),
            Mode::Directory => ("dir", Some("trees")),
            Mode::Symlink => ("symlink", Some("blobs")),
            Mode::Submodule => ("submodule", None),
        };
        let url = contents_url(self.base, &self.full_name, path, &self.reference);
        let git_url =
            git.map(|kind| format!("{}/repos/{}/git/{kind}/{}", self.base, self.full_name, entry.id));
        let page = format!("{}/{}", web(self.base), self.full_name);
        let view = if entry.mode == Mode::Directory { "tree" } else { "blob" };
        let html_url = format!("{page}/{view}/{}/{}", encoded(&self.reference), encoded(path));
        let download_url = matches!(entry.mode, Mode::File | Mode::Executable | Mode::Symlink)
            .then(|| format!("{page}/raw/{}/{}", encoded(&self.reference), encoded(path)));
        json!({
            "name": path.rsplit('/').next().unwrap_or_default(), "path": path, "sha": entry.id.to_string(),
            "size": size, "url": url, "html_url": html_url, "git_url": git_url,
            "download_url": download_url, "type": kind,
            "_links": { "self": url, "git": git_url, "html": html_url },
        })
    }
}

pub(super) fn contents(state: &mut State, call: &Call<'_>) -> Outcome {
    let repository = call.repository(state)?;
    let documentation = "/repos/contents#get-repository-content";
    if repository.git.is_empty() {
        return Err(Answer::error(404, "This repository is empty.", documentation));
    }
    let reference = call.request.query("ref").unwrap_or(repository.git.head()).to_owned();
    let no_commit = || Answer::error(404, &format!("No commit found for the ref {reference}"), documentation);
    let commit = repository.git.resolve(&state.objects, &reference).ok_or_else(no_commit)?;
    let commit = state.objects.commit(commit).ok_or_else(no_commit)?;
    let path = call.parameter("path").trim_matches('/');
    let not_found = || Answer::error(404, "Not Found", documentation);
    let entry = state.objects.entry_at(commit.tree, path).ok_or_else(not_found)?;
    let place = Place { base: &call.base, full_name: state.full_name(repository), reference };
    let form = Form::of(call.request.accept());
    match entry.mode {
        Mode::Directory => directory(state, &place, path, &entry, form),
        Mode::Submodule => {
            let mut body = place.fields(path, &entry, 0);
            body["submodule_git_url"] = format!("{}/{}.git", web(&call.base), place.full_name).into();
            Ok(Answer::json(200, body))
        }
        Mode::File | Mode::Executable | Mode::Symlink => file(state, &place, path, &entry, form),
    }
}

fn directory(state: &State, place: &Place<'_>, path: &str, entry: &TreeEntry, form: Form) -> Outcome {
    let inside = |entry: &TreeEntry| {
        let inner = if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
        let size = if entry.mode.kind().name() == "blob" { state.objects.blob_length(entry.id) } else { 0 };
        place.fields(&inner, entry, size)
    };
    let entries: Value = state.objects.tree(entry.id).iter().take(ENTRIES_MAX).map(inside).collect();
    if form != Form::Object {
        return Ok(Answer::json(200, entries));
    }
    let mut body = place.fields(path, entry, 0);
    body["entries"] = entries;
    let mut answer = Answer::json(200, body);
    answer.media_type = "application/vnd.github.object+json; charset=utf-8".to_owned();
    Ok(answer)
}

fn file(state: &State, place: &Place<'_>, path: &str, entry: &TreeEntry, form: Form) -> Outcome {
    let bytes = state.objects.object(entry.id).map(|object| object.content.clone()).unwrap_or_default();
    let too_large = |size: &str| {
        let message = format!(
            "This API returns blobs up to {size} in size. The requested blob is too large to fetch via the API, but you can use \
             the Git Data API to request blobs up to 100 MB in size."
        );
        let errors = json!([{ "resource": "Blob", "field": "data", "code": "too_large" }]);
        let documentation_url = "https://docs.github.com/rest/repos/contents#get-repository-content";
        Answer::json(
            403,
            json!({ "message": message, "errors": errors, "documentation_url": documentation_url }),
        )
    };
    if bytes.len() > ANY_LEN_MAX {
        return Err(too_large("100 MB"));
    }
    if form == Form::Raw {
        return Ok(Answer::bytes(200, "application/vnd.github.raw+json; charset=utf-8", bytes));
    }
    let mut body = place.fields(path, entry, bytes.len());
    match (form, bytes.len() > FULL_LEN_MAX) {
        (Form::Object, true) => {
            body["content"] = "".into();
            body["encoding"] = "none".into();
        }
        (_, true) => return Err(too_large("1 MB")),
        (_, false) if entry.mode == Mode::Symlink => {
            body["target"] = String::from_utf8_lossy(&bytes).into_owned().into();
        }
        (_, false) => {
            body["content"] = base64_lines(&bytes).into();
            body["encoding"] = "base64".into();
        }
    }
    let mut answer = Answer::json(200, body);
    if form == Form::Object {
        answer.media_type = "application/vnd.github.object+json; charset=utf-8".to_owned();
    }
    Ok(answer)
}

/// Base64 with a line end after every 60 characters, the last included.
pub(super) fn base64_lines(bytes: &[u8]) -> String {
    let encoded = data_encoding::BASE64.encode(bytes);
    let mut lines = String::with_capacity(encoded.len() + encoded.len() / 60 + 1);
    for (at, letter) in encoded.chars().enumerate() {
        if at > 0 && at % 60 == 0 {
            lines.push('\n');
        }
        lines.push(letter);
    }
    if !lines.is_empty() {
        lines.push('\n');
    }
    lines
}

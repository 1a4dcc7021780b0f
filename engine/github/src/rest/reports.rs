//! What we tell GitHub about a commit: statuses, check runs, and a ref made once.
//!
//! Everything here changes something. Texts are cut to what GitHub takes, so that a long log does not lose the whole report.

use hyper::Method;
use serde::Serialize;

use super::{RepositoryName, reference, segment};
use crate::{
    client::{self, Call, Client},
    error::ApiError,
    models::{CheckRun, CommitStatus},
};

const SUMMARY_BYTES_MAX: usize = 65_535;
const DESCRIPTION_CHARS_MAX: usize = 140;
const NAME_CHARS_MAX: usize = 255;
/// GitHub takes so many at once; further ones come with further updates.
pub const ANNOTATIONS_MAX: usize = 50;
const ANNOTATION_BYTES_MAX: usize = 60 << 10;

/// What a commit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// It could not be found out.
    Error,
    /// Bad.
    Failure,
    /// Not known yet.
    Pending,
    /// Good.
    Success,
}

/// How far a check run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// It waits.
    Queued,
    /// It runs.
    InProgress,
    /// It has ended; it needs a conclusion.
    Completed,
}

/// How a check run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckConclusion {
    /// Well.
    Success,
    /// Badly.
    Failure,
    /// Neither.
    Neutral,
    /// Somebody stopped it.
    Cancelled,
    /// It was not needed.
    Skipped,
    /// It took too long.
    TimedOut,
    /// Somebody has to act first.
    ActionRequired,
}

/// How much an annotation matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotationLevel {
    /// Good to know.
    Notice,
    /// To be looked at.
    Warning,
    /// Wrong.
    Failure,
}

/// A remark on a line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Annotation {
    /// The file, from the top of the repository.
    pub path: String,
    /// The first line, from 1.
    pub start_line: u32,
    /// The last line.
    pub end_line: u32,
    /// How much it matters.
    pub annotation_level: AnnotationLevel,
    /// In words.
    pub message: String,
    /// In a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// What a check run shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckOutput {
    /// In a few words.
    pub title: String,
    /// Markdown.
    pub summary: String,
    /// Markdown, for whoever wants to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// At most [`ANNOTATIONS_MAX`]; GitHub adds them to those of earlier updates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
}

/// A check run as it should be. For an update, what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckRunDraft {
    /// Its name; has to be there when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its commit; has to be there when it is made, and is left out of updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_sha: Option<String>,
    /// What we call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Where to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details_url: Option<String>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<CheckState>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<CheckConclusion>,
    /// When it began, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// What it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<CheckOutput>,
}

/// Whether a ref was made by this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreatedRef {
    /// It was not there, and is now.
    Created,
    /// It was there already, wherever it points.
    Exists,
}

impl Client {
    /// Sets the status of a commit under a name of ours. Only an app may make check runs; this any token with push rights may.
    pub async fn create_status(
        &self,
        full_name: &str,
        sha: &str,
        state: StatusState,
        context: &str,
        description: &str,
        target_url: Option<&str>,
    ) -> Result<CommitStatus, ApiError> {
        #[derive(Serialize)]
        struct Draft<'a> {
            state: StatusState,
            context: String,
            description: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            target_url: Option<&'a str>,
        }
        let path = RepositoryName::parse(full_name)?.path();
        let draft = Draft {
            state,
            context: chars(context, NAME_CHARS_MAX),
            description: chars(description, DESCRIPTION_CHARS_MAX),
            target_url,
        };
        let call =
            Call::change(Method::POST, format!("{path}/statuses/{}", segment(reference(sha)?)), Some(&draft));
        Ok(self.run(&call, &client::json::<CommitStatus>).await?.fetched.value)
    }

    /// Makes a check run.
    pub async fn create_check_run(
        &self,
        full_name: &str,
        draft: &CheckRunDraft,
    ) -> Result<CheckRun, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        let call = Call::change(Method::POST, format!("{path}/check-runs"), Some(&fitting(draft)));
        Ok(self.run(&call, &client::json::<CheckRun>).await?.fetched.value)
    }

    /// Changes a check run.
    pub async fn update_check_run(
        &self,
        full_name: &str,
        check_run: u64,
        draft: &CheckRunDraft,
    ) -> Result<CheckRun, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        let draft = CheckRunDraft { head_sha: None, ..fitting(draft) };
        let call = Call::change(Method::PATCH, format!("{path}/check-runs/{check_run}"), Some(&draft));
        Ok(self.run(&call, &client::json::<CheckRun>).await?.fetched.value)
    }

    /// Makes a ref (`refs/…`) if there is none of that name: of several who try, one makes it.
    pub async fn create_ref(
        &self,
        full_name: &str,
        git_ref: &str,
        sha: &str,
    ) -> Result<CreatedRef, ApiError> {
        #[derive(Serialize)]
        struct Draft<'a> {
            #[serde(rename = "ref")]
            git_ref: &'a str,
            sha: &'a str,
        }
        let path = RepositoryName::parse(full_name)?.path();
        let call = Call::change(Method::POST, format!("{path}/git/refs"), Some(&Draft { git_ref, sha }));
        match self.run(&call, &client::nothing).await {
            Ok(_) => Ok(CreatedRef::Created),
            Err(ApiError::Unprocessable { message, .. }) if message.contains("already exists") => {
                Ok(CreatedRef::Exists)
            }
            Err(error) => Err(error),
        }
    }
}

fn fitting(draft: &CheckRunDraft) -> CheckRunDraft {
    let mut draft = draft.clone();
    draft.name = draft.name.map(|name| chars(&name, NAME_CHARS_MAX));
    if let Some(output) = &mut draft.output {
        output.title = chars(&output.title, NAME_CHARS_MAX);
        output.summary = bytes(&output.summary, SUMMARY_BYTES_MAX);
        output.text = output.text.as_deref().map(|text| bytes(text, SUMMARY_BYTES_MAX));
        output.annotations.truncate(ANNOTATIONS_MAX);
        for annotation in &mut output.annotations {
            annotation.message = bytes(&annotation.message, ANNOTATION_BYTES_MAX);
            annotation.title = annotation.title.as_deref().map(|title| chars(title, NAME_CHARS_MAX));
        }
    }
    draft
}

fn chars(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        // one less, for the sign that something is missing
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

fn bytes(text: &str, most: usize) -> String {
    const CUT: &str = "\n…";
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}{CUT}", &text[..text.floor_char_boundary(most - CUT.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(chars("abc", 3), "abc");
        assert_eq!(chars("äöüß", 3), "äö…");
        let cut = bytes(&"é".repeat(40_000), SUMMARY_BYTES_MAX);
        assert!(cut.len() <= SUMMARY_BYTES_MAX && cut.ends_with('…'));
        let draft = CheckRunDraft {
            output: Some(CheckOutput {
                annotations: vec![
                    Annotation {
                        path: "a".to_owned(),
                        start_line: 1,
                        end_line: 1,
                        annotation_level: AnnotationLevel::Notice,
                        message: "x".repeat(100_000),
                        title: None,
                    };
                    60
                ],
                ..CheckOutput::default()
            }),
            ..CheckRunDraft::default()
        };
        let output = fitting(&draft).output.expect("an output");
        assert_eq!(output.annotations.len(), 50);
        assert!(output.annotations[0].message.len() <= ANNOTATION_BYTES_MAX);
    }
}

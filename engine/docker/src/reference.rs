//! The grammar of names that go into a request's path.
//!
//! The library puts them there as they are, so `..`, `?` or `#` in one would make another request of it. Whether something
//! has that name is the engine's to say.

use crate::EngineError;

/// Characters of a name that the engine gives or takes: ids have 64.
const NAME_MAX: usize = 128;
/// Characters of an image's reference, registry and digest included.
const REFERENCE_MAX: usize = 512;
/// Characters of a refused text that its error repeats.
const SHOWN_MAX: usize = 80;

/// A container's, network's or volume's name or id.
pub(crate) fn name(text: &str) -> Result<&str, EngineError> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && text.len() <= NAME_MAX && text.bytes().all(is_good) {
        return Ok(text);
    }
    Err(refused(text, "a name has letters, digits, `_`, `.` and `-`, and starts with a letter or digit"))
}

/// An image's reference or id.
pub(crate) fn image(text: &str) -> Result<&str, EngineError> {
    let is_good =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b':' | b'/' | b'@');
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let leads_elsewhere = text.contains("..") || text.contains("/.") || text.contains("//");
    if starts_well && !leads_elsewhere && text.len() <= REFERENCE_MAX && text.bytes().all(is_good) {
        return Ok(text);
    }
    Err(refused(text, "an image is named as in `docker pull`: [registry/]name[:tag][@digest]"))
}

/// Splits off the tag. A reference by digest stays whole.
pub(crate) fn split_tag(reference: &str) -> (&str, Option<&str>) {
    let after_folder = reference.rfind('/').map_or(0, |at| at + 1);
    match reference.get(after_folder..).and_then(|last| last.find(':')) {
        Some(at) if !reference.contains('@') => {
            let (name, tag) = reference.split_at(after_folder + at);
            (name, tag.get(1..).filter(|tag| !tag.is_empty()))
        }
        _ => (reference, None),
    }
}

fn refused(text: &str, rule: &str) -> EngineError {
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    EngineError::BadRequest { message: format!("`{}`: {rule}", shown.escape_debug()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_engine_pass_and_paths_do_not() {
        for good in ["wfengine-linux-0a1b2c3d", "a", "A_b.c-9", &"a".repeat(64)] {
            assert_eq!(name(good), Ok(good));
        }
        for bad in [
            "",
            "-a",
            "_a",
            ".",
            "..",
            "a/b",
            "../x",
            "a?b",
            "a#b",
            "a b",
            "ä",
            "a\n",
            "a%2fb",
            &"a".repeat(129),
        ] {
            assert!(matches!(name(bad), Err(EngineError::BadRequest { .. })), "{bad}");
        }
    }

    #[test]
    fn references_of_images_pass_and_paths_do_not() {
        for good in ["a", "a:1", "ghcr.io/a/b:v1.2", "localhost:5000/a", "sha256:00ff", "a/b@sha256:00ff"] {
            assert_eq!(image(good), Ok(good));
        }
        for bad in [
            "",
            "/a",
            "../containers/x",
            "a/../../b",
            "a/./b",
            "a//b",
            "a?fromSrc=x",
            "a#",
            "a b",
            "ä",
            &"a".repeat(513),
        ] {
            assert!(matches!(image(bad), Err(EngineError::BadRequest { .. })), "{bad}");
        }
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split_tag("a"), ("a", None));
        assert_eq!(split_tag("a:1"), ("a", Some("1")));
        assert_eq!(split_tag("a:"), ("a", None));
        assert_eq!(split_tag("localhost:5000/a"), ("localhost:5000/a", None));
        assert_eq!(split_tag("localhost:5000/a:2"), ("localhost:5000/a", Some("2")));
        assert_eq!(split_tag("a:1@sha256:00"), ("a:1@sha256:00", None));
    }
}

//! What may name a commit, a repository, a ref and a folder of a checkout. Git and the file system see nothing else.

/// Bytes of any of them.
const TEXT_LEN_MAX: usize = 1024;

/// Whether a text is the id of a commit.
pub fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn is_repository(text: &str) -> bool {
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    text.len() <= TEXT_LEN_MAX
        && text.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

/// The rules of `git check-ref-format --allow-onelevel`, and no beginning that means more than the name in a command.
pub(super) fn is_ref(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let is_forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    text.len() <= TEXT_LEN_MAX
        && text.split('/').all(is_part)
        && !text.contains(is_forbidden)
        && !text.contains("..")
        && !text.contains("@{")
        && !text.ends_with('.')
        && !text.starts_with(['-', '+'])
        && text != "@"
}

/// The folder that a path names, from the workspace on.
pub(super) fn folder_within(workspace: &str, path: &str) -> Option<String> {
    if path.len() > TEXT_LEN_MAX || path.contains(char::is_control) {
        return None;
    }
    let relative = if path.starts_with('/') {
        let workspace = Some(workspace.trim_end_matches('/')).filter(|workspace| !workspace.is_empty())?;
        path.strip_prefix(workspace).filter(|rest| rest.is_empty() || rest.starts_with('/'))?
    } else {
        path
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part if part.eq_ignore_ascii_case(".git") => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_what_git_takes_for_one_and_never_an_option() {
        for good in ["main", "v1.2", "feature/a-b", "refs/heads/x", "dependabot/npm_and_yarn/@a/b", "é"] {
            assert!(is_ref(good), "{good}");
        }
        for bad in [
            "", "@", "-x", "+main", "a..b", "a b", "a:b", "x.lock", "x.lock/y", "a@{1}", "/a", "a/", "a//b",
            ".a", "b/.a", "a.", "a\\b", "a\nb", "a*", "a?", "a[b", "a^", "a~1",
        ] {
            assert!(!is_ref(bad), "{bad}");
        }
        assert!(!is_ref(&"x".repeat(TEXT_LEN_MAX + 1)));
    }

    #[test]
    fn a_path_that_begins_at_the_root_needs_a_workspace() {
        assert_eq!(folder_within("", "/etc"), None);
        assert_eq!(folder_within("/w/s/", "/w/s//x").as_deref(), Some("x"));
        assert_eq!(folder_within("/w", "a/\u{7}"), None);
    }
}

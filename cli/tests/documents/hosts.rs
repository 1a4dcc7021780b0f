//! A shell on a host, typed into line by line as somebody does who follows a document: what one line sets, the next one has.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use crate::netns::{Host, until};

/// No line takes longer.
const LINE_MAX: Duration = Duration::from_secs(180);

/// A shell that goes on until it is dropped; what it started ends with the host's namespace.
pub(crate) struct Shell {
    shell: Child,
    typed: ChildStdin,
    said: PathBuf,
    lines: usize,
}

/// What a line printed, in two files.
struct Printed {
    out: PathBuf,
    err: PathBuf,
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

impl Printed {
    fn all(&self) -> String {
        format!("{}{}", read(&self.out), read(&self.err))
    }
}

impl Shell {
    /// In the desk of a host, with these variables.
    pub(crate) fn start(host: &Host, variables: &[(String, String)]) -> Self {
        let said = host.home().join("said");
        let (bin, desk) = (host.home().join("bin"), host.home().join("desk"));
        for folder in [&said, &bin, &desk] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wfengine"), bin.join("wfengine")).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut paths = vec![bin];
        paths.extend(std::env::split_paths(&path));
        let mut command = host.shell();
        command.env("PATH", std::env::join_paths(paths).unwrap()).envs(variables.iter().cloned());
        command.current_dir(desk).stdin(Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let typed = shell.stdin.take().unwrap();
        Self { shell, typed, said, lines: 0 }
    }

    fn printed(&mut self) -> Printed {
        self.lines += 1;
        let file = |what: &str| self.said.join(format!("{}.{what}", self.lines));
        Printed { out: file("out"), err: file("err") }
    }

    fn type_in(&mut self, line: &str, printed: &Printed, then: &str) {
        let (out, err) = (printed.out.display(), printed.err.display());
        // in the shell itself, so that it remembers what the line sets
        let text = format!("{{ {line}\n}} </dev/null >'{out}' 2>'{err}' {then}\n");
        self.typed.write_all(text.as_bytes()).unwrap();
        self.typed.flush().unwrap();
    }

    /// Runs a line to its end, which has to be a good one; what it printed on standard output.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> String {
        let printed = self.printed();
        let ended = printed.out.with_extension("ended");
        let status = ended.display();
        self.type_in(line, &printed, &format!("; echo \"ended $?\" >'{status}'"));
        let ended = until(&format!("`{line}` ends"), LINE_MAX, || {
            Some(read(&ended)).filter(|text| text.ends_with('\n'))
        });
        assert_eq!(ended.trim(), "ended 0", "{line}\n{}", printed.all());
        let said = printed.all();
        assert!(!said.contains("panicked") && !said.contains("BUG:"), "{line}\n{said}");
        read(&printed.out)
    }

    /// Begins a line that goes on, and waits until it has said that it is ready.
    #[track_caller]
    pub(crate) fn begin(&mut self, line: &str, ready: &str) {
        let printed = self.printed();
        let ended = printed.out.with_extension("ended");
        // whoever ends early is not waited for
        let status = ended.display();
        let line = format!("{line}\necho \"ended $?\" >'{status}'");
        self.type_in(&line, &printed, "&");
        until(&format!("`{line}` says `{ready}`"), LINE_MAX, || {
            let said = printed.all();
            assert!(!read(&ended).ends_with('\n') || said.contains(ready), "it ended: {line}\n{said}");
            said.contains(ready).then_some(())
        });
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

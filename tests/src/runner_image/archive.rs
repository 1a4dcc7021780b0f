//! Writes a tar, in the form that every reader knows (ustar): folders, files, hard links, owners.
//!
//! Names are ours and short; times are zero, so that equal contents give equal bytes.

const BLOCK: usize = 512;
const FILE: u8 = b'0';
const LINK: u8 = b'1';
const FOLDER: u8 = b'5';

/// User and group of the same number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner(pub(super) u32);

/// A tar that grows.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    pub(super) fn folder(&mut self, name: &str, mode: u32, owner: Owner) {
        self.header(&format!("{name}/"), FOLDER, mode, owner, 0, "");
    }

    pub(super) fn file(&mut self, name: &str, mode: u32, owner: Owner, content: &[u8]) {
        self.header(name, FILE, mode, owner, content.len(), "");
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Another name for a file that stands before it.
    pub(super) fn link(&mut self, name: &str, to: &str, owner: Owner) {
        self.header(name, LINK, 0o755, owner, 0, to);
    }

    /// Two empty blocks are the end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    fn header(&mut self, name: &str, kind: u8, mode: u32, owner: Owner, length: usize, to: &str) {
        let mut header = [0_u8; BLOCK];
        let mut write = |start: usize, text: &str| {
            for (place, byte) in header.iter_mut().skip(start).zip(text.bytes()) {
                *place = byte;
            }
        };
        debug_assert!(name.len() < 100 && to.len() < 100, "BUG: a name that ustar does not hold");
        write(0, name);
        write(100, &format!("{mode:07o}"));
        write(108, &format!("{:07o}", owner.0));
        write(116, &format!("{:07o}", owner.0));
        write(124, &format!("{length:011o}"));
        write(136, &format!("{:011o}", 0));
        // the sum counts itself as blanks
        write(148, "        ");
        write(156, char::from(kind).encode_utf8(&mut [0; 4]));
        write(157, to);
        write(257, "ustar");
        write(263, "00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        for (place, byte) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
            *place = byte;
        }
        self.bytes.extend_from_slice(&header);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn what_is_written_is_what_tar_reads() {
        let mut archive = Archive::default();
        archive.folder("a", 0o1777, Owner(1001));
        archive.file("a/b", 0o755, Owner(0), b"content");
        archive.link("a/c", "a/b", Owner(0));
        let bytes = archive.finish();
        assert_eq!(bytes.len() % BLOCK, 0);
        let listed = Command::new("tar")
            .args(["--list", "--verbose", "--numeric-owner", "--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut listed = listed.expect("tar, which is on every machine with a compiler");
        listed.stdin.take().expect("its input").write_all(&bytes).expect("all of it");
        let output = listed.wait_with_output().expect("its output");
        let text = String::from_utf8(output.stdout).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(output.status.success(), "{text}");
        assert!(lines[0].starts_with("drwxrwxrwt 1001/1001") && lines[0].ends_with(" a/"), "{text}");
        assert!(lines[1].starts_with("-rwxr-xr-x 0/0") && lines[1].contains(" 7 "), "{text}");
        assert!(lines[2].starts_with('h') && lines[2].ends_with("a/c link to a/b"), "{text}");
    }
}

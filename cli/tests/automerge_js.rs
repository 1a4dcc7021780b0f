//! The official JavaScript automerge package opens what `log export --automerge` writes, and finds the frames in it.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

#[path = "../../tests/tests/requirements/mod.rs"]
mod requirements;

use std::path::{Path, PathBuf};
use std::process::Command;

use requirements::{Requirement, node_modules, require};
use wfengine_storage_format::{SignedFrame, sha256};

/// Prints, for every frame of a document, its length and SHA-256.
const SCRIPT: &str = "
const automerge = require('@automerge/automerge');
const { createHash } = require('crypto');
const { readFileSync } = require('fs');
const document = automerge.load(readFileSync(process.argv[1]));
for (const frame of document.frames) {
  console.log(frame.length + ' ' + createHash('sha256').update(frame).digest('hex'));
}
";

fn wfengine(data: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wfengine"));
    let output = command.arg("--data-dir").arg(data).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_official_package_reads_the_frames_of_an_exported_segment() {
    let what = "segments read by the official JavaScript automerge package";
    let Some(node) = require(Requirement::Node, what) else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for n in 0..5 {
        wfengine(&data, &["task", "submit", "--task-id", &format!("t{n}")]);
    }
    let segments = dir.path().join("segments");
    wfengine(&data, &["log", "export", "--automerge", segments.to_str().unwrap()]);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&segments).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut events = 0;
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let ours: Vec<String> = wfengine_protocol::frames_of(&bytes)
            .unwrap()
            .frames
            .iter()
            .map(|frame| {
                events += SignedFrame::decode(frame).unwrap().verify().unwrap().events().len();
                format!("{} {}", frame.len(), data_encoding::HEXLOWER.encode(&sha256(frame)))
            })
            .collect();
        let mut command = Command::new(&node);
        command.env("NODE_PATH", node_modules()).args(["-e", SCRIPT]).arg(&file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert_eq!(theirs.lines().collect::<Vec<_>>(), ours, "{}", file.display());
    }
    assert_eq!(events, 6, "the founding and five submissions");
}

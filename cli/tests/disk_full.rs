//! A full disk: what was acknowledged is there once there is room again, and the failure says so.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

#[path = "../../tests/tests/requirements/mod.rs"]
mod requirements;

use std::path::Path;
use std::process::{Command, Output};

use requirements::{Requirement, require};

/// A small file system in memory, unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Self { dir };
        disk.mount_with(&format!("size={size},mode=0700"));
        disk
    }

    fn mount_with(&self, options: &str) {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.dir.path()).status();
        assert!(status.unwrap().success(), "mount {options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}

fn wfengine(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wfengine")).arg("--data-dir").arg(data).args(arguments).output().unwrap()
}

#[test]
fn no_acknowledged_submission_is_lost_when_the_disk_is_full() {
    // whoever may make network namespaces may mount, too
    let Some(_) = require(Requirement::Namespaces, "a full disk loses nothing that was acknowledged") else {
        return;
    };
    let disk = SmallDisk::mount("4m");
    let data = disk.dir.path().join("data");
    let metadata = format!("{{\"filler\":\"{}\"}}", "x".repeat(20_000));
    let mut acknowledged = Vec::new();
    let failure = loop {
        let id = format!("t{}", acknowledged.len());
        let output = wfengine(&data, &["task", "submit", "--task-id", &id, "--metadata", &metadata]);
        if !output.status.success() {
            break output;
        }
        acknowledged.push(id);
        assert!(acknowledged.len() < 2_000, "4 MiB took 2,000 submissions of 20 kB");
    };
    let said = String::from_utf8_lossy(&failure.stderr);
    assert!(acknowledged.len() > 5, "only {} fitted: {said}", acknowledged.len());
    assert!(said.contains("error:"), "the failure says nothing: {said}");
    let remounted = Command::new("mount").args(["-o", "remount,size=64m"]).arg(disk.dir.path()).status();
    assert!(remounted.unwrap().success());
    let list = wfengine(&data, &["--json", "list", "--limit", "5000"]);
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let listed: Vec<String> = String::from_utf8_lossy(&list.stdout)
        .lines()
        .map(|line| {
            let run: serde_json::Value = serde_json::from_str(line).unwrap();
            run.get("given_id").unwrap().as_str().unwrap().to_owned()
        })
        .collect();
    for id in &acknowledged {
        assert!(listed.contains(id), "{id} was acknowledged and is gone");
    }
    let verify = wfengine(&data, &["replay", "--verify"]);
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
    let again = wfengine(&data, &["task", "submit", "--task-id", "after"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

/// A process that does not outlive its test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_disk_that_fills_is_told_and_found() {
    let Some(_) = require(Requirement::Namespaces, "a disk that fills is told") else { return };
    let disk = SmallDisk::mount("100m");
    let data = disk.dir.path().join("data");
    // what the command writes is elsewhere
    let desk = tempfile::tempdir().unwrap();
    let told = desk.path().join("told");
    let config = desk.path().join("config.toml");
    let script = format!("cat >> {}", told.display());
    let text = format!("[notify]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\nevents = [\"disk.low\"]\n");
    std::fs::write(&config, text).unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_wfengine"));
    serve.arg("--data-dir").arg(&data).arg("--config").arg(&config);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--no-lan", "--no-http"]);
    let _node = Running(serve.stdout(std::process::Stdio::null()).spawn().unwrap());
    let begun = std::time::Instant::now();
    let notification: serde_json::Value = loop {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        if let Ok(notification) = serde_json::from_str(&text) {
            break notification;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "nothing was told: {text}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    };
    assert_eq!(notification.get("event").unwrap(), "disk.low");
    assert!(notification.get("free_bytes").unwrap().as_u64().unwrap() < 100 * 1024 * 1024);
    let found = wfengine(&data, &["--json", "doctor", "--offline"]);
    assert_eq!(found.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    let disk =
        report.get("findings").unwrap().as_array().unwrap().iter().find(|found| found["check"] == "disk");
    assert_eq!(disk.unwrap()["state"], "fail");
}

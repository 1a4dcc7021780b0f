//! Questions to the engine by hand, as it answers them to everybody: whole documents, every event, images that nobody would build.
//!
//! HTTP/1.0 over the engine's socket, so that an answer ends with its connection.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value as Json, json};

use crate::lab::Lab;

/// The hash of a layer in which nothing is: two empty blocks of a tar.
const EMPTY_LAYER: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
const BLOCK: usize = 512;

/// The engine of a lab.
pub struct EngineApi(PathBuf);

impl EngineApi {
    pub fn of(lab: &Lab) -> Self {
        Self(lab.engine.endpoint().path().to_owned())
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = UnixStream::connect(&self.0).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[..end]).split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_off(end + 4))
    }

    /// What the engine says, as text.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        let (status, body) = self.ask("GET", path, b"");
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        String::from_utf8(body).unwrap()
    }

    /// What the engine says, as a document.
    #[track_caller]
    pub fn json(&self, path: &str) -> Json {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// Gives an image another name, which may be another image's.
    pub fn tag(&self, image: &str, repository: &str, tag: &str) {
        let path = format!("/images/{image}/tag?repo={repository}&tag={tag}");
        let (status, body) = self.ask("POST", &path, b"");
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    }

    /// Takes a name from an image, or the image away.
    pub fn remove_image(&self, reference: &str) {
        self.ask("DELETE", &format!("/images/{reference}?force=1"), b"");
    }

    /// Brings an image without any file under a name. Its id.
    pub fn load_empty_image(&self, reference: &str, architecture: &str, user: &str) -> String {
        let config = json!({
            "architecture": architecture, "os": "linux", "comment": reference,
            "config": { "User": user, "Cmd": ["/none"] },
            "rootfs": { "type": "layers", "diff_ids": [EMPTY_LAYER] },
        });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"] }]);
        let mut tar = Vec::new();
        for (name, content) in [
            ("config.json", config.to_string().into_bytes()),
            ("layer.tar", vec![0; 2 * BLOCK]),
            ("manifest.json", manifest.to_string().into_bytes()),
        ] {
            put(&mut tar, name, &content);
        }
        tar.resize(tar.len() + 2 * BLOCK, 0);
        let (status, body) = self.ask("POST", "/images/load?quiet=1", &tar);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        self.json(&format!("/images/{reference}/json"))["Id"].as_str().unwrap().to_owned()
    }

    /// Records whatever the engine tells everybody from here on.
    pub fn record_events(&self) -> Recorder {
        Recorder::start(&self.0)
    }
}

/// A file of a tar (ustar).
fn put(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut header = [0_u8; BLOCK];
    let mut write = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    write(0, name);
    write(100, "0000644\0");
    write(108, "0000000\0");
    write(116, "0000000\0");
    write(124, &format!("{:011o}\0", content.len()));
    write(136, "00000000000\0");
    write(148, "        ");
    write(156, "0");
    write(257, "ustar\0");
    write(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// Everything that the engine told its listeners.
pub struct Recorder {
    stream: UnixStream,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn start(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(b"GET /events HTTP/1.0\r\nHost: docker\r\n\r\n").unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (mut listening, kept) = (stream.try_clone().unwrap(), Arc::clone(&heard));
        thread::spawn(move || {
            let mut piece = [0; 4_096];
            while let Ok(length @ 1..) = listening.read(&mut piece) {
                kept.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { stream, heard }
    }

    /// What was heard so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }

    /// A label of every container of a pool that was started so far.
    pub fn started(&self, pool: &str, label: &str) -> BTreeSet<String> {
        let documents = self.text();
        let documents = documents.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let labels = documents.filter(|document| document["status"] == "start").map(|mut document| {
            let labels = &mut document["Actor"]["Attributes"];
            (labels["dev.wfengine.pool"] == pool, labels[label].take())
        });
        let of_pool = labels.filter(|(is_of_pool, _)| *is_of_pool);
        of_pool.filter_map(|(_, value)| value.as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

//! A door to the engine behind which some images have other names, so that a command line that names an image of the world gets one that
//! is here. No name at the engine itself is touched: it may be somebody's.
//!
//! Every connection carries one request: the door asks for its end with it. Names are changed in what is asked, never in an answer.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

const HEAD_LEN_MAX: usize = 64 * 1024;

/// Names as they are asked for, and as they are at the engine.
pub type Names = Vec<(String, String)>;

/// Opens the door. What goes through it ends with the process.
pub fn open(at: &Path, behind: PathBuf, names: Names) {
    let listener = UnixListener::bind(at).unwrap();
    let names = Arc::new(names);
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let (behind, names) = (behind.clone(), Arc::clone(&names));
            thread::spawn(move || carry(client, &behind, &names));
        }
    });
}

/// In an address slashes and colons are written otherwise.
fn encoded(name: &str) -> String {
    name.replace('/', "%2F").replace(':', "%3A")
}

fn renamed(text: &str, names: &Names) -> String {
    names.iter().fold(text.to_owned(), |text, (asked, there)| {
        text.replace(asked, there).replace(&encoded(asked), &encoded(there))
    })
}

/// Reads up to the end of the head; gives it, and what of the body came with it.
fn head(client: &mut UnixStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Some((String::from_utf8(bytes).ok()?, body));
        }
        let read = client.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend(&piece[..read]);
        if bytes.len() > HEAD_LEN_MAX {
            return None;
        }
    }
}

fn carry(mut client: UnixStream, behind: &Path, names: &Names) -> Option<()> {
    let (head, mut body) = head(&mut client)?;
    let (line, fields) = head.split_once("\r\n")?;
    let mut fields: Vec<String> = fields.trim_end().lines().map(str::to_owned).collect();
    let is_length = |field: &str| field.to_ascii_lowercase().starts_with("content-length:");
    if line.contains("/containers/create") {
        let length = fields.iter().find(|field| is_length(field))?;
        let length: usize = length.split_once(':')?.1.trim().parse().ok()?;
        let mut rest = vec![0; length.checked_sub(body.len())?];
        client.read_exact(&mut rest).ok()?;
        body.extend(rest);
        body = renamed(std::str::from_utf8(&body).ok()?, names).into_bytes();
        fields.retain(|field| !is_length(field));
        fields.push(format!("content-length: {}", body.len()));
    }
    let mut there = UnixStream::connect(behind).ok()?;
    let line = renamed(line, names);
    let head = format!("{line}\r\nconnection: close\r\n{}\r\n\r\n", fields.join("\r\n"));
    there.write_all(head.as_bytes()).ok()?;
    there.write_all(&body).ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, there.try_clone().ok()?);
    let asking = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        // whoever asks and goes is waited for no longer
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut piece = [0; 16 * 1024];
    while let Some(read) = there.read(&mut piece).ok().filter(|read| *read > 0) {
        if client.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    asking.join().ok()
}

#[test]
fn names_are_changed_as_they_are_and_in_addresses() {
    let names = vec![("a/b:latest".to_owned(), "c/d:1".to_owned())];
    assert_eq!(
        renamed("GET /images/a%2Fb%3Alatest/json a/b:latest", &names),
        "GET /images/c%2Fd%3A1/json c/d:1"
    );
}

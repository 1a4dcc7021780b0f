//! The stand-in for an engine of the job's own: a socket that answers what clients ask first, and nothing more.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    time::Duration,
};

use crate::exit;

const SOCKET: &str = "/run/user/1000/docker.sock";
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until it is killed.
pub(crate) fn serve(socket: Option<&str>) -> i32 {
    let path = Path::new(socket.unwrap_or(SOCKET));
    if let Some(folder) = path.parent() {
        // an engine makes its folder where it may
        let _ = fs::create_dir_all(folder);
    }
    let _ = fs::remove_file(path);
    let listener = match UnixListener::bind(path) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return exit::TERMINATED;
        }
    };
    // the job is somebody else
    let opened = fs::set_permissions(path, fs::Permissions::from_mode(0o666));
    println!("API listen on {}{}", path.display(), if opened.is_ok() { "" } else { " for its owner alone" });
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 4_096];
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let length = stream.read(&mut request).unwrap_or_default();
        let line = String::from_utf8_lossy(&request[..length]);
        let line = line.lines().next().unwrap_or_default();
        let path = line.split(' ').nth(1).unwrap_or_default();
        println!("{line}");
        let (status, body) = match path.rsplit('/').next() {
            Some("_ping") => ("200 OK", "OK"),
            Some("version") => ("200 OK", "{\"ApiVersion\":\"1.41\",\"Version\":\"20.10.24\"}"),
            _ => ("404 Not Found", "{\"message\":\"page not found\"}"),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // a client that is gone needs no answer
        let _ = stream.write_all(answer.as_bytes());
    }
    exit::DONE
}

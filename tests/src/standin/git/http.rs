//! Git over HTTP: `git http-backend` behind GitHub's addresses and access rules.
//!
//! For reading only. A repository is written to disk when somebody first asks for it.

use std::{io, process::Stdio};

use hyper::body::Bytes;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::standin::{
    Shared,
    accounts::{Access, Level, Needs, Role},
    answer::Answer,
    ids::RepositoryId,
    log::Logged,
    request::Request,
    serve,
    state::{Found, State},
};

const SERVICES: [&str; 3] = ["/info/refs", "/git-upload-pack", "/git-receive-pack"];

/// Owner, name and service of an address such as `/octo-org/one.git/info/refs`.
fn address(request: &Request) -> Option<(&str, &str, &'static str)> {
    let service = SERVICES.into_iter().find(|service| request.path.ends_with(service))?;
    let repository = request.path.strip_suffix(service)?.strip_prefix('/')?;
    let (owner, name) = repository.split_once('/')?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    (!owner.is_empty() && !name.is_empty() && !name.contains('/')).then_some((owner, name, service))
}

/// Whether a request comes from `git`.
pub(crate) fn is_for_git(request: &Request) -> bool {
    address(request).is_some()
}

/// Answers `git`.
pub(crate) async fn answer(shared: &Shared, request: &Request) -> Answer {
    let admitted = { admitted(&mut shared.state(), request) };
    let answer = match admitted {
        Ok(admitted) => backend(request, &admitted).await.unwrap_or_else(|error| {
            Answer::bytes(500, "text/plain; charset=utf-8", format!("git http-backend: {error}\n"))
        }),
        Err(answer) => answer,
    };
    let mut state = shared.state();
    let identity = serve::identity_name(&state, request);
    let logged = Logged {
        at: state.now(),
        identity,
        method: request.method.clone(),
        path: request.target(),
        status: answer.status,
        bucket: None,
        operation: None,
        is_conditional: false,
        is_git: true,
    };
    state.log.push(logged);
    answer
}

/// Where the backend finds what was asked for.
struct Admitted {
    root: String,
    /// Below the root.
    path: String,
}

fn admitted(state: &mut State, request: &Request) -> Result<Admitted, Answer> {
    let text = |status: u16, text: &'static str| Answer::bytes(status, "text/plain; charset=utf-8", text);
    let not_found = || text(404, "Repository not found.");
    let (owner, name, service) = address(request).ok_or_else(not_found)?;
    let who = || text(401, "Authentication required").with("www-authenticate", "Basic realm=\"GitHub\"");
    let identity = serve::identify(state, request).map_err(|_| who())?;
    let (id, has_moved) = match state.find(owner, name) {
        Found::Repository(id) => (id, false),
        Found::Moved(id) => (id, true),
        Found::Nothing if identity.is_anonymous() => return Err(who()),
        Found::Nothing => return Err(not_found()),
    };
    readable(state, &identity, id).map_err(|()| if identity.is_anonymous() { who() } else { not_found() })?;
    let repository = state.repositories.get(&id).ok_or_else(not_found)?;
    if has_moved {
        let query = request.query_text.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let full_name = state.full_name(repository);
        let location = format!("http://{}/{full_name}.git{service}{query}", request.host);
        return Err(Answer::bytes(301, "text/html", "").with("location", location));
    }
    if service == "/git-receive-pack" || request.query("service") == Some("git-receive-pack") {
        return Err(text(403, "The stand-in takes pushes through its own methods only."));
    }
    let folder = state.folder.join(format!("{id}.git"));
    let repository = state.repositories.get_mut(&id).ok_or_else(not_found)?;
    let written = repository.git.folder(&state.objects, || folder);
    let written =
        written.map_err(|error| Answer::bytes(500, "text/plain; charset=utf-8", error.to_string()))?;
    let name = written.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Admitted { root: state.folder.display().to_string(), path: format!("/{name}{service}") })
}

fn readable(
    state: &State,
    identity: &crate::standin::accounts::Identity,
    id: RepositoryId,
) -> Result<(), ()> {
    let repository = state.repositories.get(&id).ok_or(())?;
    let owner = state.accounts.get(&repository.owner).ok_or(())?;
    let needs = Needs { permission: "contents", level: Level::Read, role: Role::Read };
    match identity.may(repository, owner, needs) {
        Access::Allowed if !repository.is_disabled => Ok(()),
        Access::Allowed | Access::Hidden | Access::Missing => Err(()),
    }
}

/// Runs the backend as a web server would: the request in the environment and on its input, the answer on its output.
async fn backend(request: &Request, admitted: &Admitted) -> io::Result<Answer> {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &admitted.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("PATH_INFO", &admitted.path)
        .env("REQUEST_METHOD", &request.method)
        .env("QUERY_STRING", request.query_text.as_deref().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_ADDR", request.address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let input = child.stdin.take();
    let feed = async {
        if let Some(mut input) = input {
            // a backend that has seen enough closes its input
            let _ = input.write_all(&request.body).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    Ok(answer_of(Bytes::from(output?.stdout)))
}

/// Takes head and body apart.
fn answer_of(output: Bytes) -> Answer {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = match end {
        Some(end) => (output.slice(..end), output.slice(end + 4..)),
        None => (Bytes::new(), output),
    };
    let mut answer = Answer::bytes(200, "", body);
    for line in String::from_utf8_lossy(&head).lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("status", value) => {
                answer.status = value.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(500);
            }
            ("content-type", value) => value.clone_into(&mut answer.media_type),
            ("content-length", _) => {}
            (name, value) => answer.headers.push((name.to_owned(), value.to_owned())),
        }
    }
    answer
}

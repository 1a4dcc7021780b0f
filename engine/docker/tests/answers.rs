//! The crate against what is no engine, or one that says strange things: every outcome is typed, and nothing panics.

#![expect(clippy::unwrap_used, reason = "functions of tests fail by panicking")]

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::mpsc,
};
use wfengine_docker::{ContainerSpec, Endpoint, Engine, EngineError, EnvValue, RegistryCredentials, Secret};

fn engine(socket: &Path) -> Engine {
    Engine::new(Endpoint::parse(socket.to_str().unwrap()).unwrap())
}

/// An engine that says the same to everybody, and the heads of the requests it got.
struct Parrot {
    folder: tempfile::TempDir,
    heads: mpsc::UnboundedReceiver<String>,
}

impl Parrot {
    fn new(answer: impl Into<Vec<u8>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let (sender, heads) = mpsc::unbounded_channel();
        let answer = answer.into();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 64 * 1024];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let _ = sender.send(String::from_utf8_lossy(&head[..read]).into_owned());
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { folder, heads }
    }

    fn saying(status: &str, body: &str) -> Self {
        let length = body.len();
        Self::new(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ))
    }

    fn engine(&self) -> Engine {
        engine(&self.folder.path().join("s"))
    }
}

#[tokio::test]
async fn where_nobody_listens_the_error_says_so_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let missing = engine(&socket).info().await.unwrap_err();
    drop(UnixListener::bind(&socket).unwrap());
    let refused = engine(&socket).info().await.unwrap_err();
    for error in [missing, refused] {
        assert_eq!(error.kind(), "unreachable");
        assert!(error.to_string().contains(socket.to_str().unwrap()), "{error}");
        assert!(error.remedy().contains("docker version") && error.is_passing());
    }
}

/// This thread may open only what a file's mode lets it open, also if it is root's.
fn give_up_the_rights_of_root() {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
}

// one thread asks, which is a thread of this test alone
#[tokio::test(flavor = "current_thread")]
async fn who_may_not_open_the_socket_is_told_to_join_the_group() {
    give_up_the_rights_of_root();
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    for (socket_mode, folder_mode) in [(0o777, 0o000), (0o000, 0o755)] {
        let socket = inner.join(format!("{socket_mode:o}.sock"));
        let _listener = UnixListener::bind(&socket).unwrap();
        mode(&socket, socket_mode);
        mode(&inner, folder_mode);
        let error = engine(&socket).info().await.unwrap_err();
        mode(&inner, 0o755);
        assert!(matches!(error, EngineError::PermissionDenied { .. }), "{error:?}");
        assert!(error.remedy().contains("sudo usermod -aG docker $USER") && !error.is_passing());
    }
}

#[tokio::test]
async fn whatever_is_answered_is_a_typed_error() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let long = "x".repeat(1 << 20);
    let bodies =
        ["", "null", "[]", "{}", "7", "\"x\"", "{\"Id\":7}", "{\"message\":", "\u{0}\u{1}", &deep, &long];
    for status in
        ["200 OK", "204 No Content", "400 Bad Request", "404 Not Found", "409 Conflict", "500 Error", "999 X"]
    {
        for body in bodies {
            if status.starts_with("204") && !body.is_empty() {
                continue;
            }
            let parrot = Parrot::saying(status, body);
            let engine = parrot.engine();
            let spec = ContainerSpec::hardened("a:1");
            let errors = [
                engine.info().await.err(),
                engine.image("a:1").await.err(),
                engine.container("c1").await.err(),
                engine.containers(&[]).await.err(),
                engine.networks(&[]).await.err(),
                engine.volumes(&[]).await.err(),
                engine.create_container("c1", &spec).await.err(),
                engine.create_volume("v1", &Default::default()).await.err(),
                engine.import_image("a:1", vec![0; 512], &[]).await.err(),
                engine.logs_tail("c1", 100).await.err(),
                engine.remove_container("c1").await.err(),
                engine.events(&[]).await.err(),
                engine.inspect_json("c1").await.err(),
            ];
            for error in errors.into_iter().flatten() {
                assert!(error.to_string().chars().count() < 700, "{status}: {error}");
                assert!(!error.to_string().contains('\n') && !error.remedy().is_empty());
            }
            // nothing of what is asked for stands in any of these
            assert!(engine.create_container("c1", &spec).await.is_err(), "{status} {}", body.len());
        }
    }
    for bytes in [
        "",
        "\n\n\n",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
        "HTTP/9.9 200\r\n\r\n",
    ] {
        let error = Parrot::new(bytes).engine().info().await.unwrap_err();
        assert!(
            matches!(error, EngineError::Unreachable { .. } | EngineError::Garbled { .. }),
            "{bytes:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn no_name_leads_to_another_request() {
    let mut parrot = Parrot::saying("200 OK", "{}");
    let engine = parrot.engine();
    for bad in ["../images/a", "a/json?x=", "a#b", "", "a b", ".."] {
        let refusals = [
            engine.container(bad).await.err(),
            engine.start_container(bad).await.err(),
            engine.stop_container(bad, Duration::ZERO).await.err(),
            engine.kill_container(bad).await.err(),
            engine.remove_container(bad).await.err(),
            engine.remove_network(bad).await.err(),
            engine.remove_volume(bad).await.err(),
            engine.logs_tail(bad, 1).await.err(),
            engine.follow_logs(bad).await.err(),
            engine.inspect_json(bad).await.err(),
            engine.create_container(bad, &ContainerSpec::hardened("a")).await.err(),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap().kind(), "bad-request", "{bad}");
        }
    }
    for bad in ["../containers/c1", "a?b", "a/../../b", "a#b"] {
        assert_eq!(engine.image(bad).await.unwrap_err().kind(), "bad-request");
        assert_eq!(engine.pull(bad, None).await.unwrap_err().kind(), "bad-request");
        assert_eq!(engine.remove_image(bad).await.unwrap_err().kind(), "bad-request");
    }
    assert!(parrot.heads.try_recv().is_err());
}

#[tokio::test]
async fn an_error_does_not_repeat_a_secret() {
    let parrot =
        Parrot::saying("500 Error", r#"{"message":"cannot take JIT=s3cret of registry with hunter2"}"#);
    let env = vec![("JIT".to_owned(), EnvValue::secret("s3cret"))];
    let spec = ContainerSpec { env, ..ContainerSpec::hardened("a:1") };
    let error = parrot.engine().create_container("c1", &spec).await.unwrap_err();
    assert!(error.to_string().contains("JIT=***") && !error.to_string().contains("s3cret"), "{error}");
    let credentials = RegistryCredentials {
        server: "example.org".to_owned(),
        username: "me".to_owned(),
        password: Secret::new("hunter2"),
    };
    let error = parrot.engine().pull("a:1", Some(&credentials)).await.unwrap_err();
    assert!(matches!(&error, EngineError::PullFailed { image, .. } if image == "a:1"), "{error:?}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn credentials_reach_the_engine_in_the_alphabet_it_reads() {
    let mut parrot = Parrot::saying("404 Not Found", r#"{"message":"pull access denied"}"#);
    let credentials = RegistryCredentials {
        server: "example.org".to_owned(),
        username: "me".to_owned(),
        // each of these makes `+` or `/` in plain base64, wherever it falls
        password: Secret::new("???>>>~~~???>>>~~~"),
    };
    let error = parrot.engine().pull("a", Some(&credentials)).await.unwrap_err();
    assert_eq!(error.kind(), "pull-failed");
    let head = parrot.heads.recv().await.unwrap();
    assert!(head.starts_with("POST /images/create?fromImage=a&tag=latest"), "{head}");
    let sent = head.lines().find_map(|line| line.strip_prefix("x-registry-auth: ")).unwrap();
    assert!(sent.contains(['-', '_']) && !sent.contains(['+', '/']), "{sent}");
}

#[tokio::test]
async fn a_list_asks_for_all_of_the_labels() {
    let mut parrot = Parrot::saying("200 OK", "[]");
    assert_eq!(parrot.engine().containers(&[("a", "1"), ("b", "")]).await.unwrap(), []);
    let head = parrot.heads.recv().await.unwrap();
    let asked = "filters=%7B%22label%22%3A%5B%22a%3D1%22%2C%22b%22%5D%7D";
    assert!(head.starts_with("GET /containers/json?all=true") && head.contains(asked), "{head}");
}

#[tokio::test]
async fn the_end_of_a_stream_of_events_is_told() {
    let parrot = Parrot::saying("200 OK", r#"{"SystemTime":"2024-05-06T07:08:09.5+02:00"}"#);
    let mut events = parrot.engine().events(&[]).await.unwrap();
    // what has no action and no container is an event all the same; then the engine hangs up
    assert_eq!(events.next().await.unwrap().unwrap().action, "");
    assert_eq!(events.next().await.unwrap().unwrap_err().kind(), "unreachable");
    assert!(events.next().await.is_none());
    let without_time = Parrot::saying("200 OK", "{}").engine().events(&[]).await.unwrap_err();
    assert_eq!(without_time.kind(), "garbled");
}

#[tokio::test]
async fn the_same_client_goes_on_with_an_engine_that_was_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let engine = engine(&socket);
    assert_eq!(engine.containers(&[]).await.unwrap_err().kind(), "unreachable");
    for _ in 0..3 {
        let listener = UnixListener::bind(&socket).unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await.unwrap();
        });
        assert_eq!(engine.containers(&[]).await.unwrap(), []);
        serving.await.unwrap();
        assert_eq!(engine.containers(&[]).await.unwrap_err().kind(), "unreachable");
        std::fs::remove_file(&socket).unwrap();
    }
}

#[test]
fn calls_may_be_made_from_any_task() {
    fn is_send<T: Send>(_: &T) {}
    let engine = Engine::new(Endpoint::default());
    let spec = ContainerSpec::hardened("a");
    is_send(&engine);
    is_send(&engine.info());
    is_send(&engine.pull("a", None));
    is_send(&engine.create_container("a", &spec));
    is_send(&engine.events(&[]));
    is_send(&engine.follow_logs("a"));
    is_send(&engine.logs_tail("a", 1));
}

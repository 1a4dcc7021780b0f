//! A client in a process of its own, asked line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value as Json, json};

use crate::house::{House, Live, until};
use crate::requirements::{Requirement, node_modules, require};

/// Whose client, and how it reaches the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    PythonStdio,
    PythonHttp,
    NodeStdio,
    NodeHttp,
}

impl Kind {
    fn is_http(self) -> bool {
        matches!(self, Self::PythonHttp | Self::NodeHttp)
    }

    fn requirement(self) -> Requirement {
        match self {
            Self::PythonStdio | Self::PythonHttp => Requirement::McpPython,
            Self::NodeStdio | Self::NodeHttp => Requirement::McpNode,
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::PythonStdio | Self::PythonHttp => "client.py",
            Self::NodeStdio | Self::NodeHttp => "client.cjs",
        }
    }
}

/// A node that serves, and where programs ask it.
pub(crate) struct Served {
    pub(crate) house: House,
    _live: Live,
    pub(crate) url: String,
    pub(crate) token: String,
    /// Variables of the node and of whoever asks it.
    environment: Vec<(String, String)>,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with(House::new(), Vec::new())
    }

    /// A node in this house that has these variables.
    pub(crate) fn with(house: House, environment: Vec<(String, String)>) -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--no-lan", "--http", "127.0.0.1:0"];
        let mut command = house.command(&arguments);
        command.envs(environment.clone());
        let mut live = Live::start(command);
        let line = live.wait_for("programs ask at");
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        let token = std::fs::read_to_string(house.data().join("http-token")).unwrap();
        Self { house, _live: live, url, token, environment }
    }
}

/// A client that is connected.
pub(crate) struct Client {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// Connects, or records that this did not run.
    pub(crate) fn connect(kind: Kind, served: &Served, what: &str) -> Option<Self> {
        let program = require(kind.requirement(), what)?;
        Some(Self::start(kind, program, &served.house, Some(served)))
    }

    /// Connects to a log that no node serves.
    pub(crate) fn without_a_node(kind: Kind, house: &House, what: &str) -> Option<Self> {
        let program = require(kind.requirement(), what)?;
        Some(Self::start(kind, program, house, None))
    }

    fn start(kind: Kind, program: PathBuf, house: &House, served: Option<&Served>) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mcp").join(kind.script());
        let mut command = Command::new(program);
        command.arg(script).env("NODE_PATH", node_modules()).env("HOME", house.path(""));
        command.current_dir(house.desk());
        command.envs(served.iter().flat_map(|served| served.environment.clone()));
        match served.filter(|_| kind.is_http()) {
            Some(served) => {
                command.arg("http").arg(format!("{}/mcp", served.url)).arg(&served.token);
            }
            None => {
                command
                    .args(["stdio", env!("CARGO_BIN_EXE_wfengine"), "--data-dir"])
                    .arg(house.data())
                    .arg("mcp");
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut client = Self { child, questions, answers };
        let ready = client.line();
        assert_eq!(ready, json!({ "ready": true }));
        client
    }

    fn line(&mut self) -> Json {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).unwrap();
        if read == 0 {
            let mut errors = String::new();
            let pipe = self.child.stderr.take();
            let _ = pipe.map(|mut pipe| std::io::Read::read_to_string(&mut pipe, &mut errors));
            panic!("the client ended: {errors}");
        }
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Asks; gives the answer, or what the client calls an error.
    pub(crate) fn ask(&mut self, question: &Json) -> Result<Json, String> {
        let questions = self.questions.as_mut().unwrap();
        writeln!(questions, "{question}").unwrap();
        questions.flush().unwrap();
        let mut said = self.line();
        match said["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(said["answer"].take()),
        }
    }

    /// Calls a tool that has to succeed.
    #[track_caller]
    pub(crate) fn call(&mut self, name: &str, arguments: Json) -> Json {
        let answer = self.ask(&json!({ "ask": "call", "name": name, "arguments": arguments })).unwrap();
        assert_ne!(answer["isError"], true, "{name}: {answer}");
        answer["structuredContent"].clone()
    }

    /// Calls a tool that has to fail; gives its error document.
    #[track_caller]
    pub(crate) fn fails(&mut self, name: &str, arguments: Json) -> Json {
        let answer = self.ask(&json!({ "ask": "call", "name": name, "arguments": arguments })).unwrap();
        assert_eq!(answer["isError"], true, "{name}: {answer}");
        serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap()
    }

    /// What a tool is listed as.
    pub(crate) fn tools(&mut self) -> Vec<Json> {
        self.ask(&json!({ "ask": "tools" })).unwrap()["tools"].as_array().unwrap().clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // it goes when nothing more can be asked
        drop(self.questions.take());
        let ended = std::thread::panicking() || {
            let mut status = None;
            until("the client has ended", || {
                status = self.child.try_wait().unwrap();
                status.is_some().then_some(())
            });
            status.is_some()
        };
        if !ended || std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

//! The stand-in for GitHub as a program, for trying the product out by hand.
//!
//! Its clock is the machine's; `/_standin/advance` moves it on. It listens until it is interrupted.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that says where it listens and what it is asked"
)]

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use wfengine_tests::standin::{ContractSource, Logged, Options, Standin, StandinClock, TokenKind};

const USAGE: &str = "\
github-standin [--port N] [--fixture DIR] [--contract FILE] [--everywhere] [--runner-host NAME]

  --port N         listen on this port of 127.0.0.1; otherwise on a free one
  --fixture DIR    folders DIR/owner/name become repositories
  --contract FILE  hold requests and answers against this json-schemas.json;
                   otherwise against the one in the folder WFENGINE_CORPUS, if set
  --everywhere     listen on all addresses, for containers
  --runner-host NAME
                   how runners in containers call this host, such as github.test";

/// Requests are shown at the latest after so long.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was asked for on the command line.
#[derive(Default)]
struct Arguments {
    port: u16,
    fixture: Option<PathBuf>,
    contract: Option<PathBuf>,
    listens_everywhere: bool,
    runner_host: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments::default();
    let mut given = env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--port" => parsed.port = value()?.parse().map_err(|_| "--port needs a number".to_owned())?,
            "--fixture" => parsed.fixture = Some(value()?.into()),
            "--contract" => parsed.contract = Some(value()?.into()),
            "--runner-host" => parsed.runner_host = Some(value()?),
            "--everywhere" => parsed.listens_everywhere = true,
            other => return Err(format!("{other} is unknown")),
        }
    }
    Ok(parsed)
}

#[tokio::main]
async fn main() -> ExitCode {
    if env::args().skip(1).any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("github-standin: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("github-standin: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let options = Options {
        port: arguments.port,
        listens_everywhere: arguments.listens_everywhere,
        runner_host: arguments.runner_host,
        clock: StandinClock::real(),
        contract: arguments.contract.map_or(ContractSource::Environment, ContractSource::File),
        ..Options::default()
    };
    let standin = Standin::start(options).await?;
    let repositories = match arguments.fixture {
        Some(folder) => {
            standin.load_folder(&folder).map_err(|error| format!("{}: {error}", folder.display()))?
        }
        None => Vec::new(),
    };
    let owner = repositories.first().and_then(|name| name.split('/').next()).unwrap_or("octocat");
    introduce(&standin, &repositories, &standin.token(&TokenKind::classic(owner)));
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        () = show(&standin) => {}
    }
    for problem in standin.contract_problems() {
        println!("contract: {problem}");
    }
    Ok(())
}

fn introduce(standin: &Standin, repositories: &[String], token: &str) {
    let url = standin.base_url();
    println!("{url}");
    println!("{token}");
    println!();
    println!(
        "repositories: {}",
        if repositories.is_empty() { "none".to_owned() } else { repositories.join(", ") }
    );
    println!("against GitHub's description: {}", if standin.has_contract() { "yes" } else { "no" });
    println!();
    println!("GITHUB_TOKEN={token} GITHUB_API_URL={url} wfengine discover once");
    println!("curl -H 'Authorization: Bearer {token}' {url}/user/repos");
    let repository = repositories.first().map_or("octocat/one", String::as_str);
    if repositories.is_empty() {
        println!("curl -d '{{\"name\": \"{repository}\"}}' {url}/_standin/repository");
    }
    println!(
        "curl -d '{{\"repository\": \"{repository}\", \"files\": {{\"a.txt\": \"text\"}}}}' {url}/_standin/push"
    );
    println!("curl {url}/_standin/state");
    println!();
    let service = standin.runner_url();
    println!("a runner that runs nothing, and a job for it:");
    println!("rustc --edition 2024 -O -o standin-runner tests/standin-runner/main.rs");
    println!(
        "curl -d '{{\"repository\": \"{repository}\", \"jobs\": [{{\"name\": \"build do-slow-1\", \"labels\": [\"self-hosted\"]}}]}}' {url}/_standin/queue"
    );
    println!(
        "REPO_URL={service}/{repository} EPHEMERAL=1 RUNNER_TOKEN=$(curl -s -d '{{\"of\": \"{repository}\"}}' {url}/_standin/registration-token | tr -d '\"') ./standin-runner"
    );
    println!("curl {url}/_standin/jobs {url}/_standin/runners {url}/_standin/runner-events");
    println!();
}

/// One line for each request, without end.
async fn show(standin: &Standin) {
    let mut shown = 0;
    let mut problems = 0;
    loop {
        for request in standin.requests_since(shown) {
            println!("{}", line(&request));
            shown += 1;
        }
        for problem in standin.contract_problems().iter().skip(problems) {
            println!("    contract: {problem}");
            problems += 1;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn line(request: &Logged) -> String {
    let Logged { status, method, path, identity, .. } = request;
    let counted = request.bucket.map_or("", |bucket| bucket.name());
    let tag = if request.is_conditional { " if-none-match" } else { "" };
    format!("{status} {method} {path}  {identity} {counted}{tag}")
}

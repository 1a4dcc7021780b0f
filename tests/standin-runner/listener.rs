//! The life of a runner's process: connect, listen, one job, the end.
//!
//! Two connections: one waits for a job, the other is there for as long as the process lives, so that the service sees its
//! end; over it the service says that the job was cancelled or the registration removed.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    configuration::{self, Configured},
    deeds::{self, Deed, End},
    exit,
    http::{Answer, Host},
    json::{Json, object, text},
};

const VERSION: &str = "2.336.0";
/// A service that is not there is asked again for so long, unless the environment says otherwise.
const RETRY_FOR: Duration = Duration::from_secs(20);
const RETRY_VARIABLE: &str = "STANDIN_RETRY_SECONDS";
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// What the service said over the connection that stays.
#[derive(Default)]
pub(crate) struct News {
    cancelled: AtomicU64,
    is_gone: AtomicBool,
}

impl News {
    pub(crate) fn is_cancelled(&self, job: u64) -> bool {
        self.cancelled.load(Ordering::SeqCst) == job || self.is_gone.load(Ordering::SeqCst)
    }
}

/// A job that was given to this runner.
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
}

/// A process that is connected.
pub(crate) struct Connected {
    service: Host,
    session: String,
    pub(crate) news: Arc<News>,
    pub(crate) configured: Configured,
}

impl Connected {
    /// Says something here and to the service.
    pub(crate) fn say(&self, lines: &[String]) {
        for line in lines {
            println!("{line}");
        }
        let body = object(&[("session", text(&self.session)), ("lines", Json::list(lines))]);
        // whoever cannot be told does not hold the job up
        let _ = self.service.ask("POST", "/_runner/log", Some(&body));
    }
}

/// Asks until there is an answer, or for too long.
fn patiently(mut ask: impl FnMut() -> io::Result<Answer>) -> io::Result<Answer> {
    let begun = Instant::now();
    let said = std::env::var(RETRY_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    let retry_for = said.map_or(RETRY_FOR, Duration::from_secs);
    let mut is_said = false;
    loop {
        match ask() {
            Err(error) if begun.elapsed() < retry_for => {
                if !is_said {
                    println!("Runner connect error: {error}. Retrying until reconnected.");
                    is_said = true;
                }
                thread::sleep(RETRY_EVERY);
            }
            other => return other,
        }
    }
}

/// With the files of a just-in-time configuration.
pub(crate) fn with_files(folder: &str) -> i32 {
    let configured = match configuration::from_files(folder) {
        Ok(configured) => configured,
        Err(error) => return fails(&error),
    };
    let deeds = match first_deeds(&configured.service, &configured.name) {
        Ok(deeds) => deeds,
        Err(code) => return code,
    };
    let code = run(configured, deeds);
    if code == exit::DONE {
        configuration::remove_files(folder);
    }
    ended(code)
}

/// With a token from the environment, for which the runner registers first.
pub(crate) fn with_token() -> i32 {
    let wanted = match configuration::from_environment() {
        Ok(wanted) => wanted,
        Err(error) => return fails(&error),
    };
    let Some(service) = Host::of(&wanted.url) else { return fails("the address names no host") };
    let deeds = match first_deeds(&service, &wanted.name) {
        Ok(deeds) => deeds,
        Err(code) => return code,
    };
    let body = object(&[
        ("token", text(&wanted.token)),
        ("url", text(&wanted.url)),
        ("name", text(&wanted.name)),
        ("labels", Json::list(&wanted.labels)),
        ("ephemeral", Json::Bool(wanted.is_ephemeral)),
        ("no_default_labels", Json::Bool(wanted.has_no_default_labels)),
        ("replace", Json::Bool(true)),
    ]);
    let answer = match patiently(|| service.ask("POST", "/_runner/register", Some(&body))) {
        Ok(answer) => answer,
        Err(error) => return unreachable(&error),
    };
    let Some(agent) = answer.body.field("agent").number().filter(|_| answer.status == 200) else {
        let (status, message) = (answer.status, answer.message());
        return fails(&format!(
            "Http response code: {status} from 'POST {}' {message}\nInvalid configuration provided for url or token.",
            wanted.url
        ));
    };
    println!("√ Runner successfully added\n√ Settings Saved.");
    let configured = Configured {
        service,
        agent,
        name: wanted.name,
        secret: answer.body.field("secret").text().to_owned(),
        is_ephemeral: wanted.is_ephemeral,
        work: wanted.work,
    };
    ended(run(configured, deeds))
}

fn fails(error: &str) -> i32 {
    eprintln!("An error occurred: {error}");
    exit::TERMINATED
}

fn unreachable(error: &io::Error) -> i32 {
    eprintln!("The service cannot be reached: {error}");
    exit::RETRYABLE
}

fn ended(code: i32) -> i32 {
    let what = match code {
        exit::DONE => "stop the service, no retry needed",
        exit::TERMINATED => "terminated error, stop the service, no retry needed",
        exit::RETRYABLE => "retryable error, re-launch the runner in 5 seconds",
        exit::SESSION_CONFLICT => "Session Conflict error, stop the service, no retry needed",
        _ => "stop the service",
    };
    println!("Runner listener exit with {code} return code, {what}.");
    code
}

/// What a test ordered for whoever comes next, what the environment says, and what of it is to be done at once.
fn first_deeds(service: &Host, name: &str) -> Result<Vec<Deed>, i32> {
    let mut deeds = deeds::of_environment();
    let hello = object(&[("name", text(name))]);
    let answer = patiently(|| service.ask("POST", "/_runner/hello", Some(&hello)));
    let answer = answer.map_err(|error| unreachable(&error))?;
    deeds.extend(answer.body.field("do").texts().iter().filter_map(|order| deeds::read(order)));
    if deeds.iter().any(|deed| deed.is("crash-first")) {
        eprintln!("crashing before anything else");
        process::abort();
    }
    if deeds.iter().any(|deed| deed.is("never-connects")) {
        println!("never connecting");
        sleep_forever();
    }
    if deeds.iter().any(|deed| deed.is("deprecated")) {
        eprintln!("Runner version v{VERSION} is deprecated and cannot receive messages.");
        let is_asked = std::env::var("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE");
        return Err(ended(if is_asked.is_ok_and(|is| is == "1") {
            exit::DEPRECATED
        } else {
            exit::TERMINATED
        }));
    }
    Ok(deeds)
}

pub(crate) fn sleep_forever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3_600));
    }
}

/// Connects and works.
fn run(configured: Configured, mut deeds: Vec<Deed>) -> i32 {
    let service = configured.service.clone();
    let proof = object(&[("agent", Json::Number(configured.agent)), ("secret", text(&configured.secret))]);
    let answer = match patiently(|| service.ask("POST", "/_runner/session", Some(&proof))) {
        Ok(answer) => answer,
        Err(error) => return unreachable(&error),
    };
    match answer.status {
        200 => {}
        409 => {
            eprintln!("A session for this runner already exists. {}", answer.message());
            return exit::SESSION_CONFLICT;
        }
        _ => return removed(&answer),
    }
    println!("\n√ Connected to GitHub\n\nCurrent runner version: '{VERSION}'");
    let session = answer.body.field("session").text().to_owned();
    let labels = answer.body.field("labels").texts();
    deeds.extend(labels.iter().filter_map(|label| deeds::read(label.strip_prefix("runner-do-")?)));
    let news = Arc::new(News::default());
    let connected = Connected { service: service.clone(), session: session.clone(), news, configured };
    stay(&connected);
    if deeds.iter().any(|deed| deed.is("never-polls")) {
        println!("never listening for jobs");
        sleep_forever();
    }
    println!("Listening for Jobs");
    loop {
        let path = format!("/_runner/job?session={session}");
        let answer = match patiently(|| service.ask("GET", &path, None)) {
            Ok(answer) => answer,
            Err(error) => return unreachable(&error),
        };
        match answer.status {
            200 => {}
            204 => continue,
            _ => return removed(&answer),
        }
        let Some(id) = answer.body.field("job").number() else { return fails("a job without a number") };
        let (name, labels) =
            (answer.body.field("name").text().to_owned(), answer.body.field("labels").texts());
        let code = work(&connected, &Job { id, name, labels }, &deeds);
        if connected.configured.is_ephemeral || code != exit::DONE {
            return code;
        }
    }
}

fn removed(answer: &Answer) -> i32 {
    eprintln!(
        "Failed to create a session. The runner registration has been deleted from the server, please re-configure. {}",
        answer.message()
    );
    exit::TERMINATED
}

/// Keeps a connection for as long as the process lives.
fn stay(connected: &Connected) {
    let (service, news) = (connected.service.clone(), Arc::clone(&connected.news));
    let path = format!("/_runner/presence?session={}", connected.session);
    let keep = move || {
        loop {
            match service.ask("GET", &path, None) {
                Ok(answer) if answer.status == 200 => {
                    let job = answer.body.field("cancelled").number().unwrap_or_default();
                    news.cancelled.store(job, Ordering::SeqCst);
                }
                Ok(_) => return news.is_gone.store(true, Ordering::SeqCst),
                Err(_) => {}
            }
            thread::sleep(RETRY_EVERY);
        }
    };
    // without it the runner works all the same and is taken for lost when it is slow
    let _ = thread::Builder::new().name("presence".to_owned()).spawn(keep);
}

fn work(connected: &Connected, job: &Job, deeds: &[Deed]) -> i32 {
    println!("Running job: {}", job.name);
    let own = job.labels.iter().map(String::as_str).chain(job.name.split_whitespace());
    let own = own.filter_map(|word| deeds::read(word.strip_prefix("do-")?));
    let all: Vec<Deed> = deeds.iter().cloned().chain(own).collect();
    let end = deeds::perform(connected, job, &all);
    let (conclusion, word) = match end {
        End::Succeeded => ("success", "Succeeded"),
        End::Failed => ("failure", "Failed"),
        End::Cancelled => ("cancelled", "Canceled"),
    };
    let body = object(&[
        ("session", text(&connected.session)),
        ("job", Json::Number(job.id)),
        ("conclusion", text(conclusion)),
    ]);
    let told = patiently(|| connected.service.ask("POST", "/_runner/completed", Some(&body)));
    println!("Job {} completed with result: {word}", job.name);
    match told {
        Ok(answer) if answer.status == 200 => exit::DONE,
        Ok(answer) => removed(&answer),
        Err(error) => unreachable(&error),
    }
}

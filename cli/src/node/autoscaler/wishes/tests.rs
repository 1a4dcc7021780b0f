//! Every option of `runner start`: the field it becomes, and what is said about a value that is none.

use clap::Parser;
use wfengine_api::Exit;

use super::*;
use crate::args::{Cli, RunnerVerb, Verb};

fn args(line: &str) -> RunnerStartArgs {
    // a word in quotes may have spaces
    let mut words: Vec<String> = vec!["wfengine".into(), "runner".into(), "start".into()];
    for (place, part) in line.split('"').enumerate() {
        if place % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    match Cli::try_parse_from(words).unwrap().verb {
        Verb::Runner(RunnerVerb::Start(args)) => *args,
        other => panic!("{other:?}"),
    }
}

fn wishes(line: &str) -> Result<RunnerWishes, Failure> {
    RunnerWishes::of(args(line), None)
}

fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

#[test]
fn without_options_it_is_the_default_turned_on() {
    assert_eq!(wishes("").unwrap(), RunnerWishes { on: true, ..RunnerWishes::default() });
    assert_eq!(wishes("--verbose").unwrap(), wishes("").unwrap());
}

#[test]
fn every_option_is_a_field() {
    type Change = fn(&mut RunnerWishes);
    let cases: &[(&str, Change)] = &[
        ("--pool gpu", |w| w.pool = "gpu".into()),
        ("--owner myorg --owner other", |w| w.owners = set(["myorg".into(), "other".into()])),
        ("--repo octo/ci", |w| w.repositories = set(["octo/ci".into()])),
        ("--interval 60", |w| w.interval_s = 60),
        ("--max-runners 8", |w| w.max_runners = 8),
        ("--cluster-max 30", |w| w.cluster_max = 30),
        ("--min-idle 2", |w| w.min_idle.count = 2),
        ("--min-idle 0 --min-idle \"0 8 * * 1-5=2\" --timezone Europe/Berlin", |w| {
            w.min_idle.timezone = "Europe/Berlin".into();
            w.min_idle.from = vec![idle::IdleFrom { cron: "0 8 * * 1-5".into(), count: 2 }];
        }),
        ("--since-days 7", |w| w.since_days = 7),
        ("--image myoung34/github-runner:latest", |w| {
            w.container.image = "myoung34/github-runner:latest".into()
        }),
        ("--image-contract third-party", |w| w.container.image_contract = Contract::ThirdParty),
        ("--image-contract official", |w| w.container.image_contract = Contract::Official),
        ("--pull always", |w| w.container.pull = Pull::Always),
        ("--pull never", |w| w.container.pull = Pull::Never),
        ("--registry-credentials /dev/../proc/self/status", |w| {
            w.container.registry_credentials = Some("/dev/../proc/self/status".into());
        }),
        ("--labels gpu,big", |w| w.labels = vec!["gpu".into(), "big".into()]),
        ("--memory 2g", |w| w.container.memory_bytes = 2 << 30),
        ("--cpus 0.5", |w| w.container.cpus_milli = 500),
        ("--pids 100", |w| w.container.pids = 100),
        ("--workspace-size 1g", |w| w.container.workspace_bytes = 1 << 30),
        ("--job-timeout 1h", |w| w.container.job_timeout_ms = 3_600_000),
        ("--idle-timeout 30s", |w| w.container.idle_timeout_ms = 30_000),
        ("--start-timeout 5m", |w| w.container.start_timeout_ms = 300_000),
        ("--network none", |w| w.network.mode = RunnerNetwork::None),
        ("--network own", |_| ()),
        ("--network bridge", |w| w.network.mode = RunnerNetwork::Named("bridge".into())),
        ("--network default", |w| w.network.mode = RunnerNetwork::Named("bridge".into())),
        ("--network ci_net", |w| w.network.mode = RunnerNetwork::Named("ci_net".into())),
        ("--network host --insecure", |w| {
            w.network.mode = RunnerNetwork::Host;
            (w.insecure, w.github.insecure) = (true, true);
        }),
        ("--allow-host-port 8080 --allow-host-port 53", |w| w.network.host_ports = set([53, 8080])),
        ("--allow-host-access", |w| w.network.host_access = true),
        ("--egress 140.82.112.0/20:443", |w| {
            w.network.egress = set(["140.82.112.0/20:443".parse().unwrap()])
        }),
        ("--extra-host github.test:host-gateway --extra-host six:2001:db8::1", |w| {
            w.network.extra_hosts =
                [("github.test".into(), "host-gateway".into()), ("six".into(), "2001:db8::1".into())].into();
        }),
        ("--docker rootless-sidecar --sidecar-image docker:dind-rootless", |w| {
            w.container.docker = DockerAccess::RootlessSidecar;
            w.container.sidecar_image = Some("docker:dind-rootless".into());
        }),
        ("--docker socket --insecure", |w| {
            w.container.docker = DockerAccess::Socket;
            (w.insecure, w.github.insecure) = (true, true);
        }),
        ("--cap-add cap_net_raw --cap-add SETUID", |w| {
            w.container.capabilities = set(["NET_RAW".into(), "SETUID".into()]);
        }),
        ("--allow-privilege-gain", |w| w.container.allow_privilege_gain = true),
        ("--work-dir /tmp/_work", |w| w.container.work_dir = "/tmp/_work".into()),
        ("--register organization --owner myorg --runner-group 3", |w| {
            w.owners = set(["myorg".into()]);
            w.register = Register::Organization;
            w.runner_group = 3;
        }),
        ("--registration token", |w| w.registration = Registration::Token),
        ("--allow-repo octo/ci", |w| w.allow.repositories = set(["octo/ci".into()])),
        ("--allow-public", |w| w.allow.public = true),
        ("--allow-forks", |w| w.allow.forks = true),
        ("--reserve-memory 1g", |w| w.reserve_memory_bytes = 1 << 30),
        ("--reserve-memory 0", |w| w.reserve_memory_bytes = 0),
        ("--reserve-cpus 0.5", |w| w.reserve_cpus_milli = 500),
        ("--docker-host unix:///run/docker.sock", |w| w.docker_host = Some("unix:///run/docker.sock".into())),
        ("--no-arch-filter", |w| w.no_arch_filter = true),
        ("--no-p2p", |w| w.no_p2p = true),
        ("--token-file /t --api https://ghe.test/api/v3 --ca-file /ca.pem", |w| {
            w.github.token_file = Some("/t".into());
            w.github.api = Some("https://ghe.test/api/v3".into());
            w.github.ca_file = Some("/ca.pem".into());
        }),
        ("--background --listen 127.0.0.1:0 --no-lan", |_| ()),
    ];
    for (line, change) in cases {
        let mut wanted = RunnerWishes { on: true, ..RunnerWishes::default() };
        change(&mut wanted);
        let read = wishes(line).unwrap_or_else(|failure| panic!("{line}: {failure}"));
        assert_eq!(read, wanted, "{line}");
        // kept in the settings and read again it is the same
        let kept = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<RunnerWishes>(&kept).unwrap(), wanted, "{line}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_option_its_value_and_what_is_expected() {
    for (line, wanted) in [
        ("--pool Big", "--pool Big: expected 1 to 32 lower-case letters"),
        ("--pool x-", "--pool x-: expected"),
        ("--owner a/b", "--owner a/b: `a/b` is no owner"),
        ("--repo ci", "--repo ci: `ci` is no repository: expected OWNER/NAME"),
        ("--allow-repo ci", "--allow-repo ci: `ci` is no repository"),
        ("--interval 0", "--interval 0: expected 1 to 86400"),
        ("--max-runners 0", "--max-runners 0: expected 1 to 1000"),
        ("--cluster-max 0", "--cluster-max 0: expected 1 to 100000"),
        ("--min-idle many", "--min-idle many: expected a number of runners"),
        ("--min-idle 11", "--min-idle 11: expected --max-runners (10) at most"),
        ("--min-idle \"8 * * *=1\"", "--min-idle \"8 * * *=1\": its cron expression: it has 4 fields"),
        ("--timezone Mars", "--timezone Mars: expected the name of a time zone"),
        ("--since-days 0", "--since-days 0: expected 1 to 3650"),
        ("--image \"my image\"", "--image my image: expected an image"),
        ("--image-contract mine", "--image-contract mine: expected official, third-party, auto"),
        ("--pull sometimes", "--pull sometimes: expected missing, always, never"),
        ("--registry-credentials /not/there", "--registry-credentials /not/there: there is no such file"),
        ("--labels a,,b", "--labels : expected labels of 1 to 256 bytes"),
        ("--memory 4x", "--memory 4x: expected a size such as 512m or 4g"),
        ("--memory 1m", "--memory 1m: expected 16m or more"),
        ("--cpus many", "--cpus many: expected a number of processors"),
        ("--cpus 0", "--cpus 0: expected 0.01 or more"),
        ("--pids 1", "--pids 1: expected 16 to 4194304"),
        ("--workspace-size 5k", "--workspace-size 5k: expected 1m or more"),
        ("--job-timeout 6d", "--job-timeout 6d: expected 1s to 5d"),
        ("--idle-timeout later", "--idle-timeout later: expected a duration such as"),
        ("--start-timeout 2h", "--start-timeout 2h: expected 1s to 1h"),
        ("--network container:abc", "--network container:abc: expected own, none, host, or the name"),
        ("--allow-host-port 0", "--allow-host-port 0: expected 1 to 65535"),
        (
            "--network none --allow-host-port 80",
            "--allow-host-port with --network none: expected --network own",
        ),
        ("--network none --allow-host-access", "--allow-host-access with --network none: expected"),
        ("--network ci --egress 10.0.0.0/8", "--egress with --network ci: expected --network own"),
        ("--egress github.com", "--egress github.com: expected a network"),
        ("--extra-host cache", "--extra-host cache: expected NAME:ADDRESS"),
        ("--extra-host cache:there", "--extra-host cache:there: expected NAME:ADDRESS"),
        ("--docker all", "--docker all: expected none, rootless-sidecar, socket"),
        ("--sidecar-image x", "--sidecar-image without a sidecar: expected --docker rootless-sidecar"),
        ("--cap-add FLY", "--cap-add FLY: expected the name of a capability"),
        ("--work-dir ../../etc", "--work-dir ../../etc: expected a path inside the container"),
        ("--register enterprise", "--register enterprise: expected repository, organization"),
        ("--register organization", "--register organization: expected the organization's name with --owner"),
        ("--runner-group 2", "--runner-group 2: expected --register organization besides"),
        ("--runner-group 0", "--runner-group 0: expected the group's number"),
        ("--registration pat", "--registration pat: expected jit, token"),
        ("--reserve-memory lots", "--reserve-memory lots: expected a size"),
        ("--reserve-cpus -", "--reserve-cpus -: expected a number of processors"),
        (
            "--docker-host tcp://10.0.0.1:2375",
            "--docker-host tcp://10.0.0.1:2375: expected unix:// and a path",
        ),
    ] {
        let failure = wishes(line).unwrap_err();
        assert!(failure.message.starts_with(wanted), "{line}: {}", failure.message);
        assert_eq!(failure.exit, Exit::BadInput, "{line}");
    }
}

#[test]
fn what_opens_the_host_needs_a_word_more_and_says_what_it_gives_away() {
    for (line, what) in [
        ("--docker socket", "root on this host"),
        ("--network host", "loopback"),
        ("--cap-add ALL", "leave its container"),
        ("--cap-add sys_admin", "leave its container"),
        ("--cap-add CAP_NET_ADMIN", "change this host for all"),
    ] {
        let refused = wishes(line).unwrap_err();
        assert_eq!(refused.exit, Exit::Refused, "{line}");
        assert!(
            refused.message.contains("needs --insecure besides") && refused.message.contains(what),
            "{refused}"
        );
        let said = wishes(&format!("{line} --insecure")).unwrap().gives_away();
        assert!(matches!(said.as_slice(), [one] if one.contains(what)), "{line}: {said:?}");
    }
    let said = wishes(
        "--allow-forks --allow-public --registration token --allow-host-access --allow-privilege-gain",
    );
    assert_eq!(said.unwrap().gives_away().len(), 5);
    assert!(wishes("--cap-add NET_RAW").unwrap().gives_away().is_empty());
    assert!(wishes("--insecure").unwrap().gives_away().is_empty());
    // settings that somebody wrote by hand meet the same rule
    let by_hand = RunnerWishes {
        network: NetworkWishes { mode: RunnerNetwork::Host, ..NetworkWishes::default() },
        ..RunnerWishes::default()
    };
    assert_eq!(by_hand.check().unwrap_err().exit, Exit::Refused);
}

#[test]
fn the_older_programs_variable_is_the_network_where_no_option_is() {
    let of = |line: &str, variable: &str| RunnerWishes::of(args(line), Some(variable));
    assert_eq!(of("", "none").unwrap().network.mode, RunnerNetwork::None);
    assert_eq!(of("--network own", "host").unwrap().network.mode, RunnerNetwork::Own);
    assert!(of("", "host").unwrap_err().message.starts_with("--network host needs --insecure"));
    assert!(of("", "a b").unwrap_err().message.starts_with("RUNNER_DOCKER_NETWORK_MODE a b: expected own"));
}

#[test]
fn labels_are_those_of_every_runner_and_then_its_own() {
    let labels = wishes("--labels GPU,self-hosted").unwrap().all_labels();
    assert_eq!(labels.first().map(String::as_str), Some("self-hosted"));
    assert_eq!(labels.last().map(String::as_str), Some("GPU"));
    assert_eq!(labels.len(), 4, "{labels:?}");
}

#[test]
fn a_pool_shows_its_labels_and_what_counts_at_this_hour() {
    let pool = RunnerWishes { labels: vec!["gpu".to_owned()], ..RunnerWishes::default() }.view(0);
    assert_eq!(
        (pool.name.as_str(), pool.network.as_str(), pool.registration.as_str()),
        ("default", "own", "jit")
    );
    assert_eq!(
        (pool.labels.first().unwrap().as_str(), pool.labels.last().unwrap().as_str()),
        ("self-hosted", "gpu")
    );
    assert_eq!((pool.min_idle, pool.cluster_max), (0, None));
}

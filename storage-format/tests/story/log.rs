//! The good frames: alice founds a cluster, bob joins by invite, carol by her word; two runs, and what became of them.

use std::collections::BTreeMap;

use wfengine_storage_format::{
    AbortReason, Body, ChainCut, ClusterFounded, Conclusion, DiscoveryChanged, DispatchFollowed, Effect,
    EffectDone, EffectIntended, EffectOutcome, Frozen, Grant, Incarnation, InviteKey, JobAborted, JobClaimed,
    JobCompleted, JobFailed, JobReleased, JobStarted, JobsPlanned, KeyRotated, Kind, Origin, PeerAdmitted,
    PeerDescribed, PeerInvited, PeerLabelled, PeerRevoked, Placement, PlannedKey, PlannedLeg,
    PriorityChanged, ReleaseReason, RepositoryRef, RepositoryScanned, Role, Roles, RunCancelled, RunExpired,
    RunSpec, RunSubmitted, ScanOutcome, Signer, StepFinished, Trigger, TriggerFired, VerifiedFrame,
    WorkflowFound, WorkflowSpec, WorkflowVanished, invite_statement, job_id, rotation_statement,
};

use super::{Author, Log, Saying, Specimen, blob, forks, runners};

fn workflow_run() -> RunSubmitted {
    RunSubmitted {
        trigger_key: b"path:.github/workflows/build.yml@1".to_vec(),
        attempt: 1,
        name: "build".to_owned(),
        spec: RunSpec::Workflow(WorkflowSpec {
            path: ".github/workflows/build.yml".to_owned(),
            source: blob("on: push"),
            called: vec![
                ("./.github/workflows/lint.yml".to_owned(), blob("lint")),
                ("example/shared/.github/workflows/publish.yml@v1".to_owned(), blob("publish")),
            ],
            job_keys: vec!["test".to_owned(), "publish".to_owned()],
            rules_version: 1,
        }),
        frozen: Frozen {
            event_name: "push".to_owned(),
            event_json: "{\"forced\":false}".to_owned(),
            event_blob: None,
            inputs: vec![("level".to_owned(), "\"debug\"".to_owned())],
            vars: vec![("WFENGINE".to_owned(), "true".to_owned())],
            actor: "alice".to_owned(),
            repository: "example/widgets".to_owned(),
            ref_name: "refs/heads/main".to_owned(),
            sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            run_number: 7,
        },
        tags: vec!["p2p-eligible".to_owned()],
        metadata_json: String::new(),
        priority_milli: 3_000,
        placement: Placement::Rule,
        origin: Origin::Discovery,
        retries: 2,
        backoff_ms: (1_000, 60_000),
        rerun_of: None,
    }
}

fn task_run(trigger_key: &str) -> RunSubmitted {
    RunSubmitted {
        trigger_key: trigger_key.as_bytes().to_vec(),
        name: "rénderer ⚙".to_owned(),
        spec: RunSpec::Task { workflow_id: "render".to_owned() },
        frozen: Frozen {
            event_name: "render_asked".to_owned(),
            event_blob: Some(blob("a long payload")),
            ..Frozen::default()
        },
        tags: Vec::new(),
        metadata_json: "{\"scene\":4}".to_owned(),
        priority_milli: 1_000_000,
        placement: Placement::Author,
        origin: Origin::Hand,
        retries: 0,
        backoff_ms: (0, 0),
        ..workflow_run()
    }
}

fn leg(name: &str, matrix: BTreeMap<String, String>) -> PlannedLeg {
    PlannedLeg {
        name: name.to_owned(),
        matrix,
        runs_on: vec!["linux".to_owned(), "x64".to_owned()],
        group: None,
        timeout_minutes: 360,
        continue_on_error: false,
    }
}

/// The bytes of a good body with one piece exchanged: what no author of this crate would write.
pub(super) fn patched(body: impl Into<Body>, piece: &[u8], other: &[u8]) -> (Kind, Vec<u8>) {
    let (kind, mut bytes) = body.into().encode().unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place..].starts_with(piece)).collect();
    let [place] = places[..] else { panic!("the piece stands at {places:?}") };
    bytes.splice(place..place + piece.len(), other.iter().copied());
    (kind, bytes)
}

/// Writes the log. Returns its files and its frames by file name.
pub(super) fn tell() -> (Vec<Specimen>, BTreeMap<String, VerifiedFrame>) {
    let mut log = Log::default();
    let (mut alice, mut bob, mut carol) = (Author::new(1, 0xa1), Author::new(2, 0xb1), Author::new(3, 0xc1));

    // Authority: each of these names the authority head before it.
    let nonce = [0x11; 16];
    let system = || vec!["linux".to_owned(), "x64".to_owned()];
    let founding = ClusterFounded { name: "home".to_owned(), nonce, system: system() };
    let founded = log.say(&mut alice, &[], Saying::of(founding, &[]));
    let cluster = log.cluster.unwrap();
    let door = Signer::from_seed(&[9; 32]);
    let invited = PeerInvited {
        invite_key: InviteKey::of(&door),
        roles: Roles::MEMBER,
        labels: vec!["linux".to_owned()],
        expires_ms: 1_800_000_600_000,
    };
    let invite = log.say(&mut alice, &[], Saying::of(invited, &[founded]));
    let signature = door.sign(&invite_statement(&cluster, &bob.chain.author));
    let joined = PeerAdmitted {
        peer: bob.chain.author,
        name: "bob".to_owned(),
        system: system(),
        grant: Grant::Invite { invite, signature },
    };
    log.say(&mut alice, &[], Saying::of(joined, &[]));
    let direct = PeerAdmitted {
        peer: carol.chain.author,
        name: "carol".to_owned(),
        system: Vec::new(),
        grant: Grant::Direct {
            roles: Roles::NONE.with(Role::Submitter).with(Role::Operator),
            labels: Vec::new(),
        },
    };
    let head = alice.tip().id;
    log.write("PeerAdmitted-direct", &mut alice, &[], vec![(Saying::of(direct, &[head]), "ok")]);
    let labels = vec!["gpu".to_owned(), "linux".to_owned()];
    let labelled = PeerLabelled { peer: bob.chain.author, labels, weight: 4 };
    let head = alice.tip().id;
    let head = log.say(&mut alice, &[], Saying::of(labelled, &[head]));

    // Members describe themselves: first frames of their chains.
    let described = |name: &str| PeerDescribed {
        name: name.to_owned(),
        addresses: vec!["192.0.2.7:4433".to_owned(), "[2001:db8::7]:4433".to_owned()],
        version: "0.1.0".to_owned(),
    };
    log.say(&mut bob, &[alice.tip()], Saying::of(described("bob"), &[]));
    let first = vec![(Saying::of(described("carol"), &[]), "ok")];
    log.write("PeerDescribed-without-parents", &mut carol, &[], first);

    // A run of a workflow file, start to end.
    let run = workflow_run();
    let run_id = run.run();
    let files = ["on: push", "lint", "publish"].map(blob);
    let submission =
        log.say(&mut alice, &[bob.tip(), carol.tip()], Saying::of(run.clone(), &[head]).keeping(&files));
    let matrix =
        BTreeMap::from([("os".to_owned(), "\"linux\"".to_owned()), ("v".to_owned(), "3".to_owned())]);
    let other_matrix =
        BTreeMap::from([("os".to_owned(), "\"linux\"".to_owned()), ("v".to_owned(), "4".to_owned())]);
    let job = job_id(&run_id, "test", &matrix);
    let planned = JobsPlanned {
        run: run_id,
        submission,
        rules_version: 1,
        consumed: Vec::new(),
        jobs: vec![
            PlannedKey {
                key: "test".to_owned(),
                needs: Vec::new(),
                skipped: None,
                max_parallel: Some(2),
                fail_fast: true,
                legs: vec![leg("test (linux, 3)", matrix), leg("test (linux, 4)", other_matrix)],
            },
            PlannedKey {
                key: "publish".to_owned(),
                needs: vec!["test".to_owned()],
                skipped: Some("if: false".to_owned()),
                max_parallel: None,
                fail_fast: false,
                legs: vec![PlannedLeg {
                    group: Some("release".to_owned()),
                    ..leg("publish", BTreeMap::new())
                }],
            },
        ],
    };
    log.say(&mut alice, &[], Saying::of(planned.clone(), &[]));
    let claimed = JobClaimed { run: run_id, job, submission, epoch: 1, supersedes: None };
    let claim = log.say(&mut bob, &[alice.tip()], Saying::of(claimed.clone(), &[head]));
    log.say(&mut bob, &[], Saying::of(JobStarted { run: run_id, job, claim }, &[]));
    let step = StepFinished {
        run: run_id,
        job,
        claim,
        number: 1,
        name: "cargo test".to_owned(),
        conclusion: Conclusion::Success,
        duration_ms: 12_345,
    };
    log.say(&mut bob, &[], Saying::of(step, &[]));
    let completed = JobCompleted {
        run: run_id,
        job,
        claim,
        conclusion: Conclusion::Failure,
        outputs: vec![("digest".to_owned(), "abc".to_owned()), ("size".to_owned(), "12".to_owned())],
        result_json: String::new(),
        log: Some(blob("log")),
        log_len: 3,
        summary: Some(blob("summary")),
        artifacts: vec![
            ("coverage".to_owned(), blob("coverage"), 8),
            ("packages".to_owned(), blob("packages"), 1 << 33),
        ],
        duration_ms: 20_000,
        notes: vec!["output `token` was dropped: it holds a masked value".to_owned()],
    };
    let kept = ["log", "summary", "coverage", "packages"].map(blob);
    log.say(&mut bob, &[], Saying::of(completed.clone(), &[]).keeping(&kept));

    // A task that goes from hand to hand until nobody is left, and what people do about runs.
    let task = task_run("id:task-1");
    let run_id = task.run();
    let submission = log.write(
        "RunSubmitted-task",
        &mut carol,
        &[alice.tip(), bob.tip()],
        vec![(Saying::of(task, &[head]).keeping(&[blob("a long payload")]), "ok")],
    );
    let job = job_id(&run_id, "task", &BTreeMap::new());
    let claimed = JobClaimed { run: run_id, job, submission, ..claimed };
    let first = log.write(
        "JobClaimed-task",
        &mut bob,
        &[carol.tip()],
        vec![(Saying::of(claimed.clone(), &[head]), "ok")],
    );
    let reason = ReleaseReason::Unable("no program asks for `render`".to_owned());
    log.say(&mut bob, &[], Saying::of(JobReleased { run: run_id, job, claim: first, reason }, &[]));
    let again = JobClaimed { epoch: 2, supersedes: Some(first), ..claimed };
    let second = log.write(
        "JobClaimed-superseding",
        &mut alice,
        &[bob.tip()],
        vec![(Saying::of(again, &[head]), "ok")],
    );
    let by = AbortReason::Fault("the disk is full".to_owned());
    log.say(
        &mut alice,
        &[],
        Saying::of(JobAborted { run: run_id, job, claim: second, by, steps_done: 3 }, &[]),
    );
    let failed = JobFailed {
        run: run_id,
        job,
        claim: Some(second),
        submission,
        error: "five claims were lost".to_owned(),
        infrastructure: true,
        retry: false,
    };
    log.say(&mut alice, &[], Saying::of(failed, &[]));
    let workflow_run = run;
    let run = run_id;
    log.say(&mut carol, &[], Saying::of(PriorityChanged { run, submission, priority_milli: 1_500 }, &[]));
    let reason = "not needed any more".to_owned();
    log.say(&mut carol, &[], Saying::of(RunCancelled { run, submission, reason }, &[]));
    log.say(&mut alice, &[], Saying::of(RunExpired { run, submission, waited_ms: 86_400_000 }, &[]));

    // Frames as such.
    let reprioritised =
        |priority_milli| (Saying::of(PriorityChanged { run, submission, priority_milli }, &[]), "ok");
    let five = (1..=5).map(|n| reprioritised(n * 1_000)).collect();
    log.write("several-events", &mut carol, &[], five);
    let known = vec![
        (Saying::of(described("bob"), &[submission, head]).keeping(&[blob("a"), blob("b")]), "ok"),
        reprioritised(1),
    ];
    log.write("parents-refs-blobs", &mut bob, &[alice.tip(), carol.tip()], known);
    let full = (0..256).map(|_| (Saying::raw(Kind::from_number(0x7abc), &[]), "unknown")).collect();
    log.write("longest-frame", &mut carol, &[], full);
    carol.chain.incarnation = Incarnation::from_bytes([0xc2; 16]);
    log.write("second-chain", &mut carol, &[], vec![reprioritised(2_000)]);

    // Kinds this version does not know, and bodies that say nothing.
    let later = Saying::raw(Kind::from_number(0x7abc), b"of a later version");
    log.write("unknown-kind", &mut bob, &[], vec![(later, "unknown")]);
    let later = Saying::raw(Kind::from_number(0x8001), &[0xff; 3]);
    log.write("unknown-critical-kind", &mut bob, &[], vec![(later, "unknown-critical")]);
    let mut void = |file: &str, kind, body: &[u8], outcome| {
        log.write(file, &mut bob, &[], vec![(Saying::raw(kind, body), outcome)]);
    };
    let cancelled = [run.as_bytes().as_slice(), submission.as_bytes(), b"\x02ok"].concat();
    void("void-truncated-body", Kind::RUN_CANCELLED, &cancelled[..66], "void:malformed");
    void("void-trailing-byte", Kind::RUN_CANCELLED, &[&cancelled[..], &[0]].concat(), "void:not-canonical");
    let not_utf8 = [&cancelled[..65], &[0xc3, 0x28]].concat();
    void("void-not-utf8", Kind::RUN_CANCELLED, &not_utf8, "void:malformed");
    let padded = [&cancelled[..64], &[0x81, 0x00]].concat();
    void("void-padded-varint", Kind::PRIORITY_CHANGED, &padded, "void:not-canonical");
    let zero = [&cancelled[..64], &[0x00]].concat();
    void("void-priority-zero", Kind::PRIORITY_CHANGED, &zero, "void:bound");
    let unknown_variant = [&cancelled[..64], first.as_bytes(), &[5]].concat();
    void("void-unknown-abort-reason", Kind::JOB_ABORTED, &unknown_variant, "void:malformed");
    let heavy = [bob_key().as_slice(), &[0, 65]].concat();
    void("void-weight-65", Kind::PEER_LABELLED, &heavy, "void:bound");
    void("void-empty-body", Kind::CLUSTER_FOUNDED, &[], "void:malformed");
    let mut bound = |file: &str, (kind, body): (Kind, Vec<u8>)| void(file, kind, &body, "void:bound");
    let called = patched(workflow_run, b"./.github/workflows/lint.yml", b"x/.github/workflows/lint.yml");
    bound("void-called-not-ascending", called);
    bound("void-legs-of-equal-matrix", patched(planned, b"\x01v\x014", b"\x01v\x013"));
    bound("void-artifact-twice", patched(completed, b"\x08packages", b"\x08coverage"));

    // The end of a membership.
    let proof = forks::overlapping(cluster, carol.tip());
    let head = log.say(&mut alice, &[bob.tip(), carol.tip()], Saying::of(proof, &[head]));
    let proof = forks::signed_twice(cluster, carol.tip());
    let head =
        log.write("ForkProved-signed-twice", &mut alice, &[], vec![(Saying::of(proof, &[head]), "ok")]);
    let proof = forks::not_linked(cluster, carol.tip());
    let head = log.write("ForkProved-not-linked", &mut alice, &[], vec![(Saying::of(proof, &[head]), "ok")]);
    let cuts = [(0xc1, 4), (0xcf, 0)]
        .map(|(byte, length)| ChainCut { incarnation: Incarnation::from_bytes([byte; 16]), length });
    let revoked =
        PeerRevoked { peer: carol.chain.author, reason: "forked a chain".to_owned(), cuts: cuts.to_vec() };
    let head = log.say(&mut alice, &[], Saying::of(revoked, &[head]));
    let to = Signer::from_seed(&[4; 32]);
    let signature = to.sign(&rotation_statement(&cluster, &bob.chain.author, &to.peer_id()));
    let cuts = vec![ChainCut { incarnation: Incarnation::from_bytes([0xb0; 16]), length: 200 }];
    let rotated = KeyRotated { to: to.peer_id(), signature, cuts };
    log.say(&mut bob, &[alice.tip()], Saying::of(rotated, &[head]));
    discover(&mut log, &mut alice);
    runners::tell(&mut log, &mut alice);
    (log.specimens, log.frames)
}

/// A repository is looked at, one of its workflows becomes due, and what no peer took is handed to GitHub.
fn discover(log: &mut Log, alice: &mut Author) {
    let watching = DiscoveryChanged { scopes: vec!["owner:example".to_owned()], interval_ms: 300_000 };
    log.say(alice, &[], Saying::of(watching, &[]));
    let stopped = DiscoveryChanged { scopes: Vec::new(), interval_ms: 0 };
    log.write("DiscoveryChanged-off", alice, &[], vec![(Saying::of(stopped, &[]), "ok")]);
    let repository = RepositoryRef {
        source: "github.com".to_owned(),
        id: "1296269".to_owned(),
        name: "example/widgets".to_owned(),
    };
    let sha = "0123456789abcdef0123456789abcdef01234567".to_owned();
    let scanned = RepositoryScanned {
        repository: repository.clone(),
        outcome: ScanOutcome::Scanned,
        default_branch: "main".to_owned(),
        head: sha.clone(),
        refs: Some(blob("refs")),
        files: 3,
        problems: vec![(".github/workflows/bad.yml".to_owned(), "4:1: unexpected key 'job'".to_owned())],
    };
    let scan = Saying::of(scanned.clone(), &[]).keeping(&[blob("refs")]);
    log.say(alice, &[], scan);
    let outcome = ScanOutcome::Failed("404 Not Found".to_owned());
    let failed = RepositoryScanned { outcome, refs: None, problems: Vec::new(), ..scanned };
    log.write("RepositoryScanned-failed", alice, &[], vec![(Saying::of(failed, &[]), "ok")]);
    let path = ".github/workflows/scrape.yml".to_owned();
    let found = WorkflowFound {
        repository: repository.clone(),
        path: path.clone(),
        source: blob("scrape"),
        name: "P2P Web Scraping".to_owned(),
        tags: vec!["p2p-eligible".to_owned(), "web-scraping".to_owned()],
        remarks: vec!["runs twice".to_owned()],
    };
    log.say(alice, &[], Saying::of(found, &[]).keeping(&[blob("scrape")]));
    let run = RunSubmitted {
        trigger_key:
            b"github:github.com#1296269:.github/workflows/scrape.yml:schedule:0 */6 * * *|UTC:1800000000"
                .to_vec(),
        ..workflow_run()
    };
    let run_id = run.run();
    let fired = |trigger| TriggerFired {
        run: run_id,
        repository: repository.clone(),
        path: path.clone(),
        trigger,
        git_ref: "refs/heads/main".to_owned(),
        sha: sha.clone(),
        sources: Some(blob("pack")),
        sources_len: 4,
    };
    let due = Trigger::Schedule {
        cron: "0 */6 * * *".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        due_s: 1_800_000_000,
    };
    log.say(alice, &[], Saying::of(fired(due), &[]).keeping(&[blob("pack")]));
    let files = ["on: push", "lint", "publish"].map(blob);
    let submission =
        log.write("RunSubmitted-discovered", alice, &[], vec![(Saying::of(run, &[]).keeping(&files), "ok")]);
    let others = [Trigger::Found, Trigger::Push { before: sha.clone() }, Trigger::Dispatch]
        .map(|trigger| (Saying::of(fired(trigger), &[]).keeping(&[blob("pack")]), "ok"));
    log.write("TriggerFired-otherwise", alice, &[], others.into());
    let effect = Effect::Dispatch {
        repository: repository.clone(),
        path: path.clone(),
        git_ref: "refs/heads/main".to_owned(),
    };
    let intent = log.say(alice, &[], Saying::of(EffectIntended { run: run_id, submission, effect }, &[]));
    let check = Effect::Check { job: job_id(&run_id, "test", &BTreeMap::new()) };
    let check = EffectIntended { run: run_id, submission, effect: check };
    log.write("EffectIntended-check", alice, &[], vec![(Saying::of(check, &[]), "ok")]);
    let url = "https://github.com/example/widgets/actions/runs/30433642".to_owned();
    let outcome = EffectOutcome::Done { id: "30433642".to_owned(), url: url.clone() };
    log.say(alice, &[], Saying::of(EffectDone { run: run_id, intent, outcome }, &[]));
    let otherwise = [
        EffectOutcome::Refused("422: no workflow_dispatch trigger".to_owned()),
        EffectOutcome::Unknown("the connection was lost".to_owned()),
    ]
    .map(|outcome| (Saying::of(EffectDone { run: run_id, intent, outcome }, &[]), "ok"));
    log.write("EffectDone-otherwise", alice, &[], otherwise.into());
    let followed = DispatchFollowed {
        run: run_id,
        intent,
        id: "30433642".to_owned(),
        url,
        conclusion: Some(Conclusion::Success),
    };
    log.say(alice, &[], Saying::of(followed, &[]));
    log.say(alice, &[], Saying::of(WorkflowVanished { repository, path }, &[]));
    let nameless = patched(
        WorkflowVanished {
            repository: RepositoryRef { source: "path".to_owned(), id: "i".to_owned(), name: "n".to_owned() },
            path: "p".to_owned(),
        },
        b"\x04path",
        b"\x00",
    );
    log.write(
        "void-repository-nowhere",
        alice,
        &[],
        vec![(Saying::raw(nameless.0, &nameless.1), "void:bound")],
    );
}

fn bob_key() -> [u8; 32] {
    *Author::new(2, 0xb1).chain.author.as_bytes()
}

//! Strategies for bodies within their bounds: anything these make must survive its bytes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use wfengine_storage_format::{
    AbortReason, BlobId, Body, ChainCut, ChainId, ClusterFounded, ClusterId, Conclusion, DiscoveryChanged,
    DispatchFollowed, Effect, EffectDone, EffectIntended, EffectOutcome, EventId, ForkProved, FrameHeader,
    Frozen, Grant, Incarnation, InviteKey, JobAborted, JobClaimed, JobCompleted, JobFailed, JobId,
    JobReleased, JobStarted, JobsPlanned, KeyRotated, Origin, PeerAdmitted, PeerDescribed, PeerId,
    PeerInvited, PeerLabelled, PeerRevoked, Placement, PlannedKey, PlannedLeg, PoolChanged, PriorityChanged,
    ReleaseReason, RepositoryRef, RepositoryScanned, Role, Roles, RunCancelled, RunExpired, RunId, RunSpec,
    RunSubmitted, RunnerCause, RunnerEnd, RunnerExited, RunnerIntended, RunnerJob, RunnerRemoved,
    RunnerStarted, ScanOutcome, Signature, SignedHeader, Signer, StepFinished, Trigger, TriggerFired,
    WorkflowFound, WorkflowSpec, WorkflowVanished,
};

fn name() -> BoxedStrategy<String> {
    prop_oneof!["[a-z/.-]{0,12}", "\\PC{0,24}", Just("n".repeat(256))].boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![8 => "\\PC{0,60}", 1 => Just("t".repeat(4_096))].boxed()
}

fn json() -> BoxedStrategy<String> {
    prop_oneof![8 => "\\PC{0,60}", 1 => Just("j".repeat(8_192))].boxed()
}

fn names() -> BoxedStrategy<Vec<String>> {
    vec(name(), 0..4).boxed()
}

fn pairs() -> BoxedStrategy<Vec<(String, String)>> {
    btree_map(name(), text(), 0..4).prop_map(|pairs| pairs.into_iter().collect()).boxed()
}

/// Values by name, ascending: a few with names of any length, or as many as a list may have.
fn by_name<T: Clone + std::fmt::Debug + 'static>(
    name: BoxedStrategy<String>,
    value: BoxedStrategy<T>,
) -> BoxedStrategy<Vec<(String, T)>> {
    prop_oneof![
        9 => btree_map(name, value.clone(), 0..4),
        1 => btree_map("[a-z]{8}", value, 250..=256),
    ]
    .prop_map(|values| values.into_iter().collect())
    .boxed()
}

fn event() -> BoxedStrategy<EventId> {
    any::<[u8; 32]>().prop_map(EventId::from_bytes).boxed()
}

fn run() -> BoxedStrategy<RunId> {
    any::<[u8; 32]>().prop_map(RunId::from_bytes).boxed()
}

fn job() -> BoxedStrategy<JobId> {
    any::<[u8; 32]>().prop_map(JobId::from_bytes).boxed()
}

fn blob() -> BoxedStrategy<BlobId> {
    any::<[u8; 32]>().prop_map(BlobId::from_bytes).boxed()
}

fn peer() -> BoxedStrategy<PeerId> {
    any::<[u8; 32]>().prop_map(PeerId::from_bytes).boxed()
}

fn incarnation() -> BoxedStrategy<Incarnation> {
    any::<[u8; 16]>().prop_map(Incarnation::from_bytes).boxed()
}

fn signature() -> BoxedStrategy<Signature> {
    any::<([u8; 32], [u8; 32])>()
        .prop_map(|(r, s)| {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&r);
            bytes[32..].copy_from_slice(&s);
            Signature::from_bytes(&bytes)
        })
        .boxed()
}

fn roles() -> BoxedStrategy<Roles> {
    btree_set(0..4_usize, 0..4)
        .prop_map(|set: BTreeSet<usize>| {
            set.into_iter().fold(Roles::NONE, |roles, n| roles.with(Role::ALL[n]))
        })
        .boxed()
}

fn cuts() -> BoxedStrategy<Vec<ChainCut>> {
    btree_map(incarnation(), any::<u64>(), 0..5)
        .prop_map(|cuts| {
            cuts.into_iter().map(|(incarnation, length)| ChainCut { incarnation, length }).collect()
        })
        .boxed()
}

fn conclusion() -> BoxedStrategy<Conclusion> {
    use Conclusion::{Cancelled, Failure, Skipped, Success};
    prop_oneof![Just(Success), Just(Failure), Just(Cancelled), Just(Skipped)].boxed()
}

fn signed_header() -> BoxedStrategy<SignedHeader> {
    let numbers = (any::<u64>(), any::<u16>(), option::of(event()), event(), any::<[u8; 32]>());
    (peer(), incarnation(), numbers, signature())
        .prop_map(|(author, incarnation, (first_seq, count, prev, last, cluster), signature)| SignedHeader {
            header: FrameHeader {
                cluster: ClusterId::from_bytes(cluster),
                chain: ChainId { author, incarnation },
                first_seq,
                count,
                prev,
                last,
            },
            signature,
        })
        .boxed()
}

fn grant() -> BoxedStrategy<Grant> {
    prop_oneof![
        (event(), signature()).prop_map(|(invite, signature)| Grant::Invite { invite, signature }),
        (roles(), names()).prop_map(|(roles, labels)| Grant::Direct { roles, labels }),
    ]
    .boxed()
}

fn authority() -> BoxedStrategy<Body> {
    prop_oneof![
        (name(), any::<[u8; 16]>(), names()).prop_map(|(name, nonce, system)| ClusterFounded {
            name,
            nonce,
            system
        }
        .into()),
        (any::<[u8; 32]>(), roles(), names(), any::<u64>()).prop_map(|(seed, roles, labels, expires_ms)| {
            let invite_key = InviteKey::of(&Signer::from_seed(&seed));
            PeerInvited { invite_key, roles, labels, expires_ms }.into()
        }),
        (peer(), name(), names(), grant()).prop_map(|(peer, name, system, grant)| PeerAdmitted {
            peer,
            name,
            system,
            grant
        }
        .into()),
        (peer(), text(), cuts()).prop_map(|(peer, reason, cuts)| PeerRevoked { peer, reason, cuts }.into()),
        (peer(), signature(), cuts())
            .prop_map(|(to, signature, cuts)| KeyRotated { to, signature, cuts }.into()),
        (signed_header(), signed_header()).prop_map(|(first, second)| ForkProved { first, second }.into()),
        (peer(), names(), 1..=64_u16).prop_map(|(peer, labels, weight)| PeerLabelled {
            peer,
            labels,
            weight
        }
        .into()),
        (name(), names(), name()).prop_map(|(name, addresses, version)| PeerDescribed {
            name,
            addresses,
            version
        }
        .into()),
    ]
    .boxed()
}

fn spec() -> BoxedStrategy<RunSpec> {
    prop_oneof![
        (text(), blob(), by_name(text(), blob()), vec(name(), 1..4), any::<u32>()).prop_map(
            |(path, source, called, job_keys, rules_version)| RunSpec::Workflow(WorkflowSpec {
                path,
                source,
                called,
                job_keys,
                rules_version
            })
        ),
        name().prop_map(|workflow_id| RunSpec::Task { workflow_id }),
    ]
    .boxed()
}

fn frozen() -> BoxedStrategy<Frozen> {
    let payload = (json(), option::of(blob()));
    (name(), payload, pairs(), pairs(), [name(), name(), name(), name()], any::<u64>())
        .prop_map(|(event_name, (event_json, event_blob), inputs, vars, texts, run_number)| {
            let [actor, repository, ref_name, sha] = texts;
            Frozen {
                event_name,
                event_json,
                event_blob,
                inputs,
                vars,
                actor,
                repository,
                ref_name,
                sha,
                run_number,
            }
        })
        .boxed()
}

fn submitted() -> BoxedStrategy<Body> {
    let key = ("(id|github|path|random):", vec(any::<u8>(), 0..40))
        .prop_map(|(source, rest)| [source.into_bytes(), rest].concat());
    let what = (key, 1..=u32::MAX, name(), spec(), frozen(), names(), json());
    let placement = prop_oneof![Just(Placement::Rule), Just(Placement::Author)];
    let origin = prop_oneof![Just(Origin::Hand), Just(Origin::Discovery), Just(Origin::Carried)];
    let how = (1..=1_000_000_u32, placement, origin, any::<u32>(), any::<(u64, u64)>(), option::of(event()));
    (what, how)
        .prop_map(|(what, how)| {
            let (trigger_key, attempt, name, spec, frozen, tags, metadata_json) = what;
            let (priority_milli, placement, origin, retries, (a, b), rerun_of) = how;
            RunSubmitted {
                trigger_key,
                attempt,
                name,
                spec,
                frozen,
                tags,
                metadata_json,
                priority_milli,
                placement,
                origin,
                retries,
                backoff_ms: (a.min(b), a.max(b)),
                rerun_of,
            }
            .into()
        })
        .boxed()
}

/// Legs in any order, no two of equal matrix.
fn legs() -> BoxedStrategy<Vec<PlannedLeg>> {
    let matrix = btree_map(name(), text(), 0..3);
    let rest = (text(), names(), option::of(text()), any::<u32>(), any::<bool>());
    let leg = |(matrix, (name, runs_on, group, timeout_minutes, continue_on_error))| PlannedLeg {
        name,
        matrix,
        runs_on,
        group,
        timeout_minutes,
        continue_on_error,
    };
    btree_map(matrix, rest, 1..4)
        .prop_map(move |legs: BTreeMap<BTreeMap<String, String>, _>| {
            legs.into_iter().map(leg).collect::<Vec<_>>()
        })
        .prop_shuffle()
        .boxed()
}

fn planned() -> BoxedStrategy<Body> {
    let rest = (names(), option::of(text()), option::of(any::<u32>()), any::<bool>(), legs());
    let jobs = btree_map("[a-z_-]{1,16}", rest, 1..3).prop_map(|jobs: BTreeMap<String, _>| {
        let job = |(key, (needs, skipped, max_parallel, fail_fast, legs))| PlannedKey {
            key,
            needs,
            skipped,
            max_parallel,
            fail_fast,
            legs,
        };
        jobs.into_iter().map(job).collect::<Vec<_>>()
    });
    (run(), event(), any::<u32>(), vec(event(), 0..4), jobs)
        .prop_map(|(run, submission, rules_version, consumed, jobs)| {
            JobsPlanned { run, submission, rules_version, consumed, jobs }.into()
        })
        .boxed()
}

fn of_a_run() -> BoxedStrategy<Body> {
    prop_oneof![
        3 => submitted(),
        2 => planned(),
        1 => (run(), event(), text())
            .prop_map(|(run, submission, reason)| RunCancelled { run, submission, reason }.into()),
        1 => (run(), event(), any::<u64>())
            .prop_map(|(run, submission, waited_ms)| RunExpired { run, submission, waited_ms }.into()),
        1 => (run(), event(), 1..=1_000_000_u32).prop_map(|(run, submission, priority_milli)| {
            PriorityChanged { run, submission, priority_milli }.into()
        }),
    ]
    .boxed()
}

fn release_reason() -> BoxedStrategy<ReleaseReason> {
    use ReleaseReason::{Draining, GivenBack, GroupFull, LeaseEnded, Superseded, Unable};
    prop_oneof![
        Just(Draining),
        Just(GroupFull),
        Just(Superseded),
        Just(LeaseEnded),
        Just(GivenBack),
        text().prop_map(Unable)
    ]
    .boxed()
}

fn abort_reason() -> BoxedStrategy<AbortReason> {
    use AbortReason::{Cancelled, Completed, Fault, Stopped, Superseded};
    prop_oneof![Just(Superseded), Just(Cancelled), Just(Completed), Just(Stopped), text().prop_map(Fault)]
        .boxed()
}

fn completed() -> BoxedStrategy<Body> {
    let artifacts = by_name(name(), (blob(), any::<u64>()).boxed()).prop_map(|artifacts| {
        artifacts.into_iter().map(|(name, (blob, len))| (name, blob, len)).collect::<Vec<_>>()
    });
    let kept = (option::of(blob()), any::<u64>(), option::of(blob()), artifacts);
    let result = (pairs(), json(), kept, any::<u64>(), vec("\\PC{0,40}", 0..3));
    (run(), job(), event(), conclusion(), result)
        .prop_map(|(run, job, claim, conclusion, result)| {
            let (outputs, result_json, kept, duration_ms, notes) = result;
            let (log, log_len, summary, artifacts) = kept;
            JobCompleted {
                run,
                job,
                claim,
                conclusion,
                outputs,
                result_json,
                log,
                log_len,
                summary,
                artifacts,
                duration_ms,
                notes,
            }
            .into()
        })
        .boxed()
}

fn of_a_job() -> BoxedStrategy<Body> {
    prop_oneof![
        (run(), job(), event(), option::of((event(), 2..=u32::MAX))).prop_map(
            |(run, job, submission, lost)| {
                let (epoch, supersedes) = lost.map_or((1, None), |(claim, epoch)| (epoch, Some(claim)));
                JobClaimed { run, job, submission, epoch, supersedes }.into()
            }
        ),
        (run(), job(), event(), release_reason()).prop_map(|(run, job, claim, reason)| JobReleased {
            run,
            job,
            claim,
            reason
        }
        .into()),
        (run(), job(), event()).prop_map(|(run, job, claim)| JobStarted { run, job, claim }.into()),
        (run(), job(), event(), any::<u32>(), text(), conclusion(), any::<u64>()).prop_map(
            |(run, job, claim, number, name, conclusion, duration_ms)| {
                StepFinished { run, job, claim, number, name, conclusion, duration_ms }.into()
            }
        ),
        completed(),
        (run(), job(), event(), abort_reason(), any::<u32>()).prop_map(
            |(run, job, claim, by, steps_done)| { JobAborted { run, job, claim, by, steps_done }.into() }
        ),
        (run(), job(), option::of(event()), event(), text(), any::<[bool; 2]>()).prop_map(
            |(run, job, claim, submission, error, [infrastructure, retry])| {
                JobFailed { run, job, claim, submission, error, infrastructure, retry }.into()
            }
        ),
    ]
    .boxed()
}

fn said() -> BoxedStrategy<String> {
    prop_oneof!["[a-z/.-]{1,12}", Just("s".repeat(256))].boxed()
}

fn repository() -> BoxedStrategy<RepositoryRef> {
    (said(), said(), said()).prop_map(|(source, id, name)| RepositoryRef { source, id, name }).boxed()
}

fn path() -> BoxedStrategy<String> {
    prop_oneof!["\\PC{1,40}", Just("p".repeat(4_096))].boxed()
}

fn trigger() -> BoxedStrategy<Trigger> {
    prop_oneof![
        Just(Trigger::Found),
        name().prop_map(|before| Trigger::Push { before }),
        (name(), name(), any::<u64>()).prop_map(|(cron, timezone, due_s)| Trigger::Schedule {
            cron,
            timezone,
            due_s
        }),
        Just(Trigger::Dispatch),
    ]
    .boxed()
}

fn of_a_repository() -> BoxedStrategy<Body> {
    let outcome = prop_oneof![Just(ScanOutcome::Scanned), text().prop_map(ScanOutcome::Failed)];
    let problems = vec(("\\PC{0,40}", "\\PC{0,60}"), 0..=12);
    let seen = (outcome, name(), name(), option::of(blob()), any::<u32>(), problems);
    prop_oneof![
        (repository(), seen).prop_map(|(repository, seen)| {
            let (outcome, default_branch, head, refs, files, problems) = seen;
            RepositoryScanned { repository, outcome, default_branch, head, refs, files, problems }.into()
        }),
        (repository(), path(), blob(), name(), names(), vec(text(), 0..=8)).prop_map(
            |(repository, path, source, name, tags, remarks)| {
                WorkflowFound { repository, path, source, name, tags, remarks }.into()
            }
        ),
        (repository(), path()).prop_map(|(repository, path)| WorkflowVanished { repository, path }.into()),
        (run(), repository(), path(), trigger(), (name(), name()), option::of(blob()), any::<u64>())
            .prop_map(|(run, repository, path, trigger, (git_ref, sha), sources, sources_len)| {
                TriggerFired { run, repository, path, trigger, git_ref, sha, sources, sources_len }.into()
            }),
        (names(), any::<u64>())
            .prop_map(|(scopes, interval_ms)| DiscoveryChanged { scopes, interval_ms }.into()),
    ]
    .boxed()
}

fn outside() -> BoxedStrategy<Body> {
    let effect = prop_oneof![
        (repository(), text(), name()).prop_map(|(repository, path, git_ref)| Effect::Dispatch {
            repository,
            path,
            git_ref
        }),
        job().prop_map(|job| Effect::Check { job }),
    ];
    let outcome = prop_oneof![
        (name(), text()).prop_map(|(id, url)| EffectOutcome::Done { id, url }),
        text().prop_map(EffectOutcome::Refused),
        text().prop_map(EffectOutcome::Unknown),
    ];
    prop_oneof![
        (run(), event(), effect).prop_map(|(run, submission, effect)| EffectIntended {
            run,
            submission,
            effect
        }
        .into()),
        (run(), event(), outcome)
            .prop_map(|(run, intent, outcome)| EffectDone { run, intent, outcome }.into()),
        (run(), event(), name(), text(), option::of(conclusion())).prop_map(
            |(run, intent, id, url, conclusion)| {
                DispatchFollowed { run, intent, id, url, conclusion }.into()
            }
        ),
    ]
    .boxed()
}

fn labels() -> BoxedStrategy<Vec<String>> {
    prop_oneof![vec(said(), 1..=4), Just(vec!["l".repeat(256); 100])].boxed()
}

fn of_a_runner() -> BoxedStrategy<Body> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>());
    let policy = prop_oneof![Just(String::new()), Just("{}".to_owned()), Just(" ".repeat(8 * 1024))];
    let pool =
        (said(), any::<bool>(), name(), names(), prop_oneof![Just(Vec::new()), labels()], numbers, policy);
    let cause = prop_oneof![
        (said(), any::<u64>(), any::<u64>()).prop_map(|(repository, run, job)| RunnerCause::Job {
            repository,
            run,
            job
        }),
        Just(RunnerCause::Idle),
        Just(RunnerCause::Asked),
    ];
    let end = prop_oneof![
        any::<i64>().prop_map(|exit_code| RunnerEnd::Done { exit_code }),
        text().prop_map(|what| RunnerEnd::Failed { what }),
        text().prop_map(|what| RunnerEnd::NeverStarted { what }),
        text().prop_map(|why| RunnerEnd::Stopped { why }),
    ];
    let ran = (said(), any::<u64>(), any::<u64>()).prop_map(|(repository, run, job)| RunnerJob {
        repository,
        run,
        job,
    });
    prop_oneof![
        pool.prop_map(|(pool, is_on, source, scopes, labels, numbers, policy_json)| {
            let (runners_max, cluster_max, idle_min, interval_ms) = numbers;
            PoolChanged {
                pool,
                is_on,
                source,
                scopes,
                labels,
                runners_max,
                cluster_max,
                idle_min,
                interval_ms,
                policy_json,
            }
            .into()
        }),
        ((said(), said(), said(), said()), labels(), cause).prop_map(|(names, labels, cause)| {
            let (pool, name, source, scope) = names;
            RunnerIntended { pool, name, source, scope, labels, cause }.into()
        }),
        (event(), any::<u64>(), said(), name()).prop_map(|(intent, runner, container, image)| {
            RunnerStarted { intent, runner, container, image }.into()
        }),
        (event(), end, option::of(blob()), option::of(ran))
            .prop_map(|(intent, end, log, ran)| RunnerExited { intent, end, log, ran }.into()),
        event().prop_map(|intent| RunnerRemoved { intent }.into()),
    ]
    .boxed()
}

/// Any body of any known kind.
pub(crate) fn any_body() -> BoxedStrategy<Body> {
    prop_oneof![authority(), of_a_run(), of_a_job(), of_a_repository(), outside(), of_a_runner()].boxed()
}

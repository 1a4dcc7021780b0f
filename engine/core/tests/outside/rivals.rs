//! Rival submissions: what another member writes of a run that it did not find decides nothing for anybody else.

use super::*;

fn rival(eve: &mut Node, than: EventId, less: bool, asks: &RunSubmitted) {
    let rivals = (0..64).map(|n| RunSubmitted { priority_milli: 1_000 + n, ..asks.clone() });
    let found = rivals.into_iter().find_map(|body| {
        let mut tried = eve.clone();
        ((tried.write(body) < than) == less).then_some(tried)
    });
    *eve = found.unwrap();
}

/// The same file's path and name with other content, for another repository.
fn other_content(of: &RunSubmitted) -> RunSubmitted {
    let mut other = of.clone();
    let RunSpec::Workflow(spec) = &mut other.spec else { panic!() };
    spec.source = BlobId::from_bytes([66; 32]);
    other
}

#[test]
fn a_rival_submission_does_not_choose_what_is_fetched_or_dispatched_for_another() {
    let (trigger, submission) = due("p2p-eligible");
    let theirs = TriggerFired { repository: repository("eve/r"), ..trigger.clone() };
    for less in [false, true] {
        let (mut alice, mut eve) = two();
        // of the same height as alice's and folded in either order
        eve.write(theirs.clone());
        let (run, own, _) = fire(&mut alice, "p2p-eligible");
        rival(&mut eve, own, less, &submission);
        eve.write(TriggerFired { sha: "6".into(), ..trigger.clone() });
        eve.write(TriggerFired { path: "evil.yml".into(), ..trigger.clone() });
        eve.write(TriggerFired { git_ref: "refs/heads/evil".into(), ..trigger.clone() });
        alice.sync_from(&eve);
        let known = alice.run(&run);
        assert_eq!((known.submission().unwrap().author == eve.peer(), known.void.len()), (less, 4));
        // what eve says of her own submission is not borne out by it
        assert_eq!(known.trigger.as_deref(), (!less).then_some(&trigger));
        assert_eq!(
            alice.try_ask(Command::Intend(dispatch(run, own))).is_err(),
            less,
            "only who is canonical"
        );
    }
    let mut alice = Node::founding("alice");
    let (run, own, _) = fire(&mut alice, "p2p-eligible");
    let mut elsewhere = dispatch(run, own);
    let Effect::Dispatch { git_ref, .. } = &mut elsewhere.effect else { panic!() };
    *git_ref = "refs/heads/other".into();
    let refused = alice.try_ask(Command::Intend(elsewhere)).unwrap_err().to_string();
    assert_eq!(refused, "the run is of another workflow or ref");
}

#[test]
fn a_trigger_that_contradicts_its_submission_is_refused() {
    let mut alice = Node::founding("alice");
    let (trigger, submission) = due("p2p-eligible");
    let asks = |trigger: TriggerFired, submission: &RunSubmitted| Command::Fire {
        trigger: Box::new(trigger),
        submission: Box::new(submission.clone()),
        plan: vec![],
        blobs: vec![],
    };
    let wrong = [
        ("repository", TriggerFired { repository: repository("o/other"), ..trigger.clone() }),
        ("path", TriggerFired { path: "other.yml".into(), ..trigger.clone() }),
        ("ref", TriggerFired { git_ref: "refs/heads/other".into(), ..trigger.clone() }),
        ("commit", TriggerFired { sha: "6".into(), ..trigger.clone() }),
    ];
    for (what, trigger) in wrong {
        assert_eq!(alice.try_ask(asks(trigger, &submission)), Err(Refusal::TriggerDisagrees { what }));
    }
    let by_hand = RunSubmitted { origin: Origin::Hand, ..submission };
    let refused = alice.try_ask(asks(trigger, &by_hand));
    assert_eq!(refused, Err(Refusal::TriggerDisagrees { what: "origin" }));
}

#[test]
fn a_run_is_a_nodes_own_only_while_it_executes_what_the_node_submitted() {
    let (trigger, submission) = due("p2p-eligible");
    let mut counted = submission.clone();
    counted.frozen.run_number = 7;
    let mut said_otherwise = submission.clone();
    said_otherwise.frozen.event_json = "{\"evil\":true}".into();
    let at_home = trigger.repository.clone();
    let elsewhere = RepositoryRef { source: "ghe.eve.example".into(), ..at_home.clone() };
    let cases = [
        ("it counts runs otherwise", counted, &at_home, true),
        ("another file", other_content(&submission), &at_home, false),
        ("another event", said_otherwise, &at_home, false),
        ("fewer tags", RunSubmitted { tags: vec![], ..submission.clone() }, &at_home, false),
        ("another host of the same name", submission.clone(), &elsewhere, false),
    ];
    for (what, asks, place, is_own) in cases {
        let (mut alice, mut eve) = two();
        let (run, own, _) = fire(&mut alice, "p2p-eligible");
        rival(&mut eve, own, true, &asks);
        eve.write(TriggerFired { repository: place.clone(), ..trigger.clone() });
        alice.sync_from(&eve);
        let known = alice.run(&run);
        assert_eq!(known.submission().unwrap().author, eve.peer());
        assert_eq!(Allow::default().covers(known, &alice.peer()), is_own, "{what}");
        let allowing = |peer: &Node| Allow { peers: [peer.peer()].into(), ..Allow::default() };
        assert!(allowing(&eve).covers(known, &peer("carol")), "{what}");
        assert_eq!(allowing(&alice).covers(known, &peer("carol")), is_own, "{what}");
    }
}

#[test]
fn a_rival_that_becomes_canonical_while_a_claim_settles_is_not_executed() {
    // the nearest peer begins at once, all others wait for claims that were written at the same time
    let found = (0..64).find_map(|n| {
        let (mut alice, eve) = two();
        let tag = format!("flow {n}");
        let (run, own, job) = fire(&mut alice, &tag);
        let order = order_of(&alice.views, alice.run(&run), &alice.run(&run).jobs[&job]);
        (order[0].peer == eve.peer()).then_some((alice, eve, run, own, tag))
    });
    let (mut alice, mut eve, run, own, tag) = found.unwrap();
    rival(&mut eve, own, true, &other_content(&due(&tag).1));
    let mut scheduler = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    let asked = |scheduler: &mut Scheduler, alice: &mut Node, now| {
        scheduler.handle_timer(&alice.views, at(now));
        let mut commands = Vec::new();
        while let Some((id, command)) = scheduler.poll_command() {
            commands.push(command.clone());
            let answer = tell(alice, scheduler, command, now);
            scheduler.handle_committed(&alice.views, id, answer, at(now));
        }
        commands
    };
    let claims = asked(&mut scheduler, &mut alice, 0);
    assert!(matches!(claims[..], [Command::Claim(_)]), "{claims:?}");
    assert!(scheduler.executes(alice.run(&run)));
    let before = alice.stored.frames.len();
    alice.sync_from(&eve);
    hear(&alice, &mut scheduler, before, 100);
    let ends = asked(&mut scheduler, &mut alice, 1_000);
    assert!(matches!(ends[..], [Command::Release(_)]), "{ends:?}");
    assert!(!scheduler.executes(alice.run(&run)));
    let mut actions = std::iter::from_fn(|| scheduler.poll_action());
    assert!(!actions.any(|action| matches!(action, Action::Execute { .. })));
    assert!(asked(&mut scheduler, &mut alice, 100_000).is_empty(), "it is not claimed again");
}

#[test]
fn a_node_submits_no_failed_run_again_that_it_would_not_execute() {
    let (mut alice, mut bob) = two();
    let (_, mut submission) = due("p2p-eligible");
    submission.retries = 1;
    let (run, plan) = (submission.run(), vec![planned("build", &["a"])]);
    let job = job_of(&run, &plan[0], 0);
    alice.ask(Command::Submit { submission: Box::new(submission), plan, blobs: vec![] });
    let claim = alice.claim(run, job);
    alice.ask(Command::Complete(completed(run, job, claim, Conclusion::Failure, "")));
    bob.sync_from(&alice);
    for (allow, does) in [(Allow::default(), false), (Allow::any(), true)] {
        let config = Config { allow, ..Config::default() };
        let mut scheduler = Scheduler::open(bob.author.chain, config, &bob.views, at(0));
        (1..120).for_each(|s| scheduler.handle_timer(&bob.views, at(s * 1_000)));
        let asked = std::iter::from_fn(|| scheduler.poll_action())
            .any(|action| matches!(action, Action::Resubmit { .. }));
        assert_eq!(asked, does);
    }
}

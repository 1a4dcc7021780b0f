//! When the scheduler offers a run to GitHub, and what it says of its waiting.

use super::*;

pub(crate) fn at(ms: u64) -> Now {
    Now { wall: WallMs(ms), monotonic: Monotonic(ms) }
}

/// Whether the scheduler gives a run up at one of its due times.
pub(crate) fn asks_to_expire(scheduler: &mut Scheduler, node: &Node, from_ms: u64, until_ms: u64) -> bool {
    let (mut found, mut now) = (false, from_ms);
    while now <= until_ms {
        scheduler.handle_timer(&node.views, at(now));
        while let Some((id, command)) = scheduler.poll_command() {
            found |= matches!(command, Command::Expire { .. });
            scheduler.handle_committed(&node.views, id, Ok(vec![]), at(now));
        }
        while scheduler.poll_datagram().is_some() {}
        now += 60_000;
    }
    found
}

/// Tells the scheduler the events of the frames after so many.
pub(crate) fn hear(node: &Node, scheduler: &mut Scheduler, after: usize, now: u64) {
    for frame in &node.stored.frames[after..] {
        for event in wfengine_core::Admitted::of_kept_frame(frame, WallMs(now)) {
            scheduler.handle_event(&node.views, &event, at(now));
        }
    }
}

/// A command is asked, and the scheduler hears of its events.
pub(crate) fn tell(
    node: &mut Node,
    scheduler: &mut Scheduler,
    command: Command,
    now: u64,
) -> Result<Vec<EventId>, Refusal> {
    let before = node.stored.frames.len();
    let ids = node.try_ask(command)?;
    hear(node, scheduler, before, now);
    Ok(ids)
}

/// Asks the scheduler at each of its due times up to `until_ms`; gives the runs to hand over, with the time.
pub(crate) fn handed_over(
    scheduler: &mut Scheduler,
    node: &Node,
    from_ms: u64,
    until_ms: u64,
) -> Vec<(u64, RunId)> {
    let (mut found, mut now) = (Vec::new(), from_ms);
    while now <= until_ms {
        scheduler.handle_timer(&node.views, at(now));
        while scheduler.poll_command().is_some() {}
        while scheduler.poll_datagram().is_some() {}
        while let Some(action) = scheduler.poll_action() {
            if let Action::HandOver { run } = action {
                found.push((now, run));
            }
        }
        now += 1_000;
    }
    found
}

#[test]
fn a_run_that_may_leave_and_that_nobody_takes_is_due_for_github_after_ten_minutes() {
    let (mut alice, mut bob) = two();
    let (run, ..) = fire(&mut alice, "p2p-eligible");
    fire(&mut alice, "p2p-only");
    bob.sync_from(&alice);
    let mut scheduler = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    let due = handed_over(&mut scheduler, &alice, 0, 1_300_000);
    assert_eq!(due, [(600_000, run), (1_200_000, run)], "again while nobody wrote that it was");
    let mut elsewhere = Scheduler::open(bob.author.chain, Config::default(), &bob.views, at(0));
    assert_eq!(handed_over(&mut elsewhere, &bob, 0, 1_300_000), [], "not bob's submission");
}

#[test]
fn a_claim_stops_the_wait_for_github_and_its_end_begins_it_anew() {
    let mut alice = Node::founding("alice");
    let (run, _, job) = fire(&mut alice, "p2p-eligible");
    let mut scheduler = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    assert_eq!(handed_over(&mut scheduler, &alice, 0, 500_000), []);
    let body = alice.claim_body(run, job);
    let claim = tell(&mut alice, &mut scheduler, Command::Claim(body), 500_000).unwrap()[0];
    let release = Command::Release(JobReleased { run, job, claim, reason: ReleaseReason::Draining });
    tell(&mut alice, &mut scheduler, release, 900_000).unwrap();
    assert_eq!(handed_over(&mut scheduler, &alice, 900_000, 1_500_000), [(1_500_000, run)]);
}

#[test]
fn what_github_refused_is_offered_to_it_again_each_time_after_twice_the_wait() {
    let mut alice = Node::founding("alice");
    let (run, submission, _) = fire(&mut alice, "p2p-eligible");
    let mut scheduler = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    let mut now = 0;
    for wait in [600_000, 1_200_000, 2_400_000, 4_800_000, 9_600_000] {
        let due = handed_over(&mut scheduler, &alice, now, now + wait);
        assert_eq!(due, [(now + wait, run)]);
        now += wait;
        let intent = tell(&mut alice, &mut scheduler, Command::Intend(dispatch(run, submission)), now);
        let (intent, outcome) = (intent.unwrap()[0], EffectOutcome::Refused("busy".into()));
        let done = EffectDone { run, intent, outcome };
        tell(&mut alice, &mut scheduler, Command::Conclude(done), now).unwrap();
    }
    assert_eq!(handed_over(&mut scheduler, &alice, now, now + 40_000_000), [], "it was asked often enough");
}

#[test]
fn why_says_whose_turn_it_is_to_hand_a_run_to_github_and_what_came_of_it() {
    let (mut alice, mut bob) = two();
    let (run, submission, job) = fire(&mut alice, "p2p-eligible");
    bob.sync_from(&alice);
    let mut scheduler = Scheduler::open(bob.author.chain, Config::default(), &bob.views, at(0));
    let why = |scheduler: &Scheduler, node: &Node, now| {
        let text = scheduler.why(&node.views, &run, &job, at(now)).unwrap().text;
        text.replace(&node.views.peer_name(&peer("alice")), "alice")
    };
    let says = |text: String, expected: &str| assert!(text.ends_with(expected), "{text}");
    let only = "only alice may hand it to GitHub";
    says(
        why(&scheduler, &bob, 1),
        &format!("waits: {only}, and alice was not heard of since this node started."),
    );
    let reason = scheduler.waits_for_absent(&bob.views, bob.run(&run), Monotonic(1));
    assert!(reason.is_some_and(|reason| reason.starts_with("waits: only ")));
    scheduler.handle_peer(&bob.views, alice.peer(), Presence::Alive, at(2));
    assert_eq!(scheduler.waits_for_absent(&bob.views, bob.run(&run), Monotonic(3)), None);
    says(why(&scheduler, &bob, 3), &format!("If no peer takes it, {only}."));
    scheduler.handle_peer(&bob.views, alice.peer(), Presence::Down, at(1_000));
    says(why(&scheduler, &bob, 721_000), &format!("waits: {only}, and alice was not heard of for 12 min."));
    let own = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    says(why(&own, &alice, 1_000), "If no peer takes it, this node hands it to GitHub in 9 min.");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    bob.sync_from(&alice);
    let silent = ", and alice was not heard of for 1 h 0 min: no peer takes it meanwhile.";
    let about = "alice was about to hand it to GitHub and has not said what came of it";
    says(why(&scheduler, &bob, 3_601_000), &format!("{about}{silent}"));
    let conclude = |outcome| Command::Conclude(EffectDone { run, intent, outcome });
    alice.ask(conclude(EffectOutcome::Unknown("lost".into())));
    bob.sync_from(&alice);
    let unknown = "Whether GitHub has it is not known (lost); only alice can find out";
    says(why(&scheduler, &bob, 3_601_000), &format!("{unknown}{silent}"));
    alice.ask(conclude(EffectOutcome::Refused("busy".into())));
    bob.sync_from(&alice);
    let text = why(&scheduler, &bob, 61_000);
    assert!(text.contains("GitHub did not take it from alice: busy. It waits: only alice"), "{text}");
    let (only_here, _, job) = fire(&mut alice, "p2p-only");
    let own = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    assert!(!own.why(&alice.views, &only_here, &job, at(1)).unwrap().text.contains("GitHub"));
}

#[test]
fn a_duty_is_the_nearest_living_members_among_those_that_share_it() {
    let (mut alice, mut bob) = two();
    alice.sync_from(&bob);
    bob.sync_from(&alice);
    let both = [alice.peer(), bob.peer()];
    let scheduler = |node: &Node| Scheduler::open(node.author.chain, Config::default(), &node.views, at(0));
    let (mut one, mut two) = (scheduler(&alice), scheduler(&bob));
    let places = |one: &Scheduler, two: &Scheduler| -> Vec<(usize, usize)> {
        let of = |what: usize| {
            let what = what.to_string();
            (one.place_for_duty("scan", &what, both), two.place_for_duty("scan", &what, both))
        };
        (0..40).map(of).collect()
    };
    assert!(places(&one, &two).iter().all(|places| *places == (0, 0)), "neither knows the other to live");
    one.handle_peer(&alice.views, bob.peer(), Presence::Alive, at(1));
    two.handle_peer(&bob.views, alice.peer(), Presence::Alive, at(1));
    let together = places(&one, &two);
    assert!(together.iter().all(|(a, b)| a + b == 1), "each is one member's: {together:?}");
    let of_alice = together.iter().filter(|(a, _)| *a == 0).count();
    assert!((8..=32).contains(&of_alice), "{of_alice} of 40");
    one.handle_peer(&alice.views, bob.peer(), Presence::Down, at(2));
    assert!(places(&one, &two).iter().all(|(a, _)| *a == 0));
}

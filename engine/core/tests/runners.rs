//! What members write of runners: what is refused, what says nothing new, and what the views make of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod building;

use building::*;
use wfengine_core::Views;
use wfengine_core::command::{Command, Decision, DraftBody, Refusal, decide};
use wfengine_core::views::runners::{Counts, Phase, Runner};
use wfengine_storage_format::*;

/// Alice with a pool that is on, and Bob, who knows of it.
fn pair() -> (Node, Node) {
    let mut alice = Node::founding("alice");
    alice.ask(Command::Admit(admitted(peer("bob"), Roles::MEMBER)));
    alice.ask(Command::ChangePool(pool("default", true)));
    let mut bob = Node::joining("bob", alice.log.cluster());
    bob.sync_from(&alice);
    (alice, bob)
}

fn intend(node: &mut Node, name: &str) -> EventId {
    node.ask(Command::IntendRunner(runner("default", name)))
}

fn done() -> RunnerEnd {
    RunnerEnd::Done { exit_code: 0 }
}

/// Lets a runner live its whole life.
fn finish(node: &mut Node, intent: EventId) {
    node.ask(Command::StartRunner(started(intent, 7)));
    node.ask(Command::ExitRunner(exited(intent, done())));
    node.ask(Command::RemoveRunner(RunnerRemoved { intent }));
}

fn get(views: &Views, intent: &EventId) -> Runner {
    views.runners().get(intent).unwrap().into_owned()
}

#[test]
fn a_runner_lives_from_intent_to_removal_and_is_known_ever_after() {
    let (mut alice, mut bob) = pair();
    let intent = intend(&mut alice, "r1");
    let phase = |node: &Node| get(&node.views, &intent).phase();
    assert_eq!((phase(&alice), phase(&alice).to_string().as_str()), (Phase::Intended, "intended"));
    let start = Command::StartRunner(started(intent, 7));
    alice.ask(start.clone());
    assert_eq!((phase(&alice), alice.try_ask(start.clone())), (Phase::Started, Ok(vec![])));
    let printed = BlobId::from_bytes([3; 32]);
    let log = Some(printed);
    let exit = Command::ExitRunner(RunnerExited { log, ..exited(intent, done()) });
    let Ok(Decision::Write(drafts)) = decide(&alice.views, &alice.author.chain, &exit) else { panic!() };
    assert_eq!((&drafts[0].refs, &drafts[0].blobs), (&vec![intent], &vec![printed]));
    assert!(matches!(&drafts[0].body, DraftBody::Ready(body) if body.runner_intent() == Some(intent)));
    alice.ask(exit.clone());
    assert_eq!((phase(&alice), alice.try_ask(exit.clone())), (Phase::Exited, Ok(vec![])));
    assert_eq!(alice.try_ask(start.clone()), Ok(vec![]));
    let remove = Command::RemoveRunner(RunnerRemoved { intent });
    alice.ask(remove.clone());
    for said in [start, exit, remove] {
        assert_eq!(alice.try_ask(said), Ok(vec![]));
    }
    bob.sync_from(&alice);
    assert_eq!(bob.views.digest(), alice.views.digest());
    let runners = bob.views.runners();
    assert_eq!((runners.live().count(), runners.all().count()), (0, 1));
    let found = runners.by_name("r1").unwrap();
    assert_eq!(
        (found.phase(), found.intent, found.exited.as_ref().unwrap().2.log),
        (Phase::Removed, intent, log)
    );
    let counts = Counts { intended: 1, provisioned: 1, done: 1, ..Counts::default() };
    assert_eq!(runners.counts(&alice.peer(), "default"), counts);
    assert_eq!(runners.counts(&alice.peer(), "other"), Counts::default());
}

#[test]
fn a_pool_is_what_its_author_said_last() {
    let (mut alice, mut bob) = pair();
    let since = |node: &Node, of: PeerId| node.views.runners().pool(&of, "default").unwrap().since_ms;
    let me = alice.peer();
    let first = since(&alice, me);
    assert_eq!(alice.try_ask(Command::ChangePool(pool("default", true))), Ok(vec![]));
    assert_eq!(alice.try_ask(Command::ChangePool(pool("never on", false))), Ok(vec![]));
    let wider = PoolChanged { runners_max: 9, ..pool("default", true) };
    let id = alice.ask(Command::ChangePool(wider.clone()));
    let said = alice.views.runners().pool(&me, "default").unwrap();
    assert_eq!((&said.said, said.id, said.since_ms), (&wider, id, first));
    alice.ask(Command::ChangePool(pool("default", false)));
    assert_eq!(since(&alice, me), first);
    alice.ask(Command::ChangePool(pool("default", true)));
    let again = alice.views.runners().pool(&me, "default").unwrap();
    assert!(again.since_ms > first && again.since_ms == again.time_ms);
    bob.sync_from(&alice);
    bob.ask(Command::ChangePool(pool("b", true)));
    let names =
        |of: PeerId| bob.views.runners().pools(&of).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!((names(me), names(bob.peer())), (vec!["default".to_owned()], vec!["b".to_owned()]));
    assert_eq!(bob.views.runners().all_pools().count(), 2);
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do() {
    let (mut alice, mut bob) = pair();
    let refused = |node: &mut Node, command: Command| node.try_ask(command).unwrap_err();
    let text = |refusal: Refusal| refusal.to_string();
    // an intent needs an own pool that is on
    let wanted = |pool: &str, name: &str| Command::IntendRunner(runner(pool, name));
    let unknown = refused(&mut bob, wanted("default", "r"));
    assert_eq!(unknown, Refusal::PoolOff { pool: "default".into(), is_known: false });
    assert!(text(unknown).ends_with("is unknown: turn it on with `wfengine runner start`"));
    bob.ask(Command::ChangePool(pool("default", true)));
    bob.ask(Command::ChangePool(pool("default", false)));
    assert!(text(refused(&mut bob, wanted("default", "r"))).contains("is off: turn it on"));
    bob.ask(Command::ChangePool(pool("default", true)));
    // names are one's own while a runner lives
    let intent = intend(&mut alice, "r1");
    let taken = |author: &str| Refusal::RunnerNameTaken { name: "r1".into(), author: author.into() };
    bob.sync_from(&alice);
    let alice_name = bob.views.peer_name(&alice.peer());
    for node in [&mut alice, &mut bob] {
        assert_eq!(refused(node, wanted("default", "r1")), taken(&alice_name));
    }
    // others do not speak for it, and nobody of what is none
    let foreign = [
        Command::StartRunner(started(intent, 1)),
        Command::ExitRunner(exited(intent, done())),
        Command::RemoveRunner(RunnerRemoved { intent }),
    ];
    for command in foreign {
        let refusal = refused(&mut bob, command);
        assert_eq!(refusal, Refusal::ForeignRunner { name: "r1".into(), author: alice_name.clone() });
    }
    let none = EventId::from_bytes([9; 32]);
    assert_eq!(refused(&mut alice, Command::StartRunner(started(none, 1))), Refusal::UnknownRunner(none));
    // it is removed after it ended
    for phase in [Phase::Intended, Phase::Started] {
        let refusal = refused(&mut alice, Command::RemoveRunner(RunnerRemoved { intent }));
        assert_eq!(refusal, Refusal::RunnerNotExited { name: "r1".into(), phase });
        alice.try_ask(Command::StartRunner(started(intent, 1))).unwrap();
    }
    alice.ask(Command::ExitRunner(exited(intent, done())));
    alice.ask(Command::RemoveRunner(RunnerRemoved { intent }));
    let second = intend(&mut alice, "r1");
    assert_eq!(alice.views.runners().by_name("r1").unwrap().intent, second);
    finish(&mut alice, second);
    assert_eq!(alice.views.runners().by_name("r1").unwrap().intent, second, "the last of that name");
    // bounds are those of the format
    let bare = RunnerIntended { labels: vec![], ..runner("default", "r2") };
    assert!(matches!(refused(&mut alice, Command::IntendRunner(bare)), Refusal::Format(_)));
    let long = PoolChanged { policy_json: " ".repeat(8_193), ..pool("default", true) };
    assert!(matches!(refused(&mut alice, Command::ChangePool(long)), Refusal::Format(_)));
}

#[test]
fn who_may_not_submit_has_no_runners() {
    let mut alice = Node::founding("alice");
    alice.ask(Command::Admit(admitted(peer("eve"), Roles::NONE)));
    let mut eve = Node::joining("eve", alice.log.cluster());
    eve.sync_from(&alice);
    let none = EventId::from_bytes([9; 32]);
    for command in [
        Command::ChangePool(pool("default", true)),
        Command::IntendRunner(runner("default", "r")),
        Command::StartRunner(started(none, 1)),
    ] {
        assert!(matches!(eve.try_ask(command), Err(Refusal::Role { role: "submitter", .. })));
    }
    eve.write(pool("default", true));
    let intent = eve.write(runner("default", "r"));
    eve.write(started(intent, 1));
    let runners = eve.views.runners();
    assert_eq!((runners.all().count(), runners.all_pools().count()), (0, 0));
    assert!(runners.get(&intent).is_none() && runners.by_name("r").is_none());
}

#[test]
fn only_the_author_of_an_intent_says_what_becomes_of_it_and_the_first_word_counts() {
    let (mut alice, mut bob) = pair();
    let intent = intend(&mut alice, "r1");
    bob.sync_from(&alice);
    bob.write(started(intent, 66));
    bob.write(exited(intent, done()));
    bob.write(RunnerRemoved { intent });
    alice.sync_from(&bob);
    assert_eq!(get(&alice.views, &intent).phase(), Phase::Intended);
    // one that does not name its intent where links are followed is none of its events
    alice.write_naming(started(intent, 1), vec![]);
    assert_eq!(get(&alice.views, &intent).phase(), Phase::Intended);
    // two processes of one author: the lesser place counts, whichever arrives first
    let mut twin = alice.clone();
    alice.restart(1);
    twin.restart(2);
    let (here, there) = (alice.write(started(intent, 1)), twin.write(started(intent, 2)));
    twin.write(exited(intent, RunnerEnd::Stopped { why: "w".into() }));
    twin.write(RunnerRemoved { intent });
    let (before, there_before) = (alice.clone(), twin.clone());
    alice.sync_from(&there_before);
    twin.sync_from(&before);
    let first = |node: &Node| get(&node.views, &intent).started.unwrap().0;
    assert_eq!(first(&alice), first(&twin));
    assert!([here, there].contains(&first(&alice)));
    assert_eq!(
        (get(&alice.views, &intent).phase(), alice.views.digest()),
        (Phase::Removed, twin.views.digest())
    );
    let counts = Counts { intended: 1, provisioned: 1, stopped: 1, ..Counts::default() };
    assert_eq!(alice.views.runners().counts(&alice.peer(), "default"), counts);
}

#[test]
fn of_a_revoked_member_what_lies_below_the_cut_stays() {
    let (mut alice, mut bob) = pair();
    bob.ask(Command::ChangePool(pool("default", true)));
    let known = intend(&mut bob, "known");
    let kept = intend(&mut bob, "kept");
    finish(&mut bob, kept);
    bob.ask(Command::StartRunner(started(known, 1)));
    alice.sync_from(&bob);
    let cuts = alice.cuts_of(&bob.peer());
    // what the revoker did not see: a life goes on, another begins and ends
    bob.ask(Command::ExitRunner(exited(known, done())));
    bob.ask(Command::RemoveRunner(RunnerRemoved { intent: known }));
    let late = intend(&mut bob, "late");
    finish(&mut bob, late);
    bob.ask(Command::ChangePool(pool("late", true)));
    let mut carol = alice.clone();
    carol.sync_from(&bob);
    assert_eq!((carol.views.runners().live().count(), carol.views.runners().all().count()), (0, 3));
    let peer = bob.peer();
    alice.ask(Command::Revoke(PeerRevoked { peer, reason: "r".into(), cuts }));
    carol.sync_from(&alice);
    alice.sync_from(&bob);
    for node in [&mut alice, &mut carol] {
        let runners = node.views.runners();
        assert_eq!((runners.live_of(&peer).count(), runners.all().count()), (1, 2));
        assert!(runners.get(&late).is_none() && runners.by_name("late").is_none());
        assert_eq!(get(&node.views, &known).phase(), Phase::Started, "it is live again");
        assert_eq!(get(&node.views, &kept).phase(), Phase::Removed);
        assert_eq!(runners.pools(&peer).map(|(name, _)| name).collect::<Vec<_>>(), ["default"]);
        let counts = Counts { intended: 2, provisioned: 2, done: 1, live: 1, ..Counts::default() };
        assert_eq!(runners.counts(&peer, "default"), counts);
    }
    assert_eq!(alice.views.digest(), carol.views.digest());
    assert_eq!(alice.shown(), carol.shown());
}

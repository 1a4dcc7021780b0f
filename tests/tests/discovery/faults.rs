//! One request for one repository goes wrong: it is said, the other repositories are looked at all the same, nothing vanishes, and
//! what was pushed there runs once when the fault is over.

use serde_json::json;
use wfengine_discovery::{Options, Report};
use wfengine_storage_format::ScanOutcome;
use wfengine_tests::standin::{
    ErrorCase, Fault, FaultRule, Level, Logged, RepositoryOptions, Selection, TokenKind,
};

use crate::door::Door;
use crate::files::workflow;
use crate::node::{Caches, Node};
use crate::world::World;

const CI: &str = ".github/workflows/ci.yml";
const NAMES: [&str; 3] = ["octo/a", "octo/b", "octo/c"];
/// The look at the repository in the middle, and the file there.
const TREE: &str = "/repos/octo/b/git/trees/*";
const BLOB: &str = "/repos/octo/b/git/blobs/*";

/// Three known repositories, to all of which something new was pushed, and a round in which one request goes wrong.
struct Spoilt {
    world: World,
    node: Node,
    report: Report,
    /// What was asked of the one in the middle.
    asked: Vec<Logged>,
    pushed: Vec<String>,
}

async fn scene() -> Option<(World, Node, Vec<String>)> {
    let world = World::new().await?;
    for name in NAMES {
        world.repository(
            name,
            &[(CI, &workflow("p2p-only", "push")), (".github/workflows/x.yml", &name.len().to_string())],
        );
    }
    let options = Options { shares_sources: false, ..Options::default() };
    let mut node = world.node("alice").wishing(options);
    assert_eq!(node.round().await.submitted, 3);
    world.pass(300);
    let changed = workflow("p2p-only, web-scraping", "push");
    let pushed =
        NAMES.iter().map(|name| world.push(name, &[(CI, &format!("# of {name}\n{changed}"))])).collect();
    Some((world, node, pushed))
}

async fn spoilt(rule: FaultRule) -> Option<Spoilt> {
    let (world, mut node, pushed) = scene().await?;
    world.github.fault(rule);
    let moment = world.moment();
    let report = node.round().await;
    let asked = world.asked_since(moment).into_iter();
    let asked = asked.filter(|logged| logged.path.starts_with("/repos/octo/b/")).collect();
    let spoilt = Spoilt { world, node, report, asked, pushed };
    spoilt.assert_the_rest_went_on();
    Some(spoilt)
}

impl Spoilt {
    #[track_caller]
    fn assert_the_rest_went_on(&self) {
        for repository in ["a", "c"] {
            let line = self.report.workflows.iter().find(|line| line.repo == repository);
            assert_eq!(line.map(|line| line.status.as_str()), Some("submitted"), "{:#?}", self.report);
        }
        assert_eq!((self.report.vanished.len(), self.report.failed), (0, false));
        for name in NAMES {
            assert_eq!(self.node.knows(name).map(|known| known.workflows.len()), Some(1), "{name}");
        }
    }

    /// What the report says is the matter with the one in the middle.
    #[track_caller]
    fn said(&self) -> &str {
        let problems = &self.report.problems;
        let of: Vec<_> = problems.iter().filter(|problem| !problem.path.ends_with("x.yml")).collect();
        let [problem] = of.as_slice() else { panic!("one problem: {problems:#?}") };
        assert_eq!(problem.repository, "octo/b");
        &problem.what
    }

    fn saw(&self) -> Option<ScanOutcome> {
        let known = self.node.knows("octo/b")?;
        known.looks.get(&wfengine_discovery::Host::peer(&*self.node.lab)).map(|look| look.outcome.clone())
    }

    #[track_caller]
    fn assert_asked(&self, requests: usize) {
        assert_eq!(self.asked.len(), requests, "{:#?}", self.asked);
    }

    /// Nothing is the matter: the request was repeated, or the fault does not matter.
    #[track_caller]
    fn assert_healed(&self) {
        let of: Vec<_> =
            self.report.problems.iter().filter(|problem| !problem.path.ends_with("x.yml")).collect();
        assert!(of.is_empty() && self.report.submitted == 3, "{:#?}", self.report);
    }

    /// The fault ends: what was missed is made up for, once.
    async fn end(mut self) {
        self.world.github.clear_faults();
        self.world.pass(3_700);
        for caches in [Caches::Kept, Caches::Lost] {
            self.node.round().await;
            self.node = self.node.restarted(caches);
        }
        let runs = self.node.runs();
        let shas: Vec<&str> =
            runs.iter().filter_map(|run| Some(run.trigger.as_ref()?.sha.as_str())).collect();
        assert_eq!(shas.len(), 6, "{shas:?}");
        for pushed in &self.pushed {
            assert_eq!(shas.iter().filter(|sha| *sha == pushed).count(), 1);
        }
        assert_eq!(self.saw(), Some(ScanOutcome::Scanned));
    }
}

fn error(path: &str, case: ErrorCase) -> FaultRule {
    FaultRule::new(path, Fault::Error(case)).always()
}

fn status(status: u16, message: &str) -> Fault {
    Fault::Status {
        status,
        body: json!({ "message": message, "documentation_url": "https://docs.github.com" }),
    }
}

#[tokio::test]
async fn a_refused_token_is_said_and_asked_once() {
    let Some(spoilt) = spoilt(error(TREE, ErrorCase::BadCredentials)).await else { return };
    assert!(spoilt.said().contains("401") && spoilt.said().contains("give another one"), "{}", spoilt.said());
    spoilt.assert_asked(1);
    spoilt.end().await;
}

#[tokio::test]
async fn a_token_that_was_revoked_finds_nothing_and_loses_nothing() {
    let Some((world, mut node, _)) = scene().await else { return };
    let token = world.token();
    node = node.with_token(token.clone());
    world.github.revoke(&token);
    let (events, moment) = (node.lab.events(), world.moment());
    let report = node.round().await;
    assert!(report.failed && report.problems[0].what.contains("401"), "{report:#?}");
    assert_eq!((world.asked_since(moment).len(), node.lab.events()), (1, events));
}

#[tokio::test]
async fn a_missing_permission_is_named_with_its_endpoint_and_never_asked_for_again() {
    let Some(spoilt) = spoilt(error(TREE, ErrorCase::ResourceNotAccessible)).await else { return };
    let said = spoilt.said();
    assert!(said.contains("GET /repos/octo/b/git/trees/main"), "{said}");
    assert!(said.contains("the permission administration=write"), "{said}");
    spoilt.assert_asked(1);
    assert!(matches!(spoilt.saw(), Some(ScanOutcome::Failed(why)) if why.contains("administration=write")));
    let (before, moment) = (spoilt.report.problems.clone(), spoilt.world.moment());
    let mut spoilt = spoilt;
    assert_eq!(spoilt.node.round().await.problems, before, "it is said again");
    let asked = spoilt.world.asked_since(moment);
    assert!(!asked.iter().any(|asked| asked.path.contains("octo/b")), "{asked:#?}");
    spoilt.end().await;
}

#[tokio::test]
async fn a_token_without_contents_is_told_so_for_every_private_repository() {
    let Some(world) = World::new().await else { return };
    for (name, options) in
        [("octo/private", RepositoryOptions::private()), ("octo/public", RepositoryOptions::default())]
    {
        world.github.add_repository(name, &options);
        world.push(name, &[(CI, &workflow("p2p-only", "push"))]);
    }
    let token = world.github.token(&TokenKind::FineGrained {
        user: "octo".to_owned(),
        owner: "octo".to_owned(),
        repositories: Selection::All,
        permissions: vec![("actions".to_owned(), Level::Read)],
    });
    let mut node = world.node("alice").with_token(token);
    let report = node.round().await;
    assert_eq!((report.discovered(), report.submitted), (1, 1), "{report:#?}");
    let [problem] = report.problems.as_slice() else { panic!("{report:#?}") };
    assert_eq!(problem.repository, "octo/private");
    assert!(problem.what.contains("needs the permission contents=read"), "{}", problem.what);
    let asked = world.asked_for("/repos/octo/private/git/trees/main");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn single_sign_on_is_told_from_a_missing_permission() {
    let Some((world, node, _)) = scene().await else { return };
    let door = Door::before(
        &world,
        "/repos/octo/b/git/trees/main",
        "HTTP/1.1 403 Forbidden\r\nx-github-sso: required; url=https://github.com/orgs/octo/sso?x=1\r\n\
         content-type: application/json\r\ncontent-length: 26\r\nconnection: close\r\n\r\n\
         {\"message\":\"SAML enforced\"}",
    )
    .await;
    let mut node = node.asking_at(door.base_url());
    let report = node.round().await;
    assert_eq!(report.submitted, 2, "{report:#?}");
    let problem = report.problems.iter().find(|problem| problem.path.is_empty()).expect("a problem");
    assert_eq!(problem.repository, "octo/b");
    assert!(
        problem.what.contains("single sign-on") && problem.what.contains("https://github.com/orgs/octo/sso"),
        "{}",
        problem.what
    );
    assert_eq!((report.vanished.len(), door.answered()), (0, 1));
}

#[tokio::test]
async fn a_repository_that_is_not_found_is_said_and_its_workflows_stay() {
    let Some(spoilt) = spoilt(error(TREE, ErrorCase::NotFoundOrHidden)).await else { return };
    assert!(spoilt.said().contains("404"), "{}", spoilt.said());
    spoilt.assert_asked(1);
    spoilt.end().await;
}

#[tokio::test]
async fn a_file_that_is_not_found_leaves_the_repository_as_it_was_known() {
    let Some(spoilt) = spoilt(error(BLOB, ErrorCase::NotFoundOrHidden)).await else { return };
    assert!(spoilt.said().contains("404"), "{}", spoilt.said());
    spoilt.assert_asked(2);
    spoilt.end().await;
}

#[tokio::test]
async fn a_request_that_is_not_understood_is_said_and_not_repeated() {
    let rule = FaultRule::new(TREE, status(422, "Invalid object")).always();
    let Some(spoilt) = spoilt(rule).await else { return };
    assert!(spoilt.said().contains("422 Invalid object"), "{}", spoilt.said());
    spoilt.assert_asked(1);
    spoilt.end().await;
}

#[tokio::test]
async fn too_many_requests_are_waited_out() {
    let rule = FaultRule::new(TREE, status(429, "Too many requests"));
    let Some(spoilt) = spoilt(rule).await else { return };
    spoilt.assert_healed();
    let waited = spoilt.asked.windows(2).map(|pair| pair[1].at - pair[0].at).max();
    assert!(waited >= Some(60), "{:#?}", spoilt.asked);
    spoilt.end().await;
}

#[tokio::test]
async fn a_secondary_limit_with_a_time_is_waited_for_as_long_as_it_says() {
    let rule = FaultRule::new(TREE, Fault::Error(ErrorCase::SecondaryLimitWithRetryAfter));
    let Some(spoilt) = spoilt(rule).await else { return };
    spoilt.assert_healed();
    let waited = spoilt.asked.windows(2).map(|pair| pair[1].at - pair[0].at).max();
    assert!(waited >= Some(60), "{:#?}", spoilt.asked);
    spoilt.end().await;
}

#[tokio::test]
async fn an_overloaded_github_is_asked_again_and_its_pages_are_not_believed() {
    for status in [500, 502] {
        let Some(healed) = spoilt(FaultRule::new(TREE, Fault::HtmlPage { status }).times(2)).await else {
            return;
        };
        healed.assert_healed();
        healed.end().await;
    }
    let Some(spoilt) = spoilt(FaultRule::new(TREE, Fault::HtmlPage { status: 502 }).always()).await else {
        return;
    };
    assert!(spoilt.said().contains("502") && spoilt.said().contains("try again later"), "{}", spoilt.said());
    spoilt.assert_asked(4);
    assert_eq!(spoilt.saw(), Some(ScanOutcome::Scanned), "a passing fault is no news for the log");
    spoilt.end().await;
}

#[tokio::test]
async fn what_is_blocked_for_legal_reasons_is_said() {
    let rule = FaultRule::new(TREE, status(451, "Repository access blocked")).always();
    let Some(spoilt) = spoilt(rule).await else { return };
    assert!(spoilt.said().contains("451") && spoilt.said().contains("leave it out"), "{}", spoilt.said());
    spoilt.assert_asked(1);
    spoilt.end().await;
}

#[tokio::test]
async fn a_body_that_was_cut_is_asked_for_again_and_never_kept() {
    for path in [TREE, BLOB] {
        let rule = FaultRule::new(path, Fault::CutBody { after_bytes: 40 });
        let Some(spoilt) = spoilt(rule).await else { return };
        spoilt.assert_healed();
        spoilt.assert_asked(3);
        spoilt.end().await;
    }
    let rule = FaultRule::new(TREE, Fault::CutBody { after_bytes: 40 }).always();
    let Some(spoilt) = spoilt(rule).await else { return };
    assert!(spoilt.said().contains("cut off"), "{}", spoilt.said());
    spoilt.end().await;
}

#[tokio::test]
async fn half_an_answer_with_the_length_to_match_is_no_answer() {
    for path in [TREE, BLOB] {
        let Some(healed) = spoilt(FaultRule::new(path, Fault::InvalidJson)).await else { return };
        healed.assert_healed();
        healed.end().await;
    }
    let Some(spoilt) = spoilt(FaultRule::new(TREE, Fault::InvalidJson).always()).await else { return };
    assert!(spoilt.said().contains("cut off"), "{}", spoilt.said());
    spoilt.end().await;
}

#[tokio::test]
async fn a_wrong_content_type_on_a_right_answer_does_not_matter() {
    let Some(spoilt) = spoilt(FaultRule::new(TREE, Fault::WrongContentType).always()).await else { return };
    spoilt.assert_healed();
    spoilt.assert_asked(2);
    spoilt.end().await;
}

#[tokio::test]
async fn a_page_of_a_proxy_in_place_of_an_answer_is_told_as_such() {
    let Some(spoilt) = spoilt(FaultRule::new(TREE, Fault::HtmlPage { status: 200 }).always()).await else {
        return;
    };
    assert!(spoilt.said().contains("not JSON") && spoilt.said().contains("proxy"), "{}", spoilt.said());
    spoilt.assert_asked(1);
    spoilt.end().await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let huge = || Fault::HugeBody { bytes: 20 << 20 };
    // a tree that is too large is looked at folder by folder
    let Some(healed) = spoilt(FaultRule::new(TREE, huge()).always()).await else { return };
    healed.assert_healed();
    healed.end().await;
    let Some(spoilt) = spoilt(FaultRule::new(BLOB, huge()).always()).await else { return };
    assert!(spoilt.said().contains("larger than"), "{}", spoilt.said());
    spoilt.end().await;
}

#[tokio::test]
async fn redirects_that_lead_in_a_circle_are_left() {
    let Some(spoilt) = spoilt(FaultRule::new(TREE, Fault::RedirectLoop).always()).await else { return };
    assert!(spoilt.said().contains("moved to"), "{}", spoilt.said());
    spoilt.assert_asked(4);
    spoilt.end().await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_asked_for_again() {
    let Some(healed) = spoilt(FaultRule::new(TREE, Fault::LostAnswer)).await else { return };
    healed.assert_healed();
    healed.end().await;
    let Some(spoilt) = spoilt(FaultRule::new(TREE, Fault::LostAnswer).always()).await else { return };
    assert!(!spoilt.said().is_empty());
    spoilt.assert_asked(4);
    spoilt.end().await;
}

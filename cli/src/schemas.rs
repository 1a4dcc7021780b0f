//! What each verb prints with `--json`, as JSON Schemas.
//!
//! Invariant: every verb of the command line is in [`printed`] or in [`without`], so that a new one cannot be forgotten.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use wfengine_api::answers::runners::{
    ContainerStoppedView, QueueView, RotatedView, RunnerContainerView, RunnerLogLine, RunnerStatusView,
    StartedView, StoppedView,
};
use wfengine_api::answers::{
    AllowView, ClockView, DiscoveryView, EventLine, FoundView, InviteView, OwnerView, PeersView, Progress,
    RunView, StatusView, Submitted, SyncView, WatchView, WhyView,
};
use wfengine_discovery::Report;

use crate::audit::{ChangeLine, ReportView, StoryLine};
use crate::commands::DemoDocument;
use crate::documents::{
    CheckedConfigDocument, CheckedTagsDocument, ConfigDocument, DistanceDocument, DoctorDocument,
    ExampleDocument, ExportedDocument, ExtendedDocument, FileDocument, ImportedDocument, JoinedDocument,
    KitDocument, LineDocument, MessageDocument, NextDocument, NotifiedDocument, PeerIdDocument,
    ProvisionedAllDocument, ProvisionedOneDocument, ResultDocument, SegmentsDocument, ServingDocument,
    StateDocument, TagDocument, VerbDocument, WrittenDocument,
};

/// Makes a type's schema.
type Make = fn(&mut SchemaGenerator) -> Schema;

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const ONE: &str = "one document";
const RUNS: &str = "a line for each run";
const JOBS: &str = "a line for each job";

/// What a verb prints with `--json`.
#[derive(Clone, Copy)]
pub(crate) struct Printed {
    /// How its documents come.
    pub(crate) documents: &'static str,
    /// What each of them may be.
    of: &'static [Make],
    /// What each is with `--watch`, where the list is one document then.
    watched: Option<Make>,
}

const fn printed_as(documents: &'static str, of: &'static [Make]) -> Printed {
    Printed { documents, of, watched: None }
}

/// What a verb prints; `None` of a verb that prints no JSON, or is none.
pub(crate) fn printed(verb: &[&str]) -> Option<Printed> {
    let watched = |documents, of, watched| Printed { documents, of, watched: Some(watched) };
    Some(match verb {
        ["run"] => {
            printed_as("a line for each thing that happens, then the run", &[of::<Progress>, of::<RunView>])
        }
        ["submit"] => printed_as(
            "one document; with --wait it is the run, with --follow after a line for each thing that happens",
            &[of::<Submitted>, of::<Progress>, of::<RunView>],
        ),
        ["list"] => watched(RUNS, &[of::<RunView>], of::<Vec<RunView>>),
        ["owner"] => watched(JOBS, &[of::<OwnerView>], of::<Vec<OwnerView>>),
        ["discover", "list"] => watched("a line for each workflow", &[of::<FoundView>], of::<Vec<FoundView>>),
        ["show" | "cancel" | "priority"] | ["task", "complete" | "fail" | "release"] => {
            printed_as(ONE, &[of::<RunView>])
        }
        ["rerun"] | ["task", "submit"] | ["discover", "dispatch"] => printed_as(ONE, &[of::<Submitted>]),
        ["logs"] => printed_as("a line for each thing that happens", &[of::<Progress>]),
        ["why"] => printed_as(JOBS, &[of::<WhyView>]),
        ["distance"] => printed_as(ONE, &[of::<DistanceDocument>]),
        ["task", "next"] => printed_as(ONE, &[of::<NextDocument>]),
        ["task", "extend"] => printed_as(ONE, &[of::<ExtendedDocument>]),
        ["task", "result"] => printed_as(ONE, &[of::<ResultDocument>]),
        ["work"] => printed_as("a line for each task that was done", &[of::<RunView>]),
        ["discover", "once"] => printed_as(ONE, &[of::<DiscoveryView<Report>>]),
        ["discover", "monitor"] => {
            printed_as("a line for each thing that happens", &[of::<LineDocument<'static>>])
        }
        ["discover", "watch"] => printed_as(ONE, &[of::<WatchView>]),
        ["runner", "start"] => printed_as(
            "one document; lines of the node follow if it becomes one",
            &[of::<StartedView>, of::<ServingDocument>, of::<LineDocument<'static>>],
        ),
        ["runner", "stop"] => printed_as(ONE, &[of::<StoppedView>]),
        ["runner", "status"] => printed_as(ONE, &[of::<RunnerStatusView>]),
        ["runner", "list-workflows"] => printed_as(ONE, &[of::<Vec<QueueView>>]),
        ["runner", "list-containers"] => printed_as(ONE, &[of::<Vec<RunnerContainerView>>]),
        ["runner", "provision"] => printed_as(
            "one document, of the repository if one is named",
            &[of::<ProvisionedOneDocument<'static>>, of::<ProvisionedAllDocument<'static>>],
        ),
        ["runner", "stop-container"] => printed_as(ONE, &[of::<ContainerStoppedView>]),
        ["runner", "logs"] => printed_as("a line for each line of the log", &[of::<RunnerLogLine>]),
        ["runner", "rotate"] => printed_as(ONE, &[of::<RotatedView>]),
        ["tags"] => printed_as(ONE, &[of::<Vec<TagDocument>>]),
        ["check-tags"] => printed_as(ONE, &[of::<CheckedTagsDocument>]),
        ["init" | "pause" | "resume" | "status"] => printed_as(ONE, &[of::<StatusView>]),
        ["serve"] => printed_as(
            "a line once it serves, then a line for each thing that happens; the status with --background",
            &[of::<ServingDocument>, of::<LineDocument<'static>>, of::<StatusView>],
        ),
        ["peer", "id"] => printed_as(ONE, &[of::<PeerIdDocument>]),
        ["peer", "invite"] => printed_as(ONE, &[of::<InviteView>]),
        ["peer", "join"] => printed_as(
            "one document; with --serve the lines of the node follow",
            &[of::<JoinedDocument>, of::<ServingDocument>, of::<LineDocument<'static>>],
        ),
        ["peer", "add" | "remove"] => printed_as(ONE, &[of::<MessageDocument>]),
        ["peer", "list"] => printed_as(ONE, &[of::<PeersView>]),
        ["allow"] => printed_as(ONE, &[of::<AllowView>]),
        ["sync"] => printed_as(ONE, &[of::<SyncView>]),
        ["clock"] => printed_as(ONE, &[of::<ClockView>]),
        ["replay"] => printed_as(
            "a line for each event; with --run for each part of the story, with --diff for each change, with --at the state, with --verify the report",
            &[of::<EventLine>, of::<StoryLine>, of::<ChangeLine>, of::<StateDocument>, of::<ReportView>],
        ),
        ["log", "export"] => printed_as(ONE, &[of::<ExportedDocument>, of::<SegmentsDocument>]),
        ["log", "import"] => printed_as(ONE, &[of::<ImportedDocument>]),
        ["example"] => printed_as(ONE, &[of::<Vec<ExampleDocument>>, of::<WrittenDocument>]),
        ["demo"] => printed_as(ONE, &[of::<DemoDocument>]),
        ["import", "kit"] => printed_as(ONE, &[of::<KitDocument>]),
        ["schema"] => printed_as(
            "one document: the verbs, or the schema of what one of them prints",
            &[of::<Vec<VerbDocument>>, of::<Map<String, Value>>],
        ),
        ["config", "show"] => printed_as(ONE, &[of::<ConfigDocument>]),
        ["config", "check"] => printed_as(ONE, &[of::<CheckedConfigDocument>]),
        ["metrics", "alerts" | "scrape"] => printed_as(ONE, &[of::<FileDocument<'static>>]),
        ["doctor"] => printed_as(ONE, &[of::<DoctorDocument>]),
        ["notify", "test"] => printed_as(ONE, &[of::<NotifiedDocument>]),
        _ => return None,
    })
}

/// Why a verb prints no JSON.
pub(crate) fn without(verb: &[&str]) -> Option<&'static str> {
    match verb {
        ["mcp"] => Some("speaks the Model Context Protocol, whose tools bring their schemas themselves"),
        ["as"] => Some("prints what the older program printed"),
        ["completions"] => Some("prints a script"),
        ["man"] => Some("prints a page"),
        _ => None,
    }
}

impl Printed {
    /// The schema of a document: 2020-12.
    pub(crate) fn schema(&self, verb: &str, watched: bool) -> Value {
        let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
        let watched = self.watched.filter(|_| watched);
        let (documents, made): (&str, Vec<Value>) = match watched {
            Some(make) => ("a line with all of it after each change", vec![make(&mut generator).to_value()]),
            None => (self.documents, self.of.iter().map(|make| make(&mut generator).to_value()).collect()),
        };
        let definitions = generator.take_definitions(true);
        let flag = if watched.is_some() { " --watch" } else { "" };
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": format!("wfengine {verb}{flag} --json"),
            "description": format!("Prints {documents}. Fields may be added."),
        });
        if let Some(schema) = schema.as_object_mut() {
            match made.as_slice() {
                [Value::Object(one)] => schema.extend(one.clone()),
                _ => drop(schema.insert("anyOf".to_owned(), Value::Array(made))),
            }
            if !definitions.is_empty() {
                schema.insert("$defs".to_owned(), Value::Object(definitions));
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_verb_says_what_it_prints() {
        let verbs = crate::commands::verbs(&crate::args::Cli::command());
        assert!(verbs.len() > 50, "{verbs:?}");
        for verb in &verbs {
            let words: Vec<&str> = verb.split(' ').collect();
            assert!(
                printed(&words).is_some() != without(&words).is_some(),
                "`{verb}`: say in `printed` what it prints with --json, or in `without` why it prints none"
            );
        }
    }

    #[test]
    fn whatever_a_schema_names_is_described() {
        fn walk(place: &str, value: &Value, missing: &mut Vec<String>) {
            let Value::Object(object) = value else { return };
            if let Some(Value::Object(properties)) = object.get("properties") {
                for (name, property) in properties {
                    if property.get("description").is_none() && property.get("const").is_none() {
                        missing.push(format!("{place}.{name}"));
                    }
                }
            }
            object.iter().for_each(|(name, below)| walk(&format!("{place}/{name}"), below, missing));
        }
        let mut missing = Vec::new();
        for verb in crate::commands::verbs(&crate::args::Cli::command()) {
            if let Some(printed) = printed(&verb.split(' ').collect::<Vec<_>>()) {
                walk(&verb, &printed.schema(&verb, false), &mut missing);
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }
}

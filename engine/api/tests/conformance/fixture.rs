//! What the conformance runner expects a server to offer: tools, resources and prompts by its own names, as tables.
//!
//! Not here: anything of the protocol. What is in these tables goes through the server and the door as a node's own offer does.

use rmcp::model::{
    CallToolResult, GetPromptResult, Implementation, Prompt, ReadResourceResult, Reference, Resource,
    ResourceTemplate, Tool,
};
use serde_json::{Value as Json, json};
use wfengine_api::Failure;
use wfengine_api::mcp::{Answering, Offer};
use wfengine_api::tools::{Object, Progress};

/// One red pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
/// Two samples of silence.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA==";

const TEMPLATE: [&str; 2] = ["test://template/", "/data"];

pub(crate) struct Fixture;

/// The tools that need no more than a table, with what they answer.
fn contents() -> Vec<(&'static str, Json)> {
    let image = json!({ "type": "image", "data": PNG, "mimeType": "image/png" });
    let document = |uri: &str, kind: &str, text: &str| json!({ "type": "resource", "resource": { "uri": uri, "mimeType": kind, "text": text } });
    vec![
        ("test_simple_text", json!([{ "type": "text", "text": "plain words" }])),
        ("test_image_content", json!([image])),
        ("test_audio_content", json!([{ "type": "audio", "data": WAV, "mimeType": "audio/wav" }])),
        (
            "test_embedded_resource",
            json!([document("test://embedded-resource", "text/plain", "embedded words")]),
        ),
        (
            "test_multiple_content_types",
            json!([
                { "type": "text", "text": "words, a picture, a document" },
                image,
                document("test://mixed-content-resource", "application/json", r#"{"a":1}"#),
            ]),
        ),
        ("test_tool_with_progress", json!([{ "type": "text", "text": "all of it" }])),
        ("test_error_handling", json!([])),
        ("json_schema_2020_12_tool", json!([{ "type": "text", "text": "well formed" }])),
    ]
}

/// Keywords that a server must hand on as they are.
fn schema_of(tool: &str) -> Json {
    if tool != "json_schema_2020_12_tool" {
        return json!({ "type": "object", "additionalProperties": false });
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": { "type": "object", "properties": { "street": { "type": "string" }, "city": { "type": "string" } } } },
        "properties": { "name": { "type": "string" }, "address": { "$ref": "#/$defs/address" } },
        "additionalProperties": false,
    })
}

/// A table's row as the protocol has it.
fn typed<T: serde::de::DeserializeOwned>(value: Json) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn message(content: Json) -> Json {
    json!({ "role": "user", "content": content })
}

fn words(text: &str) -> Json {
    message(json!({ "type": "text", "text": text }))
}

impl Offer for Fixture {
    fn implementation(&self) -> Implementation {
        Implementation::new("fixture", "1")
    }

    fn instructions(&self) -> String {
        "For the conformance runner.".to_owned()
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn tools(&self) -> Vec<Tool> {
        let tool = |(name, _): &(&str, Json)| {
            typed(
                json!({ "name": name, "description": "For the conformance runner.", "inputSchema": schema_of(name) }),
            )
        };
        contents().iter().map(tool).collect()
    }

    fn call(
        &self,
        name: &str,
        _: Object,
        progress: Option<Progress>,
    ) -> Result<Answering<'_, CallToolResult>, Failure> {
        let found = contents().into_iter().find(|(known, _)| *known == name);
        let (name, content) = found.ok_or_else(|| Failure::unknown(format!("there is no tool `{name}`")))?;
        Ok(Box::pin(async move {
            if name == "test_error_handling" {
                return Err(Failure::refused("it fails because it is to fail"));
            }
            if let Some(progress) = progress.filter(|_| name == "test_tool_with_progress") {
                for text in ["begun", "half", "done"] {
                    // whoever asked may be gone
                    let _ = progress.send(text.to_owned());
                    tokio::task::yield_now().await;
                }
            }
            Ok(typed(json!({ "content": content })))
        }))
    }

    fn resources(&self) -> Answering<'_, Vec<Resource>> {
        let listed = json!([
            { "uri": "test://static-text", "name": "words", "mimeType": "text/plain" },
            { "uri": "test://static-binary", "name": "picture", "mimeType": "image/png" },
        ]);
        Box::pin(async move { Ok(typed(listed)) })
    }

    fn templates(&self) -> Vec<ResourceTemplate> {
        typed(
            json!([{ "uriTemplate": TEMPLATE.join("{id}"), "name": "data", "mimeType": "application/json" }]),
        )
    }

    fn read<'a>(&'a self, uri: &'a str) -> Answering<'a, ReadResourceResult> {
        let id = uri.strip_prefix(TEMPLATE[0]).and_then(|rest| rest.strip_suffix(TEMPLATE[1]));
        let contents = match (uri, id) {
            ("test://static-text", _) => {
                Some(json!({ "uri": uri, "mimeType": "text/plain", "text": "written words" }))
            }
            ("test://static-binary", _) => Some(json!({ "uri": uri, "mimeType": "image/png", "blob": PNG })),
            (_, Some(id)) => {
                let text = json!({ "id": id }).to_string();
                Some(json!({ "uri": uri, "mimeType": "application/json", "text": text }))
            }
            _ => None,
        };
        let contents = contents.ok_or_else(|| Failure::unknown(format!("{uri}: there is no such resource")));
        Box::pin(async move { Ok(typed(json!({ "contents": [contents?] }))) })
    }

    fn prompts(&self) -> Vec<Prompt> {
        let argument = |name: &str| json!({ "name": name, "description": "A text.", "required": true });
        let prompt = |name: &str, arguments: Vec<Json>| json!({ "name": name, "description": "For the conformance runner.", "arguments": arguments });
        typed(json!([
            prompt("test_simple_prompt", Vec::new()),
            prompt("test_prompt_with_arguments", ["arg1", "arg2"].map(argument).to_vec()),
            prompt("test_prompt_with_embedded_resource", vec![argument("resourceUri")]),
            prompt("test_prompt_with_image", Vec::new()),
        ]))
    }

    fn prompt<'a>(&'a self, name: &'a str, arguments: &'a Object) -> Answering<'a, GetPromptResult> {
        let given = |name: &str| arguments.get(name).and_then(Json::as_str).unwrap_or_default();
        let messages = match name {
            "test_simple_prompt" => Ok(vec![words("say something")]),
            "test_prompt_with_arguments" => {
                Ok(vec![words(&format!("say {} and {}", given("arg1"), given("arg2")))])
            }
            "test_prompt_with_embedded_resource" => {
                let resource = json!({ "uri": given("resourceUri"), "mimeType": "text/plain", "text": "embedded words" });
                let document = message(json!({ "type": "resource", "resource": resource }));
                Ok(vec![document, words("read it")])
            }
            "test_prompt_with_image" => {
                let image = message(json!({ "type": "image", "data": PNG, "mimeType": "image/png" }));
                Ok(vec![image, words("look at it")])
            }
            _ => Err(Failure::bad_input(format!("there is no prompt `{name}`"))),
        };
        Box::pin(async move { Ok(typed(json!({ "messages": messages? }))) })
    }

    fn completions<'a>(
        &'a self,
        of: &'a Reference,
        _: &'a str,
        begun: &'a str,
    ) -> Answering<'a, Vec<String>> {
        let known = matches!(of, Reference::Prompt(prompt) if prompt.name == "test_prompt_with_arguments");
        let fitting = ["tested", "testing"].into_iter().filter(|word| known && word.starts_with(begun));
        let found = fitting.map(str::to_owned).collect();
        Box::pin(async move { Ok(found) })
    }
}

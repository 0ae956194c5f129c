//! Compares the requests that this crate sends to AWS with `golden/wire`.
//!
//! The scenarios call every adapter through its ports, with the functions' own client configuration. Only the HTTP
//! client is replaced. A backtrace shows which function sent a request, and the source shows which functions call AWS,
//! so a call without a scenario fails the test. `tests/contract` checks the recorded requests against AWS's service
//! models, and the roles' permissions against the requests.
//!
//! `UPDATE_GOLDENS=1` (`tests/run --update unit`) updates the golden files.

mod network;
mod scenarios;
mod sites;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_types::SdkConfig;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::network::{Mode, RecordingHttpClient, Response, SentRequest};
use self::scenarios::{Scenario, scenarios};
use self::sites::Function;
use crate::config::configured;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/wire")
}

/// The functions' client configuration with another HTTP client.
fn config(client: &RecordingHttpClient, region: &str) -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    configured(credentials, region.to_owned(), None).into_builder().http_client(client.clone()).build()
}

/// The requests of a scenario, in the form of its golden file.
async fn recorded(scenario: &Scenario, functions: &[Function]) -> Value {
    let client = RecordingHttpClient::new(Mode::Responses(scenario.responses.clone().into()));
    let link = (scenario.run)(config(&client, "eu-west-1")).await;
    let link = link.unwrap_or_else(|error| panic!("{}: {error:?}", scenario.name));
    assert_eq!(client.responses_left(), 0, "{}: unused responses", scenario.name);
    let requests: Vec<Value> = client.take_sent().into_iter().map(|sent| request(sent, functions).into()).collect();
    let mut recorded = Map::from_iter([("requests".to_owned(), requests.into())]);
    if let Some(step) = &scenario.step {
        recorded.insert("step".to_owned(), json!(step));
    }
    if let Some(link) = link {
        recorded.insert("link".to_owned(), json!(link));
    }
    sorted(recorded.into())
}

/// The request with the function that sent it, its operation, and the port method that was called.
fn request(sent: SentRequest, functions: &[Function]) -> Map<String, Value> {
    let from: Vec<&Function> =
        sent.from.iter().filter_map(|(file, line)| sites::innermost_at(functions, file, *line)).collect();
    let site = from.first().expect("debug information with files and lines");
    let [operation] = &*site.operations else { panic!("{}: must make exactly one call", site.name) };
    let url = sent.request.get("url").and_then(Value::as_str).unwrap();
    let service = ["dynamodb", "email", "s3", "secretsmanager", "sqs"]
        .into_iter()
        .find(|service| url.split('/').nth(2).is_some_and(|host| host.split('.').any(|label| label == *service)));
    let mut request = sent.request.clone();
    request.insert("site".to_owned(), json!(site.name));
    request.insert("operation".to_owned(), json!(format!("{}:{operation}", service.unwrap().replace("email", "ses"))));
    let port = from.iter().rev().find_map(|function| function.port.as_ref());
    request.insert("port".to_owned(), json!(port));
    request
}

/// Sorts the members of every object. `serde_json` may preserve their order, depending on its features.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let members: BTreeMap<_, _> = object.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            members.into_iter().collect::<Map<_, _>>().into()
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// Compares files with those in `golden/wire` that `is_included` selects, or writes them there.
fn assert_golden(files: &BTreeMap<String, Value>, is_included: impl Fn(&str) -> bool) {
    let folder = golden();
    let stored = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let stored: BTreeSet<String> = stored.filter(|name| is_included(name)).collect();
    let mut differences = String::new();
    for name in stored.iter().chain(files.keys()).collect::<BTreeSet<_>>() {
        let path = folder.join(name);
        let now = files.get(name).map(|file| serde_json::to_string_pretty(file).unwrap() + "\n").unwrap_or_default();
        let before = fs::read_to_string(&path).unwrap_or_default();
        if now == before {
            continue;
        }
        if is_update() {
            if now.is_empty() { fs::remove_file(&path) } else { fs::write(&path, now) }.unwrap();
        } else {
            differences += &format!("golden/wire/{name}\n{}", difference(&before, &now));
        }
    }
    assert!(
        differences.is_empty(),
        "differs from the recorded requests; `tests/run --update unit` updates the golden files:\n{differences}"
    );
}

#[expect(clippy::disallowed_methods, reason = "a test option, not a setting of a function")]
fn is_update() -> bool {
    std::env::var("UPDATE_GOLDENS").is_ok_and(|value| value == "1")
}

/// The lines that differ, without the common first and last lines.
fn difference(before: &str, now: &str) -> String {
    let (before, now): (Vec<_>, Vec<_>) = (before.lines().collect(), now.lines().collect());
    let first = before.iter().zip(&now).take_while(|(a, b)| a == b).count();
    let last = before[first..].iter().rev().zip(now[first..].iter().rev()).take_while(|(a, b)| a == b).count();
    let changed = |mark, lines: &[&str]| {
        let lines = &lines[first..lines.len() - last];
        lines.iter().map(|line| format!("{mark}{line}\n")).collect::<String>()
    };
    changed('-', &before) + &changed('+', &now)
}

const TIME_OUTS: &str = "time-outs.json";

#[tokio::test]
async fn requests_of_every_call_site_equal_the_golden_files() {
    let functions = sites::functions();
    let mut files = BTreeMap::new();
    for scenario in scenarios() {
        let recorded = recorded(&scenario, &functions).await;
        assert!(files.insert(format!("{}.json", scenario.name), recorded).is_none(), "{} twice", scenario.name);
    }
    let sites: BTreeSet<String> = files
        .values()
        .flat_map(|file| file["requests"].as_array().unwrap())
        .map(|request| request["site"].as_str().unwrap().to_owned())
        .collect();
    let calling = functions.iter().filter(|function| !function.operations.is_empty());
    let calling: BTreeSet<String> = calling.map(|function| function.name.clone()).collect();
    assert_eq!(sites, calling, "left: functions with a scenario; right: functions that call AWS");
    assert_golden(&files, |name| name != TIME_OUTS);
}

#[test]
fn every_life_cycle_step_has_a_scenario() {
    let lifecycle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/src/lifecycle.rs");
    let recorded: BTreeSet<String> = scenarios().into_iter().filter_map(|scenario| scenario.step).collect();
    assert_eq!(recorded, sites::steps(&lifecycle).into_iter().collect());
}

/// The time-outs of a scenario's first call, and the number of attempts if every response is an error.
async fn measure_time_outs(scenario: &Scenario, region: &str) -> Value {
    let silent = RecordingHttpClient::new(Mode::NoResponse);
    let started = Instant::now();
    (scenario.run)(config(&silent, region)).await.expect_err("there is no response");
    let all_attempts = started.elapsed();
    let failing = RecordingHttpClient::new(Mode::Always(Response::new(500, "")));
    // Another region, because the SDK has one retry quota per service and region.
    (scenario.run)(config(&failing, &format!("{region}-failing"))).await.expect_err("every response is an error");
    let text = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
    let [connect, read, attempt] = silent.time_outs();
    json!({
        "connect": text(connect),
        "read": text(read),
        "attempt": text(attempt),
        "all attempts": text(Some(all_attempts)),
        "attempts": failing.take_sent().len(),
    })
}

#[tokio::test(start_paused = true)]
async fn time_outs_of_every_call_site_equal_the_golden_file() {
    let functions = sites::functions();
    let mut sites = BTreeMap::new();
    for (number, scenario) in scenarios().iter().enumerate() {
        let first = recorded(scenario, &functions).await["requests"][0].take();
        let (Some(site), Some(operation)) = (first["site"].as_str(), first["operation"].as_str()) else { continue };
        let site = format!("{site} ({operation})");
        if let Entry::Vacant(site) = sites.entry(site) {
            site.insert(measure_time_outs(scenario, &format!("test-{number}")).await);
        }
    }
    let file = sorted(sites.into_iter().collect::<Map<_, _>>().into());
    assert_golden(&BTreeMap::from([(TIME_OUTS.to_owned(), file)]), |name| name == TIME_OUTS);
}

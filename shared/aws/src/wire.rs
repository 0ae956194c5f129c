//! The requests that this crate sends to AWS, compared with `golden/wire`.
//!
//! The scenarios drive every adapter through its ports, with the clients that the functions have. Only the network is
//! replaced. A backtrace says which function sent a request; the source says which functions do. A call without a scenario
//! is the difference.
//! `tests/contract` checks the recorded requests against AWS's own models, and the roles against the requests.
//!
//! `UPDATE_GOLDENS=1` (`tests/run --update unit`) accepts the requests as they are now.

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

use self::network::{Mode, Network, Response, Sent};
use self::scenarios::{Scenario, scenarios};
use self::sites::Function;
use crate::config::configured;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/wire")
}

/// The functions' configuration of the clients, with another network.
fn config(network: &Network, region: &str) -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    configured(credentials, region.to_owned(), None).into_builder().http_client(network.clone()).build()
}

/// The requests of a scenario, in the form of its golden file.
async fn recorded(scenario: &Scenario, functions: &[Function]) -> Value {
    let network = Network::new(Mode::Responses(scenario.responses.clone().into()));
    let link = (scenario.run)(config(&network, "eu-west-1")).await;
    let link = link.unwrap_or_else(|error| panic!("{}: {error:?}", scenario.name));
    assert_eq!(network.responses_left(), 0, "{}: unused responses", scenario.name);
    let requests: Vec<Value> = network.take_sent().into_iter().map(|sent| request(sent, functions).into()).collect();
    let mut recorded = Map::from_iter([("requests".to_owned(), requests.into())]);
    if let Some(step) = &scenario.step {
        recorded.insert("step".to_owned(), json!(step));
    }
    if let Some(link) = link {
        recorded.insert("link".to_owned(), json!(link));
    }
    sorted(recorded.into())
}

/// A request with the function that sent it, its operation, and the port that was called.
fn request(sent: Sent, functions: &[Function]) -> Map<String, Value> {
    let from: Vec<&Function> = sent.from.iter().filter_map(|(file, line)| sites::at(functions, file, *line)).collect();
    let site = from.first().expect("debug information, which names files and lines");
    let [operation] = &*site.operations else { panic!("{}: a function makes one call", site.name) };
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

/// The value with the members of every object in order, whatever features `serde_json` has.
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

/// Compares files with those of `golden/wire`, or writes them there.
fn hold(files: &BTreeMap<String, Value>, is_mine: impl Fn(&str) -> bool) {
    let folder = golden();
    let stored = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let stored: BTreeSet<String> = stored.filter(|name| is_mine(name)).collect();
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
        "differs from the recorded requests; `tests/run --update unit` accepts it:\n{differences}"
    );
}

#[expect(clippy::disallowed_methods, reason = "a flag of the tests, not a setting of a function")]
fn is_update() -> bool {
    std::env::var("UPDATE_GOLDENS").is_ok_and(|value| value == "1")
}

/// The lines of two texts between their common first and last lines.
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
async fn every_call_site_sends_what_is_recorded() {
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
    assert_eq!(sites, calling, "left: functions that a scenario records; right: functions that call AWS");
    hold(&files, |name| name != TIME_OUTS);
}

#[test]
fn every_step_of_the_life_cycle_is_recorded() {
    let lifecycle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/src/lifecycle.rs");
    let recorded: BTreeSet<String> = scenarios().into_iter().filter_map(|scenario| scenario.step).collect();
    assert_eq!(recorded, sites::steps(&lifecycle).into_iter().collect());
}

/// How long the first call of a scenario waits for a response, and how many attempts it makes when each one fails.
async fn patience(scenario: &Scenario, region: &str) -> Value {
    let silent = Network::new(Mode::Silence);
    let began = Instant::now();
    (scenario.run)(config(&silent, region)).await.expect_err("there is no response");
    let gave_up = began.elapsed();
    let failing = Network::new(Mode::Always(Response::new(500, "")));
    // Another region: the SDK counts the retries of a service by region, and stops when a quota is used up.
    (scenario.run)(config(&failing, &format!("{region}-failing"))).await.expect_err("every response is an error");
    let text = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
    let [connect, read, attempt] = silent.time_outs();
    json!({
        "connect": text(connect),
        "read": text(read),
        "attempt": text(attempt),
        "all attempts": text(Some(gave_up)),
        "attempts": failing.take_sent().len(),
    })
}

#[tokio::test(start_paused = true)]
async fn every_call_site_waits_and_retries_as_recorded() {
    let functions = sites::functions();
    let mut sites = BTreeMap::new();
    for (number, scenario) in scenarios().iter().enumerate() {
        let first = recorded(scenario, &functions).await["requests"][0].take();
        let (Some(site), Some(operation)) = (first["site"].as_str(), first["operation"].as_str()) else { continue };
        let site = format!("{site} ({operation})");
        if let Entry::Vacant(site) = sites.entry(site) {
            site.insert(patience(scenario, &format!("test-{number}")).await);
        }
    }
    let file = sorted(sites.into_iter().collect::<Map<_, _>>().into());
    hold(&BTreeMap::from([(TIME_OUTS.to_owned(), file)]), |name| name == TIME_OUTS);
}

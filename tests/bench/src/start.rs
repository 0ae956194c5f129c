//! Measures one start of a function's process: initialization, the first event, and further events.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use exports_aws::dynamodb::{ApiKeysTable, ExportsTable};
use exports_aws::system::LambdaSystem;
use exports_domain::caller::{ApiKeyRecord, Caller, ClientType, KeyHash, Person};
use exports_domain::export::{Export, State, Status};
use exports_domain::export_type::ExportType;
use exports_domain::file::ExportFile;
use exports_domain::id::ExportId;
use exports_domain::ports::{ApiKeyStore as _, ExportStore as _, System as _};
use exports_domain::totals::Totals;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::contender::{accepted, sdk_config, sqs_event};
use crate::fake::{API_KEYS_TABLE, BUCKET, Conditions, EXPORTS_TABLE, FakeAws, REGION};
use crate::process::Process;
use crate::runtime_api::RuntimeApi;
use crate::source_rows::{Filter, SourceRows, Spread, TENANT};

/// Number of finished exports in the history, which is one page of the list.
const HISTORY: u64 = 20;

/// Number of rows that generate-export reads.
const ROWS: u64 = 1000;

/// The tenant of the events.
const TENANT_OF_EVENTS: &str = "acme";

/// A start or event that takes longer hangs.
const MAX_DURATION: Duration = Duration::from_secs(60);

/// How long to wait after a poll for the process to become idle.
const SETTLING: Duration = Duration::from_millis(3);

/// An implementation of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Implementation {
    /// The product's function, as deployed.
    Function,
    /// Rust with the SDK's defaults.
    Plain,
    /// Node.js with the AWS SDK for JavaScript.
    Node,
    /// Python with boto3.
    Python,
}

impl Implementation {
    /// All implementations.
    pub const ALL: [Self; 4] = [Self::Function, Self::Plain, Self::Node, Self::Python];

    /// The name in reports.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Plain => "plain Rust",
            Self::Node => "Node.js 20",
            Self::Python => "Python",
        }
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}

/// A measured function.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its crate's name.
    pub name: &'static str,
    /// Its event's path in `events`; `None` for a job message.
    event: Option<&'static str>,
    /// Its name in the peers, if they implement it.
    pub peer: Option<&'static str>,
    /// Whether it is an HTTP route, for which warm requests are measured.
    pub is_route: bool,
    /// Text that a correct response contains.
    response: &'static str,
}

/// All functions.
pub const SUBJECTS: [Subject; 12] = [
    route("create-export", "create-export/with-cc.json", Some("create"), r#""statusCode":202"#),
    route("list-exports", "list-exports/newest.json", Some("history"), r#"\"content\":"#),
    route("get-export", "get-export/export.json", Some("detail"), r#"\"downloadUrl\":"#),
    route("resend-email", "resend-email/with-cc.json", None, r#""statusCode":200"#),
    route("cancel-export", "cancel-export/cancel.json", None, r#""statusCode":200"#),
    route("get-caller", "get-caller/caller.json", None, r#""statusCode":200"#),
    route("describe-api", "describe-api/document.json", None, r#""statusCode":200"#),
    route("back-office", "back-office/page.json", None, r#""statusCode":200"#),
    worker("generate-export", None, r#""batchItemFailures":[]"#),
    worker("sweep-exports", Some("sweep-exports/every-minute.json"), r#""errors":0"#),
    worker("manage-api-keys", Some("manage-api-keys/list.json"), "operator@example.com"),
    worker("fail-export", Some("fail-export/fail.json"), "FAILED"),
];

/// Python's create-export, started in each turn of a route, is the unit of CPU time in which costs are calculated.
pub const REFERENCE: (&Subject, Implementation) = (&SUBJECTS[0], Implementation::Python);

const fn route(name: &'static str, event: &'static str, peer: Option<&'static str>, response: &'static str) -> Subject {
    Subject { name, event: Some(event), peer, is_route: true, response }
}

const fn worker(name: &'static str, event: Option<&'static str>, response: &'static str) -> Subject {
    Subject { name, event, peer: None, is_route: false, response }
}

/// The measurements of one start.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartSample {
    /// CPU time from process start to the first poll.
    pub init_cpu_ms: f64,
    /// CPU time of the first event.
    pub first_cpu_ms: f64,
    /// Wall time from process start to the first response.
    pub first_wall_ms: f64,
    /// Measurements of further events, if there were any.
    pub warm: Option<WarmSample>,
}

impl StartSample {
    /// CPU time of initialization and the first event.
    #[must_use]
    pub fn start_cpu_ms(&self) -> f64 {
        self.init_cpu_ms + self.first_cpu_ms
    }
}

/// The starts of a function's implementations, which took turns.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// The starts of each implementation, in the order of the turns.
    pub starts: BTreeMap<Implementation, Vec<StartSample>>,
    /// The starts of the [`REFERENCE`], if there were any.
    pub references: Vec<StartSample>,
}

/// The measurements of the events after the first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmSample {
    /// Mean CPU time per event.
    pub cpu_ms: f64,
    /// Mean number of AWS calls per event, by operation.
    pub calls: BTreeMap<String, f64>,
    /// Resident memory after a tenth of the events.
    pub early_kib: u64,
    /// Resident memory after all events.
    pub resident_kib: u64,
}

/// Paths of the start benchmark.
#[derive(Clone, Debug)]
pub struct StartBench {
    /// The project's root.
    pub root: PathBuf,
    /// The folder of the functions' binaries.
    pub binaries: PathBuf,
    /// The binary of the plain Rust peer.
    pub plain: PathBuf,
    /// The folder of the Node.js peer, with its packages.
    pub node: PathBuf,
    /// The folder of the Python peer.
    pub python: PathBuf,
    /// The folder for logs and temporary files.
    pub scratch: PathBuf,
}

impl StartBench {
    /// Starts an implementation of `subject` and sends it `1 + warm` events.
    ///
    /// # Errors
    /// If it does not start, or a response is wrong.
    pub fn start(&self, subject: &Subject, implementation: Implementation, warm: u32) -> Result<StartSample, Error> {
        let rows = SourceRows::new(ExportType::MarketplacePayouts, Filter::Off, ROWS, Spread::Even)?;
        let fake = FakeAws::start_with_tls(rows, Conditions::default())?;
        let event = self.event(subject, &fake)?;
        let api = fake.block_on(RuntimeApi::start())??;
        let mut command = self.command(subject, implementation, &fake, &api)?;
        let log = self.scratch.join(format!("{}-{implementation:?}.log", subject.name));
        let mut process = Process::start(subject.name, &mut command, &log)?;
        let mut function = RunningFunction { fake: &fake, api: &api, process: &mut process, subject, event: &event };
        function.process.wait_for(&api.polls, MAX_DURATION)?;
        let init = function.cpu()?;
        function.invoke()?;
        let first_wall = function.process.age();
        let first = function.cpu()?.saturating_sub(init);
        let warm = if warm > 0 { Some(function.invoke_warm(warm)?) } else { None };
        process.finish()?;
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        Ok(StartSample {
            init_cpu_ms: millis(init),
            first_cpu_ms: millis(first),
            first_wall_ms: millis(first_wall),
            warm,
        })
    }

    /// The size of the binary in bytes; `None` for scripts.
    ///
    /// # Errors
    /// If the binary does not exist.
    pub fn binary_bytes(&self, subject: &Subject, implementation: Implementation) -> Result<Option<u64>, Error> {
        let binary = match implementation {
            Implementation::Function => self.binaries.join(subject.name),
            Implementation::Plain => self.plain.clone(),
            Implementation::Node | Implementation::Python => return Ok(None),
        };
        Ok(Some(fs::metadata(binary)?.len()))
    }

    /// The event for `subject`. Writes the records that it refers to.
    fn event(&self, subject: &Subject, fake: &FakeAws) -> Result<String, Error> {
        let Some(file) = subject.event else {
            let export = accepted(TENANT, ExportId::new(ExportType::MarketplacePayouts, LambdaSystem.now(), &[7; 10]))?;
            fake.block_on(write(fake, std::slice::from_ref(&export)))??;
            let job = json!({ "version": 1, "tenantId": TENANT, "exportId": export.id.to_string() });
            return Ok(sqs_event(&job.to_string(), 0));
        };
        let text = fs::read_to_string(self.root.join("events").join(file))?;
        let event: Value = serde_json::from_str(&text)?;
        if let Some(key) = event.pointer("/headers/dj-api-key").and_then(Value::as_str) {
            fake.block_on(issue(fake, key))??;
        } else {
            fake.block_on(issue(fake, "unused key"))??;
        }
        let mut history = Vec::new();
        for number in 0..HISTORY {
            let moment = LambdaSystem.now().minus(Duration::from_secs(3600 * (number + 1)));
            history.push(ready(ExportId::new(ExportType::MarketplacePayouts, moment, &[7; 10]))?);
        }
        let named = event.pointer("/pathParameters/exportId").or_else(|| event.get("exportId"));
        if let Some(id) = named.and_then(Value::as_str) {
            let id = id.parse()?;
            // The first request cancels it; warm requests find it cancelled.
            let is_pending = !subject.is_route || subject.name == "cancel-export";
            history.push(if is_pending { accepted(TENANT_OF_EVENTS, id)? } else { ready(id)? });
        }
        for file in history.iter().filter_map(|export| export.file()) {
            fake.put_file(&file.key);
        }
        fake.block_on(write(fake, &history))??;
        Ok(event.to_string())
    }

    fn command(
        &self,
        subject: &Subject,
        implementation: Implementation,
        fake: &FakeAws,
        api: &RuntimeApi,
    ) -> Result<Command, Error> {
        let peer = subject.peer.unwrap_or_default();
        let mut command = match implementation {
            Implementation::Function => Command::new(self.binaries.join(subject.name)),
            Implementation::Plain => Command::new(&self.plain),
            Implementation::Node => {
                let mut command = Command::new("node");
                command.arg("runtime.mjs").current_dir(&self.node);
                command
            }
            Implementation::Python => {
                let mut command = Command::new(self.python.join("venv/bin/python"));
                command.args(["-m", "awslambdaric", &format!("routes.{peer}")]).current_dir(&self.python);
                command
            }
        };
        let ca_certificates = self.scratch.join("ca-certificates.pem");
        fs::write(
            &ca_certificates,
            format!("{}{}", system_ca_certificates(), fake.ca_certificate().unwrap_or_default()),
        )?;
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for variable in ["SSL_CERT_FILE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
            command.env(variable, &ca_certificates);
        }
        command.envs(fake.endpoints().iter().map(|(name, url)| (name, url)));
        command.env("AWS_REGION", REGION).env("AWS_DEFAULT_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
        command.env("AWS_SESSION_TOKEN", "example").env("_HANDLER", format!("routes.{peer}"));
        command.env("AWS_LAMBDA_RUNTIME_API", api.address()).env("AWS_LAMBDA_FUNCTION_NAME", subject.name);
        command.env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST").env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
        command.env("API_KEYS_TABLE", API_KEYS_TABLE).env("EXPORTS_TABLE", EXPORTS_TABLE);
        for export_type in ExportType::ALL {
            command.env(export_type.definition().table_setting, export_type.slug());
        }
        command.env("EXPORTS_BUCKET", BUCKET);
        let queues = fake.endpoints().iter().find(|(name, _)| name.ends_with("_SQS")).ok_or("SQS has no endpoint")?;
        command.env("JOBS_QUEUE_URL", format!("{}/123456789012/jobs", queues.1));
        command.env("LINK_SIGNER_SECRET", "link-signer").env("SENDER", "exports@example.com");
        command.env("LINK_LIFETIME", "72h").env("FILE_RETENTION", "720h").env("EXPORT_DEADLINE", "6h");
        command.env("HISTORY_RETENTION", "0s").env("BYTE_ORDER_MARK", "false");
        command.env("MAX_RESENDS_A_DAY", "1000000");
        Ok(command)
    }
}

/// A running process, and the event to send to it.
struct RunningFunction<'a> {
    fake: &'a FakeAws,
    api: &'a RuntimeApi,
    process: &'a mut Process,
    subject: &'a Subject,
    event: &'a str,
}

impl RunningFunction<'_> {
    fn cpu(&self) -> Result<Duration, Error> {
        thread::sleep(SETTLING);
        self.process.cpu()
    }

    /// Sends the event, checks the response, and waits for the next poll.
    fn invoke(&mut self) -> Result<(), Error> {
        self.api.invoke(self.event.to_owned(), MAX_DURATION)?;
        let response = self.process.wait_for(&self.api.outcomes, MAX_DURATION)?;
        let response = response.map_err(|error| self.process.failure(&format!("returned an error: {error}")))?;
        let response = String::from_utf8_lossy(&response).replace("\": ", "\":");
        if !response.contains(self.subject.response) {
            return Err(self.process.failure(&format!("returned an unexpected response: {response}")));
        }
        self.process.wait_for(&self.api.polls, MAX_DURATION)
    }

    fn invoke_warm(&mut self, times: u32) -> Result<WarmSample, Error> {
        let calls_before = self.fake.calls();
        let before = self.cpu()?;
        let mut early_kib = 0;
        for time in 1..=times {
            if self.subject.name == "create-export" {
                self.fake.block_on(unlock(self.fake))??;
            }
            self.invoke()?;
            if time == times.div_ceil(10) {
                early_kib = self.process.resident_kib()?;
            }
        }
        let cpu_ms = self.cpu()?.saturating_sub(before).as_secs_f64() * 1000.0 / f64::from(times);
        let calls = self.fake.calls().into_iter().filter_map(|(operation, after)| {
            let new = after - calls_before.get(&operation).copied().unwrap_or(0);
            (new > 0).then(|| (operation, new as f64 / f64::from(times)))
        });
        Ok(WarmSample { cpu_ms, calls: calls.collect(), early_kib, resident_kib: self.process.resident_kib()? })
    }
}

/// The system CA certificates of Debian or Amazon Linux. Every start reads them, so the benchmark includes them.
fn system_ca_certificates() -> String {
    let paths = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    paths.iter().find_map(|path| fs::read_to_string(Path::new(path)).ok()).unwrap_or_default()
}

async fn issue(fake: &FakeAws, key: &str) -> Result<(), Error> {
    let keys = ApiKeysTable::new(&sdk_config(fake.exports_url()), API_KEYS_TABLE.to_owned());
    let user = Person { email: "operator@example.com".parse()?, name: "Operator".parse()? };
    let caller = Caller { tenant: TENANT_OF_EVENTS.parse()?, client: ClientType::Operator, user };
    let hash = KeyHash::from_digest(Sha256::digest(key).into());
    keys.store_api_key(&ApiKeyRecord::new(hash, caller, LambdaSystem.now())).await?;
    Ok(())
}

/// Writes the records. Only a PENDING export keeps its lock.
async fn write(fake: &FakeAws, exports: &[Export]) -> Result<(), Error> {
    let table = ExportsTable::new(&sdk_config(fake.exports_url()), EXPORTS_TABLE.to_owned());
    for export in exports {
        table.accept_export(export, None).await?;
        if export.status() != Status::Pending {
            unlock(fake).await?;
        }
    }
    Ok(())
}

/// Deletes the lock of the events' tenant, as if its export had ended.
async fn unlock(fake: &FakeAws) -> Result<(), Error> {
    let client = aws_sdk_dynamodb::Client::new(&sdk_config(fake.exports_url()));
    client
        .delete_item()
        .table_name(EXPORTS_TABLE)
        .key("tenantId", AttributeValue::S(TENANT_OF_EVENTS.to_owned()))
        .key("sk", AttributeValue::S(format!("LOCK#{}", ExportType::MarketplacePayouts.slug())))
        .send()
        .await?;
    Ok(())
}

fn ready(id: ExportId) -> Result<Export, Error> {
    let mut export = accepted(TENANT_OF_EVENTS, id)?;
    let later = LambdaSystem.now().plus(Duration::from_secs(86_400));
    export.rows_written = ROWS;
    let file = ExportFile {
        key: format!("exports/{}/{}/1.csv", export.tenant, export.id),
        name: "marketplace-payouts.csv".to_owned(),
        rows: ROWS,
        bytes: 230_000,
        sha256: "0".repeat(64),
        totals: Totals::default(),
        read: None,
        expires_at: later,
    };
    export.state = State::Ready { file, link_expires_at: later };
    Ok(export)
}

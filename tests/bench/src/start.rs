//! One start of a function's process: what it costs to be there, to response its first request, and every further one.

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
use exports_domain::export::{Export, Status};
use exports_domain::file::{ExportFile, Totals};
use exports_domain::id::{ExportId, ExportType};
use exports_domain::ports::{ApiKeyStore as _, ExportStore as _, System as _};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::contender::{accepted, sdk_config, sqs_event};
use crate::fake::{API_KEYS_TABLE, BUCKET, Conditions, EXPORTS_TABLE, Fake, PAYOUTS_TABLE, REGION};
use crate::payouts::{Payouts, Spread, TENANT};
use crate::process::Process;
use crate::runtime_api::RuntimeApi;

/// How many finished exports the history has: a page of them is what a call for the list gets.
const HISTORY: u64 = 20;

/// How many payouts generate-export finds.
const PAYOUTS: u64 = 1000;

/// The tenant of the events.
const TENANT_OF_EVENTS: &str = "acme";

/// No start and no response takes longer unless it hangs.
const MAX_LENGTH: Duration = Duration::from_secs(60);

/// What the kernel still has to finish when a process has asked for its next event.
const SETTLING: Duration = Duration::from_millis(3);

/// Who responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The product's function, as it is deployed.
    Function,
    /// Rust with everything as it comes.
    Plain,
    /// Node.js with the AWS SDK for JavaScript.
    Node,
    /// Python with boto3.
    Python,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Function, Self::Plain, Self::Node, Self::Python];

    /// The name for readers.
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

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}

/// A function of the product, and how it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its name.
    pub name: &'static str,
    /// Its event, of those in `events`; none for a job's message.
    event: Option<&'static str>,
    /// What the peers call it, if they have it.
    pub peer: Option<&'static str>,
    /// Whether it is a route of the API: it is asked again and again.
    pub is_route: bool,
    /// What its response has in it if all is right.
    response: &'static str,
}

/// Every function.
pub const SUBJECTS: [Subject; 11] = [
    route("create-export", "create-export/with-cc.json", Some("create"), r#""statusCode":202"#),
    route("list-exports", "list-exports/newest.json", Some("history"), r#"\"content\":"#),
    route("get-export", "get-export/export.json", Some("detail"), r#"\"downloadUrl\":"#),
    route("resend-email", "resend-email/with-cc.json", None, r#""statusCode":200"#),
    route("get-caller", "get-caller/caller.json", None, r#""statusCode":200"#),
    route("describe-api", "describe-api/document.json", None, r#""statusCode":200"#),
    route("back-office", "back-office/page.json", None, r#""statusCode":200"#),
    worker("generate-export", None, r#""batchItemFailures":[]"#),
    worker("sweep-exports", Some("sweep-exports/every-minute.json"), r#""errors":0"#),
    worker("manage-api-keys", Some("manage-api-keys/list.json"), "operator@example.com"),
    worker("fail-export", Some("fail-export/fail.json"), "FAILED"),
];

const fn route(name: &'static str, event: &'static str, peer: Option<&'static str>, response: &'static str) -> Subject {
    Subject { name, event: Some(event), peer, is_route: true, response }
}

const fn worker(name: &'static str, event: Option<&'static str>, response: &'static str) -> Subject {
    Subject { name, event, peer: None, is_route: false, response }
}

/// What one start took.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// CPU from the start of the process until it asks for its first event.
    pub init_cpu_ms: f64,
    /// CPU of the first event.
    pub first_cpu_ms: f64,
    /// From the start of the process to its first response.
    pub first_wall_ms: f64,
    /// What further events took, if there were any.
    pub warm: Option<Warm>,
}

/// What events took after the first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warm {
    /// CPU of one, in the mean.
    pub cpu_ms: f64,
    /// Calls to AWS of one, in the mean, by operation.
    pub calls: BTreeMap<String, f64>,
    /// Memory that is resident after a tenth of them.
    pub early_kib: u64,
    /// Memory that is resident after all.
    pub resident_kib: u64,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The project.
    pub root: PathBuf,
    /// Where cargo puts the functions' binaries.
    pub binaries: PathBuf,
    /// The plain Rust peer.
    pub plain: PathBuf,
    /// The folder of the Node.js peer, with its packages.
    pub node: PathBuf,
    /// The folder of the Python peer.
    pub python: PathBuf,
    /// For logs and files of this run.
    pub scratch: PathBuf,
}

impl Bench {
    /// Starts `who` as `subject`, and lets it response `1 + warm` events.
    ///
    /// # Errors
    /// If it does not start, or one of its responses is not the right one.
    pub fn start(&self, subject: &Subject, who: Who, warm: u32) -> Result<Start, Error> {
        let fake = Fake::start_with_tls(Payouts::new(PAYOUTS, Spread::Even), Conditions::default())?;
        let event = self.event(subject, &fake)?;
        let api = fake.block_on(RuntimeApi::start())??;
        let mut command = self.command(subject, who, &fake, &api)?;
        let log = self.scratch.join(format!("{}-{who:?}.log", subject.name));
        let mut process = Process::start(subject.name, &mut command, &log)?;
        let mut state = State { fake: &fake, api: &api, process: &mut process, subject, event: &event };
        state.process.wait_for(&api.asked, MAX_LENGTH)?;
        let init = state.cpu()?;
        state.ask()?;
        let first_wall = state.process.age();
        let first = state.cpu()?.saturating_sub(init);
        let warm = if warm > 0 { Some(state.ask_again(warm)?) } else { None };
        process.finish()?;
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        Ok(Start { init_cpu_ms: millis(init), first_cpu_ms: millis(first), first_wall_ms: millis(first_wall), warm })
    }

    /// How many bytes `who`'s binary has.
    ///
    /// # Errors
    /// If it is not there.
    pub fn binary_bytes(&self, subject: &Subject, who: Who) -> Result<Option<u64>, Error> {
        let binary = match who {
            Who::Function => self.binaries.join(subject.name),
            Who::Plain => self.plain.clone(),
            Who::Node | Who::Python => return Ok(None),
        };
        Ok(Some(fs::metadata(binary)?.len()))
    }

    /// The event for `subject`, with what it is about in the tables.
    fn event(&self, subject: &Subject, fake: &Fake) -> Result<String, Error> {
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
            fake.block_on(issue(fake, "a key that no event has"))??;
        }
        let mut history = Vec::new();
        for number in 0..HISTORY {
            let moment = LambdaSystem.now().minus(Duration::from_secs(3600 * (number + 1)));
            history.push(ready(ExportId::new(ExportType::MarketplacePayouts, moment, &[7; 10]))?);
        }
        let named = event.pointer("/pathParameters/exportId").or_else(|| event.get("exportId"));
        if let Some(id) = named.and_then(Value::as_str) {
            let id = id.parse()?;
            history.push(if subject.is_route { ready(id)? } else { accepted(TENANT_OF_EVENTS, id)? });
        }
        for file in history.iter().filter_map(|export| export.file.as_ref()) {
            fake.put_file(&file.key);
        }
        fake.block_on(write(fake, &history))??;
        Ok(event.to_string())
    }

    fn command(&self, subject: &Subject, who: Who, fake: &Fake, api: &RuntimeApi) -> Result<Command, Error> {
        let peer = subject.peer.unwrap_or_default();
        let mut command = match who {
            Who::Function => Command::new(self.binaries.join(subject.name)),
            Who::Plain => Command::new(&self.plain),
            Who::Node => {
                let mut command = Command::new("node");
                command.arg("runtime.mjs").current_dir(&self.node);
                command
            }
            Who::Python => {
                let mut command = Command::new(self.python.join("venv/bin/python"));
                command.args(["-m", "awslambdaric", &format!("routes.{peer}")]).current_dir(&self.python);
                command
            }
        };
        let authorities = self.scratch.join("authorities.pem");
        fs::write(&authorities, format!("{}{}", system_authorities(), fake.authority().unwrap_or_default()))?;
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for variable in ["SSL_CERT_FILE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
            command.env(variable, &authorities);
        }
        command.envs(fake.endpoints().iter().map(|(name, url)| (name, url)));
        command.env("AWS_REGION", REGION).env("AWS_DEFAULT_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
        command.env("AWS_SESSION_TOKEN", "example").env("_HANDLER", format!("routes.{peer}"));
        command.env("AWS_LAMBDA_RUNTIME_API", api.address()).env("AWS_LAMBDA_FUNCTION_NAME", subject.name);
        command.env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST").env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
        command.env("API_KEYS_TABLE", API_KEYS_TABLE).env("EXPORTS_TABLE", EXPORTS_TABLE);
        command.env("PAYOUTS_TABLE", PAYOUTS_TABLE).env("EXPORTS_BUCKET", BUCKET);
        let queues = fake.endpoints().iter().find(|(name, _)| name.ends_with("_SQS")).ok_or("SQS has no endpoint")?;
        command.env("JOBS_QUEUE_URL", format!("{}/123456789012/jobs", queues.1));
        command.env("LINK_SIGNER_SECRET", "link-signer").env("SENDER", "exports@example.com");
        command.env("LINK_LIFETIME", "72h").env("FILE_RETENTION", "720h").env("EXPORT_DEADLINE", "6h");
        command.env("HISTORY_RETENTION", "0s").env("BYTE_ORDER_MARK", "false");
        command.env("MAX_RESENDS_A_DAY", "1000000");
        Ok(command)
    }
}

/// A process that is asked.
struct State<'a> {
    fake: &'a Fake,
    api: &'a RuntimeApi,
    process: &'a mut Process,
    subject: &'a Subject,
    event: &'a str,
}

impl State<'_> {
    fn cpu(&self) -> Result<Duration, Error> {
        thread::sleep(SETTLING);
        self.process.cpu()
    }

    /// Lets the process response, checks what it responses, and waits until it asks for more.
    fn ask(&mut self) -> Result<(), Error> {
        self.api.invoke(self.event.to_owned(), MAX_LENGTH)?;
        let response = self.process.wait_for(&self.api.outcomes, MAX_LENGTH)?;
        let response = response.map_err(|error| self.process.complaint(&format!("answered with an error: {error}")))?;
        let response = String::from_utf8_lossy(&response).replace("\": ", "\":");
        if !response.contains(self.subject.response) {
            return Err(self.process.complaint(&format!("answered {response}")));
        }
        self.process.wait_for(&self.api.asked, MAX_LENGTH)
    }

    fn ask_again(&mut self, times: u32) -> Result<Warm, Error> {
        let calls_before = self.fake.calls();
        let before = self.cpu()?;
        let mut early_kib = 0;
        for time in 1..=times {
            if self.subject.name == "create-export" {
                self.fake.block_on(unlock(self.fake))??;
            }
            self.ask()?;
            if time == times.div_ceil(10) {
                early_kib = self.process.resident_kib()?;
            }
        }
        let cpu_ms = self.cpu()?.saturating_sub(before).as_secs_f64() * 1000.0 / f64::from(times);
        let calls = self.fake.calls().into_iter().filter_map(|(operation, after)| {
            let new = after - calls_before.get(&operation).copied().unwrap_or(0);
            (new > 0).then(|| (operation, new as f64 / f64::from(times)))
        });
        Ok(Warm { cpu_ms, calls: calls.collect(), early_kib, resident_kib: self.process.resident_kib()? })
    }
}

/// What a system trusts, where Debian or Amazon Linux keep it: reading it is part of every start.
fn system_authorities() -> String {
    let places = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    places.iter().find_map(|place| fs::read_to_string(Path::new(place)).ok()).unwrap_or_default()
}

async fn issue(fake: &Fake, key: &str) -> Result<(), Error> {
    let keys = ApiKeysTable::new(&sdk_config(fake.exports_url()), API_KEYS_TABLE.to_owned());
    let user = Person { email: "operator@example.com".parse()?, name: "Operator".parse()? };
    let caller = Caller { tenant: TENANT_OF_EVENTS.parse()?, client: ClientType::Operator, user };
    let hash = KeyHash::from_digest(Sha256::digest(key).into());
    keys.store_api_key(&ApiKeyRecord { hash, caller, created_at: LambdaSystem.now(), revoked_at: None }).await?;
    Ok(())
}

/// Writes the records; only one that is pending keeps its lock.
async fn write(fake: &Fake, exports: &[Export]) -> Result<(), Error> {
    let table = ExportsTable::new(&sdk_config(fake.exports_url()), EXPORTS_TABLE.to_owned());
    for export in exports {
        table.accept_export(export, None).await?;
        if export.status != Status::Pending {
            unlock(fake).await?;
        }
    }
    Ok(())
}

/// Takes the lock of the events' tenant away, as the end of its export does.
async fn unlock(fake: &Fake) -> Result<(), Error> {
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
    export.status = Status::Ready;
    export.rows_written = PAYOUTS;
    export.next_check_at = Some(later);
    export.link_expires_at = Some(later);
    export.file = Some(ExportFile {
        key: format!("exports/{}/{}/1.csv", export.tenant, export.id),
        name: "marketplace-payouts.csv".to_owned(),
        rows: PAYOUTS,
        bytes: 230_000,
        sha256: "0".repeat(64),
        totals: Totals::default(),
        expires_at: later,
    });
    Ok(export)
}

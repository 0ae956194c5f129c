//! Runs one contender once and checks the file it wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_types::SdkConfig;
use aws_types::region::Region;
use exports_aws::dynamodb::ExportsTable;
use exports_aws::system::LambdaSystem;
use exports_domain::caller::{Caller, ClientType, Person};
use exports_domain::email::Recipients;
use exports_domain::export::{Export, ExportSettings, State, Status};
use exports_domain::export_type::ExportType;
use exports_domain::id::ExportId;
use exports_domain::options::ExportOptions;
use exports_domain::ports::{ExportStore as _, System as _};
use serde::Serialize;
use serde_json::json;

use crate::Error;
use crate::fake::{BUCKET, Conditions, ConsumedUnits, EXPORTS_TABLE, EnqueuedJob, FakeAws, REGION};
use crate::process::Process;
use crate::runtime_api::RuntimeApi;
use crate::source_rows::{Expected, SourceRows, TENANT};

/// A program that writes the file.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Contender {
    /// The product's function, as deployed.
    Generator,
    /// Another build of it.
    Baseline,
    /// The minimum for any program: fetches the same pages, hashes and uploads the same bytes.
    Floor,
    /// The SDK, `serde_dynamo` and `csv`, one query at a time.
    Plain,
    /// Python with boto3 and its `csv` module.
    Python,
}

impl Contender {
    /// All contenders.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name in options and file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The name in reports.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Generator => "generate-export",
            Self::Baseline => "baseline",
            Self::Floor => "floor",
            Self::Plain => "plain Rust",
            Self::Python => "Python",
        }
    }
}

/// The task of a run.
#[derive(Clone, Debug)]
pub struct Task {
    /// The rows to export.
    pub rows: SourceRows,
    /// The fake AWS's behaviour.
    pub conditions: Conditions,
    /// The share of the partition's limit that the generator may take, in percent.
    pub read_share: u64,
    /// The generator's time-out. It must continue in the next invocation before.
    pub time_limit: Duration,
    /// The expected file.
    pub expected: Expected,
    /// The path of the expected file, which the floor uploads.
    pub file: PathBuf,
}

/// The measurements of one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// From process start to the last response.
    pub wall_seconds: f64,
    /// CPU time of the process.
    pub cpu_seconds: f64,
    /// Peak resident memory.
    pub peak_kib: u64,
    /// Number of invocations; 1 for peers.
    pub invocations: u32,
    /// Number of calls by AWS operation.
    pub calls: BTreeMap<String, u64>,
    /// The units of DynamoDB consumed.
    pub consumed: ConsumedUnits,
}

/// Paths and settings of the generator benchmark.
#[derive(Clone, Debug)]
pub struct GeneratorBench {
    /// The folder of cargo's binaries.
    pub binaries: PathBuf,
    /// The binary of another build of the generator.
    pub baseline: Option<PathBuf>,
    /// The folder of the peers in Rust that use the SDK.
    pub rust_peers: PathBuf,
    /// The folder of the peers' scripts.
    pub peers: PathBuf,
    /// A Python interpreter with boto3.
    pub python: PathBuf,
    /// The folder for logs and temporary files.
    pub scratch: PathBuf,
    /// Additional settings of the generator.
    pub settings: Vec<(String, String)>,
}

/// A run that takes longer hangs.
const MAX_DURATION: Duration = Duration::from_secs(900);

impl GeneratorBench {
    /// Runs `contender` and checks its file.
    ///
    /// # Errors
    /// If the contender fails, or its file differs from the expected one.
    pub fn run(&self, contender: Contender, task: &Task) -> Result<Sample, Error> {
        let mut fake = FakeAws::start(task.rows.clone(), task.conditions)?;
        let sample = match contender {
            Contender::Generator => self.run_generator(&self.binaries.join("generate-export"), &mut fake, task)?,
            Contender::Baseline => {
                let binary = self.baseline.as_deref().ok_or("the baseline has no binary")?;
                self.run_generator(binary, &mut fake, task)?
            }
            Contender::Floor | Contender::Plain | Contender::Python => self.run_peer(contender, &fake, task)?,
        };
        let files = fake.files();
        let files: Vec<_> = files.values().collect();
        match files.as_slice() {
            [file] if file.bytes == task.expected.bytes && file.sha256 == task.expected.sha256 => Ok(sample),
            [file] => Err(format!(
                "{contender} wrote a file of {} bytes with SHA-256 {} instead of {} bytes with {}",
                file.bytes, file.sha256, task.expected.bytes, task.expected.sha256
            )
            .into()),
            files => Err(format!("{contender} wrote {} files instead of one", files.len()).into()),
        }
    }

    fn command(&self, program: &Path, fake: &FakeAws) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("AWS_ENDPOINT_URL", fake.url());
        command.env("AWS_REGION", REGION).env("AWS_DEFAULT_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
        command.env("AWS_SESSION_TOKEN", "example");
        command.env("EXPORTS_BUCKET", BUCKET);
        command.current_dir(&self.scratch);
        command
    }

    fn run_peer(&self, contender: Contender, fake: &FakeAws, task: &Task) -> Result<Sample, Error> {
        let mut command = match contender {
            Contender::Python => {
                let mut command = self.command(&self.python, fake);
                command.arg(self.peers.join("export.py"));
                command
            }
            Contender::Plain => self.command(&self.rust_peers.join("peer-plain"), fake),
            _ => self.command(&self.binaries.join("peer-floor"), fake),
        };
        let [first_key, last_key] = task.rows.period();
        command.env("TENANT_ID", TENANT).env("FIRST_KEY", first_key).env("LAST_KEY", last_key);
        command.env("OBJECT_KEY", format!("exports/{TENANT}/{contender}.csv"));
        let slug = task.rows.export_type().slug();
        command.env("EXPORT_TYPE", slug).env("TABLE", slug);
        let filter = task.rows.filter();
        command.envs(filter.statuses.first().map(|status| ("STATUS", status.name())));
        command.envs(filter.currencies.first().map(|currency| ("CURRENCY", currency.code())));
        if contender == Contender::Floor {
            command.env("CSV_FILE", &task.file);
        }
        let log = self.scratch.join(format!("{contender}.log"));
        let (mut process, lines) = Process::start_with_output(contender.as_str(), &mut command, &log)?;
        let line = process.wait_for(&lines, MAX_DURATION)?;
        let wall = process.age();
        if line != "done" {
            return Err(process.failure(&format!("printed {line:?} instead of \"done\"")));
        }
        let usage = process.finish()?;
        Ok(Sample {
            wall_seconds: wall.as_secs_f64(),
            cpu_seconds: usage.cpu.as_secs_f64(),
            peak_kib: usage.peak_kib,
            invocations: 1,
            calls: fake.calls(),
            consumed: fake.consumed(),
        })
    }

    fn run_generator(&self, binary: &Path, fake: &mut FakeAws, task: &Task) -> Result<Sample, Error> {
        let exports = ExportsTable::new(&sdk_config(fake.exports_url()), EXPORTS_TABLE.to_owned());
        let mut export = new_export(TENANT, task.rows.export_type())?;
        export.options.filter = task.rows.filter().clone();
        fake.block_on(exports.accept_export(&export, None))??;
        let api = fake.block_on(RuntimeApi::start())??;
        let mut command = self.command(binary, fake);
        for export_type in ExportType::ALL {
            command.env(export_type.definition().table_setting, export_type.slug());
        }
        command.env("AWS_LAMBDA_RUNTIME_API", api.address());
        command.env("AWS_LAMBDA_FUNCTION_NAME", "generate-export").env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", deployed_megabytes()?.to_string());
        command.env("EXPORTS_TABLE", EXPORTS_TABLE).env("SENDER", "exports@example.com");
        command.env("JOBS_QUEUE_URL", format!("{}/123456789012/jobs", fake.url()));
        command.env("LINK_SIGNER_SECRET", "link-signer");
        command.env("READ_SHARE", task.read_share.to_string());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start("generator", &mut command, &self.scratch.join("generator.log"))?;
        let mut invocations = 0;
        let body = json!({ "version": 1, "tenantId": TENANT, "exportId": export.id.to_string() }).to_string();
        let mut job = Some(EnqueuedJob { body, delay: Duration::ZERO });
        let mut wall = process.age();
        let mut done = export.clone();
        while done.status() == Status::Pending {
            let Some(EnqueuedJob { body, delay }) = job.take() else {
                return Err(process.failure("left the export PENDING and enqueued no job"));
            };
            thread::sleep(delay);
            api.invoke(sqs_event(&body, invocations), task.time_limit)?;
            invocations += 1;
            let outcome = process.wait_for(&api.outcomes, MAX_DURATION)?;
            wall = process.age();
            let outcome = outcome.map_err(|error| process.failure(&format!("returned an error: {error}")))?;
            let response: serde_json::Value = serde_json::from_slice(&outcome)?;
            if response
                .get("batchItemFailures")
                .and_then(|failures| failures.as_array())
                .is_none_or(|all| !all.is_empty())
            {
                return Err(process.failure(&format!("failed the message: {response}")));
            }
            job = fake.next_job();
            done = fake.block_on(exports.find_export(&export.tenant, &export.id))??.ok_or("the export is gone")?;
        }
        let (calls, consumed) = (fake.calls(), fake.consumed());
        let State::Ready { file, .. } = &done.state else {
            let why = done.failure().map(|failure| failure.message.as_str()).unwrap_or_default();
            return Err(process.failure(&format!("left the export {}: {why}", done.status())));
        };
        let Expected { bytes, sha256, rows, totals, rows_read: _ } = &task.expected;
        if (&file.rows, &file.bytes, &file.sha256, &file.totals) != (rows, bytes, sha256, totals) {
            return Err(process.failure(&format!("recorded an unexpected file: {file:?}")));
        }
        let usage = process.finish()?;
        Ok(Sample {
            wall_seconds: wall.as_secs_f64(),
            cpu_seconds: usage.cpu.as_secs_f64(),
            peak_kib: usage.peak_kib,
            invocations,
            calls,
            consumed,
        })
    }
}

/// The benchmark's own SDK configuration.
#[must_use]
pub fn sdk_config(endpoint_url: String) -> SdkConfig {
    let credentials = Credentials::new("AKIAEXAMPLE", "example", None, None, "benchmark");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint_url)
        .http_client(HttpClientBuilder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https())
        .build()
}

/// A new export of this tenant and type.
///
/// # Errors
/// If there are no random bytes, or the tenant ID is invalid.
pub fn new_export(tenant: &str, export_type: ExportType) -> Result<Export, Error> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| format!("no random bytes: {error}"))?;
    accepted(tenant, ExportId::new(export_type, LambdaSystem.now(), &random))
}

/// A PENDING export with this ID.
///
/// # Errors
/// If the tenant ID is invalid.
pub fn accepted(tenant: &str, id: ExportId) -> Result<Export, Error> {
    let user = Person { email: "operator@example.com".parse()?, name: "Operator".parse()? };
    let recipients = Recipients::new(user.email.clone(), [])?;
    let caller = Caller { tenant: tenant.parse()?, client: ClientType::Operator, user };
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let settings = ExportSettings::new(hours(72), hours(30 * 24), hours(6), false);
    Ok(Export::accept(id, &caller, recipients, ExportOptions::default(), settings, Duration::from_secs(60)))
}

/// Lambda's event for a message of the jobs queue.
#[must_use]
pub fn sqs_event(body: &str, number: u32) -> String {
    let event = json!({ "Records": [{
        "messageId": format!("message-{number}"),
        "receiptHandle": "receipt",
        "body": body,
        "attributes": {},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:jobs",
        "awsRegion": REGION,
    }] });
    event.to_string()
}

/// The generator's memory size in the template.
pub(crate) fn deployed_megabytes() -> Result<f64, Error> {
    const TEMPLATE: &str = include_str!("../../../template.yaml");
    let generator = TEMPLATE.split_once("  GenerateExportFunction:\n").map(|(_, rest)| rest);
    let size = generator.and_then(|text| text.split_once("MemorySize: ")?.1.split_ascii_whitespace().next());
    Ok(size.ok_or("the template has no memory size of the generator")?.parse()?)
}

//! A plain Rust implementation, as an engineer who knows the SDK would write it: sequential queries, `serde_dynamo` for
//! items, `csv` for rows, sequential uploads. It writes the same columns and row format, but validates no values and
//! has no leases, checkpoints or e-mails.

use std::error::Error;
use std::io::{Read as _, Write as _};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use serde::Deserialize;
use sha2::{Digest, Sha256};

const PART_SIZE: usize = 8 * 1024 * 1024;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payout {
    payout_id: String,
    reference: String,
    status: String,
    amount_minor: i64,
    currency: String,
    period_start: String,
    period_end: String,
    order_count: u64,
    balance_account: String,
    psp_reference: Option<String>,
    failure_reason: Option<String>,
    created_at: String,
    executed_at: Option<String>,
    settled_at: Option<String>,
    updated_at: String,
}

const HEADER: [&str; 15] = [
    "payout_id",
    "reference",
    "status",
    "amount",
    "currency",
    "period_start",
    "period_end",
    "order_count",
    "balance_account",
    "psp_reference",
    "failure_reason",
    "created_at",
    "executed_at",
    "settled_at",
    "updated_at",
];

struct File {
    client: aws_sdk_s3::Client,
    bucket: String,
    key: String,
    upload_id: String,
    hash: Sha256,
    parts: Vec<CompletedPart>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let config = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let (table, tenant, as_of) = (setting("PAYOUTS_TABLE")?, setting("TENANT_ID")?, setting("AS_OF")?);
    let mut file = File::create(aws_sdk_s3::Client::new(&config)).await?;
    let mut csv = new_writer();
    csv.write_record(HEADER)?;

    let mut start = None;
    loop {
        let page = dynamodb
            .query()
            .table_name(&table)
            .consistent_read(true)
            .key_condition_expression("#tenantId = :tenant AND #sk <= :end")
            .expression_attribute_names("#tenantId", "tenantId")
            .expression_attribute_names("#sk", "sk")
            .expression_attribute_values(":tenant", AttributeValue::S(tenant.clone()))
            .expression_attribute_values(":end", AttributeValue::S(as_of.clone()))
            .set_exclusive_start_key(start)
            .send()
            .await?;
        let payouts: Vec<Payout> = serde_dynamo::from_items(page.items.unwrap_or_default())?;
        for payout in &payouts {
            write_payout(&mut csv, payout)?;
        }
        csv.flush()?;
        if csv.get_ref().len() >= PART_SIZE {
            let full = std::mem::replace(&mut csv, new_writer());
            file.upload(full.into_inner()?).await?;
        }
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    file.upload(csv.into_inner()?).await?;
    let sha256 = file.complete().await?;
    std::hint::black_box(sha256);
    let mut output = std::io::stdout();
    writeln!(output, "done")?;
    output.flush()?;
    // The benchmark reads the resource usage of this process, then kills it.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn setting(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

fn new_writer() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().delimiter(b';').terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new())
}

fn write_payout(csv: &mut csv::Writer<Vec<u8>>, payout: &Payout) -> Result<()> {
    let text = |text: &str| if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    let optional = |value: &Option<String>| value.as_deref().map(text).unwrap_or_default();
    let time = |time: &str| format!("{}Z", time.get(..19).unwrap_or(time));
    let optional_time = |value: &Option<String>| value.as_deref().map(time).unwrap_or_default();
    csv.write_record([
        text(&payout.payout_id),
        text(&payout.reference),
        payout.status.clone(),
        amount(payout.amount_minor, &payout.currency),
        payout.currency.clone(),
        time(&payout.period_start),
        time(&payout.period_end),
        payout.order_count.to_string(),
        text(&payout.balance_account),
        optional(&payout.psp_reference),
        optional(&payout.failure_reason),
        time(&payout.created_at),
        optional_time(&payout.executed_at),
        optional_time(&payout.settled_at),
        time(&payout.updated_at),
    ])?;
    Ok(())
}

fn amount(minor: i64, currency: &str) -> String {
    let exponent: u32 = match currency {
        "JPY" => 0,
        "KWD" => 3,
        _ => 2,
    };
    if exponent == 0 {
        return minor.to_string();
    }
    let unit = 10_u64.pow(exponent);
    let (sign, minor) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    format!("{sign}{}.{:0width$}", minor / unit, minor % unit, width = exponent as usize)
}

impl File {
    async fn create(client: aws_sdk_s3::Client) -> Result<Self> {
        let (bucket, key) = (setting("EXPORTS_BUCKET")?, setting("OBJECT_KEY")?);
        let created =
            client.create_multipart_upload().bucket(&bucket).key(&key).content_type("text/csv").send().await?;
        let upload_id = created.upload_id.ok_or("no upload id")?;
        Ok(Self { client, bucket, key, upload_id, hash: Sha256::new(), parts: Vec::new() })
    }

    async fn upload(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.hash.update(&bytes);
        let number = i32::try_from(self.parts.len())? + 1;
        let part = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.upload_id)
            .part_number(number)
            .body(ByteStream::from(bytes))
            .send()
            .await?;
        self.parts.push(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
        Ok(())
    }

    async fn complete(self) -> Result<Vec<u8>> {
        self.client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(self.parts)).build())
            .send()
            .await?;
        Ok(self.hash.finalize().to_vec())
    }
}

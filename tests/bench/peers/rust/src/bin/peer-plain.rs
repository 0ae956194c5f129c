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
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

const PART_SIZE: usize = 8 * 1024 * 1024;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A row of a source table.
trait Row: DeserializeOwned {
    const HEADER: &'static [&'static str];

    fn status(&self) -> &str;
    fn currency(&self) -> &str;
    fn write(&self, csv: &mut csv::Writer<Vec<u8>>) -> csv::Result<()>;
}

/// Defines the type of a row: a column and its kind, a line. The attribute is the column in camel case, unless named.
macro_rules! row {
    ($name:ident { $($column:ident $(= $attribute:literal)?: $kind:ty,)* }) => {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct $name {
            $($(#[serde(rename = $attribute)])? $column: $kind,)*
        }

        impl Row for $name {
            const HEADER: &'static [&'static str] = &[$(stringify!($column)),*];

            fn status(&self) -> &str {
                &self.status.0
            }

            fn currency(&self) -> &str {
                &self.currency.0
            }

            fn write(&self, csv: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
                csv.write_record([$(self.$column.cell(&self.currency.0)),*])
            }
        }
    };
}

row!(MarketplacePayout {
    payout_id: Text,
    reference: Text,
    status: Code,
    amount = "amountMinor": Amount,
    currency: Code,
    period_start: Time,
    period_end: Time,
    order_count: u64,
    balance_account: Text,
    psp_reference: Option<Text>,
    failure_reason: Option<Text>,
    created_at: Time,
    executed_at: Option<Time>,
    settled_at: Option<Time>,
    updated_at: Time,
});

row!(SupplierPayout {
    payout_id = "supplierPayoutId": Text,
    reference: Text,
    status: Code,
    supplier_id: Text,
    supplier_name: Option<Text>,
    amount = "amountMinor": Amount,
    captured_amount = "capturedAmountMinor": Amount,
    commission_amount = "commissionAmountMinor": Amount,
    platform_fee_amount = "platformFeeAmountMinor": Amount,
    interchange_fee_amount = "interchangeFeeAmountMinor": Amount,
    refunded_amount = "refundedAmountMinor": Amount,
    currency: Code,
    period_start: Time,
    period_end: Time,
    order_count: u64,
    balance_account: Text,
    psp_reference: Option<Text>,
    failure_reason: Option<Text>,
    created_at: Time,
    executed_at: Option<Time>,
    settled_at: Option<Time>,
    updated_at: Time,
});

row!(FundingTransfer {
    transfer_id: Text,
    reference: Text,
    status: Code,
    amount = "amountMinor": Amount,
    currency: Code,
    source_balance_account: Text,
    source_balance_account_type: Code,
    source_supplier_id: Option<Text>,
    target_balance_account: Text,
    target_balance_account_type: Code,
    target_supplier_id: Option<Text>,
    related_entity_type: Code,
    related_entity_id: Text,
    psp_reference: Option<Text>,
    failure_reason: Option<Text>,
    created_at: Time,
    completed_at: Option<Time>,
    updated_at: Time,
});

#[derive(Deserialize)]
struct Text(String);

/// Text that needs no guard.
#[derive(Deserialize)]
struct Code(String);

#[derive(Deserialize)]
struct Time(String);

/// In minor units.
#[derive(Deserialize)]
struct Amount(i64);

trait Cell {
    fn cell(&self, currency: &str) -> String;
}

impl Cell for Text {
    fn cell(&self, _: &str) -> String {
        if self.0.starts_with(['=', '+', '-', '@']) { format!("'{}", self.0) } else { self.0.clone() }
    }
}

impl Cell for Code {
    fn cell(&self, _: &str) -> String {
        self.0.clone()
    }
}

impl Cell for Time {
    fn cell(&self, _: &str) -> String {
        format!("{}Z", self.0.get(..19).unwrap_or(&self.0))
    }
}

impl Cell for u64 {
    fn cell(&self, _: &str) -> String {
        self.to_string()
    }
}

impl Cell for Amount {
    fn cell(&self, currency: &str) -> String {
        let exponent: u32 = match currency {
            "JPY" => 0,
            "KWD" => 3,
            _ => 2,
        };
        if exponent == 0 {
            return self.0.to_string();
        }
        let unit = 10_u64.pow(exponent);
        let (sign, minor) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        format!("{sign}{}.{:0width$}", minor / unit, minor % unit, width = exponent as usize)
    }
}

impl<T: Cell> Cell for Option<T> {
    fn cell(&self, currency: &str) -> String {
        self.as_ref().map(|value| value.cell(currency)).unwrap_or_default()
    }
}

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
    match setting("EXPORT_TYPE")?.as_str() {
        "marketplace-payouts" => export::<MarketplacePayout>().await?,
        "supplier-payouts" => export::<SupplierPayout>().await?,
        "funding-transfers" => export::<FundingTransfer>().await?,
        other => return Err(format!("unknown export type {other}").into()),
    }
    let mut output = std::io::stdout();
    writeln!(output, "done")?;
    output.flush()?;
    // The benchmark reads the resource usage of this process, then kills it.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn export<R: Row>() -> Result<()> {
    let config = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let (table, tenant) = (setting("TABLE")?, setting("TENANT_ID")?);
    let (first, last) = (setting("FIRST_KEY")?, setting("LAST_KEY")?);
    let (status, currency) = (setting("STATUS").ok(), setting("CURRENCY").ok());
    let mut file = File::create(aws_sdk_s3::Client::new(&config)).await?;
    let mut csv = new_writer();
    csv.write_record(R::HEADER)?;

    let mut start = None;
    loop {
        let page = dynamodb
            .query()
            .table_name(&table)
            .consistent_read(true)
            .key_condition_expression("#tenantId = :tenant AND #sk BETWEEN :first AND :last")
            .expression_attribute_names("#tenantId", "tenantId")
            .expression_attribute_names("#sk", "sk")
            .expression_attribute_values(":tenant", AttributeValue::S(tenant.clone()))
            .expression_attribute_values(":first", AttributeValue::S(first.clone()))
            .expression_attribute_values(":last", AttributeValue::S(last.clone()))
            .set_exclusive_start_key(start)
            .send()
            .await?;
        let rows: Vec<R> = serde_dynamo::from_items(page.items.unwrap_or_default())?;
        for row in &rows {
            if status.as_deref().is_none_or(|status| row.status() == status)
                && currency.as_deref().is_none_or(|currency| row.currency() == currency)
            {
                row.write(&mut csv)?;
            }
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
    Ok(())
}

fn setting(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

fn new_writer() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().delimiter(b';').terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new())
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

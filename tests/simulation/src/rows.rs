//! The rows of the source tables, their changes over time, and an independent writer of the files that they make.
//!
//! The writer shares nothing with the product's encoder but the values: its headers are those of the README, and its
//! rules follow from the names of the columns.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use exports_domain::error::DependencyError;
use exports_domain::export_type::ExportType;
use exports_domain::options::FileFormat;
use exports_domain::ports::{KeyRange, RowKey, RowPage};
use exports_domain::row::Value;
use exports_domain::row_encoder::RowEncoder;
use exports_domain::row_selection::RowSelection;
use exports_domain::testing::{Row, row, sort_key, start};
use exports_domain::time::Timestamp;

use crate::world::time;

/// How many rows each table can have.
pub(crate) const ROWS: usize = 16;

/// How many of them are created before the history starts.
pub(crate) const OLD_ROWS: usize = 12;

/// How many versions a row can have. The last one is invalid.
pub(crate) const VERSIONS: usize = 3;

const HEADERS: [&str; 3] = [
    "payout_id;reference;status;amount;currency;period_start;period_end;order_count;balance_account;psp_reference;\
     failure_reason;created_at;executed_at;settled_at;updated_at",
    "payout_id;reference;status;supplier_id;supplier_name;amount;captured_amount;commission_amount;platform_fee_amount;\
     interchange_fee_amount;refunded_amount;currency;period_start;period_end;order_count;balance_account;psp_reference;\
     failure_reason;created_at;executed_at;settled_at;updated_at",
    "transfer_id;reference;status;amount;currency;source_balance_account;source_balance_account_type;source_supplier_id;\
     target_balance_account;target_balance_account_type;target_supplier_id;related_entity_type;related_entity_id;\
     psp_reference;failure_reason;created_at;completed_at;updated_at",
];

/// The columns of the files of a type.
pub(crate) fn headers(export_type: ExportType) -> impl Iterator<Item = &'static str> {
    HEADERS[index_of(export_type)].split(';')
}

/// Separates the cells of a sheet that is written as text.
pub(crate) const SEPARATOR: &str = "\u{1f}";

/// The minor units of the currencies of the samples. Any other currency is invalid.
pub(crate) const EXPONENTS: [(&str, usize); 3] = [("EUR", 2), ("JPY", 0), ("KWD", 3)];

/// A row that the table can have.
pub(crate) struct SampleRow {
    pub key: String,
    pub created_at: Timestamp,
    pub versions: [Version; VERSIONS],
}

/// A version of a row.
pub(crate) struct Version {
    pub row: Row,
    /// Its line in a file of each format, or none if the row is invalid.
    lines: Option<[String; 2]>,
    cells: BTreeMap<&'static str, String>,
}

pub(crate) static SAMPLES: LazyLock<[Vec<SampleRow>; 3]> =
    LazyLock::new(|| ExportType::ALL.map(|export_type| (0..ROWS).map(|number| sample(export_type, number)).collect()));

/// The index of a type in lists of all types.
pub(crate) fn index_of(export_type: ExportType) -> usize {
    ExportType::ALL.iter().position(|of| *of == export_type).unwrap()
}

fn sample(export_type: ExportType, number: usize) -> SampleRow {
    let ago = |minutes: u64| start().minus(Duration::from_secs(minutes * 60));
    let created_at = match number {
        // Three at the same time.
        4..=6 => ago(300),
        0..OLD_ROWS => ago(600 - number as u64 * 37),
        _ => start().plus(Duration::from_secs((number - OLD_ROWS) as u64 * 60 + 20)),
    };
    let base = row(export_type, &format!("id_{number:03}"), created_at);
    let status = export_type.definition().statuses[number % 3].name;
    let currency = EXPONENTS[number % 2].0;
    let reference = ["REF", "=1+1", "two; \"parts\"", "-7"][number % 4];
    let supplier = ["sup_1", "sup_2"][number % 2];
    let first = [("status", status), ("currency", currency), ("reference", reference), ("supplier_id", supplier)];
    let with = |changes: &[(&str, &'static str)]| version(export_type, base.clone(), changes);
    let changed = [("status", export_type.definition().statuses[2].name), ("currency", "KWD"), ("amount", "-105")];
    SampleRow {
        key: sort_key(export_type, &base),
        created_at,
        versions: [
            with(&first),
            with(&[&first[..], &changed].concat()),
            with(&[&first[..], &[("currency", "XXX")]].concat()),
        ],
    }
}

fn version(export_type: ExportType, mut row: Row, changes: &[(&str, &'static str)]) -> Version {
    let headers: Vec<&'static str> = headers(export_type).collect();
    for (header, value) in changes {
        if let Some(index) = headers.iter().position(|of| of == header) {
            row[index] = if is_amount(header) { Value::Number(value) } else { Value::Text(value) };
        }
    }
    let cells: BTreeMap<_, _> = headers
        .iter()
        .copied()
        .zip(row.iter().map(|value| match value {
            Value::Text(text) | Value::Number(text) => (*text).to_owned(),
            Value::Missing | Value::Other => String::new(),
        }))
        .collect();
    let exponent = EXPONENTS.iter().find(|(code, _)| *code == cells["currency"]).map(|(_, exponent)| *exponent);
    let lines = exponent.map(|exponent| {
        let shown: Vec<_> = headers.iter().map(|header| shown(header, &cells[header], exponent)).collect();
        let quoted: Vec<_> = headers.iter().zip(&shown).map(|(header, cell)| quoted(header, cell)).collect();
        [quoted.join(";") + "\n", shown.join(SEPARATOR) + "\n"]
    });
    Version { row, lines, cells }
}

impl Version {
    /// What it is in a file of this format.
    fn line(&self, format: FileFormat) -> Option<&str> {
        self.lines.as_ref().map(|lines| lines[format as usize].as_str())
    }
}

pub(crate) fn is_amount(header: &str) -> bool {
    header.ends_with("amount")
}

pub(crate) fn is_time(header: &str) -> bool {
    header.ends_with("_at") || header.starts_with("period_")
}

/// The value of a cell as a reader sees it.
fn shown(header: &str, value: &str, exponent: usize) -> String {
    if value.is_empty() || header == "order_count" {
        return value.to_owned();
    }
    if is_amount(header) {
        let (sign, digits) = value.strip_prefix('-').map_or(("", value), |digits| ("-", digits));
        let digits = format!("{digits:0>width$}", width = exponent + 1);
        let (whole, fraction) = digits.split_at(digits.len() - exponent);
        return format!("{sign}{whole}{}{fraction}", if exponent > 0 { "." } else { "" });
    }
    if is_time(header) { format!("{}Z", &value[..19]) } else { value.to_owned() }
}

/// The cell of a CSV file, as the README describes it.
fn quoted(header: &str, cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@']) && !is_amount(header);
    let guarded = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    if guarded.contains([';', '"', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

/// A filter that exports are launched with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SampleFilter {
    #[default]
    All,
    Period,
    SecondStatus,
    Euros,
    Supplier,
    LargeEuros,
    FromMarketplace,
}

impl SampleFilter {
    /// The filters that a type has.
    pub(crate) fn of(export_type: ExportType) -> &'static [Self] {
        const ALL: [SampleFilter; 7] = [
            SampleFilter::All,
            SampleFilter::Period,
            SampleFilter::SecondStatus,
            SampleFilter::Euros,
            SampleFilter::Supplier,
            SampleFilter::LargeEuros,
            SampleFilter::FromMarketplace,
        ];
        match export_type {
            ExportType::MarketplacePayouts => &ALL[..4],
            ExportType::SupplierPayouts => &ALL[..5],
            ExportType::FundingTransfers => &ALL,
        }
    }

    /// The period's bounds.
    fn period() -> (Timestamp, Timestamp) {
        (time(0).minus(Duration::from_secs(500 * 60)), time(0).minus(Duration::from_secs(280 * 60)))
    }

    /// The filter as JSON of a request.
    pub(crate) fn json(self, export_type: ExportType) -> serde_json::Value {
        let status = export_type.definition().statuses[1].name;
        let (from, to) = Self::period();
        match self {
            Self::All => serde_json::Value::Null,
            Self::Period => serde_json::json!({"createdAtFrom": from.to_string(), "createdAtTo": to.to_string()}),
            Self::SecondStatus => serde_json::json!({"statuses": [status]}),
            Self::Euros => serde_json::json!({"currencies": ["EUR"]}),
            Self::Supplier => serde_json::json!({"supplierIds": ["sup_1"]}),
            Self::LargeEuros => serde_json::json!({"currencies": ["EUR"], "amountMin": "41.16"}),
            Self::FromMarketplace => serde_json::json!({"sourceBalanceAccountType": "MARKETPLACE"}),
        }
    }

    /// Whether a row created then is in the period.
    fn has_time(self, created_at: Timestamp) -> bool {
        let (from, to) = Self::period();
        self != Self::Period || (from <= created_at && created_at <= to)
    }

    /// Whether a valid value of the row excludes it.
    fn excludes(self, export_type: ExportType, version: &Version) -> bool {
        let cell = |header: &str| version.cells.get(header).map(String::as_str).unwrap_or_default();
        let is_other_currency = cell("currency") != "EUR" && version.lines.is_some();
        match self {
            Self::All | Self::Period => false,
            Self::SecondStatus => cell("status") != export_type.definition().statuses[1].name,
            Self::Euros => is_other_currency,
            Self::Supplier if export_type == ExportType::SupplierPayouts => cell("supplier_id") != "sup_1",
            // The marketplace's own accounts have no supplier.
            Self::Supplier => true,
            Self::LargeEuros => is_other_currency || (cell("currency") == "EUR" && cell("amount") == "4115"),
            Self::FromMarketplace => cell("source_balance_account_type") != "MARKETPLACE",
        }
    }
}

/// Whether an export includes, excludes or rejects a version of a row.
enum Part<'a> {
    Excluded,
    Line(&'a str),
    Invalid,
}

/// What an export was launched with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub filter: SampleFilter,
    pub format: FileFormat,
}

fn part(export_type: ExportType, options: Options, version: &'static Version) -> Part<'static> {
    if options.filter.excludes(export_type, version) {
        return Part::Excluded;
    }
    version.line(options.format).map_or(Part::Invalid, Part::Line)
}

/// A time of the history, in milliseconds.
pub(crate) type Millis = u64;

/// The rows of one tenant and type: for each, its versions with the times they were committed.
#[derive(Debug)]
pub(crate) struct Table {
    export_type: ExportType,
    rows: [Vec<(Millis, usize)>; ROWS],
}

impl Table {
    pub(crate) fn new(export_type: ExportType) -> Self {
        Self { export_type, rows: Default::default() }
    }

    /// Commits a version of a row.
    pub(crate) fn put(&mut self, number: usize, version: usize, at: Millis) {
        self.rows[number].push((at, version));
    }

    /// The numbers of all rows in the order of their keys, with their samples.
    fn sorted(&self) -> Vec<(usize, &'static SampleRow)> {
        let mut sorted: Vec<_> = SAMPLES[index_of(self.export_type)].iter().enumerate().collect();
        sorted.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        sorted
    }

    /// The first page of a range, with the versions committed up to `at`.
    ///
    /// # Errors
    /// As a [`RowSource`](exports_domain::ports::RowSource).
    pub(crate) fn page(
        &self,
        selection: &RowSelection,
        range: &KeyRange,
        size: usize,
        at: Millis,
    ) -> Result<RowPage, DependencyError> {
        if range.is_empty() {
            return Err(DependencyError::permanent("read the rows", "the range is empty"));
        }
        let mut encoder = RowEncoder::new(selection, 0);
        let mut keys = Vec::new();
        for (number, sample) in self.sorted() {
            let is_inside =
                range.after.as_ref().is_none_or(|after| sample.key > after.0) && sample.key <= range.up_to.0;
            let current = self.rows[number].iter().rev().find(|(committed, _)| *committed <= at);
            let Some((_, version)) = current.filter(|_| is_inside && keys.len() < size) else { continue };
            encoder.push(&sample.versions[*version].row, &sample.key);
            keys.push(RowKey(sample.key.clone()));
        }
        // As in DynamoDB, a full page has a next one, which may be empty.
        let next = keys.last().filter(|_| keys.len() == size).cloned();
        Ok(RowPage {
            encoded: encoder.finish(),
            first: keys.first().cloned(),
            next,
            read_bytes: 0,
            is_source_busy: false,
        })
    }

    /// Compares a file that was read between `from` and `to` with the rows that it must have.
    ///
    /// # Errors
    /// The differences of the file.
    pub(crate) fn check(
        &self,
        file: &str,
        options: Options,
        as_of: Timestamp,
        (from, to): (Millis, Millis),
    ) -> Result<(), String> {
        let mut lines = file.split_inclusive('\n').peekable();
        let header = match options.format {
            FileFormat::Csv => format!("{}\n", HEADERS[index_of(self.export_type)]),
            FileFormat::Xlsx => {
                let shown = |name| if is_time(name) { format!("{name} (UTC)") } else { name.to_owned() };
                headers(self.export_type).map(shown).collect::<Vec<_>>().join(SEPARATOR) + "\n"
            }
        };
        if lines.next() != Some(&header) {
            return Err("has another header".to_owned());
        }
        let mut count = 0;
        for (number, sample) in self.sorted() {
            if sample.created_at > as_of || !options.filter.has_time(sample.created_at) {
                continue;
            }
            let versions = &self.rows[number];
            // The version at `from`, and those committed while the rows were read.
            let first = versions.iter().rposition(|(committed, _)| *committed <= from);
            let read = versions
                .iter()
                .enumerate()
                .filter(|(index, (at, _))| Some(*index) == first || (*at > from && *at <= to));
            let parts: Vec<_> =
                read.map(|(_, (_, version))| part(self.export_type, options, &sample.versions[*version])).collect();
            if lines.peek().is_some_and(|line| parts.iter().any(|part| matches!(part, Part::Line(of) if of == line))) {
                lines.next();
                count += 1;
            } else if first.is_some() && !parts.iter().any(|part| matches!(part, Part::Excluded)) {
                return Err(format!("does not contain the row id_{number:03} as it was read"));
            }
        }
        match lines.next() {
            Some(line) => Err(format!("contains an unexpected row after {count}: {line:?}")),
            None => Ok(()),
        }
    }

    /// Whether a row that an export reads was invalid between `from` and `to`.
    pub(crate) fn has_invalid(&self, options: Options, as_of: Timestamp, (from, to): (Millis, Millis)) -> bool {
        self.sorted().into_iter().any(|(number, sample)| {
            let versions = &self.rows[number];
            sample.created_at <= as_of
                && options.filter.has_time(sample.created_at)
                && versions.iter().enumerate().any(|(index, (at, version))| {
                    let is_replaced = versions.get(index + 1).is_some_and(|(next, _)| *next <= from);
                    *at <= to
                        && !is_replaced
                        && matches!(part(self.export_type, options, &sample.versions[*version]), Part::Invalid)
                })
        })
    }
}

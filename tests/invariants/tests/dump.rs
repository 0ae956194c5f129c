//! Runs the program on a dump like those of the fault runs.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const EXPORT: &str = "mpo_01a11aa2-3340-7707-8707-070707070707";
const KEY: &str = "exports/acme/mpo_01a11aa2-3340-7707-8707-070707070707/1.csv";
const CSV: &str = "\
payout_id;reference;status;amount;currency;period_start;period_end;order_count;balance_account;psp_reference;failure_reason;created_at;executed_at;settled_at;updated_at
po_1;R;SETTLED;-12.50;EUR;2026-10-01T00:00:00Z;2026-10-02T00:00:00Z;3;BA_MKP;;;2026-10-08T08:00:00Z;;;2026-10-08T08:00:00Z
'=po_2;R;PENDING;7;JPY;2026-10-01T00:00:00Z;2026-10-02T00:00:00Z;3;BA_MKP;;;2026-10-08T08:30:00Z;;;2026-10-08T08:30:00Z
";

/// The output of the program and its exit code.
fn check(dump: &Value) -> (String, Option<i32>) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_check-invariants"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(dump.to_string().as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    (String::from_utf8([output.stdout, output.stderr].concat()).unwrap(), output.status.code())
}

/// Writes a file of this name.
fn write_file(name: &str, bytes: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn s(text: &str) -> Value {
    json!({ "S": text })
}

fn n(number: u64) -> Value {
    json!({ "N": number.to_string() })
}

fn payout(id: &str, created_at: &str) -> Value {
    json!({ "tenantId": s("acme"), "sk": s(&format!("{created_at}#{id}")), "payoutId": s(id), "createdAt": s(created_at),
            "amountMinor": n(5), "settledAt": { "NULL": true } })
}

/// A valid dump with one ready export.
fn valid(path: &Path) -> Value {
    let sha256 = "a8d422c7e6afede35c6709dd24ff99389530fee73c7557fd06eef371a3888bfb";
    let file = json!({
        "key": s(KEY), "name": s("marketplace-payouts-acme-20261008T083000Z.csv"), "rows": n(2),
        "bytes": n(CSV.len() as u64), "sha256": s(sha256),
        "totals": { "M": {
            "SETTLED": { "M": { "EUR": { "B": "AQEJww==" } } },
            "PENDING": { "M": { "JPY": { "B": "AQEO" } } },
        } },
        "expiresAt": s("2026-11-07T08:31:00.000Z"),
    });
    let options = json!({ "M": { "version": n(1), "filter": { "M": {} }, "format": s("CSV") } });
    json!({
        "now": "2026-10-08T09:00:00.000Z",
        "quiet": true,
        "sweptAt": "2026-10-08T08:59:00.000Z",
        "items": [
            {
                "tenantId": s("acme"), "sk": s(&format!("EXPORT#{EXPORT}")), "exportId": s(EXPORT),
                "exportType": s("marketplace-payouts"), "status": s("READY"),
                "requestedBy": { "M": { "email": s("ann@example.com"), "name": s("Ann") } },
                "recipientTo": s("ann@example.com"), "recipientsCc": { "L": [s("cc@example.com")] },
                "createdAt": s("2026-10-08T08:30:00.000Z"), "updatedAt": s("2026-10-08T08:31:00.000Z"),
                "deadline": s("2026-10-08T14:30:00.000Z"), "columnsVersion": n(1), "byteOrderMark": { "BOOL": false },
                "linkLifetimeSeconds": n(259_200), "fileRetentionSeconds": n(2_592_000), "timeLimitSeconds": n(21_600),
                "fencingToken": n(1), "attempts": n(1), "rowsRead": n(2), "rowsWritten": n(2),
                "options": options, "nextCheckState": s("READY#7"),
                "nextCheckAt": s("2026-10-11T08:31:00.000Z"), "linkExpiresAt": s("2026-10-11T08:31:00.000Z"),
                "file": { "M": file },
            },
            { "tenantId": s("acme"), "sk": s("IDEMPOTENCY#marketplace-payouts#ab"), "exportId": s(EXPORT), "ttl": n(1) },
        ],
        "accepted": [{ "tenantId": "acme", "exportId": EXPORT }],
        "payouts": [
            payout("po_1", "2026-10-08T08:00:00.000Z"),
            payout("=po_2", "2026-10-08T08:30:00.000Z"),
            payout("po_3", "2026-10-08T08:30:00.001Z"),
        ],
        "objects": [{ "key": KEY, "path": path }],
        "uploads": [],
        "mails": [
            { "to": ["ann@example.com"], "cc": ["cc@example.com"], "keys": [KEY],
              "linkExpiries": ["2026-10-11T08:31:00.000Z"] },
            { "to": ["ann@example.com"], "cc": [], "keys": [], "linkExpiries": [] },
        ],
        "messages": 0,
    })
}

#[test]
fn valid_dump_prints_nothing_and_exits_with_0() {
    assert_eq!(check(&valid(&write_file("valid.csv", CSV))), (String::new(), Some(0)));
}

#[test]
fn violations_are_printed_and_exit_with_1() {
    let mut dump = valid(&write_file("duplicate-row.csv", &format!("{CSV}{}\n", CSV.lines().nth(1).unwrap())));
    dump["reportedLinks"] =
        json!([{ "tenantId": "acme", "exportId": EXPORT, "linkExpiresAt": "2026-10-12T08:31:00.000Z" }]);
    dump["items"].as_array_mut().unwrap().extend([
        json!({ "tenantId": s("acme"), "sk": s("LOCK#marketplace-payouts"), "exportId": s(EXPORT) }),
        json!({ "tenantId": s("acme"), "sk": s(&format!("CHECKPOINT#{EXPORT}")), "sha256State": { "B": "AAE=" } }),
    ]);
    dump["maxAttempts"] = json!(0);
    let (printed, code) = check(&dump);
    let invariants: Vec<&str> = printed.lines().map(|line| line.split(':').next().unwrap()).collect();
    let of_file = ["FileIsComplete"; 5];
    let expected =
        [&["LockNamesPending", "NoLeftovers", "AttemptsAreBounded"], of_file.as_slice(), &["LinksAreValid"]].concat();
    assert_eq!((invariants, code), (expected, Some(1)), "{printed}");
    assert!(printed.contains("contains the row po_1 more than once"), "{printed}");
}

#[test]
fn invalid_dump_prints_the_error_and_exits_with_2() {
    let path = write_file("invalid-dump.csv", CSV);
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 6] = [
        (|dump| dump["now"] = json!("today"), "\"today\": must be a UTC time"),
        (
            |dump| dump["items"][0]["fencingToken"] = s("1"),
            "item 0 of the Exports table: the item's attribute fencingToken",
        ),
        (|dump| dump["items"][0]["sk"] = s("OTHER#1"), "item 0 of the Exports table: the item's attribute sk"),
        (|dump| dump["items"][0]["fencingToken"] = json!(1), "the attribute fencingToken is not in DynamoDB JSON: 1"),
        (|dump| dump["mails"][0]["linkExpiries"] = json!([]), "mail 0: must have a recipient"),
        (|dump| dump["objects"][0]["path"] = json!("/nowhere"), "/nowhere: No such file"),
    ];
    for (change, message) in changes {
        let mut dump = valid(&path);
        change(&mut dump);
        let (printed, code) = check(&dump);
        assert!(printed.contains(message) && code == Some(2), "{message}: {printed}");
    }
    let mut dump = valid(&write_file("malformed-amount.csv", &CSV.replace("-12.50", "much")));
    dump["quiet"] = json!(false);
    let (printed, code) = check(&dump);
    assert!(printed.contains("row 1: much") && code == Some(2), "{printed}");
}

#[test]
fn change_that_is_no_transition_is_printed() {
    let mut dump = valid(&write_file("versions.csv", CSV));
    let mut expired = dump["items"][0].clone();
    expired["status"] = s("EXPIRED");
    expired["updatedAt"] = s("2026-10-11T08:32:00.000Z");
    expired.as_object_mut().unwrap().retain(|name, _| !name.starts_with("nextCheck"));
    dump["versions"] = json!([[dump["items"][0], expired]]);
    dump["items"][0] = expired.clone();
    dump["now"] = json!("2026-10-11T08:33:00.000Z");
    assert_eq!(check(&dump), (String::new(), Some(0)));
    expired["rowsRead"] = n(3);
    dump["versions"][0][1] = expired.clone();
    dump["items"][0] = expired;
    let (printed, code) = check(&dump);
    assert!(printed.starts_with("NotATransition: acme "), "{printed}");
    assert_eq!(code, Some(1));
}

#[test]
fn version_that_was_not_recorded_is_printed() {
    let mut dump = valid(&write_file("unrecorded.csv", CSV));
    dump["versions"] = json!([[dump["items"][0]]]);
    assert_eq!(check(&dump), (String::new(), Some(0)));
    let mut earlier = dump["items"][0].clone();
    earlier["updatedAt"] = s("2026-10-08T08:30:59.000Z");
    for versions in [json!([]), json!([[earlier]])] {
        dump["versions"] = versions;
        let (printed, code) = check(&dump);
        assert!(printed.starts_with("NotRecorded: acme "), "{printed}");
        assert_eq!(code, Some(1));
    }
}

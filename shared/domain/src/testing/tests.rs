use std::collections::BTreeSet;

use super::*;
use crate::id::TenantId;
use crate::ports::RowKey;

#[test]
fn fakes_behave_as_their_ports_promise() {
    block_on(conformance::file_store(&MemoryFiles::with_min_part_size(100), 100));
    block_on(conformance::export_store(&MemoryStore::default()));
    block_on(conformance::api_key_store(&MemoryStore::default()));
}

#[test]
fn memory_rows_behave_as_their_port_promises() {
    let row = |n: u64| payout(&format!("po_{n}"), start().plus(Duration::from_secs(n / 2)));
    let [acme, globex]: [TenantId; 2] = ["acme", "globex"].map(|tenant| tenant.parse().unwrap());
    let keys =
        |numbers: std::ops::Range<u64>| numbers.map(|n| RowKey(sort_key(TYPE, &row(n)))).collect::<BTreeSet<_>>();
    let tenants = [(acme.clone(), keys(0..5)), (globex.clone(), keys(3..7))];
    for page_size in [1, 2, 9] {
        let rows = MemoryRows::new(&acme, (0..5).map(row)).and(&globex, (3..7).map(row)).in_pages_of(page_size);
        let mut checks = pin!(conformance::row_source(&rows, TYPE, &tenants));
        while checks.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    }
}

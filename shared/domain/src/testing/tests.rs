use super::*;

#[test]
fn fakes_behave_as_their_ports_promise() {
    block_on(conformance::file_store(&MemoryFiles::with_min_part_size(100), 100));
    block_on(conformance::export_store(&MemoryStore::default()));
    block_on(conformance::api_key_store(&MemoryStore::default()));
}

//! Run: there is nothing to set.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    telemetry::init();
    http::run(async |request| describe_api::handle(&request)).await
}

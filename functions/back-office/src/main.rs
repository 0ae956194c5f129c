//! Run.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), back_office::Error> {
    telemetry::init();
    back_office::run().await
}

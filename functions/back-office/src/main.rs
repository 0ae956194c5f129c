//! Settings, clients, run.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), back_office::Error> {
    exports_telemetry::init();
    back_office::run().await
}

//! Settings, clients, run.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), exports_http::Error> {
    exports_telemetry::init();
    exports_http::run(async |request| describe_api::handle(&request)).await
}

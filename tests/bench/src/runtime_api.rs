//! Lambda's runtime API: sends events to a function's binary and receives its responses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self as std_mpsc, Receiver};
use std::time::Duration;

use bytes::Bytes;
use exports_aws::system::LambdaSystem;
use exports_domain::ports::System as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

use crate::Error;

/// The runtime API of one process.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    events: mpsc::UnboundedSender<Event>,
    /// Receives a message each time the process polls for the next event, after initialization and after each event.
    pub polls: Receiver<()>,
    /// The function's response or error for each event.
    pub outcomes: Receiver<Result<Bytes, String>>,
}

#[derive(Debug)]
struct Event {
    body: String,
    time_limit: Duration,
}

#[derive(Debug)]
struct Shared {
    events: Mutex<mpsc::UnboundedReceiver<Event>>,
    polls: std_mpsc::Sender<()>,
    outcomes: std_mpsc::Sender<Result<Bytes, String>>,
    invocations: AtomicU64,
}

impl RuntimeApi {
    /// Starts the API on loopback. It ends with the current tokio runtime.
    ///
    /// # Errors
    /// If no port is available.
    pub async fn start() -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (send_event, events) = mpsc::unbounded_channel();
        let (send_poll, polls) = std_mpsc::channel();
        let (send_outcome, outcomes) = std_mpsc::channel();
        let shared = Arc::new(Shared {
            events: Mutex::new(events),
            polls: send_poll,
            outcomes: send_outcome,
            invocations: AtomicU64::new(0),
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { handle(&shared, request).await.map_err(std::io::Error::other) }
                    });
                    // Fails when the function is killed while it polls.
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { address, events: send_event, polls, outcomes })
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sends an event with a time-out of `time_limit`.
    ///
    /// # Errors
    /// If the API has ended.
    pub fn invoke(&self, body: String, time_limit: Duration) -> Result<(), Error> {
        Ok(self.events.send(Event { body, time_limit })?)
    }
}

async fn handle(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    if method == Method::GET && path.ends_with("/runtime/invocation/next") {
        // Fails only after the run.
        let _ = shared.polls.send(());
        let event = shared.events.lock().await.recv().await.ok_or("no more events")?;
        let number = shared.invocations.fetch_add(1, Ordering::Relaxed);
        let ends_at = LambdaSystem.now().plus(event.time_limit);
        return Ok(Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", format!("invocation-{number}"))
            .header("lambda-runtime-deadline-ms", ends_at.millis())
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:bench")
            .header("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0")
            .body(Full::new(Bytes::from(event.body)))?);
    }
    let outcome = if path.ends_with("/response") { Ok(body) } else { Err(String::from_utf8_lossy(&body).into_owned()) };
    // Fails only after the run.
    let _ = shared.outcomes.send(outcome);
    Ok(Response::builder().status(StatusCode::ACCEPTED).body(Full::default())?)
}

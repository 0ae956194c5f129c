//! A service in the test's own process, whose connections take one request each.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What has become of a connection by the time that a frozen process runs again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IdleConnection {
    /// It was closed, and the process can know.
    Closed,
    /// It is gone at the other end, and the process learns of it from the reset that its next write meets.
    Gone,
}

/// The service.
pub(crate) struct Server {
    /// Its address.
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A service that gives these responses, status line and all, in turn, and the last of them to every request after.
    pub(crate) async fn start(responses: &'static [&'static str], idle: IdleConnection) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let received = Arc::clone(&received);
                tokio::spawn(async move {
                    let request = read_request(&mut connection).await;
                    let number = {
                        let mut received = received.lock().unwrap();
                        received.push(request);
                        received.len()
                    };
                    let response = responses.get(number - 1).or(responses.last()).unwrap();
                    connection.write_all(response.as_bytes()).await.unwrap();
                    if matches!(idle, IdleConnection::Gone) {
                        // Dropped with bytes that were not read, the connection is reset.
                        connection.readable().await.unwrap();
                    }
                });
            }
        });
        Self { url, requests }
    }

    /// Every request that came in whole.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(connection: &mut TcpStream) -> String {
    let mut request = String::new();
    loop {
        let mut bytes = [0; 16 * 1024];
        let count = connection.read(&mut bytes).await.unwrap();
        request.push_str(str::from_utf8(&bytes[..count]).unwrap());
        let length = |head: &str| {
            let header = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            header.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        if request.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= length(head)) || count == 0 {
            return request;
        }
    }
}

//! A local HTTP server for tests of connection handling. Each connection serves one request.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The state of an idle connection when a frozen process resumes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IdleConnection {
    /// The server has closed it, and the client has received that.
    Closed,
    /// It no longer exists on the server. The client learns that from a reset when it next writes.
    Lost,
}

pub(crate) struct LocalServer {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl LocalServer {
    /// Starts a server that sends these raw responses in order, and repeats the last one.
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
                    if matches!(idle, IdleConnection::Lost) {
                        // Dropping a connection with unread bytes resets it.
                        connection.readable().await.unwrap();
                    }
                });
            }
        });
        Self { url, requests }
    }

    /// The complete requests so far, head and body.
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

//! An issuer of this test's own: it really signs, over HTTP, and does what issuers do: it changes its keys, and goes away.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};

/// What it publishes, and how it was asked.
#[derive(Debug, Default)]
struct Books {
    url: String,
    keys: Vec<Value>,
    is_away: bool,
    asked: usize,
}

/// The issuer.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    books: Arc<Mutex<Books>>,
}

impl Issuer {
    pub(crate) async fn start(keys: Vec<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let books = Arc::new(Mutex::new(Books { url: url.clone(), keys, ..Books::default() }));
        let routes = Router::new().fallback(answer).with_state(books.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, books }
    }

    /// From now on these are its keys.
    pub(crate) fn publish(&self, keys: Vec<Value>) {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).keys = keys;
    }

    /// From now on it answers nobody.
    pub(crate) fn go_away(&self) {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).is_away = true;
    }

    /// How often somebody asked for its keys.
    pub(crate) fn asked(&self) -> usize {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).asked
    }
}

async fn answer(State(books): State<Arc<Mutex<Books>>>, uri: Uri) -> Result<String, StatusCode> {
    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
    if books.is_away {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    match uri.path() {
        "/.well-known/openid-configuration" => {
            Ok(json!({"issuer": books.url, "jwks_uri": format!("{}/keys", books.url)}).to_string())
        }
        "/keys" => {
            books.asked += 1;
            Ok(json!({"keys": books.keys}).to_string())
        }
        _ => Err(StatusCode::NOT_FOUND),
    }
}

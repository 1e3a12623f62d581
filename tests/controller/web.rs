//! A server of whatever a test wants: a registry, or a host of repositories.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;

/// What it says to a request.
pub struct Answer {
    pub code: u16,
    pub kind: &'static str,
    pub body: String,
}

/// A server that runs until it is dropped.
pub struct Web {
    _runtime: tokio::runtime::Runtime,
    address: String,
}

impl Web {
    /// One that answers by path with query, and headers.
    pub fn new(answer: impl Fn(&str, &HeaderMap) -> Answer + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = Arc::new(answer);
        let router = Router::new().fallback(move |request: Request| {
            let path = request.uri().path_and_query().unwrap().as_str();
            let Answer { code, kind, body } = answer(path, request.headers());
            let code = StatusCode::from_u16(code).unwrap();
            let answer = (code, [(header::CONTENT_TYPE, kind)], body).into_response();
            async { answer }
        });
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { _runtime: runtime, address }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }
}

//! How much may be asked at once: whoever reaches the port may ask, and what he asks takes memory.
//!
//! Invariant: nothing is read before there is room for all of it, and nobody keeps room by saying nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a review: an API server sends all objects of a list at once.
const LONGEST: u32 = 8 * 1024 * 1024;
/// What a review counts at least: the smallest takes some memory too, and asks for other objects.
const LEAST: u32 = 64 * 1024;
/// How long it may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to come.
const SLOWEST: Duration = Duration::from_secs(5);

/// Room for the bytes of all reviews that are not answered yet.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

/// A review that has come, and the room that it takes until it is answered.
pub struct Arrived {
    pub headers: HeaderMap,
    pub body: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LONGEST as usize)))
    }
}

impl Room {
    /// Reads a review once there is room for it.
    pub async fn take(&self, request: Request) -> Result<Arrived, StatusCode> {
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.ok_or(StatusCode::LENGTH_REQUIRED)?.to_str().ok();
        let length = length.and_then(|length| length.parse::<u32>().ok());
        let length = length.filter(|length| *length <= LONGEST);
        let length = length.ok_or(StatusCode::PAYLOAD_TOO_LARGE)?;
        let room = Arc::clone(&self.0).acquire_many_owned(length.max(LEAST));
        let room = tokio::time::timeout(PATIENCE, room).await;
        let Ok(Ok(room)) = room else { return Err(StatusCode::SERVICE_UNAVAILABLE) };
        let body = tokio::time::timeout(SLOWEST, to_bytes(body, LONGEST as usize)).await;
        let body = body.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let body = body.map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Arrived { headers: parts.headers, body, _room: room })
    }
}

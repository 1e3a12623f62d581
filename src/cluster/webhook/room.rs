//! How much may be asked at once: whoever reaches the port may ask, and what he asks takes memory.
//!
//! Invariant: nothing is read before there is room for all of it, and nobody keeps room by saying nothing.
//! Invariant: the memory of all reviews together is bounded, whatever they are made of.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a review: an API server sends all objects of a list at once.
const LONGEST: u32 = 8 * 1024 * 1024;
/// Bytes of all reviews that have come and are not answered.
const ALL: usize = 4 * LONGEST as usize;
/// What they may take once they are read. The limit of the Deployment leaves as much again for everything else.
const MEMORY: u32 = 512 * 1024 * 1024;
/// What the smallest counts: it too asks for other objects.
const LEAST: u32 = 64 * 1024;
/// How long it may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to come.
const SLOWEST: Duration = Duration::from_secs(5);

/// Room for all reviews that are not answered yet.
#[derive(Clone)]
pub struct Room {
    bytes: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

/// A review that has come, and the room that it takes until it is answered.
pub struct Arrived {
    pub headers: HeaderMap,
    pub body: Bytes,
    _room: [OwnedSemaphorePermit; 2],
}

impl Default for Room {
    fn default() -> Self {
        let room = |size| Arc::new(Semaphore::new(size));
        Self { bytes: room(ALL), memory: room(MEMORY as usize) }
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
        let bytes = turn(&self.bytes, length).await?;
        let body = tokio::time::timeout(SLOWEST, to_bytes(body, LONGEST as usize)).await;
        let body = body.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let body = body.map_err(|_| StatusCode::BAD_REQUEST)?;
        let memory = turn(&self.memory, taken(&body)).await?;
        Ok(Arrived { headers: parts.headers, body, _room: [bytes, memory] })
    }
}

async fn turn(room: &Arc<Semaphore>, size: u32) -> Result<OwnedSemaphorePermit, StatusCode> {
    let permit = tokio::time::timeout(PATIENCE, Arc::clone(room).acquire_many_owned(size)).await;
    permit
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// The memory that a review takes once it is read, in bytes. What is small as text may be large: an object of one field is a node of a
/// tree with room for eleven. One that takes all there is waits until it is alone.
fn taken(body: &[u8]) -> u32 {
    /// At the widest place of a conversion: as it was asked for, as it becomes, and as it would come back.
    const COPIES: usize = 4;
    const OBJECT: usize = 640;
    const VALUE: usize = 64;
    let weight = |byte: &u8| match byte {
        b'{' => OBJECT,
        b',' => VALUE,
        _ => 1,
    };
    let one: usize = body.iter().map(weight).sum();
    u32::try_from(COPIES * one).unwrap_or(MEMORY).clamp(LEAST, MEMORY)
}

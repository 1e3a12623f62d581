//! What a run tells while it goes on, for whoever shows it to people.

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::OwnedSemaphorePermit;

/// One piece of news.
#[derive(Debug)]
pub enum Happening {
    /// Something that the user should know and that changes nothing.
    Note(String),
    /// An image is being fetched: bytes so far and in all, as far as the engine tells.
    Pulling {
        /// The image.
        image: String,
        /// Bytes that are here.
        done: u64,
        /// Bytes in all; 0 while nobody knows.
        total: u64,
    },
    /// An image has come.
    Pulled {
        /// The image.
        image: String,
    },
    /// A line that a container printed, without its end. It may hold any bytes.
    Line {
        /// The container, such as `step-build`.
        container: String,
        /// The bytes.
        text: Vec<u8>,
        /// What it takes of the room for lines that nobody has shown yet; given back when it is dropped.
        room: Option<OwnedSemaphorePermit>,
    },
    /// The pod with its new status.
    Pod(Box<Pod>),
}

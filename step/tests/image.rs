//! `slipway-step image-processing` against real registries, with skopeo as the second opinion.

mod blobs;
pub(crate) mod fake;
pub(crate) mod layout;
pub(crate) mod memory;
mod push;
mod refusals;
pub(crate) mod registry;
mod save;
mod scan;
mod timestamps;
pub(crate) mod tools;
mod transport;

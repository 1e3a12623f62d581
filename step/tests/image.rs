//! `slipway-step image-processing` against real registries, with skopeo as the second opinion.

mod blobs;
mod fake;
mod layout;
mod memory;
mod push;
mod refusals;
mod registry;
mod save;
mod scan;
mod timestamps;
mod tools;
mod transport;

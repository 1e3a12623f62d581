//! `slipway-step image-processing` against real registries, with skopeo as the second opinion.

mod fake;
mod layout;
mod push;
mod refusals;
mod registry;
mod tools;
mod transport;

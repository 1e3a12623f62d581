//! The kinds in `shipwright.io/v1alpha1`, for the schema that the API server is told.
//!
//! Objects of this version are read by converting them; nothing else looks into one. What has the same form in v1beta1 is taken from
//! there.

mod build;
mod build_run;
mod strategy;

pub use build::{
    BuildSource, BuildSpec, BuildVolume, Bundle, Image, Retention, Source, StrategyRef, Trigger,
};
pub use build_run::{
    BuildRef, BuildRunSpec, BuildRunStatus, BundleStatus, OutputStatus, ServiceAccount,
    SourceStatus,
};
pub use strategy::StrategySpec;

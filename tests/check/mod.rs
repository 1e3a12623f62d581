//! `slipway check`: every object of the files, refusals and warnings.

mod admission;
mod cases;
mod session;
mod warnings;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use slipway::local::{self, Checkup, Document};
use slipway::plan::Settings;

/// Judges objects that stand in a file of their own each: `0.yaml`, `1.yaml` …
fn judge(objects: &[Value]) -> Checkup {
    let document = |(index, value): (usize, &Value)| Document {
        file: format!("{index}.yaml"),
        value: value.clone(),
    };
    let documents = objects.iter().enumerate().map(document).collect();
    local::check(documents, &[], &Settings::default(), Timestamp::UNIX_EPOCH, None)
}

//! The condition of a BuildRun.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one condition type of a BuildRun.
pub const SUCCEEDED: &str = "Succeeded";
/// The run succeeded.
pub const TRUE: &str = "True";
/// The run failed.
pub const FALSE: &str = "False";
/// The run is under way.
pub const UNKNOWN: &str = "Unknown";

/// Where a BuildRun stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// When this condition was last written, RFC 3339 in UTC.
    #[serde(default = "epoch")]
    pub last_transition_time: Time,
    /// What happened, for people. May be empty.
    #[serde(default)]
    pub message: String,
    /// What happened, in one word.
    #[serde(default)]
    pub reason: String,
    /// `True` once succeeded, `False` once failed, `Unknown` while under way.
    #[serde(default)]
    pub status: String,
    /// `Succeeded` is the only type.
    #[serde(default, rename = "type")]
    pub type_: String,
}

fn epoch() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

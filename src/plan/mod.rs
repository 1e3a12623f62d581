//! The thinking: from what was loaded to a complete Pod, and from what became of the Pod to a status.
//!
//! Invariant: pure and synchronous; no clock, no randomness, no I/O. `now` is an argument.
//! Invariant: each stage type is made by one function only, so that a wrong order does not compile:
//! `Loaded` → [`validate`] → `Checked` → [`expand`] → `Expansion`; `Seen` → [`observe`] → `Verdict`.
//! Invariant: after [`validate`] nothing returns a `Result`.

mod admission;
mod checked;
mod defaults;
mod effective;
pub mod explain;
mod finding;
mod formats;
mod go_quote;
pub mod identity;
mod image_reference;
pub mod invariants;
mod kubernetes_names;
pub mod labels;
mod layout;
mod loaded;
mod observe;
mod params;
mod pod;
mod pod_refusal;
pub mod pod_security;
mod pod_status;
mod reference_text;
mod references;
mod refusal;
pub mod replacement;
mod reports;
mod requests;
pub mod retain;
mod review;
pub mod schema;
mod security;
mod settings;
mod step;
mod substitution;
mod texts;
mod timeout;
mod validate;
mod warnings;

pub use admission::admission;
pub use checked::Checked;
pub use effective::{image_of, output_image};
pub use finding::{Finding, Severity, Warning};
pub use go_quote::go_quote;
pub use kubernetes_names::dns_subdomain;
pub use layout::{is_step, step_name, upload_container};
pub use loaded::{
    DEFAULT_NAMESPACE, ImageCommand, Loaded, NamespaceFacts, Presence, Roots, SecretFacts,
};
pub use observe::{CANCELED, Event, NODE_TIME, Next, Seen, Verdict, observe};
pub use params::SOURCE_ROOT;
pub use pod::{Expansion, SOURCE_VOLUME, TOKEN_VOLUME, expand};
pub use pod_refusal::PodRefusal;
pub use references::{GENERATED_ACCOUNT, References, references};
pub use refusal::{INVALID, ObjectName, Refusal};
pub use requests::{larger, nanos};
pub use review::Review;
pub use security::Decider;
pub use settings::{ContainerTemplate, DEFAULT_IMAGE, Requests, Settings};
pub use step::Origin;
pub use timeout::timeout;
pub use validate::{repository_to_ask, validate, validate_build, validate_strategy};
pub use warnings::{WARNINGS, build_warnings, buildrun_warnings, strategy_warnings, unknown_field};

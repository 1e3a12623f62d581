//! What an API server's answer to a new pod means for its run.
//!
//! Invariant: what may be otherwise a moment later is no refusal.

use super::go_quote;
use crate::api::reasons;

/// Why there is no pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodRefusal {
    /// The namespace has no room for it now: the run waits, with this reason.
    Quota { reason: &'static str, message: String },
    /// It never will be: the run has failed, with this reason.
    Never { reason: &'static str, message: String },
}

impl PodRefusal {
    /// What an answer means; nothing where the same pod may be taken the next time.
    ///
    /// Whoever asks too often or too soon, or asks a server that has trouble, asks again; two pods that reach for the same quota
    /// conflict, and a server that has just started, or got new definitions, knows neither roles nor its own rules nor owners' kinds yet,
    /// nor what a new quota counts.
    #[must_use]
    pub fn of_answer(pod: &str, code: u16, message: &str) -> Option<Self> {
        let starts = [
            "not yet ready to handle request",
            "cannot create resource \"pods\"",
            "cannot find RESTMapping",
            "error looking up service account",
            "status unknown for quota",
        ];
        let is_forbidden = code == 403;
        if code >= 500 || [401, 404, 408, 409, 429].contains(&code) {
            return None;
        }
        if is_forbidden && starts.iter().any(|text| message.contains(text)) {
            return None;
        }
        if is_forbidden && message.contains("exceeded quota") {
            let message = format!("TaskRun Pod exceeded available resources: {message}");
            return Some(Self::Quota { reason: reasons::EXCEEDED_RESOURCE_QUOTA, message });
        }
        let policies = ["violates PodSecurity", "security context constraint"];
        if is_forbidden && policies.iter().any(|text| message.contains(text)) {
            let message = message.to_owned();
            return Some(Self::Never { reason: reasons::POD_ADMISSION_FAILED, message });
        }
        Some(Self::of_name(pod, message))
    }

    /// Nothing but this pod is at fault, or somebody else has its name.
    #[must_use]
    pub fn of_name(pod: &str, message: &str) -> Self {
        let executor = go_quote(pod.strip_suffix("-pod").unwrap_or(pod));
        let message =
            format!("failed to create task run pod {executor}: {message}. Maybe invalid TaskSpec");
        Self::Never { reason: reasons::POD_CREATION_FAILED, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(text: &str) -> Option<PodRefusal> {
        let message = format!("pods \"app-12345-pod\" is forbidden: {text}");
        PodRefusal::of_answer("app-12345-pod", 403, &message)
    }

    #[test]
    fn what_quotas_say_is_final_only_where_the_pod_is_at_fault() {
        assert_eq!(forbidden("status unknown for quota: team, resources: limits.cpu"), None);
        let full =
            forbidden("exceeded quota: team, requested: pods=1, used: pods=9, limited: pods=9");
        assert!(matches!(full, Some(PodRefusal::Quota { .. })), "{full:?}");
        let blank = forbidden("failed quota: team: must specify limits.cpu for: step-build");
        assert!(matches!(blank, Some(PodRefusal::Never { .. })), "{blank:?}");
    }

    #[test]
    fn an_unknown_kind_of_owner_is_no_reason_to_refuse_a_pod_for_good() {
        let forbidden = |why: &str| forbidden(&format!("cannot set blockOwnerDeletion {why}"));
        let unknown = "in this case because cannot find RESTMapping for APIVersion shipwright.io/v1beta1 Kind BuildRun: no matches";
        assert_eq!(forbidden(unknown), None);
        let missing =
            "if an ownerReference refers to a resource you can't set finalizers on: , <nil>";
        assert!(forbidden(missing).is_some());
    }
}

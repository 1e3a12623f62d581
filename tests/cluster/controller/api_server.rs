//! The API server, and what keeps its objects, go away in the middle of runs and come back.

use super::super::harness::Namespace;
use super::Controller;
use super::audit::Following;
use super::disturbed::{Audited, Component, Runs};

#[test]
fn runs_outlive_the_api_server_and_etcd() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("api-server");
    let mut runs = Runs::prepare(&namespace);
    for (component, writes) in [("kube-apiserver", 7), ("etcd", 12)] {
        let audit = Following::from_now();
        runs.create(5);
        let mut seen = 0;
        audit.wait_for(&format!("write {writes}"), |request| {
            seen += usize::from(
                request.is_of_controller() && request.write_in(namespace.name()).is_some(),
            );
            seen == writes
        });
        let _back = Component::stopped(component);
    }
    runs.assert_each_built_once(Audited::AlmostEverything);
}

//! The cluster's ordinary users, who have the rights that a test gives them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::super::harness::{Namespace, PATIENCE, kubectl, output_of, run, variable};
use super::role_use::rights;

/// One of the cluster's ordinary users, with a role in one namespace.
pub struct Person<'a> {
    pub namespace: &'a Namespace,
    pub name: &'static str,
}

impl<'a> Person<'a> {
    /// With a role of the whole cluster, in this namespace.
    pub fn bound(namespace: &'a Namespace, name: &'static str, role: &str) -> Self {
        Self::bound_by(namespace, name, &format!("--clusterrole={role}"))
    }

    /// With a role of this namespace.
    pub fn with_role(namespace: &'a Namespace, name: &'static str, role: &str) -> Self {
        Self::bound_by(namespace, name, &format!("--role={role}"))
    }

    fn bound_by(namespace: &'a Namespace, name: &'static str, role: &str) -> Self {
        let user = format!("--user={name}");
        namespace.kubectl(&["create", "rolebinding", name, role, &user]);
        let person = Self { namespace, name };
        // A moment passes before a binding counts.
        let deadline = std::time::Instant::now() + PATIENCE;
        while !person.can(&["get", "builds.shipwright.io"]) {
            assert!(std::time::Instant::now() < deadline, "{role} does not let {name} get builds");
        }
        person
    }

    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Output {
        output_of(&mut self.command(arguments), input)
    }

    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        run(self.command(arguments), input)
    }

    pub fn can(&self, what: &[&str]) -> bool {
        self.try_kubectl(&[&["auth", "can-i"], what].concat(), "").status.success()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = kubectl(&[&["--namespace", self.namespace.name()], arguments].concat());
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    pub fn kubeconfig(&self) -> String {
        variable(&format!("SLIPWAY_KUBECONFIG_{}", self.name.to_uppercase()))
    }

    /// A line of a page, as somebody types it in a directory.
    pub fn type_in(&self, directory: &Path, line: &str) -> String {
        let mut shell = Command::new("sh");
        let here = "kubectl() { command kubectl --namespace \"$NAMESPACE\" \"$@\"; }";
        shell.args(["-euc", &format!("{here}\n{line}")]).current_dir(directory);
        shell.env("KUBECONFIG", self.kubeconfig()).env("NAMESPACE", self.namespace.name());
        run(shell, "")
    }

    /// Everything that somebody with this person's roles may do in a namespace, as `verb resource.group`.
    fn rights(&self, namespace: &str) -> BTreeSet<String> {
        let spec = json!({ "namespace": namespace });
        let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": spec });
        let create = ["create", "--validate=false", "--filename=-", "--output=json"];
        let review: Value =
            serde_json::from_str(&self.kubectl(&create, &review.to_string())).unwrap();
        assert_eq!(review["status"]["incomplete"], false);
        rights(review["status"]["resourceRules"].as_array().unwrap())
    }

    /// What the role gives that everybody does not have anyway.
    pub fn own_rights(&self) -> BTreeSet<String> {
        let everybody = self.rights("default");
        self.rights(self.namespace.name()).difference(&everybody).cloned().collect()
    }
}

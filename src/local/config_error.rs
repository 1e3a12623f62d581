//! Why a container cannot be made: what the kubelet says in its waiting message, in its words.
//!
//! Invariant: no value of a Secret or ConfigMap; names only.

use crate::plan::go_quote;

/// Why the kubelet's part of the work cannot be done; on a cluster the reason is `CreateContainerConfigError`, or a volume that
/// is not mounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A Secret is not there.
    #[error("secret {} not found", go_quote(name))]
    NoSecret {
        /// Its name.
        name: String,
    },
    /// A ConfigMap is not there.
    #[error("configmap {} not found", go_quote(name))]
    NoConfigMap {
        /// Its name.
        name: String,
    },
    /// A variable asks for a key that the object does not have.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Namespace of the object.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A volume asks for a key that the Secret does not have.
    #[error("references non-existent secret key: {key}")]
    NoSecretItem {
        /// The key.
        key: String,
    },
    /// A volume asks for a key that the ConfigMap does not have.
    #[error("configmap references non-existent config key: {key}")]
    NoConfigMapItem {
        /// The key.
        key: String,
    },
    /// A volume cannot be filled.
    #[error("MountVolume.SetUp failed for volume {} : {why}", go_quote(volume))]
    Volume {
        /// The volume.
        volume: String,
        /// What is wrong with its content.
        why: Box<ConfigError>,
    },
    /// A file's path inside a volume leaves it, or is none.
    #[error("invalid path: {rule}: {path}")]
    Path {
        /// What is wrong.
        rule: &'static str,
        /// The path.
        path: String,
    },
    /// A path is a file and a directory at once.
    #[error("invalid path: is a file and a directory at once: {path}")]
    Crossed {
        /// The path.
        path: String,
    },
    /// A path of the engine's machine is not what its volume says.
    #[error("hostPath type check failed: {path} is not {is_not}")]
    HostPath {
        /// The path.
        path: String,
        /// What it is not.
        is_not: &'static str,
    },
    /// The path of a mount has variables without a value.
    #[error("missing value for {variables}")]
    NoValue {
        /// Their names.
        variables: String,
    },
    /// The path of a mount in its volume is none, or none for an engine.
    #[error("{field} {written} of volume {volume} at {mount_path} {rule}")]
    SubPath {
        /// `subPath` or `subPathExpr`.
        field: &'static str,
        /// As it was written, with its variables.
        written: String,
        /// The volume.
        volume: String,
        /// Where it is mounted.
        mount_path: String,
        /// What is wrong with what it becomes.
        rule: &'static str,
    },
    /// A field that does not exist, or not here.
    #[error("unsupported fieldPath: {path}")]
    Field {
        /// The path of the field.
        path: String,
    },
    /// A resource that cannot be asked for.
    #[error("unsupported container resource : {resource}")]
    Resource {
        /// The resource, such as `limits.cpu`.
        resource: String,
    },
    /// The container whose resources are asked for is not there.
    #[error("container {name} not found")]
    NoContainer {
        /// Its name.
        name: String,
    },
    /// A variable comes from a file of a volume.
    #[error(
        "variable {variable} comes from a file (fileKeyRef), which local runs cannot read; use a key of a Secret or ConfigMap"
    )]
    FileKey {
        /// The variable.
        variable: String,
    },
    /// The value of a variable cannot be handed to a process.
    #[error(
        "variable {variable} has a value that is not UTF-8 or contains a NUL byte; mount it as a file"
    )]
    Bytes {
        /// The variable.
        variable: String,
    },
    /// `runAsUser` is root and must not be.
    #[error(
        "container's runAsUser breaks non-root policy (pod: {}, container: {container})",
        go_quote(pod)
    )]
    RootUser {
        /// Pod, namespace and uid, as the kubelet writes them.
        pod: String,
        /// The container.
        container: String,
    },
    /// The image's user is root and must not be.
    #[error(
        "container has runAsNonRoot and image will run as root (pod: {}, container: {container})",
        go_quote(pod)
    )]
    RootImage {
        /// Pod, namespace and uid, as the kubelet writes them.
        pod: String,
        /// The container.
        container: String,
    },
    /// The image's user is a number that no user may have.
    #[error(
        "container has runAsNonRoot and image has an invalid user id ({uid}). (Must be 1-(2147483647)): must be between 0 and 2147483647, inclusive (pod: {}, container: {container})",
        go_quote(pod)
    )]
    ImageUser {
        /// The number.
        uid: i64,
        /// Pod, namespace and uid, as the kubelet writes them.
        pod: String,
        /// The container.
        container: String,
    },
    /// The image's user is a name, behind which there may be root.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: {}, container: {container})",
        go_quote(pod)
    )]
    NamedUser {
        /// The user.
        user: String,
        /// Pod, namespace and uid, as the kubelet writes them.
        pod: String,
        /// The container.
        container: String,
    },
    /// A seccomp profile that only a node has.
    #[error(
        "container {container} wants the node's seccomp profile {}, which is not on this machine; use RuntimeDefault",
        go_quote(profile)
    )]
    Seccomp {
        /// The container.
        container: String,
        /// Path of the profile below the kubelet's directory of profiles.
        profile: String,
    },
}

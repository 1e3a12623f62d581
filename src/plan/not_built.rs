//! Steps whose part of `slipway-step` does not exist yet: their pod is right, and they will fail and say so.

use k8s_openapi::api::core::v1::Pod;
use slipway_step::protocol::PROGRAM;

/// What is asked for, by the word in the command line that asks for it.
const MISSING: [(&str, &str); 1] = [("bundle", "sources from OCI artifacts")];

/// One sentence for each step that cannot do its work yet.
pub fn not_built(pod: &Pod) -> Vec<String> {
    let mut found = Vec::new();
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        let arguments = container.args.iter().flatten();
        let command: Vec<&String> = arguments.skip_while(|argument| *argument != "--").collect();
        if command.get(1).is_none_or(|program| *program != PROGRAM) {
            continue;
        }
        for (_, what) in
            MISSING.iter().filter(|(word, _)| command.iter().any(|argument| argument == word))
        {
            found.push(format!("{what} are not built yet: {} will fail", container.name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_steps_that_will_fail_are_named() {
        let container = |name: &str, arguments: &[&str]| json!({ "name": name, "args": arguments });
        let pod = json!({ "spec": { "containers": [
            container("step-source-default", &["gate", "--", "slipway-step", "bundle", "--image", "x"]),
            container("step-build", &["gate", "--", "bundle", "--image-timestamp", "0"]),
            container("step-image-processing", &["gate", "--", "slipway-step", "image-processing", "--push", "x"]),
        ] } });
        let found = not_built(&serde_json::from_value(pod).unwrap());
        assert_eq!(
            found,
            ["sources from OCI artifacts are not built yet: step-source-default will fail"]
        );
    }
}

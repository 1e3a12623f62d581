//! What a step finds around itself: environment, working directory, root, command.

use serde_json::{Value, json};

use super::harness::{Documents, User};

fn config() -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "config" },
            "data": { "one": "from the map", "A_B": "whole" },
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "secret" },
            "stringData": { "password": "very-hidden-value" },
        }),
    ]
}

#[test]
fn the_environment_is_a_pods() {
    let user = User::root();
    let [map, secret] = config();
    let documents = Documents::script(
        r#"echo "$MAP|$SECRET|$POD|$LIMIT|$BOTH|$LATER|$ESCAPED"; echo "$1|$2""#,
    )
    .with_step("args", json!(["script", "$(MAP)!", "$$(MAP) $(UNKNOWN)"]))
    .with_step(
        "env",
        json!([
            { "name": "MAP", "valueFrom": { "configMapKeyRef": { "name": "config", "key": "one" } } },
            { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "secret", "key": "password" } } },
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
            { "name": "LIMIT", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } } },
            { "name": "BOTH", "value": "$(POD)-$(MAP)" },
            { "name": "LATER", "value": "$(ZZZ)" },
            { "name": "ESCAPED", "value": "$$(POD)" },
        ]),
    )
    .with_step("resources", json!({ "limits": { "memory": "64Mi" } }))
    .with(map)
    .with(secret);
    user.run(&documents.text(), &[]).expect(0).prints(&[
        "from the map|very-hidden-value|default|64|default-from the map|$(ZZZ)|$(POD)",
        "from the map!|$(MAP) $(UNKNOWN)",
    ]);
    user.expect_nothing_left();
}

#[test]
fn a_secret_is_in_no_argument_and_in_no_line() {
    let user = User::root();
    let [map, secret] = config();
    let documents = Documents::script("wc -c </mnt/secret/password; [ -n \"$PASSWORD\" ]")
        .with_volume("secret", json!({ "secret": { "secretName": "secret" } }))
        .with_step(
            "env",
            json!([{ "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "secret", "key": "password" } } }]),
        )
        .with(map)
        .with(secret);
    let ran = user.run(&documents.text(), &["--keep"]).expect(0).prints(&["17"]);
    let value = "very-hidden-value";
    assert!(!ran.stderr.contains(value) && !ran.stdout.contains(value), "{}", ran.stderr);
    let mut in_environment = 0;
    for name in user.containers("{{.Names}}") {
        let inspect = |part: &str| {
            let format = format!("{{{{json {part}}}}}");
            super::harness::succeed(&mut user.podman(&[
                "inspect",
                "--type",
                "container",
                "--format",
                &format,
                &name,
            ]))
        };
        in_environment += inspect(".Config.Env").matches(value).count();
        for part in
            [".Args", ".Path", ".Config.Cmd", ".Config.Entrypoint", ".Config.Labels", ".Mounts"]
        {
            assert!(!inspect(part).contains(value), "{name}: {part}");
        }
    }
    assert_eq!(in_environment, 1, "only where the strategy asked for it");
}

#[test]
fn working_directories_are_made_and_relative_ones_begin_at_the_workspace() {
    let user = User::root();
    for (directory, expected) in
        [("/made/here", "/made/here"), ("made", "/workspace/made"), ("/mnt/data", "/mnt/data")]
    {
        let documents = Documents::script("pwd")
            .with_volume("data", json!({ "emptyDir": {} }))
            .with_step("workingDir", json!(directory));
        user.run(&documents.text(), &[]).expect(0).prints(&[expected]);
    }
    user.expect_nothing_left();
}

#[test]
fn a_read_only_root_is_one() {
    let user = User::root();
    let documents =
        Documents::script("touch /here 2>/dev/null || echo no; touch /mnt/data/here && echo yes")
            .with_volume("data", json!({ "emptyDir": {} }))
            .with_step(
                "securityContext",
                json!({ "runAsUser": 0, "runAsGroup": 0, "readOnlyRootFilesystem": true }),
            );
    user.run(&documents.text(), &[]).expect(0).prints(&["no", "yes"]);
    user.expect_nothing_left();
}

#[test]
fn a_step_without_a_command_runs_its_images() {
    let user = User::root();
    let image = format!("localhost/slipway-test/greeter:{}", std::process::id());
    let file = user.write(
        "greeter/Containerfile",
        &format!(
            "FROM {}\nENTRYPOINT [\"echo\", \"hello\"]\nCMD [\"world\"]\n",
            super::harness::BUSYBOX
        ),
    );
    let mut build = user.podman(&["build", "--quiet", "--pull-never", "--tag", &image]);
    super::harness::succeed(build.arg(file.parent().unwrap()));
    let entrypoint = user.run(&Documents::step(&json!({ "image": image })).text(), &[]);
    let arguments = json!({ "image": image, "args": ["there"] });
    let arguments = user.run(&Documents::step(&arguments).text(), &[]);
    super::harness::succeed(&mut user.podman(&["rmi", "--force", &image]));
    entrypoint.expect(0).prints(&["hello world"]);
    arguments.expect(0).prints(&["hello there"]);
    user.expect_nothing_left();
}

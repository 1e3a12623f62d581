//! What a plan prints, the program reads back unchanged.

use clap::Parser;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;

/// What users write: anything that a command line can carry, flags and the empty text included.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[^\0]{0,24}",
        1 => "--?[a-z]{0,6}(=[^\0]{0,6})?",
        1 => Just("--".to_owned()),
        1 => Just(String::new()),
    ]
}

/// Paths that a plan makes up are absolute.
fn path() -> impl Strategy<Value = String> {
    "/[^\0]{0,16}"
}

/// Names of results and secrets.
fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9.]{0,12}[a-z0-9])?"
}

/// Targets of credentials: not empty.
fn target() -> impl Strategy<Value = String> {
    "[^\0]{1,24}"
}

fn credential() -> impl Strategy<Value = Credential> {
    prop_oneof![
        name().prop_map(|secret| Credential::DockerConfig { secret }),
        name().prop_map(|secret| Credential::Dockercfg { secret }),
        (name(), target())
            .prop_map(|(secret, registry)| Credential::DockerBasic { secret, registry }),
        (name(), target()).prop_map(|(secret, url)| Credential::GitBasic { secret, url }),
        (name(), target()).prop_map(|(secret, host)| Credential::GitSsh { secret, host }),
    ]
}

prop_compose! {
    fn gate()(
        run_dir in path(),
        after in of(path()),
        await_started in vec(path(), 0..3),
        workdir in of(text()),
        budget in any::<usize>(),
        results in vec(name(), 0..4),
        credentials in vec(credential(), 0..4),
        command in vec(text(), 1..5),
    ) -> GateCommand {
        GateCommand { run_dir, after, await_started, workdir, budget, results, credentials, command }
    }
}

prop_compose! {
    fn git()(
        (url, target) in (text(), text()),
        files in vec(of(path()), 6),
        revision in of(text()),
        depth in of(any::<u32>()),
        secret_path in of(path()),
        switches in any::<[bool; 4]>(),
    ) -> GitCommand {
        let [git_url_rewrite, show_listing, skip_validation, verbose] = switches;
        let mut files = files.into_iter();
        let mut file = || files.next().flatten();
        GitCommand {
            url,
            target,
            result_file_commit_sha: file(),
            result_file_commit_author: file(),
            result_file_branch_name: file(),
            result_file_error_message: file(),
            result_file_error_reason: file(),
            result_file_source_timestamp: file(),
            revision,
            depth,
            git_url_rewrite,
            secret_path,
            show_listing,
            skip_validation,
            verbose,
        }
    }
}

prop_compose! {
    fn bundle()(
        (image, target) in (text(), text()),
        result_file_image_digest in of(path()),
        result_file_source_timestamp in of(path()),
        secret_path in of(path()),
        (prune, show_listing, wait) in any::<(bool, bool, u64)>(),
    ) -> BundleCommand {
        BundleCommand {
            image,
            target,
            result_file_image_digest,
            result_file_source_timestamp,
            secret_path,
            prune,
            show_listing,
            wait,
        }
    }
}

prop_compose! {
    fn image()(
        (push, save, image) in (of(text()), of(text()), text()),
        (annotations, labels) in (vec(text(), 0..3), vec(text(), 0..3)),
        vuln_settings in of(r#"\{"enabled":(true|false)\}"#),
        vuln_count_limit in of(any::<u32>()),
        image_timestamp in of(text()),
        insecure in any::<bool>(),
        files in vec(of(path()), 5),
    ) -> ImageCommand {
        let mut files = files.into_iter();
        let mut file = || files.next().flatten();
        ImageCommand {
            push,
            save,
            annotations,
            labels,
            vuln_settings,
            vuln_count_limit,
            image_timestamp,
            image_timestamp_file: file(),
            image,
            insecure,
            result_file_image_digest: file(),
            result_file_image_size: file(),
            result_file_image_vulnerabilities: file(),
            secret_path: file(),
        }
    }
}

prop_compose! {
    fn waiter()(done in any::<bool>(), lock_file in text(), timeout in text()) -> WaiterCommand {
        let action = if done { WaiterAction::Done } else { WaiterAction::Start };
        WaiterCommand { action, lock_file, timeout }
    }
}

fn command() -> impl Strategy<Value = StepCommand> {
    prop_oneof![
        gate().prop_map(StepCommand::Gate),
        path().prop_map(|to| StepCommand::Prepare(PrepareCommand { to })),
        git().prop_map(StepCommand::Git),
        bundle().prop_map(StepCommand::Bundle),
        waiter().prop_map(StepCommand::Waiter),
        image().prop_map(StepCommand::ImageProcessing),
    ]
}

proptest! {
    #[test]
    fn a_printed_command_is_read_back_unchanged(command in command()) {
        let args = command.to_args();
        let line = std::iter::once(PROGRAM.to_owned()).chain(args.iter().cloned());
        let read = StepCommandLine::try_parse_from(line)
            .map_err(|error| TestCaseError::fail(format!("{args:?}: {error}")))?;
        prop_assert_eq!(read.command, command);
    }
}

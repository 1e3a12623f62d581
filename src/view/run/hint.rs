//! What to tell somebody who runs this for the first time.

use crate::view::one_line;

/// Printed below the help of `slipway run`.
pub const EXAMPLES: &str = "\
Examples:
  slipway run -f samples/hello --load
  slipway run -f strategy.yaml build.yaml --source .
  slipway run -f . --buildrun nightly --param verbose=true --secret push=./credentials
  image=$(slipway run -f .)
  slipway run -f . -o json | jq .buildrun.status.output

Logs, progress and the table of steps go to standard error. Standard output gets one line: IMAGE@DIGEST once the image is pushed, IMAGE once it is loaded.
With -o json or yaml it gets the BuildRun and its Pod, also of a build that failed.
Docker or Podman must be running; DOCKER_HOST or --engine names one that is somewhere else.";

/// How to come by an engine, for somebody who has none; `tried` are the places where one was looked for.
pub fn no_engine_hint(tried: &[String]) -> String {
    let mut text = String::from("slipway run needs Docker or Podman, and none answers.\n");
    if !tried.is_empty() {
        text.push_str("\nLooked for one at:\n");
        text.extend(tried.iter().map(|place| format!("  {}\n", one_line(place))));
    }
    text.push_str(INSTALL);
    text
}

const INSTALL: &str = "
If one is installed, start it:
  Podman          systemctl --user enable --now podman.socket
  without systemd podman system service --time=0 unix:///tmp/podman.sock   (then --engine unix:///tmp/podman.sock)
  Docker          sudo systemctl enable --now docker; as an ordinary user you must be in the group docker
  macOS           podman machine start, or open Docker Desktop

If not, install one:
  Debian, Ubuntu  sudo apt install podman && systemctl --user enable --now podman.socket
  Fedora          sudo dnf install podman && systemctl --user enable --now podman.socket
  macOS           brew install podman && podman machine init && podman machine start

If it is somewhere else, say where: --engine URL, or DOCKER_HOST in the environment, such as
  unix:///run/user/1000/podman/podman.sock or tcp://build-machine:2376
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_what_was_tried_and_every_way_out() {
        let tried = ["unix:///var/run/docker.sock: permission denied".into(), "a\u{1b}b".into()];
        let hint = no_engine_hint(&tried);
        for part in [
            "  unix:///var/run/docker.sock: permission denied\n  a\\u{1b}b\n",
            "apt install podman",
            "dnf install podman",
            "podman machine init",
            "podman.socket",
            "--engine URL",
            "DOCKER_HOST",
        ] {
            assert!(hint.contains(part), "{part}: {hint}");
        }
        assert!(!no_engine_hint(&[]).contains("Looked"));
    }
}

//! Over http and https, with and without a password.

use super::fixture::{Origin, Step};
use super::http_server::{HttpServer, PASSWORD, USERNAME};

const NO_REPOSITORY: &str =
    "The source repository does not exist, or you have insufficient permission to access it.";
const BAD_PASSWORD: &str = "Basic authentication has failed. Check your username or password. Note: GitHub requires a personal access token instead of your regular password.";

/// A step that trusts the server's certificate.
fn step(server: &HttpServer, path: &str) -> Step {
    Step::new(&format!("https://127.0.0.1:{}/{path}", server.port))
        .variable("GIT_SSL_CAINFO", &server.certificate())
}

fn root(origin: &Origin) -> std::path::PathBuf {
    origin.bare().parent().unwrap().to_owned()
}

#[test]
fn username_and_password() {
    let origin = Origin::new();
    let server = HttpServer::secured(&root(&origin));
    let secret = [("username", "me\n"), ("password", "p@ss word\n")];
    let outcome = step(&server, "origin.git").secret(&secret).run().succeeded();
    assert_eq!(outcome.results["commit-sha"], origin.id("main"));
    outcome.hides(PASSWORD).hides("p%40ss%20word");
}

#[test]
fn a_pull_request_and_a_private_submodule_with_a_password() {
    let (outer, inner) = (Origin::new(), Origin::new());
    std::os::unix::fs::symlink(inner.bare(), root(&outer).join("inner.git")).unwrap();
    outer.add_submodule(&inner.url(), "inner");
    let server = HttpServer::secured(&root(&outer));
    outer.commit(
        ".gitmodules",
        &format!(
            "[submodule \"inner\"]\npath = inner\nurl = https://127.0.0.1:{}/inner.git\n",
            server.port
        ),
    );
    super::fixture::git(&outer.work(), &["update-ref", "refs/pull/2/head", "main"]);
    outer.push();
    let secret = [("username", USERNAME), ("password", PASSWORD)];
    let outcome = step(&server, "origin.git")
        .secret(&secret)
        .revision("refs/pull/2/head")
        .run()
        .succeeded()
        .hides(PASSWORD);
    assert_eq!(outcome.file("inner/number"), "5");
}

#[test]
fn a_password_in_the_url_works_and_stays_out_of_the_log() {
    let origin = Origin::new();
    let server = HttpServer::secured(&root(&origin));
    let url = format!("https://me:p%40ss%20word@127.0.0.1:{}/origin.git", server.port);
    let step = Step::new(&url).variable("GIT_SSL_CAINFO", &server.certificate());
    step.run().succeeded().hides("p%40ss%20word");
}

#[test]
fn a_wrong_password() {
    let origin = Origin::new();
    let server = HttpServer::secured(&root(&origin));
    let secret = [("username", USERNAME), ("password", "S3cret")];
    let outcome = step(&server, "origin.git").secret(&secret).run().hides("S3cret");
    outcome.failed(128, "GitAuthInvalidUserOrPass", BAD_PASSWORD);
}

#[test]
fn no_password_at_all() {
    let origin = Origin::new();
    let server = HttpServer::secured(&root(&origin));
    let outcome = step(&server, "origin.git").run();
    outcome.failed(128, "GitRemoteRepositoryPrivate", NO_REPOSITORY);
}

#[test]
fn a_repository_that_is_not_there() {
    let origin = Origin::new();
    let server = HttpServer::secured(&root(&origin));
    let secret = [("username", USERNAME), ("password", PASSWORD)];
    let outcome = step(&server, "nope.git").secret(&secret).run();
    outcome.failed(128, "GitRemoteRepositoryNotFound", NO_REPOSITORY);
}

#[test]
fn a_certificate_that_nobody_knows() {
    let origin = Origin::new();
    let server = HttpServer::secured(&root(&origin));
    let outcome = Step::new(&format!("https://127.0.0.1:{}/origin.git", server.port)).run();
    assert_eq!(outcome.results["error-reason"], "GitError");
    let message = &outcome.results["error-message"];
    assert!(message.contains("certificate"), "{message}");
}

#[test]
fn plain_http() {
    let origin = Origin::new();
    let server = HttpServer::plain(&root(&origin));
    let url = |path: &str| format!("http://127.0.0.1:{}/{path}", server.port);
    let outcome = Step::new(&url("origin.git")).run().succeeded();
    assert_eq!(outcome.file("number"), "5");
    let id = origin.id("main~3");
    let outcome = Step::new(&url("origin.git")).revision(&id).run().succeeded();
    assert_eq!((outcome.history(), outcome.results["commit-sha"].as_str()), (1, id.as_str()));
    let outcome = Step::new(&url("nope.git")).run();
    outcome.failed(128, "GitRemoteRepositoryNotFound", NO_REPOSITORY);
}

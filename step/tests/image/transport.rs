//! Passwords, certificates, plain HTTP, and registries that have a bad day.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use rstest::rstest;
use serde_json::json;
use tempfile::tempdir;

use super::fake::{
    Fault, Server, answer, answer_with, away_for_a_moment, header, in_front_of, proxy_to,
};
use super::layout::simple;
use super::registry::{Options, PASSWORD, Registry, USER};
use super::tools::{Ran, finish, process, run, skopeo_config, skopeo_raw, step};

const BUSY: &str =
    "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const DOWN: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlater";

/// Pushes a small layout with some more flags.
fn push(image: &str, more: &[&str]) -> Ran {
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    process(&[&["--push", layout.to_str().unwrap(), "--image", image], more].concat())
}

/// Pushes a small layout, trusting the certificates in one file.
fn push_trusting(bundle: &Path, image: &str, more: &[&str]) -> Ran {
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    let arguments = ["--push", layout.to_str().unwrap(), "--image", image];
    finish(step().args(arguments).args(more).env("SSL_CERT_FILE", bundle))
}

/// A mounted push secret.
fn secret(dir: &Path, registry: &str, user: &str, password: &str) -> String {
    let pair = dir.join("pair");
    fs::write(&pair, format!("{user}:{password}")).unwrap();
    let auth = run("base64", &["--wrap=0", pair.to_str().unwrap()]);
    let config = json!({"auths": {registry: {"auth": String::from_utf8(auth).unwrap()}}});
    fs::write(dir.join(".dockerconfigjson"), config.to_string()).unwrap();
    dir.to_str().unwrap().to_owned()
}

#[test]
fn a_password_and_a_private_ca_are_enough() {
    let registry = Registry::start(&Options { password: true, tls: true, ..Options::default() });
    let host = format!("localhost:{}", registry.port);
    let dir = tempdir().unwrap();
    let path = secret(dir.path(), &host, USER, PASSWORD);
    let image = format!("{host}/team/app:1");
    push_trusting(&registry.ca(), &image, &["--secret-path", &path]).succeeded();
    let file = format!("{path}/.dockerconfigjson");
    push_trusting(&registry.ca(), &image, &["--secret-path", &file]).succeeded();
    // With any certificate, for those who ask for it.
    push(&image, &["--secret-path", &path, "--insecure=true"]).succeeded();
}

#[test]
fn a_wrong_password_is_explained_and_never_shown() {
    let registry = Registry::start(&Options { password: true, ..Options::default() });
    let host = format!("127.0.0.1:{}", registry.port);
    let dir = tempdir().unwrap();
    let path = secret(dir.path(), &host, USER, "wr0ng-one");
    let image = registry.image("team/app:1");
    let log = push(&image, &["--secret-path", &path, "--insecure=true"]).failed(1);
    assert!(log.contains(&format!("registry {host} refused to log in for {image}")), "{log}");
    assert!(log.contains("401 Unauthorized: authentication required"), "{log}");
    assert!(log.contains("check the push secret"), "{log}");
    assert!(!log.contains("wr0ng-one") && !log.contains("d3IwbmctbmU"), "{log}");
    assert!(!log.contains("trying again"), "{log}");
    let log = push(&image, &["--insecure=true"]).failed(1);
    assert!(log.contains("it wants a user and password, and none are given"), "{log}");
}

#[test]
fn a_secret_for_another_registry_is_refused_before_anything_is_sent() {
    let dir = tempdir().unwrap();
    let path = secret(dir.path(), "https://quay.io", USER, PASSWORD);
    let log = push("quay.io/a/b:1", &["--secret-path", &path]).failed(1);
    assert_eq!(
        log,
        "failed to find registry credentials for quay.io, available configurations: https://quay.io\n"
    );
}

#[rstest]
#[case::of_an_unknown_authority(Options { tls: true, ..Options::default() })]
#[case::of_its_own(Options { self_signed: true, ..Options::default() })]
fn an_unknown_certificate_is_refused(#[case] options: Options) {
    let registry = Registry::start(&options);
    let image = registry.image("a:1");
    let log = push(&image, &[]).failed(1);
    assert!(log.contains("the certificate of registry 127.0.0.1:"), "{log}");
    assert!(log.contains("add its CA to the bundle"), "{log}");
    assert!(!log.contains("trying again"), "{log}");
    push(&image, &["--insecure=true"]).succeeded();
}

#[test]
fn an_image_without_roots_of_trust_is_told_so_and_may_still_be_insecure() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let empty = dir.path().join("empty.crt");
    fs::write(&empty, "").unwrap();
    let image = registry.image("a:1");
    let log = push_trusting(&empty, &image, &[]).failed(1);
    assert!(log.contains("needs a CA bundle such as /etc/ssl/certs/ca-certificates.crt"), "{log}");
    push_trusting(&empty, &image, &["--insecure=true"]).succeeded();
}

#[rstest]
#[case("127.0.0.1", "--insecure=false")]
#[case("localhost", "--insecure=false")]
fn plain_http_is_refused_on_this_machine_too(#[case] host: &str, #[case] flag: &str) {
    let registry = Registry::plain();
    let image = format!("{host}:{}/a:1", registry.port);
    let log = push(&image, &[flag]).failed(1);
    assert!(log.contains("the http protocol is not allowed"), "{log}");
    assert!(!log.contains("trying again"), "{log}");
    let seen = registry.log();
    assert!(!seen.contains("http.request.method=POST"), "something was sent: {seen}");
}

#[rstest]
#[case::upload("  host: http://127.0.0.1:9\n", "")]
#[case::issuer(
    "",
    "auth:\n  token: {realm: 'http://127.0.0.1:9/token', service: s, issuer: i, rootcertbundle: ROOT/ca.crt}\n"
)]
fn plain_http_is_refused_where_the_registry_leads(
    #[case] http: &'static str,
    #[case] more: &'static str,
) {
    let registry = Registry::start(&Options { tls: true, http, more, ..Options::default() });
    let dir = tempdir().unwrap();
    let host = format!("127.0.0.1:{}", registry.port);
    let path = secret(dir.path(), &host, USER, PASSWORD);
    let log =
        push_trusting(&registry.ca(), &registry.image("a:1"), &["--secret-path", &path]).failed(1);
    assert!(
        log.contains(&format!("registry {host} leads to http://127.0.0.1:9; set output.insecure")),
        "{log}"
    );
}

#[rstest]
#[case::busy(|| vec![Fault::Answer(BUSY), Fault::Answer(DOWN)])]
#[case::cut(|| vec![Fault::CutAfter(100_000)])]
fn a_bad_moment_passes(#[case] faults: fn() -> Vec<Fault>) {
    let registry = Registry::plain();
    let port = in_front_of(registry.port, faults());
    let log = push(&format!("127.0.0.1:{port}/a:1"), &["--insecure=true"]).succeeded().log;
    assert!(log.contains("trying again in 500ms"), "{log}");
    assert!(!skopeo_raw(&registry.image("a:1")).is_empty());
}

#[test]
fn a_registry_with_tls_may_be_away_for_a_moment() {
    let registry = Registry::start(&Options { tls: true, ..Options::default() });
    let port = away_for_a_moment(registry.port);
    let log = push(&format!("127.0.0.1:{port}/a:1"), &["--insecure=true"]).succeeded().log;
    assert!(log.contains("trying again in 500ms"), "{log}");
    assert!(!skopeo_raw(&registry.image("a:1")).is_empty());
}

/// A registry that answers every request in another way the first time it gets it.
fn moody(answers: &'static [(&'static str, &'static [(&'static str, &'static str)])]) -> Server {
    let seen = Mutex::new(BTreeSet::new());
    Server::start(move |_, request| {
        let line = request.lines().next().unwrap().to_owned();
        let mut seen = seen.lock().unwrap();
        if seen.insert(line.clone()) {
            let (status, headers) = answers[seen.len() % answers.len()];
            return answer(status, headers);
        }
        match line.split(' ').next() {
            Some("HEAD") => answer("404 Not Found", &[]),
            Some("POST") => answer("202 Accepted", &[("Location", "/upload")]),
            Some("PUT") => answer("201 Created", &[]),
            _ => answer("200 OK", &[]),
        }
    })
}

#[test]
fn every_request_may_fail_once() {
    let registry = moody(&[
        ("429 Too Many Requests", &[("Retry-After", "1")]),
        ("500 Internal Server Error", &[]),
        ("502 Bad Gateway", &[]),
        ("503 Service Unavailable", &[("Retry-After", "Tue, 14 Nov 2023 22:13:25 GMT")]),
        ("504 Gateway Timeout", &[]),
    ]);
    let image = format!("127.0.0.1:{}/a:1", registry.port);
    let log = push(&image, &["--insecure"]).succeeded().log;
    assert_eq!(registry.requests("GET /v2/ ").len(), 2);
    assert_eq!(registry.requests("HEAD /v2/a/blobs/").len(), 6);
    assert_eq!(registry.requests("PUT /v2/a/manifests/1 ").len(), 2);
    // An upload that failed begins anew, with a place of its own.
    assert_eq!(registry.requests("PUT /upload?digest=").len(), 6);
    // All blobs begin by the same line, so that one fails once in all.
    assert_eq!(registry.requests("POST /v2/a/blobs/uploads/ ").len(), 1 + 6);
    assert!(log.contains("429 Too Many Requests; trying again in 1s"), "{log}");
}

#[rstest]
#[case("400 Bad Request")]
#[case("403 Forbidden")]
#[case("404 Not Found")]
#[case("405 Method Not Allowed")]
#[case("413 Payload Too Large")]
fn what_will_not_pass_is_not_tried_again(#[case] status: &'static str) {
    let registry = Server::start(move |_, request| match request.split(' ').next() {
        Some("HEAD") => answer("404 Not Found", &[]),
        Some("POST") => answer("202 Accepted", &[("Location", "/upload")]),
        Some("PUT") if !request.contains("/manifests/") => answer("201 Created", &[]),
        Some("PUT") => answer_with(status, &[], "no"),
        _ => answer("200 OK", &[]),
    });
    let image = format!("127.0.0.1:{}/a:1", registry.port);
    let log = push(&image, &["--insecure"]).failed(1);
    assert!(log.contains(&format!("{status}: no")), "{log}");
    assert_eq!(registry.requests("PUT /v2/a/manifests/1 ").len(), 1, "{log}");
}

#[test]
fn a_download_that_breaks_off_begins_anew() {
    let source = Registry::plain();
    let kept = source.image("a:1");
    push(&kept, &["--insecure"]).succeeded();
    let port = in_front_of(source.port, vec![Fault::CutAnswer(100_000)]);
    let image = format!("127.0.0.1:{port}/a:1");
    let arguments = ["--insecure", "--image", &image, "--image-timestamp", "1700000000"];
    let log = process(&arguments).succeeded().log;
    assert!(log.contains("trying again in 500ms"), "{log}");
    assert_eq!(skopeo_config(&kept)["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn a_registry_that_stays_down_is_given_up() {
    let server = Server::start(|_, _| DOWN.to_owned());
    let log = push(&format!("127.0.0.1:{}/a:1", server.port), &["--insecure=true"]).failed(1);
    assert!(log.contains("503 Service Unavailable: later"), "{log}");
    assert_eq!(server.requests("GET /v2/ ").len(), 5);
}

/// Where an upload leads; everything else is answered as a registry with an issuer of tokens does it.
fn registry_with_tokens(upload: String) -> Server {
    Server::start(move |port, request| {
        let challenge =
            format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"the one\"");
        if request.starts_with("GET /token") || request.starts_with("POST /token") {
            return answer_with("200 OK", &[], r#"{"access_token": "t0ken"}"#);
        }
        if header(request, "authorization") != Some("Bearer t0ken") {
            return answer("401 Unauthorized", &[("WWW-Authenticate", &challenge)]);
        }
        match request.split(' ').next() {
            Some("HEAD") => answer("404 Not Found", &[]),
            Some("POST") => answer("202 Accepted", &[("Location", &upload)]),
            Some("PUT") => answer("201 Created", &[]),
            _ => answer("200 OK", &[]),
        }
    })
}

#[test]
fn a_token_is_bought_once_and_shown_to_the_registry_only() {
    let storage = Server::start(|_, _| answer("201 Created", &[]));
    let upload = format!("http://127.0.0.1:{}/upload?signature=1", storage.port);
    let registry = registry_with_tokens(upload);
    let host = format!("127.0.0.1:{}", registry.port);
    let dir = tempdir().unwrap();
    let path = secret(dir.path(), &host, USER, PASSWORD);

    push(&format!("{host}/team/app:1"), &["--secret-path", &path, "--insecure=true"]).succeeded();

    let [bought] = &registry.requests("GET /token")[..] else { panic!("not one token") };
    assert!(
        bought
            .starts_with("GET /token?scope=repository%3Ateam%2Fapp%3Apull%2Cpush&service=the+one "),
        "{bought}"
    );
    assert!(header(bought, "authorization").unwrap().starts_with("Basic "));
    assert_eq!(registry.requests("PUT /v2/team/app/manifests/1 ").len(), 1);
    let uploads = storage.requests("PUT /upload?signature=1&digest=sha256%3A");
    assert_eq!(uploads.len(), 3);
    assert!(uploads.iter().all(|upload| header(upload, "authorization").is_none()));
}

#[test]
fn an_identity_token_buys_a_token() {
    let registry = registry_with_tokens("/v2/upload".to_owned());
    let host = format!("127.0.0.1:{}", registry.port);
    let dir = tempdir().unwrap();
    let file = dir.path().join("config.json");
    let config =
        json!({"auths": {&host: {"identitytoken": "id&entity"}}, "HttpHeaders": {"X-Team": "red"}});
    fs::write(&file, config.to_string()).unwrap();
    let path = file.to_str().unwrap();

    push(&format!("{host}/app:1"), &["--secret-path", path, "--insecure=true"]).succeeded();

    let [bought] = &registry.requests("POST /token ")[..] else { panic!("not one token") };
    assert!(bought.contains("grant_type=refresh_token&refresh_token=id%26entity&"), "{bought}");
    assert_eq!(header(bought, "x-team"), None);
    assert!(
        registry.requests("PUT /v2/upload").iter().all(|put| header(put, "x-team") == Some("red"))
    );
}

#[rstest]
#[case::it_has_the_blobs("200 OK", 0)]
#[case::it_asks_who_we_are("401 Unauthorized", 1)]
fn another_server_learns_nothing_of_us(#[case] status: &'static str, #[case] code: i32) {
    let storage = Server::start(move |port, _| {
        let challenge = format!("Bearer realm=\"http://127.0.0.1:{port}/token\"");
        answer(status, &[("WWW-Authenticate", &challenge)])
    });
    let elsewhere = format!("http://127.0.0.1:{}/blob", storage.port);
    let registry = Server::start(move |_, request| {
        if request.starts_with("HEAD") {
            return answer("307 Temporary Redirect", &[("Location", &elsewhere)]);
        }
        if header(request, "authorization").is_none() {
            return answer("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"r\"")]);
        }
        answer("200 OK", &[])
    });
    let host = format!("127.0.0.1:{}", registry.port);
    let dir = tempdir().unwrap();
    let file = dir.path().join("config.json");
    let config = json!({"auths": {&host: {"username": "u", "password": "p"}}, "HttpHeaders": {"X-Team": "red"}});
    fs::write(&file, config.to_string()).unwrap();
    let path = file.to_str().unwrap();

    let ran = push(&format!("{host}/app:1"), &["--secret-path", path, "--insecure=true"]);

    if code == 0 {
        ran.succeeded();
    } else {
        ran.failed(code);
    }
    let seen = storage.requests("");
    assert!(!seen.is_empty());
    for request in seen {
        assert!(request.starts_with("HEAD /blob "), "{request}");
        assert_eq!((header(&request, "authorization"), header(&request, "x-team")), (None, None));
    }
    assert!(registry.requests("HEAD").iter().all(|head| header(head, "x-team") == Some("red")));
}

#[test]
fn servers_that_lead_in_a_circle_are_left() {
    let registry = Server::start(|port, request| {
        let asked = header(request, "host").unwrap();
        let other = if asked.starts_with("localhost") { "127.0.0.1" } else { "localhost" };
        answer("307 Temporary Redirect", &[("Location", &format!("http://{other}:{port}/v2/"))])
    });
    let log = push(&format!("127.0.0.1:{}/a:1", registry.port), &["--insecure=true"]).failed(1);
    assert!(log.contains("led on to another server more than 5 times"), "{log}");
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let registry = Registry::start(&Options { tls: true, ..Options::default() });
    let (port, asked) = proxy_to(registry.port);
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    let arguments =
        ["--insecure=true", "--push", layout.to_str().unwrap(), "--image", "registry.example/a:1"];
    let address = format!("http://127.0.0.1:{port}");
    finish(step().args(arguments).env("HTTPS_PROXY", address)).succeeded();
    assert_eq!(asked.lock().unwrap()[0], "CONNECT registry.example:443 HTTP/1.1");
    assert!(!skopeo_raw(&registry.image("a:1")).is_empty());
}

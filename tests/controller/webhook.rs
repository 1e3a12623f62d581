//! The webhook of a controller that never leads: its certificate and its endpoints. What it judges is shown beside.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::process::{Controller, PATIENCE, metadata, probe};

const VERSION: &str = "shipwright.io/v1beta1";
const NAME: &str = "slipway-webhook";
const CONFIGURATION: &str = "slipway-admission";
const DEFINITIONS: [&str; 4] = [
    "builds.shipwright.io",
    "buildruns.shipwright.io",
    "buildstrategies.shipwright.io",
    "clusterbuildstrategies.shipwright.io",
];

/// An API server with everything that `install.yaml` brings, on which somebody else leads.
pub fn installed() -> ApiServer {
    let to = |service: &str| json!({ "service": { "name": service, "namespace": "team" } });
    let definition = |name: &str| {
        let webhook = json!({ "clientConfig": to(NAME), "conversionReviewVersions": ["v1"] });
        let conversion = json!({ "strategy": "Webhook", "webhook": webhook });
        json!({ "metadata": { "name": name, "resourceVersion": "1" }, "spec": { "conversion": conversion } })
    };
    let webhook = |name: &str, service: &str| json!({ "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": to(service) });
    let configuration = json!({
        "metadata": { "name": CONFIGURATION, "resourceVersion": "1" },
        "webhooks": [webhook("another", "another"), webhook("admission.slipway.dev", NAME)],
    });
    let server = ApiServer::new(&[
        ("customresourcedefinitions", json!(DEFINITIONS.map(definition))),
        ("validatingwebhookconfigurations", json!([configuration])),
        ("namespaces", json!([{ "metadata": { "name": "team" } }])),
    ]);
    server.lease_to_another();
    server
}

/// A controller with its webhook.
pub struct Webhook<'a> {
    controller: Controller,
    server: &'a ApiServer,
    address: String,
    probes: String,
}

impl<'a> Webhook<'a> {
    fn start(test: &str, server: &'a ApiServer, variables: &[(&str, &str)]) -> Self {
        let own = [("WEBHOOK_NAMESPACE", "team"), ("WEBHOOK_ADDRESS", "127.0.0.1:0")];
        let controller = Controller::start(test, server, &[&own, variables].concat());
        let line = controller.line("serving the webhook");
        let probes = controller.address();
        let address = line["address"].as_str().unwrap().to_owned();
        Self { controller, server, address, probes }
    }

    /// One that everybody has been told of.
    pub fn ready(test: &str, server: &'a ApiServer, variables: &[(&str, &str)]) -> Self {
        let webhook = Self::start(test, server, variables);
        webhook.await_told();
        webhook
    }

    /// Comes back once every caller trusts the same authorities, with them.
    fn await_told(&self) -> String {
        until("everybody is told", || {
            let told: Vec<_> = bundles(self.server).into_iter().flatten().collect();
            let is_same = told.windows(2).all(|pair| pair[0] == pair[1]);
            (told.len() == 5 && is_same).then(|| told[0].clone())
        })
    }

    /// Status and body of an answer that came from whom callers trust.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        ask(&self.address, &self.await_told(), method, path, headers, body)
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (code, text) =
            self.ask("POST", path, "Content-Type: application/json\r\n", &body.to_string());
        assert_eq!(code, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The most memory that the controller has had at a time, in bytes.
    pub fn peak(&self) -> u64 {
        self.controller.peak()
    }

    /// What is answered to whoever applies this in place of that.
    pub fn review(&self, object: &Value, old: &Value) -> Value {
        let answer = self.post("/validate", &review(object, old));
        let head = (&answer["apiVersion"], &answer["kind"], &answer["response"]["uid"]);
        assert_eq!(
            head,
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"), &json!("of-the-request"))
        );
        assert!(answer["request"].is_null());
        answer["response"].clone()
    }

    /// The message with which it is refused.
    pub fn refusal(&self, object: &Value, old: &Value) -> String {
        let response = self.review(object, old);
        assert_eq!(response["allowed"], false, "{response}");
        assert_eq!(
            (&response["status"]["code"], &response["status"]["reason"]),
            (&json!(422), &json!("Invalid"))
        );
        response["status"]["message"].as_str().unwrap().to_owned()
    }

    /// The warnings with which it is taken.
    pub fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let response = self.review(object, old);
        assert_eq!(response["allowed"], true, "{response}");
        let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
        warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
    }
}

/// What an API server asks when this is applied in place of that.
pub fn review(object: &Value, old: &Value) -> Value {
    let kind = object["kind"].as_str().unwrap();
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    let request = json!({
        "uid": "of-the-request",
        "kind": { "group": "shipwright.io", "version": "v1beta1", "kind": kind },
        "namespace": "team", "operation": operation, "object": object, "oldObject": old, "dryRun": true,
    });
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
}

/// The first answer that is one. It looks again and again, because nothing tells when others have done their part.
fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What each caller trusts, as PEM.
fn bundles(server: &ApiServer) -> Vec<Option<String>> {
    let of_definitions = DEFINITIONS.map(|name| {
        let definition = server.object("customresourcedefinitions", name);
        definition["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].clone()
    });
    let configuration = server.object("validatingwebhookconfigurations", CONFIGURATION);
    let of_configuration = configuration["webhooks"][1]["clientConfig"]["caBundle"].clone();
    let all = of_definitions.into_iter().chain([of_configuration]);
    all.map(|bundle| bundle.as_str().map(decode)).collect()
}

/// Base64, as the types of Kubernetes read it.
fn decode(text: &str) -> String {
    let bytes: ByteString = serde_json::from_value(json!(text)).unwrap();
    String::from_utf8(bytes.0).unwrap()
}

fn try_ask(
    address: &str,
    authorities: &str,
    request: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<String> {
    let mut stream = connect(address, authorities, versions)?;
    stream.write_all(request.as_bytes())?;
    read(&mut stream)
}

fn connect(
    address: &str,
    authorities: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("slipway-webhook.team.svc").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    Ok(StreamOwned::new(connection, TcpStream::connect(address)?))
}

/// Everything until the other end closes.
fn read(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> std::io::Result<String> {
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(answer),
    }
}

fn ask(
    address: &str,
    authorities: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    let answer = try_ask(address, authorities, &request, rustls::ALL_VERSIONS).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub fn build(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": VERSION, "kind": "Build", "metadata": metadata(name), "spec": spec })
}

/// What a Build says of its strategy and its image.
pub fn spec(strategy: &str, image: &str) -> Value {
    json!({ "strategy": { "name": strategy }, "output": { "image": image } })
}

#[test]
fn callers_trust_what_is_served_and_are_told_again_when_they_forget() {
    let server = installed();
    let webhook = Webhook::start("callers_trust", &server, &[]);
    let first = webhook.await_told();
    assert_eq!(webhook.ask("GET", "/health", "", ""), (204, String::new()));
    until("it is ready", || (probe(&webhook.probes, "/readyz").0 == 200).then_some(()));
    let another = server.object("validatingwebhookconfigurations", CONFIGURATION);
    assert!(another["webhooks"][0]["clientConfig"]["caBundle"].is_null(), "{another}");

    // As somebody does who replaces the definition.
    let forgotten = json!({ "spec": { "conversion": { "webhook": { "clientConfig": { "caBundle": null } } } } });
    server.change("customresourcedefinitions", DEFINITIONS[1], &forgotten);
    assert_eq!(webhook.await_told(), first);

    // A definition that leads to upstream's webhook is upstream's.
    let mut upstream = forgotten;
    upstream["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["name"] =
        json!("shp-build-webhook");
    server.change("customresourcedefinitions", DEFINITIONS[0], &upstream);
    server.remove("validatingwebhookconfigurations", CONFIGURATION);

    server.remove("secrets", NAME);
    let told = until("the others are told of a new authority", || {
        let told = bundles(&server);
        let is_new = told[1..4].iter().all(|told| told.as_ref().is_some_and(|told| *told != first));
        is_new.then_some(told)
    });
    assert_eq!((&told[0], &told[4]), (&None, &None));
    let authorities = told[1].clone().unwrap();
    until("the new certificate is served", || {
        let request = "GET /health HTTP/1.0\r\n\r\n";
        try_ask(&webhook.address, &authorities, request, rustls::ALL_VERSIONS).ok()
    });
}

#[test]
fn replicas_share_a_certificate_and_make_a_new_one_where_it_cannot_be_read() {
    let server = installed();
    let one = Webhook::ready("replicas_one", &server, &[]);
    let authorities = one.await_told();
    let other = Webhook::start("replicas_other", &server, &[]);
    until("the other serves it", || {
        let request = "GET /health HTTP/1.0\r\n\r\n";
        try_ask(&other.address, &authorities, request, rustls::ALL_VERSIONS).ok()
    });
    assert_eq!(one.await_told(), authorities);

    // `[]` as a list of another shape.
    server.change("secrets", NAME, &json!({ "data": { "generations.json": "W10=" } }));
    until("it is made anew", || (bundles(&server)[0].as_ref() != Some(&authorities)).then_some(()));
    let authorities = one.await_told();
    for webhook in [&one, &other] {
        until("both serve it", || {
            let request = "GET /health HTTP/1.0\r\n\r\n";
            try_ask(&webhook.address, &authorities, request, rustls::ALL_VERSIONS).ok()
        });
    }
}

#[test]
fn a_certificate_that_ends_soon_is_followed_by_another() {
    let server = installed();
    let webhook = Webhook::ready("ends_soon", &server, &[]);
    let first = webhook.await_told();
    let change = |change: &dyn Fn(&mut Value)| {
        let held = server.object("secrets", NAME)["data"]["generations.json"].clone();
        let mut held: Value = serde_json::from_str(&decode(held.as_str().unwrap())).unwrap();
        held["generations"].as_array_mut().unwrap().iter_mut().for_each(change);
        let data = json!({ "generations.json": ByteString(held.to_string().into_bytes()) });
        server.change("secrets", NAME, &json!({ "data": data }));
    };
    let day = SignedDuration::from_hours(24);
    change(&|generation| generation["until"] = json!(Timestamp::now() + day * 10));
    let both = until("another is made", || {
        let told = webhook.await_told();
        (told.matches("BEGIN CERTIFICATE").count() == 2).then_some(told)
    });
    let second = both.strip_prefix(&*first).expect("the first stays").to_owned();
    // Not every API server has heard of the second yet.
    let request = "GET /health HTTP/1.0\r\n\r\n";
    let ask = |authorities: &str| {
        try_ask(&webhook.address, authorities, request, rustls::ALL_VERSIONS).ok()
    };
    assert!(ask(&first).is_some() && ask(&second).is_none());
    let hour = SignedDuration::from_hours(1);
    change(&|generation| generation["trusted"] = json!(Timestamp::now() - hour));
    until("the second is served", || ask(&second));
    assert!(ask(&first).is_none());
    assert_eq!(webhook.await_told(), both);
}

#[test]
fn a_replica_without_a_certificate_is_not_ready() {
    let server = installed();
    let forbidden = Some((axum::http::StatusCode::FORBIDDEN, "as the test wants"));
    server.refuse("POST secrets", forbidden);
    let webhook = Webhook::start("without_a_certificate", &server, &[]);
    let line = webhook.controller.line("cannot keep the webhook's certificate; trying again");
    let error = "the API server does not create Secret slipway-webhook: as the test wants (403)";
    assert_eq!(line["error"], error);
    server.wait_for("GET leases");
    until("it hears about the lease", || {
        let unready = (503, "the webhook has no certificate yet".to_owned());
        (probe(&webhook.probes, "/readyz") == unready).then_some(())
    });
    server.refuse("POST secrets", None);
    webhook.await_told();
    until("it is ready", || (probe(&webhook.probes, "/readyz").0 == 200).then_some(()));
}

#[test]
fn what_is_no_review_is_told_in_the_words_of_upstream() {
    let server = installed();
    let webhook = Webhook::ready("no_review", &server, &[]);
    let json = "Content-Type: application/json\r\n";
    let review =
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a"}}"#;
    for (headers, body, answer) in [
        ("", review, "invalid Content-Type header ``"),
        (
            "Content-Type: application/json; charset=utf-8\r\n",
            review,
            "invalid Content-Type header `application/json; charset=utf-8`",
        ),
        (
            "Content-Type: application/json\r\nAccept: text/html\r\n",
            review,
            "invalid accept header `text/html`",
        ),
        (
            json,
            r#"{"apiVersion":"v1","kind":"List"}"#,
            "Unsupported group version kind: /v1, Kind=List",
        ),
    ] {
        let answered = webhook.ask("POST", "/validate", headers, body);
        assert_eq!(answered, (400, answer.to_owned()));
    }
    let (code, text) = webhook.ask("POST", "/validate", json, "{");
    assert!(
        code == 400 && text.starts_with("failed to deserialize body ({) with error "),
        "{text}"
    );
    let yaml = "Content-Type: application/yaml\r\nAccept: application/yaml\r\n";
    let body = "apiVersion: admission.k8s.io/v1\nkind: AdmissionReview\nrequest: {uid: a}\n";
    let (code, text) = webhook.ask("POST", "/validate", yaml, body);
    let answer: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!((code, &answer["response"]), (200, &json!({ "uid": "a", "allowed": true })));
    assert_eq!(webhook.ask("GET", "/other", "", "").0, 404);
    assert_eq!(webhook.ask("GET", "/validate", "", "").0, 405);
}

#[test]
fn objects_are_converted_in_the_words_of_upstream() {
    let server = installed();
    let webhook = Webhook::ready("converted", &server, &[]);
    let review = |desired: &str, object: &Value| {
        let request = json!({ "uid": "a", "desiredAPIVersion": desired, "objects": [object] });
        json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request })
    };
    let build = build("app", &spec("known", "registry.example.com/app"));
    let answer = webhook.post("/convert", &review("shipwright.io/v1alpha1", &build));
    let converted = &answer["response"]["convertedObjects"][0];
    assert_eq!(answer["response"]["result"]["status"], "Success", "{answer}");
    assert_eq!(converted["apiVersion"], "shipwright.io/v1alpha1");
    let answer = webhook.post("/convert", &review(VERSION, converted));
    assert_eq!(answer["response"]["convertedObjects"][0], build);
    let answer = webhook.post("/convert", &review("shipwright.io/v2", &build));
    let failure = json!({ "status": "Failure", "message": "unexpected conversion version to \"shipwright.io/v2\"" });
    assert_eq!(answer["response"], json!({ "uid": "a", "result": failure }));
    let answered = webhook.ask("POST", "/convert", "", "{}");
    assert_eq!(answered, (400, "invalid Content-Type header ``".to_owned()));
}

/// Whoever reaches the port may ask.
#[test]
fn nobody_keeps_others_from_asking() {
    const LONGEST: usize = 8 * 1024 * 1024;
    let server = installed();
    let webhook = Webhook::ready("hogs", &server, &[]);
    let authorities = webhook.await_told();
    let json = "Content-Type: application/json\r\n";
    let begin = |length: usize| {
        let mut stream = connect(&webhook.address, &authorities, rustls::ALL_VERSIONS).unwrap();
        let head = format!("POST /convert HTTP/1.0\r\n{json}Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let code = |mut stream: StreamOwned<ClientConnection, TcpStream>| {
        let answer = read(&mut stream).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(code(begin(LONGEST + 1)), "413");
    // It takes all the room there is, says nothing, and is told to go.
    let hog = begin(LONGEST);
    let fine = build("app", &spec("missing", "registry.example.com/app"));
    assert_eq!(webhook.warnings(&fine, &Value::Null).len(), 1);
    assert_eq!(code(hog), "408");
    let unsized_request = "POST /validate HTTP/1.0\r\nContent-Type: application/json\r\n\r\n{}";
    let answer = try_ask(&webhook.address, &authorities, unsized_request, rustls::ALL_VERSIONS);
    assert!(answer.unwrap().starts_with("HTTP/1.0 411 "));
}

#[test]
fn only_versions_that_are_wanted_are_spoken() {
    let server = installed();
    let webhook = Webhook::ready("versions", &server, &[("TLS_MIN_VERSION", "VersionTLS13")]);
    let authorities = webhook.await_told();
    let request = "GET /health HTTP/1.0\r\n\r\n";
    let speak = |version: &'static rustls::SupportedProtocolVersion| {
        try_ask(&webhook.address, &authorities, request, &[version])
    };
    until("it is served", || speak(&rustls::version::TLS13).ok());
    let error = speak(&rustls::version::TLS12).unwrap_err().to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
}

#[test]
fn a_replica_that_ends_answers_for_a_while() {
    let server = installed();
    let mut webhook = Webhook::ready("ends", &server, &[]);
    let (address, authorities) = (webhook.address.clone(), webhook.await_told());
    webhook.controller.terminate();
    webhook.controller.line("the webhook answers for a little longer");
    let request = "GET /health HTTP/1.0\r\n\r\n";
    let mut answers = 0;
    while try_ask(&address, &authorities, request, rustls::ALL_VERSIONS).is_ok() {
        answers += 1;
    }
    assert!(answers > 0);
    assert_eq!(webhook.controller.wait(), Some(0));
}

use super::*;
use crate::http::{Method, Router};
use crate::identity::{Identity, Service};
use crate::options::Options;

static TESTED: Identity = Identity {
    name: "tested",
    title: "Tested",
    about: "An appliance of the tests.",
    version: "0",
    services: &[Service::web(8443, 443)],
    store: |options| options,
    labels: &["tested"],
};

async fn shell() -> (tempfile::TempDir, Chassis, Shell) {
    let dir = tempfile::tempdir().unwrap();
    let chassis = Chassis::start(&TESTED, Options::in_dir(dir.path()), Instant::now()).await.unwrap();
    chassis.accounts().create("anna", "anna@home.arpa", "", "correct horse", true).await.unwrap();
    let shell = Shell::new(chassis.clone(), Router::new());
    (dir, chassis, shell)
}

fn request(method: Method, path: &str, fields: &[(&str, &str)], body: &str) -> Request {
    let mut request = Request::made(method, path, body.to_owned());
    for (name, value) in fields.iter().chain(&[("accept", "text/html"), ("host", "localhost:1")]) {
        let name: HeaderName = name.parse().unwrap();
        request.headers.append(name, value.parse().unwrap());
    }
    request
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(response.body().whole().unwrap()).into_owned()
}

async fn logged_in(shell: &Shell) -> String {
    let body = "user=anna&password=correct+horse&next=%2Fdevices";
    let response =
        shell.answer(request(Method::POST, "/login", &[("origin", "https://localhost:1")], body)).await;
    assert_eq!(response.headers()["location"], "/devices");
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    for needed in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(needed), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_stranger_is_led_to_the_login_and_back() {
    let (_dir, _, shell) = shell().await;
    let response = shell.answer(request(Method::GET, "/devices?x=1", &[], "")).await;
    assert_eq!(response.headers()["location"], "/login?next=%2Fdevices%3Fx%3D1");
    let cookie = logged_in(&shell).await;
    let page = shell.answer(request(Method::GET, "/devices", &[("cookie", &cookie)], "")).await;
    assert!(text(&page).contains("Every phone"));
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
}

#[tokio::test]
async fn a_program_is_challenged_and_let_in_by_basic() {
    let (_dir, _, shell) = shell().await;
    let whole = text(&shell.answer(Request::made(Method::GET, "/healthz", "")).await);
    let head = shell.answer(Request::made(Method::HEAD, "/healthz", "")).await;
    assert_eq!(head.headers()["content-length"].to_str().unwrap(), whole.len().to_string());
    assert!(http_body::Body::is_end_stream(head.body()), "HEAD has no body");
    let response = shell.answer(Request::made(Method::GET, "/metrics", "")).await;
    assert_eq!(response.status(), 401);
    assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    let mut request = Request::made(Method::GET, "/metrics", "");
    request.headers.insert("authorization", "Basic YW5uYTpjb3JyZWN0IGhvcnNl".parse().unwrap());
    let response = shell.answer(request).await;
    assert!(text(&response).contains("nymote_http_requests_total{status=\"4xx\"} 1"));
}

#[tokio::test]
async fn forms_need_the_session_s_token_and_our_origin() {
    let (_dir, chassis, shell) = shell().await;
    let cookie = logged_in(&shell).await;
    let forged = shell.answer(request(Method::POST, "/devices", &[("cookie", &cookie)], "label=x")).await;
    assert_eq!(forged.status(), 403);
    let page = text(&shell.answer(request(Method::GET, "/devices", &[("cookie", &cookie)], "")).await);
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let body = format!("label=Phone&csrf={csrf}");
    let elsewhere = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    assert_eq!(shell.answer(request(Method::POST, "/devices", &elsewhere, &body)).await.status(), 403);
    let ours = [("cookie", cookie.as_str()), ("origin", "https://localhost:1")];
    let made = shell.answer(request(Method::POST, "/devices", &ours, &body)).await;
    assert_eq!(made.status(), 200);
    assert!(text(&made).contains("<svg class=\"qr\""));
    assert_eq!(chassis.accounts().find("anna").unwrap().devices().count(), 1);
}

#[tokio::test]
async fn logging_out_ends_the_session_itself() {
    let (_dir, _, shell) = shell().await;
    let cookie = logged_in(&shell).await;
    let page = text(&shell.answer(request(Method::GET, "/devices", &[("cookie", &cookie)], "")).await);
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    shell.answer(request(Method::POST, "/logout", &[("cookie", &cookie)], &format!("csrf={csrf}"))).await;
    let after = shell.answer(request(Method::GET, "/devices", &[("cookie", &cookie)], "")).await;
    assert_eq!(after.status(), 303);
}

#[tokio::test]
async fn a_login_leads_nowhere_else() {
    for next in ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb"] {
        assert_eq!(visitor::safe_next(next), "/");
    }
    assert_eq!(visitor::safe_next("/devices?x"), "/devices?x");
}

#[tokio::test]
async fn faults_say_what_happened_and_escape_what_was_asked() {
    let (_dir, _, shell) = shell().await;
    let response = shell.answer(request(Method::GET, "/none", &[], "")).await;
    assert_eq!(response.status(), 404);
    assert!(text(&response).contains("There is nothing at this address."));
    let hostile = shell.answer(request(Method::POST, "/login", &[], "user=%3Cscript%3E&password=x")).await;
    assert_eq!(hostile.status(), 401);
    assert!(!text(&hostile).contains("<script>"));
}

#[tokio::test]
async fn health_is_open_and_says_when_it_ends() {
    let (_dir, chassis, shell) = shell().await;
    assert_eq!(shell.answer(Request::made(Method::GET, "/healthz", "")).await.status(), 200);
    chassis.stop().ask("test");
    assert_eq!(shell.answer(Request::made(Method::GET, "/healthz", "")).await.status(), 503);
}

#[tokio::test]
async fn a_certificate_that_is_set_is_kept_and_served_at_once() {
    let (dir, chassis, _) = shell().await;
    let authority = crate::tls::Authority::create("example.net").unwrap();
    let leaf = authority.issue(&["mail.example.net".into()], &[]).unwrap();
    let before = chassis.tls().shown_to(Some("mail.example.net"));
    let args = serde_json::json!({"certificate": leaf.certificate_pem, "key": "no key"});
    assert!(chassis.commands().ask("certificate.set", args).await.is_err());
    assert_eq!(chassis.tls().shown_to(Some("mail.example.net")), before);
    let args = serde_json::json!({"certificate": leaf.certificate_pem, "key": leaf.key_pem});
    chassis.commands().ask("certificate.set", args).await.unwrap();
    let shown = chassis.tls().shown_to(Some("mail.example.net"));
    assert_ne!(shown, before);
    let files = chassis.config_files().clone();
    assert!(files.read(crate::run::CERTIFICATE_KEY).unwrap().is_some());
    drop(dir);
}

#[tokio::test]
async fn rfc9112_3_2_a_target_with_a_fragment_is_refused() {
    let (_dir, _, shell) = shell().await;
    let response = shell.answer(Request::made(Method::GET, "/healthz\"b", "")).await;
    assert_eq!(response.status(), 400);
    assert!(text(&response).contains("%23"));
    assert_eq!(shell.answer(Request::made(Method::GET, "/healthz?a=%23", "")).await.status(), 200);
}

#[tokio::test]
async fn tokens_of_forms_are_masked_anew_and_belong_to_their_session() {
    let (_dir, chassis, shell) = shell().await;
    let (one, other) = (logged_in(&shell).await, logged_in(&shell).await);
    let visitor =
        |cookie: &str| chassis.visitor(&request(Method::GET, "/", &[("cookie", cookie)], "")).unwrap();
    let (anna, elsewhere) = (visitor(&one), visitor(&other));
    assert_ne!(anna.csrf(), anna.csrf());
    assert!(anna.gave(&anna.csrf()) && !elsewhere.gave(&anna.csrf()));
    for bad in ["", "0", &"0".repeat(64), &"é".repeat(32), &"g".repeat(64)] {
        assert!(!anna.gave(bad), "{bad}");
    }
}

#[tokio::test]
async fn style_sheets_come_packed_to_who_takes_that() {
    let (_dir, _, shell) = shell().await;
    let plain = shell.answer(Request::made(Method::GET, "/assets/nymote.css", "")).await;
    let packed = shell
        .answer(request(Method::GET, "/assets/nymote.css", &[("accept-encoding", "gzip, br")], ""))
        .await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers().get_all("vary").iter().count(), 1);
    let length = |response: &Response| response.body().whole().unwrap().len();
    assert!(length(&packed) * 2 < length(&plain));
}

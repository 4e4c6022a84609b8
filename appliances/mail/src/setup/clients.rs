//! Files that mail programs fetch to configure themselves, and the page that tells people.

use crate::service::Post;
use askama::Template;
use chassis::http::{Answer, HeaderValue, Request, Router, StatusCode, header, reply};
use std::sync::Arc;

/// Where the services are, as a client reaches them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Services {
    domain: String,
    host: String,
    imaps: u16,
    submissions: u16,
    submission: u16,
    imap: u16,
}

impl Services {
    fn of(post: &Post) -> Services {
        let port = |name: &str, known: u16| post.chassis.endpoint(name).map_or(known, |a| a.port());
        Services {
            domain: post.chassis.domain().to_owned(),
            host: post.hostname(),
            imaps: port("imaps", 993),
            submissions: port("submissions", 465),
            submission: port("submission", 587),
            imap: port("imap", 143),
        }
    }
}

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (a, b, c, d, e) = (post.clone(), post.clone(), post.clone(), post.clone(), post.clone());
    Router::new()
        .get("/mail/config-v1.1.xml", move |_| std::future::ready(autoconfig(&a)))
        .get("/.well-known/autoconfig/mail/config-v1.1.xml", move |_| std::future::ready(autoconfig(&b)))
        .any("/autodiscover/autodiscover.xml", {
            let post = c.clone();
            move |request| autodiscover(post.clone(), request)
        })
        .any("/Autodiscover/Autodiscover.xml", move |request| autodiscover(c.clone(), request))
        .get("/autodiscover/autodiscover.json", |request| std::future::ready(autodiscover_json(&request)))
        .get("/setup", move |request| page(d.clone(), request))
        .get("/setup/mail.mobileconfig", move |request| profile(e.clone(), request))
}

fn xml(text: String) -> Answer {
    Ok(reply(StatusCode::OK, "text/xml; charset=utf-8", text))
}

/// Thunderbird's format, which most programs on Linux and Android read too.
fn autoconfig(post: &Post) -> Answer {
    xml(autoconfig_xml(&Services::of(post)))
}

fn autoconfig_xml(s: &Services) -> String {
    let server = |kind: &str, tag: &str, port: u16, socket: &str| {
        format!(
            "    <{tag} type=\"{kind}\">\n      <hostname>{}</hostname>\n      <port>{port}</port>\n      \
             <socketType>{socket}</socketType>\n      <authentication>password-cleartext</authentication>\n      \
             <username>%EMAILADDRESS%</username>\n    </{tag}>\n",
            escape(&s.host)
        )
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"{0}\">\n    \
         <domain>{0}</domain>\n    <displayName>{0}</displayName>\n    <displayShortName>{0}</displayShortName>\n{1}{2}{3}{4}  \
         </emailProvider>\n</clientConfig>\n",
        escape(&s.domain),
        server("imap", "incomingServer", s.imaps, "SSL"),
        server("imap", "incomingServer", s.imap, "STARTTLS"),
        server("smtp", "outgoingServer", s.submissions, "SSL"),
        server("smtp", "outgoingServer", s.submission, "STARTTLS"),
    )
}

/// Outlook's: it POSTs the address and wants it back as the login name.
async fn autodiscover(post: Arc<Post>, mut request: Request) -> Answer {
    let body = request.bytes(64 << 10).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    let address = text
        .split_once("<EMailAddress>")
        .and_then(|(_, rest)| rest.split_once("</EMailAddress>"))
        .map(|(address, _)| unescape(address.trim()))
        .unwrap_or_default();
    xml(autodiscover_xml(&Services::of(&post), &address))
}

/// What newer Outlooks ask first: where the older answer is.
fn autodiscover_json(request: &Request) -> Answer {
    let host = request.host().unwrap_or_default();
    let url = format!("https://{host}/autodiscover/autodiscover.xml");
    let wanted = request.query_form().get("Protocol").unwrap_or("AutodiscoverV1").to_owned();
    if !wanted.eq_ignore_ascii_case("AutodiscoverV1") {
        let words = serde_json::json!({"ErrorCode": "ProtocolNotSupported", "ErrorMessage": "AutodiscoverV1 is served here"});
        return Ok(reply(StatusCode::BAD_REQUEST, "application/json", words.to_string()));
    }
    let words = serde_json::json!({"Protocol": "AutodiscoverV1", "Url": url});
    Ok(reply(StatusCode::OK, "application/json", words.to_string()))
}

fn autodiscover_xml(s: &Services, address: &str) -> String {
    let protocol = |kind: &str, port: u16| {
        format!(
            "      <Protocol>\n        <Type>{kind}</Type>\n        <Server>{}</Server>\n        <Port>{port}</Port>\n        \
             <LoginName>{}</LoginName>\n        <SSL>on</SSL>\n        <SPA>off</SPA>\n        <AuthRequired>on</AuthRequired>\n      \
             </Protocol>\n",
            escape(&s.host),
            escape(address)
        )
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n  \
         <Response xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\">\n    <Account>\n      \
         <AccountType>email</AccountType>\n      <Action>settings</Action>\n{}{}    </Account>\n  </Response>\n</Autodiscover>\n",
        protocol("IMAP", s.imaps),
        protocol("SMTP", s.submissions)
    )
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupBody<'a> {
    address: &'a str,
    services: &'a Services,
    qr: String,
}

async fn page(post: Arc<Post>, request: Request) -> Answer {
    let visitor = post.chassis.require(&request).await?;
    let services = Services::of(&post);
    let host = request.host().unwrap_or(&services.host).to_owned();
    let qr = chassis::web::qr_svg(&format!("https://{host}/setup/mail.mobileconfig")).unwrap_or_default();
    let body = SetupBody { address: &visitor.account().address, services: &services, qr };
    let shown = crate::webmail::page_at("Set up a mail program", "/setup", false);
    post.chassis.page(Some(&visitor), &shown, &body)
}

/// Apple's profile: mail in and out, without a password in it, which the device asks for.
async fn profile(post: Arc<Post>, request: Request) -> Answer {
    let visitor = post.chassis.require(&request).await?;
    let account = visitor.account();
    let text = profile_xml(&Services::of(&post), &account.address, &account.name);
    let mut answer = reply(StatusCode::OK, "application/x-apple-aspen-config", text);
    let name = HeaderValue::from_static("attachment; filename=\"mail.mobileconfig\"");
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(answer)
}

fn profile_xml(s: &Services, address: &str, name: &str) -> String {
    let id: String = s.domain.split('.').rev().collect::<Vec<_>>().join(".");
    let text = |key: &str, value: &str| format!("<key>{key}</key><string>{}</string>\n", escape(value));
    let number = |key: &str, value: u16| format!("<key>{key}</key><integer>{value}</integer>\n");
    let mut mail = String::new();
    for (key, value) in [
        ("PayloadType", "com.apple.mail.managed"),
        ("PayloadIdentifier", &format!("{id}.mail.account")),
        ("PayloadUUID", &uuid(&format!("{address} account"))),
        ("EmailAccountType", "EmailTypeIMAP"),
        ("EmailAccountName", name),
        ("EmailAccountDescription", &s.domain),
        ("EmailAddress", address),
        ("IncomingMailServerAuthentication", "EmailAuthPassword"),
        ("IncomingMailServerHostName", &s.host),
        ("IncomingMailServerUsername", address),
        ("OutgoingMailServerAuthentication", "EmailAuthPassword"),
        ("OutgoingMailServerHostName", &s.host),
        ("OutgoingMailServerUsername", address),
    ] {
        mail += &text(key, value);
    }
    mail += &number("PayloadVersion", 1);
    mail += &number("IncomingMailServerPortNumber", s.imaps);
    mail += &number("OutgoingMailServerPortNumber", s.submissions);
    for key in
        ["IncomingMailServerUseSSL", "OutgoingMailServerUseSSL", "OutgoingPasswordSameAsIncomingPassword"]
    {
        mail += &format!("<key>{key}</key><true/>\n");
    }
    let head = [
        text("PayloadDisplayName", &format!("Mail of {}", s.domain)),
        text("PayloadIdentifier", &format!("{id}.mail")),
        text("PayloadType", "Configuration"),
        text("PayloadUUID", &uuid(&format!("{address} profile"))),
        number("PayloadVersion", 1),
    ]
    .concat();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict>\n{head}\
         <key>PayloadContent</key><array><dict>\n{mail}</dict></array>\n</dict></plist>\n"
    )
}

/// A UUID that is the same each time: installing the profile again replaces it.
fn uuid(of: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, of.as_bytes());
    let hex: String = digest.as_ref()[..16].iter().map(|b| format!("{b:02X}")).collect();
    format!("{}-{}-5{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Services {
        let (domain, host) = ("home.test".into(), "mail.home.test".into());
        Services { domain, host, imaps: 993, submissions: 465, submission: 587, imap: 143 }
    }

    #[test]
    fn each_format_names_host_ports_and_address() {
        let thunderbird = autoconfig_xml(&services());
        assert!(thunderbird.contains("<hostname>mail.home.test</hostname>\n      <port>993</port>"));
        let outlook = autodiscover_xml(&services(), "a&b@home.test");
        assert!(
            outlook.contains("<LoginName>a&amp;b@home.test</LoginName>")
                && outlook.contains("<Port>465</Port>")
        );
        let apple = profile_xml(&services(), "anna@home.test", "Anna <3");
        assert!(apple.contains("<string>Anna &lt;3</string>") && apple.contains("<integer>993</integer>"));
        assert_eq!(apple.matches("<dict>").count(), apple.matches("</dict>").count());
        assert_eq!(uuid("x").len(), 36);
    }
}

//! The DNS records that mail needs, and whether the world sees them.

use crate::service::Post;
use askama::Template;
use chassis::http::{Answer, Fault, Request, Router, StatusCode, reply};
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RecordType;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Time for one look-up of the page.
const LOOKUP_TIME: Duration = Duration::from_secs(3);

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The name, without the last dot.
    pub name: String,
    /// `MX`, `TXT`, `SRV`, `CNAME`.
    pub kind: &'static str,
    /// The data as in a zone file.
    pub data: String,
    /// What it is for.
    pub why: &'static str,
}

/// Everything that should be in the zone, as things are now.
pub fn records(post: &Post) -> Vec<Record> {
    let domain = post.chassis.domain();
    let host = post.hostname();
    let port = |name: &str, known: u16| post.chassis.endpoint(name).map_or(known, |a| a.port());
    let mut all = Vec::new();
    let mut add = |name: String, kind, data: String, why| all.push(Record { name, kind, data, why });
    add(domain.into(), "MX", format!("10 {host}."), "Mail for you comes here.");
    add(domain.into(), "TXT", "\"v=spf1 mx -all\"".into(), "SPF: only this server sends for you.");
    for (name, value) in post.keys.records() {
        add(name, "TXT", quoted(&value), "DKIM: others can check your signatures.");
    }
    let dmarc = format!("\"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}\"");
    add(format!("_dmarc.{domain}"), "TXT", dmarc, "DMARC: mail that pretends to be yours is put aside.");
    for (service, name, known) in [("imaps", "_imaps._tcp", 993), ("submissions", "_submissions._tcp", 465)] {
        let data = format!("0 1 {} {host}.", port(service, known));
        add(
            format!("{name}.{domain}"),
            "SRV",
            data,
            "Programs find the server by themselves (RFC 6186, 8314).",
        );
    }
    for (service, name, known) in [("imap", "_imap._tcp", 143), ("submission", "_submission._tcp", 587)] {
        let data = format!("10 1 {} {host}.", port(service, known));
        add(format!("{name}.{domain}"), "SRV", data, "The same, for programs that begin without TLS.");
    }
    for name in ["autoconfig", "autodiscover"] {
        add(
            format!("{name}.{domain}"),
            "CNAME",
            format!("{host}."),
            "Thunderbird and Outlook set themselves up.",
        );
    }
    all
}

/// A TXT value in strings of 255 characters at most.
fn quoted(value: &str) -> String {
    let pieces: Vec<String> =
        value.as_bytes().chunks(255).map(|c| format!("\"{}\"", String::from_utf8_lossy(c))).collect();
    pieces.join(" ")
}

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (shown, told) = (post.clone(), post.clone());
    Router::new()
        .get("/dns", move |request| page(shown.clone(), request))
        // For the host of our machine, which publishes them; they are public anyway.
        .get("/setup/records.json", move |_| std::future::ready(json(&told)))
}

fn json(post: &Post) -> Answer {
    let text = serde_json::to_string(&records(post)).map_err(Fault::internal)?;
    Ok(reply(StatusCode::OK, "application/json", text))
}

struct Shown {
    record: Record,
    state: &'static str,
}

#[derive(Template)]
#[template(path = "dns.html")]
struct DnsBody<'a> {
    domain: &'a str,
    records: Vec<Shown>,
    checked: bool,
}

async fn page(post: Arc<Post>, request: Request) -> Answer {
    let visitor = post.chassis.require(&request).await?;
    let checked = request.query_form().get("check").is_some();
    let mut records: Vec<Shown> =
        records(&post).into_iter().map(|record| Shown { record, state: "" }).collect();
    if checked {
        let router = post.router();
        let mut running = tokio::task::JoinSet::new();
        for (i, shown) in records.iter().enumerate() {
            let (resolver, record) = (router.resolver().cloned(), shown.record.clone());
            running.spawn(async move { (i, check(resolver, &record).await) });
        }
        while let Some(Ok((i, state))) = running.join_next().await {
            records[i].state = state;
        }
    }
    let body = DnsBody { domain: post.chassis.domain(), records, checked };
    let shown = crate::webmail::page_at("DNS records", "/dns", true);
    post.chassis.page(Some(&visitor), &shown, &body)
}

/// `right`, `other`, `missing` or `unknown`.
async fn check(resolver: Option<TokioResolver>, record: &Record) -> &'static str {
    let Some(resolver) = resolver else { return "unknown" };
    let kind = match record.kind {
        "MX" => RecordType::MX,
        "SRV" => RecordType::SRV,
        "CNAME" => RecordType::CNAME,
        _ => RecordType::TXT,
    };
    let answer =
        match tokio::time::timeout(LOOKUP_TIME, resolver.lookup(format!("{}.", record.name), kind)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_nx_domain() || error.is_no_records_found() => return "missing",
            _ => return "unknown",
        };
    let wanted = plain(&record.data);
    let found: Vec<String> = answer.answers().iter().map(|r| plain(&r.data.to_string())).collect();
    if found.contains(&wanted) {
        "right"
    } else if found.is_empty() {
        "missing"
    } else {
        "other"
    }
}

/// Data to compare: without quotes, case and spaces.
fn plain(data: &str) -> String {
    data.chars().filter(|c| !matches!(c, '"' | ' ')).flat_map(char::to_lowercase).collect()
}

//! `/nic/update`, as routers and ddclient speak it (dyndns2), and `/update`, the same for a line of curl.

use std::sync::Arc;

use chassis::http::{Answer, Fault, Form, Method, Request, Response, Router, StatusCode, header, reply};
use data_encoding::BASE64;

use crate::house::House;
use crate::house::devices::Told;
use crate::keeper::KeepError;
use crate::settings::named;

/// The routes.
pub fn routes(house: &Arc<House>) -> Router {
    let (protocol, plain) = (house.clone(), house.clone());
    Router::new()
        .any("/nic/update", move |request| {
            let house = protocol.clone();
            async move { dyndns2(&house, request).await }
        })
        .any("/update", move |request| {
            let house = plain.clone();
            async move { update(&house, request).await }
        })
}

/// The device and its password, of HTTP Basic.
fn credentials(request: &Request) -> Option<(String, String)> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(BASE64.decode(encoded.trim().as_bytes()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_string(), password.to_string()))
}

fn say(text: impl Into<String>) -> Response {
    reply(StatusCode::OK, "text/plain; charset=utf-8", text.into() + "\n")
}

fn challenge() -> Response {
    let mut response = reply(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", "badauth\n");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Basic realm=\"signpost\""));
    response
}

/// What the request tells: `myip` (one or two addresses), `myipv6`, a prefix under the names that routers use, and
/// failing all of them the address that it came from.
fn told(request: &Request) -> Result<Told, String> {
    let form: Form = request.query_form();
    let own = request.peer.ip().to_canonical().to_string();
    let words: Vec<&str> =
        ["myip", "ip", "myipv6", "ip6", "ipv6"].iter().flat_map(|name| form.text(name).split(',')).collect();
    let prefix = ["prefix", "ip6lanprefix", "ip6prefix", "lanprefix"]
        .iter()
        .map(|name| form.text(name))
        .find(|text| !text.is_empty());
    let mut told = Told::from_words(words.iter().copied(), prefix)?;
    let offline =
        ["offline", "clear"].iter().any(|name| matches!(form.text(name), "YES" | "yes" | "1" | "true"));
    if told == Told::default() && !offline {
        told = Told::from_words([own.as_str()], None)?;
    }
    told.offline = offline;
    Ok(told)
}

/// Hosts that one request may name.
const HOSTS_MAX: usize = 20;

/// The words of the protocol, a line for each host: good, nochg, nohost, notfqdn; or one for all: badagent, badauth,
/// numhost, abuse, dnserr, 911.
async fn dyndns2(house: &Arc<House>, request: Request) -> Answer {
    let known_method = matches!(request.method, Method::GET | Method::POST);
    // The protocol wants programs to name themselves; those that say nothing at all are heard all the same.
    if !known_method || request.header(header::USER_AGENT).is_some_and(|agent| agent.trim().is_empty()) {
        return Ok(say("badagent"));
    }
    let login = credentials(&request)
        .and_then(|(name, password)| Some((house.device_login(&name, &password)?, name)));
    let Some((device, name)) = login else { return Ok(challenge()) };
    if !house.may_tell(&name) {
        return Ok(say("abuse"));
    }
    let form = request.query_form();
    let hosts: Vec<&str> =
        form.text("hostname").split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
    if hosts.len() > HOSTS_MAX {
        return Ok(say("numhost"));
    }
    if hosts.is_empty() {
        return Ok(say("notfqdn"));
    }
    let told = match told(&request) {
        Ok(told) => told,
        Err(error) => {
            tracing::warn!(device = name, error, "told something that is no address");
            return Ok(say("dnserr"));
        }
    };
    // A device has one name; what else it names is not its own.
    let own = named(&device.host);
    let mut lines = Vec::with_capacity(hosts.len());
    for host in hosts {
        lines.push(match named(host) {
            Some(one) if one.label_count() > 1 && Some(&one) == own.as_ref() => {
                tell(house, &name, told, form.text("view")).await
            }
            Some(one) if one.label_count() > 1 => "nohost".to_string(),
            _ => "notfqdn".to_string(),
        });
    }
    Ok(say(lines.join("\n")))
}

/// Tells the house; what came of it in the protocol's words.
async fn tell(house: &Arc<House>, name: &str, told: Told, view: &str) -> String {
    let addresses: Vec<String> = [told.ipv4.map(|one| one.to_string()), told.ipv6.map(|one| one.to_string())]
        .into_iter()
        .flatten()
        .collect();
    match house.hear_in(name, told, "dyndns2", view).await {
        Ok(changed) => {
            let word = if changed.sets > 0 { "good" } else { "nochg" };
            format!("{word} {}", addresses.join(",")).trim_end().to_string()
        }
        Err(error) => {
            tracing::error!(device = name, %error, "an update failed");
            "911".to_string()
        }
    }
}

async fn update(house: &Arc<House>, request: Request) -> Answer {
    let login = credentials(&request).filter(|(name, password)| house.device_login(name, password).is_some());
    let Some((name, _)) = login else { return Ok(challenge()) };
    if !house.may_tell(&name) {
        return Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "This device tells its address too often."));
    }
    let told = told(&request).map_err(Fault::bad_request)?;
    let view = request.query_form().text("view").to_string();
    let changed = house.hear_in(&name, told, "https", &view).await.map_err(|error| match error {
        KeepError::Other(words) => Fault::bad_request(words),
        error => Fault::internal(error),
    })?;
    let text =
        serde_json::json!({"device": name, "changed": changed.sets, "serial": changed.serial}).to_string();
    Ok(reply(StatusCode::OK, "application/json", text))
}

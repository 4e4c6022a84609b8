//! `/nic/update`, as routers and ddclient speak it (dyndns2), and `/update`, the same for a line of curl.

use std::sync::Arc;

use chassis::http::{Answer, Fault, Form, Request, Response, Router, StatusCode, header, reply};
use data_encoding::BASE64;

use crate::house::House;
use crate::house::devices::Told;
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

/// The words of the protocol: good, nochg, badauth, nohost, notfqdn, 911.
async fn dyndns2(house: &Arc<House>, request: Request) -> Answer {
    let login = credentials(&request)
        .and_then(|(name, password)| Some((house.device_login(&name, &password)?, name)));
    let Some((device, name)) = login else { return Ok(challenge()) };
    let form = request.query_form();
    let hosts: Vec<&str> =
        form.text("hostname").split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
    let Ok(told) = told(&request) else { return Ok(say("badip")) };
    if hosts.iter().any(|host| !host.contains('.')) {
        return Ok(say("notfqdn"));
    }
    // A device has one name; a request that names none means it.
    let own = named(&device.host);
    if hosts.iter().any(|host| named(host) != own) {
        return Ok(say("nohost"));
    }
    let addresses: Vec<String> = [told.ipv4.map(|one| one.to_string()), told.ipv6.map(|one| one.to_string())]
        .into_iter()
        .flatten()
        .collect();
    Ok(match house.hear(&name, told, "dyndns2").await {
        Ok(changed) if changed.sets > 0 => say(format!("good {}", addresses.join(","))),
        Ok(_) => say(format!("nochg {}", addresses.join(","))),
        Err(error) => {
            tracing::error!(device = name, %error, "an update failed");
            say("911")
        }
    })
}

async fn update(house: &Arc<House>, request: Request) -> Answer {
    let login = credentials(&request).filter(|(name, password)| house.device_login(name, password).is_some());
    let Some((name, _)) = login else { return Ok(challenge()) };
    let told = told(&request).map_err(Fault::bad_request)?;
    let changed = house.hear(&name, told, "https").await.map_err(Fault::internal)?;
    let text =
        serde_json::json!({"device": name, "changed": changed.sets, "serial": changed.serial}).to_string();
    Ok(reply(StatusCode::OK, "application/json", text))
}

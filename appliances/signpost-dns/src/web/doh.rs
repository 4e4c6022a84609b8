//! DNS over HTTPS (RFC 8484) at `/dns-query`, for the zones served here.

use std::sync::{Arc, Mutex, PoisonError};

use chassis::http::{Answer, Fault, Method, Request, Router, StatusCode, header, reply};
use data_encoding::BASE64URL_NOPAD;

use crate::engine::{Asker, Verdict};
use crate::house::House;
use crate::limits::MESSAGE_OCTETS_MAX;
use crate::message::Message;
use crate::query::{opcode, rcode};
use crate::record::RecordType;
use crate::rrl::{Limiter, Verdict as Limited};

const KIND: &str = "application/dns-message";
/// Rows of the limiter for HTTPS; connections are few.
const ROWS: usize = 4096;

/// Questions of all askers are of one kind: over TLS nobody's address is spoofed, it is our work that is shared out.
const KIND_OF_ALL: u64 = 0;

/// The route.
pub fn routes(house: &Arc<House>) -> Router {
    let house = house.clone();
    let limiter = Arc::new(Mutex::new(Limiter::new(ROWS)));
    Router::new().any("/dns-query", move |request| {
        let (house, limiter) = (house.clone(), limiter.clone());
        async move {
            let verdict = {
                let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
                limiter.set(house.engine.limits());
                limiter.judge(request.peer.ip(), KIND_OF_ALL, crate::serve::now_s())
            };
            if verdict != Limited::Send {
                let fault = Fault::new(StatusCode::TOO_MANY_REQUESTS, "Your network asks too much.");
                return Err(fault.with(header::RETRY_AFTER, "1"));
            }
            answer(&house, request).await
        }
    })
}

async fn answer(house: &House, mut request: Request) -> Answer {
    let message = match request.method {
        Method::GET | Method::HEAD => {
            let form = request.query_form();
            let text = form.get("dns").ok_or_else(|| Fault::bad_request("The parameter dns is missing."))?;
            let octets = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes());
            octets.map_err(|_| Fault::bad_request("The parameter dns is not base64url."))?
        }
        Method::POST if request.header("content-type") == Some(KIND) => {
            let body = request.bytes(MESSAGE_OCTETS_MAX).await;
            body.map_err(|_| {
                Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "A DNS message has at most 65,535 octets.")
            })?
            .to_vec()
        }
        Method::POST => return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("Send {KIND}."))),
        _ => {
            let fault = Fault::new(StatusCode::METHOD_NOT_ALLOWED, "Use GET or POST.");
            return Err(fault.with(header::ALLOW, "GET, HEAD, POST"));
        }
    };
    let asker = Asker { address: request.peer.ip(), stream: true };
    let mut out = Vec::new();
    let verdict = {
        let mut desk = house.engine.desk(Limiter::off());
        house.engine.look_up(&mut desk, crate::serve::now_s());
        house.engine.handle(&mut desk, &message, asker, &mut out)
    };
    match verdict {
        Verdict::Reply => {}
        Verdict::Silence => return Err(Fault::bad_request("This is no DNS question.")),
        Verdict::Errand => {
            let begun = house.engine.errands().and_then(|errands| errands.replies_to(message, asker));
            out = begun.ok_or_else(|| Fault::busy(1))?.recv().await.ok_or_else(|| Fault::busy(1))?;
        }
    }
    let age = header::HeaderValue::from_str(&format!("max-age={}", fresh_s(&out)));
    let mut response = reply(StatusCode::OK, KIND, out);
    if let Ok(age) = age {
        response.headers_mut().insert(header::CACHE_CONTROL, age);
    }
    Ok(response)
}

/// How long an answer is fresh: its shortest TTL; of one without answers its SOA's, which is the negative TTL already
/// (RFC 8484 section 5.1). Whatever is no such answer (a refusal, a transfer, an update's reply) is not kept.
fn fresh_s(reply: &[u8]) -> u32 {
    let Ok(message) = Message::parse(reply) else { return 0 };
    let transfer = matches!(message.question.1, RecordType::AXFR | RecordType::IXFR);
    let query = message.flags >> 11 & 0x0F == u16::from(opcode::QUERY) && !transfer;
    if !query || !matches!(message.flags & 0x0F, rcode::NOERROR | rcode::NXDOMAIN) {
        return 0;
    }
    let kept = if message.answers.is_empty() { &message.authorities } else { &message.answers };
    kept.iter().map(|record| record.ttl).min().unwrap_or(0)
}

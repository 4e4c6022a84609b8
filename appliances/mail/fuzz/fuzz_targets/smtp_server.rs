//! A client's bytes, in pieces of any size: the server's session ends, holds no more than it was given, and takes no
//! message that has a bare CR or LF.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::smtp::{Mode, SaslAnswer, Session, Settings, Step};

fuzz_target!(|bytes: &[u8]| {
    let Some((first, input)) = bytes.split_first() else { return };
    let mode = if first & 1 == 0 { Mode::Mx } else { Mode::Submission };
    let settings = Settings {
        hostname: "mx.test".into(),
        mode,
        message_bytes_max: 1 << 12,
        tls_available: first & 2 == 0,
        mechanisms: if mode == Mode::Submission { vec!["PLAIN", "LOGIN"] } else { vec![] },
    };
    let mut session = Session::new(settings, first & 4 == 0);
    let mut pieces = input.chunks(1 + usize::from(first >> 3));
    let mut text = Vec::new();
    for _ in 0..16 * bytes.len() + 64 {
        match session.step() {
            Step::NeedInput => match pieces.next() {
                Some(piece) => session.receive(piece),
                None => return,
            },
            Step::Sender(_) => session.sender(Ok(())),
            Step::Recipient(_) => session.recipient(Ok(())),
            Step::Body(piece) => text.extend(piece),
            Step::Abandon => text.clear(),
            Step::Message => {
                assert!(text.len() <= 1 << 12);
                let mut rest = &text[..];
                while let Some(at) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) {
                    assert_eq!(rest.get(at..at + 2), Some(&b"\r\n"[..]), "a bare line end was taken");
                    rest = &rest[at + 2..];
                }
                text.clear();
                session.message(Ok("taken".into()));
            }
            Step::StartTls => session.tls_started(),
            Step::SaslStart(..) => session.sasl(SaslAnswer::Challenge(Vec::new())),
            Step::SaslResponse(_) => session.sasl(SaslAnswer::Failure),
            Step::Close => return,
        }
    }
    panic!("the session does not come to an end");
});

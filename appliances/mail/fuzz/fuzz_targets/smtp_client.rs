//! A host's bytes, in pieces of any size: the client's session ends with an outcome for each recipient.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::smtp::{Client, ClientStep, Mailbox, Outgoing, OutgoingRecipient};
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, input)) = bytes.split_first() else { return };
    let recipient = |to: &str| OutgoingRecipient { to: Mailbox::parse(to).unwrap(), notify: None, orcpt: None };
    let outgoing = Outgoing {
        from: None,
        recipients: vec![recipient("a@b.test"), recipient("ü@b.test")],
        message: Arc::new("Subject: x\r\n\r\n.ü\r\n".as_bytes().to_vec()),
        seven_bit: Some(Arc::new(b"Subject: x\r\n\r\n.=C3=BC\r\n".to_vec())),
        smtputf8: first & 1 == 0,
        ret: None,
        envid: None,
    };
    let mut client = Client::new("me.test", outgoing, None, first & 2 == 0, false);
    let mut pieces = input.chunks(1 + usize::from(first >> 3));
    loop {
        match client.step() {
            ClientStep::NeedInput => match pieces.next() {
                Some(piece) => client.receive(piece),
                None => break,
            },
            ClientStep::StartTls => client.tls_started(),
            ClientStep::Done => break,
        }
    }
    assert_eq!(client.outcomes("the input ended").len(), 2);
});

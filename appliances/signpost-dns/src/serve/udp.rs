//! Datagrams on tokio: the form that runs in a machine. On Linux [`super::batch`] is quicker.

use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

use super::now_s;
use crate::engine::{Asker, Engine, Errand, Replies, Verdict};
use crate::limits::DATAGRAM_OCTETS_MAX;
use crate::rrl::Limiter;

/// Serves a socket for ever. An error of one datagram (an asker that is gone) is not an error of the socket.
pub async fn serve(engine: Arc<Engine>, socket: Arc<UdpSocket>, limiter: Limiter) {
    let mut desk = engine.desk(limiter);
    let (mut datagram, mut out) = (vec![0; DATAGRAM_OCTETS_MAX], Vec::with_capacity(DATAGRAM_OCTETS_MAX));
    loop {
        let Ok((octets, from)) = socket.recv_from(&mut datagram).await else { continue };
        engine.look_up(&mut desk, now_s());
        let asker = Asker { address: from.ip(), stream: false };
        match engine.handle(&mut desk, &datagram[..octets], asker, &mut out) {
            Verdict::Reply => {
                if socket.try_send_to(&out, from).is_err() {
                    let _ = socket.send_to(&out, from).await;
                }
            }
            Verdict::Silence => {}
            Verdict::Errand => {
                let socket = socket.clone();
                errand(&engine, &datagram[..octets], asker, move |reply| {
                    let _ = socket.try_send_to(&reply, from);
                });
            }
        }
    }
}

/// Hands a datagram to whoever does errands, who sends the reply. When too many wait already it is dropped: the asker will
/// ask again.
pub fn errand(engine: &Engine, message: &[u8], asker: Asker, send: impl FnOnce(Vec<u8>) + Send + 'static) {
    let Some(errands) = engine.errands() else { return };
    let replies = Replies::Datagram(Mutex::new(Some(Box::new(send))));
    let _ = errands.try_send(Errand { message: message.to_vec(), asker, replies });
}

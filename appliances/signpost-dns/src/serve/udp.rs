//! Datagrams on tokio: the form that runs in a machine. On Linux [`super::batch`] is quicker.

use std::sync::Arc;

use tokio::net::UdpSocket;

use super::now_s;
use crate::engine::{Asker, Engine, Verdict};
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
                let send = move |reply: Vec<u8>| drop(socket.try_send_to(&reply, from));
                if let Some(errands) = engine.errands() {
                    errands.begin(&datagram[..octets], asker, send);
                }
            }
        }
    }
}

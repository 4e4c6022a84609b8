//! Messages over a stream, TCP or TLS (RFC 7766): pipelined, kept alive, with limits on idle and slow clients.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::now_s;
use crate::engine::{Asker, Engine, Errand, Verdict};
use crate::limits::{MESSAGE_OCTETS_MAX, TCP_CONNECTIONS_MAX, TCP_IDLE, TCP_MESSAGE, TCP_PIPELINE_MAX};
use crate::rrl::Limiter;

/// Accepts connections for ever; above the limit new ones wait in the backlog.
pub async fn accept(engine: Arc<Engine>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let _ = stream.set_nodelay(true);
                let engine = engine.clone();
                tokio::spawn(async move {
                    let _ = converse(&engine, stream, from.ip()).await;
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: give others time to close theirs.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

/// Serves one stream until the client ends it, is idle or too slow.
///
/// # Errors
/// What the stream says, or `TimedOut`.
pub async fn converse(
    engine: &Engine,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    from: IpAddr,
) -> io::Result<()> {
    let mut desk = engine.desk(Limiter::off());
    let asker = Asker { address: from, stream: true };
    let (mut inbox, mut outbox, mut reply) = (Vec::with_capacity(4096), Vec::new(), Vec::new());
    loop {
        let mut taken = 0;
        let mut handled = 0;
        while let Some(end) = message_end(&inbox[taken..]).filter(|_| handled < TCP_PIPELINE_MAX) {
            let message = &inbox[taken + 2..taken + end];
            if handled == 0 {
                engine.look_up(&mut desk, now_s());
            }
            match engine.handle(&mut desk, message, asker, &mut reply) {
                Verdict::Reply => frame(&reply, &mut outbox),
                Verdict::Silence => return Ok(()),
                Verdict::Errand => errand(engine, message, asker, &mut outbox, &mut stream).await?,
            }
            taken += end;
            handled += 1;
        }
        inbox.drain(..taken);
        if !outbox.is_empty() {
            timeout(TCP_MESSAGE, stream.write_all(&outbox)).await??;
            outbox.clear();
            tokio::task::yield_now().await;
            continue;
        }
        // Between messages a client may be idle; within one it must not dawdle.
        let patience = if inbox.is_empty() { TCP_IDLE } else { TCP_MESSAGE };
        if !inbox.is_empty() {
            timeout(patience, rest_of_message(&mut stream, &mut inbox)).await??;
        } else if timeout(patience, stream.read_buf(&mut inbox)).await?? == 0 {
            return Ok(());
        }
        // A long message leaves a long buffer; an idle connection gives it back.
        if inbox.is_empty() && inbox.capacity() > 16_384 {
            inbox.shrink_to(4096);
        }
    }
}

async fn rest_of_message(stream: &mut (impl AsyncRead + Unpin), inbox: &mut Vec<u8>) -> io::Result<()> {
    while message_end(inbox).is_none() {
        if inbox.len() > MESSAGE_OCTETS_MAX + 2 || stream.read_buf(inbox).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Where the first message of the buffer ends, its two octets of length included.
fn message_end(inbox: &[u8]) -> Option<usize> {
    let length = inbox.first_chunk::<2>()?;
    let end = 2 + u16::from_be_bytes(*length) as usize;
    (inbox.len() >= end).then_some(end)
}

fn frame(reply: &[u8], outbox: &mut Vec<u8>) {
    outbox.extend_from_slice(&(reply.len() as u16).to_be_bytes());
    outbox.extend_from_slice(reply);
}

/// Has an errand done; its replies go out as they come, so that a transfer of any size needs little memory.
async fn errand(
    engine: &Engine,
    message: &[u8],
    asker: Asker,
    outbox: &mut Vec<u8>,
    stream: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let Some(errands) = engine.errands() else { return Ok(()) };
    let (replies, mut incoming) = mpsc::channel(4);
    let errand = Errand { message: message.to_vec(), asker, replies };
    errands.send(errand).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    while let Some(reply) = incoming.recv().await {
        frame(&reply, outbox);
        if outbox.len() > 65_536 {
            timeout(TCP_MESSAGE, stream.write_all(outbox)).await??;
            outbox.clear();
        }
    }
    Ok(())
}

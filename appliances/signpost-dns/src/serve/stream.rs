//! Messages over a stream, TCP or TLS (RFC 7766): pipelined, kept alive, with limits on idle and slow clients.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::now_s;
use crate::engine::{Asker, Engine, Verdict};
use crate::limits::{
    MESSAGE_OCTETS_MAX, TCP_CONNECTIONS_MAX, TCP_ERRANDS_MAX, TCP_IDLE, TCP_MESSAGE, TCP_PIPELINE_MAX,
};
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

/// Serves one stream until the client ends it, is idle or too slow. Questions are answered in their order; what waits for
/// something (an update, a transfer) is answered when it is done, and holds up nobody behind it (RFC 7766 section 6.2.1.1).
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
    let (telling, mut told) = mpsc::channel(4);
    let (mut under_way, mut ended) = (0, false);
    loop {
        let mut taken = 0;
        let mut handled = 0;
        while let Some(end) = message_end(&inbox[taken..])
            && handled < TCP_PIPELINE_MAX
            && under_way < TCP_ERRANDS_MAX
        {
            let message = &inbox[taken + 2..taken + end];
            if handled == 0 {
                engine.look_up(&mut desk, now_s());
            }
            match engine.handle(&mut desk, message, asker, &mut reply) {
                Verdict::Reply => frame(&reply, &mut outbox),
                Verdict::Silence => return Ok(()),
                Verdict::Errand => {
                    errand(engine, message, asker, telling.clone())?;
                    under_way += 1;
                }
            }
            taken += end;
            handled += 1;
        }
        inbox.drain(..taken);
        if !outbox.is_empty() {
            within(TCP_MESSAGE, send(&mut stream, &outbox)).await??;
            outbox.clear();
            tokio::task::yield_now().await;
            if handled > 0 {
                continue;
            }
        }
        if ended && under_way == 0 {
            return Ok(());
        }
        // Who has enough under way is read from again when something of it is done.
        let reads = !ended && under_way < TCP_ERRANDS_MAX;
        let next = {
            let mut reading = pin!(more(&mut stream, &mut inbox, under_way > 0));
            let either = |context: &mut Context<'_>| {
                if let Poll::Ready(Some(one)) = told.poll_recv(context) {
                    return Poll::Ready(Ok(Next::Told(one)));
                }
                if reads { reading.as_mut().poll(context).map_ok(Next::Read) } else { Poll::Pending }
            };
            poll_fn(either).await?
        };
        match next {
            Next::Told(one) => hear(one, &mut told, &mut under_way, &mut outbox),
            Next::Read(more) => ended = !more,
        }
        // A long message leaves a long buffer; an idle connection gives it back.
        if inbox.is_empty() && inbox.capacity() > 16_384 {
            inbox.shrink_to(4096);
        }
    }
}

/// Writes all of it, and has it sent: what a full socket does not take, TLS keeps until it is asked again.
async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// [`timeout`] for what mostly need not wait: the clock is asked when it has to.
async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout(limit, future).await,
    }
}

/// What a stream waits for: what an errand says, or more from the client (false: there is none).
enum Next {
    Told(Told),
    Read(bool),
}

/// What an errand says to the stream that it came from.
enum Told {
    Reply(Vec<u8>),
    Done,
}

/// Takes what errands say, and what else they said meanwhile, up to what goes out at once.
fn hear(first: Told, told: &mut mpsc::Receiver<Told>, under_way: &mut usize, outbox: &mut Vec<u8>) {
    let mut next = Some(first);
    while let Some(one) = next {
        match one {
            Told::Reply(reply) => frame(&reply, outbox),
            Told::Done => *under_way -= 1,
        }
        next = if outbox.len() > 65_536 { None } else { told.try_recv().ok() };
    }
}

/// Reads on; false at the stream's end. Between messages a client may be idle, and longer while it waits for us; within
/// one it must not dawdle.
async fn more(
    stream: &mut (impl AsyncRead + Unpin),
    inbox: &mut Vec<u8>,
    waits_for_us: bool,
) -> io::Result<bool> {
    if !inbox.is_empty() {
        timeout(TCP_MESSAGE, rest_of_message(stream, inbox)).await??;
        return Ok(true);
    }
    let read = stream.read_buf(inbox);
    Ok(if waits_for_us { read.await? } else { timeout(TCP_IDLE, read).await?? } > 0)
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

/// Has an errand done; its replies are told as they come, so that a transfer of any size needs little memory.
fn errand(engine: &Engine, message: &[u8], asker: Asker, telling: mpsc::Sender<Told>) -> io::Result<()> {
    let begun = engine.errands().and_then(|errands| errands.replies_to(message.to_vec(), asker));
    let mut incoming = begun.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
    tokio::spawn(async move {
        while let Some(reply) = incoming.recv().await {
            if telling.send(Told::Reply(reply)).await.is_err() {
                return;
            }
        }
        let _ = telling.send(Told::Done).await;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::BufWriter;

    use super::*;
    use crate::engine::{Served, Views};
    use crate::errand::Errands;
    use crate::name::Name;
    use crate::zone::Zone;
    use crate::zonefile;

    /// A question for the address of example.test, with the two octets of its length.
    const QUESTION: &[u8] = b"\x00\x1e\x12\x34\0\0\0\x01\0\0\0\0\0\0\x07example\x04test\0\0\x01\0\x01";
    /// A signed question, which is an errand.
    const ERRAND: &[u8] = b"\x00\x2b\x12\x35\0\0\0\x01\0\0\0\0\0\x01\x07example\x04test\0\0\x01\0\x01\
        \x01k\0\x00\xfa\x00\xff\0\0\0\0\0\0";

    fn engine() -> Engine {
        let errands = Errands::new(tokio::runtime::Handle::current(), 1);
        errands.done_by(|errand| Box::pin(async move { assert!(errand.replies.send(vec![7; 12]).await) }));
        let engine = Engine::new([7; 16], b"ns1", Some(errands));
        let origin = Name::from_text("example.test.", None).unwrap();
        let text = "$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS a\n@ A 192.0.2.1\n";
        let zone = Zone::build(&origin, zonefile::parse(text, &origin, None).unwrap()).unwrap();
        let mut served = Served::default();
        served.put(&origin, std::sync::Arc::new(Views::plain(std::sync::Arc::new(zone))));
        engine.served.publish(served);
        engine
    }

    /// As over TLS, which keeps what a full socket did not take: nothing goes out before it is flushed.
    #[tokio::test]
    async fn answers_are_flushed() {
        let (mut client, server) = tokio::io::duplex(65_536);
        let engine = engine();
        let serving = tokio::spawn(async move {
            let kept = BufWriter::with_capacity(65_536, server);
            converse(&engine, kept, std::net::Ipv4Addr::LOCALHOST.into()).await
        });
        for (question, id) in [(QUESTION, [0x12, 0x34]), (ERRAND, [7, 7]), (QUESTION, [0x12, 0x34])] {
            client.write_all(question).await.unwrap();
            let mut reply = vec![0; usize::from(client.read_u16().await.unwrap())];
            client.read_exact(&mut reply).await.unwrap();
            assert_eq!(reply[..2], id);
        }
        client.shutdown().await.unwrap();
        serving.await.unwrap().unwrap();
    }
}

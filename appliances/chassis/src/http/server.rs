//! The server behind the pages: accepts, shakes hands, serves HTTP/1.1 or HTTP/2, ends in good order.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::body::Leftover;
use super::watch::Watched;
use super::{Request, Response};
use crate::limits;
use crate::listen::Listener;
use crate::stop::Stop;

/// Serves until asked to stop, then lets connections finish within `STOP_TIME`.
pub(crate) async fn serve<F, R>(mut listener: Listener, tls: TlsAcceptor, stop: Stop, answer: F)
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    let answer = Arc::new(answer);
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            _ = stop.asked() => None,
        };
        let Some(connection) = connection else { break };
        let (tls, stop, answer, alive) = (tls.clone(), stop.clone(), answer.clone(), alive.clone());
        tokio::spawn(async move {
            let peer = connection.peer;
            match handshake(connection.stream, tls).await {
                Ok(Some(stream)) => converse(stream, peer, stop, answer).await,
                Ok(None) => {}
                Err(error) => tracing::debug!(%peer, %error, "no TLS handshake"),
            }
            drop((connection.place, alive));
        });
    }
    drop((listener, alive));
    let _ = tokio::time::timeout(limits::STOP_TIME, all_gone.recv()).await;
}

/// TLS, unless the client speaks plain HTTP to this port: then it is told where to go.
async fn handshake(mut stream: TcpStream, tls: TlsAcceptor) -> io::Result<Option<TlsStream<TcpStream>>> {
    let hands = async {
        let mut first = [0; 1];
        if stream.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first[0] != TLS_HANDSHAKE {
            redirect_to_https(&mut stream).await?;
            return Ok(None);
        }
        tls.accept(stream).await.map(Some)
    };
    tokio::time::timeout(limits::HANDSHAKE_TIME, hands)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the client was too slow")))
}

async fn redirect_to_https(stream: &mut TcpStream) -> io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut head = Vec::new();
    while head.len() < limits::HEAD_BYTES_MAX && !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&head);
    let target = text.split_whitespace().nth(1).filter(|target| target.starts_with('/')).unwrap_or("/");
    let host = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    let plain = |c: char| c.is_ascii_graphic();
    let answer = match host.filter(|host| host.chars().all(plain) && target.chars().all(plain)) {
        Some(host) => format!("HTTP/1.1 308 Permanent Redirect\r\nLocation: https://{host}{target}\r\n"),
        None => "HTTP/1.1 400 Bad Request\r\n".to_owned(),
    };
    stream.write_all(format!("{answer}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    stream.shutdown().await
}

async fn converse<F, R>(stream: TlsStream<TcpStream>, peer: SocketAddr, stop: Stop, answer: Arc<F>)
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    #[cfg(feature = "http2")]
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    #[cfg(feature = "http2")]
    if http2 {
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let left = Leftover::of(request.body());
            let answering = answer(Request::from_hyper(request, peer, left.clone()));
            async move {
                let answered = answering.await;
                left.drain().await;
                Ok::<_, Infallible>(answered)
            }
        });
        let stream = TokioIo::new(Watched::http2(stream));
        let connection = http2_builder().serve_connection(stream, service);
        let mut connection = pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            _ = stop.asked() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        return report(peer, result);
    }
    let service = service_fn(move |request| {
        let answering = answer(Request::from_hyper(request, peer, Leftover::default()));
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let stream = TokioIo::new(Watched::http1(stream));
    let connection = http1_builder().serve_connection(stream, service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stop.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    report(peer, result);
}

fn http1_builder() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits::IDLE_TIME) // and `Watched` has HEAD_TIME
        .max_headers(limits::HEADERS_MAX)
        .max_header_size(limits::HEAD_BYTES_MAX)
        .max_buf_size(limits::BUFFER_BYTES_MAX)
        .half_close(false)
        .keep_alive(true);
    builder
}

#[cfg(feature = "http2")]
fn http2_builder() -> hyper::server::conn::http2::Builder<hyper_util::rt::TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits::IDLE_TIME)
        .keep_alive_timeout(limits::HEAD_TIME)
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES)
        .max_header_list_size(limits::HEAD_BYTES_MAX as u32)
        .max_send_buf_size(limits::HTTP2_WINDOW_BYTES as usize);
    builder
}

fn report(peer: SocketAddr, result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "an HTTP connection ended early");
    }
}

/// The first octet of a TLS record that begins a handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

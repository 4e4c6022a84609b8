//! Smart HTTP (gitprotocol-http) as a function: a request's parts and body in, a response's parts and body out.
//!
//! Whoever owns the connection mounts it at a path such as `/mail.git` and says what the caller may do. Dumb HTTP is
//! refused in words.

use std::io::{self, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;

use crate::pkt::{write_flush, write_line, write_text};
use crate::serve::{
    Advertisement, Hook, ServeError, advertise, receive_pack, upload_pack_v0, upload_pack_v2,
};
use crate::{Limits, Repository};

/// The parts of a request that matter here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// The path behind the repository's own: `/info/refs`.
    pub path: &'a str,
    /// Behind the question mark, or empty.
    pub query: &'a str,
    /// The header's value, or empty.
    pub content_type: &'a str,
    /// The header's value, or empty.
    pub content_encoding: &'a str,
    /// The header `Git-Protocol`, or empty.
    pub git_protocol: &'a str,
}

/// What the caller found out about who asks.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// Who, when a password was right.
    pub user: Option<&'a str>,
    /// May clone and fetch.
    pub read: bool,
    /// May push.
    pub write: bool,
    /// For `WWW-Authenticate`.
    pub realm: &'a str,
}

/// Where a response goes: its head once, then its body.
pub trait Reply: Write {
    /// Status and headers. Without `Content-Length` the body is as long as what is written.
    fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<()>;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Upload,
    Receive,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::Upload => "git-upload-pack",
            Service::Receive => "git-receive-pack",
        }
    }
}

/// Serves one request. An error means that the connection is of no more use; everything else was answered.
pub fn respond(
    repository: &dyn Repository,
    request: &Request<'_>,
    access: Access<'_>,
    body: &mut dyn Read,
    reply: &mut dyn Reply,
    limits: &Limits,
    may_update: &mut Hook<'_>,
) -> Result<(), ServeError> {
    let route = match route(request) {
        Ok(route) => route,
        Err((status, text)) => return plain(reply, status, &[], text),
    };
    let (service, is_post) = route;
    let allowed = if service == Service::Receive { access.write } else { access.read };
    if !allowed {
        return match access.user {
            None => {
                let challenge =
                    format!("Basic realm=\"{}\", charset=\"UTF-8\"", access.realm.replace('"', "'"));
                plain(
                    reply,
                    401,
                    &[("WWW-Authenticate", &challenge)],
                    "a name and a password are needed here",
                )
            }
            Some(_) => plain(reply, 403, &[], "you may not do this to this repository"),
        };
    }
    if !is_post {
        return send_advertisement(repository, service, request, reply);
    }
    let wanted = format!("application/x-{}-request", service.name());
    if !request.content_type.eq_ignore_ascii_case(&wanted) {
        return plain(reply, 415, &[], &format!("a body of type {wanted} is wanted"));
    }
    let content_type = format!("application/x-{}-result", service.name());
    let mut gunzip;
    let body: &mut dyn Read = match request.content_encoding {
        "" | "identity" => body,
        "gzip" | "x-gzip" => {
            gunzip = MultiGzDecoder::new(BufReader::new(body));
            &mut gunzip
        }
        _ => {
            return plain(
                reply,
                415,
                &[("Accept-Encoding", "gzip")],
                "a body may be compressed with gzip only",
            );
        }
    };
    let mut lazy = Lazy { reply, content_type: &content_type, begun: false };
    let served = match service {
        Service::Upload => {
            let mut body = body.take(REQUEST_BYTES_MAX);
            let view = repository.view()?;
            if is_v2(request) {
                upload_pack_v2(&*view, &mut body, &mut lazy, limits)
            } else {
                upload_pack_v0(&*view, &mut body, &mut lazy, limits)
            }
        }
        Service::Receive => {
            receive_pack(repository, access.user.unwrap_or(""), body, &mut lazy, limits, may_update)
        }
    };
    match served {
        Ok(()) => {}
        Err(ServeError::Io(error)) => return Err(error.into()),
        // Git shows this to the person as "remote error".
        Err(error) => write_line(&mut lazy, format!("ERR {error}").as_bytes())?,
    }
    Ok(lazy.finish()?)
}

/// Which service, and whether by POST; or why not.
fn route(request: &Request<'_>) -> Result<(Service, bool), (u16, &'static str)> {
    let get = matches!(request.method, "GET" | "HEAD");
    match request.path {
        "/info/refs" if get => {
            let service = request.query.split('&').find_map(|pair| pair.strip_prefix("service="));
            match service {
                Some("git-upload-pack") => Ok((Service::Upload, false)),
                Some("git-receive-pack") => Ok((Service::Receive, false)),
                Some(_) => Err((403, "this service is not offered here")),
                None => Err((403, DUMB)),
            }
        }
        "/git-upload-pack" | "/git-receive-pack" if request.method == "POST" => {
            let upload = request.path == "/git-upload-pack";
            Ok((if upload { Service::Upload } else { Service::Receive }, true))
        }
        "/info/refs" | "/git-upload-pack" | "/git-receive-pack" => {
            Err((405, "this method is not for this address"))
        }
        "" | "/" if get => Err((404, "this is a Git repository: clone it with git")),
        path if path == "/HEAD" || path.starts_with("/objects/") => Err((403, DUMB)),
        _ => Err((404, "there is nothing here")),
    }
}

const DUMB: &str = "dumb HTTP is not offered; any git from 1.6.6 on speaks smart HTTP";

fn is_v2(request: &Request<'_>) -> bool {
    request.git_protocol.split(':').any(|word| word.trim() == "version=2")
}

fn send_advertisement(
    repository: &dyn Repository,
    service: Service,
    request: &Request<'_>,
    reply: &mut dyn Reply,
) -> Result<(), ServeError> {
    let view = repository.view()?;
    let which = match service {
        Service::Receive => Advertisement::ReceivePack,
        Service::Upload if is_v2(request) => Advertisement::UploadPackV2,
        Service::Upload => Advertisement::UploadPackV0,
    };
    let content_type = format!("application/x-{}-advertisement", service.name());
    reply.head(200, &[("Content-Type", &content_type), NO_CACHE])?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let mut out = io::BufWriter::new(reply);
    if which != Advertisement::UploadPackV2 {
        write_text(&mut out, &format!("# service={}", service.name()))?;
        write_flush(&mut out)?;
    }
    advertise(&*view, which, &mut out)?;
    Ok(out.flush()?)
}

fn plain(reply: &mut dyn Reply, status: u16, headers: &[(&str, &str)], text: &str) -> Result<(), ServeError> {
    let length = (text.len() + 1).to_string();
    let mut all =
        vec![("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", &length[..]), NO_CACHE];
    all.extend_from_slice(headers);
    reply.head(status, &all)?;
    reply.write_all(text.as_bytes())?;
    reply.write_all(b"\n")?;
    Ok(reply.flush()?)
}

const NO_CACHE: (&str, &str) = ("Cache-Control", "no-cache, max-age=0, must-revalidate");

/// Begins the response when its first byte is there.
struct Lazy<'a> {
    reply: &'a mut dyn Reply,
    content_type: &'a str,
    begun: bool,
}

impl Lazy<'_> {
    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.reply.head(200, &[("Content-Type", self.content_type), NO_CACHE])?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.begin()?;
        self.reply.flush()
    }
}

impl Write for Lazy<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.begin()?;
        self.reply.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.begin()?;
        self.reply.flush()
    }
}

/// Wants, haves and options of one fetch.
const REQUEST_BYTES_MAX: u64 = 64 << 20;

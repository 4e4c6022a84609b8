//! Where mail for a domain goes (RFC 5321 5.1, RFC 7505).

use crate::settings::{Settings, SmartHost};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::net::{IpAddr, SocketAddr};

/// A host to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name, for TLS and for people.
    pub host: String,
    /// Its addresses, in the order to try.
    pub addresses: Vec<SocketAddr>,
    /// The smart host's settings, when it is one.
    pub smart: Option<SmartHost>,
}

/// Why there is nowhere to go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There is no such domain.
    #[error("there is no domain {0}")]
    NoDomain(String),
    /// The domain takes no mail (null MX).
    #[error("{0} takes no mail")]
    NullMx(String),
    /// DNS does not answer now, or has no address.
    #[error("{0}")]
    Later(String),
}

/// Finds routes.
pub struct Router {
    resolver: Option<TokioResolver>,
}

/// MX hosts and addresses of a domain that are tried.
const HOSTS_MAX: usize = 10;

impl Router {
    /// With the system's DNS servers, or those of the settings.
    pub fn new(settings: &Settings) -> Router {
        Router { resolver: resolver(settings) }
    }

    /// The resolver, when DNS is set up on this machine.
    pub fn resolver(&self) -> Option<&TokioResolver> {
        self.resolver.as_ref()
    }

    /// The hosts for a domain, the first to try first.
    pub async fn routes(&self, domain: &str, settings: &Settings) -> Result<Vec<Route>, RouteError> {
        if let Some(fixed) =
            settings.routes.iter().find(|(d, _)| d.eq_ignore_ascii_case(domain)).map(|(_, h)| h)
        {
            return Ok(vec![self.host_and_port(fixed, 25, None).await?]);
        }
        if let Some(smart) = &settings.smart_host {
            return Ok(vec![self.host_and_port(&smart.host, 587, Some(smart.clone())).await?]);
        }
        if let Some(literal) = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']')) {
            let address = literal.strip_prefix("ipv6:").unwrap_or(literal).parse::<IpAddr>();
            let address = address.map_err(|_| RouteError::NoDomain(domain.into()))?;
            return Ok(vec![Route {
                host: domain.into(),
                addresses: vec![SocketAddr::new(address, 25)],
                smart: None,
            }]);
        }
        let mut routes = Vec::new();
        for host in self.exchanges(domain).await?.into_iter().take(HOSTS_MAX) {
            match self.addresses(&host, 25).await {
                Ok(addresses) => routes.push(Route { host, addresses, smart: None }),
                Err(error) => tracing::debug!(host, %error, "a mail exchanger has no address"),
            }
        }
        if routes.is_empty() {
            Err(RouteError::Later(format!("{domain} has no mail host with an address")))
        } else {
            Ok(routes)
        }
    }

    /// MX hosts by preference; the domain itself where there are none.
    async fn exchanges(&self, domain: &str) -> Result<Vec<String>, RouteError> {
        let Some(resolver) = &self.resolver else {
            return Err(RouteError::Later("this machine has no DNS server; set `dns` in mail.toml".into()));
        };
        let answer = match resolver.lookup(absolute(domain), RecordType::MX).await {
            Ok(answer) => answer,
            Err(error) if error.is_no_records_found() && !is_nxdomain(&error) => {
                return Ok(vec![domain.to_owned()]);
            }
            Err(error) if is_nxdomain(&error) => return Err(RouteError::NoDomain(domain.into())),
            Err(error) => return Err(RouteError::Later(format!("DNS for {domain}: {error}"))),
        };
        let mut found: Vec<(u16, String)> = Vec::new();
        for record in answer.answers() {
            if let RData::MX(mx) = &record.data {
                found.push((mx.preference, mx.exchange.to_ascii().trim_end_matches('.').to_lowercase()));
            }
        }
        if found.iter().any(|(_, host)| host.is_empty()) {
            return Err(RouteError::NullMx(domain.into()));
        }
        found.sort();
        if found.is_empty() {
            Ok(vec![domain.to_owned()])
        } else {
            Ok(found.into_iter().map(|(_, h)| h).collect())
        }
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, RouteError> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)]);
        }
        let Some(resolver) = &self.resolver else {
            return Err(RouteError::Later("this machine has no DNS server; set `dns` in mail.toml".into()));
        };
        match resolver.lookup_ip(absolute(host)).await {
            Ok(found) => Ok(found.iter().take(HOSTS_MAX).map(|ip| SocketAddr::new(ip, port)).collect()),
            Err(error) => Err(RouteError::Later(format!("DNS for {host}: {error}"))),
        }
    }

    async fn host_and_port(
        &self,
        text: &str,
        default: u16,
        smart: Option<SmartHost>,
    ) -> Result<Route, RouteError> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().unwrap_or(default))
            }
            _ => (text, default),
        };
        Ok(Route { host: host.to_owned(), addresses: self.addresses(host, port).await?, smart })
    }
}

fn is_nxdomain(error: &hickory_resolver::net::NetError) -> bool {
    error.is_nx_domain()
}

fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn resolver(settings: &Settings) -> Option<TokioResolver> {
    let provider = TokioRuntimeProvider::default();
    if settings.dns.is_empty() {
        return TokioResolver::builder(provider).ok()?.build().ok();
    }
    let mut servers = Vec::new();
    for text in &settings.dns {
        let Ok(address) =
            text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        else {
            tracing::error!(server = text, "mail.toml: this DNS server is no address");
            continue;
        };
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        for connection in &mut server.connections {
            connection.port = address.port();
        }
        servers.push(server);
    }
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, provider);
    *builder.options_mut() = ResolverOpts::default();
    builder.build().ok()
}

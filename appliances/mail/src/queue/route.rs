//! Where mail for a domain goes (RFC 5321 5.1, RFC 7505).

use crate::settings::{Settings, SmartHost};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
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
    /// None of its mail hosts has an address.
    #[error("no mail host of {0} has an address")]
    NoHost(String),
    /// Its mail comes here, and here it is not known.
    #[error(
        "the mail of {0} comes to this server, which does not know it: set `domains` in mail.toml, or its MX record"
    )]
    Loop(String),
    /// DNS does not answer now.
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

    /// The hosts for a domain, the first to try first. `hostname` is ours.
    pub async fn routes(
        &self,
        domain: &str,
        settings: &Settings,
        hostname: &str,
    ) -> Result<Vec<Route>, RouteError> {
        let port = settings.mx_port;
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
            let addresses = vec![SocketAddr::new(address, port)];
            return Ok(vec![Route { host: domain.into(), addresses, smart: None }]);
        }
        let exchanges = before_us(self.exchanges(domain).await?, hostname, domain)?;
        let (mut routes, mut later) = (Vec::new(), None);
        for host in exchanges.into_iter().take(HOSTS_MAX) {
            match self.addresses(&host, port).await {
                Ok(addresses) => routes.push(Route { host, addresses, smart: None }),
                Err(error @ RouteError::Later(_)) => later = Some(error),
                Err(error) => tracing::debug!(host, %error, "a mail host has no address"),
            }
        }
        match (routes.is_empty(), later) {
            (false, _) => Ok(routes),
            (true, Some(error)) => Err(error),
            (true, None) => Err(RouteError::NoHost(domain.into())),
        }
    }

    /// MX hosts with their preference, in the order to try: equal ones in any order (RFC 5321 5.1); the domain itself
    /// where there are none.
    async fn exchanges(&self, domain: &str) -> Result<Vec<(u16, String)>, RouteError> {
        let resolver = self.asked()?;
        let implicit = || vec![(0, domain.to_owned())];
        let answer = match resolver.lookup(absolute(domain), RecordType::MX).await {
            Ok(answer) => answer,
            Err(error) if error.is_nx_domain() => return Err(RouteError::NoDomain(domain.into())),
            Err(error) if error.is_no_records_found() => return Ok(implicit()),
            Err(error) => return Err(RouteError::Later(format!("DNS for {domain}: {error}"))),
        };
        let mut found: Vec<(u16, String)> = Vec::new();
        for record in answer.answers() {
            if let RData::MX(mx) = &record.data {
                found.push((mx.preference, mx.exchange.to_ascii().trim_end_matches('.').to_lowercase()));
            }
        }
        // RFC 7505 3: a null MX stands alone; beside others the empty name is no host.
        if found.iter().all(|(_, host)| host.is_empty()) && !found.is_empty() {
            return Err(RouteError::NullMx(domain.into()));
        }
        found.retain(|(_, host)| !host.is_empty());
        let dice = || u32::from_be_bytes(chassis::accounts::random::<4>());
        let mut shuffled: Vec<(u16, u32, String)> = found.into_iter().map(|(p, h)| (p, dice(), h)).collect();
        shuffled.sort();
        let found: Vec<(u16, String)> = shuffled.into_iter().map(|(p, _, h)| (p, h)).collect();
        Ok(if found.is_empty() { implicit() } else { found })
    }

    fn asked(&self) -> Result<&TokioResolver, RouteError> {
        let none = || RouteError::Later("this machine has no DNS server; set `dns` in mail.toml".into());
        self.resolver.as_ref().ok_or_else(none)
    }

    /// The addresses of a host, IPv4 before IPv6: a household's IPv6 seldom has a name that leads back.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, RouteError> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)]);
        }
        match self.asked()?.lookup_ip(absolute(host)).await {
            Ok(found) => {
                let mut found: Vec<IpAddr> = found.iter().take(HOSTS_MAX).collect();
                found.sort_by_key(IpAddr::is_ipv6);
                Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
            }
            Err(error) if error.is_nx_domain() || error.is_no_records_found() => {
                Err(RouteError::NoHost(host.into()))
            }
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

/// RFC 5321 5.1: where we are a mail host of the domain ourselves, only those before us are tried.
fn before_us(exchanges: Vec<(u16, String)>, hostname: &str, domain: &str) -> Result<Vec<String>, RouteError> {
    let ours = exchanges.iter().find(|(_, host)| host.eq_ignore_ascii_case(hostname)).map(|(p, _)| *p);
    let before: Vec<String> =
        exchanges.into_iter().filter(|(p, _)| ours.is_none_or(|ours| *p < ours)).map(|(_, h)| h).collect();
    if before.is_empty() { Err(RouteError::Loop(domain.into())) } else { Ok(before) }
}

fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn resolver(settings: &Settings) -> Option<TokioResolver> {
    let provider = TokioRuntimeProvider::default();
    let both = |mut options: ResolverOpts| {
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options
    };
    if settings.dns.is_empty() {
        let mut builder = TokioResolver::builder(provider).ok()?;
        *builder.options_mut() = both(builder.options_mut().clone());
        return builder.build().ok();
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
    *builder.options_mut() = both(ResolverOpts::default());
    builder.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5321_5_1_where_we_are_a_mail_host_only_those_before_us_are_tried() {
        let of = |hosts: &[(u16, &str)]| hosts.iter().map(|(p, h)| (*p, (*h).to_owned())).collect::<Vec<_>>();
        let all = of(&[(5, "first.test"), (10, "us.test"), (10, "beside.test"), (20, "last.test")]);
        assert_eq!(before_us(all.clone(), "US.test", "x").unwrap(), ["first.test"]);
        assert_eq!(before_us(all, "other.test", "x").unwrap().len(), 4);
        assert_eq!(before_us(of(&[(0, "us.test")]), "us.test", "x"), Err(RouteError::Loop("x".into())));
    }
}

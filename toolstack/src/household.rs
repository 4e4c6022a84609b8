//! A household's directory: what `nymote up` makes, keeps and finds again.
//!
//! ```text
//! DIR/nymote.json        the layout's version, the domain, how it was last started
//! DIR/ca.pem ca.key      the local certificate authority
//! DIR/mail.key           the key of mail's local certificate, which the zone knows (src/dns/dane.rs)
//! DIR/coming.json        a certificate of mail's that the zone is to know first, while it waits
//! DIR/published.json     the records that we keep in the household's own zone, and the key for it
//! DIR/control            the supervisor's control socket, while it runs
//! DIR/log/suite.log      what all appliances logged, as JSON lines
//! DIR/mail/ contacts/ calendar/ signpost/       an appliance's store and control socket each
//! ```

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chassis::tls::Authority;
use serde::{Deserialize, Serialize};

use crate::trouble::Trouble;

/// A household's directory, open.
#[derive(Debug, Clone)]
pub struct Household {
    /// Where it is.
    pub dir: PathBuf,
    /// What is kept about it.
    pub settings: Settings,
    /// Its certificate authority.
    pub authority: Authority,
    /// It has not been up yet: nobody has been shown a password.
    pub new: bool,
}

/// `nymote.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The version of the directory's layout: [`LAYOUT`].
    pub layout: u32,
    /// The household's domain.
    pub domain: String,
    /// The addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// The base port; `None` with `--public`.
    pub base_port: Option<u16>,
    /// Until it was up for the first time, and its first account's password shown: a start that failed is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new: bool,
}

/// What the command line says about them; `None` keeps what was.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `--domain`.
    pub domain: Option<String>,
    /// `--bind`.
    pub bind: Option<Vec<IpAddr>>,
    /// `--base-port`.
    pub base_port: Option<u16>,
    /// `--public`.
    pub public: bool,
}

impl Household {
    /// Opens a household, or makes one in a directory that is empty or not there. Nothing is written unless `agreed` finds the
    /// settings well.
    pub fn open_or_make(
        dir: &Path,
        wishes: &Wishes,
        agreed: impl Fn(&Settings) -> Result<(), Trouble>,
    ) -> Result<Household, Trouble> {
        if dir.join(SETTINGS).exists() {
            let mut household = Household::open(dir)?;
            household.apply(wishes, agreed)?;
            return Ok(household);
        }
        // What an earlier try left that ended before it was a household is written anew.
        let ours = |name: &str| [CA_KEY, CA_CERTIFICATE, SETTINGS].contains(&name.trim_end_matches(".new"));
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        if let Some(other) = names.find(|name| !ours(name)) {
            return Err(Trouble::new(format!("{} holds other things ({other})", dir.display()))
                .advise("choose an empty or a new directory with --dir"));
        }
        Household::make(dir, wishes, agreed)
    }

    /// Opens a household that was made before.
    pub fn open(dir: &Path) -> Result<Household, Trouble> {
        let path = dir.join(SETTINGS);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Trouble::new(format!("there is no household in {}", dir.display()))
                .advise("`nymote up --dir DIR` makes one; or name the right directory with --dir"),
            _ => Trouble::io("read", &path, error),
        })?;
        #[derive(Deserialize)]
        struct Layout {
            layout: u32,
        }
        let damaged = |error: serde_json::Error| {
            Trouble::new(format!("{} is damaged: {error}", path.display()))
                .advise("restore it from a backup (`nymote restore`)")
        };
        let Layout { layout } = serde_json::from_str(&text).map_err(damaged)?;
        if layout != LAYOUT {
            return Err(Trouble::new(format!(
                "{} was made by another version of nymote (layout {layout}; this one knows {LAYOUT})",
                dir.display()
            ))
            .advise("start it with the version that made it, or restore a backup into a new directory; nothing was changed"));
        }
        let settings: Settings = serde_json::from_str(&text).map_err(damaged)?;
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|error| Trouble::io("read", &path, error))
        };
        let authority = Authority {
            domain: settings.domain.clone(),
            certificate_pem: read(CA_CERTIFICATE)?,
            key_pem: read(CA_KEY)?,
        };
        let new = settings.new;
        Ok(Household { dir: dir.to_owned(), settings, authority, new })
    }

    fn make(
        dir: &Path,
        wishes: &Wishes,
        agreed: impl Fn(&Settings) -> Result<(), Trouble>,
    ) -> Result<Household, Trouble> {
        let domain = wishes.domain.clone().unwrap_or_else(|| chassis::run::DEFAULT_DOMAIN.to_owned());
        check_domain(&domain)?;
        let base_port = if wishes.public { None } else { Some(wishes.base_port.unwrap_or(BASE_PORT)) };
        let bind = wishes.bind.clone().unwrap_or_else(|| default_bind(wishes.public));
        let settings = Settings { layout: LAYOUT, domain, bind, base_port, new: true };
        agreed(&settings)?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| Trouble::io("make", dir, error))?;
        let authority =
            Authority::create(&settings.domain).map_err(|error| Trouble::new(error.to_string()))?;
        let household = Household { dir: dir.to_owned(), settings, authority, new: true };
        household.write(CA_KEY, household.authority.key_pem.as_bytes(), 0o600)?;
        household.write(CA_CERTIFICATE, household.authority.certificate_pem.as_bytes(), 0o644)?;
        household.save()?; // last: before it, the directory is no household
        Ok(household)
    }

    fn apply(
        &mut self,
        wishes: &Wishes,
        agreed: impl Fn(&Settings) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        if let Some(domain) = &wishes.domain
            && *domain != self.settings.domain
        {
            return Err(Trouble::new(format!(
                "the household in {} is at {}, not at {domain}",
                self.dir.display(),
                self.settings.domain
            ))
            .advise("leave --domain out, or make a second household with another --dir"));
        }
        let before = self.settings.clone();
        if wishes.public {
            self.settings.base_port = None;
            if before.base_port.is_some() && wishes.bind.is_none() {
                self.settings.bind = default_bind(true);
            }
        } else if let Some(base) = wishes.base_port {
            self.settings.base_port = Some(base);
        }
        if let Some(bind) = &wishes.bind {
            self.settings.bind = bind.clone();
        }
        agreed(&self.settings)?;
        if self.settings != before { self.save() } else { Ok(()) }
    }

    /// It was up, and its owner was shown the password.
    pub fn was_up(&self) -> Result<(), Trouble> {
        if !self.settings.new {
            return Ok(());
        }
        Household { settings: Settings { new: false, ..self.settings.clone() }, ..self.clone() }.save()
    }

    /// An appliance's own directory.
    pub fn of(&self, appliance: &str) -> PathBuf {
        self.dir.join(appliance)
    }

    /// The key of an appliance's local certificate: mail's is the same at every start, the others' are new.
    pub fn leaf_key(&self, appliance: &str) -> Result<String, Trouble> {
        match appliance {
            "mail" => kept_key(&self.dir, MAIL_KEY),
            _ => chassis::tls::new_key().map_err(|error| Trouble::new(error.to_string())),
        }
    }

    /// The authority's certificate, for clients.
    pub fn ca_path(&self) -> PathBuf {
        self.dir.join(CA_CERTIFICATE)
    }

    fn save(&self) -> Result<(), Trouble> {
        let mut text = serde_json::to_vec_pretty(&self.settings).unwrap_or_default();
        text.push(b'\n');
        self.write(SETTINGS, &text, 0o600)
    }

    /// Writes a file whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Trouble> {
        write(&self.dir, name, bytes, mode)
    }
}

/// Writes a file of a directory whole or not at all.
pub fn write(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), Trouble> {
    let (path, beside) = (dir.join(name), dir.join(format!("{name}.new")));
    let written = || -> io::Result<()> {
        let options = &mut fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        fs::File::open(dir)?.sync_all()
    };
    written().map_err(|error| Trouble::io("write", &path, error))
}

/// A private key in a file; made where there is none.
pub fn kept_key(dir: &Path, name: &str) -> Result<String, Trouble> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = chassis::tls::new_key().map_err(|error| Trouble::new(error.to_string()))?;
            write(dir, name, key.as_bytes(), 0o600)?;
            Ok(key)
        }
        read => read.map_err(|error| Trouble::io("read", &path, error)),
    }
}

/// Where a household is when nobody says: `NYMOTE_DIR`, `/var/lib/nymote` for root, the user's data directory.
pub fn default_dir() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME");
    variable("NYMOTE_DIR")
        .or_else(|| variable("XDG_DATA_HOME").map(|dir| dir.join("nymote")))
        .or_else(|| {
            home.filter(|home| home != Path::new("/root")).map(|home| home.join(".local/share/nymote"))
        })
        .unwrap_or_else(|| PathBuf::from("/var/lib/nymote"))
}

fn default_bind(public: bool) -> Vec<IpAddr> {
    vec![if public { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([127, 0, 0, 1]) }]
}

/// A domain as in the DNS: labels of letters, digits and hyphens (RFC 1123 section 2.1), at least one dot or a known name.
pub fn check_domain(domain: &str) -> Result<(), Trouble> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits alone would make it an address (RFC 3696 section 2).
    let named = domain.rsplit('.').next().is_some_and(|last| last.bytes().any(|byte| !byte.is_ascii_digit()));
    if domain.len() <= 253 && domain.contains('.') && domain.split('.').all(label) && named {
        return Ok(());
    }
    Err(Trouble::new(format!("{domain:?} is not a domain name")).advise(
        "write it as example.org: lower case, labels of a-z, 0-9 and '-', at least one dot (IDNs as xn--…)",
    ))
}

/// The layout that this version makes and reads.
pub const LAYOUT: u32 = 1;
/// Services listen on this plus their offset when nobody says otherwise.
pub const BASE_PORT: u16 = 10_000;
const SETTINGS: &str = "nymote.json";
const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
/// The name in a household's directory, and in its backup.
pub const MAIL_KEY: &str = "mail.key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opening_continues() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("home");
        let wishes =
            Wishes { domain: Some("example.org".into()), base_port: Some(12_000), ..Wishes::default() };
        let first = Household::open_or_make(&dir, &wishes, |_| Ok(())).unwrap();
        let second = Household::open_or_make(&dir, &Wishes::default(), |_| Ok(())).unwrap();
        assert!(first.new && second.new, "it was not up yet");
        assert_eq!(first.settings, second.settings);
        second.was_up().unwrap();
        assert!(!Household::open(&dir).unwrap().new);
        assert_eq!(first.authority.certificate_pem, second.authority.certificate_pem);
        let other = Wishes { domain: Some("example.net".into()), ..Wishes::default() };
        assert!(
            Household::open_or_make(&dir, &other, |_| Ok(()))
                .unwrap_err()
                .to_string()
                .contains("example.org")
        );
    }

    #[test]
    fn a_directory_of_another_version_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        Household::open_or_make(place.path(), &Wishes::default(), |_| Ok(())).unwrap();
        let path = place.path().join(SETTINGS);
        let newer = fs::read_to_string(&path).unwrap().replace("\"layout\": 1", "\"layout\": 9");
        fs::write(&path, &newer).unwrap();
        let error =
            Household::open_or_make(place.path(), &Wishes::default(), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("layout 9"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), newer);
    }

    #[test]
    fn foreign_directories_and_names_are_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("letter.txt"), "x").unwrap();
        assert!(
            Household::open_or_make(place.path(), &Wishes::default(), |_| Ok(()))
                .unwrap_err()
                .to_string()
                .contains("letter.txt")
        );
        for bad in ["", "example", "Example.org", "a..b", "-a.b", "a b.c", "..", "a.b/c"] {
            assert!(check_domain(bad).is_err(), "{bad}");
        }
        assert!(check_domain("xn--bcher-kva.example").is_ok());
    }
}

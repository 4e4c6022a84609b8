//! Whose mail is whose: accounts, aliases, plus-addresses, the catch-all.

use crate::settings::Settings;
use crate::smtp::Mailbox;
use std::collections::BTreeSet;

/// Where a message for an address goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A mailbox here: the account, and the mailbox that a detail names.
    Local {
        /// Login name.
        user: String,
        /// `shop` of `anna+shop`.
        detail: Option<String>,
    },
    /// Somewhere else.
    Remote(Mailbox),
}

/// What is known of accounts: login names and addresses.
pub trait Known {
    /// The login name behind a login name or an address, in any case.
    fn user(&self, name: &str) -> Option<String>;
}

impl Known for chassis::accounts::Accounts {
    fn user(&self, name: &str) -> Option<String> {
        self.find(name).map(|account| account.user.clone())
    }
}

/// Aliases that lead to aliases, at most.
const ALIAS_DEPTH_MAX: usize = 10;

/// The directory as of now.
pub struct Directory<'a> {
    /// The household's domain.
    pub domain: &'a str,
    /// The settings.
    pub settings: &'a Settings,
    /// The accounts.
    pub known: &'a dyn Known,
    /// Whom a rewritten sender of ours stands for, by its local part.
    pub rewritten: &'a dyn Fn(&str) -> Option<Mailbox>,
}

impl Directory<'_> {
    /// Whether mail for this domain is ours.
    pub fn is_ours(&self, domain: &str) -> bool {
        let names = [self.domain.to_owned(), format!("mail.{}", self.domain), self.settings.hostname.clone()];
        domain.is_empty()
            || names.iter().chain(&self.settings.domains).any(|d| d.eq_ignore_ascii_case(domain))
    }

    /// Where mail for an address of ours goes; empty when there is nobody.
    pub fn targets(&self, address: &Mailbox) -> BTreeSet<Target> {
        let mut found = BTreeSet::new();
        self.collect(address, ALIAS_DEPTH_MAX, &mut found);
        found
    }

    /// Whether an account may write as this address: its own, a plus-address of it, an alias that leads to it.
    pub fn may_send_as(&self, user: &str, address: &Mailbox) -> bool {
        let own = |t: &Target| matches!(t, Target::Local { user: u, .. } if u == user);
        self.is_ours(&address.domain) && self.direct(address).is_some_and(|t| t.iter().any(own))
    }

    fn collect(&self, address: &Mailbox, depth: usize, found: &mut BTreeSet<Target>) {
        if depth == 0 {
            return;
        }
        if !self.is_ours(&address.domain) {
            found.insert(Target::Remote(address.clone()));
            return;
        }
        match self.direct(address) {
            Some(targets) => {
                for target in targets {
                    match target {
                        Target::Remote(next) => self.collect(&next, depth - 1, found),
                        local => drop(found.insert(local)),
                    }
                }
            }
            None => {
                let catch_all = &self.settings.catch_all;
                if let Some(user) = self.known.user(catch_all).filter(|_| !catch_all.is_empty()) {
                    found.insert(Target::Local { user, detail: None });
                }
            }
        }
    }

    /// One step: an account, an alias, or one of them without its detail.
    fn direct(&self, address: &Mailbox) -> Option<Vec<Target>> {
        if let Some(sender) = (self.rewritten)(&address.local) {
            return Some(vec![Target::Remote(sender)]);
        }
        let local = address.local.to_lowercase();
        if let Some(found) = self.named(&local, &address.domain, None) {
            return Some(found);
        }
        let separator = self.settings.detail_separator.as_str();
        if !separator.is_empty()
            && let Some((base, detail)) = local.split_once(separator)
            && !base.is_empty()
        {
            return self.named(base, &address.domain, Some(detail.to_owned()));
        }
        None
    }

    fn named(&self, local: &str, domain: &str, detail: Option<String>) -> Option<Vec<Target>> {
        let domain = if domain.is_empty() { self.domain } else { domain };
        let full = format!("{local}@{}", domain.to_lowercase());
        let aliases = &self.settings.aliases;
        let key = |k: &&String| k.to_lowercase() == full || k.to_lowercase() == local;
        if let Some(targets) = aliases.keys().find(key).and_then(|k| aliases.get(k)) {
            return Some(targets.iter().filter_map(|t| self.target(t)).collect());
        }
        if let Some(user) = self.known.user(&full).or_else(|| self.known.user(local)) {
            return Some(vec![Target::Local { user, detail }]);
        }
        // RFC 5321 4.5.1: postmaster is always somebody; RFC 2142 wants abuse too.
        if matches!(local, "postmaster" | "abuse") {
            let first = self.known.user("").map(|user| Target::Local { user, detail: None });
            return first.map(|t| vec![t]);
        }
        None
    }

    fn target(&self, text: &str) -> Option<Target> {
        match self.known.user(text) {
            Some(user) => Some(Target::Local { user, detail: None }),
            None => {
                let with_domain =
                    if text.contains('@') { text.to_owned() } else { format!("{text}@{}", self.domain) };
                Mailbox::parse(&with_domain).ok().map(Target::Remote)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Accounts;

    impl Known for Accounts {
        fn user(&self, name: &str) -> Option<String> {
            match name.to_lowercase().as_str() {
                "anna" | "anna@home.test" | "" => Some("anna".into()),
                "ben" | "ben.long@home.test" => Some("ben".into()),
                _ => None,
            }
        }
    }

    fn settings() -> Settings {
        let mut settings = Settings::default();
        let mut alias = |a: &str, t: &[&str]| {
            settings.aliases.insert(a.into(), t.iter().map(|t| (*t).to_string()).collect());
        };
        alias("family", &["anna", "ben", "aunt@far.test"]);
        alias("loop", &["loop"]);
        alias("all@home.test", &["family"]);
        settings
    }

    fn found(address: &str, settings: &Settings) -> Vec<String> {
        let directory = Directory { domain: "home.test", settings, known: &Accounts, rewritten: &|_| None };
        let shown = |t| match t {
            Target::Local { user, detail: None } => user,
            Target::Local { user, detail: Some(d) } => format!("{user}/{d}"),
            Target::Remote(m) => m.to_string(),
        };
        directory.targets(&Mailbox::parse(address).unwrap()).into_iter().map(shown).collect()
    }

    #[test]
    fn accounts_aliases_details_and_the_catch_all() {
        let mut settings = settings();
        assert_eq!(found("Anna@HOME.test", &settings), ["anna"]);
        assert_eq!(found("ben.long@home.test", &settings), ["ben"]);
        assert_eq!(found("anna+shop@home.test", &settings), ["anna/shop"]);
        assert_eq!(found("all@home.test", &settings), ["anna", "ben", "aunt@far.test"]);
        assert_eq!(found("postmaster@home.test", &settings), ["anna"]);
        assert!(found("loop@home.test", &settings).is_empty());
        assert!(found("nobody@home.test", &settings).is_empty());
        settings.catch_all = "ben".into();
        assert_eq!(found("nobody@home.test", &settings), ["ben"]);
    }

    #[test]
    fn an_account_writes_as_itself_only() {
        let settings = settings();
        let directory =
            Directory { domain: "home.test", settings: &settings, known: &Accounts, rewritten: &|_| None };
        let may = |user: &str, a: &str| directory.may_send_as(user, &Mailbox::parse(a).unwrap());
        assert!(
            may("anna", "anna@home.test")
                && may("anna", "anna+x@home.test")
                && may("ben", "family@home.test")
        );
        assert!(
            !may("anna", "ben@home.test")
                && !may("anna", "anna@far.test")
                && !may("anna", "nobody@home.test")
        );
    }
}

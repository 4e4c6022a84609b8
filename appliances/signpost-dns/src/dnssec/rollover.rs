//! Keys over time (RFC 6781 section 4.1, RFC 7583): a state machine whose clock is an argument.
//!
//! Zone signing keys are pre-published: a new key's DNSKEY stands in the zone until all caches know it, then it signs,
//! and the old one stays until its last signature is forgotten. Key signing keys overlap: both sign the keys; the parent
//! is asked by CDS and CDNSKEY for the new one when caches know it; only when its DS was seen there is the old one
//! retired, and it signs on until caches have forgotten its DS.

use serde::{Deserialize, Serialize};

use super::Algorithm;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The DNSKEY set.
    KeySigning,
    /// The rest.
    ZoneSigning,
    /// Everything.
    Both,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// In the zone for caches to learn; not yet signing the zone (zone signing), signing the keys already (key signing).
    Published,
    /// Key signing: known to caches; the parent is asked for its DS.
    Asked,
    /// Signing; for key signing, the parent's DS points to it.
    Active,
    /// Still in the zone for caches, no longer signing.
    Retired,
}

/// One key's record, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// What it signs.
    pub role: Role,
    /// Where it is.
    pub stage: Stage,
    /// When it came to that stage, seconds since 1970.
    pub since: u64,
    /// The private key, PKCS #8 in base 64.
    pub private: String,
}

/// The lengths of time that decide, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// A zone signing key signs this long.
    pub zone_key_s: u64,
    /// A key signing key signs this long; 0: until somebody asks for a new one.
    pub key_key_s: u64,
    /// The longest that a cache may hold the zone's data or keys: the highest TTL plus the time to reach secondaries.
    pub caches_s: u64,
    /// The longest that a cache may hold the parent's DS.
    pub parent_s: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { zone_key_s: 90 * 86_400, key_key_s: 0, caches_s: 2 * 86_400, parent_s: 2 * 86_400 }
    }
}

/// What happened to the keys; in words for the commit and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key is wanted.
    Generate(Role),
    /// The key at this place goes to this stage.
    Move(usize, Stage),
    /// The key at this place goes.
    Remove(usize),
}

/// The next step, if one is due. Repeat until none is. `algorithm`: the one that keys should have; `parent_has`: the key at this place is known to be in the
/// parent's DS.
pub fn next_step(
    keys: &[KeyRecord],
    algorithm: Algorithm,
    timing: &Timing,
    now: u64,
    parent_has: impl Fn(usize) -> bool,
) -> Option<Step> {
    let split = keys.iter().any(|key| key.role != Role::Both);
    let roles = if split { &[Role::KeySigning, Role::ZoneSigning][..] } else { &[Role::Both] };
    roles.iter().find_map(|&role| step_of(keys, (role, algorithm), timing, now, &parent_has))
}

fn step_of(
    keys: &[KeyRecord],
    (role, algorithm): (Role, Algorithm),
    timing: &Timing,
    now: u64,
    parent_has: &dyn Fn(usize) -> bool,
) -> Option<Step> {
    let of =
        |stage: Stage| keys.iter().enumerate().filter(move |(_, key)| key.role == role && key.stage == stage);
    let age = |key: &KeyRecord| now.saturating_sub(key.since);
    if let Some((at, _)) =
        of(Stage::Retired).find(|(_, key)| age(key) >= timing.caches_s.max(timing.parent_s))
    {
        return Some(Step::Remove(at));
    }
    let (active, coming) = (of(Stage::Active).next(), of(Stage::Published).chain(of(Stage::Asked)).next());
    match (active, coming) {
        (None, None) => Some(Step::Generate(role)),
        // The first key of a zone signs at once; a parent that knows it already or never is not waited for.
        (None, Some((at, _))) => Some(Step::Move(at, Stage::Active)),
        (Some((old, _)), Some((new, key))) => {
            match key.stage {
                Stage::Published if age(key) < timing.caches_s => return None,
                Stage::Published if role != Role::ZoneSigning => return Some(Step::Move(new, Stage::Asked)),
                Stage::Asked if !parent_has(new) => return None,
                _ => {}
            }
            // The old one last: between the two steps both sign, never none.
            Some(if of(Stage::Active).count() > 1 {
                Step::Move(old, Stage::Retired)
            } else {
                Step::Move(new, Stage::Active)
            })
        }
        (Some((old, key)), None) => {
            if of(Stage::Active).count() > 1 {
                return Some(Step::Move(old, Stage::Retired));
            }
            // Another algorithm is wanted: its key begins at once, beside the old one (RFC 6781 section 4.1.4).
            if key.algorithm != algorithm {
                return Some(Step::Generate(role));
            }
            let life = if role == Role::ZoneSigning { timing.zone_key_s } else { timing.key_key_s };
            (life > 0 && age(key) >= life).then_some(Step::Generate(role))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(
        keys: &mut Vec<KeyRecord>,
        timing: &Timing,
        now: u64,
        parent: impl Fn(usize) -> bool + Copy,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) =
            next_step(keys, keys.last().map_or(Algorithm::Ed25519, |key| key.algorithm), timing, now, parent)
        {
            match step {
                Step::Generate(role) => keys.push(KeyRecord {
                    algorithm: Algorithm::Ed25519,
                    role,
                    stage: Stage::Published,
                    since: now,
                    private: String::new(),
                }),
                Step::Move(at, stage) => (keys[at].stage, keys[at].since) = (stage, now),
                Step::Remove(at) => drop(keys.remove(at)),
            }
            steps.push(step);
            assert!(steps.len() < 10, "it comes to rest");
        }
        steps
    }

    #[test]
    fn zone_signing_keys_roll_by_themselves_and_there_is_always_one_that_signs() {
        let timing = Timing { zone_key_s: 100, key_key_s: 0, caches_s: 10, parent_s: 5 };
        let mut keys = Vec::new();
        let record = |role| KeyRecord {
            algorithm: Algorithm::Ed25519,
            role,
            stage: Stage::Active,
            since: 0,
            private: String::new(),
        };
        keys.push(record(Role::KeySigning));
        let mut generated = 0;
        for now in 0..1000 {
            let steps = run(&mut keys, &timing, now, |_| false);
            generated += steps.iter().filter(|step| matches!(step, Step::Generate(_))).count();
            assert!(
                keys.iter().any(|key| key.role == Role::ZoneSigning && key.stage == Stage::Active),
                "{now}"
            );
            assert!(keys.len() <= 4);
        }
        assert!((8..=11).contains(&generated), "{generated}");
        assert_eq!(keys.iter().filter(|key| key.role == Role::KeySigning).count(), 1, "not asked for");
    }

    #[test]
    fn a_key_signing_key_waits_for_its_parent() {
        let timing = Timing { zone_key_s: 1000, key_key_s: 50, caches_s: 10, parent_s: 20 };
        let mut keys = vec![KeyRecord {
            algorithm: Algorithm::Ed25519,
            role: Role::Both,
            stage: Stage::Active,
            since: 0,
            private: String::new(),
        }];
        for now in 0..200 {
            run(&mut keys, &timing, now, |_| false);
        }
        assert_eq!(keys.iter().map(|key| key.stage).collect::<Vec<_>>(), [Stage::Active, Stage::Asked]);
        run(&mut keys, &timing, 200, |at| at == 1);
        assert_eq!(keys.iter().map(|key| key.stage).collect::<Vec<_>>(), [Stage::Retired, Stage::Active]);
        run(&mut keys, &timing, 219, |_| true);
        assert_eq!(keys.len(), 2);
        run(&mut keys, &timing, 220, |_| true);
        assert_eq!(keys.len(), 1);
    }
}

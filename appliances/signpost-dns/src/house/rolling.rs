//! Keys over virtual years: at every moment every resolver, whatever its caches hold, can validate the zone.

use std::collections::BTreeSet;

use super::{roll, signer_of};
use crate::dnssec::rollover::Timing;
use crate::dnssec::{Algorithm, ZoneKey};
use crate::settings::ZoneSettings;

const DAY_S: u64 = 86_400;
const STEP_S: u64 = DAY_S / 4;

/// A key, as resolvers tell them apart.
type KeyId = (u8, u16);

fn ids(keys: &[std::sync::Arc<ZoneKey>]) -> BTreeSet<KeyId> {
    keys.iter().map(|key| (key.algorithm.number(), key.tag)).collect()
}

/// What the world could see at one moment.
struct Moment {
    ds: BTreeSet<KeyId>,
    published: BTreeSet<KeyId>,
    signs_keys: BTreeSet<KeyId>,
    signs_zone: BTreeSet<KeyId>,
}

#[test]
fn rfc7583_every_cache_can_validate_while_keys_and_algorithms_roll() {
    let timing =
        Timing { zone_key_s: 30 * DAY_S, key_key_s: 90 * DAY_S, caches_s: 2 * DAY_S, parent_s: 2 * DAY_S };
    let mut settings = ZoneSettings {
        signed: true,
        timing,
        algorithm: Some(Algorithm::EcdsaP256),
        ..ZoneSettings::default()
    };
    let mut world: Vec<Moment> = Vec::new();
    let (mut ds, mut asked_since) = (BTreeSet::new(), 0);
    let (mut zone_keys, mut key_keys) = (BTreeSet::<KeyId>::new(), BTreeSet::<KeyId>::new());
    for now in (0..500 * DAY_S).step_by(STEP_S as usize) {
        if now == 200 * DAY_S {
            settings.algorithm = Some(Algorithm::Ed25519);
        }
        let before = signer_of(&settings).ok();
        let has = |at: usize| {
            before.as_ref().is_some_and(|one| {
                ds.contains(&(one.published[at].algorithm.number(), one.published[at].tag))
            })
        };
        roll(&mut settings, now, has).unwrap();
        let signer = signer_of(&settings).unwrap();
        // The parent follows CDS a day late.
        let asked = ids(&signer.asked_of_parent);
        assert_eq!(asked.len(), 1, "day {}", now / DAY_S);
        if asked == ds {
            asked_since = now;
        } else if now >= asked_since + DAY_S {
            ds = asked;
        }
        let moment = Moment {
            ds: ds.clone(),
            published: ids(&signer.published),
            signs_keys: ids(&signer.key_signing),
            signs_zone: ids(&signer.zone_signing),
        };
        zone_keys.extend(&moment.signs_zone);
        key_keys.extend(&moment.ds);
        for (algorithm, _) in &moment.published {
            let signs = |all: &BTreeSet<KeyId>| all.iter().any(|(one, _)| one == algorithm);
            assert!(
                signs(&moment.signs_zone) && signs(&moment.signs_keys),
                "RFC 4035 2.2, day {}",
                now / DAY_S
            );
        }
        assert!(moment.published.len() <= 6);
        world.push(moment);
        let cached = |s: u64| &world[world.len().saturating_sub((s / STEP_S) as usize)..];
        for keys in cached(timing.caches_s) {
            for parent in cached(timing.parent_s).iter().filter(|one| !one.ds.is_empty()) {
                let good =
                    parent.ds.iter().any(|one| keys.published.contains(one) && keys.signs_keys.contains(one));
                assert!(good, "no DS leads to the keys, day {}", now / DAY_S);
            }
            for data in cached(timing.caches_s) {
                let good = data.signs_zone.iter().any(|one| keys.published.contains(one));
                assert!(good, "no key verifies the data, day {}", now / DAY_S);
            }
        }
    }
    assert!(zone_keys.len() >= 12 && key_keys.len() >= 4, "{} and {}", zone_keys.len(), key_keys.len());
    let last = world.last().unwrap();
    assert!(last.published.iter().all(|(algorithm, _)| *algorithm == Algorithm::Ed25519.number()));
}

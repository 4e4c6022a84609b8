//! Two devices edit apart and meet again, with random edits: no property is lost, objects stay valid, and sync tokens tell
//! every change exactly once. And the power goes at any flush: what was answered 201 or 204 is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use store::device::{Operation, PowerCuts, Trace};

use super::tests::World;
use super::*;
use crate::household::summary::Summary;

const HOME: &str = "/dav/anna/calendar/";
const NAMES: [&str; 5] = ["SUMMARY", "LOCATION", "X-FIRST", "X-SECOND", "PRIORITY"];

/// What stands in an object, by property.
type Fields = BTreeMap<usize, String>;

/// What a device has of an object: where it left off, and what it made of that.
#[derive(Clone, Default)]
struct Copy {
    etag: Option<String>,
    base: Fields,
    now: Fields,
}

/// A device: its copies, its token, and what it was told of.
#[derive(Clone, Default)]
struct Device {
    copies: BTreeMap<usize, Copy>,
    token: String,
    told: BTreeMap<String, bool>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Device, object, property, value; no value takes the property away.
    Edit(usize, usize, usize, Option<u8>),
    /// The device sends what it changed, then reads what is new.
    Meet(usize),
    /// The device deletes an object, if it has it.
    Delete(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edit = (0..2usize, 0..3usize, 0..NAMES.len(), prop::option::weighted(0.85, 0..6u8))
        .prop_map(|(device, object, property, value)| Step::Edit(device, object, property, value));
    let meet = (0..2usize).prop_map(Step::Meet);
    let delete = (0..2usize, 0..3usize).prop_map(|(device, object)| Step::Delete(device, object));
    prop::collection::vec(prop_oneof![6 => edit, 3 => meet, 1 => delete], 1..40)
}

fn body(object: usize, fields: &Fields) -> String {
    let mut out = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:o{object}\r\nDTSTAMP:20240101T000000Z\r\nDTSTART:20240501T100000Z\r\n"
    );
    for (property, value) in fields {
        out.push_str(&format!("{}:{value}\r\n", NAMES[*property]));
    }
    out + "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT5M\r\nDESCRIPTION:a\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
}

fn fields(text: &str) -> Fields {
    let calendar = crate::reading::read(text.as_bytes()).unwrap().remove(0);
    let event = calendar.components.iter().find(|c| c.name == "VEVENT").unwrap();
    assert_eq!(event.components.len(), 1, "the alarm is there, once");
    let found = NAMES.iter().enumerate();
    found.filter_map(|(at, name)| Some((at, event.value(name)?.to_string()))).collect()
}

fn href(object: usize) -> String {
    format!("{HOME}o{object}.ics")
}

fn differs(one: &Fields, other: &Fields) -> Vec<usize> {
    (0..NAMES.len()).filter(|at| one.get(at) != other.get(at)).collect()
}

impl Device {
    /// Sends every changed copy, then asks what is new since its token.
    fn meet(&mut self, world: &World) -> Result<(), TestCaseError> {
        for (object, copy) in &mut self.copies {
            let changed = differs(&copy.base, &copy.now);
            if copy.etag.is_some() && changed.is_empty() {
                continue;
            }
            let target = href(*object);
            let before = world.ask("GET", &target, &[], "");
            let before =
                (before.status == 200).then(|| fields(&String::from_utf8_lossy(&before.into_bytes())));
            let condition = match &copy.etag {
                Some(etag) => ("if-match", etag.as_str()),
                None => ("if-none-match", "*"),
            };
            let refused = world.refused().len();
            let answer = world.ask("PUT", &target, &[condition], &body(*object, &copy.now));
            let Some(before) = before else {
                // Deleted, or never there: HTTP's answer stands.
                prop_assert!(
                    matches!((answer.status, &copy.etag), (201, None) | (412, Some(_))),
                    "{}",
                    answer.status
                );
                continue;
            };
            let theirs = differs(&copy.base, &before);
            let both: Vec<usize> = changed
                .iter()
                .copied()
                .filter(|at| theirs.contains(at) && before.get(at) != copy.now.get(at))
                .collect();
            let after = fields(&world.text(&target));
            match answer.status {
                204 => {
                    prop_assert!(both.is_empty(), "both changed {both:?} and one of them is lost");
                    for (at, name) in NAMES.iter().enumerate() {
                        let expected =
                            if changed.contains(&at) { copy.now.get(&at) } else { before.get(&at) };
                        prop_assert_eq!(
                            after.get(&at),
                            expected,
                            "{} after {:?} and {:?}",
                            name,
                            changed,
                            theirs
                        );
                    }
                }
                412 if copy.etag.is_none() => {}
                412 => {
                    prop_assert!(!both.is_empty(), "nothing contradicts: {changed:?} against {theirs:?}");
                    prop_assert_eq!(&after, &before, "a refused change changes nothing");
                    let kept = world.refused();
                    prop_assert!(
                        kept.len() == refused + 1 || kept.contains(&copy.now),
                        "what was refused is kept"
                    );
                }
                other => prop_assert!(false, "PUT: {other}"),
            }
        }
        self.read(world)
    }

    /// What is new since the token: each change once, and afterwards the device has what the server has.
    fn read(&mut self, world: &World) -> Result<(), TestCaseError> {
        let (changes, token) = world.sync(HOME, &self.token, None);
        let mut seen: Vec<&String> = changes.iter().map(|(href, _)| href).collect();
        seen.sort();
        seen.dedup();
        prop_assert_eq!(seen.len(), changes.len(), "a change came twice");
        for (href, there) in &changes {
            prop_assert!(
                *there || self.told.get(href) == Some(&true),
                "told that something is gone that was never told of"
            );
            self.told.insert(href.clone(), *there);
        }
        self.token = token;
        let (again, _) = world.sync(HOME, &self.token, None);
        prop_assert!(again.is_empty(), "nothing new, and still {again:?}");
        self.copies.clear();
        for object in 0..3 {
            let answer = world.ask("GET", &href(object), &[], "");
            prop_assert_eq!(
                answer.status == 200,
                self.told.get(&href(object)) == Some(&true),
                "object {}",
                object
            );
            if answer.status == 200 {
                let etag = answer.fields.iter().find(|(name, _)| *name == "etag").map(|(_, tag)| tag.clone());
                let text = String::from_utf8(answer.into_bytes().to_vec()).unwrap();
                prop_assert!(Summary::of_calendar(text.as_bytes(), 0).is_ok(), "no valid object: {text}");
                let base = fields(&text);
                self.copies.insert(object, Copy { etag, now: base.clone(), base });
            }
        }
        Ok(())
    }
}

impl World {
    /// The versions that were refused and are kept.
    fn refused(&self) -> Vec<Fields> {
        let branch = self.service.household.store().branch(refused_branch("anna")).unwrap();
        let snapshot = branch.snapshot().unwrap();
        let kept = snapshot.list("").unwrap().into_iter();
        kept.filter_map(|entry| {
            let bytes = snapshot.read(format!("{}/theirs", entry.name())).unwrap()?;
            Some(fields(&String::from_utf8_lossy(&bytes)))
        })
        .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var("NYMOTE_LONG").is_ok_and(|long| long == "1") { 2_000 } else { 48 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_devices_apart_lose_nothing(steps in steps()) {
        let world = World::new();
        world.ask("OPTIONS", HOME, &[], "");
        let mut devices = [Device::default(), Device::default()];
        for step in steps {
            match step {
                Step::Edit(device, object, property, value) => {
                    let copy = devices[device].copies.entry(object).or_default();
                    match value {
                        Some(value) => copy.now.insert(property, value.to_string()),
                        None => copy.now.remove(&property),
                    };
                }
                Step::Meet(device) => devices[device].meet(&world)?,
                Step::Delete(device, object) => {
                    if let Some(Copy { etag: Some(etag), .. }) = devices[device].copies.get(&object) {
                        let status = world.ask("DELETE", &href(object), &[("if-match", etag)], "").status;
                        prop_assert!(matches!(status, 204 | 404 | 412), "DELETE: {status}");
                        devices[device].read(&world)?;
                    }
                }
            }
        }
        // In the end both have read everything, and have the same.
        for device in &mut devices {
            device.meet(&world)?;
        }
        devices[0].read(&world)?;
        let there = |device: &Device| device.told.iter().filter(|(_, there)| **there).map(|(href, _)| href.clone()).collect::<Vec<_>>();
        prop_assert_eq!(there(&devices[0]), there(&devices[1]));
    }
}

#[test]
fn power_cuts_lose_nothing_that_was_answered() {
    let trace = Arc::new(Trace::new(store::MemoryDevice::new()));
    let options = || store::Options::new().segment_bytes(32 << 10);
    let world = World::over(store::Store::create(trace.clone(), options()).unwrap());
    // After each answer: how many operations had been asked, and what must be there from then on.
    let mut answered: Vec<(usize, BTreeMap<String, Option<String>>)> = Vec::new();
    let mut state: BTreeMap<String, Option<String>> = BTreeMap::new();
    for round in 0..40usize {
        let target = href(round % 9);
        if round % 7 == 6 {
            let status = world.ask("DELETE", &target, &[], "").status;
            assert!(status == 204 || status == 404, "{status}");
            state.insert(target, None);
        } else {
            let text = body(round % 9, &Fields::from([(0, round.to_string())]));
            assert!(matches!(world.put(&target, &text), 201 | 204));
            state.insert(target, Some(text));
        }
        answered.push((trace.len_traced(), state.clone()));
    }
    drop(world);
    let operations: Vec<Operation> = trace.take();
    let first = answered[0].0;
    let (mut cuts, mut points) = (PowerCuts::new(Vec::new()), 0);
    for (at, operation) in operations.iter().enumerate() {
        if at >= first && *operation == Operation::Flush && !cuts.is_all_durable() {
            for seed in 0..3u64 {
                points += 1;
                let image = cuts.cut(seed ^ (at as u64) << 8);
                let store = store::Store::open(store::MemoryDevice::from_image(image), options()).unwrap();
                let world = World::over(store);
                let promised =
                    answered.iter().rev().find(|(asked, _)| *asked <= at).map(|(_, state)| state).unwrap();
                // What came after the last answer may be there too, wholly.
                let next =
                    answered.iter().find(|(asked, _)| *asked > at).map_or(promised, |(_, state)| state);
                for (target, text) in promised {
                    let answer = world.ask("GET", target, &[], "");
                    let found = (answer.status == 200)
                        .then(|| String::from_utf8(answer.into_bytes().to_vec()).unwrap());
                    assert!(
                        found == *text || found == next[target],
                        "cut at {at}, seed {seed}: {target} is {found:?}"
                    );
                }
            }
        }
        cuts.pass(operation);
    }
    assert!(points > 60, "only {points} points");
}

//! What an attempt means for a message: settled, delayed, given up; and what its sender is told. No clock, no I/O.

use super::entry::{Entry, RecipientState, Waiting};
use super::notice::Kind;
use super::schedule;
use crate::smtp::Outcome;

/// What happened to a recipient in an attempt.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The outcome.
    pub outcome: Outcome,
    /// The host that it came from; empty where none was reached.
    pub host: String,
    /// Whether that host got NOTIFY and tells of success itself.
    pub dsn_passed_on: bool,
}

impl Entry {
    /// Notes what happened to a recipient. `days` is how long a message is tried.
    pub fn record(&mut self, i: usize, tried: Tried, now_ms: u64, days: u32) {
        let expired = schedule::expired(self.created_ms, now_ms, days);
        let scatter = self.created_ms ^ i as u64;
        let r = &mut self.recipients[i];
        r.attempts += 1;
        r.host = tried.host;
        r.dsn_passed_on = tried.dsn_passed_on;
        let (answer, status, permanent) = match &tried.outcome {
            Outcome::Delivered(reply) => {
                r.state = RecipientState::Delivered;
                (r.answer, r.status) = (reply.to_string(), reply.status());
                return;
            }
            Outcome::Refused(reply) => (reply.to_string(), reply.status(), !reply.is_transient()),
            // RFC 7504: 521 is for good. Another refusal of the whole session may pass.
            Outcome::Unavailable(reply) if reply.code == 521 => (reply.to_string(), reply.status(), true),
            Outcome::Unavailable(reply) => (reply.to_string(), reply.status().replacen('5', "4", 1), false),
            Outcome::Broken { why, .. } => (why.clone(), "4.4.2".to_owned(), false),
        };
        (r.answer, r.status) = (answer, status);
        if permanent || expired {
            r.state = RecipientState::Failed;
            if !permanent {
                r.answer = format!("given up after {}; the last answer was: {}", in_days(days), r.answer);
                r.status = "5.4.7".into();
            }
        } else {
            r.next_ms = schedule::next_attempt_ms(r.attempts, now_ms, scatter);
        }
    }

    /// Which recipients the sender is to be told of now, and how.
    pub fn to_tell(&self, now_ms: u64) -> Vec<(Kind, Vec<usize>)> {
        let late = now_ms.saturating_sub(self.created_ms) >= schedule::DELAY_NOTICE_MS;
        let kinds = [Kind::Failed, Kind::Delivered, Kind::Delayed];
        let of = |kind| {
            let chosen = |r: &Waiting| match kind {
                Kind::Delayed => {
                    r.state == RecipientState::Waiting
                        && late
                        && !r.delay_told
                        && r.attempts > 0
                        && r.wants().delay
                }
                _ => r.end_to_tell() == Some(kind),
            };
            (0..self.recipients.len()).filter(|i| chosen(&self.recipients[*i])).collect::<Vec<_>>()
        };
        if self.from.is_none() {
            return Vec::new();
        }
        kinds.map(|kind| (kind, of(kind))).into_iter().filter(|(_, chosen)| !chosen.is_empty()).collect()
    }

    /// Notes that the sender was told.
    pub fn told(&mut self, kind: Kind, recipients: &[usize]) {
        for i in recipients {
            match kind {
                Kind::Delayed => self.recipients[*i].delay_told = true,
                Kind::Failed | Kind::Delivered => self.recipients[*i].end_told = true,
            }
        }
    }

    /// Whether the sender is still to learn of an end.
    pub fn has_ends_to_tell(&self) -> bool {
        self.from.is_some() && self.recipients.iter().any(|r| r.end_to_tell().is_some())
    }
}

impl Waiting {
    fn end_to_tell(&self) -> Option<Kind> {
        match self.state {
            _ if self.end_told => None,
            RecipientState::Failed => self.wants().failure.then_some(Kind::Failed),
            RecipientState::Delivered => {
                (self.wants().success && !self.dsn_passed_on).then_some(Kind::Delivered)
            }
            RecipientState::Waiting => None,
        }
    }
}

/// `5 days`, for people.
pub fn in_days(days: u32) -> String {
    if days == 1 { "a day".into() } else { format!("{days} days") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{Mailbox, Notify, Reply};

    fn entry(notify: Option<Notify>) -> Entry {
        let to = Mailbox::parse("x@far.test").unwrap();
        Entry {
            id: "1".into(),
            created_ms: 1_000,
            from: Some("me@here.test".into()),
            user: "me".into(),
            size: 1,
            smtputf8: false,
            ret: None,
            envid: None,
            subject: String::new(),
            recipients: vec![Waiting::new(&to, notify, None), Waiting::new(&to, notify, None)],
        }
    }

    fn tried(outcome: Outcome) -> Tried {
        Tried { outcome, host: "mx.far.test".into(), dsn_passed_on: false }
    }

    /// Five days by a clock of our own: the first recipient is never taken, the second one on the third day.
    #[test]
    fn rfc5321_4_5_4_1_five_days_of_attempts_one_delay_notice_one_failure() {
        let mut one = entry(None);
        let (mut now, mut attempts, mut notices) = (1_000, 0, Vec::new());
        while !one.is_done() {
            for i in 0..2 {
                if one.recipients[i].state != RecipientState::Waiting || one.recipients[i].next_ms > now {
                    continue;
                }
                attempts += 1;
                let later = Outcome::Refused(Reply::new(451, "4.3.0", "later"));
                let taken = Outcome::Delivered(Reply::new(250, "2.0.0", "ok"));
                let third_day = now > 2 * 86_400_000;
                one.record(i, tried(if i == 1 && third_day { taken } else { later }), now, 5);
            }
            for (kind, chosen) in one.to_tell(now) {
                notices.push((kind, chosen.clone(), now / 3_600_000));
                one.told(kind, &chosen);
            }
            now = one.next_ms().unwrap_or(now);
        }
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert_eq!((notices[0].0, &notices[0].1), (Kind::Delayed, &vec![0, 1]));
        assert!((4..10).contains(&notices[0].2) && (120..130).contains(&notices[1].2), "{notices:?}");
        assert_eq!((notices[1].0, &notices[1].1), (Kind::Failed, &vec![0]));
        assert_eq!(one.recipients[0].status, "5.4.7");
        assert!(one.recipients[0].answer.contains("5 days") && one.recipients[0].answer.contains("451"));
        assert!((30..90).contains(&attempts), "{attempts}");
    }

    #[test]
    fn rfc3461_5_2_who_is_told_of_what() {
        let all = Notify { success: true, failure: true, delay: true };
        let never = Notify { success: false, failure: false, delay: false };
        let ok = || Outcome::Delivered(Reply::new(250, "2.0.0", "ok"));
        let no = || Outcome::Refused(Reply::new(550, "5.1.1", "no"));
        let mut one = entry(Some(all));
        one.record(0, tried(ok()), 5, 5);
        one.record(1, Tried { dsn_passed_on: true, ..tried(ok()) }, 5, 5);
        assert_eq!(one.to_tell(5), [(Kind::Delivered, vec![0])]);
        let mut one = entry(Some(never));
        one.record(0, tried(no()), 5, 5);
        assert!(one.to_tell(5).is_empty());
        let mut one = entry(None);
        one.from = None;
        one.record(0, tried(no()), 5, 5);
        one.record(1, tried(ok()), 5, 5);
        assert!(one.to_tell(5).is_empty() && one.is_done());
    }

    #[test]
    fn rfc7504_521_is_for_good_and_another_greeting_is_not() {
        let mut one = entry(None);
        one.record(0, tried(Outcome::Unavailable(Reply::new(521, "", "no mail here"))), 5, 5);
        one.record(1, tried(Outcome::Unavailable(Reply::new(554, "5.7.1", "not you"))), 5, 5);
        assert_eq!(one.recipients[0].state, RecipientState::Failed);
        assert_eq!(
            (one.recipients[1].state, one.recipients[1].status.as_str()),
            (RecipientState::Waiting, "4.7.1")
        );
    }
}

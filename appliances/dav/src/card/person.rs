//! What a card says, for lists, search, birthdays and duplicates: read leniently, any version.

use crate::calendar::civil::Day;
use crate::reading::{Component, Property, split, unescape};

/// A person, organisation or group.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Person {
    /// FN, or what stands for it.
    pub name: String,
    /// By what it is sorted: family name first.
    pub sort: String,
    /// Addresses with their kinds.
    pub emails: Vec<Labelled>,
    /// Numbers with their kinds.
    pub phones: Vec<Labelled>,
    /// ORG, its units joined.
    pub organisation: String,
    /// BDAY.
    pub birthday: Option<Birthday>,
    /// Whether it is a group (4.0's KIND or Apple's).
    pub is_group: bool,
    /// UIDs of a group's members.
    pub members: Vec<String>,
    /// CATEGORIES.
    pub categories: Vec<String>,
}

/// A value with what kind it is: `home`, `work`, or a label of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Labelled {
    /// The kind, in words; empty when nothing is said.
    pub label: String,
    /// The value.
    pub value: String,
}

/// A birthday; the year may be unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Birthday {
    /// The year, when it is known.
    pub year: Option<i32>,
    /// 1–12
    pub month: u32,
    /// 1–31
    pub day: u32,
}

impl Person {
    /// Reads a card.
    pub fn of(card: &Component) -> Person {
        let text = |name: &str| card.text(name).map(|t| t.trim().to_string()).filter(|t| !t.is_empty());
        let parts: Vec<String> = card
            .property("N")
            .map(|n| split(&n.value, ';').iter().map(|part| unescape(part).trim().to_string()).collect())
            .unwrap_or_default();
        let part = |at: usize| parts.get(at).cloned().unwrap_or_default();
        let organisation = card
            .property("ORG")
            .map(|org| {
                split(&org.value, ';')
                    .iter()
                    .map(|p| unescape(p))
                    .filter(|p| !p.is_empty())
                    .collect::<Vec<_>>()
                    .join(", ")
            })
            .unwrap_or_default();
        let emails = labelled(card, "EMAIL");
        let given_family = format!("{} {}", part(1), part(0)).trim().to_string();
        let name = text("FN")
            .or_else(|| Some(given_family).filter(|n| !n.is_empty()))
            .or_else(|| Some(organisation.clone()).filter(|n| !n.is_empty()))
            .or_else(|| emails.first().map(|e| e.value.clone()))
            .unwrap_or_else(|| "(no name)".into());
        let sort = match part(0).is_empty() {
            true => name.clone(),
            false => format!("{} {}", part(0), part(1)),
        };
        let kind = card.value("KIND").or_else(|| card.value("X-ADDRESSBOOKSERVER-KIND"));
        let members = card.all("MEMBER").chain(card.all("X-ADDRESSBOOKSERVER-MEMBER"));
        Person {
            sort: sort.to_lowercase(),
            name,
            emails,
            phones: labelled(card, "TEL"),
            organisation,
            birthday: card.property("BDAY").and_then(birthday),
            is_group: kind.is_some_and(|kind| kind.eq_ignore_ascii_case("group")),
            members: members.map(|m| m.value.trim().trim_start_matches("urn:uuid:").to_string()).collect(),
            categories: card
                .all("CATEGORIES")
                .flat_map(|p| {
                    split(&p.value, ',').iter().map(|c| unescape(c).trim().to_string()).collect::<Vec<_>>()
                })
                .filter(|c| !c.is_empty())
                .collect(),
        }
    }
}

impl Birthday {
    /// The next day on which it is celebrated, today included. 29 February is celebrated on the 28th in other years.
    pub fn next(&self, today: Day) -> Option<Day> {
        let in_year = |year: i32| {
            Day::new(year, self.month, self.day)
                .or_else(|| Day::new(year, self.month, self.day.checked_sub(1)?))
        };
        let this = in_year(today.year())?;
        if this >= today { Some(this) } else { in_year(today.year() + 1) }
    }
}

/// Values of one property with their labels: X-ABLabel of the same group, else TYPE.
fn labelled(card: &Component, name: &str) -> Vec<Labelled> {
    card.all(name)
        .filter(|property| !property.value.trim().is_empty())
        .map(|property| {
            let own = property.group.as_ref().and_then(|group| {
                card.all("X-ABLABEL")
                    .find(|label| label.group.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(group)))
            });
            let label = match own {
                Some(label) => label.text().trim_start_matches("_$!<").trim_end_matches(">!$_").to_string(),
                None => property
                    .types()
                    .into_iter()
                    .filter(|t| !matches!(t.as_str(), "internet" | "pref" | "voice"))
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            let value = property.text();
            let value = value.trim();
            Labelled { label, value: value.strip_prefix("tel:").unwrap_or(value).to_string() }
        })
        .collect()
}

/// `1970-01-02`, `19700102`, `--0312`, `--03-12`, with or without a time; Apple's 1604 is no year.
fn birthday(property: &Property) -> Option<Birthday> {
    let value = property.value.trim().split('T').next()?.to_string();
    let digits: String = value.chars().filter(char::is_ascii_digit).collect();
    let (year, rest) = match (value.starts_with("--"), digits.len()) {
        (true, 4) => (None, digits.as_str()),
        (false, 8) => (digits[..4].parse::<i32>().ok(), &digits[4..]),
        _ => return None,
    };
    let omitted = property.parameter("X-APPLE-OMIT-YEAR").and_then(|y| y.parse::<i32>().ok());
    let year = year.filter(|year| Some(*year) != omitted);
    let (month, day): (u32, u32) = (rest[..2].parse().ok()?, rest[2..].parse().ok()?);
    Day::new(year.unwrap_or(2000), month, day)?;
    Some(Birthday { year, month, day })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cards_say() {
        let text = "BEGIN:VCARD\nVERSION:3.0\nN:O’Hara;Siobhán;;;\nitem1.EMAIL;type=INTERNET;type=pref:s@x\nitem1.X-ABLabel:_$!<HomePage>!$_\nTEL;TYPE=CELL,VOICE:+1\nBDAY;X-APPLE-OMIT-YEAR=1604:1604-02-29\nORG:A\\, b;C\nEND:VCARD\n";
        let person = Person::of(&crate::reading::read(text.as_bytes()).unwrap()[0]);
        assert_eq!((person.name.as_str(), person.sort.as_str()), ("Siobhán O’Hara", "o’hara siobhán"));
        assert_eq!(person.emails, [Labelled { label: "HomePage".into(), value: "s@x".into() }]);
        assert_eq!(person.phones, [Labelled { label: "cell".into(), value: "+1".into() }]);
        assert_eq!(person.organisation, "A, b, C");
        let birthday = person.birthday.unwrap();
        assert_eq!(birthday, Birthday { year: None, month: 2, day: 29 });
        let today = Day::new(2025, 1, 1).unwrap();
        assert_eq!(birthday.next(today), Day::new(2025, 2, 28));
        assert_eq!(birthday.next(Day::new(2027, 3, 1).unwrap()), Day::new(2028, 2, 29));
    }
}

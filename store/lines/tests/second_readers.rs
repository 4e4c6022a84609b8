//! Other people's readers of the same bytes: `ical` and `vcard_parser`, where they read at all (docs/decisions/0250). What
//! they are known to do wrong is left out, by its name.

use std::path::{Path, PathBuf};

use content_lines::merge::vcard;
use content_lines::{Document, Limits};
use vcard_parser::parse_vcards;
use vcard_parser::traits::HasName;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A property as `ical` tells it: group and name, parameters' names and values, value.
type Told = (String, Vec<(String, Vec<String>)>, String);

fn as_ical_reads(bytes: &[u8]) -> Vec<Option<Told>> {
    let reader = ical::PropertyParser::from_reader(bytes);
    let told = |property: ical::property::Property| {
        let upper = |name: String| name.to_uppercase();
        let parameters = property.params.unwrap_or_default().into_iter();
        let parameters = parameters.map(|(name, values)| (upper(name), values)).collect();
        (upper(property.name), parameters, property.value.unwrap_or_default())
    };
    reader.map(|property| property.ok().map(told)).collect()
}

fn as_we_read(bytes: &[u8]) -> Vec<Option<Told>> {
    let document = Document::parse(bytes, &Limits::default()).unwrap();
    let lines = document.lines().iter().filter(|line| !line.is_blank());
    lines
        .map(|line| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            let group = line.group().map_or(Some(String::new()), |group| Some(text(group)? + "."))?;
            let mut parameters = Vec::new();
            for parameter in line.parameters() {
                let raw = text(parameter.raw())?;
                // It has no word for what vCard 2.1 writes, and none for quotes with a delimiter in them.
                let (name, values) = raw.split_once('=')?;
                let plain = !values.contains(['"', '^', '\\']);
                // It stops at the tenth value.
                let values: Vec<String> = values.split(',').map(str::to_owned).collect();
                if !plain || values.len() >= 10 {
                    return None;
                }
                parameters.push((name.to_uppercase(), values));
            }
            // It eats blanks at the end of a physical line, those before a fold too.
            let physical = text(line.raw())?;
            let physical = physical.trim_end_matches(['\r', '\n']);
            let eats = physical.split('\n').any(|one| {
                let one = one.trim_end_matches('\r');
                one != one.trim_end() || one.trim_start_matches([' ', '\t']).len() + 1 < one.len()
            });
            let soft = line.is_quoted_printable();
            (!eats && !soft).then_some(())?;
            Some(((group + &text(line.name())?).to_uppercase(), parameters, text(line.value())?))
        })
        .collect()
}

#[test]
fn ical_reads_the_same_lines() {
    let mut compared = 0;
    for path in files("ics").iter().chain(&files("vcf")) {
        let bytes = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // It refuses what is no UTF-8, and takes a mark at the beginning for a letter; soft breaks are lines to it.
        let soft = bytes.windows(3).any(|at| at == b"=\r\n" || at[..2] == *b"=\n");
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        // It splits lines before it puts characters together.
        let cut = text.starts_with('\u{feff}') || soft || name.contains("foldsplit");
        if cut {
            continue;
        }
        let (theirs, ours) = (as_ical_reads(&bytes), as_we_read(&bytes));
        assert_eq!(theirs.len(), ours.len(), "{name}: so many lines");
        for (theirs, ours) in theirs.iter().zip(&ours) {
            if let (Some(theirs), Some(ours)) = (theirs, ours) {
                assert_eq!(theirs, ours, "{name}");
                compared += 1;
            }
        }
    }
    assert!(compared > 250, "only {compared} lines were compared");
}

/// How often each property stands in a card, as `vcard_parser` sees it.
fn names(card: &str) -> Option<Vec<String>> {
    let cards = parse_vcards(card).ok()?;
    let mut names: Vec<String> = cards
        .iter()
        .flat_map(|card| card.get_properties())
        .map(|property| property.name().to_uppercase())
        .collect();
    names.sort();
    Some(names)
}

fn our_names(card: &[u8]) -> Vec<String> {
    let document = Document::parse(card, &Limits::default()).unwrap();
    let counted = document
        .lines()
        .iter()
        .filter(|line| line.is_property() && !["BEGIN", "END", "VERSION"].iter().any(|name| line.is(name)));
    let mut names: Vec<String> =
        counted.map(|line| String::from_utf8_lossy(line.name()).to_uppercase()).collect();
    names.sort();
    names
}

#[test]
fn vcard_parser_sees_the_same_properties() {
    let mut compared = Vec::new();
    for path in files("vcf") {
        let Ok(card) = std::fs::read_to_string(&path) else { continue };
        // It knows version 4.0 only.
        if !card.to_uppercase().contains("VERSION:4.0") {
            continue;
        }
        if let Some(names) = names(&card) {
            assert_eq!(names, our_names(card.as_bytes()), "{}", path.display());
            compared.push(path);
        }
    }
    assert!(compared.len() >= 3, "only {compared:?} were read");
}

#[test]
fn vcard_parser_reads_what_a_merge_writes() {
    let base =
        "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Jane Doe\r\nN:Doe;Jane;;;\r\nTEL:+1\r\nNOTE:n\r\nEND:VCARD\r\n";
    let ours = base.replace("Doe;Jane;;;", "Doe;Jane;Q.;;").replace("TEL:+1\r\n", "TEL:+1\r\nEMAIL:a@x\r\n");
    let theirs = base
        .replace("Doe;Jane", "Roe;Jane")
        .replace("NOTE:n", "NOTE:longer")
        .replace("FN:Jane Doe", "FN:J. R.");
    let merged =
        vcard(Some(base.as_bytes()), ours.as_bytes(), theirs.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(merged.conflicts, []);
    let text = String::from_utf8(merged.bytes).unwrap();
    assert_eq!(names(&text), Some(our_names(text.as_bytes())), "{text}");
}

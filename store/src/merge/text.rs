//! Text, line by line: what `diff3` does.

use super::{Context, Merge, Outcome};

/// Lines that one side changed are taken from it. Where both changed the same lines, or lines that touch, to different
/// text, it is a conflict; ours stands there until it is settled, and never a file full of markers. Bytes with a NUL
/// are no text and conflict as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

/// More differences than this between two versions are one large difference.
const DIFFERENCES_MAX: usize = 2000;

impl Merge for Text {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        let binary = |bytes: &[u8]| bytes.contains(&0);
        if base.is_some_and(binary) || binary(ours) || binary(theirs) {
            return Outcome::Conflict {
                kept: ours.to_vec(),
                why: "both sides changed bytes that are no text".into(),
            };
        }
        let Some(base) = base else {
            return Outcome::Conflict { kept: ours.to_vec(), why: "both sides added the file".into() };
        };
        let (base, ours, theirs) = (lines(base), lines(ours), lines(theirs));
        let mut out = Vec::new();
        let mut clashes = Vec::new();
        for hunk in hunks(&base, &ours, &theirs) {
            let (b, o, t) =
                (&base[hunk.base.clone()], &ours[hunk.ours.clone()], &theirs[hunk.theirs.clone()]);
            let taken = if o == t || b == t {
                o
            } else if b == o {
                t
            } else {
                clashes.push((hunk.base.start + 1).to_string());
                o
            };
            taken.iter().for_each(|line| out.extend_from_slice(line));
        }
        if clashes.is_empty() {
            return Outcome::Merged(out);
        }
        Outcome::Conflict {
            kept: out,
            why: format!("both sides changed the text at line {}", clashes.join(", ")),
        }
    }

    fn name(&self) -> &str {
        "text"
    }
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

struct Hunk {
    base: std::ops::Range<usize>,
    ours: std::ops::Range<usize>,
    theirs: std::ops::Range<usize>,
}

/// Cuts the three versions at the lines that all of them share.
fn hunks(base: &[&[u8]], ours: &[&[u8]], theirs: &[&[u8]]) -> Vec<Hunk> {
    let (in_ours, in_theirs) = (matches(base, ours), matches(base, theirs));
    let mut hunks = Vec::new();
    let (mut b, mut o, mut t) = (0, 0, 0);
    for at in 0..base.len() {
        let (Some(our), Some(their)) = (in_ours[at], in_theirs[at]) else { continue };
        if (b, o, t) != (at, our, their) {
            hunks.push(Hunk { base: b..at, ours: o..our, theirs: t..their });
        }
        hunks.push(Hunk { base: at..at + 1, ours: our..our + 1, theirs: their..their + 1 });
        (b, o, t) = (at + 1, our + 1, their + 1);
    }
    if (b, o, t) != (base.len(), ours.len(), theirs.len()) {
        hunks.push(Hunk { base: b..base.len(), ours: o..ours.len(), theirs: t..theirs.len() });
    }
    hunks
}

/// For each line of `old`, where it went in `new`: Myers' shortest edit script, between what both begin and end with.
fn matches(old: &[&[u8]], new: &[&[u8]]) -> Vec<Option<usize>> {
    let mut found = vec![None; old.len()];
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    for (at, place) in found.iter_mut().enumerate().take(head) {
        *place = Some(at);
    }
    for back in 1..=tail {
        found[old.len() - back] = Some(new.len() - back);
    }
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    for (x, y) in shortest_script(a, b) {
        found[head + x] = Some(head + y);
    }
    found
}

/// Pairs of equal lines on a shortest path through the edit graph (Myers 1986, the greedy algorithm).
fn shortest_script(a: &[&[u8]], b: &[&[u8]]) -> Vec<(usize, usize)> {
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let most = (a.len() + b.len()).min(DIFFERENCES_MAX) as isize;
    let middle = most + 1;
    let mut furthest = vec![0isize; 2 * middle as usize + 1];
    let mut trace: Vec<Vec<isize>> = Vec::new();
    for d in 0..=most {
        // Only the diagonals that this step can read are kept.
        trace.push(furthest[(middle - d - 1).max(0) as usize..=(middle + d + 1) as usize].to_vec());
        for k in (-d..=d).step_by(2) {
            let at = (middle + k) as usize;
            let down = k == -d || (k != d && furthest[at - 1] < furthest[at + 1]);
            let mut x = if down { furthest[at + 1] } else { furthest[at - 1] + 1 };
            let mut y = x - k;
            while (x as usize) < a.len() && (y as usize) < b.len() && a[x as usize] == b[y as usize] {
                x += 1;
                y += 1;
            }
            furthest[at] = x;
            if x as usize >= a.len() && y as usize >= b.len() {
                return walk_back(&trace, a.len() as isize, b.len() as isize);
            }
        }
    }
    Vec::new()
}

fn walk_back(trace: &[Vec<isize>], mut x: isize, mut y: isize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (d, furthest) in trace.iter().enumerate().rev() {
        let d = d as isize;
        let k = x - y;
        let reach = |k: isize| furthest[(k + d + 1) as usize];
        let down = k == -d || (k != d && reach(k - 1) < reach(k + 1));
        let before_k = if down { k + 1 } else { k - 1 };
        let before_x = if d == 0 { 0 } else { reach(before_k) };
        let before_y = if d == 0 { 0 } else { before_x - before_k };
        while x > before_x && y > before_y {
            x -= 1;
            y -= 1;
            pairs.push((x as usize, y as usize));
        }
        (x, y) = (before_x, before_y);
    }
    pairs.reverse();
    pairs
}

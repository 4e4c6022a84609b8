//! Draws a history beside its commits: a lane for each line of descent.

/// The lanes that are open, by the commit that each waits for.
pub struct Graph<T> {
    lanes: Vec<Option<T>>,
}

/// What stands beside a commit.
#[derive(Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Lines above it, where lanes end that wait for it.
    pub above: Vec<String>,
    /// In front of it.
    pub head: String,
    /// Lines below it, where lanes begin.
    pub below: Vec<String>,
}

impl<T: PartialEq + Copy> Graph<T> {
    pub fn new() -> Graph<T> {
        Graph { lanes: Vec::new() }
    }

    /// The drawing beside the next commit.
    pub fn draw(&mut self, commit: T, parents: &[T]) -> Drawn {
        let at = match self.lanes.iter().position(|lane| *lane == Some(commit)) {
            Some(at) => at,
            None => self.open(commit),
        };
        let mut above = Vec::new();
        for place in (at + 1..self.lanes.len()).rev() {
            if self.lanes[place] == Some(commit) {
                self.lanes[place] = None;
                above.push(self.bend(at, place, '/'));
            }
        }
        let mut head = self.row();
        head[2 * at] = '*';
        self.lanes[at] = None;
        let mut below = Vec::new();
        for (number, parent) in parents.iter().enumerate() {
            if number == 0 {
                self.lanes[at] = Some(*parent);
            } else if !self.lanes.contains(&Some(*parent)) {
                let opened = self.open(*parent);
                below.push(self.bend(at, opened, if opened > at { '\\' } else { '/' }));
            }
        }
        while self.lanes.last() == Some(&None) {
            self.lanes.pop();
        }
        Drawn { above, head: text(head), below }
    }

    fn open(&mut self, commit: T) -> usize {
        match self.lanes.iter().position(Option::is_none) {
            Some(free) => {
                self.lanes[free] = Some(commit);
                free
            }
            None => {
                self.lanes.push(Some(commit));
                self.lanes.len() - 1
            }
        }
    }

    /// A line from one lane to another one, over those between them.
    fn bend(&self, from: usize, to: usize, sign: char) -> String {
        let mut row = self.row();
        let (low, high) = (from.min(to), from.max(to));
        row[2 * low + 1..2 * high].iter_mut().filter(|one| **one == ' ').for_each(|one| *one = '_');
        row[2 * to] = ' ';
        row[if to > from { 2 * to - 1 } else { 2 * to + 1 }] = sign;
        text(row)
    }

    /// The open lanes, each with a gap behind it.
    fn row(&self) -> Vec<char> {
        self.lanes.iter().flat_map(|lane| [if lane.is_some() { '|' } else { ' ' }, ' ']).collect()
    }
}

fn text(row: Vec<char>) -> String {
    row.into_iter().collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Graph;

    fn lines(commits: &[(char, &[char])]) -> Vec<String> {
        let mut graph = Graph::new();
        let mut lines = Vec::new();
        for (commit, parents) in commits {
            let drawn = graph.draw(*commit, parents);
            lines.extend(drawn.above);
            lines.push(format!("{} {commit}", drawn.head));
            lines.extend(drawn.below);
        }
        lines
    }

    #[test]
    fn a_merge_opens_a_lane_and_their_base_closes_it() {
        let drawn = lines(&[('m', &['a', 'b']), ('a', &['r']), ('b', &['r']), ('r', &[])]);
        assert_eq!(drawn, ["* m", "|\\", "* | a", "| * b", "|/", "* r"]);
    }

    #[test]
    fn lanes_bend_over_those_between() {
        let drawn = lines(&[
            ('m', &['a', 'b', 'c']),
            ('a', &['r']),
            ('b', &['s']),
            ('c', &['r']),
            ('r', &['s']),
            ('s', &[]),
        ]);
        assert_eq!(
            drawn,
            ["* m", "|\\", "|_|\\", "* | | a", "| * | b", "| | * c", "|_|/", "* | r", "|/", "* s"]
        );
    }

    #[test]
    fn a_lane_that_is_free_is_taken_again() {
        let drawn = lines(&[('m', &['a', 'b']), ('a', &[]), ('b', &['d', 'e']), ('d', &[]), ('e', &[])]);
        assert_eq!(drawn, ["* m", "|\\", "* | a", "  * b", " /|", "| * d", "* e"]);
    }
}

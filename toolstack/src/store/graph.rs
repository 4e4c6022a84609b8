//! Draws a history beside its commits: a lane for each line of descent.

/// The lanes that are open, by the commit that each waits for.
pub struct Graph<T> {
    lanes: Vec<Option<T>>,
}

impl<T: PartialEq + Copy> Graph<T> {
    pub fn new() -> Graph<T> {
        Graph { lanes: Vec::new() }
    }

    /// The drawing in front of the next commit, and lines that may follow it.
    pub fn draw(&mut self, commit: T, parents: &[T]) -> (String, Vec<String>) {
        let at = match self.lanes.iter().position(|lane| *lane == Some(commit)) {
            Some(at) => at,
            None => self.open(commit),
        };
        let mut behind = Vec::new();
        let head = self.row(|place, lane| {
            if place == at {
                '*'
            } else if lane {
                '|'
            } else {
                ' '
            }
        });
        let joined: Vec<usize> = (0..self.lanes.len())
            .filter(|place| *place != at && self.lanes[*place] == Some(commit))
            .collect();
        for place in joined {
            behind.push(self.row(|one, lane| {
                if one == place {
                    '/'
                } else if lane {
                    '|'
                } else {
                    ' '
                }
            }));
            self.lanes[place] = None;
        }
        self.lanes[at] = None;
        for (number, parent) in parents.iter().enumerate() {
            if number == 0 {
                self.lanes[at] = Some(*parent);
            } else if !self.lanes.contains(&Some(*parent)) {
                let opened = self.open(*parent);
                behind.push(self.row(|one, lane| {
                    if one == opened {
                        '\\'
                    } else if lane {
                        '|'
                    } else {
                        ' '
                    }
                }));
            }
        }
        while self.lanes.last() == Some(&None) {
            self.lanes.pop();
        }
        (head, behind)
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

    fn row(&self, sign: impl Fn(usize, bool) -> char) -> String {
        let signs = self.lanes.iter().enumerate().map(|(place, lane)| sign(place, lane.is_some()));
        signs.flat_map(|sign| [sign, ' ']).collect::<String>().trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;

    #[test]
    fn a_merge_opens_and_closes_a_lane() {
        let mut graph = Graph::new();
        assert_eq!(graph.draw('m', &['a', 'b']), ("*".into(), vec!["| \\".into()]));
        assert_eq!(graph.draw('a', &['r']), ("* |".into(), vec![]));
        assert_eq!(graph.draw('b', &['r']), ("| *".into(), vec![]));
        assert_eq!(graph.draw('r', &[]), ("* |".into(), vec!["| /".into()]));
    }
}

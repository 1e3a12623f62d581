//! A terminal of a few lines that understands only what the console writes and fails on anything else.

/// Everything that was ever written, of which the last lines are on the screen.
#[derive(Debug, Default)]
pub struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    width: usize,
    height: usize,
}

impl Screen {
    pub fn new(width: usize, height: usize) -> Self {
        Self { lines: vec![Vec::new()], width, height, ..Self::default() }
    }

    /// Lines from the first on, also those that have left the screen.
    pub fn text(&self) -> String {
        let lines: Vec<String> = self
            .lines
            .iter()
            .map(|line| line.iter().collect::<String>().trim_end().into())
            .collect();
        lines.join("\n").trim_end().into()
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).expect("a terminal gets text");
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\n' => {
                    self.down();
                    self.column = 0;
                }
                '\r' => self.column = 0,
                '\t' => self.column = (self.column / 8 + 1) * 8,
                '\u{1b}' => {
                    assert_eq!(rest.next(), Some('['));
                    let number: String =
                        rest.clone().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    let letter = rest.nth(number.len());
                    self.control(letter.expect("the end of a sequence"), &number);
                }
                c if c.is_control() => panic!("{c:?} reaches the terminal"),
                c => self.put(c),
            }
        }
    }

    fn control(&mut self, letter: char, number: &str) {
        match letter {
            'm' => {}
            'A' => {
                let top = self.lines.len().saturating_sub(self.height);
                let up: usize = number.parse().expect("a number");
                assert!(up > 0, "terminals take 0 for 1");
                self.row = self.row.saturating_sub(up).max(top);
            }
            'J' => {
                assert_eq!(number, "");
                let height = self.lines.len();
                self.lines.truncate(self.row + 1);
                self.lines[self.row].truncate(self.column);
                // What was cleared stays part of the screen.
                self.lines.resize(height, Vec::new());
            }
            _ => panic!("ESC [ {number} {letter} reaches the terminal"),
        }
    }

    fn put(&mut self, c: char) {
        if self.column >= self.width {
            self.down();
            self.column = 0;
        }
        let line = &mut self.lines[self.row];
        if line.len() <= self.column {
            line.resize(self.column + 1, ' ');
        }
        line[self.column] = c;
        self.column += 1;
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.lines.len() {
            self.lines.push(Vec::new());
        }
    }

    /// As most terminals do: lines that are too long now are broken.
    pub fn narrow(&mut self, width: usize) {
        self.width = width;
        let mut lines = Vec::new();
        for (at, line) in std::mem::take(&mut self.lines).into_iter().enumerate() {
            if at == self.row {
                self.row = lines.len();
            }
            let pieces: Vec<_> = line.chunks(width).map(<[char]>::to_vec).collect();
            lines.extend(if pieces.is_empty() { vec![Vec::new()] } else { pieces });
        }
        self.lines = lines;
    }
}

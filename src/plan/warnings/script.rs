//! Finds the script in a command line: the one argument that a shell or interpreter reads as a program.

/// Programs that run a text, and the letters of the options in front of it.
const INTERPRETERS: [(&[&str], &str); 6] = [
    (&["sh", "ash", "bash", "dash", "ksh", "zsh"], "c"),
    (&["python"], "c"),
    (&["perl"], "eE"),
    (&["ruby"], "e"),
    (&["node"], "ep"),
    (&["php"], "r"),
];
/// Shells' options that take an argument of their own.
const WITH_ARGUMENT: [&str; 2] = ["--rcfile", "--init-file"];
/// Options that mean a letter.
const LONG: [(&str, char); 2] = [("--eval", 'e'), ("--print", 'p')];

/// Index of the argument that is a script; nothing where none is. The program may stand behind others that start it:
/// `env`, `busybox`, `buildah unshare`.
pub fn script<'a>(words: impl IntoIterator<Item = &'a String>) -> Option<usize> {
    let words: Vec<&str> = words.into_iter().map(String::as_str).collect();
    let mut program = 0;
    while program < words.len() {
        let name = words[program].rsplit('/').next().unwrap_or_default();
        // `python3.12`
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let known = INTERPRETERS.iter().find(|(names, _)| names.contains(&name));
        program += 1;
        let Some((names, letters)) = known else { continue };
        let found = if names[0] == "sh" {
            behind_shell_options(&words[program..])
        } else {
            behind_option(&words[program..], letters)
        };
        match found {
            Ok(at) => return Some(program + at),
            Err(read) => program += read,
        }
    }
    None
}

/// A shell reads all of its options first; then comes the text, if `c` was one of them. Without it, how many words were read.
fn behind_shell_options(words: &[&str]) -> Result<usize, usize> {
    let mut runs_text = false;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if *word == "--" || *word == "-" {
            at += 1;
            break;
        }
        if word.starts_with("--") {
            at += 1 + usize::from(WITH_ARGUMENT.contains(word));
            continue;
        }
        let Some(letters) = word.strip_prefix(['-', '+']) else { break };
        runs_text |= word.starts_with('-') && letters.contains('c');
        at += 1 + letters.matches(['o', 'O']).count();
    }
    if runs_text && at < words.len() { Ok(at) } else { Err(at) }
}

/// Other interpreters take the text as the argument of an option, in the same word or the next. Without it, how many words were
/// read.
fn behind_option(words: &[&str], letters: &str) -> Result<usize, usize> {
    let there = |at: usize| if at < words.len() { Ok(at) } else { Err(at) };
    for (at, word) in words.iter().enumerate() {
        if let Some((_, letter)) = LONG.iter().find(|(long, _)| long == word)
            && letters.contains(*letter)
        {
            return there(at + 1);
        }
        let Some(options) = word.strip_prefix('-') else { return Err(at) };
        if options.starts_with('-') {
            continue;
        }
        if let Some(place) = options.find(|c| letters.contains(c)) {
            let is_last = place + 1 == options.len();
            return there(at + usize::from(is_last));
        }
    }
    Err(words.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_once() {
        for pair in [["-o", "sh"], ["sh", "-o"], ["-x", "perl"], ["bash", "bash"]] {
            let words: Vec<String> =
                pair.iter().cycle().take(1_000_000).map(ToString::to_string).collect();
            assert_eq!(script(&words), None, "{pair:?}");
        }
    }

    #[test]
    fn the_script_of_a_command_line_is_found() {
        for (line, script_word) in [
            ("sh -c S", Some("S")),
            ("/bin/sh -ec S name $1", Some("S")),
            ("bash -exc S", Some("S")),
            ("bash -euo pipefail -c S", Some("S")),
            ("bash -c -e S", Some("S")),
            ("bash -o pipefail -ec S x", Some("S")),
            ("bash --norc --rcfile f -c S", Some("S")),
            ("bash +x -c S", Some("S")),
            ("bash -c -- S", Some("S")),
            ("/usr/bin/env FOO=1 bash -c S", Some("S")),
            ("busybox sh -c S", Some("S")),
            ("buildah unshare -- bash -c S a", Some("S")),
            ("python3.12 -c S a", Some("S")),
            ("perl -ne S file", Some("S")),
            ("node --eval S", Some("S")),
            ("ruby -eS", Some("-eS")),
            ("sh script.sh -c S", None),
            ("bash -e script.sh", None),
            ("python script.py -c S", None),
            ("gcc -c file", None),
            ("make shell -c S", None),
            ("sh -c", None),
            ("sh", None),
            ("", None),
        ] {
            let words: Vec<String> = line.split_whitespace().map(String::from).collect();
            let found = script(&words).map(|at| words[at].as_str());
            assert_eq!(found, script_word, "{line}");
        }
    }
}

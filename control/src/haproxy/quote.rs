//! One word of HAProxy's configuration, whatever is in it.
//!
//! In single quotes nothing is special to HAProxy but the quote itself, which is written outside of them (configuration
//! manual, 2.2 "Quoting and escaping"). A line ends with the first line feed, so a word must hold no control character; the
//! check of the configuration refuses them, and here they are left out.

use std::borrow::Cow;

/// A text as one word.
pub fn word(text: &str) -> Cow<'_, str> {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-' | ',' | '=' | '*');
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '\'' => quoted.push_str("'\\''"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    Cow::Owned(quoted)
}

/// A text as one word where HAProxy reads a log format: `%` begins a variable there.
pub fn format_word(text: &str) -> String {
    word(&text.replace('%', "%%")).into_owned()
}

#[cfg(test)]
pub(in crate::haproxy) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The words of a line, as HAProxy reads them: `parse_line` of its tools.c for what we write.
    pub(in crate::haproxy) fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut any) = (Vec::new(), String::new(), false);
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\'' => {
                    word.extend(chars.by_ref().take_while(|c| *c != '\''));
                }
                '\\' => word.extend(chars.next()),
                '#' => break,
                '"' | '$' => panic!("{c} is special and stands unquoted in {line}"),
                c if c.is_ascii_whitespace() => {
                    if any {
                        words.push(std::mem::take(&mut word));
                    }
                    any = false;
                    continue;
                }
                c => word.push(c),
            }
            any = true;
        }
        if any {
            words.push(word);
        }
        words
    }

    #[test]
    fn words_are_quoted_where_they_must_be() {
        let cases = [
            ("/health", "/health"),
            ("", "''"),
            ("/a b", "'/a b'"),
            ("a'b", "'a'\\''b'"),
            ("${HOME} #\"\\", "'${HOME} #\"\\'"),
            ("x\n  use_backend evil", "'x  use_backend evil'"),
        ];
        for (text, expected) in cases {
            assert_eq!(word(text), expected, "{text}");
        }
        assert_eq!(format_word("50%[env(HOME)]"), "'50%%[env(HOME)]'");
    }

    proptest! {
        #[test]
        fn any_text_is_one_word_of_one_line(text in any::<String>()) {
            let line = format!("before {} after", word(&text));
            prop_assert!(!line.contains(['\n', '\r', '\0']));
            let kept: String = text.chars().filter(|c| !c.is_control()).collect();
            prop_assert_eq!(words(&line), vec!["before".to_owned(), kept, "after".to_owned()]);
        }
    }
}

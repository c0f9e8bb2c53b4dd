//! Takes a text apart as PostgreSQL's scanner does (`scan.l`), with `standard_conforming_strings` on, which every
//! connection of the relay pins.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

/// A token. Strings and numbers are only known to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword that matters here, in lower case.
    Word(&'static str),
    /// Any other unquoted identifier, in lower case.
    Name(Cow<'a, str>),
    /// A quoted identifier.
    Quoted(String),
    /// An identifier or a string with `U&` escapes.
    Unicode,
    /// A string of any kind.
    Text,
    /// A number.
    Number,
    /// `$1`
    Parameter(usize),
    /// `::`
    Cast,
    /// Any other single byte of punctuation or of an operator.
    Punct(u8),
}

impl Token<'_> {
    /// The identifier that it is, as the catalogue has it.
    pub(super) fn identifier(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Name(name) => Some(name),
            Self::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

/// The words that decide something; the others are names.
static WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    [
        "select",
        "values",
        "with",
        "insert",
        "update",
        "delete",
        "merge",
        "into",
        "as",
        "set",
        "only",
        "where",
        "from",
        "returning",
        "when",
        "then",
        "do",
        "towpath",
        "overriding",
        "on",
        "row",
    ]
    .into()
});

/// An iterator over the tokens; ends with what was left open where the text ends too early.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

type Scanned<'a> = Result<Token<'a>, &'static str>;

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.rest().get(ahead).copied()
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) -> Result<(), &'static str> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) => {
                    let length = self.rest().iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.at += length.unwrap_or(self.rest().len());
                }
                (Some(b'/'), Some(b'*')) => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), &'static str> {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.at += 1,
                (None, _) => return Err("a comment"),
            }
        }
    }

    /// From an opening quote to behind the closing one. A doubled quote stands for itself, and so does one behind a
    /// backslash where those escape.
    fn quoted(&mut self, escapes: bool) -> Result<String, &'static str> {
        let quote = self.rest()[0];
        let open = if quote == b'"' { "a quoted identifier" } else { "a string" };
        let mut value = Vec::new();
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (None, _) => return Err(open),
                (Some(b'\\'), Some(next)) if escapes => {
                    value.push(next);
                    self.at += 2;
                }
                (Some(byte), Some(next)) if byte == quote && next == quote => {
                    value.push(quote);
                    self.at += 2;
                }
                (Some(byte), _) => {
                    self.at += 1;
                    if byte == quote {
                        return Ok(String::from_utf8_lossy(&value).into_owned());
                    }
                    value.push(byte);
                }
            }
        }
    }

    /// A string. Strings that only a line break divides are one, and the later parts escape as the first does.
    fn text(&mut self, escapes: bool) -> Scanned<'a> {
        loop {
            self.quoted(escapes)?;
            let end = self.at;
            if !self.skip_to_continuation() {
                self.at = end;
                return Ok(Token::Text);
            }
        }
    }

    /// Whether a further part of a string follows: a quote behind white space with a line break in it. Line comments
    /// may stand between.
    fn skip_to_continuation(&mut self) -> bool {
        let mut line_break = false;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'\n' | b'\r'), _) => {
                    line_break = true;
                    self.at += 1;
                }
                (Some(b' ' | b'\t' | 0x0b | 0x0c), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) => {
                    let length = self.rest().iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.at += length.unwrap_or(self.rest().len());
                }
                (Some(b'\''), _) => return line_break,
                _ => return false,
            }
        }
    }

    fn dollar(&mut self) -> Scanned<'a> {
        if self.peek(1).is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
            let digits = self.rest().iter().take_while(|b| b.is_ascii_digit()).count();
            let number = self.text[self.at..self.at + digits].parse().unwrap_or(usize::MAX);
            self.at += digits;
            return Ok(Token::Parameter(number));
        }
        let tag = self.rest()[1..].iter().take_while(|b| is_name(**b) && **b != b'$').count();
        if self.peek(1 + tag) != Some(b'$') {
            self.at += 1;
            return Ok(Token::Punct(b'$'));
        }
        let delimiter = &self.text[self.at..self.at + tag + 2];
        let body = self.at + delimiter.len();
        let length = self.text[body..].find(delimiter).ok_or("a dollar-quoted string")?;
        self.at = body + length + delimiter.len();
        Ok(Token::Text)
    }

    fn name(&mut self) -> Scanned<'a> {
        let length = self.rest().iter().take_while(|b| is_name(**b)).count();
        let word = &self.text[self.at..self.at + length];
        match (word, self.peek(length), self.peek(length + 1)) {
            ("u" | "U", Some(b'&'), Some(b'\'' | b'"')) => {
                self.at += length + 1;
                self.quoted(false)?;
                return Ok(Token::Unicode);
            }
            ("e" | "E", Some(b'\''), _) => {
                self.at += length;
                return self.text(true);
            }
            ("n" | "N" | "b" | "B" | "x" | "X", Some(b'\''), _) => {
                self.at += length;
                return self.text(false);
            }
            _ => self.at += length,
        }
        if word.bytes().any(|b| b.is_ascii_uppercase()) {
            let lower = word.to_ascii_lowercase();
            return Ok(WORDS.get(lower.as_str()).map_or(Token::Name(Cow::Owned(lower)), |word| Token::Word(word)));
        }
        Ok(WORDS.get(word).map_or(Token::Name(Cow::Borrowed(word)), |word| Token::Word(word)))
    }

    fn number(&mut self) {
        while let Some(byte) = self.peek(0) {
            let sign_of_exponent = matches!(byte, b'+' | b'-')
                && matches!(self.text.as_bytes()[self.at - 1], b'e' | b'E')
                && self.peek(1).is_some_and(|b| b.is_ascii_digit());
            if !(byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' || sign_of_exponent) {
                return;
            }
            self.at += 1;
        }
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Scanned<'a>;

    fn next(&mut self) -> Option<Scanned<'a>> {
        if let Err(open) = self.skip_blank() {
            return Some(Err(open));
        }
        Some(match self.peek(0)? {
            b'\'' => self.text(false),
            b'"' => self.quoted(false).map(Token::Quoted),
            b'$' => self.dollar(),
            b':' if self.peek(1) == Some(b':') => {
                self.at += 2;
                Ok(Token::Cast)
            }
            byte if byte.is_ascii_digit() => {
                self.number();
                Ok(Token::Number)
            }
            byte if is_name_start(byte) => self.name(),
            byte => {
                self.at += 1;
                Ok(Token::Punct(byte))
            }
        })
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_name(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

//! Which parameter goes unchanged into which column.
//!
//! A prepared statement says that a parameter is `numeric` but not that its column is `numeric(10,2)`; PostgreSQL then
//! rounds silently, or refuses without saying which value it was. So the places where a parameter stands alone are
//! read from the text (`INSERT INTO t (c) VALUES ($1)`, `SET c = $1`), and the value is checked against the column as
//! it was declared. Whatever isn't of these two shapes is left to PostgreSQL.

use super::scan::Token;

/// A parameter that a statement stores as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The parameter, from 1.
    pub parameter: usize,
    /// The table's name, with its schema where the text has one.
    pub table: Vec<String>,
    /// The column.
    pub column: Column,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By its name.
    Named(String),
    /// By its position among the table's columns, from 1.
    Numbered(usize),
}

pub(super) fn find(tokens: &[Token<'_>]) -> Vec<Assignment> {
    let mut reader = Reader { tokens, at: 0, table: Vec::new(), found: Vec::new() };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.found
}

struct Reader<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    /// The table that is being written to.
    table: Vec<String>,
    found: Vec<Assignment>,
}

impl Reader<'_, '_> {
    fn peek(&self, ahead: usize) -> Option<&Token<'_>> {
        self.tokens.get(self.at + ahead)
    }

    fn take(&mut self, token: &Token<'_>) -> bool {
        let there = self.peek(0) == Some(token);
        self.at += usize::from(there);
        there
    }

    fn step(&mut self) {
        let word = match self.tokens[self.at] {
            Token::Word(word) => word,
            _ => "",
        };
        self.at += 1;
        match word {
            "insert" => {
                if self.take(&Token::Word("into")) {
                    self.table = self.name();
                }
                self.insert();
            }
            "merge" if self.take(&Token::Word("into")) => {
                self.take(&Token::Word("only"));
                self.table = self.name();
            }
            // `FOR UPDATE` and `DO UPDATE` and MERGE's `UPDATE SET` name no table.
            "update" if !matches!(self.peek(0), Some(Token::Word("set"))) => {
                self.take(&Token::Word("only"));
                self.table = self.name();
            }
            "set" => self.set(),
            _ => {}
        }
    }

    /// `[schema.]table`
    fn name(&mut self) -> Vec<String> {
        let mut name = Vec::new();
        while let Some(part) = self.peek(0).and_then(Token::identifier) {
            name.push(part.to_owned());
            self.at += 1;
            if !self.take(&Token::Punct(b'.')) {
                break;
            }
        }
        name
    }

    /// `[AS alias] [(columns)] [OVERRIDING ... VALUE] VALUES (...), (...)`
    fn insert(&mut self) {
        if self.take(&Token::Word("as")) {
            self.at += 1;
        }
        let columns = if self.peek(0) == Some(&Token::Punct(b'(')) { self.columns() } else { None };
        if self.take(&Token::Word("overriding")) {
            self.at += 2;
        }
        if !self.take(&Token::Word("values")) {
            return;
        }
        while self.take(&Token::Punct(b'(')) {
            self.row(columns.as_deref());
            if !self.take(&Token::Punct(b',')) {
                return;
            }
        }
    }

    /// `(a, b)`; `None` where it is anything else, such as a subquery or a column's element.
    fn columns(&mut self) -> Option<Vec<String>> {
        let start = self.at;
        self.at += 1;
        let mut columns = Vec::new();
        while let Some(name) = self.peek(0).and_then(Token::identifier).map(ToOwned::to_owned) {
            self.at += 1;
            columns.push(name);
            if self.take(&Token::Punct(b')')) {
                return Some(columns);
            }
            if !self.take(&Token::Punct(b',')) {
                break;
            }
        }
        self.at = start;
        None
    }

    /// A row of VALUES, to behind its closing parenthesis.
    fn row(&mut self, columns: Option<&[String]>) {
        let mut number = 1;
        let mut depth = 0;
        let mut start = self.at;
        while let Some(token) = self.peek(0) {
            let byte = if let Token::Punct(byte) = token { *byte } else { 0 };
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' if depth > 0 => depth -= 1,
                b',' | b')' if depth == 0 => {
                    let column = match columns {
                        Some(names) => names.get(number - 1).cloned().map(Column::Named),
                        None => Some(Column::Numbered(number)),
                    };
                    self.assign(start, column);
                    number += 1;
                    start = self.at + 1;
                    if byte == b')' {
                        self.at += 1;
                        return;
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Whether the tokens from `start` to here are one parameter, alone or with a plain cast.
    fn assign(&mut self, start: usize, column: Option<Column>) {
        let parameter = match &self.tokens[start..self.at] {
            [Token::Parameter(number)] => *number,
            [Token::Parameter(number), Token::Cast, Token::Name(_)] => *number,
            _ => return,
        };
        if let (Some(column), false) = (column, self.table.is_empty()) {
            self.found.push(Assignment { parameter, table: self.table.clone(), column });
        }
    }

    /// `SET a = $1, b = ...` to the end of the list.
    fn set(&mut self) {
        loop {
            let column = match (self.peek(0).and_then(Token::identifier), self.peek(1)) {
                (Some(name), Some(Token::Punct(b'='))) => Some(Column::Named(name.to_owned())),
                _ => None,
            };
            self.at += if column.is_some() { 2 } else { 0 };
            let start = self.at;
            let more = self.skip_expression();
            self.assign(start, column);
            if !more {
                return;
            }
            self.at += 1;
        }
    }

    /// To the comma behind the expression; false where the list ends here.
    fn skip_expression(&mut self) -> bool {
        let mut depth = 0;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Punct(b'(' | b'[') => depth += 1,
                Token::Punct(b')' | b']') if depth > 0 => depth -= 1,
                Token::Punct(b')') => return false,
                Token::Punct(b',') if depth == 0 => return true,
                Token::Word("where" | "from" | "returning" | "when") if depth == 0 => return false,
                _ => {}
            }
            self.at += 1;
        }
        false
    }
}

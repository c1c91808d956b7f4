//! HCL, of the first version: what Consul reads rules in.

use super::lex::{Lexer, Token};
use super::{MAX_DEPTH, MAX_PAIRS, Refused, Tree};

/// Reads a whole text.
pub(super) fn tree(text: &str) -> Result<Tree, Refused> {
    let mut parser = Parser { words: Lexer::new(text), pairs: 0 };
    parser.pairs(None, 0).map(Tree::Block)
}

struct Parser<'a> {
    words: Lexer<'a>,
    pairs: usize,
}

impl Parser<'_> {
    /// Pairs up to a closing brace, or up to the end of the text.
    fn pairs(&mut self, end: Option<char>, depth: usize) -> Result<Vec<(String, Tree)>, Refused> {
        let mut pairs = Vec::new();
        loop {
            let key = match (self.words.next()?, end) {
                (None, None) => return Ok(pairs),
                (None, Some(_)) => return Err(self.words.wrong("a brace is not closed")),
                (Some(Token::Mark(mark)), Some(end)) if mark == end => return Ok(pairs),
                (Some(Token::Mark(',')), _) if !pairs.is_empty() => continue,
                (Some(Token::Name(key) | Token::Text(key)), _) => key,
                (Some(other), _) => {
                    return Err(self.words.wrong(format!("{} where a key should be", shown(&other))));
                }
            };
            self.pairs += 1;
            if self.pairs > MAX_PAIRS {
                return Err(self.words.wrong(format!("there are more than {MAX_PAIRS} pairs")));
            }
            pairs.push((key, self.after_key(depth + 1)?));
        }
    }

    /// `= value`, a block, or one more key and then one of these.
    fn after_key(&mut self, depth: usize) -> Result<Tree, Refused> {
        if depth > MAX_DEPTH {
            return Err(self.words.wrong(format!("it is nested deeper than {MAX_DEPTH}")));
        }
        match self.words.next()? {
            Some(Token::Mark('=')) => {
                let word = self.words.next()?;
                self.value(word, depth)
            }
            Some(Token::Mark('{')) => self.pairs(Some('}'), depth).map(Tree::Block),
            Some(Token::Name(key) | Token::Text(key)) => {
                let value = self.after_key(depth + 1)?;
                Ok(Tree::Block(vec![(key, value)]))
            }
            Some(other) => {
                Err(self.words.wrong(format!("{} where \"=\" or \"{{\" should be", shown(&other))))
            }
            None => Err(self.words.wrong("it ends behind a key")),
        }
    }

    fn value(&mut self, word: Option<Token>, depth: usize) -> Result<Tree, Refused> {
        match word {
            Some(Token::Text(text)) => Ok(Tree::Text(text)),
            Some(Token::Number(text) | Token::Name(text)) => Ok(Tree::Other(text)),
            Some(Token::Mark('{')) => self.pairs(Some('}'), depth).map(Tree::Block),
            Some(Token::Mark('[')) => self.list(depth + 1),
            Some(other) => Err(self.words.wrong(format!("{} where a value should be", shown(&other)))),
            None => Err(self.words.wrong("it ends where a value should be")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Tree, Refused> {
        if depth > MAX_DEPTH {
            return Err(self.words.wrong(format!("it is nested deeper than {MAX_DEPTH}")));
        }
        let mut values = Vec::new();
        loop {
            match self.words.next()? {
                Some(Token::Mark(']')) => return Ok(Tree::List(values)),
                Some(Token::Mark(',')) if !values.is_empty() => {}
                word => values.push(self.value(word, depth)?),
            }
            if values.len() > MAX_PAIRS {
                return Err(self.words.wrong(format!("a list is longer than {MAX_PAIRS}")));
            }
        }
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(text) | Token::Text(text) | Token::Number(text) => format!("{text:?}"),
        Token::Mark(mark) => format!("{:?}", mark.to_string()),
    }
}

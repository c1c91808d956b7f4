//! JSON with comments: `//` to the end of the line, and `/* … */`.

/// The same text with comments blanked out, so that every line and column stays what it was.
pub(crate) fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut state = State::Plain;
    while let Some(letter) = rest.next() {
        let next = rest.peek().copied();
        let (after, shown) = match (state, letter, next) {
            (State::Plain, '/', Some('/')) => (State::Line, false),
            (State::Plain, '/', Some('*')) => {
                out.push(' ');
                rest.next();
                (State::Block, false)
            }
            (State::Plain, '"', _) => (State::Text, true),
            (State::Text, '\\', Some(escaped)) => {
                out.push(letter);
                rest.next();
                out.push(escaped);
                continue;
            }
            (State::Text, '"', _) => (State::Plain, true),
            (State::Line, '\n', _) => (State::Plain, true),
            (State::Block, '*', Some('/')) => {
                out.push(' ');
                rest.next();
                (State::Plain, false)
            }
            (State::Block, '\n', _) => (state, true),
            (State::Line | State::Block, ..) => (state, false),
            (state, ..) => (state, true),
        };
        out.push(if shown { letter } else { ' ' });
        state = after;
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    Text,
    Line,
    Block,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_places_stay() {
        let text = "{ // one\n \"a//b\": \"\\\"/*\", /* two\n lines */ \"c\": 1 }";
        let plain = without_comments(text);
        assert_eq!(plain, "{       \n \"a//b\": \"\\\"/*\",       \n          \"c\": 1 }");
        assert_eq!(plain.lines().count(), text.lines().count());
    }
}

//! A lifetime's story, for whoever has to find out why.

use paxos::Frame;

use crate::plan::Micros;

/// Prints, or does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace {
    /// Print events.
    pub on: bool,
    /// Print frames too.
    pub frames: bool,
}

impl Trace {
    /// Says what happened.
    pub fn say(self, now: Micros, what: impl FnOnce() -> String) {
        if self.on {
            println!("{:>10.3} ms  {}", now as f64 / 1_000.0, what());
        }
    }

    /// Shows a frame that is sent.
    pub fn frame(self, now: Micros, from: usize, to: usize, frame: &Frame) {
        if self.frames {
            self.say(now, || {
                let mut text = format!("{frame:?}");
                text.truncate(360);
                format!("{from} -> {to}  {text}")
            });
        }
    }
}

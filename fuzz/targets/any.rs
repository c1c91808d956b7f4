//! Every libFuzzer binary: looks its target up by the binary's name.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let target = portolan_fuzz_replay::find(env!("CARGO_BIN_NAME"));
    (target.expect("the table has every binary's name").run)(data);
});

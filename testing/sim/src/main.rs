//! `portolan-sim --seeds N --from S [--canary NAME] [--trace | --frames]`

use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use portolan_sim::{Counts, Trace, Variant, canary, live};

const USAGE: &str = "portolan-sim --seeds N --from S [--canary NAME] [--keep-going] [--trace | --frames]";

struct Options {
    seeds: u64,
    from: u64,
    variant: Variant,
    keep_going: bool,
    trace: Trace,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seeds: 1_000,
        from: 1,
        variant: Variant::default(),
        keep_going: false,
        trace: Trace::default(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
        match word.as_str() {
            "--seeds" => options.seeds = number(&value()?)?,
            "--from" => options.from = number(&value()?)?,
            "--canary" => {
                let name = value()?;
                let lossy = Variant { lossy: true, ..Variant::default() };
                let known = canary::all().into_iter().find(|canary| canary.name == name);
                let known = known.map(|canary| canary.variant).or((name == "lossy").then_some(lossy));
                options.variant = known.ok_or_else(|| format!("no canary is called {name}"))?;
            }
            "--keep-going" => options.keep_going = true,
            "--trace" => options.trace.on = true,
            "--frames" => options.trace = Trace { on: true, frames: true },
            _ => return Err(format!("{word} is not an option; {USAGE}")),
        }
    }
    Ok(options)
}

fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|cause| format!("{text} is not a number: {cause}"))
}

fn main() -> ExitCode {
    match options() {
        Ok(options) => run(&options),
        Err(what) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}

/// How often a long run says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The lifetime under way: a panic inside the core ends the process, and must say which seed it was.
static SEED: AtomicU64 = AtomicU64::new(0);

fn run(options: &Options) -> ExitCode {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("seed {} panicked", SEED.load(Relaxed));
        hook(info);
    }));
    let begun = Instant::now();
    let mut said = begun;
    let (mut lived, mut failed, mut sum) = (0_u64, 0_u64, Counts::default());
    for seed in options.from..options.from + options.seeds {
        SEED.store(seed, Relaxed);
        let lifetime = live(seed, &options.variant, options.trace);
        lived += 1;
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            let rate = lived as f64 / begun.elapsed().as_secs_f64();
            println!("{lived} of {} lifetimes ({rate:.0}/s), {failed} of them bad", options.seeds);
        }
        match lifetime {
            Ok(counts) => sum.add(&counts),
            Err(failure) => {
                failed += 1;
                println!("{failure}");
                if !options.keep_going {
                    break;
                }
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{lived} lifetimes in {seconds:.1} s ({:.0}/s): {} messages, {} crashes, {} sessions, {} commands decided, \
         {} answers, {} frames of state fetched, {} configurations taken up",
        lived as f64 / seconds.max(0.001),
        sum.messages,
        sum.crashes,
        sum.sessions,
        sum.decided,
        sum.answered,
        sum.fetched,
        sum.configured,
    );
    match failed {
        0 => println!("verdict: clean"),
        failed => println!("verdict: {failed} of {lived} lifetimes violated something"),
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

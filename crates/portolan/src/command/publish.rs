//! `portolan publish TOPIC`: messages into the one agreed order.

use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use client::Producer;
use serde_json::json;
use tokio::sync::mpsc;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::output::Format;
use crate::remote::{self, Remote};

/// Most lines in one request, and most of their bytes.
const MAX_LINES: usize = 256;
const MAX_BYTES: usize = 256 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic; it begins with its first message
    topic: String,
    /// Messages; lines of standard input when there is none
    messages: Vec<String>,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let mut producer = remote.client.producer(&args.topic);
        if args.messages.is_empty() {
            return lines_of_stdin(&mut producer, global).await;
        }
        for message in args.messages {
            publish(&mut producer, &[Bytes::from(message)], global).await?;
        }
        Ok(())
    })
}

/// Lines as they come: one that is there is not kept waiting for more.
async fn lines_of_stdin(producer: &mut Producer, global: &Global) -> Result {
    let (sender, mut lines) = mpsc::channel(MAX_LINES);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            if sender.blocking_send(line.map(Bytes::from)).is_err() {
                break;
            }
        }
    });
    let mut held = None;
    loop {
        let mut batch = Vec::from_iter(held.take());
        if batch.is_empty() {
            match lines.recv().await {
                Some(line) => batch.push(line.context("read standard input")?),
                None => return Ok(()),
            }
        }
        let mut bytes = batch[0].len();
        while batch.len() < MAX_LINES
            && let Ok(line) = lines.try_recv()
        {
            let line = line.context("read standard input")?;
            bytes += line.len();
            if bytes > MAX_BYTES {
                held = Some(line);
                break;
            }
            batch.push(line);
        }
        publish(producer, &batch, global).await?;
    }
}

/// Tries again while the daemon does not answer, for as long as `--timeout` says; nothing comes twice by it.
async fn publish(producer: &mut Producer, messages: &[Bytes], global: &Global) -> Result {
    let started = Instant::now();
    let last = loop {
        match producer.publish(messages).await {
            Ok(last) => break last,
            Err(error) if error.is_temporary() && started.elapsed() < global.timeout => {
                tokio::time::sleep(global.timeout / 20).await;
            }
            Err(error) => {
                let (exit, advice) = remote::meaning(&error);
                let failure = Failure::new(exit, anyhow!(error).context("publish"));
                let unknown = "whether the last lines were published is not known; publish them again only \
                               if doubles do no harm";
                return Err(match advice {
                    None if exit == Exit::Unreachable => failure.advise(unknown),
                    None => failure,
                    Some(advice) => failure.advise(advice),
                });
            }
        }
    };
    let first = last + 1 - messages.len() as u64;
    let mut out = std::io::stdout().lock();
    for index in first..=last {
        match global.output {
            Format::Table if global.quiet => {}
            Format::Table => writeln!(out, "{index}")?,
            _ => writeln!(out, "{}", json!({ "Index": index }))?,
        }
    }
    Ok(out.flush()?)
}

//! `portolan subscribe TOPIC`: messages in the one agreed order.

use std::io::Write as _;

use anyhow::anyhow;
use client::Message;
use consul::kv::Value;
use serde_json::json;

use crate::cli::Global;
use crate::exit::{Failure, Result};
use crate::output::Format;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic; one that is not there yet is waited for
    topic: String,
    /// Begin with this message; 1 for everything that is kept. Without it only new messages come
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Write each message's number before it
    #[arg(long)]
    numbered: bool,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let next = remote.bounded(remote.client.next_message(&args.topic)).await?;
        let mut subscription = remote.client.subscribe(&args.topic, args.from.unwrap_or(next));
        let mut left = args.count.unwrap_or(u64::MAX);
        while left > 0 {
            let expected = subscription.position();
            let messages = subscription.next().await.map_err(|error| Failure::from(anyhow!(error)))?;
            if let Some(first) = messages.first()
                && first.index > expected
                && expected > 1
            {
                eprintln!("messages {expected} to {} are not kept any more", first.index - 1);
            }
            for message in messages.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                show(message, args.numbered, global)?;
                left -= 1;
            }
        }
        Ok(())
    })
}

fn show(message: &Message, numbered: bool, global: &Global) -> Result {
    let mut out = std::io::stdout().lock();
    if global.output == Format::Table {
        if numbered {
            write!(out, "{} ", message.index)?;
        }
        out.write_all(&message.payload)?;
        out.write_all(b"\n")?;
        return Ok(out.flush()?);
    }
    let line = json!({
        "Index": message.index,
        "Time": message.time_ms,
        "Node": message.node,
        "Text": std::str::from_utf8(&message.payload).ok(),
        "Payload": Value(message.payload.clone()),
    });
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

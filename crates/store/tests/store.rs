//! A store over the memory engine, as its callers see it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::{
    Command, Deregister, InstanceDef, InstanceRegistration, KvCommand, NodeDef, NodeRegistration, Outcome,
    Register, Topic,
};
use log::{BoxFuture, Event, Index, Log, LogError, LogStatus, WriteState, memory};
use portolan_store::{Config, OpenError, Store, SubmitError, Watched, open};

async fn store() -> Store {
    let (log, events) = memory::open(memory::Config::default());
    open(Config::new("n"), log, events).await.unwrap()
}

fn set(key: &str, value: &str, cas: Option<u64>) -> Command {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Command::Kv(KvCommand::Set { key: key.into(), value, flags: 0, cas })
}

fn register(service: &str, id: &str) -> Command {
    let node = NodeDef::new("n".into(), "127.0.0.1".into());
    let def = InstanceDef::new(id.into(), service.into(), 1);
    Command::Register(Box::new(Register {
        node: Some(NodeRegistration { def: node, only_if_absent: true }),
        on: "n".into(),
        instance: Some(InstanceRegistration { def, replace_checks: false }),
        checks: vec![],
    }))
}

#[tokio::test]
async fn a_caller_reads_its_own_writes() {
    let store = store().await;
    for number in 0..200 {
        let key = format!("k{number}");
        let applied = store.submit(set(&key, "v", None)).await.unwrap();
        let seen = store.now();
        assert!(seen.index() >= applied.index);
        assert!(seen.key(&key).is_some());
    }
}

#[tokio::test]
async fn a_refusal_is_an_error_and_changes_nothing() {
    let store = store().await;
    store.submit(set("k", "v", None)).await.unwrap();
    let refused = store.submit(set("k", "w", Some(0))).await;
    assert!(matches!(refused, Err(SubmitError::Refused(_))), "{refused:?}");
    assert_eq!(store.now().key("k").unwrap().value, "v");
    let invalid = store.submit(register("no such name!", "id")).await.unwrap_err().to_string();
    assert!(invalid.contains("not allowed"), "{invalid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_each_get_their_own_outcome() {
    let store = store().await;
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut won = 0;
                for number in 0..50 {
                    let key = format!("k{number}");
                    won += usize::from(store.submit(set(&key, &task.to_string(), Some(0))).await.is_ok());
                }
                won
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += task.await.unwrap();
    }
    assert_eq!(won, 50, "each key is created exactly once");
}

#[tokio::test]
async fn watchers_are_woken_by_their_own_topic_only() {
    let store = store().await;
    let service = |name: &str| Watched::Topic(Topic::Service(name.into()));
    let mut web = store.watch([service("web")]);
    let mut prefix = store.watch([Watched::Prefix("dir/".into()), service("other")]);
    store.submit(register("db", "db-1")).await.unwrap();
    store.submit(set("elsewhere", "v", None)).await.unwrap();
    // Everything is published by now: what was to wake has been woken.
    for watch in [&mut web, &mut prefix] {
        assert!(tokio::time::timeout(Duration::ZERO, watch.changed()).await.is_err());
    }
    store.submit(register("web", "web-1")).await.unwrap();
    store.submit(set("dir/key", "v", None)).await.unwrap();
    for watch in [&mut web, &mut prefix] {
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap();
    }
    let gone = Deregister::Instance { node: "n".into(), id: "web-1".into(), registered_index: None };
    store.submit(Command::Deregister(gone)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), web.changed()).await.unwrap();
}

#[tokio::test]
async fn a_barrier_is_at_or_above_what_was_decided_before_it() {
    let store = store().await;
    let applied = store.submit(set("k", "v", None)).await.unwrap();
    assert!(store.barrier().await.unwrap().index() >= applied.index);
}

#[tokio::test]
async fn a_batch_has_one_outcome_each() {
    let store = store().await;
    let batch = Command::Batch(vec![set("k", "v", Some(0)), set("k", "w", Some(0))]);
    let Outcome::Batch(outcomes) = store.propose(batch).await.unwrap().outcome else { panic!() };
    assert!(outcomes[0].is_done());
    assert!(matches!(outcomes[1], Outcome::Refused(_)));
}

#[tokio::test]
async fn after_close_writes_fail_in_words_and_reads_go_on() {
    let store = store().await;
    store.submit(set("k", "v", None)).await.unwrap();
    store.close().await;
    let error = store.submit(set("k", "w", None)).await.unwrap_err();
    assert!(matches!(error, SubmitError::Log(_)), "{error:?}");
    assert_eq!(store.now().key("k").unwrap().value, "v");
}

/// A log whose stream is written by the test.
struct Scripted;

impl Log for Scripted {
    fn append(&self, _: Bytes) -> Result<(), LogError> {
        Ok(())
    }
    fn barrier(&self) -> BoxFuture<Result<Index, LogError>> {
        Box::pin(async { Ok(0) })
    }
    fn save_checkpoint(&self, _: Index, _: WriteState) -> BoxFuture<Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }
    fn status(&self) -> LogStatus {
        LogStatus::default()
    }
    fn close(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn an_undecodable_command_stops_the_node() {
    let (sender, events) = log::channel();
    sender.send(Event::Entries(vec![log::Entry { index: 1, payload: Bytes::from_static(&[99]) }]));
    sender.send(Event::Replayed);
    let error = open(Config::new("n"), Arc::new(Scripted), events).await.err().unwrap();
    assert!(matches!(error, OpenError::Command { index: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn a_log_that_stops_fails_what_waits_and_what_comes() {
    let (sender, events) = log::channel();
    sender.send(Event::Replayed);
    let store = open(Config::new("n"), Arc::new(Scripted), events).await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.submit(set("k", "v", None)).await }
    });
    while store.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    sender.send(Event::Stopped(Arc::new(LogError::Stopped { reason: "the disk is full".into() })));
    let error = waiting.await.unwrap().unwrap_err();
    let SubmitError::Log(cause) = &error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("the disk is full"));
    assert!(store.submit(set("k", "v", None)).await.is_err());
}

#[tokio::test]
async fn readers_of_a_store_whose_log_stopped_end_with_the_store_and_not_before() {
    let (sender, events) = log::channel();
    sender.send(Event::Replayed);
    let store = open(Config::new("n"), Arc::new(Scripted), events).await.unwrap();
    let mut reader = store.reader();
    sender.send(Event::Stopped(Arc::new(LogError::Stopped { reason: "the disk is full".into() })));
    drop(sender);
    let next = tokio::spawn(async move { reader.next().await.is_none() });
    while store.submit(set("k", "v", None)).await.is_ok() {}
    // The store's thread ends with the stream; its readers must not notice.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!next.is_finished(), "a reader took a stopped log for the end of the node");
    store.close().await;
    assert!(next.await.unwrap());
}

#[tokio::test]
async fn a_life_is_never_earlier_than_its_host_knows() {
    let (log, events) = memory::open(memory::Config::default());
    let mut config = Config::new("n");
    config.least_epoch = 7;
    let store = open(config, log, events).await.unwrap();
    assert_eq!(store.epoch(), 7);
    store.submit(set("k", "v", None)).await.unwrap();
    assert_eq!(store.now().epoch_of("n"), 7);
}

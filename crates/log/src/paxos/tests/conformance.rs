//! The suite that every engine passes, on one server and on the first of three.

use super::*;
use crate::conformance::{Opened, Subject, run};

struct Servers {
    dir: tempfile::TempDir,
    network: Network,
    count: u64,
    /// The one under test does not vote.
    follows: bool,
    others: Vec<Node>,
}

impl Servers {
    fn boxed(count: u64, follows: bool) -> Box<dyn Subject> {
        let dir = tempfile::tempdir().expect("a directory");
        Box::new(Self { dir, network: Network::new(), count, follows, others: Vec::new() })
    }

    fn config(&self, number: u64) -> Config {
        let first = 1 + u64::from(self.follows);
        let members = (first..=self.count).map(identity).collect();
        let begin = Begin::FoundWith(members);
        let mut config = small(self.dir.path().join(number.to_string()), number, begin);
        // What is queued is for a leader, and on a busy host even the first election takes its time.
        config.close_patience = Duration::from_secs(30);
        config.barrier_patience = Duration::from_secs(30);
        config
    }
}

impl Subject for Servers {
    fn open(&mut self) -> BoxFuture<Opened> {
        for number in self.others.len() as u64 + 2..=self.count {
            let node = Node::start(&self.network, &self.config(number)).expect("it opens");
            self.others.push(node);
        }
        let (transport, links) = self.network.attach(server(1));
        let open = if self.follows { crate::follow::open } else { open };
        let opened =
            open(&self.config(1), transport, links).map(|(log, events)| (log as Arc<dyn Log>, events));
        Box::pin(std::future::ready(opened))
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn limits(&self) -> (usize, usize) {
        (4096, 100)
    }
}

#[tokio::test]
async fn one_server_conforms() {
    run(|| Servers::boxed(1, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_of_three_servers_conforms() {
    run(|| Servers::boxed(3, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_one_server_conforms() {
    run(|| Servers::boxed(2, true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_three_servers_conforms() {
    run(|| Servers::boxed(4, true)).await;
}

//! Real daemons that are one cluster, on hosts of their own, while everything goes wrong that can.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod clocks;
mod etcd;
mod etcd_login;
mod faults;
mod life;
mod moves;
mod partitions;
mod quic;
mod ssh;
mod strangers;
mod support;
mod versions;

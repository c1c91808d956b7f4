//! The three examples as processes, as the seed's documentation runs them and with the lines that it shows.

mod support;

use std::process::Command;

use support::{Program, example, in_order, in_own_network};

const SERVER: &[&str] = &[
    "Starting NetSel Service...",
    "NetSel Service started successfully!",
    "- Registration server: 0.0.0.0:9000",
    "- TCP proxy: 0.0.0.0:8080",
    "- HTTP proxy: 0.0.0.0:8081",
    "- DNS server: 127.0.0.1:5353",
];
const SERVICE: &[&str] = &[
    "Registering service 'test-service-3' with Service A at 127.0.0.1:9000",
    "Starting echo server on 127.0.0.1:11000 (local testing)",
];
const CLIENT: &[&str] = &[
    "Testing NetSel system...",
    "Test 1: Testing Service B's echo server directly...",
    "Sending test data: Hello, NetSel Service B!",
    "Received response: Hello, NetSel Service B!",
    "✅ Echo server test passed!",
    "Test 2: Checking Service A logs...",
    "✅ Service A is receiving heartbeats from test-service-3",
    "✅ Heartbeat mechanism test passed!",
    "Test 3: Checking service registration...",
    "✅ Service 'test-service-3' is registered successfully",
    "✅ Service registration test passed!",
    "🎉 All tests passed! NetSel system is working correctly.",
];

fn start(name: &str) -> Program {
    Program::start(&mut Command::new(example(name)))
}

#[test]
fn the_three_examples_work_together() {
    if !in_own_network("the_three_examples_work_together") {
        return;
    }
    let server = start("netsel_server");
    assert!(in_order(&server.lines_until("- DNS server"), SERVER));

    // Without the service the client must not be content.
    let (status, lines) = start("test_client").end();
    assert!(!status.success() && !lines.iter().any(|line| line.contains('✅')), "{lines:#?}");

    let service = start("service_b");
    assert!(in_order(&service.lines_until("Starting echo server"), SERVICE));
    let (status, lines) = start("test_client").end();
    assert!(status.success(), "{status}: {lines:#?}");
    assert!(in_order(&lines, CLIENT), "{lines:#?}");

    // Once the service is gone, neither.
    drop(service);
    let (status, lines) = start("test_client").end();
    assert!(!status.success() && !lines.iter().any(|line| line.contains("All tests passed")), "{lines:#?}");

    server.interrupt();
    let (status, lines) = server.end();
    assert!(status.success(), "{status}");
    assert!(in_order(&lines, &["Shutting down NetSel Service..."]), "{lines:#?}");
}

//! Containers as engines show them, and what they become.

use super::*;

fn container(json: serde_json::Value) -> Container {
    serde_json::from_value(json).unwrap()
}

fn web() -> serde_json::Value {
    serde_json::json!({
        "Id": "0123456789abcdef0123456789abcdef",
        "Name": "/shop-web-1",
        "Config": {
            "Image": "registry.example:5000/shop/web:1.2@sha256:00",
            "Env": ["PATH=/bin", "SERVICE_TAGS=from-env", "SERVICE_80_CHECK_HTTP=/up"],
            "Labels": { "SERVICE_TAGS": "blue, canary", "SERVICE_80_NAME": "web", "SERVICE_REGION": "north" },
            "ExposedPorts": { "80/tcp": {}, "9000/tcp": {}, "53/udp": {} }
        },
        "HostConfig": { "NetworkMode": "bridge" },
        "NetworkSettings": {
            "IPAddress": "172.17.0.2",
            "Ports": {
                "80/tcp": [{ "HostIp": "::", "HostPort": "8080" }, { "HostIp": "0.0.0.0", "HostPort": "8080" }],
                "9000/tcp": null,
                "53/udp": [{ "HostIp": "127.0.0.1", "HostPort": "5300" }]
            }
        }
    })
}

fn planned(containers: &[serde_json::Value], config: &Config) -> Plan {
    let containers: Vec<_> = containers.iter().cloned().map(container).collect();
    Plan::of(&containers, "harbour", config)
}

fn problems(plan: &Plan) -> Vec<&str> {
    plan.problems.iter().map(|problem| problem.what.as_str()).collect()
}

#[test]
fn what_is_published_is_registered_by_the_names_it_says() {
    let plan = planned(&[web()], &Config::default());
    assert_eq!(problems(&plan), [""; 0]);
    let ids: Vec<_> = plan.services.keys().collect();
    assert_eq!(ids, ["harbour:shop-web-1:53:udp", "harbour:shop-web-1:80"]);

    let web = &plan.services["harbour:shop-web-1:80"];
    assert_eq!((&*web.name, &*web.address, web.port), ("web", "", 8080));
    assert_eq!(web.tags, ["blue".into(), "canary".into()], "a label counts more than the environment");
    assert_eq!(&*web.meta["region"], "north");
    assert_eq!(&*web.meta[OWNER], "0123456789ab");
    assert_eq!(&*web.checks[0].http, "http://127.0.0.1:8080/up");
    assert_eq!(web.checks[0].interval.as_ms(), 10_000);

    let dns = &plan.services["harbour:shop-web-1:53:udp"];
    assert_eq!((&*dns.name, &*dns.address, dns.port), ("web-53", "127.0.0.1", 5300));
    assert_eq!(dns.tags.last().map(|tag| &**tag), Some("udp"));
    assert!(dns.checks.is_empty());
}

#[test]
fn exposed_ports_count_inside_and_on_the_hosts_own_network() {
    let internal = Config { internal: true, ..Config::default() };
    let plan = planned(&[web()], &internal);
    assert_eq!(plan.services.len(), 3);
    let admin = &plan.services["harbour:shop-web-1:9000"];
    assert_eq!((&*admin.name, &*admin.address, admin.port), ("web-9000", "172.17.0.2", 9000));

    let mut on_host = web();
    on_host["HostConfig"]["NetworkMode"] = "host".into();
    on_host["NetworkSettings"] = serde_json::json!({ "IPAddress": "", "Ports": {} });
    let plan = planned(&[on_host], &Config::default());
    assert_eq!(plan.services["harbour:shop-web-1:9000"].port, 9000);
    let mut said = web();
    said["HostConfig"]["NetworkMode"] = "host".into();
    said["Config"]["ExposedPorts"] = serde_json::Value::Null;
    said["NetworkSettings"] = serde_json::json!({});
    let plan = planned(&[said], &Config::default());
    assert_eq!(
        plan.services.keys().collect::<Vec<_>>(),
        ["harbour:shop-web-1:80"],
        "said of it by its number"
    );
}

#[test]
fn one_port_needs_no_number_in_its_name_and_some_are_not_wished() {
    let mut alone = web();
    alone["NetworkSettings"]["Ports"] =
        serde_json::json!({ "80/tcp": [{ "HostIp": "", "HostPort": "8080" }] });
    alone["Config"]["Labels"] = serde_json::json!({ "SERVICE_ID": "shop", "SERVICE_NAME": "" });
    let plan = planned(std::slice::from_ref(&alone), &Config::default());
    assert_eq!(&*plan.services["shop"].name, "web", "the image's name");
    alone["Config"]["Labels"] = serde_json::json!({ "SERVICE_80_IGNORE": "yes" });
    assert!(planned(&[alone], &Config::default()).services.is_empty());
}

#[test]
fn labels_get_no_more_than_they_are_trusted_with() {
    let mut sly = web();
    sly["Config"]["Labels"] = serde_json::json!({
        "SERVICE_80_NAME": "vault", "SERVICE_CHECK_SCRIPT": "rm -rf /", "SERVICE_CHECK_INTERVAL": "soon",
    });
    let narrow = Config { services: vec!["shop-*".into()], ..Config::default() };
    let plan = planned(std::slice::from_ref(&sly), &narrow);
    assert!(plan.services.is_empty());
    assert!(problems(&plan)[0].contains("\"vault\", which containers.services does not allow"), "{plan:?}");

    let plan = planned(&[sly], &Config::default());
    let said = problems(&plan).join("\n");
    assert!(said.contains("CHECK_SCRIPT is not done") && said.contains("CHECK_INTERVAL"), "{said}");
    let check = &plan.services["harbour:shop-web-1:80"].checks[0];
    assert!(check.args.is_empty() && check.script.is_empty());
    assert_eq!(check.interval.as_ms(), 10_000);
}

#[test]
fn two_containers_of_one_id_are_said() {
    let mut one = web();
    one["Config"]["Labels"] = serde_json::json!({ "SERVICE_ID": "same" });
    let plan = planned(&[one], &Config::default());
    assert_eq!(plan.services.len(), 1);
    assert!(problems(&plan)[0].contains("the id \"same\""));
}

#[test]
fn checks_of_each_kind_probe_their_own_port() {
    for (keys, shown) in [
        (vec![("CHECK_HTTPS", "up"), ("CHECK_HTTPS_METHOD", "HEAD")], "https://127.0.0.1:8080/up HEAD"),
        (vec![("CHECK_TCP", "true")], "127.0.0.1:8080"),
        (vec![("CHECK_GRPC", "true"), ("CHECK_GRPC_USE_TLS", "true")], "127.0.0.1:8080 tls"),
        (vec![("CHECK_TTL", "30s")], "30s"),
        (vec![("CHECK_TTL", "often")], ""),
        (vec![("CHECK_TCP", "no")], ""),
    ] {
        let mut with = web();
        let labels = keys.iter().map(|(key, value)| (format!("SERVICE_80_{key}"), (*value).into()));
        with["Config"]["Labels"] = serde_json::Value::Object(labels.collect());
        with["Config"]["Env"] = serde_json::Value::Null;
        let plan = planned(&[with], &Config::default());
        let checks = &plan.services["harbour:shop-web-1:80"].checks;
        let said = checks.iter().map(|check| {
            let tls = if check.grpc_use_tls { "tls" } else { "" };
            let ttl = if check.ttl.is_zero() { String::new() } else { check.ttl.to_string() };
            let parts = [&*check.http, &*check.method, &*check.tcp, &*check.grpc, tls, &*ttl];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(said.collect::<Vec<_>>().join("; "), shown, "{keys:?}");
    }
}

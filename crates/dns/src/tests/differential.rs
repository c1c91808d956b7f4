//! Every kind of question about a zone with something of everything, to both paths.

use domain::base::iana::Rtype;

use crate::config::{Config, ConsulNames};
use crate::tests::answer::{self, Manner, packet, read};
use crate::tests::world::{World, address_of};

/// Services of every size and mixture.
fn world(config: Config) -> World {
    let mut world = World::new(config);
    let mut random = fastrand::Rng::with_seed(8600);
    world.run("node here 10.0.0.1 rack=r1");
    world.run("node other 10.0.0.2 lan_ipv6=fd00::2");
    world.run("node far.away host.example.org");
    for number in 0..24u32 {
        for instance in 0..random.u32(0..[2, 4, 40][number as usize % 3]) {
            let node = random.choice(["here", "other"]).unwrap();
            let address = match random.u8(0..8) {
                0 => String::new(),
                1 => format!("[fd00::{:x}]", random.u8(..)),
                2 if number % 7 == 0 => "db.example.org".to_owned(),
                3 if number % 7 == 0 => "other.node.svc.internal".to_owned(),
                _ => format!("10.1.{}.{}", random.u8(0..2), random.u8(..)),
            };
            let (port, weight) = (random.u16(0..4) * 1000, random.u16(0..3));
            let status = random.choice(["passing", "passing", "warning", "critical"]).unwrap();
            let tags = random.choice(["a", "b", "a,v1.2"]).unwrap();
            world.run(&format!(
                "register Service-{number}/{number}-{instance}@{node} {address}:{port} tags={tags} weight={weight} status={status} k=v"
            ));
        }
        if number % 2 == 0 {
            let six =
                if number % 4 == 0 { format!(" fd00:77::7f4d:{:x}", number + 1) } else { String::new() };
            world.run(&format!("socket service-{number} 127.77.0.{}:{}{six}", number + 1, 8000 + number));
        }
    }
    world
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "svc.internal",
        "consul",
        "nothing.svc.internal",
        "endpoints.svc.internal",
        "service.consul",
        "nothing.consul",
        "here.node.consul",
        "OTHER.node.svc.internal",
        "far.away.node.dc1.consul",
        "0a000001.addr.dc1.consul",
        "fd000000000000000000000000000002.addr.svc.internal",
        "example.org",
        "1.0.0.10.in-addr.arpa",
        "9.9.77.127.in-addr.arpa",
        "_tcp.svc.internal",
        ".",
        "nothing",
        "x.y.z.consul",
    ]
    .map(str::to_owned)
    .into();
    for number in 0..24 {
        let service = format!("seRVice-{number}");
        for form in [
            "{}",
            "{}.svc.internal",
            "{}.endpoints.svc.internal",
            "_{}._tcp.svc.internal",
            "{}.service.consul",
            "a.{}.service.consul",
            "_{}._b.service.dc1.consul",
            "_{}._tcp.consul",
            "{}.virtual.consul",
            "v1.2.{}.service.dc1.dc.consul",
        ] {
            names.push(form.replace("{}", &service));
        }
    }
    names
}

fn compare(world: &World) {
    let types =
        ["A", "AAAA", "SRV", "TXT", "ANY", "PTR", "SOA", "NS", "CNAME", "HTTPS", "AXFR", "TYPE41", "TYPE999"];
    let (mut compared, mut fast_ones) = (0, 0);
    for name in names() {
        for rtype in types {
            for (turn, edns) in
                [(0, None), (1 << 31, Some(0)), (u32::MAX, Some(1231)), (77 << 20, Some(4096))]
            {
                let packet = packet(&name, rtype.parse::<Rtype>().unwrap(), Manner { edns, tcp: false });
                for client in ["local", "remote"] {
                    compared += 1;
                    let from = address_of(client);
                    let slow = answer::slow(world, &packet, from, turn, false);
                    let Some(fast) = answer::fast(world, &packet, from, turn) else { continue };
                    fast_ones += 1;
                    let limit = edns.map_or(512, |size| size.clamp(512, world.responder.max_udp));
                    assert!(fast.len() <= usize::from(limit), "{name} {rtype}: {} bytes", fast.len());
                    let slow = slow.unwrap_or_else(|verdict| panic!("{name} {rtype}: {verdict:?}"));
                    let (fast, slow) = (read(&fast), read(&slow));
                    assert!(
                        fast.agrees_with_slow(&slow),
                        "{client} {name} {rtype} {edns:?}\n{fast:#?}\n{slow:#?}"
                    );
                    assert!(
                        fast.question.starts_with(&*name) || name == ".",
                        "{} keeps its case",
                        fast.question
                    );
                    assert_eq!(fast.opt.is_some(), edns.is_some());
                }
            }
        }
    }
    assert!(fast_ones * 2 > compared, "the fast path took only {fast_ones} of {compared}");
}

#[test]
fn both_paths_say_the_same() {
    compare(&world(Config::default()));
}

#[test]
fn also_with_other_settings() {
    let consul = ConsulNames { only_passing: true, udp_answers: 3, ..ConsulNames::default() };
    compare(&world(Config { virtual_ips: false, max_udp_bytes: 4096, consul, ..Config::default() }));
}

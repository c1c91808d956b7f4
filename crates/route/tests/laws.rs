//! The law of every projection: carried forward equals made anew.

use catalog::Catalog;
use catalog::testing::history;
use portolan_route::{Denial, Mode, Principal, Routes};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whichever snapshots a reader happened to see.
    #[test]
    fn incremental_equals_full(history in history(60), skip in 1..6usize) {
        let mut catalog = Catalog::default();
        let mut routes = Routes::project(&catalog.snapshot());
        for (envelope, index) in history.iter().zip(1..) {
            catalog.apply(index, envelope);
            if (index as usize).is_multiple_of(skip) {
                routes = routes.advance(&catalog.snapshot());
                prop_assert_eq!(&routes, &Routes::project(&catalog.snapshot()));
            }
        }
    }

    /// A decision and the short form of it never differ, and a permit names what it permits.
    #[test]
    fn a_decision_is_its_permit(history in history(60), uid in 0..3u32) {
        let snapshot = catalog::testing::applied(&history).snapshot();
        let routes = Routes::project(&snapshot);
        let who = Principal::Local { uid };
        for name in ["s0", "S1", "s2", "nobody"] {
            let decision = routes.decide(&who, name);
            prop_assert_eq!(&decision.verdict, &routes.permit(&who, name));
            match decision.verdict {
                Ok((backend, permit)) => {
                    prop_assert!(!backend.endpoints.is_empty());
                    prop_assert!(routes.still_permits(&permit));
                    prop_assert!(permit.service() == &backend.service);
                }
                Err(Denial::UnknownService { name }) => prop_assert!(routes.backend(&name).is_none()),
                Err(Denial::NoEndpoint { registered, .. }) => prop_assert!(registered > 0),
                Err(Denial::Forbidden { service, .. }) => {
                    prop_assert_eq!(routes.policy().mode(), Mode::Enforce);
                    prop_assert!(routes.permit_to(&who, &service).is_err());
                }
                Err(Denial::OtherScheme { uri, .. }) => prop_assert!(!uri.starts_with("tcp:")),
                Err(Denial::Circle { chain }) => prop_assert!(false, "apply let a circle in: {:?}", chain),
            }
        }
    }
}

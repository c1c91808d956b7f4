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
    fn a_decision_is_its_permit(history in history(60)) {
        let snapshot = catalog::testing::applied(&history).snapshot();
        let routes = Routes::project(&snapshot);
        let who = Principal::Local { uid: 0 };
        for name in ["s0", "S1", "nobody"] {
            let decision = routes.decide(&who, name, Mode::Open);
            prop_assert_eq!(&decision.verdict, &routes.permit(&who, name));
            match decision.verdict {
                Ok((backend, permit)) => {
                    prop_assert!(!backend.endpoints.is_empty());
                    prop_assert!(permit.service().eq_ignore_ascii_case(name));
                }
                Err(Denial::UnknownService { .. }) => prop_assert!(snapshot.service(&name.to_lowercase()).is_none()),
                Err(Denial::NoEndpoint { registered, .. }) => prop_assert!(registered > 0),
            }
        }
    }
}

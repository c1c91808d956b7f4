//! Where a URL leads, and why, for whoever only wishes to know.

use std::sync::Arc;

use route::Routes;

use super::table::{Asked, Table};
use super::{authority, path};
use crate::config::Http;

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The service that its rule or its name is about, before redirections of names; empty where a client is sent elsewhere.
    pub service: Arc<str>,
    /// What decides that, in words.
    pub why: String,
}

/// Looks where the proxy of this configuration leads `host` and `path`, as a request would name them.
///
/// # Errors
/// Why such a request is refused, or led nowhere.
pub fn explain(config: &Http, routes: &Routes, host: &str, path: &str) -> Result<Way, String> {
    let host = authority::host(host).ok_or_else(|| format!("\"{host}\" is no host"))?;
    let table = Table::new(config);
    let path = match table.decides_by_path(&host) {
        true => {
            path::canonical(path).map_err(|_| format!("the path \"{path}\" is ambiguous, and refused"))?
        }
        false => path.into(),
    };
    let asked = Asked { host: &host, path: &path };
    let found = table.why(routes, asked);
    let (found, why) =
        found.ok_or_else(|| format!("no rule, name or domain leads \"{host}{path}\" anywhere"))?;
    Ok(Way { service: found.service, why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpRoute;

    #[test]
    fn says_which_rule_or_name_decides() {
        let away = HttpRoute {
            options: crate::RouteOptions { redirect: Some("https://b.test/".into()), ..Default::default() },
            ..HttpRoute::new(Some("old.test"), None, "")
        };
        let strip = HttpRoute { strip: true, ..HttpRoute::new(Some("shop.test"), Some("/cart"), "cart") };
        let config = Http {
            routes: vec![strip, HttpRoute::new(Some("*.shop.test"), None, "any"), away],
            ..Http::default()
        };
        let routes = Routes::default();
        let ask = |host: &str, path: &str| explain(&config, &routes, host, path);
        let way = ask("SHOP.test:8081", "/cart/x").unwrap();
        assert_eq!(
            (&*way.service, &*way.why),
            ("cart", "the rule for host shop.test, path /cart, which is taken off")
        );
        assert_eq!(&*ask("a.shop.test", "/").unwrap().service, "any");
        let way = ask("old.test", "/").unwrap();
        assert_eq!(
            (&*way.service, &*way.why),
            ("", "the rule for host old.test sends the client to https://b.test/")
        );
        let way = ask("web.svc.internal", "/").unwrap();
        assert_eq!((&*way.service, &*way.why), ("web", "a name below .svc.internal"));
        assert!(ask("shop.test", "/other").unwrap_err().contains("no rule"));
        assert!(ask("shop.test", "/a%2fb").unwrap_err().contains("ambiguous"));
        assert!(ask("a b", "/").is_err());
    }
}

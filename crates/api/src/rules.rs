//! `portolan/rules` and its kin: who may reach what, and which names lead elsewhere.

use std::sync::Arc;
use std::time::Duration;

use catalog::{
    Action, Command, Destination, Direction, Intention, IntentionCommand, Mode, Origin, Outcome, Place,
    Redirection, RedirectionCommand, Source,
};
use consul::Labels;
use consul::rules::{Redirect, Rule, RuleId, Rules, Share};
use route::{Routes, RuleView};

use crate::Api;
use crate::http::{Answer, Failure, Parts, Query, Request, decode};

/// A rule or a redirection is a few words.
const MAX_BODY: usize = 64 << 10;
/// A whole list.
const MAX_LIST: usize = 16 << 20;
/// How long a change may take to be in force on this node before the answer does not wait for it any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET portolan/rules`: what this node goes by, its own configuration included, with what each rule decided here.
pub(crate) async fn list(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let routes = in_force(&api).await;
    let policy = routes.policy();
    let rules = Rules {
        mode: word(policy.mode()).into(),
        rules: policy.rules().iter().map(|rule| shown(&rule)).collect(),
        unmatched: policy.rules().unmatched(),
        redirections: policy.redirections().map(|redirection| shown_redirection(redirection)).collect(),
        index: policy.index(),
    };
    Answer::json_as(&rules, request.parts.query.has("pretty"))
}

pub(crate) fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Open => "open",
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

fn shown(rule: &RuleView<'_>) -> Rule {
    let intention = &**rule.intention;
    Rule {
        id: intention.id.clone(),
        action: intention.action.as_str().into(),
        source: intention.source.to_string().into(),
        service: intention.service.clone(),
        scheme: intention.scheme.clone().unwrap_or_default(),
        direction: intention.direction.map_or_else(Arc::default, |way| way.as_str().into()),
        note: intention.note.clone(),
        meta: intention.meta.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<Labels>(),
        file: intention.origin.as_ref().map(|origin| origin.file.clone()).unwrap_or_default(),
        line: intention.origin.as_ref().map_or(0, |origin| origin.line),
        local: rule.is_local,
        hits: rule.hits,
        create_index: intention.create_index,
        modify_index: intention.modify_index,
    }
}

fn shown_redirection(redirection: &Redirection) -> Redirect {
    let share = |to: &Destination| Share { to: to.to.clone(), weight: to.weight };
    Redirect {
        name: redirection.name.clone(),
        to: redirection.to.iter().map(share).collect(),
        note: redirection.note.clone(),
        file: redirection.origin.as_ref().map(|origin| origin.file.clone()).unwrap_or_default(),
        line: redirection.origin.as_ref().map_or(0, |origin| origin.line),
        modify_index: redirection.modify_index,
    }
}

/// `PUT portolan/rule`, with `?place=first|last|before:ID|after:ID` and `?cas=INDEX`.
pub(crate) async fn put(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, body) = request.body(MAX_BODY).await?;
    let intention = Box::new(intention(decode(&body)?)?);
    let (place, cas) = (place(&parts.query)?, cas(&parts.query)?);
    let id = intention.id.clone();
    submit(&api, Command::Intention(IntentionCommand::Put { intention, place, cas })).await?;
    Answer::json(&RuleId { id })
}

/// `PUT portolan/rules`: a whole list in the place of the one there is, with `?cas=INDEX`.
pub(crate) async fn replace(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, body) = request.body(MAX_LIST).await?;
    let cas = cas(&parts.query)?;
    let rules = decode::<Rules>(&body)?.rules.into_iter().filter(|rule| !rule.local);
    let intentions = rules.map(intention).collect::<Result<Vec<_>, _>>()?;
    submit(&api, Command::Intention(IntentionCommand::Replace { intentions, cas })).await?;
    Ok(Answer::truth(true))
}

/// `DELETE portolan/rule/:id`.
pub(crate) async fn remove(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (id, cas) = (named(&request.parts)?, cas(&request.parts.query)?);
    if api.store.reader().now().rules().intention(&id).is_none() {
        let why = match api.routes.now().policy().rules().iter().any(|rule| rule.intention.id == id) {
            true => "is written in this node's configuration, and is removed there",
            false => "does not exist",
        };
        return Err(Failure::not_found(format!("the rule {id:?} {why}")));
    }
    submit(&api, Command::Intention(IntentionCommand::Remove { id, cas })).await?;
    Ok(Answer::truth(true))
}

/// `PUT portolan/redirect/:name`.
pub(crate) async fn redirect(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let name = named(&request.parts)?;
    let (_, body) = request.body(MAX_BODY).await?;
    let sent: Redirect = decode(&body)?;
    let destination = |share: Share| Destination { to: share.to, weight: share.weight };
    let redirection = Redirection {
        to: sent.to.into_iter().map(destination).collect(),
        note: sent.note,
        origin: origin(sent.file, sent.line),
        ..Redirection::new(&name, "")
    };
    submit(&api, Command::Redirection(RedirectionCommand::Put(Box::new(redirection)))).await?;
    Ok(Answer::truth(true))
}

/// `DELETE portolan/redirect/:name`.
pub(crate) async fn redirect_no_more(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let name = named(&request.parts)?;
    if api.store.reader().now().rules().redirection(&name.to_ascii_lowercase()).is_none() {
        return Err(Failure::not_found(format!("{name:?} is not redirected")));
    }
    submit(&api, Command::Redirection(RedirectionCommand::Remove { name })).await?;
    Ok(Answer::truth(true))
}

/// `PUT portolan/mode/:mode`.
pub(crate) async fn set_mode(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let view = api.store.reader().now();
    let is_cluster = !view.cluster().id().is_empty();
    let mode = match &*named(&request.parts)? {
        "open" if is_cluster => {
            return Err(Failure::bad_request("a cluster is never open: it observes, or it enforces"));
        }
        "open" => Mode::Open,
        "observe" => Mode::Observe,
        "enforce" => Mode::Enforce,
        other => {
            let rule = "a mode is one of open, observe and enforce";
            return Err(Failure::bad_request(format!("{rule}, not {other:?}")));
        }
    };
    let command = match is_cluster {
        true => Command::Cluster(catalog::ClusterCommand::SetMode(mode)),
        false => Command::Configure(catalog::Settings { mode, ..view.settings().clone() }),
    };
    submit(&api, command).await?;
    Ok(Answer::truth(true))
}

fn named(parts: &Parts) -> Result<Arc<str>, Failure> {
    match parts.rest.as_str() {
        "" => Err(Failure::bad_request("a name is missing at the end of the path")),
        name => Ok(name.into()),
    }
}

fn cas(query: &Query) -> Result<Option<u64>, Failure> {
    let wrong = |_| Failure::bad_request("cas is a whole number: the index that you know");
    query.get("cas").map(|text| text.parse().map_err(wrong)).transpose()
}

fn place(query: &Query) -> Result<Place, Failure> {
    Ok(match query.get("place") {
        None | Some("") => Place::Keep,
        Some("first") => Place::First,
        Some("last") => Place::Last,
        Some(other) => match other.split_once(':') {
            Some(("before", id)) => Place::Before(id.into()),
            Some(("after", id)) => Place::After(id.into()),
            _ => return Err(Failure::bad_request("a place is first, last, before:ID or after:ID")),
        },
    })
}

fn origin(file: Arc<str>, line: u32) -> Option<Origin> {
    (!file.is_empty()).then_some(Origin { file, line })
}

/// The rule that a client means. What cannot be kept is refused when it is applied; here only words are read.
fn intention(rule: Rule) -> Result<Intention, Failure> {
    let action = match &*rule.action {
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        other => return Err(Failure::bad_request(format!("an action is allow or deny, not {other:?}"))),
    };
    let direction = match &*rule.direction {
        "" => None,
        "in" => Some(Direction::In),
        "out" => Some(Direction::Out),
        other => return Err(Failure::bad_request(format!("a direction is in or out, not {other:?}"))),
    };
    let source = Source::parse(&rule.source).map_err(|invalid| Failure::bad_request(invalid.to_string()))?;
    let service = if &*rule.service == "any" { "*" } else { &rule.service };
    let mut intention = Intention::new(action, source, service);
    intention.scheme = Some(rule.scheme).filter(|scheme| !scheme.is_empty());
    intention.direction = direction;
    intention.note = rule.note;
    intention.meta = rule.meta.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    intention.origin = origin(rule.file, rule.line);
    intention.id = if rule.id.is_empty() { intention.default_id() } else { rule.id };
    Ok(intention)
}

/// Submits, and waits until this node goes by it.
async fn submit(api: &Api, command: Command) -> Result<(), Failure> {
    match api.store.propose(command).await?.outcome {
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => {
            in_force(api).await;
            Ok(())
        }
    }
}

/// The routes once they go by the rules that are agreed on now. They do within a moment; whoever waits longer gets
/// what there is.
pub(crate) async fn in_force(api: &Api) -> Arc<Routes> {
    let (view, mut routes) = (api.store.reader().now(), api.routes.clone());
    let caught_up = async {
        let mut now = routes.now();
        while !now.policy().is_of(&view)
            && let Some(next) = routes.next().await
        {
            now = next;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, caught_up).await;
    api.routes.now()
}

//! Webhooks: who wants to hear of what, and what is on its way to them.
//!
//! Deliveries leave in order unless a test holds them back; then it decides what arrives, when, how often, and signed by whom.
//! As with GitHub, nothing is sent again by itself.

pub(crate) mod deliver;
pub(crate) mod payload;

use std::collections::VecDeque;

use hyper::body::Bytes;
use serde_json::Value;

use super::{
    ids::{HookId, RepositoryId},
    state::State,
};

/// Somebody who wants to hear.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    pub(crate) id: HookId,
    pub(crate) repository: RepositoryId,
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    /// `*` is all of them.
    pub(crate) events: Vec<String>,
    pub(crate) is_active: bool,
    pub(crate) created_at: u64,
}

/// Something to be told.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) hook: HookId,
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    pub(crate) event: String,
    pub(crate) action: Option<String>,
    pub(crate) body: Bytes,
}

/// A delivery as tests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// `x-github-delivery`.
    pub id: String,
    /// `x-github-event`.
    pub event: String,
    /// `action` in the body, where the event has any.
    pub action: Option<String>,
    /// What the receiver answered; absent when it could not be reached or has not been tried.
    pub status: Option<u16>,
}

impl Delivery {
    pub(crate) fn seen(&self, status: Option<u16>) -> Delivered {
        Delivered { id: self.id.clone(), event: self.event.clone(), action: self.action.clone(), status }
    }
}

/// All hooks and all deliveries.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    hooks: Vec<Hook>,
    is_holding: bool,
    pub(crate) held: Vec<Delivery>,
    pub(crate) leaving: VecDeque<Delivery>,
    /// Whether one is on the wire.
    pub(crate) is_sending: bool,
    pub(crate) to_lose: u64,
    /// Signs in place of each hook's own secret, for so many deliveries.
    pub(crate) forged: Option<(String, u64)>,
    /// Everything that was sent, for sending again.
    pub(crate) sent: Vec<(Delivery, Delivered)>,
    pub(crate) lost: Vec<Delivered>,
}

impl Webhooks {
    pub(crate) fn add(&mut self, hook: Hook) -> HookId {
        let id = hook.id;
        self.hooks.push(hook);
        id
    }

    pub(crate) fn hooks_of(&self, repository: RepositoryId) -> Vec<&Hook> {
        self.hooks.iter().filter(|hook| hook.repository == repository).collect()
    }

    fn hook(&self, id: HookId) -> Option<&Hook> {
        self.hooks.iter().find(|hook| hook.id == id)
    }

    fn queue(&mut self, mut delivery: Delivery) {
        if self.to_lose > 0 {
            self.to_lose -= 1;
            self.lost.push(delivery.seen(None));
            return;
        }
        if let Some((secret, left)) = self.forged.take() {
            delivery.secret = Some(secret.clone());
            self.forged = (left > 1).then(|| (secret, left - 1));
        }
        if self.is_holding {
            self.held.push(delivery);
        } else {
            self.leaving.push_back(delivery);
        }
    }

    /// From here on everything is kept back.
    pub(crate) fn hold(&mut self) {
        self.is_holding = true;
    }

    /// What was kept back leaves, and nothing is kept back any more.
    pub(crate) fn release(&mut self, is_reversed: bool) {
        self.is_holding = false;
        let mut held = std::mem::take(&mut self.held);
        if is_reversed {
            held.reverse();
        }
        self.leaving.extend(held);
    }

    /// What was kept back never leaves.
    pub(crate) fn lose_held(&mut self) {
        let lost = self.held.drain(..).map(|delivery| delivery.seen(None));
        self.lost.extend(lost);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.leaving.is_empty() && !self.is_sending
    }
}

impl State {
    /// Tells all hooks of a repository that want to hear of an event.
    pub(crate) fn emit(&mut self, repository: RepositoryId, event: &str, action: Option<&str>, body: Value) {
        let wants = |hook: &&Hook| {
            hook.repository == repository
                && hook.is_active
                && hook.events.iter().any(|wanted| wanted == event || wanted == "*")
        };
        let hooks: Vec<HookId> = self.webhooks.hooks.iter().filter(wants).map(|hook| hook.id).collect();
        if !hooks.is_empty() {
            self.emit_to(&hooks, event, action, body);
        }
    }

    /// Tells these hooks.
    pub(crate) fn emit_to(&mut self, hooks: &[HookId], event: &str, action: Option<&str>, body: Value) {
        let described = match action {
            Some(action) => format!("{}-{}", event.replace('_', "-"), action.replace('_', "-")),
            None => event.replace('_', "-"),
        };
        self.contract.check_webhook(&described, &body);
        let body = Bytes::from(body.to_string());
        for id in hooks {
            let serial = self.ids.serial();
            let Some(hook) = self.webhooks.hook(*id) else { continue };
            let delivery = Delivery {
                id: format!("{serial:08x}-0000-4000-8000-{serial:012x}"),
                hook: *id,
                url: hook.url.clone(),
                secret: hook.secret.clone(),
                event: event.to_owned(),
                action: action.map(str::to_owned),
                body: body.clone(),
            };
            self.webhooks.queue(delivery);
        }
    }
}

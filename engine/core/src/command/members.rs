//! Commands about who belongs to the cluster and what members say of themselves.

use wfengine_storage_format::{
    Body, ForkProved, PeerAdmitted, PeerDescribed, PeerId, PeerLabelled, PeerRevoked, Role, fork_between,
};

use super::{Asking, Decision, Refusal};

impl Asking<'_> {
    /// Writes a proof only if it cuts the chain lower than the proofs before it: every frame of a refused branch proves the same.
    pub(super) fn prove_fork(&self, proof: &ForkProved) -> Result<Decision, Refusal> {
        let cut = self.views.authority().roster().forked_chains().get(&proof.first.header.chain);
        let lowers = match (cut, fork_between(&proof.first, &proof.second)) {
            (Some(cut), Some(seq)) => seq < *cut,
            (None, _) => true,
            (Some(_), None) => false,
        };
        if lowers { self.write(proof.clone().into(), Vec::new()) } else { Ok(Decision::AlreadySo) }
    }

    pub(super) fn as_admin(&self, body: Body) -> Result<Decision, Refusal> {
        self.need_role(Role::Admin)?;
        if let Body::PeerInvited(invite) = &body {
            let roles = self.views.authority().roster().member(&self.peer()).map(|member| member.roles);
            if !roles.is_some_and(|roles| roles.covers(invite.roles)) {
                return Err(Refusal::Pointless("an invite cannot give roles that its author does not have"));
            }
        }
        self.write(body, Vec::new())
    }

    pub(super) fn admit(&self, body: &PeerAdmitted) -> Result<Decision, Refusal> {
        use wfengine_storage_format::Grant;
        let authority = self.views.authority();
        if authority.roster().member(&body.peer).is_some() {
            return Ok(Decision::AlreadySo);
        }
        let refused = |why| Err(Refusal::Invite { peer: body.peer, why });
        if authority.roster().is_former(&body.peer) {
            return refused("it was revoked or went on under another key; it needs a new identity");
        }
        match &body.grant {
            Grant::Direct { .. } => self.need_role(Role::Admin)?,
            Grant::Invite { invite, signature } => {
                let asked =
                    authority.events().get(invite).filter(|_| !authority.roster().void().contains(invite));
                let Some(Body::PeerInvited(asked)) = asked.map(|event| &event.body) else {
                    return refused("no such invite is known here");
                };
                if authority.roster().invite_used_by(invite).is_some() {
                    return refused("it was used before; ask for a new one");
                }
                if asked.invite_key.verify(&authority.cluster(), &body.peer, signature).is_err() {
                    return refused("the signature is not the invite's");
                }
            }
        }
        self.write(body.clone().into(), Vec::new())
    }

    pub(super) fn need_member(&self, peer: &PeerId) -> Result<(), Refusal> {
        match self.views.authority().roster().member(peer) {
            Some(_) => Ok(()),
            None => Err(Refusal::NotAMember(peer.to_string())),
        }
    }

    pub(super) fn revoke(&self, body: &PeerRevoked) -> Result<Decision, Refusal> {
        if body.peer != self.peer() {
            self.need_role(Role::Admin)?;
        }
        self.need_member(&body.peer)?;
        self.write(body.clone().into(), Vec::new())
    }

    pub(super) fn label(&self, body: &PeerLabelled) -> Result<Decision, Refusal> {
        self.need_role(Role::Admin)?;
        self.need_member(&body.peer)?;
        self.write(body.clone().into(), Vec::new())
    }

    pub(super) fn describe(&self, body: &PeerDescribed) -> Result<Decision, Refusal> {
        if self.views.peers().described(&self.peer()) == Some(body) {
            return Ok(Decision::AlreadySo);
        }
        self.write(body.clone().into(), Vec::new())
    }
}

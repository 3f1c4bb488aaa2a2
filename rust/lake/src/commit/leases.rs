//! Taking, renewing and giving up a lease: empty appends, because a change of properties alone could not be fenced.

use std::collections::BTreeMap;

use streamify_core::lease::Lease;
use uuid::Uuid;

use super::claim::Claim;
use super::{Commit, CommitError, Committer, keys, now_ms};

impl Committer {
    /// Makes every commit from now on take or renew a lease.
    pub fn set_claim(&mut self, claim: Claim) {
        self.claim = Some(claim);
    }

    /// Takes the claim back, if no lease was taken by it.
    pub fn drop_claim(&mut self) {
        if !self.has_lease() {
            self.claim = None;
        }
    }

    /// Returns the other writer that has the table, by what is known of the table; see [`Committer::refresh`].
    pub fn lease_holder(&self) -> Option<Lease> {
        let leases = keys::leases(&self.table.metadata);
        self.claim.as_ref()?.holder(&leases, now_ms()).cloned()
    }

    /// Returns whether this committer has a lease in the table.
    pub fn has_lease(&self) -> bool {
        self.claim.as_ref().is_some_and(Claim::is_taken)
    }

    /// Takes the lease, or makes it hold longer. Nothing to do without a claim.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub async fn renew_lease(&mut self) -> Result<(), CommitError> {
        let Some(verb) = self.claim.as_ref().map(Claim::verb) else { return Ok(()) };
        let summary = BTreeMap::from([(keys::LEASE.to_owned(), verb.to_owned())]);
        let commit = Commit { commit_id: Uuid::now_v7(), summary, ..Commit::default() };
        self.commit(commit).await.map(|_| ())
    }

    /// Gives the lease up, so that the next writer need not wait. Nothing to do where none was taken.
    ///
    /// # Errors
    /// As [`Committer::commit`]; the lease then runs out by itself.
    pub async fn give_up_lease(&mut self) -> Result<(), CommitError> {
        let Some(claim) = self.claim.as_mut().filter(|claim| claim.is_taken()) else { return Ok(()) };
        claim.end();
        let given_up = self.renew_lease().await;
        self.claim = None;
        given_up
    }
}

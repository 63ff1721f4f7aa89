//! Asking Cloudflare about the token itself. A user's token and an account's
//! are asked about at different places, and each is refused at the other's.

use super::access::Access;
use super::answer::{Fault, Kind};
use super::client::Call;
use super::health::Asked;
use super::tidings::Tidings;
use super::verdict::Verified;
use super::wire;
use crate::config::Zone;
use crate::failover::Urgency;
use futures_util::future::BoxFuture;

/// As many zones are asked for the account that they belong to.
const ASKED_FOR_ACCOUNT: usize = 3;

impl Asked for Access {
    fn verify(&self) -> BoxFuture<'_, Result<Verified, String>> {
        Box::pin(async move {
            let answer = self.verify_token().await;
            answer.map_err(|fault| fault.text)
        })
    }

    fn renew(&self) {
        self.client.renew_token();
    }

    fn tidings(&self) -> &Tidings {
        self.client.tidings()
    }

    fn place(&self) -> String {
        self.client.place()
    }
}

impl Access {
    async fn verify_token(&self) -> Result<Verified, Fault> {
        if self.client.is_account_owned() {
            return self.verify_in_account(Verified::Untold).await;
        }
        let answer = self.verify_at("/user/tokens/verify").await?;
        match answer {
            // So is an account's token whose name does not say what it is.
            Verified::Refused(_) => self.verify_in_account(answer).await,
            Verified::Told(_) | Verified::Untold => Ok(answer),
        }
    }

    /// Asks about it as an account's token; `otherwise`, if no account is known.
    async fn verify_in_account(&self, otherwise: Verified) -> Result<Verified, Fault> {
        let Some(account) = self.account().await? else {
            return Ok(otherwise);
        };
        let answer = self
            .verify_at(&format!("/accounts/{account}/tokens/verify"))
            .await?;
        if let Verified::Refused(_) = answer {
            // It may be another account's: that is looked up anew next time.
            self.set_account(None);
        }
        Ok(answer)
    }

    async fn verify_at(&self, path: &str) -> Result<Verified, Fault> {
        let call = Call::get("verify_token", path.to_owned(), Urgency::Steady).aside();
        match self.client.once(&call).await {
            Ok(body) => Ok(wire::token(&body).map_or(Verified::Untold, Verified::Told)),
            Err(fault) => match fault.kind {
                // 400 is a code of its own here: 1000, "Invalid API Token".
                Kind::Auth(_) | Kind::Refused(400) => Ok(Verified::Refused(fault.text)),
                Kind::Refused(_) => Ok(Verified::Untold),
                _ => Err(fault),
            },
        }
    }

    /// The account of the zones, from the look-up of a zone or from a zone
    /// that is readable.
    async fn account(&self) -> Result<Option<String>, Fault> {
        let known = self.known_account();
        if known.is_some() {
            return Ok(known);
        }
        for zone in self
            .tidings()
            .readable()
            .into_iter()
            .take(ASKED_FOR_ACCOUNT)
        {
            let id = match zone {
                Zone::Id(id) => Some(id),
                Zone::Name(name) => self.cached(&name),
            };
            let Some(id) = id else { continue };
            let call = Call::get("get_zone", format!("/zones/{id}"), Urgency::Steady).aside();
            match self.client.once(&call).await {
                Ok(body) => {
                    let account = wire::zone(&body).ok().and_then(|zone| zone.account());
                    if account.is_some() {
                        self.set_account(account.clone());
                        return Ok(account);
                    }
                }
                // It takes a permission that is needed for nothing else.
                Err(fault) if matches!(fault.kind, Kind::Auth(_) | Kind::Refused(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(None)
    }
}

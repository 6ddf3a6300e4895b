//! What a person is called where the identity number is not: `sub`, and the pseudonym before it. §3.2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Idp;
use super::quirks::SubSalt;
use super::seed::{Client, User};
use crate::secret::Digest;

/// `sub` of this person in the tokens of this client: opaque, and the same each time.
pub fn subject(idp: &Idp, user: &User, client: &Client) -> String {
    let salt = match idp.quirks().sub_salt {
        SubSalt::None => "",
        SubSalt::Owner => client.tenancy.owner(),
        SubSalt::Client => &client.id,
    };
    hash("sub", idp, salt, user)
}

/// `helseid://claims/identity/pid_pseudonym`, which is on its way out.
pub fn pseudonym(idp: &Idp, user: &User, client: &Client) -> String {
    hash("pseudonym", idp, client.tenancy.owner(), user)
}

fn hash(kind: &str, idp: &Idp, salt: &str, user: &User) -> String {
    STANDARD.encode(Digest::of_parts(&[kind.as_bytes(), idp.issuer.as_str().as_bytes(), salt.as_bytes(), user.pid().as_bytes()]).bytes())
}

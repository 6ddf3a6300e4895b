//! The kinds of §7.3, one type for each group.

use serde_json::Value;

/// One fault. What each does is told in `docs/helseid-mock.md`.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    Transport(Transport),
    Discovery(DiscoveryFault),
    Key(KeyFault),
    /// In access tokens, unless the action says `"token": "id_token"`.
    Token(Which, TokenDefect),
    IdToken(IdTokenFault),
    Dpop(DpopFault),
    ClientAuth(ClientAuthFault),
    Refresh(RefreshFault),
    Grant(GrantFault),
    Exchange(ExchangeFault),
    Clock(ClockFault),
    Callback(CallbackFault),
}

/// Before, after or instead of the endpoint; never its business.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// Answered so, and nothing is done.
    Respond(Respond),
    /// Milliseconds later.
    DelayMs(u64),
    /// The body comes byte by byte, so many milliseconds apart.
    Drip(u64),
    /// The connection ends and nothing is done.
    DropBefore,
    /// All is done, and the connection ends without an answer.
    DropAfter,
    /// The connection ends in the middle of the body.
    Truncate,
    /// `text/plain` whatever it is.
    WrongContentType,
    /// 502 and a page of HTML.
    HtmlError,
    /// So many bytes of JSON white space before the body.
    HugeBody(u64),
    /// 302 to another place, and nothing is done.
    Redirect302(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoveryFault {
    IssuerMismatch,
    MissingField(String),
    StringBooleans,
    /// No PAR, and `plain` alone.
    Downgraded,
    HttpEndpoints,
    /// `Cache-Control` and `Age` say that the document is old.
    StaleCache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// Signed by a key that the key set does not hold yet: so many more readings are without it. `None`: one, if the set was never read before,
    /// else none, since who read it has the set of before.
    RotateMidflight(Option<u32>),
    /// Signed by a key that is in `expired_jwks_uri` alone.
    RetiredKey,
    UnknownKid,
    MissingKid,
    /// The `kid` of a published key, signed by another.
    SameKidOtherKey,
    EmptyJwks,
    Jwks503,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    AccessToken,
    IdToken,
}

/// What can be wrong with a signed token.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenDefect {
    Expired,
    NotYetValid,
    WrongIss,
    IssTrailingSlash,
    WrongAud,
    MultiAud,
    MissingAud,
    WrongTyp,
    AlgNone,
    /// HMAC with the public key as the secret.
    AlgHs256,
    BadSignature,
    /// By a key that is published nowhere, under the `kid` of one that is.
    SignedByOtherKey,
    MissingClaim(String),
    Claim(String, Value),
    ScopeAsString,
    PidAsNumber,
    Level3,
    NoHpr,
    /// The identity of another of the users.
    OtherUser,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdTokenFault {
    WrongNonce,
    MissingNonce,
    WrongAzp,
    ExtraAud,
    OldAuthTime,
    OtherSubThanUserinfo,
}

/// When a nonce is asked for besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonces {
    /// Of every request without one, whatever the quirk `dpop_nonce` says.
    Always,
    /// Of this request, whatever nonce it has.
    Once,
    /// Of every request that is met, whatever nonce it has: the loop never ends.
    Loop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DpopFault {
    NonceDemand(Nonces),
    /// The nonce that is handed out is too old already.
    StaleNonce,
    NonceOnSuccessChanges,
    WrongCnf,
    NoCnf,
    /// `token_type` says Bearer though a proof was sent.
    TokenTypeBearer,
    /// `invalid_dpop_proof` with this description.
    ProofRejected(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthFault {
    /// A `jti` is good for once, whatever the quirk says.
    JtiReplayStrict,
    /// The longest life of an assertion, in seconds.
    LifeCapS(u32),
    /// Even legacy clients must send the issuer as `aud`.
    AssertionAudLegacyOff,
    ClientDisabled,
    KeyExpired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshFault {
    ReuseKillsFamily,
    NoNewRt,
    RtExpiresInZero,
    NoIdToken,
    ScopeShrinks,
    WrongSubAfterRefresh,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantFault {
    /// The last API scope that was asked for is not granted and stands in `rejected_scope`.
    RejectedScope,
    /// Refused with this code in the description.
    Hid(HidCode),
    DoubleStructure,
    UnauthorizedClient,
}

/// 1001 to 1010. §2.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HidCode(u16);

impl HidCode {
    pub fn new(code: u16) -> Option<Self> {
        (1001..=1010).contains(&code).then_some(Self(code))
    }

    pub fn number(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for HidCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HID-{}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeFault {
    NotPermitted,
    MaxExchanges,
    AudNotOwned,
    ActMissing,
    ActWrong,
    ClientIdIsSubject,
    AttestNotCopied,
    WithRefreshToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// The server's clock is so many seconds ahead: `iat`, `exp` and so on.
    Server(i64),
    /// The `Date` header is so many seconds ahead.
    Date(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackFault {
    IssMissing,
    IssWrong,
    StateWrong,
    /// The code of the answer has been redeemed already.
    CodeReused,
    ExtraParams,
    ErrorWithCode,
}

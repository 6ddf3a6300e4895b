//! What EHRs, apps, FHIR servers and people do, all the while: whole launches, races on purpose, and things used again that were used before.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ask::{Asker, Flow, Tokens};
use crate::browser::Browser;
use crate::cast::{PEOPLE, REUSE};
use crate::history::{Goal, Op};

/// How many of each are kept to be looked at again.
const KEPT: usize = 200;
/// A code is known this long; one that is shown later was forgotten, and proves nothing.
const CODE_LIVES: Duration = Duration::from_secs(50);
/// Between two requests of a worker: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(10);

/// A grant that is live as far as its app knows.
struct Live {
    flow: Flow,
    tokens: Tokens,
}

/// What was acknowledged, and is looked at again later.
#[derive(Default)]
struct Shelf {
    live: VecDeque<Live>,
    /// Of grants whose end was answered.
    ended: VecDeque<(Flow, String)>,
    spent: VecDeque<(Flow, String, Instant)>,
    /// Browsers of people who agreed.
    agreed: VecDeque<(Flow, Browser)>,
}

pub struct Load {
    pub asker: Asker,
    shelf: Mutex<Shelf>,
    flows: AtomicU64,
    people: AtomicUsize,
    stop: AtomicBool,
    /// How many whole things were done at a node: the probes'.
    pub probed: Vec<AtomicU64>,
}

impl Load {
    pub fn new(asker: Asker) -> Arc<Self> {
        let probed = (0..asker.http.nodes()).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { asker, shelf: Mutex::default(), flows: AtomicU64::new(1), people: AtomicUsize::new(0), stop: AtomicBool::new(false), probed })
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn shelf<T>(&self, look: impl FnOnce(&mut Shelf) -> T) -> T {
        look(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn flow(&self, client: &'static str, patient: bool) -> Flow {
        let number = self.flows.fetch_add(1, Ordering::SeqCst);
        // Everybody's patient is somebody else: a mix-up is seen.
        Flow { number, client, patient: patient.then(|| format!("p{number}")) }
    }

    fn chance(&self, percent: u64) -> bool {
        self.asker.throw(|dice| dice.percent(percent))
    }

    /// Does what workers do until it is stopped.
    pub async fn work(self: Arc<Self>) {
        while self.goes_on() {
            // What came of it is in the history.
            let _done = match self.asker.throw(|dice| dice.below(100)) {
                0..30 => self.launch("kept").await,
                30..62 => self.launch("public").await,
                62..70 => self.agree().await,
                70..80 => self.held().await,
                _ => self.look_again().await,
            };
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whole launches until three in a row went well, for a while at most.
    pub async fn warm_up(&self) {
        let (begun, mut well) = (Instant::now(), 0);
        while well < 3 && begun.elapsed() < Duration::from_secs(20) {
            well = if self.launch("kept").await.is_some() { well + 1 } else { 0 };
        }
    }

    /// What was done so far is not looked at again.
    pub fn forget(&self) {
        self.shelf(|shelf| *shelf = Shelf::default());
    }

    /// One whole launch of either kind, with what follows it, and no pause.
    pub async fn once(&self) {
        let client = if self.chance(50) { "kept" } else { "public" };
        let _done = self.launch(client).await;
    }

    /// From a launch to a code.
    async fn code(&self, flow: &Flow) -> Option<String> {
        let ehr = self.asker.ehr(self.asker.node(), "epj", self.asker.http.issuer()).await?;
        let (launch, start) = self.asker.launch(&ehr, flow).await?;
        let mut browser = Browser::default();
        if !self.asker.start(&mut browser, &start).await {
            return None;
        }
        let more = [("launch", launch.as_str())];
        let code = if self.chance(20) {
            // Two tabs of one browser: one code.
            let mut twin = browser.clone();
            let (one, other) = tokio::join!(
                self.asker.authorize(&mut browser, flow, Op::Authorize, Goal::Either, Some(&launch), &more, &[]),
                self.asker.authorize(&mut twin, flow, Op::Authorize, Goal::Either, Some(&launch), &more, &[])
            );
            one.or(other)?
        } else {
            self.asker.authorize(&mut browser, flow, Op::Authorize, Goal::Served, Some(&launch), &more, &[]).await?
        };
        if self.chance(10) {
            self.asker.authorize(&mut browser, flow, Op::Authorize, Goal::Refused, Some(&launch), &more, &[]).await;
        }
        Some(code)
    }

    async fn launch(&self, client: &'static str) -> Option<()> {
        let asker = &self.asker;
        let flow = self.flow(client, true);
        let code = self.code(&flow).await?;
        let mut tokens = if self.chance(30) {
            let (one, other, third) =
                tokio::join!(asker.redeem(&flow, &code, Goal::Either), asker.redeem(&flow, &code, Goal::Either), asker.redeem(&flow, &code, Goal::Either));
            one.or(other).or(third)?
        } else {
            asker.redeem(&flow, &code, Goal::Served).await?
        };
        self.shelf(|shelf| {
            shelf.spent.push_back((flow.clone(), code, Instant::now()));
            if shelf.spent.len() > KEPT {
                shelf.spent.pop_front();
            }
        });
        asker.introspect(&flow, &tokens.access).await;
        if client == "kept" && self.chance(40) {
            asker.exchange(&flow, &tokens.access).await;
        }
        for _ in 0..asker.throw(|dice| dice.below(4)) {
            tokens = self.refresh(&flow, tokens).await?;
        }
        if self.chance(15) {
            self.end(flow, tokens).await;
            return Some(());
        }
        self.shelf(|shelf| shelf.live.push_back(Live { flow, tokens }));
        let over = self.shelf(|shelf| if shelf.live.len() > KEPT { shelf.live.pop_front() } else { None });
        if let Some(Live { flow, tokens }) = over {
            self.end(flow, tokens).await;
        }
        Some(())
    }

    /// A refresh, by two at once now and then. An answer that is lost is asked for again while the token may come back.
    async fn refresh(&self, flow: &Flow, tokens: Tokens) -> Option<Tokens> {
        let asker = &self.asker;
        let token = tokens.refresh?;
        if flow.client == "public" && self.chance(25) {
            let (one, other) = tokio::join!(
                asker.refresh(flow, &token, Goal::Either, Op::Refresh, asker.node()),
                asker.refresh(flow, &token, Goal::Either, Op::Refresh, asker.node())
            );
            return one.or(other);
        }
        let begun = Instant::now();
        for attempt in 0..4 {
            if attempt > 0 && (begun.elapsed() > REUSE / 2 || !self.goes_on()) {
                return None;
            }
            if let Some(next) = asker.refresh(flow, &token, Goal::Served, Op::Refresh, asker.node()).await {
                return Some(next);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        None
    }

    /// Ends a grant, and looks that it ended.
    async fn end(&self, flow: Flow, tokens: Tokens) {
        let asker = &self.asker;
        let Some(refresh) = tokens.refresh else { return };
        if asker.revoke(&flow, &refresh).await {
            asker.introspect(&flow, &tokens.access).await;
            asker.refresh(&flow, &refresh, Goal::Refused, Op::Refresh, asker.node()).await;
            self.shelf(|shelf| {
                shelf.ended.push_back((flow, tokens.access));
                if shelf.ended.len() > KEPT {
                    shelf.ended.pop_front();
                }
            });
        }
    }

    /// Somebody logs in by name and agrees; once for each.
    async fn agree(&self) -> Option<()> {
        let person = self.people.fetch_add(1, Ordering::SeqCst);
        if person >= PEOPLE {
            return None;
        }
        let (flow, user) = (self.flow("asking", false), format!("Practitioner/lege-{person}"));
        let mut browser = Browser::default();
        let code = self.asker.authorize(&mut browser, &flow, Op::Authorize, Goal::Served, None, &[("login_hint", &user)], &[("user", &user)]).await?;
        self.shelf(|shelf| shelf.agreed.push_back((flow.clone(), browser)));
        self.asker.redeem(&flow, &code, Goal::Served).await.map(drop)
    }

    /// A launch whose app cannot do without a login at the identity provider, and the exchange there that follows.
    async fn held(&self) -> Option<()> {
        let asker = &self.asker;
        let flow = self.flow("held", false);
        let ehr = asker.ehr(asker.node(), "held-epj", &asker.http.held()).await?;
        let (launch, start) = asker.launch(&ehr, &flow).await?;
        let mut browser = Browser::default();
        if !asker.start(&mut browser, &start).await {
            return None;
        }
        let code = asker.authorize(&mut browser, &flow, Op::Helseid, Goal::Served, None, &[("launch", &launch)], &[]).await?;
        asker.redeem_held(&flow, &code).await
    }

    /// Something that was acknowledged before: is it still so?
    async fn look_again(&self) -> Option<()> {
        let asker = &self.asker;
        match asker.throw(|dice| dice.below(10)) {
            0..4 => {
                if let Some(Live { flow, tokens }) = self.shelf(|shelf| shelf.live.pop_front()) {
                    self.look_at(flow, tokens).await;
                }
            }
            4..6 => {
                if let Some((flow, access)) = self.shelf(|shelf| shelf.ended.pop_front()) {
                    asker.introspect(&flow, &access).await;
                    self.shelf(|shelf| shelf.ended.push_back((flow, access)));
                }
            }
            6..8 => {
                let spent = self.shelf(|shelf| shelf.spent.pop_front()).filter(|(.., at)| at.elapsed() < CODE_LIVES);
                if let Some((flow, code, at)) = spent {
                    asker.redeem(&flow, &code, Goal::Refused).await;
                    self.shelf(|shelf| shelf.spent.push_back((flow, code, at)));
                }
            }
            _ => {
                if let Some((flow, mut browser)) = self.shelf(|shelf| shelf.agreed.pop_front()) {
                    let again = Flow { number: self.flows.fetch_add(1, Ordering::SeqCst), ..flow };
                    asker.authorize(&mut browser, &again, Op::Silent, Goal::Served, None, &[("prompt", "none")], &[]).await;
                    self.shelf(|shelf| shelf.agreed.push_back((again, browser)));
                }
            }
        }
        None
    }

    /// A live grant: refreshed and kept, or its old refresh token shown after the grace, which ends it.
    async fn look_at(&self, flow: Flow, tokens: Tokens) {
        let Some(next) = self.refresh(&flow, tokens.clone()).await else { return };
        let asker = &self.asker;
        asker.introspect(&flow, &next.access).await;
        if flow.client == "public" && self.chance(8) && self.goes_on() {
            tokio::time::sleep(REUSE + Duration::from_millis(3200)).await;
            if let Some(old) = tokens.refresh {
                asker.refresh(&flow, &old, Goal::Refused, Op::Refresh, asker.node()).await;
            }
            return;
        }
        self.shelf(|shelf| shelf.live.push_back(Live { flow, tokens: next }));
    }

    /// Everything on the shelf once more, when nothing is broken any more.
    pub async fn audit(&self) {
        let asker = &self.asker;
        let all = self.shelf(std::mem::take);
        for Live { flow, tokens } in all.live {
            if let Some(refresh) = &tokens.refresh {
                asker.refresh(&flow, refresh, Goal::Served, Op::Refresh, asker.node()).await;
            }
        }
        for (flow, access) in all.ended {
            asker.introspect(&flow, &access).await;
        }
        for (flow, code, _) in all.spent.into_iter().filter(|(.., at)| at.elapsed() < CODE_LIVES) {
            asker.redeem(&flow, &code, Goal::Refused).await;
        }
        for (flow, mut browser) in all.agreed.into_iter().take(KEPT) {
            let again = Flow { number: self.flows.fetch_add(1, Ordering::SeqCst), ..flow };
            asker.authorize(&mut browser, &again, Op::Silent, Goal::Served, None, &[("prompt", "none")], &[]).await;
        }
    }

    /// Asks one node again and again whether it serves: a rotation, so a read and a write that must last.
    pub async fn probe(self: Arc<Self>, node: usize) {
        let mut held: Option<(Flow, String, Instant)> = None;
        while self.goes_on() {
            if let Some((flow, token, since)) = held.take() {
                if let Some(refresh) = self.asker.refresh(&flow, &token, Goal::Served, Op::Probe, node).await.and_then(|next| next.refresh) {
                    if let Some(probed) = self.probed.get(node) {
                        probed.fetch_add(1, Ordering::SeqCst);
                    }
                    held = Some((flow, refresh, Instant::now()));
                } else if since.elapsed() < REUSE / 2 {
                    held = Some((flow, token, since));
                }
            } else {
                let flow = self.flow("public", true);
                if let Some(code) = self.code(&flow).await {
                    held = self.asker.redeem(&flow, &code, Goal::Served).await.and_then(|tokens| Some((flow, tokens.refresh?, Instant::now())));
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

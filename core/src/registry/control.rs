//! What an administrator does to a source: pause, resume, kill, reconnect, and whether it takes new clients.
//!
//! Invariants: every change applies to all pools of the source, those that are retired included, and to the claims on its
//! pause under the same lock; whoever takes back a pause resumes nothing that somebody else was told is paused, waits
//! for, or has paused since.

use std::sync::{Arc, Weak};

use super::{Admission, Course, Flow, Source};
use crate::{
    backend::Backend,
    pool::{Pool, Rest},
};

/// A pause that its owner may still take back: end it with [`Source::settle`] or [`Source::take_back`], once.
#[derive(Debug)]
pub struct Claim {
    epoch: u64,
}

/// Who would miss the pause of a source. Without meaning while it runs.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Counts the pauses that have ended: claims on those are void.
    epoch: u64,
    /// Who waits for it to come to rest.
    open: u32,
    /// Whether it stays when all of those have left: it was ordered, or somebody was told that it is reached.
    is_firm: bool,
}

impl<B: Backend> Source<B> {
    /// No transaction begins until [`Source::resume`]: clients wait. What came of it before.
    pub fn pause(&self) -> Flow {
        self.firmly(|pool| pool.pause())
    }

    /// The same for whoever may think better of it.
    pub fn pause_revocably(&self) -> (Flow, Claim) {
        let mut course = self.course.lock();
        let before = self.flow(&mut course, Flow::Paused, |pool| pool.pause());
        course.claims.open += 1;
        let claim = Claim {
            epoch: course.claims.epoch,
        };
        (before, claim)
    }

    /// The pause stays until [`Source::resume`]: somebody is told that it is reached.
    pub fn settle(&self, claim: Claim) {
        let claims = &mut self.course.lock().claims;
        if claims.epoch == claim.epoch {
            claims.open -= 1;
            claims.is_firm = true;
        }
    }

    /// Gives up a pause. The source is resumed if nobody else has paused it meanwhile or waits for it: whether it was.
    pub fn take_back(&self, claim: Claim) -> bool {
        let mut course = self.course.lock();
        if course.claims.epoch != claim.epoch {
            return false;
        }
        course.claims.open -= 1;
        let is_over = course.claims.open == 0 && !course.claims.is_firm;
        if is_over {
            self.flow(&mut course, Flow::Running, |pool| pool.resume());
        }
        is_over
    }

    /// As [`Source::pause`]; whoever calls this ends the clients too. What they leave behind is given up rather than
    /// brought to rest.
    pub fn kill(&self) -> Flow {
        self.firmly(|pool| pool.kill())
    }

    /// Serves again.
    pub fn resume(&self) -> Flow {
        self.flow(&mut self.course.lock(), Flow::Running, |pool| pool.resume())
    }

    fn firmly(&self, change: impl Fn(&Pool<B>)) -> Flow {
        let mut course = self.course.lock();
        let before = self.flow(&mut course, Flow::Paused, change);
        course.claims.is_firm = true;
        before
    }

    fn flow(&self, course: &mut Course<B>, flow: Flow, change: impl Fn(&Pool<B>)) -> Flow {
        self.all_pools(course).iter().for_each(|pool| change(pool));
        if flow == Flow::Running {
            course.claims = Claims {
                epoch: course.claims.epoch + 1,
                ..Claims::default()
            };
        }
        std::mem::replace(&mut course.flow, flow)
    }

    /// Whether its clients get server connections.
    pub fn is_paused(&self) -> bool {
        self.course.lock().flow == Flow::Paused
    }

    /// Closes every server connection when it comes to rest; new ones are opened as they are needed.
    pub fn reconnect(&self) {
        let course = self.course.lock();
        self.all_pools(&course).iter().for_each(|pool| pool.reconnect());
    }

    /// Resolves when the source, which is paused, has no server connection left, or is resumed before.
    pub async fn at_rest(&self) -> Rest {
        let pools = self.all_pools(&self.course.lock());
        for pool in pools {
            if pool.at_rest().await == Rest::Resumed {
                return Rest::Resumed;
            }
        }
        Rest::Reached
    }

    /// Resolves when no server connection is left from before the last [`Source::reconnect`] or from before what is
    /// declared of it was exchanged.
    pub async fn renewed(&self) {
        let pools = self.all_pools(&self.course.lock());
        for pool in pools {
            pool.renewed().await;
        }
    }

    /// Pools that nothing declares any more and that still have server connections.
    pub fn retired(&self) -> Vec<Arc<Pool<B>>> {
        let retired: Vec<_> = self.course.lock().retired.iter().filter_map(Weak::upgrade).collect();
        let has_any = |pool: &Arc<Pool<B>>| pool.stats().total() > 0;
        retired.into_iter().filter(has_any).collect()
    }

    /// Whether it takes new clients from now on; those that are there stay.
    pub fn set_admission(&self, admission: Admission) {
        self.course.lock().admission = admission;
    }

    /// Whether it takes new clients.
    pub fn admission(&self) -> Admission {
        self.course.lock().admission
    }

    fn all_pools(&self, course: &Course<B>) -> Vec<Arc<Pool<B>>> {
        let retired = course.retired.iter().filter_map(Weak::upgrade);
        self.parts().pools().cloned().chain(retired).collect()
    }
}

//! Placeholder: the pool's interface; see the pool engine.
use crate::{
    backend::{Backend, ResetDepth},
    refusal::Refusal,
    settings::PoolSettings,
};
use std::{marker::PhantomData, sync::Arc};
#[allow(missing_docs)]
pub struct Pool<B: Backend>(PhantomData<B>);
#[allow(missing_docs)]
pub struct Lease<B: Backend> {
    pub io: B::ServerIo,
    pub session: B::Session,
    pub cancel_key: Option<B::CancelKey>,
}
#[allow(missing_docs, clippy::todo)]
impl<B: Backend> Pool<B> {
    pub fn is_up(&self) -> bool {
        true
    }
    pub fn load(&self) -> f64 {
        0.0
    }
    pub fn backend(&self) -> &Arc<B> {
        todo!()
    }
    pub fn settings(&self) -> Arc<PoolSettings> {
        todo!()
    }
    pub fn try_acquire(self: &Arc<Self>, _profile: &B::Profile) -> Option<Lease<B>> {
        todo!()
    }
    pub fn acquire(
        self: &Arc<Self>,
        _profile: B::Profile,
        _pool_timeout: Option<std::time::Duration>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Lease<B>, Refusal>> + Send>> {
        todo!()
    }
}
#[allow(missing_docs, clippy::todo)]
impl<B: Backend> Lease<B> {
    pub fn discard(self, _why: &'static str) {}
    pub fn finish(self) {
        let _ = ResetDepth::Nothing;
        todo!()
    }
}

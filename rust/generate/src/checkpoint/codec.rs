//! Listeners and steps as bytes: little-endian, fixed length, in the order of their fields.

use crate::{
    catalogue::Identity,
    population::Listener,
    rng::Rng,
    session::{Session, SessionParts},
    step::{SessionRef, Step},
};

/// Bytes of a listener.
pub(super) const LISTENER_BYTES: usize = 124;
/// Bytes of a step.
pub(super) const STEP_BYTES: usize = 56;
/// Stands for no song and no page.
const NONE: u32 = u32::MAX;

/// Appends numbers to bytes.
struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn i64(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn option(&mut self, number: Option<u32>) {
        self.u32(number.unwrap_or(NONE));
    }

    fn identity(&mut self, identity: Identity) {
        let Identity { place, agent, first_name, last_name } = identity;
        [place, agent, first_name, last_name].into_iter().for_each(|number| self.u32(number));
    }
}

/// Takes numbers off bytes; `None` at their end.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*number)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn option(&mut self) -> Option<Option<u32>> {
        self.u32().map(|number| (number != NONE).then_some(number))
    }

    fn identity(&mut self) -> Option<Identity> {
        Some(Identity {
            place: self.u32()?,
            agent: self.u32()?,
            first_name: self.u32()?,
            last_name: self.u32()?,
        })
    }
}

/// Appends a listener.
pub(super) fn write_listener(listener: &Listener, out: &mut Vec<u8>) {
    let Listener { rng, index, identity, alpha, beta, registration, leaves_at, session, session_ref } =
        listener;
    let mut writer = Writer(out);
    rng.state().into_iter().for_each(|word| writer.u64(word));
    writer.u32(*index);
    writer.identity(*identity);
    writer.u64(alpha.to_bits());
    writer.u64(beta.to_bits());
    writer.i64(*registration);
    writer.i64(*leaves_at);
    let SessionParts { time, song_end, item, song, state, previous } = session.parts();
    writer.i64(time);
    writer.i64(song_end);
    writer.u32(item);
    writer.option(song);
    writer.u32(state.into());
    writer.option(previous.map(u32::from));
    writer.u64(session_ref.get());
}

/// Returns the listener in some bytes; `None` if there are too few or they are none.
pub(super) fn read_listener(bytes: &[u8]) -> Option<Listener> {
    let mut reader = Reader(bytes);
    let reader = &mut reader;
    let state = [reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?];
    Some(Listener {
        rng: Rng::from_state(state),
        index: reader.u32()?,
        identity: reader.identity()?,
        alpha: f64::from_bits(reader.u64()?),
        beta: f64::from_bits(reader.u64()?),
        registration: reader.i64()?,
        leaves_at: reader.i64()?,
        session: Session::from_parts(SessionParts {
            time: reader.i64()?,
            song_end: reader.i64()?,
            item: reader.u32()?,
            song: reader.option()?,
            state: reader.u32()?.try_into().ok()?,
            previous: reader.option()?.map(TryInto::try_into).transpose().ok()?,
        }),
        session_ref: SessionRef::number(reader.u64()?),
    })
}

/// Appends a step.
pub(super) fn write_step(step: &Step, out: &mut Vec<u8>) {
    let Step { time, registration, session, listener, item, song, identity, state, .. } = step;
    let mut writer = Writer(out);
    writer.i64(*time);
    writer.i64(*registration);
    writer.u64(session.get());
    writer.u32(*listener);
    writer.u32(*item);
    writer.option(*song);
    writer.identity(*identity);
    let flags = u32::from(step.follows_login) | u32::from(step.begins_session) << 1;
    writer.u32(u32::from(*state) | flags << 16);
}

/// Returns the step in some bytes; `None` if there are too few.
pub(super) fn read_step(bytes: &[u8]) -> Option<Step> {
    let mut reader = Reader(bytes);
    let reader = &mut reader;
    let (time, registration, session) = (reader.i64()?, reader.i64()?, reader.u64()?);
    let (listener, item, song, identity) =
        (reader.u32()?, reader.u32()?, reader.option()?, reader.identity()?);
    let last = reader.u32()?;
    Some(Step {
        time,
        registration,
        session: SessionRef::number(session),
        listener,
        item,
        song,
        identity,
        state: (last & 0xffff) as u16,
        follows_login: last >> 16 & 1 != 0,
        begins_session: last >> 17 & 1 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Model, profile::Profile, simulation::Settings};

    #[test]
    fn listeners_and_steps_survive_the_way_to_bytes_and_back() {
        let model = Model::new(Settings {
            profile: Profile::builtin("example").unwrap(),
            seed: 1,
            num_users: 500,
            first_user_id: 1,
            start_ms: 1_771_804_800_000,
            end_ms: 1_771_904_800_000,
            tag: None,
        });

        for index in 0..500 {
            let Some(mut listener) = Listener::initial(&model, index) else { continue };
            listener.session_ref = SessionRef::number(u64::from(index));
            let (step, mut bytes) = (listener.step(&model, index % 2 == 0), Vec::new());
            write_listener(&listener, &mut bytes);
            assert_eq!(bytes.len(), LISTENER_BYTES);
            assert_eq!(read_listener(&bytes), Some(listener));
            assert_eq!(read_listener(&bytes[1..]), None);
            bytes.clear();
            write_step(&step, &mut bytes);
            assert_eq!(bytes.len(), STEP_BYTES);
            assert_eq!(read_step(&bytes), Some(step));
        }
    }
}

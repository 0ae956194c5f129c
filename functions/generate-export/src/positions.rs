//! Sort keys as places on a line, so that a range of keys can be cut where no key is known yet.

use exports_domain::ports::RowKey;
use exports_domain::time::Timestamp;

/// Which characters ids are made of, each set with its characters in order, from the narrowest to the widest.
const ALPHABETS: [&[u8]; 4] = [
    b"0123456789",
    b"0123456789abcdef",
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
];

/// How many places there may be within a millisecond: with the milliseconds of 9,999 years they fill a position.
const MAX_PLACES: u128 = 1 << 79;

/// How many digits of the common prefix are kept variable, because consecutive ids differ there next: after `po_0990` to
/// `po_0999`, with the common prefix `po_099`, comes `po_1000`. So only `po_` is the prefix.
const HEADROOM: usize = 3;

/// Turns keys into positions and back. A position is the time of creation in milliseconds and, within one millisecond,
/// the first characters in which ids differ, as a number. So rows that were all created at once have different positions.
///
/// Positions are estimates: they rise with the keys, but different keys may share one.
#[derive(Clone, Debug)]
pub struct Positions {
    /// The common prefix of all ids that were seen.
    prefix: String,
    /// The index in [`ALPHABETS`] of the alphabet of their next characters.
    alphabet: usize,
}

impl Positions {
    /// For ids like those of these two rows.
    #[must_use]
    pub fn like(a: &RowKey, b: &RowKey) -> Self {
        let id = id_of(a);
        let mut positions = Self { prefix: id.to_owned(), alphabet: 0 };
        positions.widen(b);
        let rest = id.get(positions.prefix.len()..).unwrap_or_default();
        positions.alphabet = positions.alphabet.max(alphabet_of(rest));
        positions
    }

    /// Takes the id of `key` into account, too. Returns whether that changed all positions: the common prefix is shorter,
    /// or the alphabet wider.
    pub fn widen(&mut self, key: &RowKey) -> bool {
        let id = id_of(key);
        let common = self.prefix.chars().zip(id.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        let alphabet = self.alphabet.max(alphabet_of(id.get(common..).unwrap_or_default()));
        let is_other = common < self.prefix.len() || alphabet > self.alphabet;
        if is_other {
            self.prefix.truncate(common);
            let word = self.prefix.bytes().rev().take_while(u8::is_ascii_alphanumeric).count();
            self.prefix.truncate(common - word.min(HEADROOM));
        }
        self.alphabet = alphabet;
        is_other
    }

    /// Where a key is; `None` if it does not begin with a time.
    #[must_use]
    pub fn of(&self, key: &RowKey) -> Option<u128> {
        let time = key.0.get(..TIME)?;
        let millis = u128::try_from(time.parse::<Timestamp>().ok()?.millis()).ok()?;
        let id = id_of(key);
        let place = match id.strip_prefix(&self.prefix) {
            Some(rest) => self.place(rest),
            None if *id < *self.prefix => 0,
            None => self.places() - 1,
        };
        Some(millis * self.places() + place)
    }

    /// A key at this position, or a little below it.
    #[must_use]
    pub fn key_at(&self, position: u128) -> RowKey {
        let time = Timestamp::from_millis(i64::try_from(position / self.places()).unwrap_or(i64::MAX));
        let mut key = format!("{time}#{}", self.prefix);
        let mut place = position % self.places();
        let mut unit = self.first_unit();
        while unit > 0 {
            let digit = usize::try_from(place / unit).unwrap_or(usize::MAX);
            key.push(char::from(self.alphabet().get(digit).copied().unwrap_or(u8::MAX >> 1)));
            place %= unit;
            unit /= self.base();
        }
        RowKey(key)
    }

    fn alphabet(&self) -> &'static [u8] {
        ALPHABETS.get(self.alphabet).copied().unwrap_or_default()
    }

    fn base(&self) -> u128 {
        self.alphabet().len() as u128
    }

    /// How many places there are within a millisecond.
    fn places(&self) -> u128 {
        self.first_unit() * self.base()
    }

    /// The place value of the first character. With places for four decimal digits it is 1000, and `po_0990` after the
    /// prefix `po_` has the place 0·1000 + 9·100 + 9·10 + 0 = 990.
    fn first_unit(&self) -> u128 {
        let mut unit = 1;
        while unit * self.base() * self.base() <= MAX_PLACES {
            unit *= self.base();
        }
        unit
    }

    /// The beginning of an id as a number. A character outside the alphabet ends it, between its neighbours.
    fn place(&self, id: &str) -> u128 {
        let (mut place, mut unit) = (0, self.first_unit());
        for byte in id.bytes() {
            match self.alphabet().binary_search(&byte) {
                Ok(digit) => place += digit as u128 * unit,
                Err(digit) if digit < self.alphabet().len() => return place + digit as u128 * unit,
                Err(_) => return place + unit * self.base() - 1,
            }
            unit /= self.base();
            if unit == 0 {
                break;
            }
        }
        place
    }
}

/// How long the time at the beginning of a key is.
const TIME: usize = 24;

/// The id in `<createdAt>#<id>`; a bare time has none, and is the beginning of its millisecond.
fn id_of(key: &RowKey) -> &str {
    key.0.get(TIME + 1..).unwrap_or_default()
}

/// The narrowest alphabet of an id's characters after the prefix, up to the first separator.
fn alphabet_of(rest: &str) -> usize {
    let word: Vec<u8> = rest.bytes().take_while(u8::is_ascii_alphanumeric).collect();
    let widest = ALPHABETS.len() - 1;
    ALPHABETS.iter().position(|alphabet| word.iter().all(|byte| alphabet.contains(byte))).unwrap_or(widest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: &str) -> RowKey {
        RowKey(format!("2026-10-08T08:30:00.000Z#{id}"))
    }

    #[test]
    fn positions_lie_between_the_payouts_of_one_millisecond() {
        for (low, high) in [("payout_0017", "payout_0093"), ("po_1a9f-7", "po_f001-3"), ("Zz9", "aA0"), ("", "1")] {
            let (low, high) = (key(low), key(high));
            let positions = Positions::like(&low, &high);
            let (at_low, at_high) = (positions.of(&low).unwrap(), positions.of(&high).unwrap());
            let middle = positions.key_at(at_low + (at_high - at_low) / 2);
            assert!(low < middle && middle < high, "{middle:?}");
        }
    }

    #[test]
    fn numbers_in_a_row_are_equally_far_apart_in_each_alphabet() {
        for last in ["9", "f", "Z", "z"] {
            let positions = Positions::like(&key("po_0000"), &key(&format!("po_{}", last.repeat(4))));
            let at = |id: &str| positions.of(&key(id)).unwrap();
            let before = at(&format!("po_00{last}{last}"));
            assert_eq!(at("po_0100") - before, at("po_0051") - at("po_0050"), "{last}");
        }
    }

    #[test]
    fn ids_beyond_those_seen_first_get_their_places_once_seen() {
        let mut positions = Positions::like(&key("po_000000"), &key("po_000009"));
        assert!(positions.of(&key("po_000100")) < positions.of(&key("po_000200")));
        assert_eq!(positions.of(&key("po_010000")), positions.of(&key("po_020000")));
        assert!(positions.widen(&key("po_010000")));
        assert!(positions.of(&key("po_010000")) < positions.of(&key("po_020000")));
        assert!(!positions.widen(&key("po_030000")));
    }

    #[test]
    fn ids_without_the_common_prefix_are_before_or_after_all_others() {
        let positions = Positions::like(&key("po_0000"), &key("po_0009"));
        assert!(positions.of(&key("a")) <= positions.of(&key("po_0000")));
        assert!(positions.of(&key("po_9999")) < positions.of(&key("z")));
        let next = RowKey("2026-10-08T08:30:00.001Z#".into());
        assert!(positions.of(&key("z")) < positions.of(&next));
    }

    #[test]
    fn key_of_another_form_has_no_position() {
        let positions = Positions::like(&key("x"), &key("y"));
        assert_eq!(positions.of(&RowKey("x".into())), None);
        assert_eq!(positions.of(&RowKey("2026-10-08#po".into())), None);
    }

    proptest! {
        #[test]
        fn positions_rise_with_the_keys(
            a in (0_i64..253_402_207_200_000, "[a-f0-9]{0,9}\\PC{0,20}"),
            b in (0_i64..253_402_207_200_000, "[a-f0-9]{0,9}\\PC{0,20}"),
            same: bool,
        ) {
            let key = |millis, id: &str| RowKey(format!("{}#{id}", Timestamp::from_millis(millis)));
            let (a, b) = (key(a.0, &a.1), key(if same { a.0 } else { b.0 }, &b.1));
            let (low, high) = if a <= b { (&a, &b) } else { (&b, &a) };
            for positions in [Positions::like(&a, &b), Positions::like(&a, &a)] {
                prop_assert!(positions.of(low).unwrap() <= positions.of(high).unwrap());
                let at = positions.of(&a).unwrap();
                let back = positions.of(&positions.key_at(at)).unwrap();
                prop_assert!(back <= at && at - back < positions.places());
            }
        }
    }
}

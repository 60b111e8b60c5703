//! A table whose rows have two halves, which lie side by side and are borrowed apart.
//!
//! Decides: nothing. What is needed together, one half to be changed and the other to be read for longer, takes one look-up
//! and one entry of the address cache. Never: moves a row, as long as there are no more of them than there was to be room for.

use crate::room::with_room;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

#[derive(Debug)]
#[repr(C)]
struct Row<A, B> {
    first: A,
    second: B,
}

#[derive(Debug)]
pub struct Pairs<A, B> {
    rows: Vec<Row<A, B>>,
}

impl<A, B> Pairs<A, B> {
    /// Empty, with room for so many rows.
    pub fn new(rows: usize) -> Self {
        Self { rows: with_room(rows) }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn push(&mut self, first: A, second: B) {
        self.rows.push(Row { first, second });
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<(&A, &B)> {
        self.rows.get(at).map(|Row { first, second }| (first, second))
    }

    #[inline]
    pub fn get_mut(&mut self, at: usize) -> Option<(&mut A, &mut B)> {
        self.rows.get_mut(at).map(|Row { first, second }| (first, second))
    }

    /// For who keeps the second halves of many rows while the first ones change.
    #[inline]
    pub fn apart(&mut self) -> Apart<'_, A, B> {
        let len = self.rows.len();
        // A vector's pointer is never null.
        let rows = NonNull::new(self.rows.as_mut_ptr()).unwrap_or(NonNull::dangling());
        Apart { rows, len, table: PhantomData }
    }
}

/// All rows of a table: first halves one at a time, second ones as long as the table is borrowed.
pub struct Apart<'a, A, B> {
    rows: NonNull<Row<A, B>>,
    len: usize,
    table: PhantomData<(&'a mut A, &'a B)>,
}

impl<'a, A, B> Apart<'a, A, B> {
    #[inline(always)]
    pub fn get_mut(&mut self, at: usize) -> Option<(&mut A, &'a B)> {
        if at >= self.len {
            return None;
        }
        // SAFETY: the row is one of the table's, which is borrowed mutably for 'a, so that nobody else reaches its rows or
        // moves them. No reference to a whole row is made: of first halves there is one reference at a time, since it borrows
        // `self`, and second halves are never changed through here.
        unsafe {
            let row = self.rows.add(at).as_ptr();
            Some((&mut (*row).first, &(*row).second))
        }
    }

    #[inline(always)]
    pub fn get(&self, at: usize) -> Option<(&A, &'a B)> {
        if at >= self.len {
            return None;
        }
        // SAFETY: as in `get_mut`; while `self` is borrowed for the first half, none can be changed.
        unsafe {
            let row = self.rows.add(at).as_ptr();
            Some((&(*row).first, &(*row).second))
        }
    }
}

impl<A, B> fmt::Debug for Apart<'_, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apart({} rows)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Second halves are kept while every first one changes, and rows stay where they are.
    #[test]
    fn halves_are_borrowed_apart() {
        let mut table = Pairs::new(100);
        for n in 0..100u64 {
            table.push([n; 16], Box::new(n));
        }
        let mut apart = table.apart();
        let mut kept = vec![];
        for round in 1..=3 {
            for n in 0..100 {
                let (first, second) = apart.get_mut(n).unwrap();
                first[15] += round;
                kept.push(second);
            }
        }
        assert!(apart.get_mut(100).is_none() && apart.get(100).is_none() && apart.get(usize::MAX).is_none());
        assert!(kept.iter().enumerate().all(|(n, second)| ***second == n as u64 % 100));
        for n in 0..100u8 {
            let (first, second) = table.get(n.into()).unwrap();
            assert_eq!((first[0], first[15], **second), (n.into(), u64::from(n) + 6, n.into()));
        }
    }

    /// What a row held is dropped once, when it is replaced or with the table.
    #[test]
    fn rows_are_dropped_once() {
        use std::rc::Rc;
        let alive = Rc::new(());
        let mut table = Pairs::new(3);
        for n in 0..3 {
            table.push(n, Some(alive.clone()));
        }
        let _ = table.apart().get_mut(0);
        *table.get_mut(1).unwrap().1 = None;
        assert_eq!(Rc::strong_count(&alive), 3);
        drop(table);
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}

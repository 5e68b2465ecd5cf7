//! Choices, made by a fuzzer's bytes: a byte each; where they end, the first of what there is.

pub struct Bytes<'a> {
    data: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub fn new(data: &'a [u8]) -> Bytes<'a> {
        Bytes { data }
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.data.split_first() else { return 0 };
        self.data = rest;
        usize::from(*first)
    }

    /// From 0 to below the limit, which is 256 at most.
    pub fn below(&mut self, limit: usize) -> usize {
        self.next() % limit
    }

    /// In one of so many cases.
    pub fn rarely(&mut self, of: usize) -> bool {
        self.below(of) == of - 1
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.next() as u8, self.next() as u8])
    }

    /// So many bytes, or those that are left.
    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.data.split_at(most.min(self.data.len()));
        self.data = rest;
        taken
    }

    /// The bytes that are left.
    pub fn rest(self) -> &'a [u8] {
        self.data
    }
}

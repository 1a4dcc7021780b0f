//! redb alone, as the log uses it: quick repair, 64 MiB of cache, one table of bytes by number. The floor under every commit.

use std::path::Path;

use redb::{Database, ReadableDatabase, TableDefinition};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("frames");

/// A database of numbered values.
pub struct Bare {
    database: Database,
    next: u64,
}

impl Bare {
    /// Creates the file.
    pub fn create(path: &Path) -> Self {
        let database = redb::Builder::new()
            .set_cache_size(64 * 1024 * 1024)
            .create(path)
            .expect("the directory is writable");
        Self { database, next: 0 }
    }

    /// Commits these values in one transaction.
    pub fn commit<'a>(&mut self, values: impl IntoIterator<Item = &'a [u8]>) {
        let mut transaction = self.database.begin_write().expect("no other writer");
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(TABLE).expect("the table is its only one");
            for value in values {
                table.insert(self.next, value).expect("there is room");
                self.next += 1;
            }
        }
        transaction.commit().expect("the disk works");
    }

    /// Hands every value to a function, in order.
    pub fn scan(&self, mut each: impl FnMut(&[u8])) {
        let transaction = self.database.begin_read().expect("the file is sound");
        let table = transaction.open_table(TABLE).expect("something was committed");
        for item in table.range(0..).expect("the file is sound") {
            let (_, value) = item.expect("the file is sound");
            each(value.value());
        }
    }
}

//! Rows as values of PostgreSQL's composite types `lock_row`, `waiter_row` and `permit_row`, which a migration makes.
//!
//! A record names its columns by nothing but their order and their types: both have to be those of the type.

use sea_orm::sqlx::{
    Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, types::PgRecordEncoder},
};

use super::super::{
    Write,
    cells::{Cell, lock_cells, permit_cells, waiter_cells},
    rows::LockRow,
};
use crate::domain::{Permit, Waiter};

/// A row of `locks`.
pub(super) struct LockRecord<'a>(pub(super) &'a LockRow<'a>);

/// A waiter that comes or changes, or that goes, and the write that brings it.
pub(super) struct WaiterRecord<'a> {
    write: &'a Write,
    change: Change<'a>,
}

enum Change<'a> {
    Active(&'a Waiter),
    /// Only its place in the order is named.
    Gone(i64),
}

/// A permit that comes or changes, and the write that brings it.
pub(super) struct PermitRecord<'a> {
    pub(super) write: &'a Write,
    pub(super) permit: &'a Permit,
}

impl<'a> WaiterRecord<'a> {
    pub(super) const fn active(write: &'a Write, waiter: &'a Waiter) -> Self {
        Self { write, change: Change::Active(waiter) }
    }

    pub(super) const fn gone(write: &'a Write, seq: i64) -> Self {
        Self { write, change: Change::Gone(seq) }
    }
}

/// What goes into a record.
trait Record {
    /// The type's name.
    const TYPE: &'static str;

    /// Puts all columns in their order.
    fn put(&self, columns: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError>;
}

impl Record for LockRecord<'_> {
    const TYPE: &'static str = "lock_row";

    fn put(&self, columns: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        put_all(columns, lock_cells(self.0))
    }
}

impl Record for WaiterRecord<'_> {
    const TYPE: &'static str = "waiter_row";

    fn put(&self, columns: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let id = &self.write.change.id;
        match self.change {
            Change::Active(waiter) => put_all(columns, waiter_cells(id, waiter))?,
            Change::Gone(seq) => {
                let (text, flag, big) = (Cell::Text(None), Cell::Flag(false), Cell::Big(None));
                let key = [id.tenant.as_str(), id.key.as_str()].map(|text| Cell::Text(Some(text)));
                put_all(columns, key)?;
                put_all(
                    columns,
                    [Cell::Big(Some(seq)), Cell::Uuid(None), flag, text, big, text, flag, flag],
                )?;
                put_all(columns, [Cell::Uuid(None), big, big, big])?;
            }
        }
        put_all(columns, [Cell::Uuid(Some(self.write.row_version.0))])
    }
}

impl Record for PermitRecord<'_> {
    const TYPE: &'static str = "permit_row";

    fn put(&self, columns: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        put_all(columns, permit_cells(&self.write.change.id, self.permit))?;
        put_all(columns, [Cell::Uuid(Some(self.write.row_version.0))])
    }
}

fn put_all<const N: usize>(
    columns: &mut PgRecordEncoder<'_>,
    cells: [Cell<'_>; N],
) -> Result<(), BoxDynError> {
    for cell in cells {
        match cell {
            Cell::Text(value) => columns.encode(value),
            Cell::Uuid(value) => columns.encode(value),
            Cell::Bytes(value) => columns.encode(value),
            Cell::Small(value) => columns.encode(value),
            Cell::Int(value) => columns.encode(value),
            Cell::Big(value) => columns.encode(value),
            Cell::Flag(value) => columns.encode(value),
        }?;
    }
    Ok(())
}

/// Makes a record something that the driver can send, alone and in arrays.
macro_rules! sent_as_its_type {
    ($record:ident) => {
        impl Type<Postgres> for $record<'_> {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name(Self::TYPE)
            }
        }

        impl PgHasArrayType for $record<'_> {
            fn array_type_info() -> PgTypeInfo {
                PgTypeInfo::array_of(Self::TYPE)
            }
        }

        impl Encode<'_, Postgres> for $record<'_> {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                let mut columns = PgRecordEncoder::new(buffer);
                self.put(&mut columns)?;
                columns.finish();
                Ok(IsNull::No)
            }
        }
    };
}

sent_as_its_type!(LockRecord);
sent_as_its_type!(WaiterRecord);
sent_as_its_type!(PermitRecord);

//! Encodes values as PostgreSQL's parameters. Rows become the composite types `lock_row`, `waiter_row` and
//! `permit_row`, which a migration creates. A record does not name its columns: their order and types have to be those
//! of the composite type.

use sea_orm::{
    DbErr,
    sqlx::{
        Arguments, Encode, Postgres, Type,
        encode::IsNull,
        error::BoxDynError,
        postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo, types::PgRecordEncoder},
    },
};

use crate::{
    domain::{Permit, Waiter},
    store::{
        Write,
        rows::{Cell, LockRow, gone_cells, permit_cells, waiter_cells, with_cell},
    },
};

/// An error while a value is encoded.
pub(super) type Unsendable = BoxDynError;

/// The error of a batch with a value that cannot be encoded. It counts as refused for good.
pub(super) fn unsendable(error: &Unsendable) -> DbErr {
    DbErr::Custom(error.to_string())
}

/// Adds a parameter for each cell.
pub(super) fn add_cells(arguments: &mut PgArguments, cells: &[Cell<'_>]) -> Result<(), Unsendable> {
    cells.iter().try_for_each(|cell| with_cell!(*cell, value => arguments.add(value)))
}

/// A row of `locks`.
pub(super) struct LockRecord<'a>(pub(super) &'a LockRow<'a>);

/// A waiter that is added or changes, or a waiter that leaves, by its `seq`; each with the write that changes it.
pub(super) enum WaiterRecord<'a> {
    Put(&'a Write, &'a Waiter),
    Gone(&'a Write, i64),
}

/// A permit that is added or changes, and the write that changes it.
pub(super) struct PermitRecord<'a> {
    pub(super) write: &'a Write,
    pub(super) permit: &'a Permit,
}

/// A row that is encoded as a record.
trait Record {
    /// The name of the composite type.
    const TYPE: &'static str;

    /// Encodes all columns in their order.
    fn encode_columns(&self, columns: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError>;
}

impl Record for LockRecord<'_> {
    const TYPE: &'static str = "lock_row";

    fn encode_columns(&self, columns: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        encode_cells(columns, &self.0.cells())
    }
}

impl Record for WaiterRecord<'_> {
    const TYPE: &'static str = "waiter_row";

    fn encode_columns(&self, columns: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let (write, cells) = match self {
            Self::Put(write, waiter) => (write, waiter_cells(&write.change.id, waiter)),
            Self::Gone(write, seq) => (write, gone_cells(&write.change.id, *seq)),
        };
        encode_cells(columns, &cells)?;
        encode_cells(columns, &[Cell::Uuid(Some(write.row_version.0))])
    }
}

impl Record for PermitRecord<'_> {
    const TYPE: &'static str = "permit_row";

    fn encode_columns(&self, columns: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        encode_cells(columns, &permit_cells(&self.write.change.id, self.permit))?;
        encode_cells(columns, &[Cell::Uuid(Some(self.write.row_version.0))])
    }
}

fn encode_cells(columns: &mut PgRecordEncoder<'_>, cells: &[Cell<'_>]) -> Result<(), BoxDynError> {
    for cell in cells {
        with_cell!(*cell, value => columns.encode(value).map(drop))?;
    }
    Ok(())
}

/// Lets the driver send a record, alone and in arrays.
macro_rules! sent_as_its_type {
    ($($record:ident),+) => {$(
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
                self.encode_columns(&mut columns)?;
                columns.finish();
                Ok(IsNull::No)
            }
        }
    )+};
}

sent_as_its_type!(LockRecord, WaiterRecord, PermitRecord);

//! Arguments of a call become variables and tables of its scope.

use super::{
    convert,
    procedures::Given,
    session::{Frame, Session},
};
use crate::mssql::{
    failure::Failure,
    tsql::statement::Declaration,
    wire::{request::ParameterValue, tokens::Column, types::SqlType},
};

impl Session {
    /// A scope in which the parameters have their values.
    pub(super) fn bind(
        &mut self,
        declared: &[Declaration],
        given: &[Given],
        procedure: &str,
    ) -> Result<Frame, Failure> {
        let mut frame = Frame::default();
        if let Some(extra) = given
            .iter()
            .find(|value| !value.name.is_empty() && !declared.iter().any(|parameter| parameter.name == value.name))
        {
            return Err(Failure::new(
                8145,
                16,
                1,
                format!("{} is not a parameter for procedure {procedure}.", extra.name),
            ));
        }
        if given.len() > declared.len() {
            return Err(Failure::new(
                8144,
                16,
                2,
                format!("Procedure or function {procedure} has too many arguments specified."),
            ));
        }
        for (index, parameter) in declared.iter().enumerate() {
            let value = given
                .iter()
                .find(|value| value.name == parameter.name)
                .or_else(|| given.get(index).filter(|value| value.name.is_empty()));
            let Some(kind) = SqlType::parse(&parameter.type_name) else {
                let table = self.bind_table(parameter, value)?;
                frame.tables.insert(parameter.name.clone(), table);
                continue;
            };
            let value = match value.filter(|value| !value.default).map(|value| &value.value) {
                Some(ParameterValue::One(_, value)) => convert::cut(value, kind)?,
                Some(ParameterValue::Table { .. }) => {
                    return Err(Failure::new(
                        206,
                        16,
                        2,
                        format!("Operand type clash: table type is incompatible with {}", kind.name()),
                    ));
                }
                None => match &parameter.value {
                    Some(tokens) => convert::cut(&self.evaluate(tokens)?.1, kind)?,
                    None if procedure.is_empty() => {
                        let text = format!(
                            "The parameterized query expects the parameter '{}', which was not supplied.",
                            parameter.name
                        );
                        return Err(Failure::new(8178, 16, 1, text));
                    }
                    None => {
                        let text = format!(
                            "Procedure or function '{procedure}' expects parameter '{}', which was not supplied.",
                            parameter.name
                        );
                        return Err(Failure::new(201, 16, 4, text));
                    }
                },
            };
            frame.variables.insert(parameter.name.clone(), (kind, value));
        }
        Ok(frame)
    }

    /// A table-valued parameter becomes a temporary table of the scope.
    fn bind_table(&mut self, parameter: &Declaration, given: Option<&Given>) -> Result<String, Failure> {
        let Some(columns) = self.table_type(&parameter.type_name)? else {
            return Err(Failure::new(
                2715,
                16,
                3,
                format!(
                    "Column, parameter, or variable {}: Cannot find data type {}.",
                    parameter.name, parameter.type_name
                ),
            ));
        };
        match given.map(|given| &given.value) {
            Some(ParameterValue::Table { type_name, .. }) if type_name.starts_with("#@") => Ok(type_name.clone()),
            Some(ParameterValue::Table { rows, .. }) => {
                let (rows, name) = (rows.clone(), parameter.name.clone());
                // The scope that is about to begin owns it.
                self.frames.push(Frame::default());
                let made = self.create_table_variable(&name, &columns);
                self.frames.pop();
                let table = made?;
                let columns: Vec<Column> = self
                    .columns_of(&table)?
                    .into_iter()
                    .filter(|column| !column.identity)
                    .collect();
                for row in &rows {
                    if row.len() != columns.len() {
                        return Err(Failure::new(
                            500,
                            16,
                            1,
                            "Trying to pass a table-valued parameter with the wrong number of columns.",
                        ));
                    }
                    self.insert_row(&table, &columns, row)?;
                }
                Ok(table)
            }
            Some(ParameterValue::One(..)) => Err(Failure::new(
                206,
                16,
                2,
                format!(
                    "Operand type clash: a value is incompatible with {}",
                    parameter.type_name
                ),
            )),
            None => self.create_table_variable(&parameter.name, &columns),
        }
    }
}

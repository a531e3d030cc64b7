//! A conversation with the console: messages in, answers out, as batches or by `sp_executesql`.
//!
//! Pure: what a command answers is asked of the caller. Invariants: every request is answered once, in order; messages are
//! bounded in size and commands in number. What drivers say without being asked (SET, USE, transactions) is answered as if
//! it mattered, because they would not go on otherwise.

use bytes::BytesMut;
use weir_core::{
    admin::{Answer, Command, Problem, Unanswered},
    refusal::{Fault, Refusal},
};

use super::rows;
use crate::{
    limits,
    refusals::{self, SERVER, Words, number},
    session::classify::{Bare, classify},
    wire::{
        TdsVersion,
        all_headers::AllHeaders,
        assemble::{Assembler, Message},
        done::{Done, DoneKind, DoneStatus, command},
        env_change::{self, TransactionChange},
        message::OwnMessage,
        packet::{Header, PacketKind, ResetBit, Sender},
        reframe::framed,
        return_value,
        rpc::{Enclave, ParameterValue, Procedure, RpcPiece, RpcReader, WellKnown},
        transaction_request::TransactionRequest,
        utf16::Utf16,
    },
};

/// See the module.
#[derive(Debug)]
pub(crate) struct ConsoleConversation {
    version: TdsVersion,
    packet_size: u16,
    messages: Assembler,
    /// Of the transaction that the client believes to be in.
    transaction: Option<u64>,
    transactions: u64,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More bytes are needed.
    Need,
    /// A request is answered.
    Answered,
    /// These are asked for: see [`ConsoleConversation::answer`].
    Ask(Vec<Command>, Form),
    /// Send what is written, then close.
    Finish,
}

/// How it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Batch,
    Call,
}

/// A request, as far as it is understood.
enum Asked {
    Commands(Vec<Command>),
    Transaction(Bare, Option<()>),
    /// Nothing that the console has to do anything about.
    Courtesy,
    /// `SELECT 1`
    One,
}

impl ConsoleConversation {
    /// With a client that has just logged in.
    pub(crate) fn new(version: TdsVersion, packet_size: u16) -> Self {
        let mut messages = Assembler::new(Sender::Client, weir_core::limits::MAX_CONSOLE_MESSAGE);
        messages.set_packet_size(packet_size);
        ConsoleConversation {
            version,
            packet_size,
            messages,
            transaction: None,
            transactions: 0,
        }
    }

    /// Takes what it understands from the front of `input`.
    pub(crate) fn judge(&mut self, input: &mut &[u8], out: &mut BytesMut) -> Verdict {
        let message = match self.messages.push(input) {
            Ok(Some(message)) => message,
            Ok(None) => return Verdict::Need,
            Err(Fault::Client(what) | Fault::Server(what)) => {
                self.fail(&refusals::describe(&Refusal::ProtocolViolation(what)), Form::Batch, out);
                return Verdict::Finish;
            }
        };
        if message.kind == PacketKind::Attention {
            self.say(BytesMut::new(), Done::attention(), out);
            return Verdict::Answered;
        }
        if message.status.ignores_message() {
            self.say(BytesMut::new(), Done::ignored(), out);
            return Verdict::Answered;
        }
        let form = match message.kind {
            PacketKind::Rpc => Form::Call,
            _ => Form::Batch,
        };
        let mut tokens = BytesMut::new();
        if message.status.reset() != ResetBit::None {
            self.transaction = None;
            env_change::write_reset_ack(&mut tokens);
        }
        match self.read(&message) {
            Ok(Asked::Commands(commands)) if !commands.is_empty() => Verdict::Ask(commands, form),
            Ok(asked) => {
                self.oblige(&asked, &mut tokens);
                self.conclude(tokens, form, None, out);
                Verdict::Answered
            }
            Err(words) => {
                self.fail(&words, form, out);
                Verdict::Answered
            }
        }
    }

    /// Whether bytes that have come while a command is carried out take it back.
    pub(crate) fn takes_back(input: &[u8]) -> bool {
        matches!(Header::read(input), Ok(Some(header)) if header.kind == PacketKind::Attention)
    }

    /// What was asked for is known; the last one may be an error.
    pub(crate) fn answer(&self, answers: Vec<Result<Answer, Unanswered>>, form: Form, out: &mut BytesMut) {
        let mut tokens = BytesMut::new();
        let mut answers = answers.into_iter().peekable();
        while let Some(answer) = answers.next() {
            let count = match answer {
                Ok(Answer::Table(table)) => {
                    rows::table(&table, self.version, &mut tokens);
                    Some(table.rows.len() as u64)
                }
                Ok(Answer::Done { notice, .. }) => {
                    if let Some(notice) = notice {
                        notice_token(&notice, self.version, &mut tokens);
                    }
                    None
                }
                Err(why) => {
                    if let Unanswered::Problem(why) = why {
                        problem(&why).write(self.version, &mut tokens);
                    }
                    return self.conclude_with(tokens, form, DoneStatus::ERROR, None, out);
                }
            };
            if answers.peek().is_none() {
                return self.conclude(tokens, form, count, out);
            }
            self.done(form, DoneStatus::MORE, count)
                .write(self.version, &mut tokens);
        }
    }

    fn read(&self, message: &Message) -> Result<Asked, Words> {
        let cut = || refusals::describe(&Refusal::ProtocolViolation("a request that is cut short"));
        let headers = match message.kind.has_headers() && self.version.is_wide() {
            true => AllHeaders::read(&message.payload).map_err(|_| cut())?.length,
            false => 0,
        };
        let body = message.payload.get(headers..).ok_or_else(cut)?;
        match message.kind {
            PacketKind::SqlBatch => text(Utf16(body)),
            PacketKind::Rpc => self.call(body),
            PacketKind::TransactionManager => match TransactionRequest::read(body).map_err(|_| cut())? {
                TransactionRequest::Begin(_) => Ok(Asked::Transaction(Bare::Begin, None)),
                TransactionRequest::Commit { next, .. } => Ok(Asked::Transaction(Bare::Commit, next.map(|_| ()))),
                TransactionRequest::Rollback { next, .. } => Ok(Asked::Transaction(Bare::Rollback, next.map(|_| ()))),
                TransactionRequest::Save { .. } => Ok(Asked::Courtesy),
                _ => Err(unknown("distributed transactions")),
            },
            _ => Err(unknown("bulk load")),
        }
    }

    /// `sp_executesql` without parameters.
    fn call(&self, body: &[u8]) -> Result<Asked, Words> {
        let malformed = |what| refusals::describe(&Refusal::ProtocolViolation(what));
        let mut reader = RpcReader::new(self.version, Enclave::No, weir_core::limits::MAX_CONSOLE_MESSAGE);
        let (mut input, mut called, mut found) = (body, None, None);
        while let Some(piece) = reader.next(&mut input).map_err(malformed)? {
            match piece {
                RpcPiece::Call(call) => match (called, call.procedure) {
                    (None, Procedure::WellKnown(known)) => called = Some(known),
                    (None, Procedure::Named(name)) => return Err(unknown(&name.to_lossy())),
                    _ => return Err(unknown("several calls in one request")),
                },
                RpcPiece::Parameter(parameter) if called == Some(WellKnown::ExecuteSql) && parameter.ordinal == 0 => {
                    if let ParameterValue::Text(statement) = parameter.value {
                        found = Some(text(statement)?);
                    }
                }
                _ => {}
            }
        }
        match (called, found) {
            (Some(WellKnown::ExecuteSql), Some(asked)) => Ok(asked),
            (Some(WellKnown::ResetConnection), _) => Ok(Asked::Courtesy),
            _ => Err(unknown("a call of anything but sp_executesql")),
        }
    }

    fn oblige(&mut self, asked: &Asked, tokens: &mut BytesMut) {
        match asked {
            Asked::Transaction(Bare::Begin, _) => self.begin(tokens),
            Asked::Transaction(end, next) => {
                let change = match end {
                    Bare::Commit => TransactionChange::Commit,
                    _ => TransactionChange::Rollback,
                };
                if let Some(descriptor) = self.transaction.take() {
                    env_change::write_transaction(change, descriptor, tokens);
                }
                if next.is_some() {
                    self.begin(tokens);
                }
            }
            Asked::One => rows::one(self.version, tokens),
            Asked::Courtesy | Asked::Commands(_) => {}
        }
    }

    fn begin(&mut self, tokens: &mut BytesMut) {
        self.transactions += 1;
        self.transaction = Some(self.transactions);
        env_change::write_transaction(TransactionChange::Begin, self.transactions, tokens);
    }

    /// An error that ends the conversation, or the answer to a request.
    pub(crate) fn fail(&self, words: &Words, form: Form, out: &mut BytesMut) {
        let mut tokens = BytesMut::new();
        words.write(self.version, &mut tokens);
        self.conclude_with(tokens, form, DoneStatus::ERROR, None, out);
    }

    fn conclude(&self, tokens: BytesMut, form: Form, count: Option<u64>, out: &mut BytesMut) {
        self.conclude_with(tokens, form, DoneStatus::default(), count, out);
    }

    fn conclude_with(
        &self,
        mut tokens: BytesMut,
        form: Form,
        status: DoneStatus,
        count: Option<u64>,
        out: &mut BytesMut,
    ) {
        match form {
            Form::Batch => self.say(tokens, self.done(form, status, count), out),
            Form::Call => {
                if status == DoneStatus::default() {
                    self.done(form, DoneStatus::MORE, count)
                        .write(self.version, &mut tokens);
                    return_value::write_status(0, &mut tokens);
                }
                self.say(tokens, Done::procedure(status), out);
            }
        }
    }

    fn done(&self, form: Form, status: DoneStatus, count: Option<u64>) -> Done {
        let (status, rows) = match count {
            Some(rows) => (status.with(DoneStatus::COUNT), rows),
            None => (status, 0),
        };
        Done {
            kind: match form {
                Form::Batch => DoneKind::Statement,
                Form::Call => DoneKind::InProcedure,
            },
            rows,
            ..Done::statement(status, command::NONE)
        }
    }

    fn say(&self, mut tokens: BytesMut, done: Done, out: &mut BytesMut) {
        done.write(self.version, &mut tokens);
        out.extend_from_slice(&framed(PacketKind::Response, &tokens, self.packet_size));
    }
}

fn text(units: Utf16<'_>) -> Result<Asked, Words> {
    if let Some(bare) = classify(units.0).bare {
        return Ok(Asked::Transaction(bare, None));
    }
    let text = units.to_lossy();
    match Command::parse(&text) {
        Ok(commands) if commands.len() > limits::MAX_CONSOLE_COMMANDS => Err(Words::new(
            number::INTERNAL_LIMIT,
            16,
            format!(
                "Too many commands at a time for the console: at most {} (built-in limit).",
                limits::MAX_CONSOLE_COMMANDS
            ),
        )),
        Ok(commands) => Ok(Asked::Commands(commands)),
        Err(_) if is_courtesy(&text) => Ok(Asked::Courtesy),
        Err(_) if is_one(&text) => Ok(Asked::One),
        Err(why) => Err(problem(&why)),
    }
}

/// What drivers say right after a login, or before a connection comes back from their own pool.
fn is_courtesy(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    ["SET", "USE"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

fn is_one(text: &str) -> bool {
    let words: Vec<&str> = text
        .split([' ', ';', '\r', '\n', '\t'])
        .filter(|word| !word.is_empty())
        .collect();
    matches!(words[..], [select, "1"] if select.eq_ignore_ascii_case("SELECT"))
}

fn unknown(what: &str) -> Words {
    let what: String = what.chars().take(60).collect();
    Words::new(
        number::UNSUPPORTED,
        16,
        format!("The console does not know {what}. It takes commands as text; SHOW HELP lists them."),
    )
}

fn problem(problem: &Problem) -> Words {
    let (number, class) = match problem {
        Problem::Unknown(_) => (number::SYNTAX, 15),
        Problem::Denied(_) => (number::PERMISSION_DENIED, 14),
        Problem::NoSuchClient(_) => (number::NO_SUCH_PROCESS, 16),
        Problem::NoSuchSource(_) => (number::NO_SUCH_DATABASE, 16),
        Problem::Resumed(_) | Problem::NotReloaded(_) => (number::UNNUMBERED, 16),
        Problem::Unavailable(_) => (number::UNSUPPORTED, 16),
    };
    let mut text = format!("{problem}.");
    for more in [problem.detail(), problem.hint().map(str::to_owned)]
        .into_iter()
        .flatten()
    {
        text.push(' ');
        text.push_str(&more);
    }
    Words::new(number, class, text)
}

/// What there is to say about a command that succeeded.
fn notice_token(text: &str, version: TdsVersion, out: &mut BytesMut) {
    OwnMessage {
        number: number::UNNUMBERED,
        state: 1,
        class: 0,
        text,
        server: SERVER,
        procedure: "",
        line: 1,
    }
    .write_info(version, out);
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use weir_core::admin::{Cell, Table, Topic};

    use super::*;
    use crate::wire::{
        all_headers,
        packet::{HEADER, Header, Status},
        reframe::frame,
        rpc::write,
        transaction_request, utf16,
        walker::{Content, Layout, Piece, Walker},
    };

    fn answer(command: &Command) -> Result<Answer, Unanswered> {
        match command {
            Command::Show(Topic::PinTotals) => Ok(Answer::Table(Table {
                columns: Topic::PinTotals.columns(),
                rows: vec![
                    vec![
                        Cell::Text("d".into()),
                        Cell::Null,
                        Cell::Integer(7),
                        Cell::Integer(-1),
                        Cell::Null,
                    ];
                    3
                ],
            })),
            Command::Show(Topic::Version) => Ok(Answer::Done {
                tag: "VERSION",
                notice: None,
            }),
            Command::Reload => Ok(Answer::Done {
                tag: "RELOAD",
                notice: Some("applied".to_owned()),
            }),
            Command::Pause(_) => Err(Unanswered::Cancelled),
            other => Err(Unanswered::Problem(Problem::Denied(other.to_string()))),
        }
    }

    fn request(kind: PacketKind, status: Status, body: &[u8]) -> BytesMut {
        let mut payload = BytesMut::new();
        all_headers::write(0, &mut payload);
        payload.put_slice(body);
        let mut out = BytesMut::new();
        frame(kind, status, &payload, 512, &mut out);
        out
    }

    fn batch(text: &str) -> BytesMut {
        request(PacketKind::SqlBatch, Status::default(), &utf16::encode(text))
    }

    fn call(procedure: WellKnown, text: &str) -> BytesMut {
        let mut body = BytesMut::new();
        write::call(procedure, &mut body);
        let text = utf16::encode(text);
        write::text(Utf16::default(), Some(Utf16(&text)), rows::COLLATION, &mut body);
        request(PacketKind::Rpc, Status::default(), &body)
    }

    /// What is answered, in words.
    fn said(input: &[u8]) -> String {
        let mut conversation = ConsoleConversation::new(TdsVersion::V7_4, 512);
        let (mut rest, mut out) = (input, BytesMut::new());
        loop {
            match conversation.judge(&mut rest, &mut out) {
                Verdict::Ask(commands, form) => {
                    let answers = commands.iter().map(answer).collect();
                    conversation.answer(answers, form, &mut out);
                }
                Verdict::Answered => {}
                Verdict::Need | Verdict::Finish => break,
            }
        }
        let mut walker = Walker::new(Layout::default());
        let (mut words, mut rest) = (String::new(), &out[..]);
        while let Some(header) = Header::read(rest).expect("packets") {
            let (packet, behind) = rest.split_at(usize::from(header.length));
            assert!(packet.len() <= 512);
            rest = behind;
            let mut payload = &packet[HEADER..];
            while let Some(piece) = walker.next(&mut payload).expect("tokens") {
                if let Piece::Token(token) = piece {
                    words.push_str(&match &token.content {
                        Content::Done(done) => format!("{:?}:{:x}:{} ", done.kind, done.status.0, done.rows),
                        Content::Error(error) => format!("error:{} ", error.number),
                        Content::Info(info) => format!("info:{} ", info.text.to_lossy()),
                        Content::ColumnMetadata { .. } => "columns ".to_owned(),
                        Content::EnvChange(change) => format!("{change:?} "),
                        other => format!("{other:?} "),
                    });
                }
            }
            if header.status.ends_message() {
                assert!(walker.is_complete());
                walker.begin();
                words.push_str("| ");
            }
        }
        words
    }

    #[test]
    fn commands_have_rows_errors_and_one_end_each() {
        assert_eq!(said(&batch("SHOW PIN_TOTALS;")), "columns Statement:10:3 | ");
        assert_eq!(
            said(&batch("show version; show pin_totals")),
            "Statement:1:0 columns Statement:10:3 | "
        );
        assert_eq!(
            said(&batch("show pin_totals; show stats; show version")),
            "columns Statement:11:3 error:229 Statement:2:0 | "
        );
        assert_eq!(said(&batch("drop table t")), "error:102 Statement:2:0 | ");
        assert_eq!(said(&batch(" ; ")), "Statement:0:0 | ");
        assert_eq!(said(&batch("RELOAD")), "info:applied Statement:0:0 | ");
        // Taken back in the middle.
        assert_eq!(said(&batch("show version; PAUSE")), "Statement:1:0 Statement:2:0 | ");
        assert!(ConsoleConversation::takes_back(&Header::attention().to_bytes()));
        assert!(!ConsoleConversation::takes_back(&batch("RELOAD")) && !ConsoleConversation::takes_back(&[6, 1]));
        let many = "show version;".repeat(limits::MAX_CONSOLE_COMMANDS + 1);
        assert_eq!(said(&batch(&many)), "error:8632 Statement:2:0 | ");
    }

    #[test]
    fn calls_end_as_calls_do() {
        assert_eq!(
            said(&call(WellKnown::ExecuteSql, "show pin_totals")),
            "columns InProcedure:11:3 ReturnStatus(0) Procedure:0:0 | "
        );
        assert_eq!(
            said(&call(WellKnown::ExecuteSql, "nonsense")),
            "error:102 Procedure:2:0 | "
        );
        assert_eq!(said(&call(WellKnown::PrepExec, "")), "error:40510 Procedure:2:0 | ");
        assert_eq!(
            said(&call(WellKnown::ResetConnection, "")),
            "InProcedure:1:0 ReturnStatus(0) Procedure:0:0 | "
        );
    }

    #[test]
    fn drivers_may_be_as_polite_as_they_are() {
        let transaction = |body: &[u8]| request(PacketKind::TransactionManager, Status::default(), body);
        let mut begin = BytesMut::new();
        transaction_request::write_begin(0, Utf16::default(), &mut begin);
        let mut all = batch("SET ANSI_NULLS ON;SET TEXTSIZE 1");
        all.extend(batch("use [weir]"));
        all.extend(batch("SELECT 1;"));
        all.extend(transaction(&begin));
        all.extend(transaction(&[7, 0, 0, 1, 0, 0]));
        all.extend(batch("IF @@TRANCOUNT > 0 ROLLBACK TRAN"));
        all.extend(batch("BEGIN TRAN"));
        all.extend_from_slice(&Header::attention().to_bytes());
        let told = said(&all);
        let messages: Vec<&str> = told.split("| ").collect();
        assert_eq!(messages[0], "Statement:0:0 ");
        assert_eq!(messages[1], "Statement:0:0 ");
        assert_eq!(messages[2], "columns Statement:0:0 ");
        assert!(messages[3].contains("Begin"), "{told}");
        assert!(
            messages[4].contains("Commit") && messages[4].contains("Begin"),
            "{told}"
        );
        assert!(
            messages[5].contains("Rollback") && !messages[5].contains("Begin"),
            "{told}"
        );
        assert!(messages[6].contains("Begin"), "{told}");
        assert_eq!(messages[7], "Statement:20:0 ");
        let reset = request(
            PacketKind::SqlBatch,
            Status::RESET_CONNECTION,
            &utf16::encode("set nocount on"),
        );
        assert_eq!(said(&reset), "ResetAck Statement:0:0 | ");
    }

    #[test]
    fn nothing_that_a_client_sends_is_too_much_or_too_odd() {
        let long = batch(&"x".repeat(weir_core::limits::MAX_CONSOLE_MESSAGE));
        assert!(said(&long).starts_with("error:4002"), "{}", said(&long));
        let whole = call(WellKnown::ExecuteSql, "show version");
        for cut in 0..whole.len() {
            assert_eq!(said(&whole[..cut]), "", "nothing before all of it is there");
        }
        for at in HEADER..whole.len() {
            let mut odd = whole.clone();
            odd[at] ^= 0xff;
            assert!(said(&odd).ends_with("| "), "an answer, whatever it is");
        }
        let mut cut = whole.clone();
        cut.truncate(HEADER + 3);
        cut[3] = cut.len() as u8;
        assert!(said(&cut).starts_with("error:4002"));
    }
}

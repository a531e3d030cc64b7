// tedious: CRUD, transactions, prepared statements, bulk load, table parameters, several results, cancel, reset.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(process.env.NODE_MODULES_OF + '/');
const { Connection, Request, TYPES, ISOLATION_LEVEL } = require('tedious');
const me = Number(process.argv[2] ?? 1);
const env = process.env;
const encrypt = { no: false, yes: true, strict: 'strict' }[env.MSSQL_ENCRYPT ?? 'no'];

const config = {
  server: env.MSSQL_HOST ?? '127.0.0.1',
  authentication: { type: 'default', options: { userName: env.MSSQL_USER, password: env.MSSQL_PASSWORD } },
  options: {
    // Others may have the server connection first, and machines may be slow.
    requestTimeout: 60_000,
    port: Number(env.MSSQL_PORT), database: env.MSSQL_DATABASE, encrypt, trustServerCertificate: true,
    rowCollectionOnRequestCompletion: true, appName: `tedious ${me}`,
    ...(encrypt === 'strict' ? { cryptoCredentialsDetails: { ca: readFileSync(env.MSSQL_CA) } } : {}),
  },
};

const connect = () => new Promise((resolve, reject) => {
  const connection = new Connection(config);
  connection.on('error', reject);
  connection.connect(error => error ? reject(error) : resolve(connection));
});

/** Runs a request and collects what it brings. */
function run(connection, send, sql, parameters = [], prepare) {
  return new Promise((resolve, reject) => {
    const results = [], output = {};
    const request = new Request(sql, (error, count, rows) =>
      error ? reject(error) : resolve({ count, rows: rows.map(row => row.map(column => column.value)), results, output }));
    request.on('columnMetadata', () => results.push([]));
    request.on('row', row => results.at(-1).push(row.map(column => column.value)));
    request.on('returnValue', (name, value) => { output[name] = value; });
    for (const [name, type, value, options] of parameters) request.addParameter(name, type, value, options);
    prepare?.(request);
    connection[send](request);
  });
}
const promised = (connection, method, ...rest) => new Promise((resolve, reject) =>
  connection[method](error => error ? reject(error) : resolve(), ...rest));
const failing = async (promise, number) => {
  const error = await promise.then(() => assert.fail(`no error ${number}`), error => error);
  assert.equal(error.number, number, error.message);
  return error;
};

const connection = await connect();
const batch = sql => run(connection, 'execSqlBatch', sql);
const sql = (text, ...parameters) => run(connection, 'execSql', text, parameters);

// CRUD
const made = new Date('2024-02-29T12:34:56.789Z'), code = '6F9619FF-8B86-D011-B42D-00C04FC964FF';
const inserted = await sql(
  'INSERT INTO items (owner, name, price, made, data, code) VALUES (@owner, @name, @price, @made, @data, @code); SELECT SCOPE_IDENTITY() AS id',
  ['owner', TYPES.Int, me], ['name', TYPES.NVarChar, 'näme 三'], ['price', TYPES.Decimal, 12.5, { precision: 12, scale: 4 }],
  ['made', TYPES.DateTime2, made, { scale: 3 }], ['data', TYPES.VarBinary, Buffer.from([0, 1, 255])], ['code', TYPES.UniqueIdentifier, code]);
const id = Number(inserted.rows[0][0]);
const read = await sql('SELECT owner, name, price, made, data, code, notes FROM items WHERE id = @id', ['id', TYPES.Int, id]);
assert.deepEqual(read.rows, [[me, 'näme 三', 12.5, made, Buffer.from([0, 1, 255]), code, null]]);
assert.equal((await sql('UPDATE items SET name = @name WHERE id = @id', ['name', TYPES.NVarChar, 'other'], ['id', TYPES.Int, id])).count, 1);
await failing(sql('SELECT 1 / @zero', ['zero', TYPES.Int, 0]), 8134);
await failing(batch('SELECT * FROM no_such_table'), 208);
console.log('ok crud');

// transactions
const count = async () => (await sql('SELECT COUNT(*) FROM items WHERE owner = @me', ['me', TYPES.Int, me])).rows[0][0];
const before = await count();
await promised(connection, 'beginTransaction', 'outer', ISOLATION_LEVEL.READ_COMMITTED);
await sql('INSERT INTO items (owner, name) VALUES (@me, @name)', ['me', TYPES.Int, me], ['name', TYPES.NVarChar, 'kept']);
await promised(connection, 'saveTransaction', 'here');
await sql('DELETE FROM items WHERE owner = @me', ['me', TYPES.Int, me]);
assert.equal(await count(), 0);
await promised(connection, 'rollbackTransaction', 'here');
assert.equal((await batch('SELECT @@TRANCOUNT')).rows[0][0], 1);
await promised(connection, 'commitTransaction');
assert.equal(await count(), before + 1);
await promised(connection, 'beginTransaction');
await sql('DELETE FROM items WHERE owner = @me', ['me', TYPES.Int, me]);
await promised(connection, 'rollbackTransaction');
assert.equal(await count(), before + 1);
await batch('SET XACT_ABORT ON; BEGIN TRANSACTION');
await failing(batch(`INSERT INTO items (owner, name) VALUES (${me}, N'lost'); SELECT 1 / 0`), 8134);
assert.equal((await batch('SELECT @@TRANCOUNT')).rows[0][0], 0);
// one that an error has doomed: it can only be rolled back, and is at the end of the batch
const caught = await batch(`BEGIN TRANSACTION; BEGIN TRY INSERT INTO items (owner, name) VALUES (${me}, N'doomed'); SELECT 1 / 0; END TRY BEGIN CATCH SELECT XACT_STATE(), ERROR_NUMBER(); ROLLBACK; END CATCH`);
assert.deepEqual(caught.rows.at(-1), [-1, 8134]);
await failing(batch(`BEGIN TRANSACTION; BEGIN TRY INSERT INTO items (owner, name) VALUES (${me}, N'doomed'); SELECT 1 / 0; END TRY BEGIN CATCH SELECT XACT_STATE(); END CATCH`), 3998);
assert.equal((await batch('SELECT @@TRANCOUNT')).rows[0][0], 0);
await batch('SET XACT_ABORT OFF');
assert.equal(await count(), before + 1);
console.log('ok transactions');

// prepared statements
await new Promise((resolve, reject) => {
  const seen = [];
  const request = new Request('SELECT @a * 2, @text', error => error && reject(error));
  request.addParameter('a', TYPES.Int);
  request.addParameter('text', TYPES.NVarChar);
  request.on('row', row => seen.push(row.map(column => column.value)));
  const next = number => {
    if (number === 10) {
      assert.deepEqual(seen, Array.from({ length: 10 }, (_, index) => [index * 2, `t${index}`]));
      request.on('requestCompleted', resolve);
      request.callback = error => error ? reject(error) : resolve();
      return connection.unprepare(request);
    }
    request.callback = error => error ? reject(error) : next(number + 1);
    connection.execute(request, { a: number, text: `t${number}` });
  };
  request.on('prepared', () => next(0));
  connection.prepare(request);
});
console.log('ok prepared');

// procedures, output parameters, return status, table parameters
const called = await run(connection, 'callProcedure', 'add_item', [['owner', TYPES.Int, me], ['name', TYPES.NVarChar, 'called']],
  request => request.addOutputParameter('id', TYPES.Int));
assert.deepEqual(called.results, [[['called']]]);
assert.ok(called.output.id > id);
const list = { columns: [{ name: 'id', type: TYPES.Int }, { name: 'name', type: TYPES.NVarChar, length: 50 }], rows: [[1, 'one'], [2, 'two'], [3, 'drei']] };
const many = await run(connection, 'callProcedure', 'add_list', [['owner', TYPES.Int, me], ['list', TYPES.TVP, list]]);
assert.equal(many.count, 3);
console.log('ok procedures');

// several results, PRINT
const messages = [];
connection.on('infoMessage', message => messages.push(message.message));
const several = await batch("SELECT 1 AS a; PRINT 'between'; SELECT 2 AS b, 3 AS c WHERE 1 = 0; SELECT N'x' AS d UNION ALL SELECT N'y'");
assert.deepEqual(several.results, [[[1]], [], [['x'], ['y']]]);
assert.ok(messages.includes('between'), messages);
console.log('ok results');

// large values and many rows
const large = 'äß三'.repeat(40_000), blob = Buffer.alloc(100_000, 7);
await sql('UPDATE items SET notes = @notes, data = @data WHERE id = @id', ['notes', TYPES.NVarChar, large], ['data', TYPES.VarBinary, blob], ['id', TYPES.Int, id]);
const [[notes, data]] = (await sql('SELECT notes, data FROM items WHERE id = @id', ['id', TYPES.Int, id])).rows;
assert.equal(notes, large);
assert.ok(blob.equals(data));
const numbers = await batch("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, N'row ' + CAST(i AS nvarchar(10)) FROM n OPTION (MAXRECURSION 0)");
assert.equal(numbers.rows.length, 5000);
assert.deepEqual(numbers.rows[4999], [5000, 'row 5000']);
console.log('ok large');

// bulk load
const loaded = await new Promise((resolve, reject) => {
  const bulk = connection.newBulkLoad('bulk_items', (error, rows) => error ? reject(error) : resolve(rows));
  bulk.addColumn('owner', TYPES.Int, { nullable: false });
  bulk.addColumn('id', TYPES.Int, { nullable: false });
  bulk.addColumn('name', TYPES.NVarChar, { length: 50, nullable: true });
  bulk.addColumn('amount', TYPES.Decimal, { precision: 12, scale: 4, nullable: true });
  bulk.addColumn('made', TYPES.DateTime2, { scale: 3, nullable: true });
  bulk.addColumn('code', TYPES.UniqueIdentifier, { nullable: true });
  bulk.addColumn('data', TYPES.VarBinary, { length: 50, nullable: true });
  connection.execBulkLoad(bulk, Array.from({ length: 500 }, (_, index) =>
    [me, index, index % 7 ? `bulk ${index}` : null, index / 4, made, code, Buffer.from([index % 256])]));
});
assert.equal(loaded, 500);
const sums = await sql('SELECT COUNT(*), SUM(amount), COUNT(name) FROM bulk_items WHERE owner = @me', ['me', TYPES.Int, me]);
assert.deepEqual(sums.rows, [[500, 31187.5, 428]]);
await sql('DELETE FROM bulk_items WHERE owner = @me', ['me', TYPES.Int, me]);
console.log('ok bulk');

// cancel in mid-flight, and the connection goes on
const started = Date.now(), delay = env.MSSQL_PROBE ? '00:00:02' : '00:00:20';
await new Promise((resolve, reject) => {
  const request = new Request(`WAITFOR DELAY '${delay}'`, error => error?.code === 'ECANCEL' ? resolve() : reject(error ?? new Error('not cancelled')));
  connection.execSqlBatch(request);
  setTimeout(() => connection.cancel(), 100);
});
assert.ok(Date.now() - started < 15_000);
assert.equal((await batch(`SELECT ${me}`)).rows[0][0], me);
console.log('ok cancel');

// reset, as a pool does at checkout
await batch('SET DATEFIRST 3; CREATE TABLE #mine (i int)');
assert.equal((await batch('SELECT @@DATEFIRST')).rows[0][0], 3);
await promised(connection, 'reset');
assert.equal((await batch('SELECT @@DATEFIRST')).rows[0][0], 7);
await failing(batch('SELECT * FROM #mine'), 208);
console.log('ok reset');

await sql('DELETE FROM items WHERE owner = @me', ['me', TYPES.Int, me]);
connection.close();
console.log('passed');

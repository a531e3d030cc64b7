// mssql (npm): its pool over tedious, several connections of one application.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(process.env.NODE_MODULES_OF + '/');
const mssql = require('mssql');
const me = Number(process.argv[2] ?? 1);
const env = process.env;

const pool = await new mssql.ConnectionPool({
  server: env.MSSQL_HOST ?? '127.0.0.1', port: Number(env.MSSQL_PORT), user: env.MSSQL_USER, password: env.MSSQL_PASSWORD,
  database: env.MSSQL_DATABASE, pool: { max: 3, min: 0 },
  options: { encrypt: env.MSSQL_ENCRYPT === 'yes', trustServerCertificate: true, appName: `mssql ${me}` },
}).connect();

// more queries at a time than connections
const answers = await Promise.all(Array.from({ length: 30 }, (_, index) => pool.request().input('n', mssql.Int, index).query`SELECT ${me} AS me, ${index} AS n`));
answers.forEach((answer, index) => assert.deepEqual(answer.recordset[0], { me, n: index }));
console.log('ok pool');

// a transaction, kept and dropped
const transaction = new mssql.Transaction(pool);
await transaction.begin(mssql.ISOLATION_LEVEL.READ_COMMITTED);
const request = new mssql.Request(transaction);
await request.input('me', mssql.Int, me).input('name', mssql.NVarChar, 'kept').query('INSERT INTO items (owner, name) VALUES (@me, @name)');
await transaction.commit();
const dropped = new mssql.Transaction(pool);
await dropped.begin();
await new mssql.Request(dropped).query(`DELETE FROM items WHERE owner = ${me}`);
await dropped.rollback();
const count = async () => (await pool.request().query(`SELECT COUNT(*) AS n FROM items WHERE owner = ${me}`)).recordset[0].n;
assert.equal(await count(), 1);
console.log('ok transactions');

// a prepared statement
const statement = new mssql.PreparedStatement(pool);
statement.input('a', mssql.Int);
await statement.prepare('SELECT @a + 1 AS b');
for (let round = 0; round < 5; round++) assert.equal((await statement.execute({ a: round })).recordset[0].b, round + 1);
await statement.unprepare();
console.log('ok prepared');

// a procedure: result, output, return value; a table parameter; bulk
const called = await pool.request().input('owner', mssql.Int, me).input('name', mssql.NVarChar, 'called').output('id', mssql.Int).execute('add_item');
assert.equal(called.returnValue, 7);
assert.equal(called.recordset[0].name, 'called');
assert.ok(called.output.id > 0);
const list = new mssql.Table('item_list');
list.columns.add('id', mssql.Int, { nullable: false });
list.columns.add('name', mssql.NVarChar(50), { nullable: true });
for (let index = 0; index < 20; index++) list.rows.add(index, `listed ${index}`);
const added = await pool.request().input('owner', mssql.Int, me).input('list', list).execute('add_list');
assert.equal(added.rowsAffected[0], 20);
const bulk = new mssql.Table('bulk_items');
bulk.columns.add('owner', mssql.Int, { nullable: false });
bulk.columns.add('id', mssql.Int, { nullable: false });
bulk.columns.add('name', mssql.NVarChar(50), { nullable: true });
for (let index = 0; index < 200; index++) bulk.rows.add(me, index, index % 2 ? `b${index}` : null);
assert.equal((await pool.request().bulk(bulk)).rowsAffected, 200);
assert.equal((await pool.request().query(`SELECT COUNT(name) AS n FROM bulk_items WHERE owner = ${me}`)).recordset[0].n, 100);
console.log('ok procedures');

// errors and cancel
await assert.rejects(pool.request().query('SELECT 1 / 0'), error => error.number === 8134);
const slow = pool.request();
const answer = slow.query(`WAITFOR DELAY '${env.MSSQL_PROBE ? '00:00:02' : '00:00:20'}'`);
setTimeout(() => slow.cancel(), 100);
await assert.rejects(answer, error => error.code === 'ECANCEL');
assert.equal((await pool.request().query('SELECT 5 AS five')).recordset[0].five, 5);
console.log('ok cancel');

await pool.request().query(`DELETE FROM items WHERE owner = ${me}; DELETE FROM bulk_items WHERE owner = ${me}`);
await pool.close();
console.log('passed');

// tedious: a prepared statement and settings, at rest while one process of the gateway follows another.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(process.env.NODE_MODULES_OF + '/');
const { Connection, Request, TYPES } = require('tedious');
const env = process.env, folder = env.WEIR_TEST_FOLDER;

const connection = await new Promise((resolve, reject) => {
  const opened = new Connection({
    server: env.MSSQL_HOST,
    authentication: { type: 'default', options: { userName: env.MSSQL_USER, password: env.MSSQL_PASSWORD } },
    options: { requestTimeout: 60_000, port: Number(env.MSSQL_PORT), database: env.MSSQL_DATABASE, encrypt: false,
      trustServerCertificate: true, rowCollectionOnRequestCompletion: true },
  });
  opened.on('error', reject);
  opened.connect(error => error ? reject(error) : resolve(opened));
});
const batch = sql => new Promise((resolve, reject) => {
  const request = new Request(sql, (error, _, rows) => error ? reject(error) : resolve(rows.map(row => row.map(column => column.value))));
  connection.execSqlBatch(request);
});

const seen = [];
const prepared = new Request('SELECT @a * 2', () => {});
prepared.addParameter('a', TYPES.Int);
prepared.on('row', row => seen.push(row[0].value));
const execute = a => new Promise((resolve, reject) => {
  prepared.callback = error => error ? reject(error) : resolve();
  connection.execute(prepared, { a });
});

await batch('SET DATEFIRST 3');
await new Promise((resolve, reject) => {
  prepared.on('prepared', resolve);
  prepared.on('error', reject);
  connection.prepare(prepared);
});
await execute(4);
writeFileSync(`${folder}/takeover_tedious.mjs.ready`, '');
while (!existsSync(`${folder}/go`)) await new Promise(resolve => setTimeout(resolve, 20));
await execute(5);
assert.deepEqual(seen, [8, 10]);
assert.deepEqual(await batch('SELECT CAST(@@DATEFIRST AS int)'), [[3]]);
connection.close();
console.log('passed');

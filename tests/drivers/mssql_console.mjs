// tedious and its pool on the console: batches, sp_executesql, the pool's own look at a connection.
import { createRequire } from "node:module";
const require = createRequire(process.env.NODE_MODULES_OF + "/");
const tedious = require("tedious");
const sql = require("mssql");
const assert = require("node:assert");

const { MSSQL_HOST: server, MSSQL_PORT, MSSQL_USER: user, MSSQL_PASSWORD: password } = process.env;
const options = { port: Number(MSSQL_PORT), database: "weir", encrypt: false, trustServerCertificate: true };

const connection = new tedious.Connection({
  server,
  authentication: { type: "default", options: { userName: user, password } },
  options,
});
await new Promise((resolve, reject) => connection.connect((error) => (error ? reject(error) : resolve())));
const run = (text, method) =>
  new Promise((resolve, reject) => {
    const rows = [];
    const request = new tedious.Request(text, (error) => (error ? reject(error) : resolve(rows)));
    request.on("row", (columns) => rows.push(Object.fromEntries(columns.map((c) => [c.metadata.colName, c.value]))));
    connection[method](request);
  });
for (const method of ["execSqlBatch", "execSql"]) {
  const pools = await run("SHOW POOLS", method);
  assert.ok(pools.some((row) => row.database === "appdb"), JSON.stringify(pools));
  await assert.rejects(run("SELECT 2", method), /SHOW HELP/);
}
connection.close();

const pool = await new sql.ConnectionPool({
  server,
  port: options.port,
  user,
  password,
  database: "weir",
  options: { encrypt: false, trustServerCertificate: true },
}).connect();
for (let round = 0; round < 3; round += 1) {
  const { recordset } = await pool.request().query("SHOW CLIENTS");
  assert.ok(recordset.some((row) => row.user === user));
}
await pool.close();
console.log("passed");

// postgres.js; PREPARE=true or false chooses named or unnamed statements.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'

const require = createRequire(process.env.NODE_MODULES_OF + '/')
const postgres = require('postgres')
const me = Number(process.argv[2])
const sql = postgres({
  host: process.env.PGHOST, port: Number(process.env.PGPORT), database: process.env.PGDATABASE, username: process.env.PGUSER,
  password: process.env.PGPASSWORD, max: 3, prepare: process.env.PREPARE === 'true', onnotice: () => {}
})

// CRUD
const [{ id }] = await sql`INSERT INTO items ${sql({ owner: me, name: 'näme', price: 1.25 })} RETURNING id`
assert.deepEqual([...await sql`SELECT name, price FROM items WHERE id = ${id}`], [{ name: 'näme', price: '1.25' }])
assert.equal((await sql`UPDATE items SET name = 'other' WHERE id = ${id}`).count, 1)
assert.deepEqual([...await sql`SELECT id FROM items WHERE id IN ${sql([id, -1])}`], [{ id }])
assert.equal((await sql`SELECT 1 AS a; SELECT 2 AS b`.simple()).length, 2)
assert.equal((await sql`SELECT ${sql.json({ deep: [1, { x: me }] })}::jsonb AS j`)[0].j.deep[1].x, me)

// many at once: postgres.js pipelines them on its connections
for (let round = 0; round < 5; round++) {
  const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => sql`SELECT ${n}::int * 2 AS twice, ${me}::int AS me`))
  answers.forEach((answer, n) => assert.deepEqual([...answer], [{ twice: n * 2, me }]))
}
// errors among them hit only their own
const mixed = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => sql`SELECT 10 / ${n % 4}::int AS q, ${n}::int AS n`))
mixed.forEach((answer, n) => n % 4 === 0
  ? assert.equal(answer.reason?.code, '22012')
  : assert.deepEqual([...answer.value], [{ q: Math.trunc(10 / (n % 4)), n }]))

// transactions, savepoints
await sql.begin(async sql => {
  const [{ pid: before }] = await sql`SELECT pg_backend_pid() AS pid`
  await sql`INSERT INTO items (owner, name, price) VALUES (${me}, 'kept', 0)`
  await sql.savepoint(async sql => { await sql`DELETE FROM items WHERE owner = ${me}`; throw new Error('undo') }).catch(error => assert.equal(error.message, 'undo'))
  const [{ pid: after }] = await sql`SELECT pg_backend_pid() AS pid`
  assert.equal(before, after)
})
await assert.rejects(sql.begin(async sql => { await sql`DELETE FROM items WHERE owner = ${me}`; await sql`SELECT 1 / 0` }), { code: '22012' })
assert.equal((await sql`SELECT count(*)::int AS n FROM items WHERE owner = ${me}`)[0].n, 2)
// a transaction in one pipeline
const [one, two] = await sql.begin(sql => [sql`SELECT ${me}::int AS n`, sql`SELECT pg_backend_pid() AS n`])
assert.equal(one[0].n, me)
assert.ok(two[0].n > 0)

// a cursor, describe, COPY
const portions = []
await sql`SELECT generate_series(1, 25) AS n`.cursor(10, part => { portions.push(part.length) })
assert.deepEqual(portions, [10, 10, 5])
assert.equal((await sql`SELECT ${1}::int AS a, 'x' AS b`.describe()).columns.length, 2)
await pipeline(Readable.from(Array.from({ length: 2000 }, (_, n) => `${me}\tcopied ${n}\t${n}\n`)),
  await sql`COPY items (owner, name, price) FROM STDIN`.writable())
let copied = 0
for await (const chunk of await sql`COPY (SELECT name FROM items WHERE name LIKE 'copied %' AND owner = ${sql.unsafe(String(me))}) TO STDOUT`.readable())
  copied += chunk.toString().split('\n').length - 1
assert.equal(copied, 2000)

await sql`DELETE FROM items WHERE owner = ${me}`
await sql.end()
console.log('passed')

// node-postgres (pg), with cursors and COPY streams.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'

const require = createRequire(process.env.NODE_MODULES_OF + '/')
const pg = require('pg')
const Cursor = require('pg-cursor')
const { from: copyFrom, to: copyTo } = require('pg-copy-streams')
const me = Number(process.argv[2])

const pool = new pg.Pool({ max: 3 })
const rows = async (text, values) => (await pool.query(text, values)).rows

// CRUD, text and parameters of several types
const { id } = (await rows('INSERT INTO items (owner, name, price) VALUES ($1, $2, $3) RETURNING id', [me, 'näme', '1.25']))[0]
assert.deepEqual(await rows('SELECT name, price FROM items WHERE id = $1', [id]), [{ name: 'näme', price: '1.25' }])
assert.equal((await pool.query('UPDATE items SET name = $2 WHERE id = $1', [id, 'other'])).rowCount, 1)
assert.equal((await pool.query({ text: 'SELECT id FROM items WHERE id = $1', values: [id], rowMode: 'array' })).rows[0][0], id)
assert.equal((await pool.query('SELECT 1 AS a; SELECT 2 AS b')).length, 2)
assert.equal((await rows('SELECT $1::bytea AS b', [Buffer.from([0, 1, 255])]))[0].b.toString('hex'), '0001ff')

// the same named statement on every connection of the pool, with values of its own each time
const named = n => pool.query({ name: 'double', text: 'SELECT $1::int * 2 AS twice, $2::int AS me', values: [n, me] })
for (let round = 0; round < 5; round++) {
  const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => named(n)))
  answers.forEach((answer, n) => assert.deepEqual(answer.rows, [{ twice: n * 2, me }]))
}

// a transaction that is kept, one that is not, and an error within; nothing else is asked for meanwhile, because five
// scripts that each hold one connection and want another could wait for each other for ever
const client = await pool.connect()
await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
await client.query('INSERT INTO items (owner, name, price) VALUES ($1, $2, 0)', [me, 'kept'])
assert.equal((await client.query("SELECT count(*)::int AS n FROM items WHERE owner = $1 AND name = 'kept'", [me])).rows[0].n, 1)
await client.query('COMMIT')
await client.query('BEGIN')
await assert.rejects(client.query('SELECT 1 / 0'), { code: '22012' })
await assert.rejects(client.query('SELECT 1'), { code: '25P02' })
await client.query('ROLLBACK')
assert.equal((await rows("SELECT count(*)::int AS n FROM items WHERE owner = $1 AND name = 'kept'", [me]))[0].n, 1)

// a cursor: a portal that is read in portions
const cursor = client.query(new Cursor('SELECT generate_series(1, $1::int) AS n', [25]))
const portions = []
for (let part = await cursor.read(10); part.length; part = await cursor.read(10)) portions.push(part.length)
await cursor.close()
assert.deepEqual(portions, [10, 10, 5])

// COPY in, out, and one that fails
await pipeline(Readable.from(Array.from({ length: 2000 }, (_, n) => `${me}\tcopied ${n}\t${n}\n`)),
  client.query(copyFrom('COPY items (owner, name, price) FROM STDIN')))
let copied = 0
for await (const chunk of client.query(copyTo(`COPY (SELECT name FROM items WHERE owner = ${me} AND name LIKE 'copied %') TO STDOUT`)))
  copied += chunk.toString().split('\n').length - 1
assert.equal(copied, 2000)
await assert.rejects(pipeline(Readable.from(['no number\tx\t1\n']), client.query(copyFrom('COPY items (owner, name, price) FROM STDIN'))), { code: '22P02' })
assert.equal((await client.query('SELECT 7 AS n')).rows[0].n, 7)

client.release()
await pool.query('DELETE FROM items WHERE owner = $1', [me])
await pool.end()
console.log('passed')

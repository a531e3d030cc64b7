// node-pg-migrate: migrations under an advisory lock of the session. All instances migrate the same schema at once.
import { createRequire } from "node:module";
import { mkdtemp, writeFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import assert from "node:assert/strict";

const require = createRequire(path.join(process.env.NODE_MODULES_OF, "package.json"));
const { runner } = await import(require.resolve("node-pg-migrate"));
const pg = require("pg");

const folder = await mkdtemp(path.join(tmpdir(), "weir-migrations-"));
const steps = 4;
for (let step = 1; step <= steps; step++) {
  await writeFile(
    path.join(folder, `170000000000${step}_step.mjs`),
    `export const up = (pgm) => {
       pgm.createTable("node_${step}", { id: "id", name: { type: "text", notNull: true } });
       pgm.sql("SELECT pg_sleep(0.02)");
     };
     export const down = (pgm) => pgm.dropTable("node_${step}");`,
  );
}

const migrate = async () => {
  for (;;) {
    try {
      return await runner({
        databaseUrl: {}, dir: folder, direction: "up", migrationsTable: "node_migrations", count: Infinity, log: () => {}, logger: { debug() {}, info() {}, warn() {}, error() {} },
      });
    } catch (error) {
      // Somebody else holds the lock: as its users do, once more.
      if (!/already running/.test(String(error))) throw error;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }
};

await migrate();
const client = new pg.Client();
await client.connect();
const { rows } = await client.query("SELECT name FROM node_migrations ORDER BY id");
assert.deepEqual(rows.map((row) => row.name), Array.from({ length: steps }, (_, step) => `170000000000${step + 1}_step`));
await client.end();
await rm(folder, { recursive: true });
console.log("passed");

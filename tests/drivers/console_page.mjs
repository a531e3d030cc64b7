// The console page in headless Chromium: what a person at the keyboard sees and does. Screenshots go to SCREENSHOTS.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(process.env.NODE_MODULES_OF + '/')
const { chromium } = require('playwright-core')
const { CONSOLE, SECRET, SOURCE, PINNED, SCREENSHOTS } = process.env
const PATIENCE = 60_000

const executablePath = process.env.PATH.split(':').map((folder) => `${folder}/chromium`).find(existsSync)
assert.ok(executablePath, 'chromium is on the PATH: scripts/install-test-dependencies installs it')
// Root, as in containers, has no sandbox to use; the page is our own.
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: 'light' })
context.setDefaultTimeout(PATIENCE)
const page = await context.newPage()
const complaints = [], origins = new Set()
page.on('pageerror', (error) => complaints.push(String(error)))
page.on('console', (message) => message.type() === 'error' && !message.text().includes('401') && complaints.push(message.text()))
page.on('request', (request) => request.url().startsWith('data:') || origins.add(new URL(request.url()).origin))
const card = page.locator('.card', { has: page.getByRole('heading', { name: SOURCE, exact: true }) })
const until = (what, test, argument) => page.waitForFunction(test, argument, { timeout: PATIENCE }).catch((error) => { throw new Error(`${what}: ${error.message}`) })
const shot = async (name, fullPage = false) => { mkdirSync(SCREENSHOTS, { recursive: true }); await page.evaluate(() => scrollTo(0, 0)); await page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage }) }

// Nothing is shown without the secret, nor with a wrong one.
await page.goto(CONSOLE)
const dialog = page.locator('#secret-dialog')
await dialog.waitFor()
assert.equal(await page.locator('.card').count(), 0)
await page.keyboard.press('Escape')
assert.ok(await dialog.isVisible(), 'Escape does not lead around the secret')
await page.getByLabel('X-Hasura-Admin-Secret').fill('wrong')
await page.keyboard.press('Enter')
await page.getByText('invalid x-hasura-admin-secret').waitFor()
assert.equal(await page.locator('.card').count(), 0)
assert.ok(!(await page.locator('main').innerText()).includes(SOURCE))

// With it, the source and its pool, live.
await page.getByLabel('X-Hasura-Admin-Secret').fill(SECRET)
await page.keyboard.press('Enter')
await card.waitFor()
await until('a rate', () => /^[\d.]+[kM]?$/.test(document.querySelector('#tile-tps b span')?.textContent ?? ''))
assert.equal(await page.locator('#connection-text').textContent(), 'live')
const pictures = () => page.evaluate(() => known.history.values().next().value.length)
const seen = await pictures()
await until('another picture', (seen) => known.history.values().next().value.length > seen + 2, seen)
const bar = () => card.locator('.bar').first().getAttribute('aria-label')
assert.match(await bar(), /\d+ active, \d+ idle in transaction, [1-9]\d* pinned, \d+ opening, \d+ idle, limit 4, \d+ waiting/)
await until('somebody waits', () => Number(document.querySelector('#tile-waiting b span').textContent) > 0)

// The pin, its reason, and a name that is markup, shown as text.
const pin = page.locator('#pins tbody tr').first()
await pin.waitFor()
assert.match(await pin.textContent(), /temporary/i)
assert.ok((await pin.textContent()).includes(PINNED), await pin.textContent())
assert.equal(await page.locator('#pins img').count(), 0)

// What is inconsistent, and why; what is configured, and where.
await page.getByText("WEIR_TEST_IS_NOT_SET").first().waitFor()
await page.getByLabel('Find').fill(`${SOURCE} max_connections`.split(' ')[1])
await page.locator('#config tbody tr', { hasText: 'databases.yaml' }).first().waitFor()
await page.getByLabel('Find').fill('')

await until('a minute of plots', () => known.history.values().next().value.length > 12)
await shot('console')
await page.emulateMedia({ colorScheme: 'dark' })
const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
const dark = await paper()
await shot('console-dark')
await page.emulateMedia({ colorScheme: 'light' })
assert.notEqual(await paper(), dark)
await page.locator('#theme').click()
await page.locator('#theme').click()
assert.equal(await paper(), dark, 'the button decides over the system')
await page.locator('#theme').click()

// Pause and resume, by keyboard alone.
await card.getByRole('button', { name: /^Pause/ }).focus()
await page.keyboard.press('Enter')
await card.locator('.state', { hasText: /^paus(ed|ing)$/ }).waitFor()
await card.getByRole('button', { name: /^Resume/ }).focus()
await page.keyboard.press('Space')
await card.locator('.state', { hasText: 'running' }).waitFor()

// The limit: given up with Escape, then changed.
await card.getByRole('button', { name: /limit/ }).click()
await page.keyboard.press('Escape')
assert.ok(!(await page.locator('#limit-dialog').isVisible()))
await card.getByRole('button', { name: /limit/ }).click()
await page.getByLabel('Server connections at most').fill('7')
await page.keyboard.press('Enter')
await card.getByText(/of 7$/).waitFor()
await page.getByText('at most 7 server connections').waitFor()

// A phone: nothing hangs over.
await page.setViewportSize({ width: 390, height: 844 })
await page.waitForTimeout(1500)
assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, 'it fits a phone')
await shot('console-phone', true)

// The picture can be held, and the secret forgotten.
await page.setViewportSize({ width: 1280, height: 900 })
await page.locator('#hold').click()
const held = await pictures()
await page.waitForTimeout(2500)
assert.ok((await pictures()) <= held + 1)
await page.locator('#forget').click()
await dialog.waitFor()

assert.deepEqual([...origins], [new URL(CONSOLE).origin], 'it asks nobody else')
assert.deepEqual(complaints, [])
await browser.close()
console.log('passed')

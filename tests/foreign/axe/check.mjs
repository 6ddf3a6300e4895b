// node check.mjs DIR [SHOTS]
//
// Serves DIR on loopback under the policy the server sends, opens every .html file in it in Chromium (its path in CHROMIUM), and fails on
// - any axe finding of WCAG 2.0–2.2 A/AA or axe's best practices, in both colour schemes,
// - anything wider than the window, down to 320 px (WCAG 1.4.10),
// - a control the Tab key does not reach or that does not show its focus, or an Enter that sends another form than the first,
// - anything the content security policy had to stop.
// With SHOTS it also saves a picture of every page there.
import { createServer } from 'node:http';
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

const POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const VIEWS = [
  { name: '360', viewport: { width: 360, height: 740 }, colorScheme: 'light' },
  { name: '1280', viewport: { width: 1280, height: 800 }, colorScheme: 'light', keyboard: true },
  { name: '320-dark', viewport: { width: 320, height: 640 }, colorScheme: 'dark' },
];

const [dir, shots] = process.argv.slice(2);
if (!dir) throw new Error('usage: node check.mjs DIR [SHOTS]');
const files = (await readdir(dir, { recursive: true })).filter((name) => name.endsWith('.html')).sort();
if (files.length === 0) throw new Error(`no .html file in ${dir}`);
if (shots) await mkdir(shots, { recursive: true });

const server = createServer(async (request, response) => {
  const path = join(dir, decodeURIComponent(new URL(request.url, 'http://localhost').pathname));
  try {
    if (request.method === 'POST') return response.setHeader('content-type', 'text/html').end('<!doctype html>');
    if (relative(dir, path).startsWith('..')) throw new Error('outside');
    const body = await readFile(path);
    response.setHeader('content-type', path.endsWith('.css') ? 'text/css; charset=utf-8' : 'text/html; charset=utf-8');
    response.setHeader('content-security-policy', POLICY);
    response.setHeader('x-content-type-options', 'nosniff');
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update'],
});

const problems = [];

// Tab from the top until nothing new comes: every link, button, field and group of radio buttons, each seen when it has the focus.
async function keyboard(page, here) {
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll('a[href], button, input:not([type=hidden])')];
    return new Set(all.map((e) => (e.type === 'radio' ? `radio ${e.name}` : (e.dataset.nr = all.indexOf(e).toString())))).size;
  });
  const reached = new Set();
  for (let presses = 0; presses < 3 * wanted + 5 && reached.size < wanted; presses++) {
    await page.keyboard.press('Tab');
    const [who, seen] = await page.evaluate(() => {
      const e = document.activeElement;
      const shown = [e, e?.closest('.choice')].some((box) => box && getComputedStyle(box).outlineStyle !== 'none');
      return [e === document.body ? null : e.type === 'radio' ? `radio ${e.name}` : e.dataset.nr, shown];
    });
    if (who !== null && !seen) problems.push(`${here}: focus is not seen on ${who}`);
    if (who !== null) reached.add(who);
  }
  if (reached.size !== wanted) problems.push(`${here}: Tab reaches ${reached.size} of ${wanted} controls`);

  // Enter on the first control of the first form sends that form as it is prefilled. What leaves for another origin is not sent here.
  const first = page.locator('form').first();
  if (await first.count() === 0 || await first.evaluate((form) => new URL(form.action).origin !== location.origin)) return;
  const expected = await first.evaluate((form) => new URLSearchParams(new FormData(form, form.querySelector('button'))).toString());
  await first.locator('input:not([type=hidden]), button').first().focus();
  const [arrived] = await Promise.all([page.waitForNavigation({ timeout: 5000 }).catch(() => null), page.keyboard.press('Enter')]);
  const sent = arrived?.request();
  if (sent?.postData() !== expected) problems.push(`${here}: Enter sent ${sent?.postData()}, not ${expected}`);
}

async function look(view) {
  const context = await browser.newContext({ viewport: view.viewport, colorScheme: view.colorScheme, reducedMotion: 'reduce' });
  const page = await context.newPage();
  let here = '';
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.location().url.endsWith('/favicon.ico')) problems.push(`${here}: console: ${message.text()}`);
  });
  for (const file of files) {
    here = `${file} @ ${view.name}`;
    await page.goto(`${origin}/${file}`);
    const styled = await page.evaluate(() => [...document.styleSheets].some((sheet) => sheet.cssRules.length > 0));
    if (!styled) problems.push(`${here}: the stylesheet did not load`);
    // The debugger's evaluate is not subject to the page's policy, which stays in force.
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate((tags) => globalThis.axe.run(document, { runOnly: tags, resultTypes: ['violations'] }), TAGS);
    for (const { id, impact, help, nodes } of violations) {
      const where = nodes.map((node) => node.target.join(' ')).join(', ');
      problems.push(`${here}: axe ${impact}: ${id}: ${help}: ${where}`);
    }
    const wide = await page.evaluate(() => {
      const limit = document.documentElement.clientWidth;
      const over = [...document.body.querySelectorAll('*')].filter((e) => e.getClientRects().length > 0 && e.getBoundingClientRect().right > limit + 0.5);
      return over.length > 0 || document.documentElement.scrollWidth > limit ? (over.map((e) => e.tagName.toLowerCase()).slice(0, 5).join(', ') || 'the page') : null;
    });
    if (wide) problems.push(`${here}: wider than the window: ${wide}`);
    if (shots) await page.screenshot({ path: join(shots, `${file.replaceAll('/', '_').replace(/\.html$/, '')}-${view.name}.png`), fullPage: true });
    if (view.keyboard) await keyboard(page, here);
  }
  await context.close();
}

try {
  await Promise.all(VIEWS.map(look));
} finally {
  await browser.close();
  server.close();
}

for (const problem of problems) console.error(problem);
console.log(`${files.length} pages in ${VIEWS.length} views: ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

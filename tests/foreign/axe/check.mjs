// node check.mjs DIR [SHOTS]
//
// Serves DIR on loopback under the policy the server sends, opens every .html file in it in Chromium (its path in CHROMIUM), and fails on
// - an axe finding of WCAG 2.0–2.2 A/AA or axe's best practices that is serious or critical (milder ones are printed),
// - anything wider than the window,
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
  { name: '1280', viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
  { name: '360-dark', viewport: { width: 360, height: 740 }, colorScheme: 'dark' },
];

const [dir, shots] = process.argv.slice(2);
if (!dir) throw new Error('usage: node check.mjs DIR [SHOTS]');
const files = (await readdir(dir, { recursive: true })).filter((name) => name.endsWith('.html')).sort();
if (files.length === 0) throw new Error(`no .html file in ${dir}`);
if (shots) await mkdir(shots, { recursive: true });

const server = createServer(async (request, response) => {
  const path = join(dir, decodeURIComponent(new URL(request.url, 'http://localhost').pathname));
  try {
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
      const line = `${here}: axe ${impact}: ${id}: ${help}: ${where}`;
      if (impact === 'serious' || impact === 'critical') problems.push(line);
      else console.log(line);
    }
    const wide = await page.evaluate(() => {
      const limit = document.documentElement.clientWidth;
      const over = [...document.body.querySelectorAll('*')].filter((e) => e.getClientRects().length > 0 && e.getBoundingClientRect().right > limit + 0.5);
      return over.length > 0 || document.documentElement.scrollWidth > limit ? (over.map((e) => e.tagName.toLowerCase()).slice(0, 5).join(', ') || 'the page') : null;
    });
    if (wide) problems.push(`${here}: wider than the window: ${wide}`);
    if (shots) await page.screenshot({ path: join(shots, `${file.replaceAll('/', '_').replace(/\.html$/, '')}-${view.name}.png`), fullPage: true });
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

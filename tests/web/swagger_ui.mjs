// Opens Swagger UI in Chromium and presses "Execute" on every operation, from top to bottom, without changing anything.
// Takes the URL of a service whose database is empty. Fails unless every answer is a success.

import { chromium } from "playwright-core";

// A container's root has no sandbox; the rest keeps Chromium from asking its maker's servers for anything.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const STEP_MS = 60_000;

const base = process.argv[2];
const document = await (await fetch(`${base}/api-docs/openapi.json`)).json();
const expected = Object.values(document.paths).flatMap((path) => Object.values(path)).length;

/** Opens an operation, presses its button, reads the status of the answer, and closes it: what is open is drawn again and
 * again. */
async function execute(operation) {
  const summary = operation.locator(".opblock-summary-control");
  await summary.click();
  await operation.locator("button.execute").click();
  const status = operation.locator(".live-responses-table .response-col_status").last();
  await status.waitFor();
  const code = Number.parseInt(await status.innerText(), 10);
  await summary.click();
  return code;
}

async function executeAll(page) {
  const failures = [];
  page.on("pageerror", (error) => failures.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") failures.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith("data:") && !url.startsWith("blob:")) {
      failures.push(`a request to ${url}`);
    }
  });
  await page.goto(`${base}/swagger-ui/`);
  await page.locator(".opblock").first().waitFor();
  const operations = await page.locator(".opblock").all();
  if (operations.length !== expected) {
    failures.push(`${operations.length} operations are shown of ${expected}`);
  }
  for (const operation of operations) {
    const name = (await operation.locator(".opblock-summary-control").innerText()).replace(/\s+/g, " ");
    const status = await execute(operation);
    console.log(`${status} ${name}`);
    if (!(status >= 200 && status < 300)) failures.push(`${name}: ${status}`);
  }
  return failures;
}

// Its profile is a new folder, which it removes when it is closed.
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(STEP_MS);
  const failures = await executeAll(page);
  for (const failure of failures) console.error(failure);
  process.exitCode = failures.length === 0 ? 0 : 1;
} finally {
  await browser.close();
}

// Opens Swagger UI in Chromium and presses "Execute" on every operation, from top to bottom, without changing anything.
// Fails unless every answer is a success. Usage: swagger_ui.mjs [TOKEN] URL, of a service whose database is empty. With the
// token of an administrator, the service has to protect its documents: the browser opens them by the token as a password,
// and Swagger UI is given it too.

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

const base = process.argv.at(-1);
const token = process.argv.length > 3 ? process.argv[2] : undefined;
const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
const document = await (await fetch(`${base}/api-docs/openapi.json`, { headers })).json();
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

function nameOf(operation) {
  return operation.locator(".opblock-summary-control").innerText().then((text) => text.replace(/\s+/g, " "));
}

/** Opens the page, and returns its operations. */
async function open(page, path) {
  await page.goto(`${base}${path}`);
  await page.locator(".opblock").first().waitFor();
  return page.locator(".opblock").all();
}

/** Whatever goes wrong on a page. An answer that is meant to be 401 is no failure. */
function watch(page) {
  const failures = [];
  page.on("pageerror", (error) => failures.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    const isRefusal = token !== undefined && message.text().includes("status of 401");
    if (message.type() === "error" && !isRefusal) failures.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith("data:") && !url.startsWith("blob:")) {
      failures.push(`a request to ${url}`);
    }
  });
  return failures;
}

/** The status of a page. Chromium gives up by itself where its password is refused. */
async function statusOf(page, path) {
  try {
    return (await page.goto(`${base}${path}`)).status();
  } catch (error) {
    if (error.message.includes("ERR_INVALID_AUTH_CREDENTIALS")) return 401;
    throw error;
  }
}

/** Whoever has no token sees nothing, by whichever way. */
async function checkProtection(browser, failures) {
  for (const path of ["/", "/swagger-ui/", "/api-docs/openapi.json", "/openapi.yaml"]) {
    for (const httpCredentials of [undefined, { username: "anybody", password: "made-up" }]) {
      const page = await browser.newPage({ httpCredentials });
      const status = await statusOf(page, path);
      if (status !== 401) failures.push(`${path} is ${status} without a token`);
      await page.close();
    }
  }
}

/** Gives Swagger UI the token. Before that, the browser's password must count for the documents only: browsers send it by
 * themselves, whichever page asks them to. */
async function authorize(page, operation, failures) {
  const status = await execute(operation);
  if (status !== 401) failures.push(`${await nameOf(operation)}: ${status} by the password of the documents`);
  await page.locator(".btn.authorize").click();
  const dialog = page.locator(".dialog-ux");
  await dialog.locator("input").fill(token);
  await dialog.locator("button.authorize").click();
  await dialog.locator("button.btn-done").click();
}

async function executeAll(page, failures) {
  const operations = await open(page, token === undefined ? "/swagger-ui/" : "/");
  if (operations.length !== expected) {
    failures.push(`${operations.length} operations are shown of ${expected}`);
  }
  if (token !== undefined) await authorize(page, operations[0], failures);
  for (const operation of operations) {
    const status = await execute(operation);
    console.log(`${status} ${await nameOf(operation)}`);
    if (!(status >= 200 && status < 300)) failures.push(`${await nameOf(operation)}: ${status}`);
  }
}

// Its profile is a new folder, which it removes when it is closed.
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
try {
  const httpCredentials = token === undefined ? undefined : { username: "anybody", password: token };
  const page = await browser.newPage({ httpCredentials });
  page.setDefaultTimeout(STEP_MS);
  const failures = watch(page);
  if (token !== undefined) await checkProtection(browser, failures);
  await executeAll(page, failures);
  for (const failure of failures) console.error(failure);
  process.exitCode = failures.length === 0 ? 0 : 1;
} finally {
  await browser.close();
}

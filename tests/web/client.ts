// Uses the types that `openapi-typescript` generates and `openapi-fetch`, as a program would, against a running service.
// `schema.d.ts` is exactly as it was generated. Takes the service's URL. `tsc --strict` checks both.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Grant = components["schemas"]["Grant"];

const baseUrl = process.argv[2];
assert(baseUrl !== undefined, "the service's URL is missing");
const client = createClient<paths>({ baseUrl });

function path(key: string) {
  return { params: { path: { key } } };
}

function versionOf(grant: Grant): string {
  assert(grant.locked && grant.version !== null);
  return grant.version;
}

/** A lock is taken, kept and given back; another caller learns who holds it. */
async function acquireHeartbeatRelease() {
  const key = path(`typescript/${randomUUID()}`);
  const body = { owner: "first", lease_duration_ms: 60_000 };
  const { data: grant } = await client.POST("/locks/{key}/acquire", { ...key, body });
  assert(grant !== undefined);
  const version = versionOf(grant);

  const refused = await client.POST("/locks/{key}/acquire", { ...key, body: { owner: "second", wait_ms: 0 } });
  assert.equal(refused.response.status, 423);
  assert(Number(refused.response.headers.get("Retry-After")) >= 1);
  // The constant `type` tells the problems of an operation apart.
  assert(refused.error?.type === "/problems/not-granted");
  assert.equal(refused.error.reason, "no_wait");
  assert.deepEqual(refused.error.holders.map((holder) => holder.owner), ["first"]);

  const kept = await client.POST("/locks/{key}/heartbeat", { ...key, body: { version, data: "half done" } });
  assert.equal(kept.data?.data, "half done");
  const other = await client.POST("/locks/{key}/heartbeat", { ...key, body: { version: randomUUID() } });
  assert(other.error?.type === "/problems/version-mismatch");

  const released = await client.POST("/locks/{key}/release", { ...key, body: { version } });
  assert.equal(released.data?.locked, false);
  const seen = await client.GET("/locks/{key}", key);
  assert.equal(seen.data?.fencing_token, grant.fencing_token);
}

/** Who waits for a lock gets it when it is released, with a higher fencing token. */
async function wait() {
  const key = path(`typescript/${randomUUID()}`);
  // Without a body every field has its default.
  const { data: held } = await client.POST("/locks/{key}/acquire", key);
  assert(held !== undefined);
  assert.equal(held.owner, "anonymous");
  const waiter = client.POST("/locks/{key}/acquire", { ...key, body: { owner: "waiter", wait_ms: 30_000 } });
  let waiters: number | undefined;
  for (let look = 0; look < 600 && waiters !== 1; look++) {
    await sleep(50);
    waiters = (await client.GET("/locks/{key}", key)).data?.waiters;
  }
  assert.equal(waiters, 1);
  await client.POST("/locks/{key}/release", { ...key, body: { version: versionOf(held) } });
  const { data: granted } = await waiter;
  assert(granted !== undefined);
  assert.equal(granted.owner, "waiter");
  assert(granted.fencing_token > held.fencing_token);
  await client.POST("/locks/{key}/release", { ...key, body: { version: versionOf(granted), delete_lock: true } });
}

/** A semaphore has as many permits as it was made for. */
async function permits() {
  const key = path(`typescript/${randomUUID()}`);
  const made = await client.PUT("/semaphores/{key}", { ...key, body: { max_size: 1 } });
  assert.equal(made.data?.max_size, 1);
  const { data: permit } = await client.POST("/semaphores/{key}/acquire", { ...key, body: { owner: "worker" } });
  assert(permit !== undefined);
  assert.equal(permit.semaphore_key, key.params.path.key);
  const refused = await client.POST("/semaphores/{key}/acquire", { ...key, body: { wait_ms: 0 } });
  assert(refused.error?.type === "/problems/not-granted");
  const inUse = await client.DELETE("/semaphores/{key}", key);
  assert(inUse.error?.type === "/problems/in-use");
  const seen = await client.GET("/semaphores/{key}", key);
  assert.equal(seen.data?.busy_count, 1);
  await client.POST("/semaphores/{key}/release", { ...key, body: { version: versionOf(permit) } });
  const deleted = await client.DELETE("/semaphores/{key}", key);
  assert.equal(deleted.response.status, 204);
}

for (const check of [acquireHeartbeatRelease, wait, permits]) {
  await check();
  console.log(`typescript client: ${check.name} ok`);
}

import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import type { ReadyCheck, Role, RoleContext } from '../common/role.js';
import type { DestinationConfig, FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import { connectBullMq } from '../queue/bullConnection.js';
import { type Job, Worker } from '../queue/bullmq.js';
import type { RedisClient } from '../queue/connection.js';
import type { BatchJob, BlobJob } from '../queue/jobs.js';
import { BATCH_QUEUE, BLOB_QUEUE } from '../queue/keys.js';
import { wakeHead } from '../queue/wake.js';
import { sleepJob } from './activation.js';
import { BatchProcessor } from './batchProcessor.js';
import { BlobProcessor } from './blobProcessor.js';
import { Complaints } from './complaints.js';
import { Delivery } from './delivery.js';
import { DestinationGate, type Place } from './gate.js';
import { WorkerRegistry } from './workerRegistry.js';
import { WorkerStop } from './workerStop.js';

/** BullMQ's lock on an active job; a killed worker's job comes back after it and two looks. */
const LOCK_MS = 10_000;
const STALLED_LOOK_MS = 5_000;

/** Slots beyond what the gates can hold, for activations that only ask `begin` and sleep, or tell Redis. */
const SPARE_SLOTS = 16;

/** Between two looks at every route for a head that nobody wakes; spread over the workers. */
const WAKE_LOOK_MS = 30_000;

/** A stop has 10 s in all; what is being sent is ended politely before. */
const CLOSE_PATIENCE_MS = 8_000;
const CLOSE_LOOK_MS = 50;

/** A job for a destination that this worker's configuration does not know. */
const UNKNOWN_DESTINATION_PAUSE_MS = 5_000;

/** How confirmed batches and blobs come about: a measurement may put something else here. */
export type Sender = Pick<
  Delivery,
  'preconnect' | 'prepareBlob' | 'sendBatch' | 'sendBlob' | 'close'
>;

/**
 * Starts a worker: any number of them, on any hosts, share the routes of one Redis.
 *
 * @returns at once; sending begins when Redis answers
 */
export async function startWorker(
  config: FerryConfig,
  access: QueueAccess,
  context: RoleContext,
  sender?: Sender,
): Promise<Role> {
  const workerId = `${hostname()}.${process.pid}.${randomUUID().slice(0, 8)}`;
  const registry = new WorkerRegistry(config.stateDir, config.redis.prefix, workerId);
  await registry.enter();
  return new WorkerRole(config, access, context, workerId, registry, sender);
}

type Run<Data> = (
  job: Job<Data>,
  token: string,
  to: DestinationConfig,
  place: Place,
) => Promise<void>;

class WorkerRole implements Role {
  readonly failed: Promise<never> = new Promise(() => undefined);
  readonly #access: QueueAccess;
  readonly #log: Logger;
  readonly #destinations: ReadonlyMap<string, DestinationConfig>;
  readonly #gates = new Map<string, DestinationGate>();
  readonly #stop = new WorkerStop();
  readonly #delivery: Sender;
  readonly #workers: Worker[];
  readonly #connections: RedisClient[] = [];
  readonly #unknown = new Set<string>();
  readonly #stopListening: () => void;
  #wakeTimer: NodeJS.Timeout | undefined;
  #stopped: Promise<void> | null = null;
  #lastActiveAt = performance.now();

  constructor(
    config: FerryConfig,
    access: QueueAccess,
    { logger, meter }: RoleContext,
    workerId: string,
    private readonly registry: WorkerRegistry,
    sender?: Sender,
  ) {
    this.#access = access;
    this.#log = logger.child({ role: 'worker' });
    this.#destinations = config.destinations;
    let slots = SPARE_SLOTS;
    for (const destination of config.destinations.values()) {
      this.#gates.set(
        destination.name,
        new DestinationGate(destination.connections, {
          alone: config.destinations.size === 1,
          call: (lane, id) =>
            lane === 'batch' ? access.queues.promoteBatch(id) : access.queues.promoteBlob(id),
        }),
      );
      slots += DestinationGate.slots(destination.connections);
    }
    this.#delivery = sender ?? new Delivery(config, access, this.#log);
    const parts = {
      order: access.order,
      queues: access.queues,
      delivery: this.#delivery,
      stop: this.#stop,
      complaints: new Complaints(),
      meter,
      log: this.#log,
      workerId,
    };
    const batches = new BatchProcessor(parts);
    const blobs = new BlobProcessor(parts);
    this.#workers = [
      this.#worker<BatchJob>(BATCH_QUEUE, slots, (job, token, to, place) =>
        batches.run(job, token, to, place),
      ),
      this.#worker<BlobJob>(BLOB_QUEUE, slots, (job, token, to, place) =>
        blobs.run(job, token, to, place),
      ),
    ];
    this.#scheduleWake();
    this.#stopListening = access.scripts.onReady(() => {
      registry.cutLeasesOfTheDead(access, this.#log).catch((err: unknown) => {
        this.#log.debug({ err }, 'leases of killed workers run out by themselves');
      });
    });
    this.#log.info(
      { destinations: [...config.destinations.keys()], payloads: config.payloads },
      'worker started',
    );
  }

  lastActiveAt(): number {
    return this.#lastActiveAt;
  }

  readiness(): readonly ReadyCheck[] {
    const ok = !this.#stop.stopping;
    return [{ name: 'worker', ok, message: ok ? 'takes batches' : 'stops' }];
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    clearTimeout(this.#wakeTimer);
    this.#stopListening();
    this.#stop.begin();
    await this.#closeQueues();
    this.#stop.end();
    await this.#delivery.close();
    for (const connection of this.#connections) connection.disconnect();
    await this.registry.leave();
    this.#log.info('worker stopped');
  }

  /**
   * Ends what takes jobs. With Redis away BullMQ would wait for answers that do not come, also when
   * it went away just now; so it is left behind as soon as nothing is being sent.
   */
  async #closeQueues(): Promise<void> {
    const isAway = (): boolean => this.#access.scripts.facts === null;
    let closed = false;
    const closing = Promise.allSettled(this.#workers.map((w) => w.close(isAway()))).then(() => {
      closed = true;
    });
    const patienceEndsAt = performance.now() + CLOSE_PATIENCE_MS;
    while (!closed && performance.now() < patienceEndsAt) {
      await Promise.race([closing, this.#stop.pause(CLOSE_LOOK_MS)]);
      if (isAway() && !this.#stop.isBusy) return;
    }
  }

  #worker<Data extends BatchJob | BlobJob>(
    queue: string,
    concurrency: number,
    run: Run<Data>,
  ): Worker {
    const connection = connectBullMq(this.#access.target);
    this.#connections.push(connection);
    const worker = new Worker<Data>(queue, (job, token) => this.#process(job, token ?? '', run), {
      connection,
      prefix: this.#access.keys.tag,
      concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_LOOK_MS,
      maxStalledCount: Number.MAX_SAFE_INTEGER, // BullMQ never resets its count
      skipVersionCheck: true,
    });
    worker.on('error', (err) => this.#log.debug({ err, queue }, 'queue worker'));
    void waitInFractions(worker);
    return worker as Worker;
  }

  async #process<Data extends BatchJob | BlobJob>(
    job: Job<Data>,
    token: string,
    run: Run<Data>,
  ): Promise<void> {
    const { destination: name, route } = job.data;
    const destination = this.#destinations.get(name);
    const gate = this.#gates.get(name);
    if (destination === undefined || gate === undefined) {
      if (!this.#unknown.has(name)) {
        this.#unknown.add(name);
        this.#log.error(
          { route, destination: name },
          'a batch waits for a destination that this worker does not have; add it to the destinations of its ferry.yaml',
        );
      }
      return sleepJob(job, token, UNKNOWN_DESTINATION_PAUSE_MS);
    }
    const lane = job.queueName === BATCH_QUEUE ? 'batch' : 'blob';
    const entrance = await gate.enter(lane, String(job.id));
    if (!entrance.entered) {
      return sleepJob(job, token, entrance.ms, () => gate.sleeps(lane, String(job.id)));
    }
    try {
      if (this.#stop.stopping) return await sleepJob(job, token, 0);
      this.#lastActiveAt = performance.now();
      await run(job, token, destination, entrance.place);
    } finally {
      this.#lastActiveAt = performance.now();
      entrance.place.leave();
    }
  }

  #scheduleWake(): void {
    const pause = WAKE_LOOK_MS * (0.75 + Math.random() / 2);
    this.#wakeTimer = setTimeout(() => void this.#wakeAll(), pause);
  }

  async #wakeAll(): Promise<void> {
    try {
      const { order, queues } = this.#access;
      for (const route of await order.routes()) {
        if (this.#stop.stopping) return;
        await wakeHead(order, queues, route);
      }
    } catch (err) {
      this.#log.debug({ err }, 'the look for sleeping heads failed; the next one comes');
    }
    if (!this.#stop.stopping) this.#scheduleWake();
  }
}

/**
 * BullMQ was told not to look at the server's version, and so takes it for the oldest there is,
 * which can wait for whole seconds only: every pause below a second became one. Servers that we use
 * (6.2 and newer) wait for fractions.
 */
async function waitInFractions(worker: Worker): Promise<void> {
  await worker.waitUntilReady().catch(() => undefined);
  const { blockingConnection } = worker.backend;
  if (blockingConnection !== undefined) blockingConnection.capabilities.canDoubleTimeout = true;
}

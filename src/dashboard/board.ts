import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { type Context, Hono } from 'hono';
import { asError } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import type { QueueAccess } from '../queue/access.js';
import { wakeHead } from '../queue/wake.js';

const BASE = '/queues';
/** Redis went away in the middle of a question: BullMQ would wait for ever. */
const PATIENCE_MS = 10_000;

/**
 * What may be said to jobs. The rest of bull-board's api (new jobs, other data in a job,
 * `obliterate`, a pause that no status shows, limits, schedulers) would go around the routes.
 */
const ALLOWED =
  /^\/queues\/api\/queues\/(batches|blobs)\/(promote|retry\/(failed|completed)|clean\/[a-z-]+|(?!job-schedulers\/)[^/]+\/(retry|promote|clean))$/;

/** The Bull dashboard of our two queues; one that acts, and one for those who only look. */
export class Board {
  readonly #acting: Hono;
  readonly #reading: Hono;

  constructor(
    private readonly access: QueueAccess,
    private readonly log: Logger,
  ) {
    this.#acting = this.#make(false);
    this.#reading = this.#make(true);
  }

  async answer(context: Context, readOnly: boolean): Promise<Response> {
    const { method, path } = context.req;
    const acts = method !== 'GET' && method !== 'HEAD';
    if (acts && (readOnly || !ALLOWED.test(path))) {
      return context.json({ error: 'not allowed here; the first page has what routes need' }, 403);
    }
    const isApi = path.startsWith(`${BASE}/api/`);
    if (isApi && this.access.scripts.facts === null) return away(context);
    const board = readOnly ? this.#reading : this.#acting;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<Response>((resolve) => {
      timer = setTimeout(() => resolve(away(context)), PATIENCE_MS);
    });
    const answer = Promise.resolve(board.fetch(context.req.raw, context.env));
    answer.catch(() => undefined);
    try {
      const response = await Promise.race([answer, patience]);
      if (acts) await this.#wake();
      return isApi ? response : await withoutForeignFonts(response);
    } finally {
      clearTimeout(timer);
    }
  }

  /** A click may have removed the job of a head: it comes back now, not at the next look. */
  async #wake(): Promise<void> {
    const { order, queues } = this.access;
    try {
      for (const route of await order.routes()) await wakeHead(order, queues, route);
    } catch (error) {
      this.log.debug({ err: asError(error) }, 'the workers will wake what sleeps');
    }
  }

  #make(readOnlyMode: boolean): Hono {
    const server = new HonoAdapter(serveStatic).setBasePath(BASE);
    const { batches, blobs } = this.access.queues;
    createBullBoard({
      queues: [batches, blobs].map((queue) => new BullMQAdapter(queue, { readOnlyMode })),
      serverAdapter: server,
      options: {
        uiConfig: { boardTitle: 'journal-ferry', miscLinks: [{ text: 'Routes', url: '/' }] },
      },
    });
    return new Hono().route(BASE, server.registerPlugin());
  }
}

function away(context: Context): Response {
  return context.json({ error: 'Redis is away; this goes on by itself when it is back' }, 503);
}

/** The page names a font server; the browser is told not to ask it, so it need not try. */
async function withoutForeignFonts(response: Response): Promise<Response> {
  if (response.headers.get('content-type')?.startsWith('text/html') !== true) return response;
  const page = (await response.text()).replace(/<link href="https:[^>]*>/g, '');
  const headers = new Headers(response.headers);
  headers.delete('content-length');
  return new Response(page, { status: response.status, headers });
}

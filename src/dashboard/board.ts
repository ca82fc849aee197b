import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { type Context, Hono } from 'hono';
import { audit } from '../common/audit.js';
import { asError } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import { inTime } from '../common/within.js';
import type { FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import { auditOf, type Click, clickOf } from './boardClick.js';

const BASE = '/queues';
/** Redis went away in the middle of a question: BullMQ would wait for ever. */
const PATIENCE_MS = 5_000;

export interface Asker {
  /** Who clicks, for the audit log. */
  by: string;
  readOnly: boolean;
}

/**
 * The Bull dashboard of our two queues; one that acts, and one for those who only look. Whatever is
 * clicked there, order is kept by `begin`: a click can waste a run, and never reorder a route.
 */
export class Board {
  readonly #acting: Hono;
  readonly #reading: Hono;

  constructor(
    private readonly config: FerryConfig,
    private readonly access: QueueAccess,
    private readonly log: Logger,
  ) {
    this.#acting = this.#make(false);
    this.#reading = this.#make(true);
  }

  async answer(context: Context, { by, readOnly }: Asker): Promise<Response> {
    const { method, path } = context.req;
    const looks = method === 'GET' || method === 'HEAD';
    const click = looks || readOnly ? null : clickOf(method, path);
    if (!looks && click === null) {
      return context.json({ error: 'not allowed here; the first page has what routes need' }, 403);
    }
    const isApi = path.startsWith(`${BASE}/api/`);
    if (isApi && this.access.scripts.facts === null) return away(context);
    const board = readOnly ? this.#reading : this.#acting;
    const answer = Promise.resolve(board.fetch(context.req.raw, context.env));
    const response = await inTime(PATIENCE_MS, answer, () => null);
    if (response === null) return away(context);
    if (click !== null && response.ok) await this.#clicked(click, by);
    return isApi ? response : withoutForeignFonts(response);
  }

  async #clicked(click: Click, by: string): Promise<void> {
    try {
      await audit(this.config.stateDir, auditOf(click, by));
    } catch (error) {
      this.log.error({ err: asError(error), click, by }, 'a click is not in the audit log');
    }
    if (click.kind === 'clean') await this.#wake();
  }

  /** The job of a head, or of a blob, may be gone: it comes back now, not at the next look. */
  async #wake(): Promise<void> {
    try {
      await this.access.order.askForWaking();
    } catch (error) {
      this.log.debug({ err: asError(error) }, 'what sleeps wakes at the next look');
    }
  }

  #make(readOnlyMode: boolean): Hono {
    const server = new HonoAdapter(serveStatic).setBasePath(BASE);
    const { batches, blobs } = this.access.queues;
    createBullBoard({
      queues: [batches, blobs].map((queue) => new BullMQAdapter(queue, { readOnlyMode })),
      serverAdapter: server,
      options: {
        uiConfig: {
          boardTitle: 'journal-ferry',
          miscLinks: [{ text: 'Routes', url: '/' }],
          hideDocsLink: true,
          // It would need CLIENT LIST, a right that nothing else of ours needs.
          showWorkers: false,
        },
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
